//! Progress on a terminal: a line per phase that stays, with a mark per node.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Marks, renewed_words, snapshot_words};
use crate::rotation::{Event, EventKind};

/// How many nodes fit on a line by name.
const NAMED: usize = 8;

/// How often the spinner of the current phase turns.
const TURN: Duration = Duration::from_millis(120);

/// One spinner line for the current phase, above it the finished ones.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    current: Option<ProgressBar>,
    phase: PhaseLine,
}

impl Bars {
    pub(super) fn new(marks: Marks) -> Self {
        Self { all: MultiProgress::new(), current: None, phase: PhaseLine::new(marks) }
    }

    pub(super) fn report(&mut self, event: &Event) {
        if matches!(event.kind, EventKind::PhaseStarted { .. }) {
            // A phase that shows no end of its own is over when the next one starts.
            self.end_phase(self.phase.marks.done);
        }
        self.phase.take(&event.kind);
        match &event.kind {
            EventKind::PhaseStarted { .. } => self.start_phase(),
            EventKind::PhaseDone { .. } => self.end_phase(self.phase.marks.done),
            EventKind::Paused { before } => {
                self.end_phase(self.phase.marks.done);
                self.say(&format!("paused before {before}"));
            }
            EventKind::Blocked { reasons } => {
                self.end_phase(self.phase.marks.stopped);
                reasons.iter().for_each(|reason| self.say(&format!("blocked: {reason}")));
            }
            EventKind::Warning { message } => self.say(&format!("warning: {message}")),
            EventKind::SnapshotSaved { node, path, bytes, revision, .. } => {
                self.say(&snapshot_words(node, path, *bytes, *revision));
            }
            EventKind::Renewed { certificates, nodes, seconds } => {
                self.end_phase(self.phase.marks.done);
                self.say(&renewed_words(*certificates, *nodes, *seconds));
            }
            EventKind::Finished { ca_version, seconds, message } => {
                self.end_phase(self.phase.marks.done);
                self.say(&format!("finished at CAVersion {ca_version} in {seconds:.1} s: {message}"));
            }
            EventKind::Waiting { .. } | EventKind::NodeChanging { .. } | EventKind::NodeDone { .. } => {
                if let Some(bar) = &self.current {
                    bar.set_message(self.phase.text());
                }
            }
        }
    }

    fn start_phase(&mut self) {
        let bar = self.all.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed:>4}") {
            bar.set_style(style.tick_chars(self.phase.marks.spinner()));
        }
        bar.enable_steady_tick(TURN);
        bar.set_message(self.phase.text());
        self.current = Some(bar);
    }

    fn end_phase(&mut self, mark: &str) {
        if let Some(bar) = self.current.take() {
            if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_msg} {elapsed:>4}") {
                bar.set_style(style);
            }
            bar.set_prefix(mark.to_owned());
            bar.finish_with_message(self.phase.text());
        }
    }

    fn say(&self, line: &str) {
        // Goes above the bars, so that neither tears the other.
        let _ = self.all.println(line);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // A phase that was left in the middle stays on the screen as it is.
        self.end_phase(self.phase.marks.stopped);
    }
}

/// The text of the current phase's line.
#[derive(Debug)]
struct PhaseLine {
    marks: Marks,
    title: String,
    nodes: BTreeMap<String, bool>,
    waiting_for: Vec<String>,
}

impl PhaseLine {
    fn new(marks: Marks) -> Self {
        Self { marks, title: String::new(), nodes: BTreeMap::new(), waiting_for: Vec::new() }
    }

    fn take(&mut self, kind: &EventKind) {
        match kind {
            EventKind::Waiting { waiting_for } => self.waiting_for.clone_from(waiting_for),
            EventKind::NodeChanging { node, .. } => {
                self.nodes.insert(node.clone(), false);
            }
            EventKind::NodeDone { node, .. } => {
                self.nodes.insert(node.clone(), true);
            }
            EventKind::PhaseDone { .. } => self.waiting_for.clear(),
            EventKind::PhaseStarted { phase, number, of, title } => {
                *self = Self::new(self.marks);
                self.title = format!("{number:>2}/{of} {:<15} {title}", phase.name());
            }
            EventKind::Paused { .. }
            | EventKind::Blocked { .. }
            | EventKind::Warning { .. }
            | EventKind::SnapshotSaved { .. }
            | EventKind::Renewed { .. }
            | EventKind::Finished { .. } => {}
        }
    }

    fn text(&self) -> String {
        let waiting = match self.waiting_for.split_first() {
            None => String::new(),
            Some((first, [])) => format!("  waiting for {first}"),
            Some((first, rest)) => format!("  waiting for {first} and {} more", rest.len()),
        };
        format!("{} {}{waiting}", self.title, self.nodes())
    }

    /// A mark and a name per node; in a large cluster a count, and the names of some that are under way.
    fn nodes(&self) -> String {
        let marked = |(node, done): (&String, &bool)| {
            let mark = if *done { self.marks.done } else { self.marks.busy };
            format!(" {mark}{node}")
        };
        if self.nodes.len() <= NAMED {
            return self.nodes.iter().map(marked).collect();
        }
        let done = self.nodes.values().filter(|done| **done).count();
        let busy: String = self.nodes.iter().filter(|(_, done)| !**done).take(NAMED / 2).map(marked).collect();
        format!(" {}{done}/{}{busy}", self.marks.done, self.nodes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::{Phase, RunPhase};

    fn started(phase: Phase) -> EventKind {
        EventKind::PhaseStarted { phase: RunPhase::Rotation(phase), number: 3, of: 10, title: "widen trust".into() }
    }

    #[test]
    fn the_line_marks_nodes_and_counts_what_it_waits_for() {
        let mut line = PhaseLine::new(Marks::ASCII);
        line.take(&started(Phase::CPTrusted));
        line.take(&EventKind::NodeChanging { node: "cp-1".into(), ops: vec![] });
        line.take(&EventKind::NodeDone { node: "cp-1".into(), seconds: 1.0 });
        line.take(&EventKind::NodeChanging { node: "cp-2".into(), ops: vec![] });
        line.take(&EventKind::Waiting { waiting_for: vec!["cp-2".into(), "cp-3".into()] });
        assert_eq!(line.text(), " 3/10 CPTrusted       widen trust  +cp-1 ~cp-2  waiting for cp-2 and 1 more");
        line.take(&started(Phase::DPTrusted));
        assert_eq!(line.text(), " 3/10 DPTrusted       widen trust ");
    }

    #[test]
    fn many_nodes_are_counted_and_a_few_busy_ones_named() {
        let mut line = PhaseLine::new(Marks::ASCII);
        line.take(&started(Phase::DPTrusted));
        for number in 0..5000 {
            line.take(&EventKind::NodeChanging { node: format!("w-{number:04}"), ops: vec![] });
        }
        for number in 2..4990 {
            line.take(&EventKind::NodeDone { node: format!("w-{number:04}"), seconds: 1.0 });
        }
        assert_eq!(line.nodes(), " +4988/5000 ~w-0000 ~w-0001 ~w-4990 ~w-4991");
    }
}
