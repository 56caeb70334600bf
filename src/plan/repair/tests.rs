use super::*;
use crate::pki::{CertificateAuthority, KeyAlgorithm, PrivateKey, ServerNames};
use crate::plan::renewal::Signer;

const DAY: SignedDuration = SignedDuration::from_hours(24);
const YEAR: SignedDuration = SignedDuration::from_hours(8760);
const P256: KeyAlgorithm = KeyAlgorithm::EcdsaP256;
const APISERVER: CertificateName = CertificateName::Apiserver;
const ADMIN: CertificateName = CertificateName::Conf(Conf::Admin);

fn at(days: i32) -> Timestamp {
    let start: Timestamp = "2031-05-06T07:08:09Z".parse().unwrap();
    start + DAY * days
}

/// A control-plane node, made at day 0, with leaves of a year.
struct Node {
    authorities: BTreeMap<AuthorityName, CertificateAuthority>,
    seen: Seen,
}

impl Node {
    fn new() -> Self {
        Self::with_ca_of(YEAR * 10)
    }

    fn with_ca_of(validity: SignedDuration) -> Self {
        let mut node = Self { authorities: BTreeMap::new(), seen: Seen { control_plane: true, ..Seen::default() } };
        for name in AuthorityName::ALL {
            let ca = CertificateAuthority::generate(name.name(), P256, validity, at(0)).unwrap();
            let signer = Signer { certificate: ca.certificate().clone(), problem: None };
            node.seen.inventory.authorities.insert(name, signer);
            node.authorities.insert(name, ca);
        }
        for name in CertificateName::ALL.into_iter().filter(|name| *name != CertificateName::Conf(Conf::Kubelet)) {
            node.hold(name, 0, YEAR);
        }
        let elsewhere = Held::Elsewhere("its client certificate is a file".into());
        node.seen.inventory.held.insert(CertificateName::Conf(Conf::Kubelet), elsewhere);
        let ca = node.authorities[&AuthorityName::Cluster].certificate().clone();
        node.seen.trust = Conf::ALL.into_iter().map(|conf| (conf, vec![ca.clone()])).collect();
        node
    }

    fn hold(&mut self, name: CertificateName, day: i32, validity: SignedDuration) {
        let certificate = leaf(&self.authorities[&name.authority()], name.name(), day, validity);
        self.seen.inventory.held.insert(name, Held::Certificate { certificate, key: Ok(P256) });
    }

    /// As the node's files are read at this day.
    fn read(&mut self, day: i32) {
        let over = self.authorities.iter().filter(|(_, ca)| !ca.certificate().is_valid_at(at(day)));
        let prolonged = over.map(|(name, ca)| (*name, ca.prolonged(YEAR * 10, at(day)).unwrap().certificate().clone()));
        self.seen.successors = prolonged.collect();
    }

    fn plan(&self, day: i32) -> Plan {
        Plan::new(&self.seen, &Wish::default(), at(day))
    }

    /// Carries out the first `count` steps of a plan, as a run that is cut off there.
    fn carry_out(&mut self, plan: &Plan, count: usize, day: i32) {
        for Prolonged { name, successor, .. } in &plan.authorities {
            self.seen.inventory.authorities.get_mut(name).unwrap().certificate = successor.clone();
            let key = self.authorities[name].key().clone();
            self.authorities.insert(*name, CertificateAuthority::new(successor.clone(), key).unwrap());
            self.seen.successors.remove(name);
        }
        for step in plan.steps.iter().take(count) {
            self.hold(step.item.name, day, step.item.validity);
            self.seen.misplaced.remove(&step.item.name);
            if let CertificateName::Conf(conf) = step.item.name {
                self.trust(conf);
            }
        }
        if count >= plan.steps.len() {
            plan.trust.iter().for_each(|conf| self.trust(*conf));
        }
    }

    fn trust(&mut self, conf: Conf) {
        let ca = self.authorities[&AuthorityName::Cluster].certificate().clone();
        self.seen.trust.insert(conf, vec![ca]);
    }
}

