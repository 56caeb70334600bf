//! A good cluster of one control-plane node and one worker, and each item made bad by the one change that it is about.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::*;
use crate::inspection::tests::{
    APISERVER, CA, DAY, KUBELET, KUBELET_SERVER, NOW, Node, PEER, SCHEDULER, YEAR, at, authority, ends, leaf,
};
use crate::inspection::{BootstrapToken, InspectRow, Request, RequestState, findings, merged_trust, rows_of};
use crate::pki::CaId;
use crate::plan::{
    CertificateKind, CertificateRow, ConfState, EndpointState, Fault, FileFault, Leaf, LeafState, NodeState, OddFile,
    ProcessState, Verdict as Answer,
};
use crate::rotation::matrix::model;
use crate::rotation::{Goal, KubeadmRecord, NodeHealth, NodeView, Phase, Reason};

const ETCD_SERVER: &str = "/etc/kubernetes/pki/etcd/server.crt";
const VERSION: &str = "1.0.0";

fn ca() -> CaId {
    CaId::planned("kubernetes")
}

/// Everything that a diagnosis looks at.
struct World {
    /// Rows and facts of the nodes; their states are those of `sight`.
    nodes: BTreeMap<String, Node>,
    objects: Vec<Vec<InspectRow>>,
    requests: Vec<Request>,
    tokens: Vec<BootstrapToken>,
    unread: Vec<String>,
    sight: Sight,
}

fn served(serial: &str) -> EndpointState {
    EndpointState {
        issuer: Some(ca()),
        serial: serial.into(),
        clients: BTreeMap::from([(ca(), Answer::Accepted), (CaId::planned("older"), Answer::Refused)]),
        ..EndpointState::default()
    }
}

/// What the agent of the node sees.
fn state(control_plane: bool) -> NodeState {
    let conf = |not_after: i64| ConfState { issuer: Some(ca()), trust: vec![ca()], not_after, own_server: false };
    let process =
        || Some(ProcessState { conf: Some(conf(NOW + YEAR)), root_ca: vec![ca()], ..ProcessState::default() });
    let mut state = NodeState { control_plane, ..NodeState::default() };
    state.disk.ca_bundle = vec![ca()];
    state.disk.ca_key = control_plane.then(ca);
    state.disk.kubelet_client = Some(ca());
    state.loaded.kubelet = process();
    state.endpoints.insert("kubelet".into(), served("1"));
    if control_plane {
        let leaf = LeafState { issuer: Some(ca()), vouched_by: Vec::new(), not_after: NOW + YEAR };
        state.disk.leaves = Leaf::ALL.map(|name| (name, leaf.clone())).into();
        state.loaded.controller_manager = process();
        state.loaded.scheduler = process();
        let names = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
        state.endpoints.extend(names.map(|name| (name.to_owned(), served("1"))));
        state.endpoints.insert("etcd".into(), EndpointState { clients: BTreeMap::new(), ..served("1") });
    }
    state
}

fn worker() -> Node {
    let mut node = Node::new();
    node.rows.retain(|row| [CA, KUBELET, KUBELET_SERVER].contains(&row.path.as_str()));
    node.rows.push(authority("/etc/kubernetes/kubelet.conf", CertificateKind::KubeconfigAuthority, "kubernetes"));
    node.row(KUBELET).subject = "CN=system:node:w-1,O=system:nodes".into();
    node.row(KUBELET_SERVER).sans = vec!["w-1".into()];
    let facts = &mut node.view.facts;
    (facts.control_plane, facts.apiserver, facts.etcd_hosts) = (false, None, Vec::new());
    facts.servers = BTreeMap::from([("kubelet.conf".into(), "api.example".into())]);
    node
}

fn control_plane() -> Node {
    let mut node = Node::new();
    let both = ["server auth", "client auth"];
    let names = ["cp-1", "localhost", "127.0.0.1", "::1", "192.0.2.1"];
    node.rows.push(leaf(ETCD_SERVER, CertificateKind::Leaf, "etcd-ca", &both, &names));
    for row in node.rows.iter_mut().filter(|row| row.kind == CertificateKind::Authority) {
        row.key_mode = Some("0600".into());
    }
    node
}

