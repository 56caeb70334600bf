//! What to do next, and what must be waited for.

use crate::pki::CaId;
use crate::plan::{ClusterOp, Leaf, NodeTarget, Op, Verdict, node_ops};

use super::condition::unheard;
use super::inventory::{Goal, Inventory, NodeView, verdict};
use super::phase::Phase;
use super::progress::{Missing, missing, phase_of};
use super::targets::target;

/// One thing to do now. Steps of one answer may run at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This control-plane node makes the new CA.
    Make {
        /// The node.
        node: String,
    },
    /// This control-plane node gets the CA keys it lacks, sealed, from one that has them.
    Stage {
        /// The node that lacks them.
        node: String,
        /// The CAs whose keys it lacks.
        lacks: Vec<CaId>,
    },
    /// This node gets a new target.
    Node {
        /// The node.
        node: String,
        /// What it shall hold.
        target: Box<NodeTarget>,
        /// How it gets there from what it holds now.
        ops: Vec<Op>,
    },
    /// A change of cluster objects.
    Cluster(ClusterOp),
}

/// The planner's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Take these steps on the way into the phase.
    Steps(Phase, Vec<Step>),
    /// Every step into the phase is taken; these observations are awaited.
    Wait(Phase, Vec<Missing>),
    /// The administrator must say so before this phase begins.
    Pause(Phase),
    /// Nothing is left to do.
    Done,
}

/// What to do next to reach the goal from what is observed. Level-triggered: it may be asked again at any time, by anybody.
#[must_use]
pub fn next(inventory: &Inventory, goal: &Goal) -> Next {
    let reached = phase_of(inventory, goal);
    if reached == Phase::Completed {
        return Next::Done;
    }
    let phase = reached.next();
    if goal.pause_before == Some(phase) {
        return Next::Pause(phase);
    }
    let Some(to) = &goal.to else {
        return make(inventory, goal);
    };
    let mut steps = if phase == Phase::Staged { stage(inventory, goal) } else { node_steps(phase, inventory, goal) };
    steps.extend(cluster_ops(phase, inventory, goal, to).into_iter().map(Step::Cluster));
    if steps.is_empty() { Next::Wait(phase, waiting_for(phase, inventory, goal)) } else { Next::Steps(phase, steps) }
}

fn make(inventory: &Inventory, goal: &Goal) -> Next {
    match maker(inventory, goal) {
        Some(node) => Next::Steps(Phase::Staged, vec![Step::Make { node: node.to_owned() }]),
        None => Next::Wait(Phase::Staged, vec![NO_MAKER.into()]),
    }
}

const NO_MAKER: &str =
    "no control-plane node responds that has the CA's key and those of the older CAs that still vouch";

/// The node that makes the new CA: every CA that some process may hold as its only trust has to sign it, so all keys must be there.
#[must_use]
pub fn maker<'a>(inventory: &'a Inventory, goal: &'a Goal) -> Option<&'a str> {
    let able = |node: &NodeView| {
        let disk = &node.state.disk;
        node.responding && disk.ca_key.is_some() && goal.legacy.iter().all(|ca| disk.kept.contains(ca))
    };
    inventory.control_plane(goal).find(|(_, node)| able(node)).map(|(name, _)| name)
}

fn waiting_for(phase: Phase, inventory: &Inventory, goal: &Goal) -> Vec<Missing> {
    let mut reasons = Vec::new();
    for (name, node) in inventory.counted(goal) {
        reasons.extend(unheard(name, node));
    }
    reasons.extend(missing(phase, inventory, goal));
    reasons
}

fn stage(inventory: &Inventory, goal: &Goal) -> Vec<Step> {
    let wanted: Vec<&CaId> = std::iter::once(&goal.from).chain(&goal.to).collect();
    inventory
        .control_plane(goal)
        .filter_map(|(name, node)| {
            let lacks: Vec<CaId> =
                wanted.iter().filter(|ca| !node.state.disk.kept.contains(ca)).map(|ca| (*ca).clone()).collect();
            (!lacks.is_empty() && node.responding).then(|| Step::Stage { node: name.to_owned(), lacks })
        })
        .collect()
}

struct Candidate<'a> {
    name: &'a str,
    node: &'a NodeView,
    target: NodeTarget,
    ops: Vec<Op>,
}

fn node_steps(phase: Phase, inventory: &Inventory, goal: &Goal) -> Vec<Step> {
    let candidates: Vec<Candidate<'_>> = inventory
        .nodes
        .iter()
        .filter(|(name, node)| node.responding || !goal.waived.contains(*name))
        .filter_map(|(name, node)| {
            let target = target(phase, node, inventory, goal)?;
            let ops = node_ops(&node.state, &target);
            (!ops.is_empty()).then_some(Candidate { name, node, target, ops })
        })
        .collect();
    let mut free = goal
        .max_unavailable
        .saturating_sub(candidates.iter().filter(|c| in_flight(c) && restarts(c, "kubelet")).count());
    let mut steps = Vec::new();
    for candidate in &candidates {
        if in_flight(candidate) || !allowed(candidate, &candidates, inventory, goal) {
            continue;
        }
        if restarts(candidate, "kubelet") {
            if free == 0 {
                continue;
            }
            free -= 1;
        }
        steps.push(Step::Node {
            node: candidate.name.to_owned(),
            target: Box::new(candidate.target.clone()),
            ops: candidate.ops.clone(),
        });
    }
    steps
}