fn leaf(ca: &CertificateAuthority, name: &str, day: i32, validity: SignedDuration) -> Certificate {
    let key = PrivateKey::generate(P256).unwrap();
    let names = ServerNames { dns: vec!["kubernetes".into()], ips: Vec::new() };
    ca.issue_server(name, &names, key.spki_der(), validity, at(day)).unwrap()
}

fn names(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(|step| step.item.name.name()).collect()
}

fn fault(plan: &Plan, name: CertificateName) -> Option<&Fault> {
    plan.steps.iter().chain(&plan.requests).find(|step| step.item.name == name).map(|step| &step.fault)
}

#[test]
fn what_is_in_order_stays() {
    let node = Node::new();
    assert_eq!(node.plan(100), Plan::default());
    assert!(node.plan(100).is_empty());
    assert!(node.plan(300).is_empty(), "late in life, but nothing is broken");
}

#[test]
fn everything_expired_is_made_anew_in_the_order_of_dependence() {
    let plan = Node::new().plan(400);
    assert_eq!(
        names(&plan.steps),
        [
            "etcd-server",
            "etcd-peer",
            "etcd-healthcheck-client",
            "apiserver-etcd-client",
            "apiserver",
            "apiserver-kubelet-client",
            "front-proxy-client",
            "admin.conf",
            "super-admin.conf",
            "controller-manager.conf",
            "scheduler.conf",
            "kubelet-client",
            "kubelet-server",
        ]
    );
    assert!(plan.steps.iter().all(|step| matches!(step.fault, Fault::Expired(end) if end == at(365))));
    assert!(plan.steps.iter().all(|step| step.item.not_after == at(400) + YEAR && step.item.new_key.is_some()));
    let restarted: Vec<&str> = plan.restarts.iter().map(|process| process.name()).collect();
    assert_eq!(restarted, ["kube-controller-manager", "kube-scheduler", "kubelet"]);
    assert!(plan.authorities.is_empty() && plan.trust.is_empty() && plan.requests.is_empty());
}

#[test]
fn whatever_was_cut_off_the_next_run_does_the_rest_and_then_nothing() {
    let whole = Node::new().plan(400);
    for count in 0..=whole.steps.len() {
        let mut node = Node::new();
        node.carry_out(&whole, count, 400);
        let rest = node.plan(400);
        assert_eq!(names(&rest.steps), names(&whole.steps)[count..], "after {count}");
        node.carry_out(&rest, rest.steps.len(), 400);
        assert_eq!(node.plan(400), Plan::default(), "after {count}");
    }
}

/// kubeadm makes all of a node's certificates end in one second, and clients refuse them within it.
#[test]
fn in_its_last_second_a_certificate_is_over() {
    let plan = Node::new().plan(365);
    assert!(matches!(plan.steps[0].fault, Fault::Expired(end) if end == at(365)), "{:?}", plan.steps);
}