fn view(state: &NodeState) -> NodeView {
    let own = |name: &str| state.endpoints.get(name).cloned().unwrap_or_default();
    NodeView {
        responding: true,
        ready: true,
        apiserver: own("kube-apiserver"),
        controller_manager: own("kube-controller-manager"),
        scheduler: own("kube-scheduler"),
        kubelet: own("kubelet"),
        state: state.clone(),
        ..NodeView::default()
    }
}

fn standing() -> Standing {
    Standing {
        ca_version: 2,
        rotating: false,
        phase: Phase::Idle,
        reason: Reason::Completed,
        blocking: Vec::new(),
        next: "",
        older: Vec::new(),
        waived: BTreeMap::new(),
    }
}

impl World {
    fn new() -> Self {
        let goal = Goal::at_rest(ca());
        let materials = model(&ca(), &CaId::planned("older"), None, at(NOW)).unwrap();
        let mut sight = Sight {
            version: VERSION.into(),
            force: Some(Force { goal, materials }),
            standing: Some(standing()),
            namespaces: vec!["default".into()],
            ..Sight::default()
        };
        for (name, control_plane) in [("cp-1", true), ("w-1", false)] {
            sight.inventory.nodes.insert(name.into(), view(&state(control_plane)));
            let health = NodeHealth {
                agent_version: Some(VERSION.into()),
                etcd_healthy: control_plane.then_some(true),
                etcd_learners: control_plane.then(Vec::new),
                ..NodeHealth::default()
            };
            sight.health.insert(name.into(), health);
        }
        sight.inventory.cluster.root_ca.insert("default".into(), vec![ca()]);
        sight.inventory.cluster.cluster_info = Some(vec![ca()]);
        sight.inventory.cluster.kubeadm_own_signer = Some(false);
        sight.objects.kubeadm =
            Some(KubeadmRecord { api_version: "kubeadm.k8s.io/v1beta4".into(), kubernetes_version: "v1.36.3".into() });
        sight.objects.api_servers.insert("cp-1".into(), "v1.36.3".into());
        let nodes = BTreeMap::from([("cp-1".into(), control_plane()), ("w-1".into(), worker())]);
        let mut world =
            Self { nodes, objects: Vec::new(), requests: Vec::new(), tokens: Vec::new(), unread: Vec::new(), sight };
        for object in ["configmap/default/kube-root-ca.crt", "configmap/kube-public/cluster-info", "apiservice/v1.x"] {
            world.object(object, "kubernetes");
        }
        let expires = Some(at(NOW + DAY).to_string());
        world.tokens = vec![BootstrapToken { id: "abcdef".into(), expires, usages: vec![], groups: vec![] }];
        world
    }

    fn object(&mut self, object: &str, name: &str) {
        let mut row = authority(object, CertificateKind::Trust, name);
        row.fingerprint = name.into();
        self.objects.retain(|rows| rows[0].certificate.path != object);
        self.objects.push(rows_of(None, vec![row], None, &BTreeMap::new()));
    }

    fn row(&mut self, path: &str) -> &mut CertificateRow {
        let node = if path.contains("kubelet.conf") { "w-1" } else { "cp-1" };
        self.nodes.get_mut(node).unwrap().row(path)
    }

    fn node(&mut self, name: &str) -> &mut NodeView {
        self.sight.inventory.nodes.get_mut(name).unwrap()
    }

    fn endpoint(&mut self, name: &str) -> &mut EndpointState {
        self.node("cp-1").state.endpoints.get_mut(name).unwrap()
    }

    fn health(&mut self) -> &mut NodeHealth {
        self.sight.health.get_mut("cp-1").unwrap()
    }

    fn standing(&mut self) -> &mut Standing {
        self.sight.standing.as_mut().unwrap()
    }

    fn evidence(&self) -> Evidence {
        let mut evidence = Evidence {
            requests: self.requests.clone(),
            tokens: self.tokens.clone(),
            unread: self.unread.clone(),
            ..Evidence::default()
        };
        for (name, node) in &self.nodes {
            let state = self.sight.inventory.nodes.get(name).map(|node| node.state.clone());
            let view = crate::inspection::NodeView { facts: node.view.facts.clone(), state };
            evidence.add_node(Some(name), node.rows.clone(), view, &BTreeMap::new());
        }
        evidence.rows.extend(merged_trust(self.objects.clone()));
        evidence
    }