fn in_flight(candidate: &Candidate<'_>) -> bool {
    candidate.node.target.as_ref() == Some(&candidate.target)
}

fn restarts(candidate: &Candidate<'_>, process: &str) -> bool {
    candidate.ops.iter().any(|op| op.restarts() == Some(process))
}

const KCM: &str = "kube-controller-manager";

/// The order among nodes: the leader when a follower is done that can take over, so that one change of leader is enough; and one API server
/// serves a new chain before the others do, so that a chain somebody refuses is seen on one.
fn allowed(candidate: &Candidate<'_>, all: &[Candidate<'_>], inventory: &Inventory, goal: &Goal) -> bool {
    let waits = |candidate: &Candidate<'_>| leader_waits(candidate, all, inventory, goal);
    if waits(candidate) {
        return false;
    }
    let served = inventory.control_plane(goal).any(|(_, node)| node.apiserver.issuer == goal.to);
    if reissues_serving(candidate) && !served {
        let first = all.iter().find(|other| reissues_serving(other) && !waits(other));
        return first.is_some_and(|first| first.name == candidate.name);
    }
    true
}

/// Until every other kube-controller-manager that has to restart is at it, and one of them is there again.
fn leader_waits(candidate: &Candidate<'_>, all: &[Candidate<'_>], inventory: &Inventory, goal: &Goal) -> bool {
    if inventory.cluster.controller_manager_leader.as_deref() != Some(candidate.name) || !restarts(candidate, KCM) {
        return false;
    }
    let followers: Vec<(&str, &NodeView)> =
        inventory.control_plane(goal).filter(|(name, _)| *name != candidate.name).collect();
    let restarting = |name: &str| all.iter().find(|other| other.name == name && restarts(other, KCM));
    let ready = followers.iter().any(|(name, node)| node.responding && restarting(name).is_none());
    let begun = followers.iter().filter_map(|(name, _)| restarting(name)).all(in_flight);
    !(followers.is_empty() || ready && begun)
}

fn reissues_serving(candidate: &Candidate<'_>) -> bool {
    candidate.ops.iter().any(|op| matches!(op, Op::ReissueLeaf { leaf: Leaf::Apiserver, .. }))
}

fn cluster_ops(phase: Phase, inventory: &Inventory, goal: &Goal, to: &CaId) -> Vec<ClusterOp> {
    let cluster = &inventory.cluster;
    let both = vec![goal.from.clone(), to.clone()];
    let only = vec![to.clone()];
    let mut ops = Vec::new();
    match phase {
        // As long as ca.crt holds two CAs, an upgrade by kubeadm must keep the signing file.
        Phase::CPTrusted if cluster.kubeadm_own_signer == Some(false) => {
            ops.push(ClusterOp::KubeadmConfig { own_signer: true })
        }
        Phase::DPTrusted => trust_ops(inventory, &both, |cas| cas.contains(to), &mut ops),
        Phase::SignerSwitched if files_signed_by(inventory, goal, to) => {
            let renewed = cluster.caller.as_ref().is_none_or(|caller| caller.issuer.as_ref() == Some(to));
            if cluster.csr_signer.as_ref() != Some(to) || !renewed {
                ops.push(ClusterOp::CallerCredential {
                    issuer: to.clone(),
                    trust: vec![to.clone(), goal.from.clone()],
                });
            }
        }
        // API servers only add to that object, so it is overwritten when the last of them has dropped the old CA.
        Phase::CPUntrusted if cluster.client_ca.contains(&goal.from) && refused_everywhere(inventory, goal) => {
            ops.push(ClusterOp::ClientCa(only));
        }
        Phase::DPUntrusted => trust_ops(inventory, &only, |cas| !cas.contains(&goal.from), &mut ops),
        Phase::Completed => {
            if cluster.kubeadm_own_signer == Some(true) {
                ops.push(ClusterOp::KubeadmConfig { own_signer: false });
            }
            if cluster.caller.as_ref().is_some_and(|caller| caller.trust.contains(&goal.from)) {
                ops.push(ClusterOp::CallerCredential { issuer: to.clone(), trust: only });
            }
        }
        _ => {}
    }
    ops
}

fn trust_ops(inventory: &Inventory, wanted: &[CaId], reached: impl Fn(&[CaId]) -> bool, ops: &mut Vec<ClusterOp>) {
    let cluster = &inventory.cluster;
    if cluster.cluster_info.as_ref().is_some_and(|cas| !reached(cas)) {
        ops.push(ClusterOp::ClusterInfo(wanted.to_vec()));
    }
    if cluster.ca_bundles.values().any(|cas| !reached(cas)) {
        ops.push(ClusterOp::CaBundles(wanted.to_vec()));
    }
}

fn files_signed_by(inventory: &Inventory, goal: &Goal, ca: &CaId) -> bool {
    inventory.control_plane(goal).all(|(_, node)| {
        let disk = &node.state.disk;
        let signer = disk.signer();
        signer == Some(ca)
    })
}

fn refused_everywhere(inventory: &Inventory, goal: &Goal) -> bool {
    inventory.control_plane(goal).all(|(_, node)| verdict(&node.apiserver, &goal.from) == Verdict::Refused)
}
