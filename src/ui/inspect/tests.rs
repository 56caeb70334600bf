//! Rows made by hand: the view needs no real certificate.

use super::*;
use crate::plan::{EndpointState, LeafState, ProcessState};

const YEAR: i64 = 365 * 86_400;

fn certificate(path: &str, kind: CertificateKind, not_after: i64) -> CertificateRow {
    let mut row = CertificateRow::broken(path, 0, kind, String::new());
    row.problem = None;
    row.issuer_id = Some(CaId::planned("1"));
    row.not_after_seconds = not_after;
    row.not_after = Timestamp::from_second(not_after).unwrap().to_string();
    row.serial = format!("{not_after:x}");
    row
}

fn authority(path: &str) -> CertificateRow {
    let mut row = certificate(path, CertificateKind::Authority, 10 * YEAR);
    row.ca_id = Some(CaId::planned("1"));
    row
}

fn report(rows: Vec<InspectRow>) -> InspectReport {
    InspectReport::new(rows, Timestamp::UNIX_EPOCH)
}

fn node_rows(state: Option<&NodeState>) -> Vec<InspectRow> {
    let certificates = [
        authority("/etc/kubernetes/pki/ca.crt"),
        certificate("/etc/kubernetes/pki/etcd/server.crt", CertificateKind::Leaf, YEAR - 1),
        certificate("/etc/kubernetes/scheduler.conf", CertificateKind::KubeconfigClient, 7200),
        certificate("/var/lib/kubelet/pki/kubelet-client-current.pem", CertificateKind::KubeletClient, -1),
    ];
    rows_of(state.map(|_| "cp-1"), &certificates, state, &BTreeMap::from([(CaId::planned("1"), 1)]))
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
    let conf = ConfState { issuer: Some(CaId::planned("1")), not_after: 7200, ..ConfState::default() };
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

#[test]
fn a_kubelets_serving_certificate_is_loaded_when_the_running_kubelet_has_read_it() {
    let path = "/var/lib/kubelet/pki/kubelet-server-current.pem";
    let row = certificate(path, CertificateKind::KubeletServing, 7200);
    let own = certificate("/var/lib/kubelet/pki/kubelet.crt", CertificateKind::KubeletServing, 7201);
    let leaf = LeafState { issuer: Some(CaId::planned("1")), vouched_by: Vec::new(), not_after: 7200 };
    let mut state = NodeState::default();
    state.loaded.kubelet = Some(ProcessState { serving: Some(leaf), ..ProcessState::default() });
    let rows = rows_of(Some("w-1"), &[row, own], Some(&state), &BTreeMap::new());
    let seen: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.state.contains(&Presence::Loaded))).collect();
    assert_eq!(seen, [("kubelet-server", true), ("kubelet", false)]);
}

#[test]
fn a_certificate_loaded_before_the_file_changed_is_not_the_one_on_disk() {
    let mut state = NodeState::default();
    let conf = ConfState { issuer: Some(CaId::planned("1")), not_after: 7199, ..ConfState::default() };
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
    let report = report(rows_of(None, &[bad, good, worse], None, &BTreeMap::new()));
    assert_eq!(report.problems(), 2);
    insta::assert_snapshot!(report.text(false), @r"
    CERTIFICATE          EXPIRES                  RESIDUAL-TIME   CA   PROBLEM
    apiserver            -                        -               -    no certificate
    admin.conf           Jan 01, 1971 00:00 UTC   1y              -    -
    admin.conf (trust)   -                        -               -    no PEM
    ");
}
