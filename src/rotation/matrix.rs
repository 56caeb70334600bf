//! The trust matrix: every presenter against every verifier, with real X.509 path validation (RFC 5280 section 6).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use crate::pki::{CaId, Material, PkiError, Usage, verify};
use crate::plan::{Component, Conf, EndpointState, Leaf, Op, Verdict, simulate};

use super::inventory::{Goal, Inventory, NodeView, verdict};
use super::planner::Step;
use super::simulate::apply_cluster_op;

/// Who shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presenter {
    /// kube-apiserver's serving certificate.
    ApiServer,
    /// kube-apiserver towards kubelets.
    ApiServerKubeletClient,
    /// kube-apiserver towards etcd.
    ApiServerEtcdClient,
    /// kube-apiserver towards aggregated API servers.
    FrontProxyClient,
    /// The kubelet's client certificate.
    Kubelet,
    /// kube-controller-manager's client certificate.
    ControllerManager,
    /// kube-scheduler's client certificate.
    Scheduler,
    /// admin.conf, super-admin.conf and the caller's kubeconfig.
    Admin,
    /// etcd towards its clients.
    EtcdServer,
    /// etcd towards its peers.
    EtcdPeer,
}

/// Who checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verifier {
    /// kube-apiserver, of client certificates.
    ApiServer,
    /// The kubelet, of the API server's serving certificate (kubelet.conf).
    KubeletConf,
    /// The kubelet, of client certificates (clientCAFile).
    KubeletServer,
    /// kube-controller-manager, of the API server.
    ControllerManager,
    /// kube-scheduler, of the API server.
    Scheduler,
    /// Holders of admin kubeconfigs, the caller included.
    Admin,
    /// Pods that read kube-root-ca.crt now.
    Pods,
    /// Processes that read the CA once, before the rotation.
    LongRunning,
    /// `kubeadm join`, through cluster-info.
    Joiner,
    /// etcd, of clients and peers.
    Etcd,
    /// kube-apiserver, of etcd.
    EtcdClient,
    /// Aggregated API servers, of the front-proxy client.
    AggregatedApiServer,
}

/// Which presenter faces which verifiers, and how the certificate is used. The rows of etcd and the front proxy are there for their authorities.
pub const EDGES: [(Presenter, &[Verifier], Usage); 10] = [
    (
        Presenter::ApiServer,
        &[
            Verifier::KubeletConf,
            Verifier::ControllerManager,
            Verifier::Scheduler,
            Verifier::Admin,
            Verifier::Pods,
            Verifier::LongRunning,
            Verifier::Joiner,
        ],
        Usage::Server,
    ),
    (Presenter::ApiServerKubeletClient, &[Verifier::KubeletServer], Usage::Client),
    (Presenter::Kubelet, &[Verifier::ApiServer], Usage::Client),
    (Presenter::ControllerManager, &[Verifier::ApiServer], Usage::Client),
    (Presenter::Scheduler, &[Verifier::ApiServer], Usage::Client),
    (Presenter::Admin, &[Verifier::ApiServer], Usage::Client),
    (Presenter::ApiServerEtcdClient, &[Verifier::Etcd], Usage::Client),
    (Presenter::FrontProxyClient, &[Verifier::AggregatedApiServer], Usage::Client),
    (Presenter::EtcdServer, &[Verifier::EtcdClient, Verifier::Etcd], Usage::Server),
    (Presenter::EtcdPeer, &[Verifier::Etcd], Usage::Server),
];

/// What a presenter shows: the signer of its leaf, and the CAs that vouch for that signer in the chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Presented {
    /// Signer of the leaf.
    pub issuer: CaId,
    /// CAs whose cross-signed certificate of `issuer` is sent along.
    pub vouched_by: Vec<CaId>,
}

/// One pair that would refuse each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Presenter and where, for example `kubelet of node/w-1`.
    pub presenter: String,
    /// Verifier and where.
    pub verifier: String,
    /// What path validation says.
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} would be refused by {}: {}", self.presenter, self.verifier, self.reason)
    }
}

/// The certificates that stand for each CA when an edge is verified.
pub struct Matrix<'a> {
    materials: &'a BTreeMap<CaId, Material>,
    now: Timestamp,
}

