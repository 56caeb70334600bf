//! What is seen of a node, also of a broken one.

use super::*;
use crate::pki::KeyAlgorithm;
use crate::plan::Fault;

#[test]
fn a_stock_node_is_read_whole() {
    let fixture = Fixture::new();
    let reading = read_disk(&fixture.layout, &[]);
    let (state, ca) = (&reading.state, fixture.ca_id());
    assert_eq!(state.ca_bundle, std::slice::from_ref(&ca));
    assert_eq!(state.ca_key.as_ref(), Some(&ca));
    assert_eq!(state.kubelet_client.as_ref(), Some(&ca));
    assert_eq!(state.leaves.len(), 2);
    assert!(state.leaves.values().all(|leaf| leaf.issuer.as_ref() == Some(&ca) && leaf.vouched_by.is_empty()));
    assert_eq!(state.confs.len(), 4);
    assert_eq!(state.confs[&Conf::Admin].trust, std::slice::from_ref(&ca));
    assert_eq!(state.confs[&Conf::Kubelet].issuer, None);
    assert!(state.kept.is_empty() && state.signer_file.is_none() && !state.own_signer);
    // 10 under pki, 3 confs with client and CA, kubelet.conf with CA only, the kubelet's client certificate.
    assert_eq!(reading.rows.len(), 18);
    assert!(reading.rows.iter().all(|row| row.problem.is_none()), "{:#?}", reading.rows);
    assert!(reading.rows.iter().all(|row| row.issuer_id.is_some()));
    let row = reading.rows.iter().find(|row| row.path.ends_with("etcd/server.crt")).unwrap();
    assert_eq!((row.key_mode.as_deref(), row.sans.len()), (Some("0600"), 2));
    let entries = reading.rows.iter().filter(|row| row.path == "/etc/kubernetes/scheduler.conf");
    let entries: Vec<_> = entries.map(|row| row.entry.as_deref()).collect();
    assert_eq!(
        entries,
        [Some("system:kube-scheduler"), Some("kubernetes")],
        "the user of the client, the cluster of the CA"
    );
    assert!(reading.rows.iter().all(|row| row.entry.is_some() == row.path.ends_with(".conf")));
    let json = serde_json::to_string(&reading.rows).unwrap();
    assert!(!json.contains("PRIVATE"));
    assert_eq!(serde_json::from_str::<Vec<CertificateRow>>(&json).unwrap(), reading.rows);
}

/// Whoever works with the key takes it from its place: a link out of the agent's view of the node leads nowhere.
#[test]
fn a_ca_key_counts_where_it_can_be_worked_with() {
    let fixture = Fixture::new();
    let (ca, key) = (fixture.ca_id(), fixture.layout.path("/etc/kubernetes/pki/ca.key"));
    let elsewhere = fixture.layout.path("/etc/kubernetes/secure/ca.key");
    fs::create_dir(elsewhere.parent().unwrap()).unwrap();
    fs::rename(&key, &elsewhere).unwrap();
    std::os::unix::fs::symlink("/etc/kubernetes/secure/ca.key", &key).unwrap();
    assert_eq!(read_disk(&fixture.layout, &[]).state.ca_key, None);
    fs::remove_file(&key).unwrap();
    std::os::unix::fs::symlink("../secure/ca.key", &key).unwrap();
    assert_eq!(read_disk(&fixture.layout, &[]).state.ca_key.as_ref(), Some(&ca));
    fs::remove_file(fixture.layout.path("/etc/kubernetes/pki/ca.crt")).unwrap();
    assert_eq!(read_disk(&fixture.layout, &[]).state.ca_key.as_ref(), Some(&ca), "without its certificate");
}

#[test]
fn one_broken_file_hides_nothing_else() {
    let fixture = Fixture::new();
    fixture.write("/etc/kubernetes/pki/apiserver.crt", "garbage", 0o644);
    fixture.write("/etc/kubernetes/scheduler.conf", ": [", 0o600);
    let key = PrivateKey::generate(ALGORITHM).unwrap();
    fixture.write("/etc/kubernetes/pki/etcd/peer.key", &key.to_pem(), 0o640);
    let reading = read_disk(&fixture.layout, &[]);
    let problems: Vec<_> =
        reading.rows.iter().filter(|row| row.problem.is_some()).map(|row| row.path.as_str()).collect();
    let expected =
        ["/etc/kubernetes/pki/apiserver.crt", "/etc/kubernetes/pki/etcd/peer.crt", "/etc/kubernetes/scheduler.conf"];
    assert_eq!(problems, expected);
    assert_eq!(reading.state.leaves.len(), 1);
    assert_eq!(reading.state.ca_bundle.len(), 1);
    let peer = reading.rows.iter().find(|row| row.path.ends_with("peer.crt")).unwrap();
    assert_eq!(peer.key_mode.as_deref(), Some("0640"));
}

/// Its process goes on with the key that it has in memory; a rotation would stop half-way.
#[test]
fn an_rsa_key_with_a_damaged_exponent_is_no_key() {
    let fixture = Fixture::new();
    let key = PrivateKey::generate(KeyAlgorithm::Rsa2048).unwrap();
    let leaf = fixture.ca.issue_client("peer", &[], key.spki_der(), YEAR, fixture.now).unwrap();
    fixture.write("/etc/kubernetes/pki/etcd/peer.crt", &leaf.to_pem(), 0o644);
    let fault = |pem: &str| {
        fixture.write("/etc/kubernetes/pki/etcd/peer.key", pem, 0o600);
        let reading = read_disk(&fixture.layout, &[]);
        reading.rows.iter().find(|row| row.path.ends_with("peer.crt")).unwrap().fault
    };
    let pem = key.to_pem();
    assert_eq!(fault(&pem), None);
    // The private exponent is the fourth of nine numbers: in the eighth of two dozen lines.
    let lines: Vec<&str> = pem.lines().collect();
    let exponent: String = lines[8].chars().rev().collect();
    let damaged: String =
        lines.iter().map(|line| format!("{}\n", if *line == lines[8] { exponent.as_str() } else { line })).collect();
    assert_eq!(fault(&damaged), Some(Fault::KeyUnreadable));
}

