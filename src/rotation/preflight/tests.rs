//! Every reason not to begin, each alone on a cluster that has no other, and what is no reason.
use rstest::rstest;

use super::*;
use crate::pki::CaId;
use crate::plan::EndpointState;

const NOW: i64 = 1_800_000_000;
const VERSION: &str = "1.2.3";

/// One control-plane node and one worker with whom nothing is wrong.
struct World {
    inventory: Inventory,
    goal: Goal,
    health: BTreeMap<String, NodeHealth>,
}

fn old() -> CaId {
    CaId::planned("old")
}

fn row(path: &str, kind: CertificateKind) -> CertificateRow {
    let mut row = CertificateRow::broken(path, 0, kind, String::new());
    row.problem = None;
    row.issuer_id = Some(old());
    row.not_after_seconds = NOW + SOON + 1;
    row
}

fn healthy(control_plane: bool) -> NodeHealth {
    let mut certificates = vec![
        row("/etc/kubernetes/pki/ca.crt", CertificateKind::Authority),
        row("/etc/kubernetes/kubelet.conf", CertificateKind::KubeconfigAuthority),
        row("/var/lib/kubelet/pki/kubelet-client-current.pem", CertificateKind::KubeletClient),
    ];
    if control_plane {
        certificates.extend([
            row("/etc/kubernetes/pki/apiserver.crt", CertificateKind::Leaf),
            row("/etc/kubernetes/pki/front-proxy-client.crt", CertificateKind::Leaf),
            row("/etc/kubernetes/pki/etcd/server.crt", CertificateKind::Leaf),
            row("/etc/kubernetes/admin.conf", CertificateKind::KubeconfigClient),
        ]);
    }
    let etcd_healthy = control_plane.then_some(true);
    NodeHealth { agent_version: Some(VERSION.into()), etcd_healthy, certificates, ..NodeHealth::default() }
}

fn node(control_plane: bool) -> NodeView {
    let mut node = NodeView { ready: true, responding: true, ..NodeView::default() };
    node.state.control_plane = control_plane;
    node.state.disk.ca_bundle = vec![old()];
    if control_plane {
        node.state.disk.ca_key = Some(old());
        node.apiserver =
            EndpointState { clients: BTreeMap::from([(old(), Verdict::Accepted)]), ..EndpointState::default() };
    }
    node
}

impl World {
    fn new() -> Self {
        let nodes = BTreeMap::from([("cp-1".into(), node(true)), ("w-1".into(), node(false))]);
        let health = BTreeMap::from([("cp-1".into(), healthy(true)), ("w-1".into(), healthy(false))]);
        let goal = Goal::at_rest(old());
        Self { inventory: Inventory { nodes, ..Inventory::default() }, goal, health }
    }

    fn node(&mut self, name: &str) -> &mut NodeView {
        self.inventory.nodes.get_mut(name).unwrap()
    }

    fn health(&mut self, name: &str) -> &mut NodeHealth {
        self.health.get_mut(name).unwrap()
    }

    fn row(&mut self, name: &str, path: &str) -> &mut CertificateRow {
        let rows = &mut self.health(name).certificates;
        rows.iter_mut().find(|row| row.path.ends_with(path)).unwrap()
    }

    fn blockers(&self) -> Vec<Blocker> {
        let Self { inventory, goal, health } = self;
        preflight(&Preflight {
            inventory,
            goal,
            health,
            cluster: &ClusterHealth::default(),
            version: VERSION,
            now: NOW,
        })
    }
}

#[test]
fn nothing_stands_in_the_way_of_a_cluster_with_whom_nothing_is_wrong() {
    assert_eq!(World::new().blockers(), []);
}

type Break = fn(&mut World);

