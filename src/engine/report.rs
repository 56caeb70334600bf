//! What is written down for people: the ClusterPKI's status, and the report of `certctl status`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::Serialize;

use super::driver::Driver;
use super::observe::{Knowledge, inventory, unheard};
use super::record::Record;
use crate::api::ClusterPkiStatus;
use crate::cluster::Live;
use crate::error::Error;
use crate::pki::CaId;
use crate::rotation::{
    ConditionStatus, Goal, Inventory, NodeView, Phase, Reason, Sentence, behind, blocked, describe, drifted, missing,
    phase_of,
};

/// Type of the one condition; its reasons are gkectl's.
const CONDITION: &str = "CARotation";

/// Where the cluster's CA stands, for people and scripts.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The CAVersion wanted.
    pub ca_version: u32,
    /// `True` when the rotation has completed.
    pub status: ConditionStatus,
    /// Why, as one of gkectl's words.
    pub reason: Reason,
    /// The phase reached.
    pub phase: Phase,
    /// Who began, and when; null when no rotation is on record.
    pub started: Option<String>,
    /// The planes in CAVersions, and gkectl's message.
    #[serde(flatten)]
    pub planes: Sentence,
    /// Each node.
    pub nodes: Vec<NodeReport>,
    /// What the next phase waits for.
    pub blocking: Vec<String>,
    /// The command to go on with; empty when there is nothing to go on with.
    pub next: String,
}

/// One node's part.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// Name.
    pub node: String,
    /// What it is there for.
    pub role: Role,
    /// Ready condition.
    pub ready: bool,
    /// CAVersions in `ca.crt`, the signer first; 0 is a CA that has none.
    pub bundle: Vec<u32>,
    /// CAVersion served by its API server; null on a worker, and when it is not known.
    pub served: Option<u32>,
    /// CAVersion of the kubelet's certificate on disk; null when it is not known.
    pub kubelet: Option<u32>,
    /// CAVersion of the kubelet's certificate as loaded; null when it is not known.
    pub kubelet_loaded: Option<u32>,
    /// What stands in the way; null when nothing does.
    pub problem: Option<String>,
    /// Left out by the administrator.
    pub waived: bool,
}

/// What a node is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It has an API server.
    ControlPlane,
    /// It has none.
    Worker,
}

impl Role {
    /// The word for people, the same as in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Worker => "worker",
        }
    }
}

/// The report from what is observed now; `None` where no rotation was ever run.
#[must_use]
pub fn report(live: &Live) -> Option<Report> {
    let record = Record::read(live.cluster_pki()?.as_ref());
    let silent = unheard(live, Timestamp::now());
    let look = inventory(live, &record, &Knowledge { silent, ..Knowledge::default() });
    report_of(&look, &record)
}

fn report_of(look: &Inventory, record: &Record) -> Option<Report> {
    let goal = record.goal(1)?;
    let planes = describe(look, &goal, &record.versions);
    let rotating = record.rotating();
    let phase = if rotating { phase_of(look, &goal) } else { Phase::Idle };
    let (reason, blocking) = standing(look, &goal, record, phase);
    let rotation = record.rotation.as_ref();
    let next = next_command(record);
    let number = |ca: &CaId| record.versions.get(ca).copied().unwrap_or_default();
    Some(Report {
        ca_version: record.wanted,
        status: reason.status(),
        reason,
        phase,
        started: rotation.map(|rotation| format!("by {} at {}", rotation.started_by, rotation.started_at)),
        nodes: look
            .nodes
            .iter()
            .map(|(name, node)| node_report(name, node, late(name, node, record), number))
            .collect(),
        planes,
        blocking,
        next: next.into(),
    })
}

/// The command to go on with; empty when there is nothing to go on with.
pub(super) fn next_command(record: &Record) -> &'static str {
    match (record.rotating(), record.rotation.as_ref().is_some_and(|rotation| rotation.rollback)) {
        (true, true) => "certctl rotate-ca rollback",
        (true, false) => "certctl rotate-ca",
        (false, _) if record.authorities.len() > 1 => "certctl rotate-ca finalize",
        (false, _) => "",
    }
}

/// The reason, and what is awaited: what only the administrator can mend first.
pub(super) fn standing(look: &Inventory, goal: &Goal, record: &Record, phase: Phase) -> (Reason, Vec<String>) {
    if !record.rotating() {
        let back = brought_back(look, record);
        let drifted = drift(look, record) || !back.is_empty();
        return (if drifted { Reason::Drifted } else { Reason::Completed }, back);
    }
    let mut awaited = blocked(look, goal);
    let reason = Reason::blocked_by(&awaited);
    for lack in missing(phase.next(), look, goal) {
        if !awaited.contains(&lack) {
            awaited.push(lack);
        }
    }
    (reason, awaited)
}

