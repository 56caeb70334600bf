//! What every node's object shall say: the driver's side of the conversation with the agents.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::observe::reports;
use super::record::Record;
use crate::api::{MakeAuthority, NodePKI, NodePkiSpec, Probe, ProbeServer, SealFor, SealedKey};
use crate::cluster::{Live, nodes};
use crate::pki::CaId;
use crate::plan::NodeTarget;
use crate::rotation::{Goal, Inventory, NodeView};

/// What is the same for every node.
pub(super) struct Common<'a> {
    pub(super) ping: &'a str,
    pub(super) rotation: &'a str,
    pub(super) leaf_validity_seconds: Option<i64>,
    pub(super) record: &'a Record,
    pub(super) goal: &'a Goal,
    pub(super) make: Option<(&'a str, &'a MakeAuthority)>,
    pub(super) forget: &'a [CaId],
    pub(super) targets: &'a BTreeMap<String, NodeTarget>,
    pub(super) finished: bool,
}

/// The specs that differ from what the objects say now.
pub(super) fn changed_specs(common: &Common<'_>, live: &Live, inventory: &Inventory) -> Vec<(String, NodePkiSpec)> {
    let reports = reports(live);
    let control_plane: Vec<&str> =
        inventory.control_plane(common.goal).filter(|(_, node)| node.responding).map(|(name, _)| name).collect();
    let mut changed = Vec::new();
    for (name, report) in &reports {
        let Some(view) = inventory.nodes.get(name) else { continue };
        let current = &report.spec;
        // A node that was left out keeps its target: it is brought up to date when it comes back.
        let wanted = !common.finished || common.goal.waived.contains(name);
        let target = common.targets.get(name).or(current.target.as_ref()).filter(|_| wanted).cloned();
        let spec = NodePkiSpec {
            ping: Some(common.ping.to_owned()),
            rotation: Some(common.rotation.to_owned()),
            leaf_validity_seconds: common.leaf_validity_seconds,
            authorities: common.record.authorities.values().cloned().collect(),
            sealed_keys: sealed_to(name, view, &reports),
            make: common.make.filter(|(maker, _)| maker == name).map(|(_, make)| make.clone()),
            seal_for: if first_holder(common.goal, inventory) == Some(name) {
                seal_for(common.goal, inventory, &reports)
            } else {
                Vec::new()
            },
            probes: if common.finished {
                Vec::new()
            } else {
                probes(name, &control_plane, live, common.targets, inventory)
            },
            forget: common.forget.to_vec(),
            // Asked for and answered before anything else is.
            snapshot: None,
            // A rotation decides which CA signs what; what a renewal that was cut off has left to be done ends with it.
            renewal: None,
            vouch_for: vouch_for(name, common.goal, inventory),
            vouchers: vouchers(name, common.goal, inventory),
            leave: false,
            target,
        };
        if spec != *current {
            changed.push((name.clone(), spec));
        }
    }
    changed
}

/// Keys that some node sealed to this one and that it has not taken in yet.
fn sealed_to(name: &str, view: &NodeView, reports: &BTreeMap<String, Arc<NodePKI>>) -> Vec<SealedKey> {
    let sealed = reports.values().filter_map(|report| report.status.as_ref()).flat_map(|status| &status.sealed_keys);
    sealed.filter(|key| key.node == name && !view.state.disk.kept.contains(&key.ca)).cloned().collect()
}

/// The CAs whose keys every control-plane node shall have.
fn wanted(goal: &Goal) -> Vec<&CaId> {
    std::iter::once(&goal.from).chain(&goal.to).collect()
}

/// The node that hands keys out: one is enough, and two would make two ciphertexts of everything.
fn first_holder<'a>(goal: &'a Goal, inventory: &'a Inventory) -> Option<&'a str> {
    goal.to.as_ref()?;
    let holds_all = |view: &NodeView| wanted(goal).iter().all(|ca| view.state.disk.kept.contains(ca));
    inventory.control_plane(goal).find(|(_, view)| view.responding && holds_all(view)).map(|(name, _)| name)
}

