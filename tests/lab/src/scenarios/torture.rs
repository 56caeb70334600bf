//! `lab torture`: every phase of a rotation × everything that can be killed or cut off, from a healthy cluster each time; or, with
//! `--sweep`, as many of them in one rotation as it lives through.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::bench::{Bench, BenchOptions};
use super::blow::{Blow, Disturbance, Moment, PHASES};
use super::command::Rotation;
use super::evidence::{Before, completed};
use super::figures::Cut;
use super::rotation::LIMIT;
use super::watch::Watch;

const RATE: u32 = 100;

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
    /// Strike in every phase of one rotation instead of a rotation for each. Phases that pass while a node is off are struck in
    /// the next
    #[arg(long)]
    sweep: bool,
    #[command(flatten)]
    bench: BenchOptions,
}

/// One rotation and what befalls it, in the order of the phases.
struct Case {
    name: String,
    blows: Vec<Blow>,
}

impl Case {
    fn single(blow: Blow) -> Case {
        Case { name: format!("{:15} {:9} {}", blow.phase, blow.moment, blow.disturbance), blows: vec![blow] }
    }

    /// Blows of the same kind, at the same moment of different phases.
    fn sweep(blows: Vec<Blow>) -> Option<Case> {
        let first = blows.first()?;
        let name = format!("{:15} {:9} {}", format!("{} in a row", blows.len()), first.moment, first.disturbance);
        Some(Case { name, blows })
    }
}

/// What a case came to.
struct Outcome {
    figures: String,
    /// Their phases had passed while a node was off.
    missed: Vec<Blow>,
}

pub fn run(args: &TortureArgs) -> Result<ExitCode> {
    let mut cases = cases(args);
    let bench = Bench::prepare(&args.bench)?;
    let mut table = format!("{:49} {:>9}  OUTCOME\n", format!("{:15} {:9} DISTURBANCE", "PHASE", "WHEN"), "SECONDS");
    let (mut passed, mut failed) = (0, 0);
    while let Some(case) = cases.pop_front() {
        eprintln!("lab: {}, {} more to come", case.name, cases.len());
        let began = Instant::now();
        let outcome = bench.restore().and_then(|()| case.run(&bench));
        let told = match outcome {
            Ok(Outcome { figures, missed }) => {
                passed += 1;
                let told = case.struck(&missed, &figures);
                if let Some(rest) = Case::sweep(missed) {
                    cases.push_front(rest);
                }
                told
            }
            Err(error) => {
                failed += 1;
                bench.explain();
                format!("FAILED: {error:#}").replace('\n', "; ")
            }
        };
        let line = format!("{:49} {:>9.1}  {told}", case.name, began.elapsed().as_secs_f64());
        eprintln!("lab: {line}");
        let _ = writeln!(table, "{line}");
    }
    bench.close()?;
    println!("{table}{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cases(args: &TortureArgs) -> VecDeque<Case> {
    let blows = blows(args);
    if !args.sweep {
        return blows.into_iter().map(Case::single).collect();
    }
    let kinds = Disturbance::value_variants()
        .iter()
        .flat_map(|what| Moment::value_variants().iter().map(move |when| (what, when)));
    let of = |(what, when): (&Disturbance, &Moment)| {
        Case::sweep(blows.iter().filter(|blow| (&blow.disturbance, &blow.moment) == (what, when)).copied().collect())
    };
    kinds.filter_map(of).collect()
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
    fn run(&self, bench: &Bench) -> Result<Outcome> {
        let before = Before::look(bench)?;
        let watch = Watch::start(RATE)?;
        let (mut cuts, mut missed) = (Vec::new(), Vec::new());
        let running = if self.blows.iter().any(|blow| blow.cuts_while_running()) {
            self.cut_again_and_again(bench, &mut cuts, &mut missed)?
        } else {
            self.strike_in_order(bench, &mut cuts)?
        };
        running.finish(LIMIT)?.expect(0)?;
        completed(bench, 2)?;
        let figures = watch.end()?;
        figures.failed_only_by(&cuts)?;
        before.rotated(bench, &[])?;
        Ok(Outcome { figures: figures.line(), missed })
    }

    fn strike_in_order(&self, bench: &Bench, cuts: &mut Vec<Cut>) -> Result<Rotation> {
        let mut running = None;
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
        running.context("nothing was disturbed")
    }

    /// The rotation goes on while a node is off, through phases that do not need it: which one is struck next is seen, not known.
    fn cut_again_and_again(&self, bench: &Bench, cuts: &mut Vec<Cut>, missed: &mut Vec<Blow>) -> Result<Rotation> {
        let mut rotation = bench.rotate(&[])?;
        missed.extend(&self.blows);
        while let Some(number) = Blow::next_of(missed, &mut rotation)? {
            let blow = missed.remove(number);
            eprintln!("lab: {} {}, {}", blow.moment, blow.phase, blow.disturbance);
            let cut;
            (rotation, cut) = blow.fall(bench, |_| Ok(rotation))?;
            cuts.extend(cut);
        }
        if cuts.is_empty() {
            bail!("no phase could be struck of {}", phases(missed));
        }
        Ok(rotation)
    }

    fn struck(&self, missed: &[Blow], figures: &str) -> String {
        let struck: Vec<Blow> = self.blows.iter().filter(|blow| !missed.contains(blow)).copied().collect();
        if self.blows.len() == 1 { figures.to_owned() } else { format!("struck {}; {figures}", phases(&struck)) }
    }
}

fn phases(blows: &[Blow]) -> String {
    blows.iter().map(|blow| blow.phase).collect::<Vec<_>>().join(", ")
}
