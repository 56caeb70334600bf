//! What must be true before a rotation may begin.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::plan::{CertificateKind, CertificateRow, Verdict};

use super::inventory::{Goal, Inventory, NodeView, verdict};
use super::objects::{ClusterHealth, objects};

/// Largest difference between a node's clock and the driver's, in seconds.
pub(super) const MAX_CLOCK_SKEW: i64 = 60;

/// A rotation may be paused, and nothing renews a leaf meanwhile: one that has less left must be renewed first. Seconds.
pub(super) const SOON: i64 = 30 * 60;

/// What a blocker is about, for those who ask for one fact and not for the whole list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Topic {
    /// The Node's Ready condition.
    Ready,
    /// There is no agent, or none that has reported.
    Agent,
    /// The agent has another version.
    Version,
    /// The agent does not answer.
    Answer,
    /// The node's clock.
    Clock,
    /// `ca.key` does not belong to `ca.crt`.
    KeyMismatch,
    /// Names in the kubelet's serving certificate.
    ServingNames,
    /// etcd on the node.
    Etcd,
    /// kube-controller-manager's manifest.
    Manifest,
    /// Versions of the control plane, and kubeadm's record of them.
    Upgrade,
    /// A caBundle that cannot be read.
    CaBundle,
    /// Anything else, which only a rotation asks for.
    #[default]
    Rotation,
}

/// One reason not to begin, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Blocker {
    /// What it is about.
    #[serde(skip)]
    pub topic: Topic,
    /// The object, for example `node/cp-2`.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.object, self.problem, self.remedy)
    }
}

/// What an agent says about its node's health besides the state of its PKI.
#[derive(Clone, Debug, Default)]
pub struct NodeHealth {
    /// Version of the agent, `None` when it does not run.
    pub agent_version: Option<String>,
    /// Node's clock minus the driver's, seconds, with the round trip taken off.
    pub clock_skew: i64,
    /// etcd on this node: `Some(false)` when it does not answer healthy, `None` without etcd. Its `/readyz` is a linearizable read, so each
    /// member speaks for the quorum too (`server/etcdserver/api/etcdhttp/health.go`).
    pub etcd_healthy: Option<bool>,
    /// Members of etcd that do not vote yet, as the one on this node knows them; `None` without an answer.
    pub etcd_learners: Option<Vec<String>>,
    /// Every certificate of the node.
    pub certificates: Vec<CertificateRow>,
    /// True when ca.key does not belong to the first certificate of ca.crt.
    pub key_mismatch: bool,
    /// Names in the kubelet's serving certificate that are no address of its Node.
    pub strange_names: Vec<String>,
    /// Why kube-controller-manager's manifest cannot be pointed at a signing file of its own.
    pub signer_problem: Option<String>,
}

/// What a preflight looks at.
pub struct Preflight<'a> {
    /// PKI state.
    pub inventory: &'a Inventory,
    /// The goal, waivers included.
    pub goal: &'a Goal,
    /// Health by node.
    pub health: &'a BTreeMap<String, NodeHealth>,
    /// Health of the cluster's objects.
    pub cluster: &'a ClusterHealth,
    /// Version of the driver, which the agents must have too.
    pub version: &'a str,
    /// Seconds since the Unix epoch.
    pub now: i64,
}

/// Every reason not to begin; empty when nothing stands in the way.
#[must_use]
pub fn preflight(input: &Preflight<'_>) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    let mut control_plane = 0;
    for (name, node) in input.inventory.counted(input.goal) {
        let health = input.health.get(name).cloned().unwrap_or_default();
        let mut found = Found { object: format!("node/{name}"), blockers: &mut blockers };
        if !agent(input.version, node, &health, &leave_out(name, node), &mut found) {
            continue;
        }
        certificates(input, node, &health, &mut found);
        if node.state.control_plane {
            control_plane += 1;
            authority(input, node, &health, &mut found);
        }
    }
    if control_plane > 0 && blockers.is_empty() && super::maker(input.inventory, input.goal).is_none() {
        let mut found = Found { object: "cluster".into(), blockers: &mut blockers };
        found.add(
            "no control-plane node keeps the keys of all CAs that processes may still trust",
            "end the older CAs with `certctl rotate-ca finalize` first",
        );
    }
    if control_plane == 0 && blockers.is_empty() {
        let mut found = Found { object: "cluster".into(), blockers: &mut blockers };
        found.add(
            "no control-plane node has an agent",
            "run `certctl install` and wait until its pods run on the control-plane nodes",
        );
    }
    objects(input, &mut blockers);
    blockers
}