fn seal_for(goal: &Goal, inventory: &Inventory, reports: &BTreeMap<String, Arc<NodePKI>>) -> Vec<SealFor> {
    let lacking = inventory.nodes.iter().filter_map(|(name, view)| {
        let cas = lacks(name, view, goal);
        let public_key = reports.get(name)?.status.as_ref()?.sealing_key.clone()?;
        (!cas.is_empty()).then(|| SealFor { node: name.clone(), public_key, cas })
    });
    lacking.collect()
}

/// The CAs whose keys a node shall be given. A control-plane node that was left out needs the new one when it comes back; no key that
/// may be destroyed before that waits for it.
fn lacks(name: &str, view: &NodeView, goal: &Goal) -> Vec<CaId> {
    if !view.state.control_plane {
        return Vec::new();
    }
    let wanted = if goal.waived.contains(name) { goal.to.iter().collect() } else { wanted(goal) };
    wanted.into_iter().filter(|ca| !view.state.disk.kept.contains(ca)).cloned().collect()
}

/// The nodes left out whose kubelet's certificate this control-plane node does not accept any more: the CSR API refuses them, so it may
/// sign for them, and for no others. A control-plane node signs for itself.
fn vouch_for(name: &str, goal: &Goal, inventory: &Inventory) -> Vec<String> {
    let Some((_, signer)) = inventory.control_plane(goal).find(|(node, _)| *node == name) else { return Vec::new() };
    let disk = &signer.state.disk;
    if disk.ca_key.is_none() || disk.ca_key.as_ref() != disk.ca_bundle.first() {
        return Vec::new();
    }
    let refused = |view: &NodeView| {
        let issuer = view.state.disk.kubelet_client.as_ref();
        !view.state.control_plane && issuer.is_some_and(|issuer| !disk.ca_bundle.contains(issuer))
    };
    goal.waived.iter().filter(|left_out| inventory.nodes.get(*left_out).is_some_and(refused)).cloned().collect()
}

/// The control-plane nodes that may vouch for this one.
fn vouchers(name: &str, goal: &Goal, inventory: &Inventory) -> Vec<String> {
    let signers = inventory.control_plane(goal).map(|(signer, _)| signer);
    let vouch = signers.filter(|signer| vouch_for(signer, goal, inventory).iter().any(|left_out| left_out == name));
    vouch.map(str::to_owned).collect()
}

