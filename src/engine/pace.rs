//! The pace of a run: phases entered and left, nodes done, patience, and what is said about it.

use std::time::Instant;

use jiff::Timestamp;

use super::driver::{Driver, Outcome};
use crate::error::{Error, ErrorKind};
use crate::rotation::matrix::Violation;
use crate::rotation::{Event, EventKind, Inventory, Phase, RunPhase, phase_of};

impl Driver {
    /// Edges that no step of this run broke: said once, and no reason to stop.
    pub(super) fn warn_of_broken(&mut self, broken: &[Violation]) {
        for violation in broken {
            self.warn_once(violation.to_string().replace("would be refused", "is refused already"));
        }
    }

    /// Says something beside the rotation's own events, once in this run.
    pub(super) fn warn_once(&mut self, message: String) {
        if !self.warned.contains(&message) {
            self.emit(EventKind::Warning { message: message.clone() });
            self.warned.push(message);
        }
    }

    pub(super) fn note_done(&mut self, look: &Inventory) {
        let done: Vec<(String, f64)> = self
            .changing
            .iter()
            .filter(|(name, _)| look.nodes.get(*name).is_some_and(|node| !node.busy()))
            .map(|(name, since)| (name.clone(), since.elapsed().as_secs_f64()))
            .collect();
        for (node, seconds) in done {
            self.changing.remove(&node);
            self.progress = Instant::now();
            self.emit(EventKind::NodeDone { node, seconds });
        }
    }

    pub(super) async fn enter(&mut self, phase: Phase, look: &Inventory) -> Result<(), Error> {
        if self.entered.is_some_and(|(entered, _)| entered == phase) {
            return Ok(());
        }
        self.leave();
        self.progress = Instant::now();
        self.entered = Some((phase, Instant::now()));
        self.emit(EventKind::PhaseStarted {
            phase: RunPhase::Rotation(phase),
            number: phase.number(),
            of: Phase::Completed.number(),
            title: phase.title().into(),
        });
        if phase > Phase::DPTrusted
            && self.record.rotation.as_ref().is_some_and(|rotation| rotation.trusted_at.is_none() && !rotation.rollback)
        {
            if let Some(rotation) = &mut self.record.rotation {
                rotation.trusted_at = Some(Timestamp::now().to_string());
            }
            self.write_spec().await?;
        }
        self.write_status(phase_of(look, &self.goal), look).await
    }

    pub(super) fn leave(&mut self) {
        if let Some((phase, since)) = self.entered.take() {
            let phase = RunPhase::Rotation(phase);
            self.emit(EventKind::PhaseDone { phase, seconds: since.elapsed().as_secs_f64() });
        }
    }

    pub(super) fn pause(&mut self, phase: Phase) -> Outcome {
        self.leave();
        self.emit(EventKind::Paused { before: phase });
        Outcome::Paused(phase)
    }

    pub(super) fn wait_for(&mut self, reasons: Vec<String>) -> Result<(), Error> {
        if reasons != self.waiting {
            // Something moved, if only one reason out of many.
            if reasons.len() < self.waiting.len() {
                self.progress = Instant::now();
            }
            self.emit(EventKind::Waiting { waiting_for: reasons.clone() });
            self.waiting.clone_from(&reasons);
        }
        self.patience(&reasons)
    }

    pub(super) fn patience(&self, reasons: &[String]) -> Result<(), Error> {
        if self.settings.timeout.is_zero() || self.progress.elapsed() < self.settings.timeout {
            return Ok(());
        }
        let phase = self.entered.map_or("the rotation", |(phase, _)| phase.name());
        let mut error =
            Error::new(ErrorKind::TimedOut, format!("{phase}: no progress for {} s", self.settings.timeout.as_secs()));
        for reason in reasons.iter().chain(self.changing.keys()).take(8) {
            error = error.caused_by(reason.clone());
        }
        let works = "the cluster works as it is; run the same command again to go on";
        let back = if self.record.rotating() { ", or `certctl rotate-ca rollback`" } else { "" };
        Err(error.hint(format!("{works}{back}")))
    }

    /// Says something beside the rotation's own events.
    pub fn note(&self, kind: EventKind) {
        self.emit(kind);
    }

    pub(super) fn emit(&self, kind: EventKind) {
        let event = Event { at: Timestamp::now(), rotation: self.record.rotation_name(), kind };
        // Whoever listened may have gone; the rotation goes on.
        drop(self.events.send(event));
    }
}