    fn items(self) -> Vec<Item> {
        let evidence = self.evidence();
        let sight = Ok(self.sight);
        diagnose(&evidence, &findings(&evidence, None, at(NOW)), Some(&sight), Group::ALL, at(NOW))
    }
}

/// `group/node/object/check` of an item.
fn key(item: &Item) -> String {
    let node = item.node.as_ref().map(|node| format!("{node}/")).unwrap_or_default();
    format!("{}/{node}{}/{}", item.group, item.object, item.check)
}

fn worst(items: &[Item], wanted: &str) -> Option<Verdict> {
    items.iter().filter(|item| key(item) == wanted).map(|item| item.verdict).max()
}

fn after(change: impl FnOnce(&mut World)) -> Vec<Item> {
    let mut world = World::new();
    change(&mut world);
    world.items()
}

/// What is not satisfied, with its verdict.
fn bad(items: &[Item]) -> Vec<(String, Verdict)> {
    items.iter().filter(|item| item.verdict != Verdict::Satisfied).map(|item| (key(item), item.verdict)).collect()
}

use Verdict::{Failed, Satisfied, Unknown, Warning};

type Change = fn(&mut World);

/// Item, what makes it bad, and how bad that is.
const CHANGES: &[(&str, Change, Verdict)] = &[
    ("nodes/cp-1/node/ready", |world| world.node("cp-1").ready = false, Failed),
    ("nodes/cp-1/agent/agent", |world| world.node("cp-1").responding = false, Failed),
    ("nodes/w-1/agent/agent", |world| world.node("w-1").problem = Some("disk full".into()), Warning),
    ("nodes/cp-1/node/version", |world| world.health().agent_version = Some("0.9.0".into()), Warning),
    ("nodes/cp-1/node/clock", |world| world.health().clock_skew = -61, Failed),
    ("authorities/cp-1/ca/validity", |world| ends(world.row(CA), NOW - 1), Failed),
    ("authorities/cp-1/ca/usage", |world| world.row(CA).ca_id = None, Failed),
    ("authorities/cp-1/ca/key", |world| world.row(CA).fault = Some(Fault::KeyMismatch), Failed),
    ("authorities/cp-1/ca/key", |world| world.health().key_mismatch = true, Failed),
    (
        "authorities/cp-1/ca/files",
        |world| odd(world, "/etc/kubernetes/pki/ca.key", FileFault::KeyReadableByAll),
        Failed,
    ),
    ("authorities/cp-1/ca/alone", |world| second(world, CA), Warning),
    (
        "authorities/ca/same",
        |world| world.nodes.get_mut("w-1").unwrap().row(CA).ca_id = Some(CaId::planned("x")),
        Failed,
    ),
    ("certificates/cp-1/apiserver/validity", |world| ends(world.row(APISERVER), NOW + 3600), Warning),
    ("certificates/cp-1/apiserver/validity", |world| ends(world.row(APISERVER), NOW - 1), Failed),
    ("certificates/cp-1/apiserver/issuer", |world| world.row(APISERVER).issuer_id = None, Failed),
    ("certificates/cp-1/apiserver/key", |world| world.row(APISERVER).fault = Some(Fault::KeyMissing), Failed),
    ("certificates/cp-1/apiserver/names", |world| drop(world.row(APISERVER).sans.pop()), Failed),
    ("certificates/cp-1/etcd-peer/usage", |world| world.row(PEER).usages.truncate(1), Failed),
    (
        "certificates/cp-1/apiserver/files",
        |world| odd(world, "/etc/kubernetes/pki/apiserver.key", FileFault::Owner),
        Warning,
    ),
    (
        "certificates/cp-1/manifests/present",
        |world| facts(world).missing.push("/etc/kubernetes/pki/x.crt".into()),
        Failed,
    ),
    ("kubeconfigs/cp-1/scheduler.conf/validity", |world| ends(world.row(SCHEDULER), NOW - 1), Failed),
    ("kubeconfigs/cp-1/scheduler.conf/issuer", |world| world.row(SCHEDULER).issuer_id = None, Failed),
    ("kubeconfigs/cp-1/scheduler.conf/loaded", |world| loaded(world).not_after = NOW + DAY, Warning),
    (
        "kubeconfigs/w-1/kubelet.conf/trusts",
        |world| world.row("/etc/kubernetes/kubelet.conf").ca_id = Some(CaId::planned("x")),
        Failed,
    ),
    ("kubeconfigs/w-1/kubelet.conf/server", |world| drop(world.row(APISERVER).sans.pop()), Failed),
    ("kubelets/cp-1/kubelet.conf/bootstrap", |world| kubelet(world).conf_embeds = true, Warning),
    ("kubelets/cp-1/kubelet config/renewal", |world| kubelet(world).rotates = false, Warning),
    ("kubelets/cp-1/kubelet-client/validity", |world| ends(world.row(KUBELET), NOW - 1), Failed),
    ("kubelets/cp-1/kubelet-server/names", |world| world.row(KUBELET_SERVER).sans.clear(), Failed),
    ("serving/cp-1/kube-apiserver/serves", |world| world.endpoint("kube-apiserver").serial = "2".into(), Warning),
    ("serving/cp-1/etcd/serves", |world| world.endpoint("etcd").serial = "2".into(), Warning),
    ("serving/cp-1/kube-scheduler/serves", |world| world.endpoint("kube-scheduler").serial.clear(), Failed),
    ("serving/cp-1/kubelet/accepts", |world| answers(world, "kubelet", "kubernetes", Answer::Refused), Failed),
    (
        "serving/cp-1/kube-apiserver/refuses",
        |world| answers(world, "kube-apiserver", "older", Answer::Accepted),
        Failed,
    ),
    ("serving/cp-1/kubelet/accepts", |world| answers(world, "kubelet", "kubernetes", Answer::Unreachable), Unknown),
    (
        "trust/kube-apiserver to pods/verified",
        |world| drop(world.sight.inventory.cluster.root_ca.insert("x".into(), vec![CaId::planned("older")])),
        Failed,
    ),
    (
        "trust/kubelet to kube-apiserver/verified",
        |world| {
            world.node("w-1").state.loaded.kubelet.as_mut().unwrap().conf.as_mut().unwrap().issuer =
                Some(CaId::planned("older"))
        },
        Failed,
    ),
    (
        "etcd/cp-1/etcd-peer (server) to other etcd members/verified",
        |world| world.row(PEER).issuer_id = Some(ca()),
        Failed,
    ),
    ("etcd/cp-1/etcd/health", |world| world.health().etcd_healthy = Some(false), Failed),
    ("etcd/cp-1/etcd/learners", |world| world.health().etcd_learners = Some(vec!["cp-2".into()]), Warning),
    ("etcd/cp-1/etcd/learners", |world| world.health().etcd_learners = None, Unknown),
    (
        "objects/configmap/kube-public/cluster-info/trusts",
        |world| world.object("configmap/kube-public/cluster-info", "x"),
        Failed,
    ),
    ("objects/apiservice/v1.x/validity", |world| ends(&mut world.objects[2][0].certificate, NOW - 1), Failed),
    (
        "objects/apiservice/v1.x/validity",
        |world| drop(world.sight.objects.broken_bundles.insert("apiservice/v1.x".into(), "no PEM".into())),
        Failed,
    ),
    ("objects/apiservice/v1.x/usage", |world| world.objects[2][0].certificate.ca_id = None, Warning),
    ("objects/kube-root-ca.crt/everywhere", |world| world.sight.namespaces.clear(), Unknown),
    ("requests/secret/kube-system/bootstrap-token-abcdef/expiry", |world| world.tokens[0].expires = None, Warning),
    (
        "rotation/cluster/finished",
        |world| (world.standing().rotating, world.standing().reason) = (true, Reason::Progressed),
        Warning,
    ),
    (
        "rotation/cluster/finished",
        |world| (world.standing().rotating, world.standing().reason) = (true, Reason::Blocked),
        Failed,
    ),
    ("rotation/cluster/finalized", |world| world.standing().older = vec![1], Warning),
    (
        "rotation/w-1/CA in force/current",
        |world| world.node("w-1").state.disk.kubelet_client = Some(CaId::planned("older")),
        Failed,
    ),
    (
        "rotation/w-1/CA in force/current",
        |world| drop(world.standing().waived.insert("w-1".into(), vec!["it is late".into()])),
        Warning,
    ),
    ("rotation/cp-1/layout/stock", |world| world.node("cp-1").state.disk.own_signer = true, Failed),
    ("rotation/cp-1/layout/stock", |world| world.health().signer_problem = Some("two containers".into()), Warning),
    (
        "rotation/configmap/kube-system/kubeadm-config/stock",
        |world| world.sight.inventory.cluster.kubeadm_own_signer = Some(true),
        Failed,
    ),
    (
        "rotation/configmap/kube-system/kubeadm-config/stock",
        |world| world.sight.inventory.cluster.kubeadm_own_signer = None,
        Unknown,
    ),
    ("rotation/cluster/upgraded", |world| world.sight.objects.api_servers.clear(), Unknown),
];

