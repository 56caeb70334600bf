//! More than a thousand broken files, each in the place of a good one: nothing panics, and the rows of all other files stay.

use std::collections::BTreeMap;

use super::*;
use crate::inspection::{Evidence, NodeView, findings, rows_of};
use crate::pki::Kubeconfig;

/// Files to break, and how often each is broken at random.
const TARGETS: [&str; 8] = [
    "/etc/kubernetes/pki/apiserver.crt",
    "/etc/kubernetes/pki/etcd/ca.crt",
    "/etc/kubernetes/pki/etcd/peer.key",
    "/etc/kubernetes/scheduler.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/manifests/kube-controller-manager.yaml",
    "/var/lib/kubelet/config.yaml",
];
const TIMES: usize = 130;

fn without(path: &str, rows: &[CertificateRow]) -> Vec<CertificateRow> {
    let own = |row: &CertificateRow| row.path == path || row.path.replace(".crt", ".key") == path;
    let mut rows: Vec<CertificateRow> = rows.iter().filter(|row| !own(row)).cloned().collect();
    if path.ends_with("ca.crt") {
        // Who signed the others cannot be known then.
        rows.iter_mut().for_each(|row| row.issuer_id = None);
    }
    rows
}

#[test]
fn a_thousand_broken_files_hide_nothing_and_stop_nobody() {
    let fixture = Fixture::new();
    fixture.write(
        "/var/lib/kubelet/config.yaml",
        "kind: KubeletConfiguration\nrotateCertificates: true\nport: 10250\n",
        0o644,
    );
    let good = read_disk(&fixture.layout, &[]).rows;
    assert!(good.iter().all(|row| row.problem.is_none()), "{good:#?}");
    let (mut count, mut noticed) = (0, 0);
    for path in TARGETS {
        let content = fs::read(fixture.layout.path(path)).unwrap();
        for (name, input) in damage::broken(path, &content, TIMES) {
            fs::write(fixture.layout.path(path), &input).unwrap();
            let reading = read_disk(&fixture.layout, &[]);
            let shown = String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
            assert_eq!(without(path, &reading.rows), without(path, &good), "{path}: {name}: {shown}");
            noticed += usize::from(reading.rows != good);
            judge(&reading, fixture.now);
            let _ = CertificateRequest::from_pem(&input);
            let _ = String::from_utf8(input).map(|text| Kubeconfig::parse(&text));
            count += 1;
        }
        fs::write(fixture.layout.path(path), content).unwrap();
    }
    assert_eq!(read_disk(&fixture.layout, &[]).rows, good);
    assert!(count >= 1000, "{count} inputs");
    // Manifests have no rows, and some changes are harmless; half of all being seen shows that the inputs are broken indeed.
    assert!(noticed * 2 > count, "{noticed} of {count} were noticed");
}

/// Whatever was read can be judged.
fn judge(reading: &DiskReading, now: jiff::Timestamp) {
    let rows = rows_of(None, reading.rows.clone(), None, &BTreeMap::new());
    let view = NodeView { facts: reading.facts.clone(), state: None };
    let evidence = Evidence { rows, nodes: BTreeMap::from([(String::new(), view)]), ..Evidence::default() };
    let _ = findings(&evidence, None, now);
}