/// What to do about a node that does not take part. A control-plane node that is up serves: left out, it would go on refusing clients of
/// the new CA behind the balancer.
pub(super) fn leave_out(name: &str, node: &NodeView) -> String {
    if node.state.control_plane && node.ready {
        "bring its agent back; a control-plane node can be left out only while it is down".into()
    } else {
        format!("bring it back, or go on without it: --waive node/{name}")
    }
}

/// Waivers that nobody may give, also in the middle of a rotation.
#[must_use]
pub fn waiver_blockers(inventory: &Inventory, goal: &Goal) -> Vec<Blocker> {
    let left_out = inventory.nodes.iter().filter(|(name, _)| goal.waived.contains(*name));
    left_out
        .filter(|(_, node)| node.state.control_plane && node.ready)
        .map(|(name, _)| Blocker {
            topic: Topic::Rotation,
            object: format!("node/{name}"),
            problem: "it is waived, but it is a control-plane node and Ready: its API server would go on refusing clients of the new CA".into(),
            remedy: "mend its agent, or take the node down before it is left out".into(),
        })
        .collect()
}

/// Where blockers of one object are collected.
pub(super) struct Found<'a> {
    pub(super) object: String,
    pub(super) blockers: &'a mut Vec<Blocker>,
}

impl Found<'_> {
    /// A reason that only a rotation has.
    pub(super) fn add(&mut self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.on(Topic::Rotation, problem, remedy);
    }

    /// A reason that is a fact of its own.
    pub(super) fn on(&mut self, topic: Topic, problem: impl Into<String>, remedy: impl Into<String>) {
        let (problem, remedy) = (problem.into(), remedy.into());
        self.blockers.push(Blocker { topic, object: self.object.clone(), problem, remedy });
    }
}

/// True when there is an agent whose report can be looked at. `leave_out` says what to do about a node that does not take part.
pub(super) fn agent(
    wanted: &str,
    node: &NodeView,
    health: &NodeHealth,
    leave_out: &str,
    found: &mut Found<'_>,
) -> bool {
    if !node.ready {
        found.on(Topic::Ready, "the node is not Ready", leave_out);
    }
    let Some(version) = &health.agent_version else {
        found.on(Topic::Agent, "no certctl agent has reported", format!("run `certctl install`; {leave_out}"));
        return false;
    };
    if version != wanted {
        found.on(
            Topic::Version,
            format!("its agent has version {version}, this is {wanted}"),
            "run `certctl install` with this version",
        );
    }
    if !node.responding {
        found.on(
            Topic::Answer,
            "its agent does not answer",
            format!("look at `kubectl -n certctl-system get pods -o wide`; {leave_out}"),
        );
    }
    if health.clock_skew.abs() > MAX_CLOCK_SKEW {
        found.on(
            Topic::Clock,
            format!("its clock is {} s off, more than {MAX_CLOCK_SKEW} s", health.clock_skew),
            "set the clocks by NTP; never turn a clock back on a running node",
        );
    }
    true
}