fn facts(world: &mut World) -> &mut crate::plan::NodeFacts {
    &mut world.nodes.get_mut("cp-1").unwrap().view.facts
}

fn kubelet(world: &mut World) -> &mut crate::plan::KubeletFacts {
    facts(world).kubelet.as_mut().unwrap()
}

fn loaded(world: &mut World) -> &mut ConfState {
    world.node("cp-1").state.loaded.scheduler.as_mut().unwrap().conf.as_mut().unwrap()
}

fn odd(world: &mut World, path: &str, fault: FileFault) {
    facts(world).odd_files.push(OddFile { path: path.into(), fault, detail: "x".into() });
}

fn second(world: &mut World, path: &str) {
    let mut row = authority(path, CertificateKind::Authority, "second");
    row.index = 1;
    world.nodes.get_mut("cp-1").unwrap().rows.push(row);
}

fn answers(world: &mut World, endpoint: &str, ca: &str, answer: Answer) {
    world.endpoint(endpoint).clients.insert(CaId::planned(ca), answer);
}

#[test]
fn of_a_good_cluster_every_item_is_satisfied() {
    let items = after(|_| {});
    assert_eq!(bad(&items), []);
    assert!(items.iter().all(|item| item.remedy.is_none()));
    let groups: BTreeSet<Group> = items.iter().map(|item| item.group).collect();
    assert_eq!(groups.into_iter().collect::<Vec<_>>(), Group::ALL, "every group has items");
}

