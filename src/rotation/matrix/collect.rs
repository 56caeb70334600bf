//! Who presents which certificate, and who trusts which CAs, as an inventory shows them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Presented, Presenter, Verifier};
use crate::pki::{CaId, Usage};
use crate::plan::{Conf, ConfState, EndpointState, Leaf, ProcessState, Verdict};
use crate::rotation::{Goal, Inventory, NodeView, verdict};

/// What is presented, each with one who presents it.
pub(super) type Presentations = BTreeMap<Presenter, BTreeMap<Presented, String>>;
/// Which CAs are trusted together, each set with one who trusts it.
pub(super) type Trusts = BTreeMap<Verifier, BTreeMap<BTreeSet<CaId>, String>>;

/// One side of a component and the API server of its own node, which it never leaves.
pub(super) struct Local {
    pub(super) presenter: Presenter,
    pub(super) presented: Presented,
    pub(super) who: String,
    pub(super) verifier: Verifier,
    pub(super) trust: BTreeSet<CaId>,
    pub(super) whom: String,
    pub(super) usage: Usage,
}

/// Everybody who meets in one or more states of the cluster.
#[derive(Default)]
pub(super) struct Picture {
    pub(super) shown: Presentations,
    pub(super) trusted: Trusts,
    /// Not mixed with other nodes: such a pair changes together, and each of its states is looked at.
    pub(super) local: Vec<Local>,
}

impl Picture {
    /// Adds who presents what and who trusts whom in `inventory`.
    pub(super) fn add(&mut self, inventory: &Inventory, goal: &Goal) {
        for (name, node) in inventory.counted(goal) {
            node_presents(name, node, &mut self.shown);
            node_trusts(name, node, &mut self.trusted);
            if node.state.control_plane {
                components(name, node, self);
            }
        }
        cluster_trusts(inventory, goal, &mut self.trusted);
    }
}

fn show(shown: &mut Presentations, presenter: Presenter, issuer: Option<&CaId>, vouched_by: &[CaId], who: String) {
    if let Some(issuer) = issuer {
        let presented = Presented { issuer: issuer.clone(), vouched_by: vouched_by.to_vec() };
        shown.entry(presenter).or_default().entry(presented).or_insert(who);
    }
}

fn node_presents(name: &str, node: &NodeView, shown: &mut Presentations) {
    let disk = &node.state.disk;
    let loaded = &node.state.loaded;
    let kubelet = loaded.kubelet.as_ref().and_then(|p| p.conf.as_ref()).and_then(|c| c.issuer.as_ref());
    show(
        shown,
        Presenter::Kubelet,
        kubelet.or(disk.kubelet_client.as_ref()),
        &[],
        format!("the kubelet of node/{name}"),
    );
    kubelet_serves(name, node, shown);
    if !node.state.control_plane {
        return;
    }
    show(
        shown,
        Presenter::ApiServer,
        node.apiserver.issuer.as_ref(),
        &node.apiserver.vouched_by,
        format!("kube-apiserver of node/{name}"),
    );
    let leaf = disk.leaves.get(&Leaf::ApiserverKubeletClient).and_then(|l| l.issuer.as_ref());
    show(
        shown,
        Presenter::ApiServerKubeletClient,
        leaf,
        &[],
        format!("kube-apiserver of node/{name}, towards kubelets,"),
    );
    for conf in [Conf::Admin, Conf::SuperAdmin] {
        let issuer = disk.confs.get(&conf).and_then(|c| c.issuer.as_ref());
        show(shown, Presenter::Admin, issuer, &[], format!("{} of node/{name}", conf.file_name()));
    }
}

/// kube-controller-manager and kube-scheduler, each beside the API server that it talks to: its own, or any.
fn components(name: &str, node: &NodeView, picture: &mut Picture) {
    let (disk, loaded) = (&node.state.disk, &node.state.loaded);
    let all = [
        (
            Presenter::ControllerManager,
            Verifier::ControllerManager,
            Conf::ControllerManager,
            &loaded.controller_manager,
        ),
        (Presenter::Scheduler, Verifier::Scheduler, Conf::Scheduler, &loaded.scheduler),
    ];
    for (presenter, verifier, conf, process) in all {
        let Some(held) = in_memory(process).or(disk.confs.get(&conf)) else { continue };
        let who = format!("{} of node/{name}", conf.file_name().trim_end_matches(".conf"));
        if held.own_server {
            at_home(name, node, held, (presenter, verifier), &who, &mut picture.local);
        } else {
            trust(&mut picture.trusted, verifier, held.trust.clone(), format!("kube-{who}"));
            show(&mut picture.shown, presenter, held.issuer.as_ref(), &[], who);
        }
    }
}

fn in_memory(process: &Option<ProcessState>) -> Option<&ConfState> {
    process.as_ref()?.conf.as_ref()
}

