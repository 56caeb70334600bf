//! Rows made by hand: one good node, and each finding made by the one change that it is about.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::*;
use crate::pki::CaId;
use crate::plan::{
    ApiserverFacts, CertificateKind, CertificateRow, ConfState, EndpointState, Fault, FileFault, KubeletFacts, OddFile,
    ProcessState,
};

pub(crate) const DAY: i64 = 86_400;
pub(crate) const YEAR: i64 = 365 * DAY;
pub(crate) const NOW: i64 = 1_900_000_000;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

pub(crate) fn certificate(path: &str, kind: CertificateKind, ca: &str) -> CertificateRow {
    let mut row = CertificateRow::broken(path, 0, kind, String::new());
    (row.problem, row.fault) = (None, None);
    row.issuer = format!("CN={ca}");
    row.issuer_id = Some(CaId::planned(ca));
    row.not_before = at(NOW - DAY).to_string();
    row.key_algorithm = "RSA-2048".into();
    row.signature_algorithm = "SHA256-RSA".into();
    row.subject_key_id = "01".into();
    row.serial = "1".into();
    row.fingerprint = format!("{path} {ca}");
    ends(&mut row, NOW + YEAR);
    row
}

pub(crate) fn ends(row: &mut CertificateRow, seconds: i64) {
    (row.not_after_seconds, row.not_after) = (seconds, at(seconds).to_string());
}

pub(crate) fn authority(path: &str, kind: CertificateKind, ca: &str) -> CertificateRow {
    let mut row = certificate(path, kind, ca);
    row.subject = format!("CN={ca}");
    row.ca_id = Some(CaId::planned(ca));
    row.usages = vec!["CA".into()];
    ends(&mut row, NOW + 10 * YEAR);
    row
}

pub(crate) fn leaf(path: &str, kind: CertificateKind, ca: &str, usages: &[&str], sans: &[&str]) -> CertificateRow {
    let mut row = certificate(path, kind, ca);
    row.usages = usages.iter().map(|usage| (*usage).to_owned().into()).collect();
    row.sans = sans.iter().map(ToString::to_string).collect();
    row
}

pub(crate) const CA: &str = "/etc/kubernetes/pki/ca.crt";
pub(crate) const APISERVER: &str = "/etc/kubernetes/pki/apiserver.crt";
pub(crate) const PEER: &str = "/etc/kubernetes/pki/etcd/peer.crt";
pub(crate) const SCHEDULER: &str = "/etc/kubernetes/scheduler.conf";
pub(crate) const KUBELET: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
pub(crate) const KUBELET_SERVER: &str = "/var/lib/kubelet/pki/kubelet-server-current.pem";

/// A control-plane node that nobody can complain about.
pub(crate) struct Node {
    pub(crate) rows: Vec<CertificateRow>,
    pub(crate) view: NodeView,
}

impl Node {
    pub(crate) fn new() -> Self {
        use CertificateKind::{Authority, KubeconfigAuthority, KubeconfigClient, KubeletClient, KubeletServing, Leaf};
        let names = [
            "cp-1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "10.96.0.1",
            "192.0.2.1",
            "api.example",
        ];
        let mut kubelet = leaf(KUBELET, KubeletClient, "kubernetes", &["client auth"], &[]);
        kubelet.subject = "CN=system:node:cp-1,O=system:nodes".into();
        let both = ["server auth", "client auth"];
        let rows = vec![
            authority(CA, Authority, "kubernetes"),
            authority("/etc/kubernetes/pki/etcd/ca.crt", Authority, "etcd-ca"),
            leaf(APISERVER, Leaf, "kubernetes", &["server auth"], &names),
            leaf(PEER, Leaf, "etcd-ca", &both, &["cp-1", "localhost", "127.0.0.1", "0:0:0:0:0:0:0:1", "192.0.2.1"]),
            leaf(SCHEDULER, KubeconfigClient, "kubernetes", &["client auth"], &[]),
            authority(SCHEDULER, KubeconfigAuthority, "kubernetes"),
            kubelet,
            leaf(KUBELET_SERVER, KubeletServing, "kubernetes", &["server auth"], &["CP-1"]),
        ];
        let facts = NodeFacts {
            control_plane: true,
            servers: BTreeMap::from([("admin.conf".into(), "api.example".into())]),
            apiserver: Some(ApiserverFacts {
                advertise_address: "192.0.2.1".into(),
                service_range: "10.96.3.7/12,fd00::/108".into(),
                dns_domain: "cluster.local".into(),
            }),
            etcd_hosts: vec!["192.0.2.1".into()],
            kubelet: Some(KubeletFacts {
                rotates: true,
                server_bootstrap: true,
                conf_refers: true,
                conf_embeds: false,
            }),
            ..NodeFacts::default()
        };
        Self { rows, view: NodeView { facts, state: Some(NodeState::default()) } }
    }