#[rstest]
#[case::not_ready("w-1", "not Ready", |world: &mut World| world.node("w-1").ready = false)]
#[case::no_agent("w-1", "no certctl agent", |world: &mut World| world.health("w-1").agent_version = None)]
#[case::no_report("w-1", "no certctl agent", |world: &mut World| { world.health.remove("w-1"); })]
#[case::old_agent("cp-1", "version 1.2.2, this is 1.2.3", |world: &mut World| world.health("cp-1").agent_version = Some("1.2.2".into()))]
#[case::silent_agent("w-1", "does not answer", |world: &mut World| world.node("w-1").responding = false)]
#[case::fast_clock("w-1", "clock is 61 s off", |world: &mut World| world.health("w-1").clock_skew = 61)]
#[case::slow_clock("cp-1", "clock is -61 s off", |world: &mut World| world.health("cp-1").clock_skew = -61)]
#[case::broken_file("cp-1", "apiserver.crt: garbage", |world: &mut World| world.row("cp-1", "apiserver.crt").problem = Some("garbage".into()))]
#[case::apiserver("cp-1", "pki/apiserver.crt has expired", |world: &mut World| world.row("cp-1", "apiserver.crt").not_after_seconds = NOW)]
#[case::soon("cp-1", "apiserver.crt expires within 30 min", |world: &mut World| world.row("cp-1", "apiserver.crt").not_after_seconds = NOW + SOON)]
#[case::etcd_leaf("cp-1", "etcd/server.crt has expired", |world: &mut World| world.row("cp-1", "etcd/server.crt").not_after_seconds = NOW)]
#[case::front_proxy("cp-1", "front-proxy-client.crt has expired", |world: &mut World| world.row("cp-1", "proxy-client.crt").not_after_seconds = NOW)]
#[case::admin("cp-1", "admin.conf has expired", |world: &mut World| world.row("cp-1", "admin.conf").not_after_seconds = NOW)]
#[case::kubelet("w-1", "kubelet-client-current.pem has expired", |world: &mut World| world.row("w-1", "current.pem").not_after_seconds = NOW)]
#[case::authority("w-1", "ca.crt has expired", |world: &mut World| world.row("w-1", "ca.crt").not_after_seconds = NOW)]
#[case::bundle("w-1", "already a bundle", |world: &mut World| world.node("w-1").state.disk.ca_bundle.push(CaId::planned("stranger")))]
#[case::external_ca("cp-1", "external CA", |world: &mut World| world.node("cp-1").state.disk.ca_key = None)]
#[case::key_mismatch("cp-1", "ca.key does not belong", |world: &mut World| world.health("cp-1").key_mismatch = true)]
#[case::etcd("cp-1", "etcd is not healthy", |world: &mut World| world.health("cp-1").etcd_healthy = Some(false))]
#[case::refuses("cp-1", "refuses clients", |world: &mut World| { world.node("cp-1").apiserver.clients.insert(old(), Verdict::Refused); })]
#[case::unreachable("cp-1", "has not answered", |world: &mut World| { world.node("cp-1").apiserver.clients.insert(old(), Verdict::Unreachable); })]
#[case::never_asked("cp-1", "has not answered", |world: &mut World| world.node("cp-1").apiserver.clients.clear())]
#[case::manifest("cp-1", "cannot be edited: no flag", |world: &mut World| world.health("cp-1").signer_problem = Some("no flag".into()))]
fn one_thing_wrong_is_one_blocker_that_names_the_node_and_the_way_out(
    #[case] node: &str,
    #[case] words: &str,
    #[case] spoil: Break,
) {
    let mut world = World::new();
    spoil(&mut world);
    let blockers = world.blockers();
    assert_eq!(blockers.len(), 1, "{blockers:?}");
    assert_eq!(blockers[0].object, format!("node/{node}"));
    assert!(blockers[0].problem.contains(words), "{}", blockers[0]);
    assert!(!blockers[0].remedy.is_empty());
    world.goal.waived.insert(node.to_owned());
    let waived = world.blockers();
    assert!(
        waived.iter().all(|blocker| blocker.object != format!("node/{node}")),
        "a waived node blocks nothing: {waived:?}"
    );
}

#[rstest]
#[case::clocks_within_the_limit(|world: &mut World| world.health("w-1").clock_skew = -60)]
#[case::no_etcd_here(|world: &mut World| world.health("cp-1").etcd_healthy = None)]
#[case::an_old_self_signed_kubelet(|world: &mut World| {
    let mut kubelet = row("/var/lib/kubelet/pki/kubelet.crt", CertificateKind::KubeletServing);
    (kubelet.issuer_id, kubelet.not_after_seconds) = (None, NOW - 1);
    world.health("w-1").certificates.push(kubelet);
})]
#[case::an_old_cross_behind_a_leaf(|world: &mut World| {
    let mut cross = row("/etc/kubernetes/pki/apiserver.crt", CertificateKind::Chain);
    cross.not_after_seconds = NOW - 1;
    world.health("cp-1").certificates.push(cross);
})]
#[case::the_new_ca_in_the_bundle(|world: &mut World| {
    world.goal.to = Some(CaId::planned("new"));
    world.node("w-1").state.disk.ca_bundle.push(CaId::planned("new"));
})]
fn what_does_no_harm_blocks_nothing(#[case] change: Break) {
    let mut world = World::new();
    change(&mut world);
    assert_eq!(world.blockers(), []);
}

/// With serverTLSBootstrap the cluster CA signs it, and the API server may verify it.
#[test]
fn a_kubelet_serving_certificate_of_the_cluster_ca_must_not_have_expired() {
    let mut world = World::new();
    let mut kubelet = row("/var/lib/kubelet/pki/kubelet-server-current.pem", CertificateKind::KubeletServing);
    kubelet.not_after_seconds = NOW;
    world.health("w-1").certificates.push(kubelet);
    assert!(world.blockers()[0].problem.contains("kubelet-server-current.pem has expired"));
}

#[test]
fn a_cluster_without_a_control_plane_node_is_no_cluster_to_begin_with() {
    let mut world = World::new();
    world.inventory.nodes.remove("cp-1");
    let blockers = world.blockers();
    assert_eq!((blockers.len(), blockers[0].object.as_str()), (1, "cluster"));
}
