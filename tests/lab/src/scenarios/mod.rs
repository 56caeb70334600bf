//! Scenarios: certctl at work on the lab's cluster, disturbed in every way that a cluster can be.
//!
//! A story begins with one healthy cluster, brought back from a snapshot, and consists of tests that follow each other on
//! it. What a test asks of the cluster it asks past certctl wherever it can: node files, kubectl, the prober.

mod bench;
mod blow;
mod command;
mod credentials;
mod diagnosis;
mod evidence;
mod expired;
mod figures;
mod fleet;
mod inspection;
mod kills;
mod on_node;
mod one_expired;
mod operator;
mod power;
mod refusals;
mod renewal;
mod rollback;
mod rotation;
mod tally;
mod torture;
mod unfit;
mod waiver;
mod watch;
mod writes;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use self::bench::{Bench, BenchOptions};
use self::tally::Tally;

pub use self::torture::{TortureArgs, run as torture};

/// Arguments of `lab test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Only these stories [default: the usual ones]
    #[arg(value_name = "STORY", value_parser = names())]
    stories: Vec<String>,
    /// Every story
    #[arg(long, conflicts_with = "stories")]
    all: bool,
    #[command(flatten)]
    bench: BenchOptions,
}

/// A sequence of tests on one cluster.
struct Story {
    name: &'static str,
    /// Runs when no story is named. The others take longer; `make torture` runs them all.
    usual: bool,
    /// The next story needs no restore if nothing failed.
    leaves_healthy: bool,
    tell: Tell,
}

#[derive(Clone, Copy)]
enum Tell {
    /// On the cluster that the stories share, brought back for each.
    Shared(fn(&Bench, &mut Tally) -> Result<()>),
    /// On clusters of its own. The shared one is gone afterwards.
    Alone(fn(&BenchOptions, &mut Tally) -> Result<()>),
}

const fn story(name: &'static str, usual: bool, tell: fn(&Bench, &mut Tally) -> Result<()>) -> Story {
    Story { name, usual, leaves_healthy: false, tell: Tell::Shared(tell) }
}

const fn alone(name: &'static str, usual: bool, tell: fn(&BenchOptions, &mut Tally) -> Result<()>) -> Story {
    Story { name, usual, leaves_healthy: false, tell: Tell::Alone(tell) }
}

/// Those that change nothing come first, those that need clusters of their own last.
const STORIES: [Story; 18] = [
    Story { leaves_healthy: true, ..story("inspection", true, inspection::tell) },
    Story { leaves_healthy: true, ..story("credentials", true, credentials::tell) },
    Story { leaves_healthy: true, ..story("refusals", true, refusals::tell) },
    Story { leaves_healthy: true, ..story("diagnosis", true, diagnosis::tell) },
    Story { leaves_healthy: true, ..story("one-expired", true, one_expired::tell) },
    story("renewal", true, renewal::tell),
    story("writes", false, writes::tell),
    story("fleet", true, fleet::tell),
    story("etcd", false, unfit::etcd),
    story("rotation", true, rotation::tell),
    story("drivers", true, kills::drivers),
    story("agents", true, kills::agents),
    story("power", true, power::tell),
    story("rollback", true, rollback::tell),
    story("waiver", false, waiver::tell),
    story("waiver-control-plane", false, waiver::control_plane),
    story("end", true, rotation::end),
    alone("expired", true, expired::tell),
];

fn names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(STORIES.map(|story| story.name))
}

/// `lab test`: prints a line per test and the totals; the exit code is 0 if nothing failed.
pub fn test(args: &TestArgs) -> Result<ExitCode> {
    let mut tally = Tally::default();
    let stories = || STORIES.iter().filter(|story| chosen(args, story));
    if stories().any(|story| matches!(story.tell, Tell::Shared(_))) {
        let bench = Bench::prepare(&args.bench)?;
        let mut healthy = true;
        for story in stories() {
            if let Tell::Shared(tell) = story.tell {
                healthy = told(&bench, story, tell, healthy, &mut tally);
            }
        }
        bench.close()?;
    }
    for story in stories() {
        if let Tell::Alone(tell) = story.tell {
            let failed_before = tally.failed();
            let outcome = tell(&args.bench, &mut tally);
            account(story, &outcome, failed_before, &mut tally);
            args.bench.close()?;
        }
    }
    Ok(tally.finish())
}

/// True if the next story finds the cluster as healthy as this one did.
fn told(
    bench: &Bench,
    story: &Story,
    tell: fn(&Bench, &mut Tally) -> Result<()>,
    healthy: bool,
    tally: &mut Tally,
) -> bool {
    if !healthy && let Err(error) = bench.restore() {
        tally.fail(&format!("{}: the cluster comes back from its snapshot", story.name), &error);
        return false;
    }
    let failed_before = tally.failed();
    let outcome = tell(bench, tally);
    account(story, &outcome, failed_before, tally);
    if tally.failed() > failed_before {
        bench.explain();
    }
    story.leaves_healthy && outcome.is_ok() && tally.failed() == failed_before
}

/// A story that cannot go on ends with an error, which one of its tests has shown already, or else is shown here.
fn account(story: &Story, outcome: &Result<()>, failed_before: usize, tally: &mut Tally) {
    if let Err(error) = outcome
        && tally.failed() == failed_before
    {
        tally.fail(story.name, error);
    }
}

/// A story with clusters of its own takes the shared one away: where that is to stay, it is told only by name.
fn chosen(args: &TestArgs, story: &Story) -> bool {
    if !args.stories.is_empty() {
        return args.stories.iter().any(|name| name == story.name);
    }
    let in_the_way = args.bench.stays() && matches!(story.tell, Tell::Alone(_));
    (args.all || story.usual) && !in_the_way
}