#[test]
fn one_broken_block_in_a_bundle_leaves_the_others() {
    let fixture = Fixture::new();
    let good = fixture.ca.certificate().to_pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fixture.write(CA_CERT, &format!("{broken}{good}"), 0o644);
    let reading = read_disk(&fixture.layout, &[]);
    assert_eq!(reading.state.ca_bundle, [fixture.ca_id()]);
    let rows: Vec<_> = reading.rows.iter().filter(|row| row.path == CA_CERT).collect();
    assert_eq!((rows.len(), rows[0].problem.is_some(), rows[1].problem.is_some()), (2, true, false));
}

#[test]
fn an_unknown_issuer_is_none_and_a_ca_of_the_same_name_is_not_mistaken_for_it() {
    let fixture = Fixture::new();
    let stranger = authority("kubernetes", fixture.now);
    fixture.write(CA_CERT, &stranger.certificate().to_pem(), 0o644);
    let reading = read_disk(&fixture.layout, &[]);
    assert_eq!(reading.state.leaves[&Leaf::Apiserver].issuer, None);
    // Told by the caller, it is known.
    let reading = read_disk(&fixture.layout, &[fixture.ca.certificate().clone()]);
    assert_eq!(reading.state.leaves[&Leaf::Apiserver].issuer, Some(fixture.ca_id()));
}

#[test]
fn a_manifest_that_is_only_parked_goes_back_in() {
    let fixture = Fixture::new();
    let layout = &fixture.layout;
    let kcm = Component::KubeControllerManager;
    fs::create_dir_all(layout.parked(kcm).parent().unwrap()).unwrap();
    let original = fs::read_to_string(layout.manifest(kcm)).unwrap();
    // Out, crash.
    fs::rename(layout.manifest(kcm), layout.parked(kcm)).unwrap();
    assert!(layout.is_control_plane());
    assert_eq!(StaticPods::recover(layout).unwrap(), [kcm]);
    assert_eq!(fs::read_to_string(layout.manifest(kcm)).unwrap(), original);
    // Out, edited, crash: the edited one.
    fs::rename(layout.manifest(kcm), layout.parked(kcm)).unwrap();
    fs::write(layout.parked_edited(kcm), "edited").unwrap();
    assert_eq!(StaticPods::recover(layout).unwrap(), [kcm]);
    assert_eq!(fs::read_to_string(layout.manifest(kcm)).unwrap(), "edited");
    assert!(!layout.parked(kcm).exists() && !layout.parked_edited(kcm).exists());
    // In, crash before the parked one was removed.
    fs::write(layout.parked(kcm), "old").unwrap();
    assert!(StaticPods::recover(layout).unwrap().is_empty());
    assert_eq!(fs::read_to_string(layout.manifest(kcm)).unwrap(), "edited");
    assert!(!layout.parked(kcm).exists());
}

#[tokio::test]
async fn a_node_without_runtime_and_systemd_is_still_read() {
    let fixture = Fixture::new();
    let half = ".certctl-tmp.ca.key.1.0";
    for folder in
        ["/etc/kubernetes/pki", "/var/lib/certctl/authorities", "/var/lib/certctl/backup/ca-2/etc/kubernetes/pki"]
    {
        fixture.write(&format!("{folder}/{half}"), "half", 0o600);
    }
    let node = Node::open(fixture.root.path());
    node.recover().unwrap();
    assert!(fixture.files().iter().all(|file| !file.contains("certctl-tmp")));
    let observation = node.observe(&[]).await.unwrap();
    assert!(observation.state.control_plane && observation.state.loaded.kubelet.is_none());
    assert_eq!(observation.problems.len(), 3, "{:?}", observation.problems);
    let error = run(
        &fixture,
        &Authorities::open(&fixture.layout),
        &silent(),
        &Op::RestartStaticPod { component: Component::KubeScheduler, own_signer: None, during: Vec::new() },
    )
    .await
    .unwrap_err();
    assert!(matches!(error, NodeError::Cri { .. }), "nothing is moved when the runtime does not answer: {error}");
}

#[tokio::test]
async fn a_manifest_that_cannot_be_pointed_at_a_signing_file_is_told_beforehand_and_not_written() {
    let fixture = Fixture::new();
    let node = Node::open(fixture.root.path());
    let place = "/etc/kubernetes/manifests/kube-controller-manager.yaml";
    let stock = fixture.read(place);
    assert_eq!(node.signer_problem(), None);
    assert_eq!(fixture.read(place), stock);
    fixture.write(place, &stock.replace("cluster-signing-key-file", "cluster-signing-legacy-unknown-key-file"), 0o600);
    let problem = node.signer_problem().unwrap();
    assert!(problem.contains("--cluster-signing-key-file"), "{problem}");
    fs::remove_file(fixture.layout.path(place)).unwrap();
    assert_eq!(node.signer_problem(), None, "a worker");
}
