//! Scenarios: certctl at work on the lab's cluster, disturbed in every way that a cluster can be.
//!
//! A story begins with one healthy cluster, brought back from a snapshot, and consists of tests that follow each other on
//! it. What a test asks of the cluster it asks past certctl wherever it can: node files, kubectl, the prober.

mod bench;
mod blow;
mod command;
mod evidence;
mod figures;
mod kills;
mod operator;
mod power;
mod refusals;
mod rollback;
mod rotation;
mod tally;
mod torture;
mod unfit;
mod waiver;
mod watch;

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
    tell: fn(&Bench, &mut Tally) -> Result<()>,
}

const fn story(name: &'static str, usual: bool, tell: fn(&Bench, &mut Tally) -> Result<()>) -> Story {
    Story { name, usual, leaves_healthy: false, tell }
}

/// Those that change nothing come first.
const STORIES: [Story; 10] = [
    Story { leaves_healthy: true, ..story("refusals", true, refusals::tell) },
    story("etcd", false, unfit::etcd),
    story("rotation", true, rotation::tell),
    story("drivers", true, kills::drivers),
    story("agents", true, kills::agents),
    story("power", true, power::tell),
    story("rollback", true, rollback::tell),
    story("waiver", false, waiver::tell),
    story("waiver-control-plane", false, waiver::control_plane),
    story("end", true, rotation::end),
];

fn names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(STORIES.map(|story| story.name))
}

/// `lab test`: prints a line per test and the totals; the exit code is 0 if nothing failed.
pub fn test(args: &TestArgs) -> Result<ExitCode> {
    let mut tally = Tally::default();
    let bench = Bench::prepare(&args.bench)?;
    let mut healthy = true;
    for story in STORIES.iter().filter(|story| chosen(args, story)) {
        if !healthy && let Err(error) = bench.restore() {
            tally.fail(&format!("{}: the cluster comes back from its snapshot", story.name), &error);
            continue;
        }
        let failed_before = tally.failed();
        // The reason is printed already: a story that cannot go on ends here.
        let told = (story.tell)(&bench, &mut tally);
        if let Err(error) = &told
            && tally.failed() == failed_before
        {
            tally.fail(story.name, error);
        }
        if tally.failed() > failed_before {
            bench.explain();
        }
        healthy = story.leaves_healthy && told.is_ok() && tally.failed() == failed_before;
    }
    bench.close()?;
    Ok(tally.finish())
}

fn chosen(args: &TestArgs, story: &Story) -> bool {
    if args.stories.is_empty() { args.all || story.usual } else { args.stories.iter().any(|name| name == story.name) }
}
