use std::collections::BTreeSet;

use super::*;
use crate::pki::{CertificateAuthority, PrivateKey, ServerNames};
use crate::plan::{Component, Conf, ConfState, NodeState, ProcessState};

const DAY: SignedDuration = SignedDuration::from_hours(24);
const YEAR: SignedDuration = SignedDuration::from_hours(8760);
const APISERVER: CertificateName = CertificateName::Apiserver;
const SCHEDULER: CertificateName = CertificateName::Conf(Conf::Scheduler);

fn at(days: i64) -> Timestamp {
    let start: Timestamp = "2031-05-06T07:08:09Z".parse().unwrap();
    start + DAY * i32::try_from(days).unwrap()
}

/// A cluster made at day 0, with leaves of a year in the places of a control-plane node.
struct Cluster {
    ca: CertificateAuthority,
    inventory: Inventory,
}

fn authority(name: &str, validity: SignedDuration) -> CertificateAuthority {
    CertificateAuthority::generate(name, KeyAlgorithm::EcdsaP256, validity, at(0)).unwrap()
}

fn leaf(ca: &CertificateAuthority, name: &str, validity: SignedDuration, now: Timestamp) -> Held {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let names = ServerNames { dns: vec!["kubernetes".into()], ips: Vec::new() };
    let certificate = ca.issue_server(name, &names, key.spki_der(), validity, now).unwrap();
    Held::Certificate { certificate, key: Ok(KeyAlgorithm::EcdsaP256) }
}

impl Cluster {
    fn new() -> Self {
        Self::with_ca_of(YEAR * 10)
    }

    fn with_ca_of(validity: SignedDuration) -> Self {
        let ca = authority("kubernetes", validity);
        let signer = |ca: &CertificateAuthority| Signer { certificate: ca.certificate().clone(), problem: None };
        let mut inventory = Inventory::default();
        for (name, ca) in [
            (AuthorityName::Cluster, ca.clone()),
            (AuthorityName::Etcd, authority("etcd-ca", validity)),
            (AuthorityName::FrontProxy, authority("front-proxy-ca", validity)),
        ] {
            inventory.authorities.insert(name, signer(&ca));
            for leaf_name in CertificateName::ALL.into_iter().filter(|leaf| leaf.authority() == name) {
                // A second later than the CA, as kubeadm makes them.
                let made = at(0) + SignedDuration::from_secs(1);
                inventory.held.insert(leaf_name, leaf(&ca, leaf_name.name(), YEAR, made));
            }
        }
        Self { ca, inventory }
    }

    fn plan(&self, request: &Request, day: i64) -> Plan {
        Plan::new(&self.inventory, request, at(day)).unwrap()
    }

    fn hold(&mut self, name: CertificateName, validity: SignedDuration, day: i64) {
        self.inventory.held.insert(name, leaf(&self.ca, name.name(), validity, at(day)));
    }
}

fn names(plan: &Plan) -> BTreeSet<&'static str> {
    plan.items.iter().map(|item| item.name.name()).collect()
}

fn only(name: CertificateName) -> Request {
    Request { names: vec![name], ..Request::default() }
}

#[test]
fn all_is_what_kubeadm_renews_and_kubelet_conf_and_not_what_the_kubelet_renews_itself() {
    let plan = Cluster::new().plan(&Request::default(), 300);
    let kubeadm = [
        "admin.conf",
        "apiserver",
        "apiserver-etcd-client",
        "apiserver-kubelet-client",
        "controller-manager.conf",
        "etcd-healthcheck-client",
        "etcd-peer",
        "etcd-server",
        "front-proxy-client",
        "scheduler.conf",
        "super-admin.conf",
    ];
    let wanted: BTreeSet<&str> = kubeadm.into_iter().chain(["kubelet.conf"]).collect();
    assert_eq!(names(&plan), wanted);
    assert!(plan.blockers.is_empty() && plan.kept.is_empty());
    assert_eq!(names(&Cluster::new().plan(&only(CertificateName::KubeletClient), 300)), ["kubelet-client"].into());
}