    pub(crate) fn row(&mut self, path: &str) -> &mut CertificateRow {
        self.rows.iter_mut().find(|row| row.path == path).unwrap()
    }

    pub(crate) fn state(&mut self) -> &mut NodeState {
        self.view.state.as_mut().unwrap()
    }

    pub(crate) fn evidence(self) -> Evidence {
        let mut evidence = Evidence::default();
        evidence.add_node(Some("cp-1"), self.rows, self.view, &BTreeMap::new());
        evidence
    }
}

fn ids(evidence: &Evidence) -> Vec<(Severity, &'static str)> {
    findings(evidence, None, at(NOW)).iter().map(|finding| (finding.severity, finding.id.name())).collect()
}

/// What is found after one change of the good node.
fn after(change: impl FnOnce(&mut Node)) -> Vec<(Severity, &'static str)> {
    let mut node = Node::new();
    change(&mut node);
    ids(&node.evidence())
}

use Severity::{Error, Info, Warning};

#[test]
fn a_good_node_has_no_finding() {
    assert_eq!(after(|_| {}), []);
}

#[test]
fn validity_is_measured_by_the_kind_of_certificate() {
    let left = |path: &'static str, life: i64, left: i64| {
        after(move |node| {
            let row = node.row(path);
            row.not_before = at(NOW + left - life).to_string();
            ends(row, NOW + left);
        })
    };
    assert_eq!(left(APISERVER, YEAR, -1), [(Error, "expired")]);
    assert_eq!(left(APISERVER, YEAR, 0), [(Warning, "expiring")], "the last second counts");
    assert_eq!(left(APISERVER, YEAR, 30 * DAY - 1), [(Warning, "expiring")]);
    assert_eq!(left(APISERVER, YEAR, 30 * DAY), []);
    assert_eq!(left(APISERVER, 4 * DAY, 2 * DAY), [], "a short life is no reason");
    assert_eq!(left(APISERVER, 100, 19), [(Warning, "expiring")]);
    assert_eq!(left(KUBELET, 100, 11), [], "the kubelet renews up to a tenth before the end");
    assert_eq!(left(KUBELET, 100, 9), [(Warning, "expiring")]);
    assert_eq!(left(APISERVER, YEAR, 2 * YEAR), [(Error, "not-yet-valid")]);
    let ca = |left: i64| {
        after(move |node| {
            let of_cluster = |row: &&mut CertificateRow| row.ca_id == Some(CaId::planned("kubernetes"));
            for row in node.rows.iter_mut().filter(of_cluster) {
                row.not_before = at(NOW + left - 10 * YEAR).to_string();
                ends(row, NOW + left);
            }
        })
    };
    let found = ca(89 * DAY);
    assert_eq!(found.iter().filter(|(_, id)| *id == "expiring").count(), 2, "the file and the kubeconfig: {found:?}");
    assert!(found.contains(&(Warning, "outlives-ca")), "{found:?}");
    assert!(!ca(91 * DAY).contains(&(Warning, "expiring")));
}

#[test]
fn the_measure_may_be_given() {
    let evidence = Node::new().evidence();
    let within = |days: i64| findings(&evidence, Some(SignedDuration::from_hours(24 * days)), at(NOW)).len();
    assert_eq!((within(364), within(366)), (0, 5));
}