/// Kubelets of workers are asked by control-plane nodes, in turn.
fn probes(
    name: &str,
    control_plane: &[&str],
    live: &Live,
    targets: &BTreeMap<String, NodeTarget>,
    inventory: &Inventory,
) -> Vec<Probe> {
    let Some(turn) = control_plane.iter().position(|node| *node == name) else { return Vec::new() };
    let mut all = live.nodes.state();
    all.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
    let workers = all.iter().filter_map(|node| {
        let worker = node.metadata.name.as_deref()?;
        let view = inventory.nodes.get(worker).filter(|view| !view.state.control_plane)?;
        let target = targets.get(worker).or(view.target.as_ref());
        let accepts = target.map_or(&view.state.disk.ca_bundle, |target| &target.ca_bundle).clone();
        let serves = target.and_then(|target| Some(target.kubelet_serving.as_ref()?.issuer.clone()));
        let address = format!("{}:{}", nodes::internal_ip(node)?, nodes::kubelet_port(node));
        Some(Probe { node: worker.to_owned(), address, server: ProbeServer::Kubelet, accepts, serves })
    });
    workers.enumerate().filter(|(index, _)| index % control_plane.len() == turn).map(|(_, probe)| probe).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::NodeState;

    fn ca(name: &str) -> CaId {
        CaId::planned(name)
    }

    fn node(control_plane: bool, bundle: &[&str], kubelet: &str) -> NodeView {
        let mut state = NodeState { control_plane, ..NodeState::default() };
        state.disk.ca_bundle = bundle.iter().map(|name| ca(name)).collect();
        state.disk.kubelet_client = Some(ca(kubelet));
        if control_plane {
            state.disk.ca_key = state.disk.ca_bundle.first().cloned();
            state.disk.kept = state.disk.ca_bundle.clone();
        }
        NodeView { state, ..NodeView::default() }
    }

    /// Both control-plane nodes and w-1 have this bundle; w-2 and cp-3 were left out and hold the old CA.
    fn cluster(bundle: &[&str]) -> (Inventory, Goal) {
        let nodes = [
            ("cp-1", node(true, bundle, "new")),
            ("cp-2", node(true, bundle, "new")),
            ("cp-3", node(true, &["old"], "old")),
            ("w-1", node(false, bundle, "new")),
            ("w-2", node(false, &["old"], "old")),
        ];
        let nodes = nodes.into_iter().map(|(name, view)| (name.to_owned(), view)).collect();
        let goal = Goal {
            from: ca("old"),
            to: Some(ca("new")),
            legacy: Vec::new(),
            rollback: false,
            waived: BTreeSet::from(["w-2".to_owned(), "cp-3".to_owned(), "gone".to_owned()]),
            max_unavailable: 1,
            pause_before: None,
        };
        (Inventory { nodes, ..Inventory::default() }, goal)
    }

    #[test]
    fn after_the_drop_control_plane_nodes_vouch_for_the_worker_that_was_left_out() {
        let (inventory, goal) = cluster(&["new"]);
        assert_eq!(vouch_for("cp-1", &goal, &inventory), ["w-2"]);
        assert_eq!(vouch_for("cp-3", &goal, &inventory), [""; 0], "it was left out itself");
        assert_eq!(vouch_for("w-1", &goal, &inventory), [""; 0], "a worker signs nothing");
        assert_eq!(vouchers("w-2", &goal, &inventory), ["cp-1", "cp-2"]);
        assert_eq!(vouchers("w-1", &goal, &inventory), [""; 0], "it was not left out");
        assert_eq!(vouchers("cp-3", &goal, &inventory), [""; 0], "it signs for itself");
    }

    #[test]
    fn nobody_vouches_while_the_csr_api_still_serves_the_old_ca() {
        let (inventory, goal) = cluster(&["new", "old"]);
        assert_eq!(vouch_for("cp-1", &goal, &inventory), [""; 0]);
        assert_eq!(vouchers("w-2", &goal, &inventory), [""; 0]);
    }

    #[test]
    fn nobody_vouches_for_a_node_that_is_up_to_date_again_or_without_the_key_in_force() {
        let (mut inventory, mut goal) = cluster(&["new"]);
        inventory.nodes.get_mut("cp-1").unwrap().state.disk.ca_key = Some(ca("old"));
        assert_eq!(vouchers("w-2", &goal, &inventory), ["cp-2"]);
        inventory.nodes.get_mut("w-2").unwrap().state.disk.kubelet_client = Some(ca("new"));
        assert_eq!(vouchers("w-2", &goal, &inventory), [""; 0]);
        inventory.nodes.get_mut("w-2").unwrap().state.disk.kubelet_client = Some(ca("old"));
        goal.waived.clear();
        assert_eq!(vouchers("w-2", &goal, &inventory), [""; 0]);
    }

    #[test]
    fn a_control_plane_node_that_was_left_out_is_given_the_new_key_only() {
        let (mut inventory, goal) = cluster(&["new"]);
        assert_eq!(lacks("cp-3", &inventory.nodes["cp-3"], &goal), [ca("new")]);
        assert_eq!(lacks("cp-1", &inventory.nodes["cp-1"], &goal), [ca("old")]);
        assert_eq!(lacks("w-2", &inventory.nodes["w-2"], &goal), Vec::new());
        inventory.nodes.get_mut("cp-3").unwrap().state.disk.kept.clear();
        assert_eq!(lacks("cp-3", &inventory.nodes["cp-3"], &goal), [ca("new")]);
    }
}