fn certificates(input: &Preflight<'_>, node: &NodeView, health: &NodeHealth, found: &mut Found<'_>) {
    for row in &health.certificates {
        if let Some(problem) = &row.problem {
            found.add(format!("{}: {problem}", row.path), "repair or remove the file, then try again");
        } else if row.not_after_seconds <= input.now && counts(row) {
            found.add(format!("{} has expired", row.path), "renew it first (`certctl renew`, `kubeadm certs renew`), or bring the cluster back with `certctl repair`");
        } else if row.not_after_seconds <= input.now + SOON && counts(row) {
            found.add(
                format!("{} expires within {} min, and a rotation may be paused", row.path, SOON / 60),
                "renew it first (`kubeadm certs renew`; a kubelet renews its own through the CSR API)",
            );
        }
    }
    serving(input, node, health, found);
    let disk = &node.state.disk;
    if let Some(stranger) =
        disk.ca_bundle.iter().find(|ca| **ca != input.goal.from && Some(*ca) != input.goal.to.as_ref())
    {
        found.add(
            format!("pki/ca.crt is already a bundle: it holds CA {}", stranger.short()),
            "finish or undo the rotation that somebody began, until ca.crt holds one CA on every node",
        );
    }
}

/// The kubelet's serving certificate, where the cluster CA signed it. Nobody approves its renewal by himself, so it does expire.
fn serving(input: &Preflight<'_>, node: &NodeView, health: &NodeHealth, found: &mut Found<'_>) {
    let Some(serving) = &node.state.disk.kubelet_serving else { return };
    if serving.not_after <= input.now {
        found.add(
            "kubelet-server-current.pem has expired",
            "approve the kubelet's request for a new one (`kubectl get csr`, `kubectl certificate approve NAME`), \
             or remove the file if the kubelet's serverTLSBootstrap is off",
        );
    }
    // A control-plane node signs its own; for a worker's request the driver must approve these names.
    if let Some(name) = health.strange_names.first().filter(|_| !node.state.control_plane) {
        found.on(Topic::ServingNames,
            format!("kubelet-server-current.pem is for {name}, which is no address of the node"),
            "approve the kubelet's request for a new one (`kubectl get csr`), or remove the file if the kubelet's serverTLSBootstrap is off",
        );
    }
}

fn authority(input: &Preflight<'_>, node: &NodeView, health: &NodeHealth, found: &mut Found<'_>) {
    let disk = &node.state.disk;
    if disk.ca_key.is_none() {
        found.add(
            "pki/ca.key is missing (external CA)",
            "put the CA's key there for the rotation; an external CA cannot be rotated yet",
        );
    } else if health.key_mismatch {
        found.on(
            Topic::KeyMismatch,
            "pki/ca.key does not belong to pki/ca.crt",
            "put the matching key back, for example from another control-plane node",
        );
    }
    if health.etcd_healthy == Some(false) {
        found.on(
            Topic::Etcd,
            "etcd is not healthy",
            "look at `etcdctl endpoint health --cluster`; a rotation needs every member",
        );
    }
    if disk.ca_key.is_none() {
        // Nobody could make a client to ask with, and nobody signs there.
        return;
    }
    match verdict(&node.apiserver, &input.goal.from) {
        Verdict::Accepted => {}
        Verdict::Refused => found.add("its API server refuses clients of the present CA", "look at pki/ca.crt on that node"),
        Verdict::Unreachable => found.add(
            "its API server has not answered a client of the present CA",
            "look at its container on that node (`crictl ps -a`) and at --secure-port and --bind-address in its manifest",
        ),
    }
    if let Some(problem) = &health.signer_problem {
        found.on(Topic::Manifest,
            format!("manifests/kube-controller-manager.yaml cannot be edited: {problem}"),
            "give its first container --cluster-signing-cert-file=… and --cluster-signing-key-file=… as kubeadm writes them",
        );
    }
}

/// Whether the end of this certificate matters. A kubelet's self-signed serving certificate is verified by nobody and never renewed, so
/// that of an older node has always expired; and what is sent along behind a leaf is nobody's credential.
fn counts(row: &CertificateRow) -> bool {
    match row.kind {
        CertificateKind::Chain => false,
        CertificateKind::KubeletServing => row.issuer_id.is_some(),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