#[test]
fn only_what_does_not_reload_restarts_the_scheduler_first_and_the_kubelet_last() {
    let cluster = Cluster::new();
    let said =
        |request: &Request| -> Vec<_> { cluster.plan(request, 1).restarts.iter().filter_map(Op::restarts).collect() };
    assert_eq!(said(&Request::default()), ["kube-scheduler", "kube-controller-manager", "kubelet"]);
    for name in CertificateName::ALL.into_iter().filter(|name| matches!(name.place(), Place::Pair(_))) {
        assert_eq!(said(&only(name)), [""; 0], "{name}");
    }
    assert_eq!(said(&only(CertificateName::Conf(Conf::Admin))), [""; 0]);
    let both =
        Request { names: vec![CertificateName::KubeletClient, CertificateName::KubeletServer], ..Request::default() };
    assert_eq!(said(&both), ["kubelet"], "once for both");
}

#[test]
fn due_is_from_four_fifths_of_the_life_on() {
    let cluster = Cluster::new();
    let late = Request { due: Some(Due::Late), ..only(APISERVER) };
    // Of 365 days, 292 are four fifths.
    assert!(cluster.plan(&late, 291).items.is_empty());
    assert_eq!(cluster.plan(&late, 291).kept[0].reason, "not due");
    assert_eq!(names(&cluster.plan(&late, 293)), ["apiserver"].into());
    assert_eq!(names(&cluster.plan(&late, 400)), ["apiserver"].into(), "expired");
    let within = Request { due: Some(Due::Within(DAY * 30)), ..only(APISERVER) };
    assert!(cluster.plan(&within, 334).items.is_empty());
    assert_eq!(names(&cluster.plan(&within, 336)), ["apiserver"].into());
}

#[test]
fn a_lifetime_stays_what_it_was_however_often_it_is_renewed() {
    let mut cluster = Cluster::new();
    for validity in [DAY * 4, YEAR * 2] {
        cluster.hold(APISERVER, validity, 10);
        for day in [20, 30, 40] {
            let item = &cluster.plan(&only(APISERVER), day).items[0];
            assert_eq!((item.validity, item.not_after), (validity, at(day) + validity));
            let Held::Certificate { certificate: old, .. } = &cluster.inventory.held[&APISERVER] else { panic!() };
            let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
            let certificate = cluster.ca.reissue(old, key.spki_der(), item.validity, at(day)).unwrap();
            assert_eq!(certificate.not_after(), item.not_after, "the plan says what is issued");
            let held = Held::Certificate { certificate, key: Ok(KeyAlgorithm::EcdsaP256) };
            cluster.inventory.held.insert(APISERVER, held);
        }
    }
    let told = Request { validity: Some(DAY), ..only(APISERVER) };
    assert_eq!(cluster.plan(&told, 50).items[0].not_after, at(51));
}

#[test]
fn a_kubeconfig_dated_back_to_its_ca_was_made_for_as_long_as_the_other_certificates() {
    let mut cluster = Cluster::new();
    // Joined after three years: valid from the CA's first day on, and for one year from the join.
    let Held::Certificate { certificate, .. } = leaf(&cluster.ca, "system:kube-scheduler", YEAR * 4, at(0)) else {
        panic!()
    };
    assert_eq!(certificate.not_before(), cluster.ca.certificate().not_before());
    cluster.inventory.held.insert(SCHEDULER, Held::Certificate { certificate, key: Ok(KeyAlgorithm::EcdsaP256) });
    let joined = 3 * 365;
    assert_eq!(cluster.plan(&only(SCHEDULER), joined).items[0].validity, YEAR);
    let late = Request { due: Some(Due::Late), ..only(SCHEDULER) };
    assert!(cluster.plan(&late, joined).items.is_empty(), "it is new");
    assert_eq!(cluster.plan(&late, joined + 293).items.len(), 1);
}