/// What a node that is left out still lacks; `None` for one that counts, or is up to date again. While a rotation is under way there is no
/// one CA in force, and a waiver lasts.
fn late(name: &str, node: &NodeView, record: &Record) -> Option<Vec<String>> {
    if !record.waived.contains(name) {
        return None;
    }
    if record.rotating() {
        return Some(Vec::new());
    }
    record.current().map(|in_force| behind(node, in_force)).filter(|lacks| !lacks.is_empty())
}

/// What the agent says, behind what makes the node late.
fn problem(node: &NodeView, late: Option<Vec<String>>) -> Option<String> {
    let late = late.filter(|lacks| !lacks.is_empty());
    let late = late.map(|lacks| format!("left out and not up to date: {}", lacks.join(", ")));
    let said: Vec<String> = late.into_iter().chain(node.problem.clone()).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn node_report(name: &str, node: &NodeView, late: Option<Vec<String>>, number: impl Fn(&CaId) -> u32) -> NodeReport {
    let disk = &node.state.disk;
    let loaded = node.state.loaded.kubelet.as_ref().and_then(|process| process.conf.as_ref()?.issuer.as_ref());
    NodeReport {
        node: name.to_owned(),
        role: if node.state.control_plane { Role::ControlPlane } else { Role::Worker },
        ready: node.ready,
        bundle: disk.ca_bundle.iter().map(&number).collect(),
        served: node.apiserver.issuer.as_ref().map(&number),
        kubelet: disk.kubelet_client.as_ref().map(&number),
        kubelet_loaded: loaded.map(&number),
        waived: late.is_some(),
        problem: problem(node, late),
    }
}

/// The condition to write. Its time is that of its status, not of its reason (Kubernetes API conventions, `metav1.Condition`).
fn condition(
    last: Option<&Condition>,
    reason: Reason,
    message: String,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let unchanged = last.filter(|last| last.status == reason.status().name());
    Condition {
        type_: CONDITION.into(),
        status: reason.status().name().into(),
        reason: reason.name().into(),
        message,
        last_transition_time: unchanged.map_or(Time(now), |last| last.last_transition_time.clone()),
        observed_generation: generation,
    }
}

/// A completed cluster in which a node holds another CA than the one in force. A node that is left out is named by its own line.
fn drift(look: &Inventory, record: &Record) -> bool {
    let Some(current) = record.current() else { return false };
    let mut reporting = look.nodes.iter().filter(|(name, node)| node.responding && !record.waived.contains(*name));
    reporting.any(|(_, node)| drifted(node, current))
}

/// An API server adds its CA to the client CAs that extension API servers and the scheduler follow, and takes none out
/// (kubernetes#82429): one that slept through a rotation brings an older CA back. `finalize` overwrites them.
fn brought_back(look: &Inventory, record: &Record) -> Vec<String> {
    let Some(current) = record.current() else { return Vec::new() };
    let older = |ca: &&CaId| *ca != current && record.versions.contains_key(*ca);
    let held =
        look.cluster.client_ca.iter().filter(older).map(|ca| record.versions.get(ca).copied().unwrap_or_default());
    held.map(|version| {
        format!("configmap/kube-system/extension-apiserver-authentication to drop CA {version} again: run `certctl rotate-ca finalize`")
    })
    .collect()
}

impl Driver {
    /// Writes the intent.
    pub(super) async fn write_spec(&mut self) -> Result<(), Error> {
        let spec = self.record.spec(&self.goal.waived);
        self.generation = self.cluster.write_cluster_spec(&spec).await?.metadata.generation;
        Ok(())
    }

    /// Writes the summary.
    pub(super) async fn write_status(&mut self, phase: Phase, look: &Inventory) -> Result<(), Error> {
        let message = describe(look, &self.goal, &self.record.versions).message;
        let over = self.finished || !self.record.rotating();
        let reason = if over { Reason::Completed } else { Reason::under_way(look, &self.goal) };
        let object = self.live.cluster_pki();
        let written = object.as_ref().and_then(|object| object.status.as_ref()?.conditions.first());
        // The watch may be behind what this driver itself has written.
        let last = self.condition.as_ref().or(written);
        let generation = object.as_ref().and_then(|object| object.metadata.generation).max(self.generation);
        let condition = condition(last, reason, message.clone(), generation, Timestamp::now());
        let status = ClusterPkiStatus {
            ca_version: Some(self.record.completed),
            phase: phase.name().into(),
            message,
            conditions: vec![condition.clone()],
            authorities: self.record.written(),
        };
        self.cluster.write_cluster_status(&status).await?;
        self.condition = Some(condition);
        Ok(())
    }

    /// Writes the summary again when its reason is another: what blocks a rotation comes and goes within a phase.
    pub(super) async fn note_reason(&mut self, look: &Inventory) -> Result<(), Error> {
        let reason = Reason::under_way(look, &self.goal).name();
        if self.condition.as_ref().is_some_and(|condition| condition.reason == reason) {
            return Ok(());
        }
        self.write_status(phase_of(look, &self.goal), look).await
    }
}

#[cfg(test)]
mod tests;
