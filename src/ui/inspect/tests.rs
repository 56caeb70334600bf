//! Rows made by hand: the view needs no real certificate.

use std::collections::BTreeMap;

use super::*;
use crate::inspection::{NodeView, findings, rows_of};
use crate::pki::CaId;
use crate::plan::{ConfState, EndpointState, Fault, LeafState, NodeFacts, NodeState, ProcessState};
use crate::ui::fits;

const YEAR: i64 = 365 * 86_400;

/// As long as a real one, which the schema demands.
fn ca(number: u8) -> CaId {
    CaId::from_hash(&[number; 32])
}

fn certificate(path: &str, kind: CertificateKind, not_after: i64) -> CertificateRow {
    let mut row = CertificateRow::broken(path, 0, kind, String::new());
    (row.problem, row.fault) = (None, None);
    row.issuer_id = Some(ca(1));
    row.not_after_seconds = not_after;
    row.not_after = Timestamp::from_second(not_after).unwrap().to_string();
    row.serial = format!("{not_after:x}");
    row.usages = vec!["server auth".into(), "client auth".into()];
    row
}

fn authority(path: &str) -> CertificateRow {
    let mut row = certificate(path, CertificateKind::Authority, 10 * YEAR);
    row.ca_id = Some(ca(1));
    row
}

/// Without findings.
fn report(rows: Vec<InspectRow>) -> InspectReport {
    InspectReport::new(Evidence { rows, ..Evidence::default() }, Vec::new(), Timestamp::UNIX_EPOCH)
}

fn judged(rows: Vec<InspectRow>) -> InspectReport {
    let evidence = Evidence { rows, ..Evidence::default() };
    let found = findings(&evidence, None, Timestamp::UNIX_EPOCH);
    InspectReport::new(evidence, found, Timestamp::UNIX_EPOCH)
}

fn node_rows(state: Option<&NodeState>) -> Vec<InspectRow> {
    let certificates = [
        authority("/etc/kubernetes/pki/ca.crt"),
        certificate("/etc/kubernetes/pki/etcd/server.crt", CertificateKind::Leaf, YEAR - 1),
        certificate("/etc/kubernetes/scheduler.conf", CertificateKind::KubeconfigClient, 7200),
        certificate("/var/lib/kubelet/pki/kubelet-client-current.pem", CertificateKind::KubeletClient, -1),
    ];
    rows_of(state.map(|_| "cp-1"), certificates.to_vec(), state, &BTreeMap::from([(ca(1), 1)]))
}