#[test]
fn nothing_outlives_its_ca_and_an_expired_ca_signs_nothing() {
    let cluster = Cluster::with_ca_of(YEAR + DAY);
    let item = &cluster.plan(&only(APISERVER), 300).items[0];
    assert_eq!((item.not_after, item.cut_short), (at(366), true));
    assert!(!cluster.plan(&only(APISERVER), 0).items[0].cut_short);
    let plan = cluster.plan(&Request::default(), 367);
    assert!(plan.items.is_empty());
    assert!(plan.blockers.iter().any(|blocker| blocker.problem.contains("the etcd CA is valid from")), "{plan:?}");
}

#[test]
fn a_clock_that_is_behind_the_certificates_issues_none() {
    let mut cluster = Cluster::new();
    cluster.hold(APISERVER, YEAR, 200);
    let plan = cluster.plan(&Request::default(), 199);
    assert_eq!((plan.blockers.len(), plan.blockers[0].name), (1, APISERVER));
    assert!(plan.blockers[0].problem.starts_with("it is not valid before"), "{plan:?}");
    assert!(cluster.plan(&Request::default(), 201).blockers.is_empty());
}

#[test]
fn a_ca_that_is_elsewhere_blocks_unless_it_signs_there() {
    let mut cluster = Cluster::new();
    let signer = cluster.inventory.authorities.get_mut(&AuthorityName::Etcd).unwrap();
    signer.problem = Some("there is no /etc/kubernetes/pki/etcd/ca.key".into());
    let plan = cluster.plan(&Request::default(), 300);
    let blocked: Vec<_> = plan.blockers.iter().map(|blocker| blocker.name.name()).collect();
    assert_eq!(blocked, ["etcd-server", "etcd-peer", "etcd-healthcheck-client", "apiserver-etcd-client"]);
    assert!(plan.blockers[0].remedy.contains("--csr-only"));
    let elsewhere = Request { signed_elsewhere: true, ..Request::default() };
    assert!(cluster.plan(&elsewhere, 300).blockers.is_empty());
    cluster.inventory.authorities.remove(&AuthorityName::Etcd);
    assert_eq!(cluster.plan(&Request::default(), 300).blockers.len(), 4);
}

#[test]
fn what_another_ca_signed_stays_unless_it_is_named() {
    let mut cluster = Cluster::new();
    let other = authority("corporate", YEAR * 10);
    cluster.inventory.held.insert(APISERVER, leaf(&other, "kube-apiserver", YEAR, at(0)));
    let plan = cluster.plan(&Request::default(), 300);
    assert!(!names(&plan).contains("apiserver"));
    assert!(plan.kept[0].remarkable && plan.kept[0].reason.contains("`CN=corporate` signed it"), "{plan:?}");
    assert_eq!(names(&cluster.plan(&only(APISERVER), 300)), ["apiserver"].into());
    // The same CA with a new key is this node's: the leaf is broken, and renewing mends it.
    let new = CertificateAuthority::generate_like(cluster.ca.certificate(), None, YEAR * 10, at(0)).unwrap();
    cluster.inventory.held.insert(APISERVER, leaf(&new, "kube-apiserver", YEAR, at(0)));
    assert!(names(&cluster.plan(&Request::default(), 300)).contains("apiserver"));
}

#[test]
fn keys_are_new_and_of_the_old_kind_unless_told_otherwise() {
    let mut cluster = Cluster::new();
    let key = |cluster: &Cluster, request: &Request| cluster.plan(request, 1).items[0].new_key;
    assert_eq!(key(&cluster, &only(APISERVER)), Some(KeyAlgorithm::EcdsaP256));
    let other = Request { algorithm: Some(KeyAlgorithm::EcdsaP384), ..only(APISERVER) };
    assert_eq!(key(&cluster, &other), Some(KeyAlgorithm::EcdsaP384));
    let reuse = Request { reuse_key: true, ..only(APISERVER) };
    assert_eq!(key(&cluster, &reuse), None);
    if let Some(Held::Certificate { key, .. }) = cluster.inventory.held.get_mut(&APISERVER) {
        *key = Err("there is none".into());
    }
    assert_eq!(cluster.plan(&reuse, 1).blockers[0].problem, "its key cannot be kept: there is none");
    assert_eq!(key(&cluster, &only(APISERVER)), Some(KeyAlgorithm::EcdsaP256), "a lost key is mended");
}