#[test]
fn an_expired_ca_keeps_its_key_its_name_and_its_key_identifier() {
    let mut node = Node::with_ca_of(YEAR * 2);
    node.hold(APISERVER, 360, YEAR);
    node.read(800);
    let plan = node.plan(800);
    assert_eq!(plan.authorities.iter().map(|ca| ca.name).collect::<Vec<_>>(), AuthorityName::ALL);
    for Prolonged { name, ended, successor } in &plan.authorities {
        let old = node.authorities[name].certificate();
        assert_eq!(*ended, at(0) + YEAR * 2);
        assert_eq!((successor.ca_id(), successor.subject_der()), (old.ca_id(), old.subject_der()));
        assert_eq!((successor.subject_key_id(), successor.not_before()), (old.subject_key_id(), old.not_before()));
        assert_eq!(successor.not_after(), at(800) + YEAR * 10);
    }
    // A whole year, and not cut short by the old end of the CA.
    assert!(plan.steps.iter().all(|step| step.item.not_after == at(800) + YEAR && !step.item.cut_short));
    assert_eq!(plan.trust, [Conf::Kubelet], "it holds the old CA, and no certificate of its own");
    let restarted: Vec<&str> = plan.restarts.iter().map(|process| process.name()).collect();
    assert_eq!(restarted, ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"]);
    node.carry_out(&plan, plan.steps.len(), 800);
    assert!(node.plan(800).is_empty());
}

#[test]
fn a_leaf_that_outlives_its_expired_ca_stays_and_its_kubeconfig_gets_the_new_ca() {
    let mut node = Node::with_ca_of(YEAR * 2);
    for name in CertificateName::ALL.into_iter().filter(|name| !matches!(name, CertificateName::Conf(Conf::Kubelet))) {
        // kubeadm does not clamp leaves to their CA's end.
        let ca = node.authorities[&name.authority()].prolonged(YEAR * 10, at(0)).unwrap();
        let certificate = leaf(&ca, name.name(), 700, YEAR);
        node.seen.inventory.held.insert(name, Held::Certificate { certificate, key: Ok(P256) });
    }
    node.read(800);
    let plan = node.plan(800);
    assert_eq!((plan.authorities.len(), names(&plan.steps)), (3, Vec::new()));
    assert_eq!(plan.trust, Conf::ALL);
    assert!(plan.restarts.contains(&Process::Kubelet));
}

#[test]
fn without_the_ca_key_requests_are_written_and_the_rest_is_repaired() {
    let mut node = Node::new();
    let gone = || Some("there is no /etc/kubernetes/pki/ca.key".to_owned());
    node.seen.inventory.authorities.get_mut(&AuthorityName::Cluster).unwrap().problem = gone();
    let plan = node.plan(400);
    assert!(names(&plan.steps).iter().all(|name| name.contains("etcd") || *name == "front-proxy-client"));
    assert_eq!(plan.steps.len(), 5);
    assert!(names(&plan.requests).contains(&"apiserver") && names(&plan.requests).contains(&"kubelet-client"));
    assert_eq!(plan.unable.get(&AuthorityName::Cluster), gone().as_ref());
    assert!(plan.blockers.is_empty() && !plan.is_empty());
}

#[test]
fn an_expired_ca_without_its_key_signs_nothing() {
    let mut node = Node::with_ca_of(YEAR);
    let signer = node.seen.inventory.authorities.get_mut(&AuthorityName::Etcd).unwrap();
    signer.problem = Some("there is no /etc/kubernetes/pki/etcd/ca.key".to_owned());
    node.read(400);
    node.seen.successors.remove(&AuthorityName::Etcd);
    let plan = node.plan(400);
    assert_eq!(plan.authorities.iter().map(|ca| ca.name.name()).collect::<Vec<_>>(), ["cluster", "front-proxy"]);
    assert!(names(&plan.requests).iter().all(|name| name.contains("etcd")));
    assert_eq!(plan.requests.len(), 4);
}

#[test]
fn lost_and_broken_certificates_are_made_from_what_kubeadm_would_write() {
    let mut node = Node::new();
    let facts = NodeFacts { node: Some("cp-1".into()), minor: Some(37), ..NodeFacts::default() };
    for name in [ADMIN, CertificateName::Conf(Conf::Scheduler), APISERVER] {
        node.seen.patterns.insert(name, facts.pattern(name, P256, YEAR, at(100)));
    }
    node.seen.inventory.held.remove(&ADMIN);
    node.seen.inventory.held.remove(&APISERVER);
    let torn = Held::Broken("scheduler.conf: not readable YAML".into());
    node.seen.inventory.held.insert(CertificateName::Conf(Conf::Scheduler), torn);
    let plan = node.plan(100);
    assert_eq!(names(&plan.steps), ["admin.conf", "scheduler.conf"]);
    assert_eq!(fault(&plan, ADMIN), Some(&Fault::Lost));
    assert_eq!(plan.steps[0].item.old.subject(), "CN=kubernetes-admin,O=kubeadm:cluster-admins");
    assert!(matches!(plan.steps[1].fault, Fault::Unreadable(_)));
    let [blocker] = &plan.blockers[..] else { panic!("{:?}", plan.blockers) };
    assert_eq!(blocker.name, APISERVER);
    assert!(blocker.problem.contains("there is no /etc/kubernetes/pki/apiserver.crt"), "{}", blocker.problem);
    assert!(blocker.problem.ends_with("kube-apiserver's manifest has no --service-cluster-ip-range"));
}

#[test]
fn what_this_node_does_not_have_and_does_not_need_is_no_loss() {
    let mut node = Node::new();
    node.seen.inventory.held.remove(&CertificateName::Conf(Conf::SuperAdmin));
    assert!(node.plan(100).is_empty());
}

#[test]
fn a_key_of_another_certificate_and_a_lost_key_are_found_although_the_certificate_is_valid() {
    let mut node = Node::new();
    node.seen.misplaced.insert(APISERVER, "it belongs to /etc/kubernetes/pki/etcd/peer.crt".into());
    let Some(Held::Certificate { key, .. }) = node.seen.inventory.held.get_mut(&CertificateName::EtcdPeer) else {
        panic!("no peer")
    };
    *key = Err("there is no /etc/kubernetes/pki/etcd/peer.key".into());
    let plan = node.plan(100);
    assert_eq!(names(&plan.steps), ["etcd-peer", "apiserver"]);
    assert!(matches!(fault(&plan, APISERVER), Some(Fault::KeyMisplaced(other)) if other.contains("etcd/peer.crt")));
    assert!(matches!(fault(&plan, CertificateName::EtcdPeer), Some(Fault::KeyLost(_))));
    assert!(plan.steps.iter().all(|step| step.item.new_key.is_some()), "both get a key of their own");
}

#[test]
fn a_certificate_of_another_ca_of_the_same_name_is_made_anew_and_one_of_a_stranger_stays() {
    let mut node = Node::new();
    let twin = CertificateAuthority::generate("cluster", P256, YEAR * 10, at(0)).unwrap();
    let stranger = CertificateAuthority::generate("company", P256, YEAR * 10, at(0)).unwrap();
    let mut hold = |name, certificate| {
        node.seen.inventory.held.insert(name, Held::Certificate { certificate, key: Ok(P256) });
    };
    hold(ADMIN, leaf(&twin, "admin", 0, YEAR * 5));
    hold(APISERVER, leaf(&stranger, "apiserver", 0, YEAR));
    let plan = node.plan(100);
    assert_eq!(names(&plan.steps), ["admin.conf"]);
    assert_eq!(fault(&plan, ADMIN), Some(&Fault::NotOfThisCa));
    let plan = node.plan(400);
    assert!(!names(&plan.steps).contains(&"apiserver"));
    assert_eq!(plan.kept.iter().map(|kept| kept.name).collect::<Vec<_>>(), [APISERVER]);
    assert!(plan.kept[0].reason.contains("CN=company"));
}

#[test]
fn what_ends_soon_is_made_anew_with_the_rest() {
    let mut node = Node::new();
    node.hold(ADMIN, 100, YEAR);
    node.hold(APISERVER, 350, YEAR);
    let plan = node.plan(400);
    assert!(matches!(fault(&plan, ADMIN), Some(Fault::EndsSoon(end)) if *end == at(465)));
    assert_eq!(fault(&plan, APISERVER), None);
}

#[test]
fn a_worker_asks_for_its_one_certificate() {
    let mut node = Node::new();
    let worker = [CertificateName::KubeletClient, CertificateName::Conf(Conf::Kubelet)];
    node.seen.inventory.held.retain(|name, _| worker.contains(name));
    node.seen.inventory.authorities.retain(|name, _| *name == AuthorityName::Cluster);
    node.seen.inventory.authorities.get_mut(&AuthorityName::Cluster).unwrap().problem = Some("no key".into());
    node.seen.control_plane = false;
    assert!(node.plan(100).is_empty());
    let plan = node.plan(400);
    assert_eq!((names(&plan.requests), plan.steps.len(), plan.restarts.len()), (vec!["kubelet-client"], 0, 0));
}

#[test]
fn a_clock_before_the_ca_stops_everything_and_nobody_can_wave_it_through() {
    let node = Node::new();
    let wish = Wish { clock_is_right: true, ..Wish::default() };
    for wish in [wish, Wish::default()] {
        let clock = Plan::new(&node.seen, &wish, at(-3000)).clock;
        let Clock::Behind { what, surely: true, not_before } = clock else { panic!("{clock:?}") };
        assert_eq!((what.as_str(), not_before), ("the cluster CA", at(0) - SignedDuration::from_mins(5)));
    }
}

#[test]
fn a_clock_before_a_leaf_or_long_after_the_last_sign_of_life_needs_the_administrators_word() {
    let mut node = Node::new();
    node.hold(ADMIN, 200, YEAR);
    assert!(matches!(node.plan(100).clock, Clock::Behind { surely: false, .. }));
    node.hold(ADMIN, 0, YEAR);
    node.seen.last_life = Some(at(30));
    assert_eq!(node.plan(390).clock, Clock::Plausible);
    assert_eq!(node.plan(2000).clock, Clock::MaybeAhead { last_life: at(30) });
    let wish = Wish { clock_is_right: true, ..Wish::default() };
    assert_eq!(Plan::new(&node.seen, &wish, at(2000)).clock, Clock::Plausible);
}

#[test]
fn patterns_have_kubeadms_names_and_usages() {
    let facts = NodeFacts {
        node: Some("cp-1".into()),
        advertised: Some("10.0.0.7".parse().unwrap()),
        service_addresses: vec!["10.96.0.1".parse().unwrap()],
        domain: Some("corp.local".into()),
        endpoint: Some("api.example".into()),
        minor: Some(28),
    };
    let pattern = |facts: &NodeFacts, name| facts.pattern(name, P256, YEAR, at(0)).unwrap();
    let apiserver = pattern(&facts, APISERVER);
    assert_eq!(
        apiserver.dns_names(),
        [
            "cp-1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.corp.local",
            "api.example"
        ]
    );
    let shown = |certificate: &Certificate| -> Vec<String> {
        certificate.ip_addresses().iter().map(ToString::to_string).collect()
    };
    assert_eq!(shown(&apiserver), ["10.96.0.1", "10.0.0.7"]);
    assert!(apiserver.server_auth() && !apiserver.client_auth());
    let peer = pattern(&facts, CertificateName::EtcdPeer);
    assert!(peer.server_auth() && peer.client_auth());
    assert_eq!(
        (peer.dns_names(), shown(&peer)),
        (&["cp-1".to_owned(), "localhost".into()][..], ["10.0.0.7", "127.0.0.1", "::1"].map(String::from).to_vec())
    );
    let kubelet = pattern(&facts, CertificateName::KubeletClient);
    assert_eq!(kubelet.subject(), "CN=system:node:cp-1,O=system:nodes");
    assert!(kubelet.client_auth() && !kubelet.server_auth());
    for (minor, admin, client) in
        [(28, "system:masters", "system:masters"), (29, "kubeadm:cluster-admins", "kubeadm:cluster-admins")]
    {
        let facts = NodeFacts { minor: Some(minor), ..facts.clone() };
        assert_eq!(pattern(&facts, ADMIN).organizations(), [admin]);
        assert_eq!(pattern(&facts, CertificateName::ApiserverKubeletClient).organizations(), [client]);
    }
    let newest = NodeFacts { minor: Some(37), ..facts };
    assert!(pattern(&newest, CertificateName::ApiserverKubeletClient).organizations().is_empty());
}