#[test]
fn keys_and_files_that_are_wrong() {
    let fault = |fault| after(move |node| node.row(APISERVER).fault = Some(fault));
    assert_eq!(fault(Fault::KeyMismatch), [(Error, "key-mismatch")]);
    assert_eq!(fault(Fault::KeyUnreadable), [(Error, "key-unreadable")]);
    assert_eq!(fault(Fault::KeyMissing), [(Error, "key-missing")]);
    let broken = CertificateRow::broken(APISERVER, 0, CertificateKind::Leaf, "garbage".into());
    assert_eq!(after(|node| *node.row(APISERVER) = broken), [(Error, "unreadable")]);
    let key = |name: &str| {
        let name = name.to_owned();
        after(move |node| node.row(PEER).key_algorithm = name.into())
    };
    assert_eq!(key("RSA-1024"), [(Warning, "weak-key")]);
    assert_eq!(key("RSA-512"), [(Error, "weak-key")]);
    assert_eq!(key("EC 1.3.132.0.10"), [(Warning, "weak-key")]);
    assert_eq!(key("DSA"), [(Error, "weak-key")]);
    assert_eq!(key("ECDSA-P256"), []);
    assert_eq!(after(|node| node.row(PEER).signature_algorithm = "SHA1-RSA".into()), [(Error, "weak-signature")]);
    assert_eq!(after(|node| node.row(CA).signature_algorithm = "ECDSA-SHA1".into()), [(Info, "weak-signature")]);
}

#[test]
fn issuer_usage_and_names_are_those_that_the_place_needs() {
    assert_eq!(after(|node| node.row(APISERVER).issuer_id = None), [(Error, "foreign-issuer")]);
    assert_eq!(after(|node| node.row(PEER).issuer_id = Some(CaId::planned("kubernetes"))), [(Error, "foreign-issuer")]);
    assert_eq!(after(|node| node.row(SCHEDULER).issuer_id = None), [(Error, "foreign-issuer")]);
    assert_eq!(after(|node| node.row(PEER).usages.truncate(1)), [(Error, "wrong-usage")]);
    assert_eq!(after(|node| node.row(KUBELET).usages = vec!["server auth".into()]), [(Error, "wrong-usage")]);
    for lost in 0..8 {
        let found = after(|node| drop(node.row(APISERVER).sans.remove(lost)));
        assert_eq!(found, [(Error, "missing-san")], "name {lost}");
    }
    assert_eq!(after(|node| node.row(APISERVER).sans = vec!["*.example".into()]), [(Error, "missing-san")]);
    assert_eq!(after(|node| node.row(PEER).sans.truncate(3)), [(Error, "missing-san")]);
    assert_eq!(after(|node| node.row(KUBELET_SERVER).sans.clear()), [(Error, "missing-san")]);
    assert_eq!(after(|node| node.row(CA).ca_id = None).first(), Some(&(Error, "ca-without-ca-bit")));
    assert_eq!(after(|node| ends(node.row(PEER), NOW + 11 * YEAR)), [(Warning, "outlives-ca")]);
}

#[test]
fn a_name_of_another_label_is_not_covered_by_a_wildcard() {
    let mut row = leaf("api.example:6443", CertificateKind::Served, "kubernetes", &["server auth"], &["*.example"]);
    let found = |row: &CertificateRow| {
        let rows = rows_of(None, vec![row.clone()], None, &BTreeMap::new());
        ids(&Evidence { rows, ..Evidence::default() })
    };
    assert_eq!(found(&row), []);
    row.path = "a.b.example:6443".into();
    assert_eq!(found(&row), [(Error, "missing-san")]);
    (row.path, row.sans) = ("[fd00::1]:6443".into(), vec!["fd00:0::1".into()]);
    assert_eq!(found(&row), []);
}