#[test]
fn what_is_broken_blocks_and_what_stands_elsewhere_is_left() {
    let mut cluster = Cluster::new();
    cluster.inventory.held.insert(APISERVER, Held::Broken("no CERTIFICATE block found".into()));
    cluster
        .inventory
        .held
        .insert(CertificateName::Conf(Conf::Kubelet), Held::Elsewhere("its certificate is a file".into()));
    let plan = cluster.plan(&Request::default(), 300);
    assert_eq!((plan.blockers.len(), plan.blockers[0].name), (1, APISERVER));
    assert_eq!((plan.kept.len(), plan.kept[0].remarkable), (1, false));
    assert_eq!(cluster.plan(&only(CertificateName::Conf(Conf::Kubelet)), 300).blockers.len(), 1, "asked for by name");
    cluster.inventory.held.remove(&APISERVER);
    let missing = Plan::new(&cluster.inventory, &only(APISERVER), at(1)).unwrap_err();
    assert!(
        missing.starts_with("apiserver is not on this node: there is no /etc/kubernetes/pki/apiserver.crt"),
        "{missing}"
    );
}

#[test]
fn a_process_that_works_with_an_older_certificate_is_restarted_though_nothing_is_due() {
    let conf = |not_after| ConfState { not_after, ..ConfState::default() };
    let process = |conf| Some(ProcessState { conf, ..ProcessState::default() });
    let mut state = NodeState::default();
    state.disk.confs.insert(Conf::ControllerManager, conf(2));
    state.disk.confs.insert(Conf::Scheduler, conf(2));
    let restarts = |state: &NodeState| {
        let mut plan = Plan::default();
        plan.add_stale(state);
        plan.restarts
    };
    assert!(restarts(&state).is_empty(), "nothing runs");
    state.loaded.controller_manager = process(Some(conf(1)));
    state.loaded.scheduler = process(Some(conf(2)));
    assert_eq!(restarts(&state), [name::restart(Component::KubeControllerManager)]);
    state.loaded.scheduler = process(None);
    assert_eq!(restarts(&state).len(), 2, "the file changed since the start");
}

#[test]
fn every_name_can_be_read_back_and_an_unknown_one_is_told_the_others() {
    for name in CertificateName::ALL {
        assert_eq!(name.name().parse(), Ok(name));
    }
    assert!("apisrver".parse::<CertificateName>().unwrap_err().contains("apiserver-kubelet-client"));
}

#[test]
fn a_kubelet_that_is_known_to_work_with_an_older_certificate_is_restarted_and_one_of_which_nothing_is_known_is_not() {
    let leaf = |not_after| crate::plan::LeafState { issuer: None, vouched_by: Vec::new(), not_after };
    let kubelet = |client: Option<i64>, serving: Option<i64>| ProcessState {
        conf: client.map(|not_after| ConfState { not_after, ..ConfState::default() }),
        serving: serving.map(leaf),
        ..ProcessState::default()
    };
    let mut state = NodeState::default();
    state.disk.kubelet_client_not_after = 2;
    state.disk.kubelet_serving = Some(leaf(2));
    let mut restarts = |process| {
        state.loaded.kubelet = Some(process);
        let mut plan = Plan::default();
        plan.add_stale(&state);
        plan.restarts
    };
    assert_eq!(restarts(kubelet(Some(2), Some(2))), []);
    assert_eq!(restarts(kubelet(None, None)), []);
    assert_eq!(restarts(kubelet(Some(1), Some(2))), [Op::RestartKubelet]);
    assert_eq!(restarts(kubelet(Some(2), Some(1))), [Op::RestartKubelet]);
}

