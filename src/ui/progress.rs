//! A run's events on the terminal: bars, plain lines, or one JSON object a line.

mod bars;
mod lines;

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use schemars::Schema;

use crate::rotation::Event;

use super::API_VERSION;
use super::document::schema_with_head;
use bars::Bars;
use lines::PlainLines;

/// How to show progress (`--progress`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressChoice {
    /// Bars on a terminal, JSON with `-o json`, lines elsewhere.
    #[default]
    Auto,
    /// Lines.
    Plain,
    /// One JSON object a line, on stdout.
    Json,
    /// Nothing.
    None,
}

impl fmt::Display for ProgressChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Plain => "plain",
            Self::Json => "json",
            Self::None => "none",
        })
    }
}

/// Characters that carry meaning without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Done.
    pub done: &'static str,
    /// Under way.
    pub busy: &'static str,
    /// Stopped.
    pub stopped: &'static str,
    /// Goes on, but somebody should look.
    pub warned: &'static str,
    /// Not known.
    pub unknown: &'static str,
}

impl Marks {
    /// For UTF-8 terminals.
    pub const UNICODE: Self = Self { done: "✓", busy: "…", stopped: "✗", warned: "!", unknown: "?" };
    /// For all others.
    pub const ASCII: Self = Self { done: "+", busy: "~", stopped: "x", warned: "!", unknown: "?" };

    fn spinner(self) -> &'static str {
        if self == Self::UNICODE { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " } else { "|/-\\ " }
    }
}

/// The renderer of a run's events.
#[derive(Debug)]
pub struct Progress {
    renderer: Renderer,
}

#[derive(Debug)]
enum Renderer {
    Bars(Box<Bars>),
    Lines(PlainLines),
    Json,
    Silent,
}

impl Progress {
    pub(super) fn new(choice: ProgressChoice, json: bool, terminal: bool, marks: Marks) -> Self {
        let renderer = match choice {
            ProgressChoice::None => Renderer::Silent,
            ProgressChoice::Json => Renderer::Json,
            ProgressChoice::Auto if json => Renderer::Json,
            ProgressChoice::Auto if terminal => Renderer::Bars(Box::new(Bars::new(marks))),
            ProgressChoice::Auto | ProgressChoice::Plain => Renderer::Lines(PlainLines::start(HEARTBEAT)),
        };
        Self { renderer }
    }

    /// Shows one event.
    pub fn report(&mut self, event: &Event) {
        match &mut self.renderer {
            Renderer::Bars(bars) => bars.report(event),
            Renderer::Lines(lines) => lines.report(event),
            Renderer::Json => json_line(event),
            Renderer::Silent => {}
        }
    }
}

/// The words for a snapshot of etcd.
fn snapshot_words(node: &str, path: &str, bytes: i64, revision: i64) -> String {
    format!("saved etcd, revision {revision}: {path} on {node}, {} KiB", bytes / 1024)
}

/// The words for the end of a renewal.
fn renewed_words(certificates: usize, nodes: usize, seconds: f64) -> String {
    let count = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    format!("{} renewed on {} in {seconds:.1} s", count(certificates, "certificate"), count(nodes, "node"))
}

/// How long plain output may stay silent: long enough for a log, short enough for CI systems that kill silent jobs.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The `kind` of one line of a run with `-o json`. It has the time `at` which it was observed, and no `generatedAt`.
pub const EVENT_KIND: &str = "RotationEvent";

fn json_line(event: &Event) {
    // An event is data: it goes to stdout. When the reader is gone, the rotation goes on.
    if let Ok(text) = encode(event) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

fn encode(event: &Event) -> serde_json::Result<String> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Line<'a> {
        api_version: &'static str,
        kind: &'static str,
        #[serde(flatten)]
        event: &'a Event,
    }
    serde_json::to_string(&Line { api_version: API_VERSION, kind: EVENT_KIND, event })
}

/// The JSON schema of one line.
#[must_use]
pub fn event_schema() -> Schema {
    schema_with_head::<Event>(EVENT_KIND, &[])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rotation::{EventKind, Phase, RenewalPhase, RunPhase};
    use crate::ui::conformance::conforms;

    #[test]
    fn the_choice_decides_and_auto_looks_at_format_and_terminal() {
        let made = |choice, json, terminal| Progress::new(choice, json, terminal, Marks::ASCII).renderer;
        assert!(matches!(made(ProgressChoice::Auto, false, true), Renderer::Bars(_)));
        assert!(matches!(made(ProgressChoice::Auto, false, false), Renderer::Lines(_)));
        assert!(matches!(made(ProgressChoice::Auto, true, true), Renderer::Json));
        assert!(matches!(made(ProgressChoice::Plain, true, true), Renderer::Lines(_)));
        assert!(matches!(made(ProgressChoice::None, true, true), Renderer::Silent));
    }

    #[test]
    fn a_json_line_names_its_version_and_kind() {
        let kind = EventKind::Paused { before: Phase::CPUntrusted };
        let event = Event { at: jiff::Timestamp::UNIX_EPOCH, rotation: "r".into(), kind };
        let line = encode(&event).unwrap();
        assert!(line.starts_with(r#"{"apiVersion":"certctl.dev/v1alpha1","kind":"RotationEvent","at":"#), "{line}");
        assert!(line.ends_with(r#""type":"Paused","before":"CPUntrusted"}"#), "{line}");
    }

    fn one_of_each_type() -> Vec<EventKind> {
        let (node, seconds) = ("cp-1".to_owned(), 1.5);
        let (rotation, renewal) = (RunPhase::Rotation(Phase::Staged), RunPhase::Renewal(RenewalPhase::Workers));
        vec![
            EventKind::PhaseStarted { phase: rotation, number: 2, of: 10, title: Phase::Staged.title().into() },
            EventKind::Waiting { waiting_for: vec!["node/w-1: its agent does not respond".into()] },
            EventKind::NodeChanging { node: node.clone(), ops: vec!["restart the kubelet".into()] },
            EventKind::NodeDone { node: node.clone(), seconds },
            EventKind::PhaseDone { phase: renewal, seconds },
            EventKind::Paused { before: Phase::DROP },
            EventKind::Blocked { reasons: vec!["node/w-1: not Ready".into()] },
            EventKind::Warning { message: "a node joins".into() },
            EventKind::SnapshotSaved { node, path: "/x".into(), bytes: 1, revision: 2, sha256: "ab".into() },
            EventKind::Renewed { certificates: 11, nodes: 1, seconds },
            EventKind::Finished { ca_version: 2, seconds, message: "done".into() },
        ]
    }

    #[test]
    fn a_json_line_of_each_type_fits_the_schema_which_has_no_other_type() {
        let schema = event_schema();
        let mut types = BTreeSet::new();
        for kind in one_of_each_type() {
            let event = Event { at: jiff::Timestamp::UNIX_EPOCH, rotation: "r".into(), kind };
            let line: serde_json::Value = serde_json::from_str(&encode(&event).unwrap()).unwrap();
            conforms(schema.as_value(), &line).unwrap();
            types.insert(line["type"].clone().to_string());
        }
        let branches = schema.as_value()["oneOf"].as_array().unwrap();
        let known = branches.iter().map(|branch| branch["properties"]["type"]["const"].to_string()).collect();
        assert_eq!(types, known);
    }
}