#[test]
fn odd_files_are_named_by_what_is_odd() {
    use FileFault as F;
    for (fault, expected) in [
        (F::KeyReadableByAll, (Error, "key-readable")),
        (F::KeyReadableByGroup, (Warning, "key-readable")),
        (F::WritableByOthers, (Error, "writable-by-others")),
        (F::Owner, (Warning, "wrong-owner")),
        (F::SymbolicLink, (Warning, "unexpected-symlink")),
        (F::HardLink, (Warning, "hard-link")),
        (F::NotAFile, (Warning, "not-a-file")),
        (F::Folder, (Warning, "not-a-file")),
        (F::Huge, (Warning, "huge-file")),
        (F::CaKeyOnWorker, (Error, "ca-key-on-worker")),
    ] {
        let file = OddFile { path: APISERVER.into(), fault, detail: "x".into() };
        assert_eq!(after(|node| node.view.facts.odd_files.push(file)), [expected]);
    }
    assert_eq!(after(|node| node.view.facts.missing.push(PEER.into())), [(Error, "missing-certificate")]);
}

#[test]
fn a_kubelet_that_does_not_renew_is_named() {
    let kubelet = |change: fn(&mut KubeletFacts)| after(move |node| change(node.view.facts.kubelet.as_mut().unwrap()));
    assert_eq!(kubelet(|kubelet| kubelet.rotates = false), [(Warning, "kubelet-no-rotation")]);
    assert_eq!(kubelet(|kubelet| kubelet.conf_refers = false), [(Warning, "kubelet-no-bootstrap")]);
    assert_eq!(kubelet(|kubelet| kubelet.conf_embeds = true), [(Warning, "embedded-credential")]);
    assert_eq!(after(|node| node.row(KUBELET_SERVER).issuer_id = None), [(Info, "serving-self-signed")]);
}

#[test]
fn a_kubelets_own_certificate_may_expire_with_the_ca_behind_it() {
    let with = |issuer: Option<CaId>| {
        after(|node| {
            for (index, kind) in [CertificateKind::KubeletServing, CertificateKind::Chain].into_iter().enumerate() {
                let mut row = certificate("/var/lib/kubelet/pki/kubelet.crt", kind, "cp-1-ca@1");
                row.index = u32::try_from(index).unwrap();
                row.issuer_id.clone_from(&issuer);
                ends(&mut row, NOW - 1);
                node.rows.push(row);
            }
        })
    };
    assert!(with(None).iter().all(|(severity, _)| *severity == Info), "{:?}", with(None));
    assert!(with(Some(CaId::planned("kubernetes"))).contains(&(Error, "expired")), "one of the cluster's CA counts");
}

#[test]
fn what_a_process_has_not_read_again_is_named() {
    let scheduler = |not_after, trust: &[CaId]| {
        let conf = ConfState {
            issuer: Some(CaId::planned("kubernetes")),
            trust: trust.to_vec(),
            not_after,
            ..ConfState::default()
        };
        after(|node| node.state().loaded.scheduler = Some(ProcessState { conf: Some(conf), ..ProcessState::default() }))
    };
    let ca = [CaId::planned("kubernetes")];
    assert_eq!(scheduler(NOW + YEAR, &ca), []);
    assert_eq!(scheduler(NOW + DAY, &ca), [(Warning, "not-loaded")]);
    assert_eq!(scheduler(NOW - DAY, &ca), [(Error, "not-loaded")]);
    assert_eq!(scheduler(NOW + YEAR, &[]), [(Warning, "not-loaded")]);
    let unknown = after(|node| node.state().loaded.scheduler = Some(ProcessState::default()));
    assert_eq!(unknown, [], "what nobody knows is no finding");
    let serves = |serial: &str| {
        let endpoint = EndpointState { serial: serial.into(), ..EndpointState::default() };
        after(|node| drop(node.state().endpoints.insert("kube-apiserver".into(), endpoint)))
    };
    assert_eq!(serves("2"), [(Warning, "not-served")]);
    assert_eq!((serves("1"), serves("")), (vec![], vec![]));
}