/// Model certificates for the two CAs of a plan, under these names: a dry run verifies the future among them.
///
/// # Errors
/// As [`Material::planned_pair`].
pub fn model(
    old: &CaId,
    new: &CaId,
    like: Option<&Material>,
    now: Timestamp,
) -> Result<BTreeMap<CaId, Material>, PkiError> {
    let (mut first, mut second) = Material::planned_pair("kubernetes", like, now)?;
    for (material, by) in [(&mut first, new), (&mut second, old)] {
        for (signer, _) in &mut material.crosses {
            signer.clone_from(by);
        }
    }
    Ok(BTreeMap::from([(old.clone(), first), (new.clone(), second)]))
}

type Presentations = BTreeMap<Presenter, BTreeMap<Presented, String>>;
type Trusts = BTreeMap<Verifier, BTreeMap<BTreeSet<CaId>, String>>;

impl<'a> Matrix<'a> {
    /// Takes the certificates of every CA that occurs, specimen leaves included.
    #[must_use]
    pub fn new(materials: &'a BTreeMap<CaId, Material>, now: Timestamp) -> Self {
        Self { materials, now }
    }

    /// Verifies every edge for every mix of nodes before and after `steps`, each operation's intermediate state included, and names those
    /// that the steps would break. What is broken already is no reason not to go on: see [`Self::broken`].
    #[must_use]
    pub fn check(&self, inventory: &Inventory, goal: &Goal, steps: &[Step]) -> Vec<Violation> {
        let (mut shown, mut trusted) = (Presentations::new(), Trusts::new());
        collect(inventory, goal, &mut shown, &mut trusted);
        let before = self.verify_all(&shown, &trusted);
        for after in afterwards(inventory, steps) {
            collect(&after, goal, &mut shown, &mut trusted);
        }
        let all = self.verify_all(&shown, &trusted);
        all.into_iter().filter(|violation| !before.contains(violation)).collect()
    }

    /// The edges that are broken now, before any step: a control-plane node that joined with a stock certificate, for example, serves no
    /// chain for processes that know only an older CA.
    #[must_use]
    pub fn broken(&self, inventory: &Inventory, goal: &Goal) -> Vec<Violation> {
        let (mut shown, mut trusted) = (Presentations::new(), Trusts::new());
        collect(inventory, goal, &mut shown, &mut trusted);
        self.verify_all(&shown, &trusted)
    }

    fn verify_all(&self, shown: &Presentations, trusted: &Trusts) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (presenter, verifiers, usage) in EDGES {
            for (presented, who) in shown.get(&presenter).into_iter().flatten() {
                for verifier in verifiers {
                    for (trust, whom) in trusted.get(verifier).into_iter().flatten() {
                        if let Err(reason) = self.edge(presented, trust, usage) {
                            violations.push(Violation { presenter: who.clone(), verifier: whom.clone(), reason });
                        }
                    }
                }
            }
        }
        violations
    }

    /// Path validation of one edge.
    fn edge(&self, presented: &Presented, trust: &BTreeSet<CaId>, usage: Usage) -> Result<(), String> {
        let unknown = |ca: &CaId| format!("no certificate of CA {} is known", ca.short());
        let issuer = self.materials.get(&presented.issuer).ok_or_else(|| unknown(&presented.issuer))?;
        let leaf = match usage {
            Usage::Server => issuer.specimen_server.as_ref(),
            Usage::Client => issuer.specimen_client.as_ref(),
        };
        let mut chain = vec![leaf.ok_or_else(|| unknown(&presented.issuer))?.rustls_der()];
        chain.extend(
            issuer
                .crosses
                .iter()
                .filter(|(by, _)| presented.vouched_by.contains(by))
                .map(|(_, cross)| cross.rustls_der()),
        );
        let roots: Vec<_> =
            trust.iter().filter_map(|ca| self.materials.get(ca)).map(|material| material.ca.clone()).collect();
        verify(&chain, &roots, usage, self.now).map_err(|error| {
            let names: Vec<&str> = trust.iter().map(CaId::short).collect();
            format!("a leaf of CA {} does not verify against [{}]: {error}", presented.issuer.short(), names.join(" "))
        })
    }
}

