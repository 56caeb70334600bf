//! A cluster that does what it is told: dry runs print its way, tests stop it at every step.

use crate::pki::CaId;
use crate::plan::{ClusterOp, EndpointState, Leaf, NodeState, Verdict, simulate};

use super::inventory::{Goal, Inventory, NodeView};
use super::phase::Phase;
use super::planner::{Next, Step, next};

/// Steps that a plan may take before it is called endless.
const LIMIT: usize = 100_000;

/// The steps of every phase, in order.
pub type Plan = Vec<(Phase, Vec<Step>)>;

/// The whole way to the goal, phase by phase, as a healthy cluster would take it.
///
/// # Errors
/// The observations that a phase waits for and that no step brings about.
pub fn whole_plan(inventory: &Inventory, goal: &Goal) -> Result<Plan, (Phase, Vec<String>)> {
    let mut world = inventory.clone();
    let mut goal = Goal { pause_before: None, ..goal.clone() };
    let mut plan = Vec::new();
    for node in world.nodes.values_mut() {
        node.responding = true;
    }
    for _ in 0..LIMIT {
        settle(&mut world, &goal);
        match next(&world, &goal) {
            Next::Done | Next::Pause(_) => return Ok(plan),
            Next::Wait(phase, missing) => return Err((phase, missing)),
            Next::Steps(phase, steps) => {
                for step in &steps {
                    take(&mut world, &mut goal, step);
                }
                plan.push((phase, steps));
            }
        }
    }
    Err((Phase::Completed, vec!["the plan does not end".into()]))
}

/// What the world looks like once `step` is taken to its end.
pub fn take(world: &mut Inventory, goal: &mut Goal, step: &Step) {
    match step {
        Step::Make { .. } => {
            let new = CaId::planned("new");
            world.recorded.insert(new.clone());
            goal.to = Some(new);
        }
        Step::Stage { node, lacks } => {
            if let Some(view) = world.nodes.get_mut(node) {
                view.state.disk.kept.extend(lacks.iter().cloned());
            }
        }
        Step::Node { node, target, ops } => {
            if let Some(view) = world.nodes.get_mut(node) {
                view.target = Some((**target).clone());
            }
            for op in ops {
                apply_op(world, node, op);
            }
        }
        Step::Cluster(op) => apply_cluster_op(world, op),
    }
}

/// Applies one operation on a node; a leader that restarts hands the lead to another node.
pub fn apply_op(world: &mut Inventory, name: &str, op: &crate::plan::Op) {
    if let Some(view) = world.nodes.get_mut(name) {
        simulate::apply(&mut view.state, op);
    }
    if op.restarts() == Some("kube-controller-manager")
        && world.cluster.controller_manager_leader.as_deref() == Some(name)
    {
        let other = world.nodes.iter().find(|(other, node)| other.as_str() != name && node.state.control_plane);
        if let Some((other, _)) = other {
            world.cluster.controller_manager_leader = Some(other.clone());
        }
    }
}

pub(super) fn apply_cluster_op(world: &mut Inventory, op: &ClusterOp) {
    let cluster = &mut world.cluster;
    match op {
        ClusterOp::ClusterInfo(cas) => cluster.cluster_info = Some(cas.clone()),
        ClusterOp::CaBundles(cas) => cluster.ca_bundles.values_mut().for_each(|held| held.clone_from(cas)),
        ClusterOp::KubeadmConfig { own_signer } => cluster.kubeadm_own_signer = Some(*own_signer),
        ClusterOp::ClientCa(cas) => cluster.client_ca.clone_from(cas),
        ClusterOp::CallerCredential { issuer, trust } => {
            cluster.csr_signer = Some(issuer.clone());
            if let Some(caller) = &mut cluster.caller {
                caller.issuer = Some(issuer.clone());
                caller.trust.clone_from(trust);
            }
        }
    }
}

/// Lets every hot reload happen: endpoints serve and accept what stands in the files, the leader publishes its root CA.
pub fn settle(world: &mut Inventory, goal: &Goal) {
    let cas: Vec<CaId> = std::iter::once(goal.from.clone()).chain(goal.to.clone()).collect();
    let mut client_ca = world.cluster.client_ca.clone();
    for node in world.nodes.values_mut() {
        settle_node(node, &cas);
        // A node that is off adds nothing.
        if node.state.control_plane && node.responding {
            client_ca
                .extend(node.state.disk.ca_bundle.iter().filter(|ca| !world.cluster.client_ca.contains(ca)).cloned());
        }
    }
    client_ca.dedup();
    world.cluster.client_ca.clone_from(&client_ca);
    for node in world.nodes.values_mut().filter(|node| node.state.control_plane) {
        // The scheduler follows extension-apiserver-authentication.
        node.scheduler = accepting(&cas, &client_ca);
    }
    let leader = world.cluster.controller_manager_leader.as_ref().and_then(|name| world.nodes.get(name));
    if let Some(process) = leader.and_then(|node| node.state.loaded.controller_manager.as_ref()) {
        let published = process.root_ca.clone();
        world.cluster.root_ca.values_mut().for_each(|held| held.clone_from(&published));
    }
}

fn settle_node(node: &mut NodeView, cas: &[CaId]) {
    let state: &NodeState = &node.state;
    let trusted = state.disk.ca_bundle.clone();
    node.kubelet = accepting(cas, &trusted);
    if let Some(serving) = state.loaded.kubelet.as_ref().and_then(|process| process.serving.as_ref()) {
        node.kubelet.issuer.clone_from(&serving.issuer);
        node.kubelet.vouched_by.clone_from(&serving.vouched_by);
    }
    if state.control_plane {
        node.apiserver = accepting(cas, &trusted);
        if let Some(leaf) = state.disk.leaves.get(&Leaf::Apiserver) {
            node.apiserver.issuer.clone_from(&leaf.issuer);
            node.apiserver.vouched_by.clone_from(&leaf.vouched_by);
        }
        node.controller_manager = accepting(cas, &trusted);
    }
    node.ready = true;
}

fn accepting(cas: &[CaId], trusted: &[CaId]) -> EndpointState {
    let verdict = |ca: &CaId| if trusted.contains(ca) { Verdict::Accepted } else { Verdict::Refused };
    EndpointState { clients: cas.iter().map(|ca| (ca.clone(), verdict(ca))).collect(), ..EndpointState::default() }
}
