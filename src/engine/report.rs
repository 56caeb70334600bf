//! What is written down for people: the ClusterPKI's status, and the report of `certctl status`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Serialize;

use super::begin::end_waivers;
use super::driver::{Driver, Outcome};
use super::observe::{Knowledge, inventory, unheard};
use super::record::Record;
use crate::api::ClusterPkiStatus;
use crate::cluster::Live;
use crate::error::Error;
use crate::pki::CaId;
use crate::plan::{EventKind, same_set};
use crate::rotation::{
    Goal, Inventory, NodeView, Phase, Reason, Sentence, behind, blocked, describe, missing, phase_of, target,
};

/// Type of the one condition; its reasons are gkectl's.
const CONDITION: &str = "CARotation";

/// Where the cluster's CA stands, for people and scripts.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The CAVersion wanted.
    pub ca_version: u32,
    /// `True` when the rotation has completed.
    pub status: &'static str,
    /// gkectl's reason.
    pub reason: &'static str,
    /// gkectl's message.
    pub message: String,
    /// The phase reached.
    pub phase: String,
    /// Who began, and when.
    pub started: Option<String>,
    /// The planes in CAVersions.
    #[serde(flatten)]
    pub planes: Sentence,
    /// Each node.
    pub nodes: Vec<NodeReport>,
    /// What the next phase waits for.
    pub blocking: Vec<String>,
    /// The command to go on with.
    pub next: String,
}

/// One node's part.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// Name.
    pub node: String,
    /// `control-plane` or `worker`.
    pub role: &'static str,
    /// Ready condition.
    pub ready: bool,
    /// CAVersions in `ca.crt`, the signer first.
    pub bundle: Vec<u32>,
    /// CAVersion served by its API server.
    pub served: Option<u32>,
    /// CAVersion of the kubelet's certificate on disk.
    pub kubelet: Option<u32>,
    /// CAVersion of the kubelet's certificate as loaded.
    pub kubelet_loaded: Option<u32>,
    /// What stands in the way.
    pub problem: Option<String>,
    /// Left out by the administrator.
    pub waived: bool,
}

/// The report from what is observed now.
#[must_use]
pub fn report(live: &Live) -> Option<Report> {
    let record = Record::read(live.cluster_pki()?.as_ref());
    let silent = unheard(live, Timestamp::now());
    let look = inventory(live, &record, &Knowledge { silent, ..Knowledge::default() });
    let goal = record.goal(1)?;
    let planes = describe(&look, &goal, &record.versions);
    let rotating = record.rotating();
    let phase = if rotating { phase_of(&look, &goal) } else { Phase::Idle };
    let (reason, blocking) = standing(&look, &goal, &record, phase);
    let rotation = record.rotation.as_ref();
    let next = match (rotating, rotation.is_some_and(|rotation| rotation.rollback)) {
        (true, true) => "certctl rotate-ca rollback",
        (true, false) => "certctl rotate-ca",
        (false, _) if record.authorities.len() > 1 => "certctl rotate-ca finalize",
        (false, _) => "",
    };
    let number = |ca: &CaId| record.versions.get(ca).copied().unwrap_or_default();
    Some(Report {
        ca_version: record.wanted,
        status: reason.status(),
        reason: reason.name(),
        message: planes.message.clone(),
        phase: phase.name().into(),
        started: rotation.map(|rotation| format!("by {} at {}", rotation.started_by, rotation.started_at)),
        nodes: look
            .nodes
            .iter()
            .map(|(name, node)| node_report(name, node, late(name, node, &record), number))
            .collect(),
        planes,
        blocking,
        next: next.into(),
    })
}

/// The reason, and what is awaited: what only the administrator can mend first.
fn standing(look: &Inventory, goal: &Goal, record: &Record, phase: Phase) -> (Reason, Vec<String>) {
    if !record.rotating() {
        let back = brought_back(look, record);
        let drifted = drift(look, record) || !back.is_empty();
        return (if drifted { Reason::Drifted } else { Reason::Completed }, back);
    }
    let mut awaited = blocked(look, goal);
    for lack in missing(phase.next(), look, goal) {
        if !awaited.contains(&lack) {
            awaited.push(lack);
        }
    }
    (Reason::under_way(look, goal), awaited)
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
        role: if node.state.control_plane { "control-plane" } else { "worker" },
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
    let unchanged = last.filter(|last| last.status == reason.status());
    Condition {
        type_: CONDITION.into(),
        status: reason.status().into(),
        reason: reason.name().into(),
        message,
        last_transition_time: unchanged.map_or(Time(now), |last| last.last_transition_time.clone()),
        observed_generation: generation,
    }
}

