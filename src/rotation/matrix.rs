//! The trust matrix: every presenter against every verifier, with real X.509 path validation (RFC 5280 section 6).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use crate::pki::{CaId, Material, PkiError, Usage, verify};
use crate::plan::{Component, EndpointState, Leaf, Op, simulate};

use super::inventory::{Goal, Inventory, NodeView};
use super::planner::Step;
use super::simulate::apply_cluster_op;
use collect::{Local, Picture};

mod collect;

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
    /// The kubelet's serving certificate, where the cluster CA signed it (`serverTLSBootstrap`).
    KubeletServer,
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
    /// kube-apiserver, of kubelets' serving certificates (`--kubelet-certificate-authority`, usually ca.crt). From 1.36 on it reloads
    /// that file; before, it counts as a process that reads the CA once.
    ApiServerOfKubelets,
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

impl Presenter {
    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "kube-apiserver",
            Self::ApiServerKubeletClient => "kube-apiserver, towards kubelets",
            Self::ApiServerEtcdClient => "kube-apiserver, towards etcd",
            Self::FrontProxyClient => "kube-apiserver, towards aggregated API servers",
            Self::Kubelet => "kubelet",
            Self::KubeletServer => "kubelet, as a server",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Admin => "admin kubeconfigs",
            Self::EtcdServer => "etcd",
            Self::EtcdPeer => "etcd, towards its peers",
        }
    }
}

impl Verifier {
    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "kube-apiserver",
            Self::KubeletConf => "kubelet",
            Self::KubeletServer => "kubelet, as a server",
            Self::ApiServerOfKubelets => "kube-apiserver, of kubelets",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Admin => "admin kubeconfigs",
            Self::Pods => "pods",
            Self::LongRunning => "processes that read the CA long ago",
            Self::Joiner => "kubeadm join",
            Self::Etcd => "etcd",
            Self::EtcdClient => "kube-apiserver, of etcd",
            Self::AggregatedApiServer => "aggregated API servers",
        }
    }
}

/// Which presenter faces which verifiers, and how the certificate is used. The rows of etcd and the front proxy are there for their authorities.
pub const EDGES: [(Presenter, &[Verifier], Usage); 11] = [
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
    (Presenter::KubeletServer, &[Verifier::ApiServerOfKubelets, Verifier::LongRunning], Usage::Server),
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

/// All who present one thing against all who check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeState {
    /// Who presents.
    pub presenter: Presenter,
    /// Who checks.
    pub verifier: Verifier,
    /// How many different pairs were verified: those that present and trust the same count once.
    pub pairs: usize,
    /// Those that would refuse each other.
    pub violations: Vec<Violation>,
}

/// One presenter before one verifier.
struct Pair {
    presenter: Presenter,
    verifier: Verifier,
    violation: Option<Violation>,
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
        let mut picture = Picture::default();
        picture.add(inventory, goal);
        let before = self.verify_all(&picture);
        for after in afterwards(inventory, steps) {
            picture.add(&after, goal);
        }
        let all = self.verify_all(&picture);
        all.into_iter().filter(|violation| !before.contains(violation)).collect()
    }

    /// The edges that are broken now, before any step: a control-plane node that joined with a stock certificate, for example, serves no
    /// chain for processes that know only an older CA.
    #[must_use]
    pub fn broken(&self, inventory: &Inventory, goal: &Goal) -> Vec<Violation> {
        let mut picture = Picture::default();
        picture.add(inventory, goal);
        self.verify_all(&picture)
    }

    /// Every edge of the cluster as it is, whether it holds or not, in the order of presenters. What nobody presents or nobody checks is no
    /// edge.
    #[must_use]
    pub fn edges(&self, inventory: &Inventory, goal: &Goal) -> Vec<EdgeState> {
        let mut picture = Picture::default();
        picture.add(inventory, goal);
        let mut edges: BTreeMap<(Presenter, Verifier), EdgeState> = BTreeMap::new();
        for Pair { presenter, verifier, violation } in self.pairs(&picture) {
            let edge = edges.entry((presenter, verifier)).or_insert_with(|| EdgeState {
                presenter,
                verifier,
                pairs: 0,
                violations: Vec::new(),
            });
            edge.pairs += 1;
            if let Some(violation) = violation.filter(|violation| !edge.violations.contains(violation)) {
                edge.violations.push(violation);
            }
        }
        edges.into_values().collect()
    }

    fn verify_all(&self, picture: &Picture) -> Vec<Violation> {
        let mut violations = Vec::new();
        for violation in self.pairs(picture).into_iter().filter_map(|pair| pair.violation) {
            if !violations.contains(&violation) {
                violations.push(violation);
            }
        }
        violations
    }

    /// Everybody who meets, those of one node first.
    fn pairs(&self, picture: &Picture) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = picture.local.iter().map(|local| self.local(local)).collect();
        for (presenter, verifiers, usage) in EDGES {
            for (presented, who) in picture.shown.get(&presenter).into_iter().flatten() {
                for verifier in verifiers {
                    for (trust, whom) in picture.trusted.get(verifier).into_iter().flatten() {
                        let violation = self.edge(presented, trust, usage).err().map(|reason| Violation {
                            presenter: who.clone(),
                            verifier: whom.clone(),
                            reason,
                        });
                        pairs.push(Pair { presenter, verifier: *verifier, violation });
                    }
                }
            }
        }
        pairs
    }

    fn local(&self, local: &Local) -> Pair {
        let Local { presenter, presented, who, verifier, trust, whom, usage } = local;
        let refused = self.edge(presented, trust, *usage).err();
        let violation = refused.map(|reason| Violation { presenter: who.clone(), verifier: whom.clone(), reason });
        Pair { presenter: *presenter, verifier: *verifier, violation }
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
    // The kubelet serves what it read when it started.
    if let (Op::RestartKubelet, Some(kubelet)) = (op, &after.state.loaded.kubelet) {
        let serving = kubelet.serving.clone();
        after.kubelet.issuer = serving.as_ref().and_then(|serving| serving.issuer.clone());
        after.kubelet.vouched_by = serving.map(|serving| serving.vouched_by).unwrap_or_default();
    }
}