#[test]
fn each_item_is_satisfied_on_a_good_cluster_and_not_after_the_change_that_it_is_about() {
    let good = after(|_| {});
    let mut wrong = Vec::new();
    for (wanted, change, verdict) in CHANGES {
        let items = after(change);
        let (before, now) = (worst(&good, wanted), worst(&items, wanted));
        if (before, now) != (Some(Satisfied), Some(*verdict)) {
            wrong.push(format!("{wanted}: {before:?}, then {now:?} among {:?}", bad(&items)));
        }
        let mut open = items.iter().filter(|item| item.verdict != Satisfied);
        assert!(open.all(|item| item.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty())), "{wanted}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where what is good and what is bad are different items, for only what is bad has a name.
#[test]
fn every_demand_has_such_a_test() {
    let named: BTreeSet<&str> = CHANGES.iter().filter_map(|(item, ..)| item.rsplit('/').next()).collect();
    let elsewhere = BTreeSet::from(["seen", "answered"]);
    let missing: Vec<&str> = Check::ALL
        .iter()
        .map(|check| check.name())
        .filter(|name| !named.contains(name) && !elsewhere.contains(name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn a_request_that_waits_and_a_namespace_without_its_ca_are_named() {
    let request = Request {
        name: "csr-1".into(),
        signer: "s".into(),
        requester: "r".into(),
        subject: "CN=x".into(),
        sans: vec![],
        created: at(NOW - 60).to_string(),
        state: RequestState::Pending,
    };
    let good = after(|_| {});
    assert_eq!(worst(&good, "requests/certificatesigningrequests/answered"), Some(Satisfied));
    assert_eq!(bad(&after(|world| world.requests.push(request))), [("requests/csr/csr-1/answered".into(), Warning)]);
    let lonely = after(|world| world.sight.namespaces.push("lonely".into()));
    assert_eq!(bad(&lonely), [("objects/configmap/lonely/kube-root-ca.crt/everywhere".into(), Failed)]);
}

#[test]
fn what_could_not_be_looked_at_is_not_known_and_gives_no_tick() {
    let items = after(|world| {
        world.unread =
            vec!["certificatesigningrequests: forbidden".into(), "secrets of service accounts: forbidden".into()]
    });
    assert_eq!(
        bad(&items),
        [
            ("objects/secrets of service accounts/seen".into(), Unknown),
            ("requests/certificatesigningrequests/seen".into(), Unknown)
        ]
    );
    assert_eq!(worst(&items, "requests/certificatesigningrequests/answered"), None);
}

#[test]
fn a_silent_node_gets_no_tick_and_keeps_its_crosses() {
    let items = after(|world| {
        world.sight.silent.insert("w-1".into(), "its agent does not answer".into());
        world.node("w-1").responding = false;
        ends(world.nodes.get_mut("w-1").unwrap().row(KUBELET), NOW - 1);
    });
    let of_node: Vec<&Item> = items.iter().filter(|item| item.node.as_deref() == Some("w-1")).collect();
    let ticks: Vec<String> = of_node.iter().filter(|item| item.verdict == Satisfied).map(|item| key(item)).collect();
    assert_eq!(ticks, ["nodes/w-1/node/ready", "nodes/w-1/node/version"], "what others say of it");
    assert_eq!(worst(&items, "kubelets/w-1/kubelet-client/validity"), Some(Failed));
    assert_eq!(worst(&items, "kubelets/w-1/kubelet-client/key"), Some(Unknown));
    assert_eq!(worst(&items, "trust/w-1/what it presents and trusts/verified"), Some(Unknown));
    assert_eq!(worst(&items, "authorities/ca/same"), Some(Unknown));
    assert_eq!(worst(&items, "kubelets/cp-1/kubelet-client/key"), Some(Satisfied), "others are not touched");
}

#[test]
fn a_report_of_a_node_that_is_no_more_is_named() {
    let items = after(|world| {
        world.sight.inventory.nodes.remove("w-1");
        world.sight.silent.insert("w-1".into(), "there is no Node of this name any more".into());
    });
    assert_eq!(worst(&items, "nodes/w-1/agent/agent"), Some(Warning));
    assert_eq!(worst(&items, "kubelets/w-1/kubelet-client/key"), Some(Unknown));
}

#[test]
fn agents_that_were_not_asked_leave_open_what_only_an_answer_shows() {
    let items = after(|world| world.sight.unasked = Some("another certctl is at work".into()));
    let open: Vec<String> = bad(&items).into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        open,
        [
            "nodes/cp-1/agent/agent",
            "nodes/cp-1/node/clock",
            "nodes/w-1/agent/agent",
            "nodes/w-1/node/clock",
            "etcd/cp-1/etcd/health"
        ]
    );
}

#[test]
fn a_cluster_that_cannot_be_seen_still_has_its_objects() {
    let world = World::new();
    let evidence = world.evidence();
    let sight = Err("certctl is not installed".to_owned());
    let items = diagnose(&evidence, &findings(&evidence, None, at(NOW)), Some(&sight), Group::ALL, at(NOW));
    let open: Vec<String> = bad(&items).into_iter().map(|(key, _)| key).collect();
    assert_eq!(open, ["nodes/cluster/seen", "trust/cluster/seen", "etcd/cluster/seen", "rotation/cluster/seen"]);
    assert_eq!(worst(&items, "objects/configmap/kube-public/cluster-info/trusts"), Some(Satisfied));
}

#[test]
fn the_files_of_one_node_are_judged_without_a_cluster() {
    let mut node = control_plane();
    node.view.state = None;
    let rows = rows_of(None, node.rows.clone(), None, &BTreeMap::new());
    let evidence = Evidence { rows, nodes: BTreeMap::from([(String::new(), node.view)]), ..Evidence::default() };
    let items = diagnose(&evidence, &findings(&evidence, None, at(NOW)), None, Group::ALL, at(NOW));
    assert_eq!(bad(&items), []);
    let groups: BTreeSet<Group> = items.iter().map(|item| item.group).collect();
    assert!(groups.iter().all(|group| group.in_files()) && !groups.contains(&Group::Serving), "{groups:?}");
    assert_eq!(worst(&items, "trust/scheduler.conf (client) to kube-apiserver/verified"), Some(Satisfied));
}

/// A rotation's refusal names the whole object, `certctl inspect` the webhook.
#[test]
fn a_ca_bundle_that_stops_a_rotation_is_an_item_of_the_webhook_that_cannot_be_read() {
    let refused = "its caBundle holds the cluster CA and something that cannot be read";
    let items = after(|world| {
        for name in ["good", "bad"] {
            world.object(&format!("validatingwebhookconfiguration/policy/{name}"), "kubernetes");
        }
        let bad = &mut world.objects.last_mut().unwrap()[0].certificate;
        (bad.problem, bad.fault) = (Some("no PEM".into()), Some(Fault::Unreadable));
        let name = "validatingwebhookconfiguration/policy";
        world.sight.objects.broken_bundles.insert(name.into(), "no PEM".into());
    });
    let named: Vec<_> = items.iter().filter(|item| item.message.starts_with(refused)).map(key).collect();
    assert_eq!(named, ["objects/validatingwebhookconfiguration/policy/bad/validity"]);
}

#[test]
fn groups_can_be_chosen() {
    let world = World::new();
    let evidence = world.evidence();
    let sight = Ok(world.sight);
    let items = diagnose(&evidence, &[], Some(&sight), &[Group::Etcd], at(NOW));
    assert!(!items.is_empty() && items.iter().all(|item| item.group == Group::Etcd));
}

/// `certctl check` and `certctl diagnose` cannot disagree: whatever finding there is, it is an item of some group.
#[test]
fn no_finding_above_a_remark_is_lost() {
    use crate::inspection::{Finding, FindingId, Severity};
    let world = World::new();
    let evidence = world.evidence();
    let sight = Ok(world.sight);
    for id in FindingId::ALL {
        for (node, object) in
            [(None, "strange/object"), (Some("cp-1"), CA), (Some("w-9"), "/var/lib/kubelet/pki/x.pem")]
        {
            let (message, remedy) = (format!("marked {id}"), "r".to_owned());
            let finding = Finding {
                severity: Severity::Error,
                id: *id,
                node: node.map(Into::into),
                object: object.into(),
                message,
                remedy,
            };
            let items = diagnose(&evidence, &[finding], Some(&sight), Group::ALL, at(NOW));
            let shown = items.iter().filter(|item| item.message == format!("marked {id}") && item.verdict != Satisfied);
            assert!(shown.count() >= 1, "{id} about {object}");
        }
    }
}

#[test]
fn expiry_has_one_measure_with_check() {
    let mut world = World::new();
    ends(world.row(APISERVER), NOW + 31 * DAY);
    let evidence = world.evidence();
    let sight = Ok(world.sight);
    let within = |days: i64| {
        let found = findings(&evidence, Some(SignedDuration::from_hours(24 * days)), at(NOW));
        worst(&diagnose(&evidence, &found, Some(&sight), Group::ALL, at(NOW)), "certificates/cp-1/apiserver/validity")
    };
    assert_eq!((within(30), within(32)), (Some(Satisfied), Some(Warning)));
}

#[test]
fn an_external_ca_is_no_fault_and_a_key_on_one_node_only_is() {
    let key = "authorities/cp-1/ca/key";
    assert_eq!(worst(&after(|world| world.row(CA).key_mode = None), key), Some(Satisfied));
    let items = after(|world| {
        let mut other = control_plane();
        other.row(CA).key_mode = Some("0600".into());
        world.nodes.insert("cp-2".into(), other);
        world.row(CA).key_mode = None;
    });
    assert_eq!(worst(&items, key), Some(Warning));
}