#[test]
fn two_cas_are_a_finding_unless_a_rotation_is_under_way() {
    let second = || {
        let mut ca = authority(CA, CertificateKind::Authority, "second");
        ca.index = 1;
        ca.subject = "CN=kubernetes".into();
        ca
    };
    assert_eq!(after(|node| node.rows.push(second())), [(Warning, "leftover-bundle")]);
    let ambiguous = after(|node| {
        node.row(CA).subject_key_id.clear();
        node.rows.push(second());
    });
    assert_eq!(ambiguous, [(Warning, "ambiguous-ca"), (Warning, "leftover-bundle")]);
    let mut node = Node::new();
    node.rows.push(second());
    assert_eq!(ids(&Evidence { rotating: true, ..node.evidence() }), []);
}

#[test]
fn nodes_and_objects_with_another_ca_are_named() {
    let with = |path: &str, node: Option<&str>, kind| {
        let mut evidence = Node::new().evidence();
        evidence.rows.extend(rows_of(node, vec![authority(path, kind, "other")], None, &BTreeMap::new()));
        ids(&evidence)
    };
    let trust = CertificateKind::Trust;
    assert_eq!(with(CA, Some("w-1"), CertificateKind::Authority), [(Error, "nodes-differ")]);
    assert_eq!(with("configmap/default/kube-root-ca.crt", None, trust), [(Error, "trust-differs")]);
    assert_eq!(with("configmap/kube-public/cluster-info", None, trust), [(Error, "trust-differs")]);
    assert_eq!(with("secret/ci/token", None, trust), [(Error, "trust-differs")]);
    assert_eq!(
        with("/etc/kubernetes/kubelet.conf", Some("w-1"), CertificateKind::KubeconfigAuthority),
        [(Error, "trust-differs")]
    );
    assert_eq!(with("apiservice/v1.metrics", None, trust), [], "it may have a CA of its own");
}

#[test]
fn requests_and_tokens() {
    let request = |state, age: i64| {
        let created = at(NOW - age).to_string();
        let text = |text: &str| text.to_owned();
        let request = Request {
            name: text("csr-1"),
            signer: text("s"),
            requester: text("r"),
            subject: text("CN=x"),
            sans: vec![],
            created,
            state,
        };
        ids(&Evidence { requests: vec![request], ..Evidence::default() })
    };
    assert_eq!(request(RequestState::Pending, 59), []);
    assert_eq!(request(RequestState::Pending, 60), [(Warning, "csr-pending")]);
    assert_eq!(request(RequestState::Denied, 0), [(Warning, "csr-failed")]);
    assert_eq!(request(RequestState::Failed, 0), [(Warning, "csr-failed")]);
    assert_eq!((request(RequestState::Issued, 99), request(RequestState::Approved, 99)), (vec![], vec![]));
    let token = |expires: Option<i64>| {
        let expires = expires.map(|seconds| at(seconds).to_string());
        let token = BootstrapToken { id: "abcdef".into(), expires, usages: vec![], groups: vec![] };
        ids(&Evidence { tokens: vec![token], ..Evidence::default() })
    };
    assert_eq!(token(None), [(Warning, "token-forever")]);
    assert_eq!(token(Some(NOW - 1)), [(Info, "token-expired")]);
    assert_eq!(token(Some(NOW + 1)), []);
    let unread = vec!["secrets: forbidden".to_owned()];
    let found = findings(&Evidence { unread, ..Evidence::default() }, None, at(NOW));
    assert_eq!(
        (found[0].id, found[0].object.as_str(), found[0].message.as_str()),
        (FindingId::NotSeen, "secrets", "forbidden")
    );
}

#[test]
fn a_kubeconfig_by_name_that_others_can_read_is_named() {
    let mut row = leaf("/home/me/.kube/config", CertificateKind::KubeconfigClient, "kubernetes", &["client auth"], &[]);
    let found = |row: &CertificateRow| {
        let rows = rows_of(None, vec![row.clone()], None, &BTreeMap::new());
        ids(&Evidence { rows, ..Evidence::default() })
    };
    row.key_mode = Some("0600".into());
    assert_eq!(found(&row), []);
    row.key_mode = Some("0640".into());
    assert_eq!(found(&row), [(Warning, "key-readable")]);
}

