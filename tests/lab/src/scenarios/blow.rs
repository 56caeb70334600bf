//! One disturbance of a rotation: what, in which phase, and at which moment of it.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use super::bench::Bench;
use super::command::Rotation;
use super::figures::Cut;
use super::power::{begin_cut, end_cut};
use super::rotation::LIMIT;

const PHASE: Duration = Duration::from_secs(300);
/// How long power is off. Shorter than the control plane needs to notice, and longer than every connection's patience.
const OUTAGE: Duration = Duration::from_secs(25);

/// The phases that a rotation enters, by their names on certctl's command line.
pub const PHASES: [&str; 9] = [
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Disturbance {
    KillDriver,
    KillAgent,
    CutWorker,
    CutControlPlane,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Moment {
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

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Blow {
    pub phase: &'static str,
    pub disturbance: Disturbance,
    pub moment: Moment,
}

impl Blow {
    /// Whether the rotation stands still when it falls.
    pub fn pauses(&self) -> bool {
        self.moment == Moment::Boundary && self.disturbance != Disturbance::KillDriver
    }

    /// Whether it takes a node's power in the middle of a run.
    pub fn cuts_while_running(&self) -> bool {
        matches!(self.disturbance, Disturbance::CutWorker | Disturbance::CutControlPlane) && !self.pauses()
    }

    /// Waits until the rotation is, now, at the moment of one of these; `None` when it ends before.
    pub fn next_of(blows: &[Blow], rotation: &mut Rotation) -> Result<Option<usize>> {
        let mut phase = String::new();
        let mut found = None;
        let live = rotation.wait_live(PHASE, |event| {
            if event["type"] == "PhaseStarted" {
                phase = event["phase"].as_str().unwrap_or_default().to_owned();
            }
            let moment = match event["type"].as_str() {
                Some("PhaseStarted") => Moment::Entered,
                Some("NodeChanging") => Moment::Changing,
                _ => return false,
            };
            found = blows.iter().position(|blow| (blow.phase, blow.moment) == (phase.as_str(), moment));
            found.is_some()
        })?;
        Ok(found.filter(|_| live))
    }

    /// Brings a rotation to the moment, disturbs it, and returns the run that has to complete it, which `go_on` starts where a new one is
    /// needed.
    pub fn strike(
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
    pub fn fall(
        &self,
        bench: &Bench,
        driven: impl FnOnce(&Bench) -> Result<Rotation>,
    ) -> Result<(Rotation, Option<Cut>)> {
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
