//! One look at the cluster: objects and reports become an inventory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node};

use super::driver::SILENCE;
use super::record::Record;
use crate::api::{Made, NodePKI, NodePkiStatus, ProbeServer};
use crate::cluster::{Live, leader_node, nodes, trust};
use crate::node::layout::KUBELET_SERVER;
use crate::pki::CaId;
use crate::plan::{ConfState, EndpointState};
use crate::rotation::{ClusterView, Inventory, NodeHealth, NodeView, strange_names};

/// What a driver knows besides the objects.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The ping of this driver; `None` for a reader that asks nobody.
    pub ping: Option<String>,
    /// Nodes that do not react to their object any more.
    pub silent: BTreeSet<String>,
    /// Signer of the last CSR made for a test.
    pub csr_signer: Option<CaId>,
    /// The caller's kubeconfig.
    pub caller: Option<ConfState>,
    /// caBundles that hold a CA of the cluster.
    pub ca_bundles: BTreeMap<String, Vec<CaId>>,
}

/// What the agents say, by node.
pub(super) fn reports(live: &Live) -> BTreeMap<String, Arc<NodePKI>> {
    live.node_pkis.state().into_iter().filter_map(|object| Some((object.metadata.name.clone()?, object))).collect()
}

/// What control-plane nodes have answered to the request for a new CA that stands in their own object, by node. The spec is the driver's
/// alone to write and the role is the Node's label, so that no other agent can slip a CA of its own in.
pub(super) fn made(live: &Live, look: &Inventory) -> Vec<(String, Made)> {
    let answer = |(name, report): (String, Arc<NodePKI>)| {
        look.nodes.get(&name).filter(|node| node.state.control_plane)?;
        let made = report.status.as_ref()?.made.clone()?;
        (report.spec.make.as_ref()?.request == made.request).then_some((name, made))
    };
    reports(live).into_iter().filter_map(answer).collect()
}

/// Builds the inventory from watched objects.
#[must_use]
pub fn inventory(live: &Live, record: &Record, knowledge: &Knowledge) -> Inventory {
    let reports = reports(live);
    let objects: BTreeMap<String, Arc<Node>> =
        live.nodes.state().into_iter().filter_map(|node| Some((node.metadata.name.clone()?, node))).collect();
    let kubelets = seen_from_outside(&objects, &reports, knowledge);
    let view = |name: &String, node: &Node| node_view(name, node, &reports, &kubelets, knowledge);
    let nodes = objects.iter().map(|(name, node)| (name.clone(), view(name, node))).collect();
    Inventory { nodes, cluster: cluster_view(live, knowledge), recorded: record.versions.keys().cloned().collect() }
}

fn node_view(
    name: &str,
    node: &Node,
    reports: &BTreeMap<String, Arc<NodePKI>>,
    kubelets: &BTreeMap<String, EndpointState>,
    knowledge: &Knowledge,
) -> NodeView {
    let Some(report) = reports.get(name) else {
        return NodeView { ready: nodes::ready(node), ..NodeView::default() };
    };
    let mut status = report.status.clone().unwrap_or_default();
    // The role is the cluster's word, not the agent's: CA keys are sealed to control-plane nodes, and a node that cannot read its own
    // manifests for a moment must not drop out of the control plane. A kubelet cannot set this label.
    status.state.control_plane = nodes::is_control_plane(node);
    let own = |endpoint: &str| status.state.endpoints.get(endpoint).cloned().unwrap_or_default();
    let outside = || kubelets.get(name).cloned().unwrap_or_default();
    let kubelet = if status.state.control_plane { own("kubelet") } else { outside() };
    let started = status.state.loaded.kubelet.as_ref().map(|kubelet| kubelet.started);
    NodeView {
        apiserver: own("kube-apiserver"),
        controller_manager: own("kube-controller-manager"),
        scheduler: own("kube-scheduler"),
        kubelet,
        target: report.spec.target.clone(),
        problem: status.problem.clone(),
        responding: answered(&status, knowledge) && !knowledge.silent.contains(name),
        ready: nodes::ready_since(node, started),
        state: status.state,
    }
}

fn answered(status: &NodePkiStatus, knowledge: &Knowledge) -> bool {
    match &knowledge.ping {
        Some(ping) => status.clock.as_ref().is_some_and(|clock| clock.ping == *ping),
        None => !status.agent_version.is_empty(),
    }
}

