//! Progress for logs: a line per change of state, and a sign of life in silence.

use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{renewed_words, snapshot_words};
use crate::rotation::{Event, EventKind};

/// Writes lines to stderr from a thread of its own, which also knows when nothing was said for a while.
#[derive(Debug)]
pub(super) struct PlainLines {
    sender: Option<Sender<Event>>,
    writer: Option<JoinHandle<()>>,
}

impl PlainLines {
    pub(super) fn start(heartbeat: Duration) -> Self {
        let (sender, events) = mpsc::channel();
        let writer = std::thread::spawn(move || {
            let mut script = Script::default();
            let started = Instant::now();
            loop {
                let lines = match events.recv_timeout(heartbeat) {
                    Ok(event) => script.lines(&event),
                    Err(RecvTimeoutError::Timeout) => script.heartbeat().into_iter().collect(),
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                write_lines(started.elapsed(), &lines);
            }
        });
        Self { sender: Some(sender), writer: Some(writer) }
    }

    pub(super) fn report(&self, event: &Event) {
        if let Some(sender) = &self.sender {
            // The writer ends only with the sender, so this cannot fail while both live.
            let _ = sender.send(event.clone());
        }
    }
}

impl Drop for PlainLines {
    fn drop(&mut self) {
        // Closing the channel ends the writer after its last line.
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write_lines(elapsed: Duration, lines: &[String]) {
    let mut err = std::io::stderr().lock();
    for line in lines {
        let _ = writeln!(err, "{:7.1}s  {line}", elapsed.as_secs_f64());
    }
}

/// How many observations that are waited for are named at once.
const NAMED: usize = 3;

/// What to say; knows no clock and no terminal.
#[derive(Debug, Default)]
struct Script {
    phase: &'static str,
    waiting_for: Vec<String>,
    over: bool,
}

impl Script {
    fn lines(&mut self, event: &Event) -> Vec<String> {
        match &event.kind {
            EventKind::PhaseStarted { phase, number, of, title } => {
                self.phase = phase.name();
                self.waiting_for.clear();
                vec![format!("phase {number}/{of} {}: {title}", self.phase)]
            }
            EventKind::Waiting { waiting_for } if *waiting_for == self.waiting_for => Vec::new(),
            EventKind::Waiting { waiting_for } => self.waiting(waiting_for),
            EventKind::NodeChanging { node, ops } => {
                vec![format!("{}: {node}: {}", self.phase, ops.join("; "))]
            }
            EventKind::NodeDone { node, seconds } => vec![format!("{}: {node}: done in {seconds:.1} s", self.phase)],
            EventKind::PhaseDone { phase, seconds } => {
                self.waiting_for.clear();
                vec![format!("phase {} done in {seconds:.1} s", phase.name())]
            }
            EventKind::Paused { before } => {
                self.over = true;
                vec![format!("paused before {before}")]
            }
            EventKind::Blocked { reasons } => reasons.iter().map(|reason| format!("blocked: {reason}")).collect(),
            EventKind::Warning { message } => vec![format!("warning: {message}")],
            EventKind::SnapshotSaved { node, path, bytes, revision, .. } => {
                vec![snapshot_words(node, path, *bytes, *revision)]
            }
            EventKind::Renewed { certificates, nodes, seconds } => {
                self.over = true;
                vec![renewed_words(*certificates, *nodes, *seconds)]
            }
            EventKind::Finished { ca_version, seconds, message } => {
                self.over = true;
                vec![format!("finished at CAVersion {ca_version} in {seconds:.1} s: {message}")]
            }
        }
    }

    /// What is new since the last time, the first few by name: a log of 5,000 nodes must stay readable.
    fn waiting(&mut self, waiting_for: &[String]) -> Vec<String> {
        let new: Vec<&String> = waiting_for.iter().filter(|what| !self.waiting_for.contains(what)).collect();
        let mut lines: Vec<String> =
            new.iter().take(NAMED).map(|what| format!("{}: waiting for {what}", self.phase)).collect();
        if new.len() > NAMED {
            lines.push(format!("{}: waiting for {} more", self.phase, new.len() - NAMED));
        }
        self.waiting_for = waiting_for.to_vec();
        lines
    }

    fn heartbeat(&self) -> Option<String> {
        if self.over {
            return None;
        }
        let phase = self.phase;
        Some(match self.waiting_for.as_slice() {
            [] => format!("{phase}: still at work"),
            waiting_for => format!("{phase}: still waiting for: {}", waiting_for.join("; ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::{Phase, RunPhase};

    fn say(script: &mut Script, kind: EventKind) -> Vec<String> {
        script.lines(&Event { at: jiff::Timestamp::UNIX_EPOCH, rotation: "r".into(), kind })
    }

    #[test]
    fn the_same_wait_is_said_once_and_repeated_by_the_heartbeat() {
        let mut script = Script::default();
        let phase = RunPhase::Rotation(Phase::Staged);
        let start = EventKind::PhaseStarted { phase, number: 2, of: 10, title: "make the new CA".into() };
        assert_eq!(say(&mut script, start), ["phase 2/10 Staged: make the new CA"]);
        assert_eq!(script.heartbeat().as_deref(), Some("Staged: still at work"));
        let wait = EventKind::Waiting { waiting_for: vec!["cp-2".into(), "cp-3".into()] };
        assert_eq!(say(&mut script, wait.clone()), ["Staged: waiting for cp-2", "Staged: waiting for cp-3"]);
        assert!(say(&mut script, wait).is_empty());
        assert_eq!(script.heartbeat().as_deref(), Some("Staged: still waiting for: cp-2; cp-3"));
    }

    #[test]
    fn after_the_end_there_is_no_heartbeat() {
        let mut script = Script::default();
        let end = EventKind::Finished { ca_version: 2, seconds: 41.04, message: "0 blocked".into() };
        assert_eq!(say(&mut script, end), ["finished at CAVersion 2 in 41.0 s: 0 blocked"]);
        assert_eq!(script.heartbeat(), None);
        let mut script = Script::default();
        let end = EventKind::Renewed { certificates: 22, nodes: 2, seconds: 41.04 };
        assert_eq!(say(&mut script, end), ["22 certificates renewed on 2 nodes in 41.0 s"]);
        assert_eq!(script.heartbeat(), None);
    }
}