/// What changes with each operation of each step, every node for itself: with the state before, that covers every mix.
fn afterwards(inventory: &Inventory, steps: &[Step]) -> Vec<Inventory> {
    let mut all = Vec::new();
    for step in steps {
        match step {
            Step::Node { node, ops, .. } => {
                if let Some(view) = inventory.nodes.get(node) {
                    after_each(node, view, ops, &mut all);
                }
            }
            Step::Cluster(op) => {
                let mut after = Inventory { cluster: inventory.cluster.clone(), ..Inventory::default() };
                apply_cluster_op(&mut after, op);
                all.push(after);
            }
            Step::Make { .. } | Step::Stage { .. } => {}
        }
    }
    all
}

fn after_each(node: &str, view: &NodeView, ops: &[Op], all: &mut Vec<Inventory>) {
    let mut after = NodeView { state: view.state.clone(), ..NodeView::default() };
    for op in ops {
        simulate::apply(&mut after.state, op);
        settle(&mut after, op, view);
        let nodes = BTreeMap::from([(node.to_owned(), after.clone())]);
        let mut world = Inventory { nodes, ..Inventory::default() };
        // Whichever kube-controller-manager leads tells every pod what it has loaded.
        if op.restarts() == Some(Component::KubeControllerManager.name())
            && let Some(process) = &after.state.loaded.controller_manager
        {
            world.cluster.root_ca.insert("any".into(), process.root_ca.clone());
        }
        all.push(world);
    }
}

/// kube-apiserver and the kubelet reload their client CAs and leaves by themselves: what is written is what they will use.
fn settle(after: &mut NodeView, op: &Op, before: &NodeView) {
    let written = match op {
        Op::RestartStaticPod { during, .. } => during.iter().any(|op| matches!(op, Op::WriteBundle(_))),
        op => matches!(op, Op::WriteBundle(_)),
    };
    if !written && after.apiserver == EndpointState::default() {
        after.apiserver.clone_from(&before.apiserver);
        after.kubelet.clone_from(&before.kubelet);
    } else if written {
        after.apiserver.clients.clear();
        after.kubelet.clients.clear();
    }
    if let Some(leaf) = after.state.disk.leaves.get(&Leaf::Apiserver) {
        after.apiserver.issuer.clone_from(&leaf.issuer);
        after.apiserver.vouched_by.clone_from(&leaf.vouched_by);
    }
}

fn collect(inventory: &Inventory, goal: &Goal, shown: &mut Presentations, trusted: &mut Trusts) {
    for (name, node) in inventory.counted(goal) {
        node_presents(name, node, shown);
        node_trusts(name, node, trusted);
    }
    cluster_trusts(inventory, goal, trusted);
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
    let processes = [
        (Presenter::ControllerManager, Conf::ControllerManager, &loaded.controller_manager),
        (Presenter::Scheduler, Conf::Scheduler, &loaded.scheduler),
    ];
    for (presenter, conf, process) in processes {
        let issuer =
            process.as_ref().and_then(|p| p.conf.as_ref()).or(disk.confs.get(&conf)).and_then(|c| c.issuer.as_ref());
        show(shown, presenter, issuer, &[], format!("{} of node/{name}", conf.file_name().trim_end_matches(".conf")));
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
    let conf_trust = |process: &Option<crate::plan::ProcessState>, conf: Conf| {
        let in_memory = process.as_ref().and_then(|p| p.conf.as_ref());
        in_memory.or(disk.confs.get(&conf)).map(|c| c.trust.clone()).unwrap_or_default()
    };
    trust(
        trusted,
        Verifier::KubeletConf,
        conf_trust(&loaded.kubelet, Conf::Kubelet),
        format!("the kubelet of node/{name}"),
    );
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
    let manager = conf_trust(&loaded.controller_manager, Conf::ControllerManager);
    trust(trusted, Verifier::ControllerManager, manager, format!("kube-controller-manager of node/{name}"));
    trust(
        trusted,
        Verifier::Scheduler,
        conf_trust(&loaded.scheduler, Conf::Scheduler),
        format!("kube-scheduler of node/{name}"),
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