/// A completed cluster in which a node holds another CA than the one in force. A node that is left out is named by its own line.
fn drift(look: &Inventory, record: &Record) -> bool {
    let Some(current) = record.current() else { return false };
    let only = std::slice::from_ref(current);
    let reporting = look.nodes.iter().filter(|(name, node)| node.responding && !record.waived.contains(*name));
    reporting.into_iter().any(|(_, node)| {
        !same_set(&node.state.disk.ca_bundle, only) || node.state.disk.kubelet_client.as_ref() != Some(current)
    })
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

    /// Closes the rotation: the new CAVersion is in force, the nodes are left to themselves.
    ///
    /// The record comes first and what cannot be undone last: a driver that dies in between leaves a rotation that is over, and keys that
    /// the next run, of whatever command, has destroyed.
    pub(super) async fn finish(&mut self, look: &Inventory) -> Result<(), Error> {
        self.leave();
        self.record.completed = self.record.wanted;
        self.end_waivers(look).await?;
        for name in &self.goal.waived {
            if let Some(target) = look.nodes.get(name).and_then(|node| target(Phase::Completed, node, look, &self.goal))
            {
                self.targets.insert(name.clone(), target);
            }
        }
        self.drop_uploaded().await;
        if self.goal.rollback {
            self.record.retire(std::slice::from_ref(&self.goal.from));
            self.record.rotation = None;
            self.write_spec().await?;
        }
        self.finished = true;
        self.write_status(Phase::Completed, look).await
    }

    /// After the end: what nodes have still to be told, and the keys that they have still to destroy.
    pub(super) async fn close(&mut self, look: &Inventory) -> Result<Option<Outcome>, Error> {
        self.write_specs(look).await?;
        if !self.destroyed(look).await? {
            return Ok(None);
        }
        self.emit(EventKind::Finished {
            ca_version: self.record.completed,
            seconds: self.began.elapsed().as_secs_f64(),
            message: describe(look, &self.goal, &self.record.versions).message,
        });
        Ok(Some(Outcome::Completed))
    }

    /// Nodes that were left out and are up to date count again, and the object says so.
    async fn end_waivers(&mut self, look: &Inventory) -> Result<(), Error> {
        self.record.waived.clone_from(&self.goal.waived);
        end_waivers(&mut self.record, look);
        if self.record.waived != self.goal.waived {
            self.goal.waived.clone_from(&self.record.waived);
            self.write_spec().await?;
        }
        Ok(())
    }

    /// True when every control-plane node that answers has destroyed the keys of CAs that are over; the others are named, and do it when
    /// they come back.
    pub(super) async fn destroyed(&mut self, look: &Inventory) -> Result<bool, Error> {
        let holds = |node: &NodeView| self.record.forget.iter().any(|ca| node.state.disk.kept.contains(ca));
        let holders: Vec<(&String, bool)> = look
            .nodes
            .iter()
            .filter(|(_, node)| node.state.control_plane && holds(node))
            .map(|(name, node)| (name, node.responding))
            .collect();
        let late: Vec<String> = holders
            .iter()
            .filter(|(_, responding)| *responding)
            .map(|(name, _)| format!("node/{name}: it has not destroyed the key of a CA that is over yet"))
            .collect();
        if !late.is_empty() {
            self.wait_for(late)?;
            return Ok(false);
        }
        for (name, _) in &holders {
            let message =
                format!("node/{name} does not answer: it destroys the key of a CA that is over when it comes back");
            self.emit(EventKind::Warning { message });
        }
        if holders.is_empty() && !self.record.forget.is_empty() {
            self.record.forget.clear();
            self.write_spec().await?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AuthorityRecord, RotationIntent};
    use crate::plan::{ConfState, NodeState, ProcessState};

    fn ca(name: &str) -> CaId {
        CaId::planned(name)
    }

    fn node(held: &str) -> NodeView {
        let mut state = NodeState::default();
        state.disk.ca_bundle = vec![ca(held)];
        state.disk.kubelet_client = Some(ca(held));
        let conf = ConfState { issuer: Some(ca(held)), trust: vec![ca(held)], not_after: 1 };
        state.loaded.kubelet = Some(ProcessState { conf: Some(conf), ..ProcessState::default() });
        NodeView { state, responding: true, ready: true, ..NodeView::default() }
    }

    /// CAVersion 2 is in force; `waived` were left out, and one that is no node any more.
    fn record(waived: &[&str]) -> Record {
        let mut record = Record { wanted: 2, completed: 2, ..Record::default() };
        for (version, name) in [(1, "old"), (2, "new")] {
            record.add(
                version,
                &AuthorityRecord {
                    id: ca(name),
                    certificate: String::new(),
                    crosses: Vec::new(),
                    specimen_server: None,
                    specimen_client: None,
                },
            );
        }
        record.waived = waived.iter().map(ToString::to_string).collect();
        record
    }

    fn look() -> Inventory {
        let nodes = [("w-1", node("new")), ("w-2", node("old"))];
        Inventory {
            nodes: nodes.into_iter().map(|(name, node)| (name.to_owned(), node)).collect(),
            ..Inventory::default()
        }
    }

    #[test]
    fn a_waiver_ends_with_a_node_that_is_up_to_date_or_gone() {
        let mut record = record(&["w-1", "w-2", "gone"]);
        end_waivers(&mut record, &look());
        assert_eq!(record.waived.iter().collect::<Vec<_>>(), ["w-2"]);
    }

    #[test]
    fn a_node_that_is_left_out_and_late_is_named_by_its_own_line_and_is_no_drift() {
        let (look, record) = (look(), record(&["w-1", "w-2"]));
        let report = |name: &str| {
            let node = &look.nodes[name];
            node_report(name, node, late(name, node, &record), |ca| record.versions[ca])
        };
        let (back, away) = (report("w-1"), report("w-2"));
        assert_eq!((back.waived, back.problem), (false, None));
        assert!(away.waived);
        let problem = away.problem.unwrap();
        assert!(
            problem.starts_with("left out and not up to date: ca.crt does not hold the CA in force alone"),
            "{problem}"
        );
        assert!(!drift(&look, &record));
        assert!(drift(&look, &self::record(&[])), "the same node, not left out");
    }

    #[test]
    fn an_older_client_ca_that_came_back_is_named_and_the_one_in_force_and_strangers_are_not() {
        let (mut look, record) = (look(), record(&[]));
        look.cluster.client_ca = vec![ca("new"), ca("stranger")];
        assert_eq!(brought_back(&look, &record), Vec::<String>::new());
        look.cluster.client_ca.push(ca("old"));
        let named = brought_back(&look, &record);
        assert!(matches!(named.as_slice(), [one] if one.contains("drop CA 1 again")), "{named:?}");
    }

    #[test]
    fn while_a_rotation_is_under_way_a_waiver_lasts() {
        let rotation = RotationIntent {
            from: ca("new"),
            to: None,
            rollback: false,
            started_by: "me@here:1".into(),
            started_at: "2026-11-22T12:00:00Z".into(),
            trusted_at: None,
        };
        let record = Record { wanted: 3, rotation: Some(rotation), ..record(&["w-1"]) };
        let node = node("new");
        let report = node_report("w-1", &node, late("w-1", &node, &record), |_| 2);
        assert_eq!((report.waived, report.problem), (true, None));
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn the_time_of_the_condition_is_that_of_its_status() {
        let (began, later, done) = (at("2026-11-22T12:00:00Z"), at("2026-11-22T12:01:00Z"), at("2026-11-22T12:02:00Z"));
        let first = condition(None, Reason::Progressed, "a".into(), Some(2), began);
        let blocked = condition(Some(&first), Reason::Blocked, "b".into(), Some(3), later);
        assert_eq!((blocked.status.as_str(), blocked.reason.as_str()), ("False", "CARotationBlocked"));
        assert_eq!((blocked.message.as_str(), blocked.observed_generation), ("b", Some(3)));
        assert_eq!(blocked.last_transition_time.0, began);
        let completed = condition(Some(&blocked), Reason::Completed, "c".into(), Some(3), done);
        assert_eq!((completed.status.as_str(), completed.last_transition_time.0), ("True", done));
    }
}