/// What is not known of the API server is left out.
fn at_home(
    name: &str,
    node: &NodeView,
    component: &ConfState,
    (presenter, verifier): (Presenter, Verifier),
    who: &str,
    local: &mut Vec<Local>,
) {
    let server = format!("kube-apiserver of node/{name}");
    let mut pair = |pair: Local| {
        if !pair.trust.is_empty() {
            local.push(pair);
        }
    };
    if let Some(issuer) = component.issuer.clone() {
        pair(Local {
            presenter,
            presented: Presented { issuer, vouched_by: Vec::new() },
            who: who.to_owned(),
            verifier: Verifier::ApiServer,
            trust: accepted(&node.apiserver, &node.state.disk.ca_bundle).into_iter().collect(),
            whom: server.clone(),
            usage: Usage::Client,
        });
    }
    if let Some(issuer) = node.apiserver.issuer.clone() {
        pair(Local {
            presenter: Presenter::ApiServer,
            presented: Presented { issuer, vouched_by: node.apiserver.vouched_by.clone() },
            who: server,
            verifier,
            trust: component.trust.iter().cloned().collect(),
            whom: who.to_owned(),
            usage: Usage::Server,
        });
    }
}

/// A kubelet's serving certificate from a CA of the cluster: as seen in a handshake, else as loaded, else as it stands in the file. A kubelet
/// that shows a certificate of an unknown CA does not serve that file.
fn kubelet_serves(name: &str, node: &NodeView, shown: &mut Presentations) {
    let Some(on_disk) = &node.state.disk.kubelet_serving else { return };
    let who = format!("the kubelet of node/{name}, as a server,");
    let seen = &node.kubelet;
    if seen.issuer.is_some() {
        show(shown, Presenter::KubeletServer, seen.issuer.as_ref(), &seen.vouched_by, who);
    } else if seen.serial.is_empty() {
        let loaded = node.state.loaded.kubelet.as_ref().and_then(|process| process.serving.as_ref());
        let held = loaded.unwrap_or(on_disk);
        show(shown, Presenter::KubeletServer, held.issuer.as_ref(), &held.vouched_by, who);
    }
}

fn trust(trusted: &mut Trusts, verifier: Verifier, cas: impl IntoIterator<Item = CaId>, whom: String) {
    let set: BTreeSet<CaId> = cas.into_iter().collect();
    if !set.is_empty() {
        trusted.entry(verifier).or_default().entry(set).or_insert(whom);
    }
}

/// What an endpoint has loaded, as seen from its answers; what stands in its file (which it reloads) when nobody has asked yet.
fn accepted(endpoint: &EndpointState, bundle: &[CaId]) -> Vec<CaId> {
    if endpoint.clients.values().all(|verdict| *verdict == Verdict::Unreachable) {
        return bundle.to_vec();
    }
    endpoint.clients.keys().filter(|ca| verdict(endpoint, ca) == Verdict::Accepted).cloned().collect()
}

fn node_trusts(name: &str, node: &NodeView, trusted: &mut Trusts) {
    let disk = &node.state.disk;
    let loaded = &node.state.loaded;
    let kubelet = in_memory(&loaded.kubelet).or(disk.confs.get(&Conf::Kubelet));
    let known = kubelet.map(|conf| conf.trust.clone()).unwrap_or_default();
    trust(trusted, Verifier::KubeletConf, known, format!("the kubelet of node/{name}"));
    trust(
        trusted,
        Verifier::KubeletServer,
        accepted(&node.kubelet, &disk.ca_bundle),
        format!("the kubelet of node/{name}"),
    );
    if !node.state.control_plane {
        return;
    }
    trust(
        trusted,
        Verifier::ApiServer,
        accepted(&node.apiserver, &disk.ca_bundle),
        format!("kube-apiserver of node/{name}"),
    );
    trust(
        trusted,
        Verifier::ApiServerOfKubelets,
        disk.ca_bundle.clone(),
        format!("kube-apiserver of node/{name}, of kubelets,"),
    );
    for conf in [Conf::Admin, Conf::SuperAdmin] {
        let cas = disk.confs.get(&conf).map(|c| c.trust.clone()).unwrap_or_default();
        trust(trusted, Verifier::Admin, cas, format!("holders of {} of node/{name}", conf.file_name()));
    }
}

fn cluster_trusts(inventory: &Inventory, goal: &Goal, trusted: &mut Trusts) {
    let cluster = &inventory.cluster;
    for (namespace, cas) in &cluster.root_ca {
        trust(trusted, Verifier::Pods, cas.clone(), format!("pods in namespace {namespace}"));
    }
    if let Some(cas) = &cluster.cluster_info {
        trust(trusted, Verifier::Joiner, cas.clone(), "nodes that join through cluster-info".into());
    }
    if let Some(caller) = &cluster.caller {
        trust(trusted, Verifier::Admin, caller.trust.clone(), "you, with your kubeconfig,".into());
    }
    let oldest = if goal.rollback { goal.to.as_ref() } else { Some(&goal.from) };
    for ca in oldest.into_iter().chain(&goal.legacy) {
        trust(
            trusted,
            Verifier::LongRunning,
            [ca.clone()],
            format!("processes that read the CA {} before the rotation", ca.short()),
        );
    }
}
