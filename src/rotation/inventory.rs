//! Everything a rotation decides on, seen at one moment, and what the administrator wants.

use std::collections::{BTreeMap, BTreeSet};

use crate::pki::CaId;
use crate::plan::{ConfState, EndpointState, NodeState, NodeTarget, Verdict, node_ops};

use super::phase::Phase;

/// One node: what its agent reports, what it was told, and how its endpoints answer.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// The agent's report.
    pub state: NodeState,
    /// The target it was last given.
    pub target: Option<NodeTarget>,
    /// What the agent says stands in the way, if anything.
    pub problem: Option<String>,
    /// True when the agent has answered since the driver began to look.
    pub responding: bool,
    /// The Node object's Ready condition.
    pub ready: bool,
    /// Its API server, as probed.
    pub apiserver: EndpointState,
    /// Its kube-controller-manager, as probed.
    pub controller_manager: EndpointState,
    /// Its kube-scheduler, as probed.
    pub scheduler: EndpointState,
    /// Its kubelet, as probed from a control-plane node.
    pub kubelet: EndpointState,
}

impl NodeView {
    /// True while the node has not reached the target it was given.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.target.as_ref().is_some_and(|target| !node_ops(&self.state, target).is_empty())
    }
}

/// What an endpoint says to clients of one CA.
#[must_use]
pub fn verdict(endpoint: &EndpointState, ca: &CaId) -> Verdict {
    endpoint.clients.get(ca).copied().unwrap_or(Verdict::Unreachable)
}

/// The cluster's objects.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// `kube-root-ca.crt` of every namespace, by namespace.
    pub root_ca: BTreeMap<String, Vec<CaId>>,
    /// CAs in `kube-public/cluster-info`; `None` when the cluster has no such object.
    pub cluster_info: Option<Vec<CaId>>,
    /// caBundles that hold a CA of the cluster, by object.
    pub ca_bundles: BTreeMap<String, Vec<CaId>>,
    /// True when `kubeadm-config` names the own signing file; `None` without such an object.
    pub kubeadm_own_signer: Option<bool>,
    /// `client-ca-file` of `kube-system/extension-apiserver-authentication`.
    pub client_ca: Vec<CaId>,
    /// Node whose kube-controller-manager leads.
    pub controller_manager_leader: Option<String>,
    /// Signer seen when a CSR was last signed on request; `None`: not tried by this driver yet.
    pub csr_signer: Option<CaId>,
    /// True for a driver, which has certificates signed to see by whom; whoever only reads takes the files' word.
    pub asks_for_csrs: bool,
    /// The caller's kubeconfig; `None` when it holds no client certificate of the cluster CA.
    pub caller: Option<ConfState>,
}

/// One look at everything.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeView>,
    /// Objects.
    pub cluster: ClusterView,
    /// CAs whose certificates and cross-signed certificates are recorded in the cluster.
    pub recorded: BTreeSet<CaId>,
}

impl Inventory {
    /// Control-plane nodes that count (not waived).
    pub fn control_plane<'a>(&'a self, goal: &'a Goal) -> impl Iterator<Item = (&'a str, &'a NodeView)> {
        self.counted(goal).filter(|(_, node)| node.state.control_plane)
    }

    /// Nodes that count (not waived).
    pub fn counted<'a>(&'a self, goal: &'a Goal) -> impl Iterator<Item = (&'a str, &'a NodeView)> {
        self.nodes.iter().filter(|(name, _)| !goal.waived.contains(*name)).map(|(name, node)| (name.as_str(), node))
    }
}

/// What the administrator wants: one CA in place of another. A rollback is the same with the roles exchanged.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The CA in force when the goal was set.
    pub from: CaId,
    /// The CA wanted; `None`: still to be made.
    pub to: Option<CaId>,
    /// Older CAs that processes may still hold as their only trust, because no `finalize` took them out of the served chain.
    pub legacy: Vec<CaId>,
    /// True for a rollback: `to` is the CA that was in force first, and what processes started long ago trust.
    pub rollback: bool,
    /// Nodes left out by name.
    pub waived: BTreeSet<String>,
    /// How many nodes may have their kubelet restarted at the same time, at least 1.
    pub max_unavailable: usize,
    /// The phase before which to stop.
    pub pause_before: Option<Phase>,
}

impl Goal {
    /// No rotation: this CA stays in force.
    #[must_use]
    pub const fn at_rest(from: CaId) -> Self {
        Self {
            from,
            to: None,
            legacy: Vec::new(),
            rollback: false,
            waived: BTreeSet::new(),
            max_unavailable: 1,
            pause_before: None,
        }
    }
}
