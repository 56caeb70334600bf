//! `lab torture`: every phase of a rotation × everything that can be killed or cut off, from a healthy cluster each time.

use std::fmt::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::bench::{Bench, BenchOptions};
use super::command::Rotation;
use super::evidence::{Before, completed};
use super::figures::Cut;
use super::power::{begin_cut, end_cut};
use super::rotation::LIMIT;
use super::watch::Watch;

const RATE: u32 = 100;
const PHASE: Duration = Duration::from_secs(300);
/// How long power is off. Shorter than the control plane needs to notice, and longer than every connection's patience.
const OUTAGE: Duration = Duration::from_secs(25);

/// The phases that a rotation enters, by their names on certctl's command line.
const PHASES: [&str; 9] = [
    "Staged",
    "CPTrusted",
    "DPTrusted",
    "CPReissued",
    "SignerSwitched",
    "DPReissued",
    "CPUntrusted",
    "DPUntrusted",
    "Completed",
];

/// Arguments of `lab torture`.
#[derive(Args, Clone, Debug)]
pub struct TortureArgs {
    /// Only this phase (repeatable)
    #[arg(long, value_name = "PHASE", value_parser = clap::builder::PossibleValuesParser::new(PHASES))]
    phase: Vec<String>,
    /// Only this disturbance (repeatable)
    #[arg(long, value_enum)]
    disturb: Vec<Disturbance>,
    /// Only at this moment (repeatable)
    #[arg(long, value_enum)]
    at: Vec<Moment>,
    #[command(flatten)]
    bench: BenchOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Disturbance {
    KillDriver,
    KillAgent,
    CutWorker,
    CutControlPlane,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Moment {
    /// Between two phases, while nobody drives
    Boundary,
    /// As soon as the phase is entered
    Entered,
    /// As soon as a node is being changed in it
    Changing,
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Disturbance::KillDriver => "kill -9 driver",
            Disturbance::KillAgent => "kill -9 agent",
            Disturbance::CutWorker => "power of worker",
            Disturbance::CutControlPlane => "power of control plane",
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Moment::Boundary => "before",
            Moment::Entered => "entered",
            Moment::Changing => "changing",
        })
    }
}

struct Case {
    phase: &'static str,
    disturbance: Disturbance,
    moment: Moment,
}

pub fn run(args: &TortureArgs) -> Result<ExitCode> {
    let cases = cases(args);
    let bench = Bench::prepare(&args.bench)?;
    let mut table = format!("{:15} {:9} {:23} {:>9}  OUTCOME\n", "PHASE", "WHEN", "DISTURBANCE", "SECONDS");
    let mut failed = 0;
    for (number, case) in cases.iter().enumerate() {
        eprintln!("lab: case {} of {}: {} {}, {}", number + 1, cases.len(), case.moment, case.phase, case.disturbance);
        let began = Instant::now();
        let outcome = bench.restore().and_then(|()| case.run(&bench));
        if outcome.is_err() {
            failed += 1;
            bench.explain();
        }
        let outcome = outcome.unwrap_or_else(|error| format!("FAILED: {error:#}").replace('\n', "; "));
        let (seconds, Case { phase, disturbance, moment }) = (began.elapsed().as_secs_f64(), case);
        let line = format!("{phase:15} {moment:9} {disturbance:23} {seconds:>9.1}  {outcome}");
        eprintln!("lab: {line}");
        let _ = writeln!(table, "{line}");
    }
    bench.close()?;
    println!("{table}{} passed, {failed} failed", cases.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cases(args: &TortureArgs) -> Vec<Case> {
    let mut cases = Vec::new();
    for phase in
        PHASES.into_iter().filter(|name| args.phase.is_empty() || args.phase.iter().any(|wanted| wanted == name))
    {
        for &moment in Moment::value_variants().iter().filter(|moment| args.at.is_empty() || args.at.contains(moment)) {
            // The new CA is made and handed out, but no file in use is touched.
            if (phase, moment) == ("Staged", Moment::Changing) {
                continue;
            }
            for &disturbance in Disturbance::value_variants() {
                if args.disturb.is_empty() || args.disturb.contains(&disturbance) {
                    cases.push(Case { phase, disturbance, moment });
                }
            }
        }
    }
    cases
}

impl Case {
    /// What is said of it when it succeeds.
    fn run(&self, bench: &Bench) -> Result<String> {
        let before = Before::look(bench)?;
        let watch = Watch::start(RATE)?;
        let (rotation, cuts) = self.disturb(bench)?;
        rotation.finish(LIMIT)?.expect(0)?;
        completed(bench, 2)?;
        let figures = watch.end()?;
        figures.failed_only_by(&cuts)?;
        before.rotated(bench, &[])?;
        Ok(figures.line())
    }

    /// Brings a rotation to the moment, disturbs it, and returns the run that has to complete it.
    fn disturb(&self, bench: &Bench) -> Result<(Rotation, Vec<Cut>)> {
        if self.disturbance == Disturbance::KillDriver {
            let mut rotation = bench.rotate(&[])?;
            self.reach(&mut rotation)?;
            rotation.kill()?;
            return Ok((bench.rotate(&[])?, Vec::new()));
        }
        if self.moment == Moment::Boundary {
            let paused = bench.rotate(&["--pause-before", self.phase])?.finish(LIMIT)?.expect(0)?;
            if !paused.out.contains(r#""type":"Paused""#) {
                bail!("it did not stop before {}", self.phase);
            }
            return self.strike(bench, |bench| bench.rotate(&[]));
        }
        let mut rotation = bench.rotate(&[])?;
        self.reach(&mut rotation)?;
        self.strike(bench, |_| Ok(rotation))
    }

    /// Waits until a run that is not paused is at the moment.
    fn reach(&self, rotation: &mut Rotation) -> Result<()> {
        let before = PHASES.iter().position(|phase| *phase == self.phase).and_then(|number| number.checked_sub(1));
        match (self.moment, before.map(|number| PHASES[number])) {
            // As soon as it has anything to say.
            (Moment::Boundary, None) => rotation.wait_for("any event", PHASE, |_| true).map(drop),
            (Moment::Boundary, Some(before)) => {
                let over = |event: &Value| event["type"] == "PhaseDone" && event["phase"] == before;
                rotation.wait_for(&format!("the end of {before}"), PHASE, over).map(drop)
            }
            (Moment::Entered, _) => rotation.wait_phase(self.phase, PHASE).map(drop),
            (Moment::Changing, _) => {
                rotation.wait_phase(self.phase, PHASE)?;
                let event = rotation.wait_for("a node being changed", PHASE, |event| {
                    event["type"] == "NodeChanging" || event["type"] == "PhaseDone"
                })?;
                if event["type"] != "NodeChanging" {
                    bail!("no node was changed in {}", self.phase);
                }
                Ok(())
            }
        }
    }

    /// Kills an agent or cuts a node's power. `driven` gives the run that goes on meanwhile.
    fn strike(&self, bench: &Bench, driven: impl FnOnce(&Bench) -> Result<Rotation>) -> Result<(Rotation, Vec<Cut>)> {
        let node = match self.disturbance {
            Disturbance::CutWorker => bench.last_worker()?,
            _ => bench.other_control_plane()?,
        };
        if self.disturbance == Disturbance::KillAgent {
            bench.kill_agent(&node)?;
            return Ok((driven(bench)?, Vec::new()));
        }
        let cut = begin_cut(bench, &node)?;
        let rotation = driven(bench)?;
        // The outage itself; nothing is waited for.
        std::thread::sleep(OUTAGE);
        Ok((rotation, vec![end_cut(bench, &node, cut)?]))
    }
}