#[test]
fn the_map_names_every_verifier_and_whether_it_trusts_the_signer() {
    let mut node = Node::new();
    node.rows.push(authority("/etc/kubernetes/kubelet.conf", CertificateKind::KubeconfigAuthority, "other"));
    let map = edges(&node.evidence().rows);
    let of = |certificate: &str| -> Vec<(&str, Option<bool>)> {
        map.iter().filter(|edge| edge.certificate == certificate).map(|edge| (edge.checked_by, edge.trusted)).collect()
    };
    assert_eq!(
        of("apiserver"),
        [
            ("kubelet", Some(false)),
            ("kube-controller-manager", None),
            ("kube-scheduler", Some(true)),
            ("administrators", None),
            ("pods, kube-proxy", None),
            ("kubeadm join", None),
        ]
    );
    assert_eq!(of("scheduler.conf"), [("kube-apiserver", Some(true))]);
    assert_eq!(of("etcd-peer").len(), 2, "as server and as client");
}

#[test]
fn a_certificate_whose_signer_is_vouched_for_in_the_chain_is_trusted() {
    let mut node = Node::new();
    node.row(APISERVER).issuer_id = Some(CaId::planned("new"));
    let trusted = |node: Node| {
        let map = edges(&node.evidence().rows);
        map.iter().find(|edge| edge.checked_by == "kube-scheduler").and_then(|edge| edge.trusted)
    };
    let mut chain = authority(APISERVER, CertificateKind::Chain, "new");
    (chain.index, chain.issuer_id) = (1, Some(CaId::planned("kubernetes")));
    let mut vouched = Node::new();
    vouched.row(APISERVER).issuer_id = Some(CaId::planned("new"));
    vouched.rows.push(chain);
    assert_eq!((trusted(node), trusted(vouched)), (Some(false), Some(true)));
}

#[test]
fn bundles_with_the_same_content_become_one() {
    let bundle = |object: &str, ca: &str| {
        let mut row = authority(object, CertificateKind::Trust, ca);
        row.fingerprint = ca.into();
        rows_of(None, vec![row], None, &BTreeMap::new())
    };
    let merged = merged_trust(vec![
        bundle("configmap/a/kube-root-ca.crt", "one"),
        bundle("configmap/b/kube-root-ca.crt", "two"),
        bundle("configmap/c/kube-root-ca.crt", "one"),
        bundle("secret/c/token", "one"),
    ]);
    let names: Vec<&str> = merged.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["configmap/a/kube-root-ca.crt (+1 more)", "configmap/b/kube-root-ca.crt", "secret/c/token"]);
    assert_eq!(merged[0].also, ["configmap/c/kube-root-ca.crt"]);
}

#[test]
fn what_a_control_plane_node_has_no_ca_key_for_is_managed_elsewhere() {
    let external = |control_plane: bool| {
        let mut node = Node::new();
        node.view.facts.control_plane = control_plane;
        node.row(CA).key_mode = Some("0600".into());
        let told = |row: InspectRow| Some((row.certificate.path, row.externally_managed?));
        node.evidence().rows.into_iter().filter_map(told).collect::<Vec<_>>()
    };
    let etcd = "/etc/kubernetes/pki/etcd/ca.crt";
    let wanted = [(CA, false), (etcd, true), (APISERVER, false), (PEER, true), (SCHEDULER, false)];
    assert_eq!(
        external(true),
        wanted.map(|(path, external)| (path.to_owned(), external)),
        "kubelets renew by themselves"
    );
    assert_eq!(external(false), [], "on a worker the CA's key is nowhere");
}

#[test]
fn names_of_findings_are_unique_and_speak_for_themselves() {
    let mut names: Vec<&str> = FindingId::ALL.iter().map(|id| id.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FindingId::ALL.len());
    assert!(FindingId::ALL.iter().all(|id| id.meaning().ends_with('.')));
    assert_eq!(serde_json::to_value(FindingId::Expired).unwrap(), "expired");
}