/// A worker holds no CA key, so control-plane nodes ask its kubelet. Only those count that were told to ask and still answer themselves:
/// what others say about it is old, or not theirs to say.
fn seen_from_outside(
    nodes: &BTreeMap<String, Arc<Node>>,
    reports: &BTreeMap<String, Arc<NodePKI>>,
    knowledge: &Knowledge,
) -> BTreeMap<String, EndpointState> {
    let mut seen: BTreeMap<String, EndpointState> = BTreeMap::new();
    for (name, report) in reports {
        let Some(status) = &report.status else { continue };
        let control_plane = nodes.get(name).is_some_and(|node| nodes::is_control_plane(node));
        if !control_plane || !answered(status, knowledge) || knowledge.silent.contains(name) {
            continue;
        }
        for probe in report.spec.probes.iter().filter(|probe| probe.server == ProbeServer::Kubelet) {
            let Some(answer) = status.state.endpoints.get(&format!("kubelet/{}", probe.node)) else { continue };
            let kept = seen.entry(probe.node.clone()).or_default();
            // Of two that asked, the one that got an answer says more.
            if kept.serial.is_empty() {
                kept.clone_from(answer);
            }
        }
    }
    seen
}

/// Nodes that have not taken note of what was written to them, for a reader that has not been here long enough to measure it: the API
/// server keeps the time of the last write in `metadata.managedFields`.
pub(super) fn unheard(live: &Live, now: Timestamp) -> BTreeSet<String> {
    let silent = |object: &&Arc<NodePKI>| {
        let metadata = &object.metadata;
        let status = object.status.as_ref();
        let seen = status.is_some_and(|status| status.observed_generation >= metadata.generation.unwrap_or_default());
        let writes = metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
        let last = writes.filter_map(|entry| Some(entry.time.as_ref()?.0)).max();
        let old = last.is_some_and(|last| now.duration_since(last).as_secs_f64() > SILENCE.as_secs_f64());
        !seen && old && status.is_none_or(|status| status.doing.is_none())
    };
    live.node_pkis.state().iter().filter(silent).filter_map(|object| object.metadata.name.clone()).collect()
}

fn cluster_view(live: &Live, knowledge: &Knowledge) -> ClusterView {
    let map =
        |maps: Vec<Arc<ConfigMap>>, name: &str| maps.into_iter().find(|map| map.metadata.name.as_deref() == Some(name));
    let root_ca = live
        .root_cas
        .state()
        .iter()
        .map(|map| (map.metadata.namespace.clone().unwrap_or_default(), trust::root_ca(map)))
        .collect();
    let leader =
        live.leases.state().into_iter().find(|lease| lease.metadata.name.as_deref() == Some("kube-controller-manager"));
    let holder = leader.and_then(|lease| lease.spec.as_ref()?.holder_identity.clone());
    ClusterView {
        root_ca,
        cluster_info: map(live.kube_public.state(), "cluster-info").map(|map| trust::cluster_info(&map)),
        ca_bundles: knowledge.ca_bundles.clone(),
        kubeadm_own_signer: map(live.kube_system.state(), "kubeadm-config")
            .and_then(|map| trust::kubeadm_own_signer(&map)),
        client_ca: map(live.kube_system.state(), "extension-apiserver-authentication")
            .map(|map| trust::client_ca(&map))
            .unwrap_or_default(),
        controller_manager_leader: holder.as_deref().and_then(leader_node).map(str::to_owned),
        csr_signer: knowledge.csr_signer.clone(),
        asks_for_csrs: knowledge.ping.is_some(),
        caller: knowledge.caller.clone(),
    }
}

/// What the preflight wants to know of each node besides its PKI. `asked` and `now` bound the clock: an answer was given in between.
#[must_use]
pub fn health(live: &Live, asked_millis: i64, now_millis: i64) -> BTreeMap<String, NodeHealth> {
    let objects = live.nodes.state();
    let of = |report: &NodePKI| {
        let node = objects.iter().find(|node| node.metadata.name == report.metadata.name);
        let status = report.status.clone().unwrap_or_default();
        let skew = status.clock.as_ref().map_or(0, |clock| {
            let late = (clock.unix_millis - now_millis).max(0);
            let early = (clock.unix_millis - asked_millis).min(0);
            (late + early) / 1000
        });
        let serving = status.certificates.iter().find(|row| row.path == KUBELET_SERVER && row.index == 0);
        let names = serving.map(|row| row.sans.clone()).unwrap_or_default();
        NodeHealth {
            agent_version: (!status.agent_version.is_empty()).then(|| status.agent_version.clone()),
            clock_skew: skew,
            etcd_healthy: status.etcd_healthy,
            etcd_learners: status.etcd_learners,
            certificates: status.certificates,
            key_mismatch: status.key_mismatch,
            strange_names: node.map(|node| strange_names(&names, &nodes::addresses(node))).unwrap_or_default(),
            signer_problem: status.signer_problem,
        }
    };
    live.node_pkis.state().iter().filter_map(|report| Some((report.metadata.name.clone()?, of(report)))).collect()
}