/// A worker: the kubelet's own two certificates, and the CA's certificate without its key.
fn worker() -> Inventory {
    let mut inventory = Cluster::new().inventory;
    inventory.held.retain(|name, _| name.is_the_kubelets_own());
    inventory.authorities.retain(|name, _| *name == AuthorityName::Cluster);
    for signer in inventory.authorities.values_mut() {
        signer.problem = Some("there is no /etc/kubernetes/pki/ca.key".into());
    }
    inventory
}

#[test]
fn of_a_request_to_many_nodes_each_takes_what_stands_there_and_never_everything_instead() {
    let named = Request { names: vec![APISERVER, CertificateName::KubeletClient], ..Request::default() };
    let here = named.on(&worker()).unwrap();
    assert_eq!(here.names, [CertificateName::KubeletClient]);
    assert_eq!(only(APISERVER).on(&worker()), None, "an empty list would mean all");
    assert_eq!(Request::default().on(&worker()), Some(Request::default()));
    assert!(only(APISERVER).concerns(true) && !only(APISERVER).concerns(false));
    assert!(Request::default().concerns(false) && named.concerns(false));
    assert!(only(CertificateName::Conf(Conf::Kubelet)).concerns(false));
}

#[test]
fn the_csr_api_signs_for_a_kubelet_whose_node_has_no_ca_key_and_for_nothing_else() {
    let request = only(CertificateName::KubeletClient);
    let plan = Plan::new(&worker(), &request, at(1)).unwrap();
    assert_eq!((plan.items.len(), plan.blockers.len()), (0, 1), "not without being told");
    let through = Request { csr_api: true, ..request };
    let plan = Plan::new(&worker(), &through, at(1)).unwrap();
    assert_eq!((names(&plan), plan.blockers.len()), (["kubelet-client"].into(), 0));
    assert_eq!(plan.restarts, [Op::RestartKubelet]);
    assert!(worker().asks_cluster(CertificateName::KubeletClient));
    let control_plane = Cluster::new().inventory;
    assert!(!control_plane.asks_cluster(CertificateName::KubeletClient), "a node with the key signs by itself");
    let mut external = Cluster::new().inventory;
    for signer in external.authorities.values_mut() {
        signer.problem = Some("no key".into());
    }
    assert!(!external.asks_cluster(APISERVER));
    let blocked = Plan::new(&external, &Request { csr_api: true, ..only(APISERVER) }, at(1)).unwrap();
    assert_eq!(blocked.blockers.len(), 1);
    let expired = Plan::new(&worker(), &through, at(3651)).unwrap();
    assert_eq!(expired.blockers.len(), 1, "nor does it sign with a CA that has expired");
}

#[test]
fn an_order_is_over_when_none_of_the_named_certificates_stands_there_however_often_it_is_read() {
    let mut cluster = Cluster::new();
    let serial = |inventory: &Inventory, name| match &inventory.held[&name] {
        Held::Certificate { certificate, .. } => certificate.serial_hex(),
        other => panic!("{other:?}"),
    };
    let order: BTreeMap<_, _> =
        [APISERVER, SCHEDULER].into_iter().map(|name| (name, serial(&cluster.inventory, name))).collect();
    let left = |inventory: &Inventory| {
        // Which are due, and which were asked for, was decided when the plan was shown.
        let request = Request { due: Some(Due::Late), ..only(CertificateName::EtcdPeer) };
        Plan::to_replace(inventory, &request, &order, at(1)).unwrap()
    };
    let all = left(&cluster.inventory);
    assert_eq!(names(&all), ["apiserver", "scheduler.conf"].into());
    assert_eq!(all.restarts.iter().filter_map(Op::restarts).collect::<Vec<_>>(), ["kube-scheduler"]);
    cluster.hold(SCHEDULER, YEAR, 1);
    assert_eq!(names(&left(&cluster.inventory)), ["apiserver"].into(), "the first half was done before a crash");
    cluster.hold(APISERVER, YEAR, 1);
    assert_eq!(left(&cluster.inventory), Plan::default());
    cluster.inventory.held.insert(APISERVER, Held::Broken("half a file".into()));
    assert_eq!(left(&cluster.inventory).blockers.len(), 1, "what nobody can work with is not taken for renewed");
}
