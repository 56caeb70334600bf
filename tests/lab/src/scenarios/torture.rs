//! `lab torture`: every phase of a rotation × everything that can be killed or cut off, from a healthy cluster each time; or, with
//! `--sweep`, all phases of one rotation in a row.

use std::fmt::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
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
    /// Kill in every phase of one rotation: minutes instead of hours. Power is cut once per rotation in any case
    #[arg(long)]
    sweep: bool,
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

#[derive(Clone, Copy)]
struct Blow {
    phase: &'static str,
    disturbance: Disturbance,
    moment: Moment,
}

/// One rotation and what befalls it, in the order of the phases.
struct Case {
    name: String,
    blows: Vec<Blow>,
}

pub fn run(args: &TortureArgs) -> Result<ExitCode> {
    let cases = cases(args);
    let bench = Bench::prepare(&args.bench)?;
    let mut table = format!("{:49} {:>9}  OUTCOME\n", format!("{:15} {:9} DISTURBANCE", "PHASE", "WHEN"), "SECONDS");
    let mut failed = 0;
    for (number, case) in cases.iter().enumerate() {
        eprintln!("lab: case {} of {}: {}", number + 1, cases.len(), case.name);
        let began = Instant::now();
        let outcome = bench.restore().and_then(|()| case.run(&bench));
        if outcome.is_err() {
            failed += 1;
            bench.explain();
        }
        let outcome = outcome.unwrap_or_else(|error| format!("FAILED: {error:#}").replace('\n', "; "));
        let line = format!("{:49} {:>9.1}  {outcome}", case.name, began.elapsed().as_secs_f64());
        eprintln!("lab: {line}");
        let _ = writeln!(table, "{line}");
    }
    bench.close()?;
    println!("{table}{} passed, {failed} failed", cases.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cases(args: &TortureArgs) -> Vec<Case> {
    let blows = blows(args);
    let single = |blow: Blow| Case {
        name: format!("{:15} {:9} {}", blow.phase, blow.moment, blow.disturbance),
        blows: vec![blow],
    };
    if !args.sweep {
        return blows.into_iter().map(single).collect();
    }
    let mut sweeps: Vec<Case> = Vec::new();
    for disturbance in Disturbance::value_variants() {
        for moment in Moment::value_variants() {
            let of = |blow: &&Blow| (blow.disturbance, blow.moment) == (*disturbance, *moment);
            let blows: Vec<Blow> = blows.iter().filter(of).copied().collect();
            // After a power cut the events are old, and the next blow would fall too late.
            if !matches!(disturbance, Disturbance::KillDriver | Disturbance::KillAgent) {
                sweeps.extend(blows.into_iter().map(single));
            } else if !blows.is_empty() {
                let name = format!("{:15} {moment:9} {disturbance}", format!("{} in a row", blows.len()));
                sweeps.push(Case { name, blows });
            }
        }
    }
    sweeps
}

fn blows(args: &TortureArgs) -> Vec<Blow> {
    let mut blows = Vec::new();
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
                    blows.push(Blow { phase, disturbance, moment });
                }
            }
        }
    }
    blows
}

impl Case {
    /// What is said of it when it succeeds.
    fn run(&self, bench: &Bench) -> Result<String> {
        let before = Before::look(bench)?;
        let watch = Watch::start(RATE)?;
        let (mut running, mut cuts) = (None, Vec::new());
        for (number, blow) in self.blows.iter().enumerate() {
            eprintln!("lab: {} {}, {}", blow.moment, blow.phase, blow.disturbance);
            let next = self.blows.get(number + 1).filter(|next| next.pauses());
            let go_on = |bench: &Bench| match next {
                Some(next) => bench.rotate(&["--pause-before", next.phase]),
                None => bench.rotate(&[]),
            };
            let (rotation, cut) = blow.strike(bench, running.take(), go_on)?;
            running = Some(rotation);
            cuts.extend(cut);
        }
        running.context("nothing was disturbed")?.finish(LIMIT)?.expect(0)?;
        completed(bench, 2)?;
        let figures = watch.end()?;
        figures.failed_only_by(&cuts)?;
        before.rotated(bench, &[])?;
        Ok(figures.line())
    }
}

impl Blow {
    /// Whether the rotation stands still when it falls.
    fn pauses(&self) -> bool {
        self.moment == Moment::Boundary && self.disturbance != Disturbance::KillDriver
    }

    /// Brings a rotation to the moment, disturbs it, and returns the run that has to complete it, which `go_on` starts where a new one is
    /// needed.
    fn strike(
        &self,
        bench: &Bench,
        running: Option<Rotation>,
        go_on: impl FnOnce(&Bench) -> Result<Rotation>,
    ) -> Result<(Rotation, Option<Cut>)> {
        let start = |words: &[&str]| running.map_or_else(|| bench.rotate(words), Ok);
        if self.disturbance == Disturbance::KillDriver {
            let mut rotation = start(&[])?;
            self.reach(&mut rotation)?;
            rotation.kill()?;
            return Ok((go_on(bench)?, None));
        }
        if self.pauses() {
            let paused = start(&["--pause-before", self.phase])?.finish(LIMIT)?.expect(0)?;
            if !paused.out.contains(r#""type":"Paused""#) {
                bail!("it did not stop before {}", self.phase);
            }
            return self.fall(bench, go_on);
        }
        let mut rotation = start(&[])?;
        self.reach(&mut rotation)?;
        rotation.still_in(self.phase)?;
        self.fall(bench, |_| Ok(rotation))
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
    fn fall(&self, bench: &Bench, driven: impl FnOnce(&Bench) -> Result<Rotation>) -> Result<(Rotation, Option<Cut>)> {
        if self.disturbance == Disturbance::KillAgent {
            // Another one each time: the kubelet waits longer and longer before it starts the same again.
            let mut nodes = bench.control_planes();
            nodes.push(bench.last_worker()?);
            let turn = PHASES.iter().position(|phase| *phase == self.phase).unwrap_or_default();
            bench.kill_agent(&nodes[(turn + 1) % nodes.len()])?;
            return Ok((driven(bench)?, None));
        }
        let node = match self.disturbance {
            Disturbance::CutWorker => bench.last_worker()?,
            _ => bench.other_control_plane()?,
        };
        let cut = begin_cut(bench, &node)?;
        let rotation = driven(bench)?;
        // The outage itself; nothing is waited for.
        std::thread::sleep(OUTAGE);
        Ok((rotation, Some(end_cut(bench, &node, cut)?)))
    }
}