#[test]
fn the_tables_are_kubeadms() {
    insta::assert_snapshot!(report(node_rows(None)).text(false), @r"
    CERTIFICATE      EXPIRES                  RESIDUAL-TIME   CA
    etcd-server      Dec 31, 1970 23:59 UTC   364d            ca
    scheduler.conf   Jan 01, 1970 02:00 UTC   2h              ca
    kubelet-client   Dec 31, 1969 23:59 UTC   expired         ca

    CERTIFICATE AUTHORITY   EXPIRES                  RESIDUAL-TIME   CA
    ca                      Dec 30, 1979 00:00 UTC   10y             ca
    ");
}

#[test]
fn wide_tells_node_generation_and_what_is_loaded_and_served() {
    let conf = ConfState { issuer: Some(ca(1)), not_after: 7200, ..ConfState::default() };
    let mut state = NodeState::default();
    state.loaded.scheduler = Some(ProcessState { conf: Some(conf), ..ProcessState::default() });
    let serial = format!("{:x}", YEAR - 1);
    state.endpoints.insert("cp-1:2379".into(), EndpointState { serial, ..EndpointState::default() });
    let rows = node_rows(Some(&state));
    let seen: Vec<_> =
        rows.iter().map(|row| (row.name.as_str(), row.state.iter().map(|s| s.word()).collect::<Vec<_>>())).collect();
    assert_eq!(
        seen,
        [
            ("ca", vec!["on disk"]),
            ("etcd-server", vec!["on disk", "served"]),
            ("scheduler.conf", vec!["on disk", "loaded"]),
            ("kubelet-client", vec!["on disk"]),
        ]
    );
    let wide = report(rows).text(true);
    assert!(wide.starts_with("NODE   CERTIFICATE "), "{wide}");
    assert!(wide.contains("on disk, loaded") && wide.contains("CAVERSION"), "{wide}");
}

/// kubeadm's own column is there too: the key of etcd's CA is not on this node.
#[test]
fn wide_shows_every_column() {
    let conf = ConfState { issuer: Some(ca(1)), not_after: 7200, ..ConfState::default() };
    let mut state = NodeState::default();
    state.loaded.scheduler = Some(ProcessState { conf: Some(conf), ..ProcessState::default() });
    let mut certificates: Vec<CertificateRow> = node_rows(None).into_iter().map(|row| row.certificate).collect();
    let mut etcd = authority("/etc/kubernetes/pki/etcd/ca.crt");
    etcd.ca_id = Some(ca(2));
    etcd.issuer_id = etcd.ca_id.clone();
    certificates.push(etcd);
    certificates[0].key_mode = Some("0600".into());
    certificates[1].issuer_id = Some(ca(2));
    for (row, subject) in certificates.iter_mut().zip(["kubernetes", "cp-1", "scheduler", "kubelet", "etcd-ca"]) {
        row.subject = format!("CN={subject}");
        row.key_algorithm = "ECDSA-P256".into();
        if row.kind == CertificateKind::Authority {
            (row.key_algorithm, row.usages) = ("RSA-4096".into(), vec!["CA".into()]);
        }
    }
    certificates[2].usages = vec!["client auth".into()];
    let facts = NodeFacts { control_plane: true, ..NodeFacts::default() };
    let mut evidence = Evidence::default();
    let view = NodeView { facts, state: Some(state) };
    evidence.add_node(Some("cp-1"), certificates, view, &BTreeMap::from([(ca(1), 1)]));
    let wide = InspectReport::new(evidence, Vec::new(), Timestamp::UNIX_EPOCH).text(true);
    insta::assert_snapshot!(wide, @r"
    NODE   CERTIFICATE      EXPIRES                RESIDUAL-TIME   CA        CAVERSION   EXTERNALLY-MANAGED   STATE             USAGE                      SUBJECT        KEY          PATH
    cp-1   etcd-server      1970-12-31T23:59:59Z   364d            etcd-ca   -           yes                  on disk           server auth, client auth   CN=cp-1        ECDSA-P256   /etc/kubernetes/pki/etcd/server.crt
    cp-1   scheduler.conf   1970-01-01T02:00:00Z   2h              ca        1           no                   on disk, loaded   client auth                CN=scheduler   ECDSA-P256   /etc/kubernetes/scheduler.conf
    cp-1   kubelet-client   1969-12-31T23:59:59Z   expired         ca        1           -                    on disk           server auth, client auth   CN=kubelet     ECDSA-P256   /var/lib/kubelet/pki/kubelet-client-current.pem

    NODE   CERTIFICATE AUTHORITY   EXPIRES                RESIDUAL-TIME   CA        CAVERSION   EXTERNALLY-MANAGED   STATE     USAGE   SUBJECT         KEY        PATH
    cp-1   ca                      1979-12-30T00:00:00Z   10y             ca        1           no                   on disk   CA      CN=kubernetes   RSA-4096   /etc/kubernetes/pki/ca.crt
    cp-1   etcd-ca                 1979-12-30T00:00:00Z   10y             etcd-ca   -           yes                  on disk   CA      CN=etcd-ca      RSA-4096   /etc/kubernetes/pki/etcd/ca.crt
    ");
}

#[test]
fn a_kubelets_serving_certificate_is_loaded_when_the_running_kubelet_has_read_it() {
    let path = "/var/lib/kubelet/pki/kubelet-server-current.pem";
    let row = certificate(path, CertificateKind::KubeletServing, 7200);
    let own = certificate("/var/lib/kubelet/pki/kubelet.crt", CertificateKind::KubeletServing, 7201);
    let leaf = LeafState { issuer: Some(ca(1)), vouched_by: Vec::new(), not_after: 7200 };
    let mut state = NodeState::default();
    state.loaded.kubelet = Some(ProcessState { serving: Some(leaf), ..ProcessState::default() });
    let rows = rows_of(Some("w-1"), vec![row, own], Some(&state), &BTreeMap::new());
    let seen: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.state.contains(&Presence::Loaded))).collect();
    assert_eq!(seen, [("kubelet-server", true), ("kubelet", false)]);
}

#[test]
fn a_certificate_loaded_before_the_file_changed_is_not_the_one_on_disk() {
    let mut state = NodeState::default();
    let conf = ConfState { issuer: Some(ca(1)), not_after: 7199, ..ConfState::default() };
    state.loaded.scheduler = Some(ProcessState { conf: Some(conf), ..ProcessState::default() });
    let rows = node_rows(Some(&state));
    assert!(rows.iter().all(|row| !row.state.contains(&Presence::Loaded)));
}

