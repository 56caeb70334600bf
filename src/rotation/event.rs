//! What the engine says while it works; `ui` turns it into bars, lines or JSON. Nothing is decided on events.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::Phase;

/// One thing that happened in a rotation or in a renewal through the agents, with the time at which it was observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When it was observed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The rotation or the renewal that it belongs to.
    pub rotation: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// A phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RunPhase {
    /// Of a rotation.
    Rotation(Phase),
    /// Of a renewal.
    Renewal(RenewalPhase),
}

impl RunPhase {
    /// The name in events and in what is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rotation(phase) => phase.name(),
            Self::Renewal(RenewalPhase::ControlPlane) => "ControlPlane",
            Self::Renewal(RenewalPhase::Workers) => "Workers",
        }
    }
}

/// Which nodes a renewal is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RenewalPhase {
    /// Control-plane nodes, one after the other.
    ControlPlane,
    /// Workers, a few at a time.
    Workers,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum EventKind {
    /// A phase was entered (also when a rotation is taken up again in the middle of it).
    PhaseStarted {
        /// The phase.
        phase: RunPhase,
        /// Its number, counted from 1.
        number: usize,
        /// How many phases there are.
        of: usize,
        /// What it does, in a few words.
        title: String,
    },
    /// A gate is not passed yet. Sent when the list changes.
    Waiting {
        /// What is still to be observed, one sentence each.
        #[serde(rename = "for")]
        waiting_for: Vec<String>,
    },
    /// A node's agent was told to change its node.
    NodeChanging {
        /// The node.
        node: String,
        /// What it does, in order.
        ops: Vec<String>,
    },
    /// A node is as the phase wants it.
    NodeDone {
        /// The node.
        node: String,
        /// Seconds since its `NodeChanging`.
        seconds: f64,
    },
    /// Everything a phase has to show was observed.
    PhaseDone {
        /// The phase.
        phase: RunPhase,
        /// Seconds since its `PhaseStarted`.
        seconds: f64,
    },
    /// The rotation stopped because it was asked to; `certctl rotate-ca continue` goes on from here.
    Paused {
        /// The phase that was not entered.
        before: Phase,
    },
    /// The rotation may not go on.
    Blocked {
        /// Why, one sentence each, naming the object and what to do.
        reasons: Vec<String>,
    },
    /// Something the administrator should know, which does not stop the rotation.
    Warning {
        /// One sentence.
        message: String,
    },
    /// A snapshot of etcd was saved, before anything was changed.
    SnapshotSaved {
        /// The node.
        node: String,
        /// Path on the node.
        path: String,
        /// Size of the file, bytes.
        bytes: i64,
        /// Revision of etcd's data.
        revision: i64,
        /// SHA-256 of the file, hex.
        sha256: String,
    },
    /// A renewal is complete: every node serves and uses its new certificates.
    Renewed {
        /// How many certificates.
        certificates: usize,
        /// On how many nodes.
        nodes: usize,
        /// Seconds since this run started.
        seconds: f64,
    },
    /// The rotation, or the rollback, is complete.
    Finished {
        /// The generation now in force.
        ca_version: u32,
        /// Seconds since this run started.
        seconds: f64,
        /// One sentence for a human reader.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_json_object_that_can_be_read_back() -> Result<(), serde_json::Error> {
        let event = Event {
            at: Timestamp::UNIX_EPOCH,
            rotation: "r-1".into(),
            kind: EventKind::Waiting { waiting_for: vec!["node w-1".into()] },
        };
        let json = serde_json::to_string(&event)?;
        assert_eq!(json, r#"{"at":"1970-01-01T00:00:00Z","rotation":"r-1","type":"Waiting","for":["node w-1"]}"#);
        assert_eq!(serde_json::from_str::<Event>(&json)?, event);
        Ok(())
    }

    #[test]
    fn a_phase_has_the_same_name_in_json_and_on_the_terminal() -> Result<(), serde_json::Error> {
        let renewal = [RenewalPhase::ControlPlane, RenewalPhase::Workers].map(RunPhase::Renewal);
        for phase in Phase::ALL.map(RunPhase::Rotation).into_iter().chain(renewal) {
            assert_eq!(serde_json::to_value(phase)?, phase.name());
            assert_eq!(serde_json::from_value::<RunPhase>(phase.name().into())?, phase);
        }
        Ok(())
    }
}
