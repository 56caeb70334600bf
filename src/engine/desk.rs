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
    let lacking = inventory.control_plane(goal).filter_map(|(name, view)| {
        let cas: Vec<CaId> =
            wanted(goal).into_iter().filter(|ca| !view.state.disk.kept.contains(ca)).cloned().collect();
        let public_key = reports.get(name)?.status.as_ref()?.sealing_key.clone()?;
        (!cas.is_empty()).then(|| SealFor { node: name.to_owned(), public_key, cas })
    });
    lacking.collect()
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
        let address = format!("{}:{}", nodes::internal_ip(node)?, nodes::kubelet_port(node));
        Some(Probe { node: worker.to_owned(), address, server: ProbeServer::Kubelet, accepts })
    });
    workers.enumerate().filter(|(index, _)| index % control_plane.len() == turn).map(|(_, probe)| probe).collect()
}