#[test]
fn a_broken_file_is_a_row_with_a_problem_and_the_others_are_there() {
    let good = certificate("/etc/kubernetes/admin.conf", CertificateKind::KubeconfigClient, YEAR);
    let bad =
        CertificateRow::broken("/etc/kubernetes/pki/apiserver.crt", 0, CertificateKind::Leaf, "no certificate".into());
    let trust = "/etc/kubernetes/admin.conf";
    let worse = CertificateRow::broken(trust, 0, CertificateKind::KubeconfigAuthority, "no PEM".into());
    let report = report(rows_of(None, vec![bad, good, worse], None, &BTreeMap::new()));
    insta::assert_snapshot!(report.text(false), @r"
    CERTIFICATE          EXPIRES                  RESIDUAL-TIME   CA   PROBLEM
    apiserver            -                        -               -    no certificate
    admin.conf           Jan 01, 1971 00:00 UTC   1y              -    -
    admin.conf (trust)   -                        -               -    no PEM
    ");
}

#[test]
fn findings_stand_below_the_tables_with_their_remedy() {
    let text = judged(node_rows(None)).text(false);
    let (_, findings) = text.split_once("10y             ca\n\n").unwrap();
    insta::assert_snapshot!(findings, @r"
    error [expired] /var/lib/kubelet/pki/kubelet-client-current.pem: the certificate expired at 1969-12-31T23:59:59Z
        run `certctl repair` on a control-plane node, with `--config` or `--ssh` for the other nodes
    warning [expiring] /etc/kubernetes/scheduler.conf: the client certificate in it expires at 1970-01-01T02:00:00Z, in 2h
        run `certctl renew scheduler.conf`
    ");
}

/// A certificate whose labels show every attribute that the tests look at.
fn labelled(path: &str, kind: CertificateKind) -> CertificateRow {
    let mut row = certificate(path, kind, YEAR);
    row.subject = "CN=kubernetes-admin,O=kubeadm:cluster-admins".into();
    row.issuer = "CN=kubernetes".into();
    row.not_before = "1970-01-01T00:00:00Z".into();
    (row.serial, row.fingerprint) = ("ff".into(), "0123456789abcdef".into());
    row
}

#[test]
fn metrics_have_the_exporters_names_and_labels() {
    let mut client = labelled("/etc/kubernetes/admin.conf", CertificateKind::KubeconfigClient);
    client.entry = Some("kubernetes-admin".into());
    let twice = [client.clone(), client];
    let bad = CertificateRow::broken("/x.crt", 0, CertificateKind::Leaf, "no certificate".into());
    let mut none = CertificateRow::broken("/token.conf", 0, CertificateKind::KubeconfigClient, "a token".into());
    none.fault = Some(Fault::NoCertificate);
    let mut rows = rows_of(Some("cp-1"), twice.to_vec(), None, &BTreeMap::new());
    rows.extend(rows_of(None, vec![bad, none], None, &BTreeMap::new()));
    let text = judged(rows).metrics(Timestamp::UNIX_EPOCH).unwrap();
    insta::assert_snapshot!(text, @r#"
    # HELP x509_cert_not_before Start of the certificate's validity, seconds since the Unix epoch.
    # TYPE x509_cert_not_before gauge
    x509_cert_not_before{embedded_key="kubernetes-admin",embedded_kind="user",filename="admin.conf",filepath="/etc/kubernetes/admin.conf",issuer_CN="kubernetes",node="cp-1",serial_number="255",subject_CN="kubernetes-admin",subject_O="kubeadm:cluster-admins"} 0
    # HELP x509_cert_not_after End of the certificate's validity, seconds since the Unix epoch.
    # TYPE x509_cert_not_after gauge
    x509_cert_not_after{embedded_key="kubernetes-admin",embedded_kind="user",filename="admin.conf",filepath="/etc/kubernetes/admin.conf",issuer_CN="kubernetes",node="cp-1",serial_number="255",subject_CN="kubernetes-admin",subject_O="kubeadm:cluster-admins"} 31536000
    # HELP x509_cert_expired 1 when the certificate's validity is over.
    # TYPE x509_cert_expired gauge
    x509_cert_expired{embedded_key="kubernetes-admin",embedded_kind="user",filename="admin.conf",filepath="/etc/kubernetes/admin.conf",issuer_CN="kubernetes",node="cp-1",serial_number="255",subject_CN="kubernetes-admin",subject_O="kubeadm:cluster-admins"} 0
    # HELP x509_cert_error 1 for a certificate that cannot be read, 0 for the others.
    # TYPE x509_cert_error gauge
    x509_cert_error{embedded_key="kubernetes-admin",embedded_kind="user",filename="admin.conf",filepath="/etc/kubernetes/admin.conf",issuer_CN="kubernetes",node="cp-1",serial_number="255",subject_CN="kubernetes-admin",subject_O="kubeadm:cluster-admins"} 0
    x509_cert_error{filename="x.crt",filepath="/x.crt"} 1
    # HELP certctl_findings Findings of certctl by kind.
    # TYPE certctl_findings gauge
    certctl_findings{id="unreadable",severity="error"} 1
    "#);
}

/// The series of `x509_cert_not_after`, without what they have in common.
fn ends(rows: Vec<InspectRow>) -> String {
    let text = report(rows).metrics(Timestamp::UNIX_EPOCH).unwrap();
    let series = text.lines().filter_map(|line| line.strip_prefix("x509_cert_not_after"));
    series.map(|line| line.replace("issuer_CN=\"kubernetes\",", "") + "\n").collect()
}

#[test]
fn metrics_name_every_object_as_the_exporter_does() {
    let mut trust = labelled("/etc/kubernetes/admin.conf", CertificateKind::KubeconfigAuthority);
    trust.entry = Some("prod".into());
    let objects = [
        "secret/ns/ci",
        "configmap/a/kube-root-ca.crt",
        "configmap/kube-public/cluster-info",
        "configmap/kube-system/extension-apiserver-authentication/client-ca-file",
        "apiservice/v1.metrics",
        "customresourcedefinition/things.example.org",
        "mutatingwebhookconfiguration/defaults/pods.example.org",
        "validatingwebhookconfiguration/policy/pods.example.org",
    ];
    let mut certificates = vec![trust];
    certificates.extend(objects.map(|path| labelled(path, CertificateKind::Trust)));
    for row in &mut certificates {
        row.subject = String::new();
    }
    let mut rows = rows_of(None, certificates, None, &BTreeMap::new());
    // Merged in the table, but the exporter has a series for each of them.
    rows[2].also = vec!["configmap/b/kube-root-ca.crt".into()];
    insta::assert_snapshot!(ends(rows), @r#"
    {cabundle_entry="pods.example.org",cabundle_resource_kind="MutatingWebhookConfiguration",cabundle_resource_name="defaults",serial_number="255"} 31536000
    {cabundle_entry="pods.example.org",cabundle_resource_kind="ValidatingWebhookConfiguration",cabundle_resource_name="policy",serial_number="255"} 31536000
    {cabundle_resource_kind="APIService",cabundle_resource_name="v1.metrics",serial_number="255"} 31536000
    {cabundle_resource_kind="CustomResourceDefinition",cabundle_resource_name="things.example.org",serial_number="255"} 31536000
    {configmap_key="ca.crt",configmap_name="kube-root-ca.crt",configmap_namespace="a",serial_number="255"} 31536000
    {configmap_key="ca.crt",configmap_name="kube-root-ca.crt",configmap_namespace="b",serial_number="255"} 31536000
    {configmap_key="client-ca-file",configmap_name="extension-apiserver-authentication",configmap_namespace="kube-system",serial_number="255"} 31536000
    {configmap_key="kubeconfig",configmap_name="cluster-info",configmap_namespace="kube-public",serial_number="255"} 31536000
    {embedded_key="prod",embedded_kind="cluster",filename="admin.conf",filepath="/etc/kubernetes/admin.conf",serial_number="255"} 31536000
    {secret_key="ca.crt",secret_name="ci",secret_namespace="ns",serial_number="255"} 31536000
    "#);
}

#[test]
fn certificates_with_the_same_labels_stay_series_of_their_own() {
    let first = labelled("/x.crt", CertificateKind::Leaf);
    let mut second = first.clone();
    (second.fingerprint, second.not_after_seconds) = ("fedcba9876543210".into(), 2 * YEAR);
    let text = ends(rows_of(None, vec![first, second], None, &BTreeMap::new()));
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("discriminator=\"01234567\"") && text.contains("discriminator=\"fedcba98\""), "{text}");
}

#[test]
fn junit_has_a_case_per_certificate_and_says_what_failed() {
    let good = certificate("/a&b.crt", CertificateKind::Leaf, YEAR);
    let bad = CertificateRow::broken("/x.crt", 1, CertificateKind::Leaf, "<no> \u{1} certificate".into());
    let rows = rows_of(None, vec![good, bad], None, &BTreeMap::new());
    insta::assert_snapshot!(judged(rows).junit().unwrap(), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites tests="2" failures="1">
    <testsuite name="certctl" tests="2" failures="1">
    <testcase classname="certificates" name="/a&amp;b.crt"/>
    <testcase classname="certificates" name="/x.crt [1]">
    <failure type="unreadable" message="error: &lt;no&gt; � certificate">put the file back from a back-up, or have it made anew</failure>
    </testcase>
    </testsuite>
    </testsuites>
    "#);
}

#[test]
fn markdown_has_every_table() {
    let text = judged(node_rows(None)).markdown();
    assert_eq!(text.lines().filter(|line| line.starts_with("| --- ")).count(), 3, "{text}");
    assert!(text.contains("| CERTIFICATE AUTHORITY | EXPIRES |") && text.contains("| error | expired |"), "{text}");
}

#[test]
fn what_is_printed_as_json_fits_the_schema() {
    let rows = node_rows(None);
    let edges = crate::inspection::edges(&rows);
    assert!(!edges.is_empty());
    fits(&judged(node_rows(None)));
    fits(&CheckReport::new(judged(rows)));
    fits(&MapReport { edges });
}
