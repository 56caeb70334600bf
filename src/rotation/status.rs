//! The words of `status`: what gkectl prints, aggregated pessimistically.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use crate::pki::CaId;
use crate::plan::{Conf, ConfState, Leaf};

use super::inventory::{Goal, Inventory, NodeView};

/// One plane in CAVersions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaneStatus {
    /// CAVersions that **every** member trusts.
    pub bundle: BTreeSet<u32>,
    /// CAVersions that **any** member's certificates come from.
    pub certs: BTreeSet<u32>,
    /// CAVersions that any member signs CSRs with (control plane), or that signed the certificate it was started with (data plane).
    pub signer: BTreeSet<u32>,
}

/// The message of the status, and what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sentence {
    /// Control plane.
    pub control_plane: PlaneStatus,
    /// Data plane.
    pub data_plane: PlaneStatus,
    /// Both planes in one sentence, which is gkectl's.
    pub message: String,
}

/// Describes the cluster in CAVersions. A CA that has none is version 0.
#[must_use]
pub fn describe(inventory: &Inventory, goal: &Goal, versions: &BTreeMap<CaId, u32>) -> Sentence {
    let number = |ca: &CaId| versions.get(ca).copied().unwrap_or_default();
    let mut control_plane = PlaneStatus {
        bundle: intersection(inventory.control_plane(goal).map(|(_, n)| n), number),
        ..Default::default()
    };
    let mut data_plane =
        PlaneStatus { bundle: intersection(inventory.counted(goal).map(|(_, n)| n), number), ..Default::default() };
    for (_, node) in inventory.control_plane(goal) {
        control_plane.certs.extend(control_plane_issuers(node, goal).map(number));
        let disk = &node.state.disk;
        let signer = disk.signer();
        control_plane.signer.extend(signer.map(number));
    }
    for (_, node) in inventory.counted(goal) {
        data_plane.certs.extend(node.state.disk.kubelet_client.as_ref().map(number));
        let serving = node.state.disk.kubelet_serving.as_ref().and_then(|held| held.issuer.as_ref());
        data_plane.certs.extend(serving.map(number));
        let loaded = node.state.loaded.kubelet.as_ref().and_then(|p| p.conf.as_ref()).and_then(|c| c.issuer.as_ref());
        data_plane.signer.extend(loaded.or(node.state.disk.kubelet_client.as_ref()).map(number));
    }
    let message = format!(
        "Control plane has CA bundle [{}], certs from CA {}, CA {} is CSR signer. Data plane has CA bundle [{}], CA {} was CSR signer at last restart.",
        list(&control_plane.bundle, " "),
        list(&control_plane.certs, " and "),
        list(&control_plane.signer, " and "),
        list(&data_plane.bundle, " "),
        list(&data_plane.signer, " and "),
    );
    Sentence { control_plane, data_plane, message }
}

fn control_plane_issuers<'a>(node: &'a NodeView, goal: &'a Goal) -> impl Iterator<Item = &'a CaId> {
    let disk = &node.state.disk;
    let leaves = Leaf::ALL.iter().filter_map(|leaf| disk.leaves.get(leaf)?.issuer.as_ref());
    let confs = [Conf::Admin, Conf::SuperAdmin].into_iter().filter_map(|conf| disk.confs.get(&conf)?.issuer.as_ref());
    let loaded = [&node.state.loaded.controller_manager, &node.state.loaded.scheduler]
        .into_iter()
        .filter_map(|process| process.as_ref()?.conf.as_ref());
    // What only the node's own API server sees may be new before the plane's certificates are; old, it holds the plane back.
    let counts = |conf: &&ConfState| !conf.own_server || conf.issuer != goal.to;
    leaves.chain(confs).chain(loaded.filter(counts).filter_map(|conf| conf.issuer.as_ref()))
}

fn intersection<'a>(nodes: impl Iterator<Item = &'a NodeView>, number: impl Fn(&CaId) -> u32) -> BTreeSet<u32> {
    nodes
        .map(|node| node.state.disk.ca_bundle.iter().map(&number).collect::<BTreeSet<u32>>())
        .reduce(|left, right| left.intersection(&right).copied().collect())
        .unwrap_or_default()
}

fn list(versions: &BTreeSet<u32>, separator: &str) -> String {
    let mut text = String::new();
    for version in versions {
        if !text.is_empty() {
            text.push_str(separator);
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{version}");
    }
    text
}
