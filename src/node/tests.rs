//! The file side of the node, against a kubeadm layout in a temporary folder.

use std::fs;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;

use super::fixture::{ALGORITHM, Fixture, YEAR, authority, keep_new, run, run_in, silent};
use super::layout::{CA_CERT, KUBELET_CLIENT, KUBELET_SERVER, SIGNER};
use super::*;
use crate::pki::{CaId, Certificate, CertificateRequest, PrivateKey};
use crate::plan::{Component, Conf, Leaf, Op};

/// CA 2 staged on the node: kept, cross-signed both ways, the old CA kept too.
fn stage(fixture: &Fixture) -> (Authorities, CaId) {
    let mut authorities = Authorities::open(&fixture.layout);
    let old = authorities.import_stock().unwrap().unwrap();
    let new = keep_new(fixture, &mut authorities);
    let (one, two) = (authorities.authority(&old).unwrap(), authorities.authority(&new).unwrap());
    let cross = one.cross_sign(two.certificate(), fixture.now).unwrap();
    authorities.know_cross(cross);
    authorities.know_cross(two.cross_sign(one.certificate(), fixture.now).unwrap());
    (authorities, new)
}

async fn applied(fixture: &Fixture, authorities: &Authorities, op: &Op) {
    run(fixture, authorities, &silent(), op).await.unwrap();
}

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
    let json = serde_json::to_string(&reading.rows).unwrap();
    assert!(!json.contains("PRIVATE"));
    assert_eq!(serde_json::from_str::<Vec<CertificateRow>>(&json).unwrap(), reading.rows);
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
fn authorities_are_kept_private_and_found_again() {
    let fixture = Fixture::new();
    let (authorities, new) = stage(&fixture);
    let mut both = vec![fixture.ca_id(), new.clone()];
    both.sort();
    assert_eq!(authorities.kept(), both);
    assert_eq!(read_disk(&fixture.layout, &[]).state.kept, both);
    assert_eq!(fixture.mode("/var/lib/certctl/authorities"), 0o700);
    for file in fixture.files().iter().filter(|file| file.starts_with("/var/lib/certctl/authorities")) {
        assert_eq!(fixture.mode(file), 0o600, "{file}");
    }
    assert!(authorities.cross(&new, &fixture.ca_id()).is_ok() && authorities.cross(&fixture.ca_id(), &new).is_ok());
    let mut authorities = authorities;
    authorities.remove(&new).unwrap();
    assert_eq!(Authorities::open(&fixture.layout).kept(), [fixture.ca_id()]);
    assert!(matches!(authorities.cross(&new, &fixture.ca_id()), Err(NodeError::NoCross { .. })));
    assert!(fixture.files().iter().all(|file| !file.contains(new.as_str())));
}

#[tokio::test]
async fn a_leaf_is_reissued_over_its_own_key_with_the_cross_behind_it() {
    let fixture = Fixture::new();
    let (authorities, new) = stage(&fixture);
    let key = fixture.read("/etc/kubernetes/pki/apiserver.key");
    let old = fixture.read("/etc/kubernetes/pki/apiserver.crt");
    let op = Op::ReissueLeaf { leaf: Leaf::Apiserver, issuer: new.clone(), vouched_by: vec![fixture.ca_id()] };
    applied(&fixture, &authorities, &op).await;
    let state = read_disk(&fixture.layout, &[]).state;
    assert_eq!(state.leaves[&Leaf::Apiserver].issuer, Some(new.clone()));
    assert_eq!(state.leaves[&Leaf::Apiserver].vouched_by, [fixture.ca_id()]);
    assert_eq!(fixture.read("/etc/kubernetes/pki/apiserver.key"), key, "only the certificate is replaced");
    let chain = fixture.certificates("/etc/kubernetes/pki/apiserver.crt");
    assert_eq!(chain[0].dns_names(), ["kubernetes"]);
    let ders: Vec<_> = chain.iter().map(Certificate::rustls_der).collect();
    for trusted in [fixture.ca.certificate(), authorities.certificate(&new).unwrap()] {
        crate::pki::verify(&ders, std::slice::from_ref(trusted), crate::pki::Usage::Server, fixture.now).unwrap();
    }
    assert_eq!(fixture.read("/var/lib/certctl/backup/r1/etc/kubernetes/pki/apiserver.crt"), old);
    // Again: nothing changes, also not the serial number.
    let before = fixture.read("/etc/kubernetes/pki/apiserver.crt");
    applied(&fixture, &authorities, &op).await;
    assert_eq!(fixture.read("/etc/kubernetes/pki/apiserver.crt"), before);
    // Without the cross only the chain changes.
    let bare = Op::ReissueLeaf { leaf: Leaf::Apiserver, issuer: new, vouched_by: Vec::new() };
    applied(&fixture, &authorities, &bare).await;
    assert_eq!(fixture.read("/etc/kubernetes/pki/apiserver.crt"), chain[0].to_pem());
    assert_eq!(
        fixture.read("/var/lib/certctl/backup/r1/etc/kubernetes/pki/apiserver.crt"),
        old,
        "the first version stays"
    );
}

#[tokio::test]
async fn a_kubeconfig_gets_a_new_key_only_with_a_new_issuer() {
    let fixture = Fixture::new();
    let (authorities, new) = stage(&fixture);
    let both = vec![fixture.ca_id(), new.clone()];
    let old = fixture.kubeconfig(Conf::Admin).client_certificate().unwrap();
    let widen = Op::WriteConf { conf: Conf::Admin, issuer: Some(fixture.ca_id()), trust: both.clone() };
    applied(&fixture, &authorities, &widen).await;
    let widened = fixture.kubeconfig(Conf::Admin);
    assert_eq!(widened.client_certificate().unwrap().fingerprint(), old.fingerprint());
    let op = Op::WriteConf { conf: Conf::Admin, issuer: Some(new.clone()), trust: both.clone() };
    applied(&fixture, &authorities, &op).await;
    let state = read_disk(&fixture.layout, &[]).state;
    assert_eq!((state.confs[&Conf::Admin].issuer.clone(), state.confs[&Conf::Admin].trust.clone()), (Some(new), both));
    let after = fixture.kubeconfig(Conf::Admin);
    let client = after.client_certificate().unwrap();
    assert_eq!((client.subject(), client.not_after()), (old.subject(), old.not_after()));
    assert!(after.client_key().unwrap().matches(&client) && !after.client_key().unwrap().matches(&old));
    assert_eq!(fixture.mode("/etc/kubernetes/admin.conf"), 0o600);
    let before = fixture.read("/etc/kubernetes/admin.conf");
    applied(&fixture, &authorities, &op).await;
    assert_eq!(fixture.read("/etc/kubernetes/admin.conf"), before);
}

#[tokio::test]
async fn kubelet_conf_changes_its_trust_and_keeps_referring_to_its_file() {
    let fixture = Fixture::new();
    let (authorities, new) = stage(&fixture);
    let op = Op::WriteConf { conf: Conf::Kubelet, issuer: None, trust: vec![fixture.ca_id(), new] };
    applied(&fixture, &authorities, &op).await;
    let kubeconfig = fixture.kubeconfig(Conf::Kubelet);
    assert_eq!(kubeconfig.client_certificate_file().as_deref(), Some(KUBELET_CLIENT));
    assert_eq!(kubeconfig.ca_data().unwrap().len(), 2);
}

#[tokio::test]
async fn signer_bundle_and_key_switch_and_the_old_key_is_kept_first() {
    let fixture = Fixture::new();
    let mut authorities = Authorities::open(&fixture.layout);
    let new = keep_new(&fixture, &mut authorities);
    applied(&fixture, &authorities, &Op::WriteSigner(new.clone())).await;
    assert_eq!(fixture.mode(SIGNER), 0o600);
    applied(&fixture, &authorities, &Op::WriteBundle(vec![new.clone(), fixture.ca_id()])).await;
    assert_eq!(fixture.mode(CA_CERT), 0o644);
    applied(&fixture, &authorities, &Op::WriteCaKey(new.clone())).await;
    let state = read_disk(&fixture.layout, &[]).state;
    assert_eq!((state.signer_file, state.ca_key), (Some(new.clone()), Some(new.clone())));
    assert_eq!(state.ca_bundle, [new, fixture.ca_id()]);
    let kept = Authorities::open(&fixture.layout);
    assert!(kept.authority(&fixture.ca_id()).is_ok(), "the replaced key is kept");
    for file in fixture.files().iter().filter(|file| file.starts_with("/var/lib/certctl/")) {
        assert_eq!(fixture.mode(file), 0o600, "{file}");
    }
}

#[tokio::test]
async fn the_signer_goes_only_when_nobody_signs_with_it() {
    let fixture = Fixture::new();
    let (authorities, new) = stage(&fixture);
    applied(&fixture, &authorities, &Op::WriteSigner(new)).await;
    let place = "/etc/kubernetes/manifests/kube-controller-manager.yaml";
    let stock = fixture.read(place);
    fixture.write(place, &manifest::with_kcm_signer(&stock, true).unwrap(), 0o600);
    assert!(read_disk(&fixture.layout, &[]).state.own_signer);
    let error = run(&fixture, &authorities, &silent(), &Op::RemoveSigner).await.unwrap_err();
    assert!(error.to_string().contains("still signs with it"), "{error}");
    fixture.write(place, &stock, 0o600);
    applied(&fixture, &authorities, &Op::RemoveSigner).await;
    applied(&fixture, &authorities, &Op::RemoveSigner).await;
    assert!(!fixture.layout.path(SIGNER).exists());
    let journal = fixture.read("/var/lib/certctl/journal");
    assert_eq!(journal.lines().count(), 8);
    assert!(journal.lines().nth(3).unwrap().contains("\"event\":\"failed\""), "{journal}");
}

#[tokio::test]
async fn the_kubelet_client_is_signed_here_when_the_key_is_here() {
    let fixture = Fixture::new();
    let (authorities, new) = stage(&fixture);
    applied(&fixture, &authorities, &Op::ReissueKubeletClient(new.clone())).await;
    let link = fs::read_link(fixture.layout.path(KUBELET_CLIENT)).unwrap();
    assert_eq!(link.to_str(), Some("/var/lib/kubelet/pki/kubelet-client-2026-11-22-20-00-00.pem"));
    let state = read_disk(&fixture.layout, &[]).state;
    assert_eq!(state.kubelet_client, Some(new.clone()));
    assert_eq!(fixture.mode(link.to_str().unwrap()), 0o600);
    let pair = fixture.read(link.to_str().unwrap());
    let client = Certificate::first_from_pem(pair.as_bytes()).unwrap();
    assert!(PrivateKey::from_pem(pair.as_bytes()).unwrap().matches(&client));
    assert_eq!(client.subject(), fixture_subject());
    assert!(fixture.read("/var/lib/certctl/history.json").contains(&client.fingerprint()));
    applied(&fixture, &authorities, &Op::ReissueKubeletClient(new)).await;
    assert_eq!(fixture.read(link.to_str().unwrap()), pair);
}

fn fixture_subject() -> String {
    "CN=system:node:cp-1,O=system:nodes".to_owned()
}

#[tokio::test]
async fn on_a_worker_the_kubelet_client_comes_from_the_cluster_and_a_wrong_one_is_refused() {
    let fixture = Fixture::new();
    let two = authority("kubernetes", fixture.now);
    let mut authorities = Authorities::open(&fixture.layout);
    authorities.know(two.certificate().clone());
    let id = two.certificate().ca_id();
    let asked = Arc::new(Mutex::new(Vec::new()));
    // A certificate of the right CA over another key.
    let key = PrivateKey::generate(ALGORITHM).unwrap();
    let wrong = two.issue_client("system:node:cp-1", &[], key.spki_der(), YEAR, fixture.now).unwrap().to_pem();
    let seen = Arc::clone(&asked);
    let callbacks = Callbacks {
        sign_kubelet_client: Box::new(move |request| {
            seen.lock().unwrap().push(request);
            let wrong = wrong.clone();
            async move { Ok(wrong) }.boxed()
        }),
        ..silent()
    };
    let before = fs::read_link(fixture.layout.path(KUBELET_CLIENT)).unwrap();
    let error = run(&fixture, &authorities, &callbacks, &Op::ReissueKubeletClient(id.clone())).await.unwrap_err();
    assert!(error.to_string().contains("kubelet-client-current"), "{error}");
    assert!(asked.lock().unwrap()[0].contains("CERTIFICATE REQUEST"));
    assert_eq!(fs::read_link(fixture.layout.path(KUBELET_CLIENT)).unwrap(), before);
    let refused = run(&fixture, &authorities, &silent(), &Op::ReissueKubeletClient(id)).await.unwrap_err();
    assert!(std::error::Error::source(&refused).unwrap().to_string().contains("nobody signs here"));
}

#[test]
fn a_serving_certificate_counts_only_when_a_ca_of_the_cluster_signed_it() {
    let fixture = Fixture::new();
    fixture.kubelet_serving(&fixture.ca);
    let reading = read_disk(&fixture.layout, &[]);
    let serving = reading.state.kubelet_serving.unwrap();
    assert_eq!((serving.issuer, serving.vouched_by), (Some(fixture.ca_id()), Vec::new()));
    assert_eq!(serving.not_after, (fixture.now + YEAR).as_second());
    let row = reading.rows.iter().find(|row| row.path == KUBELET_SERVER).unwrap();
    assert_eq!((row.kind, row.key_mode.as_deref()), (CertificateKind::KubeletServing, Some("0600")));
    assert_eq!(row.sans, ["cp-1", "10.0.0.1"]);

    let other = Fixture::new();
    other.kubelet_serving(&authority("kubernetes", other.now));
    let reading = read_disk(&other.layout, &[]);
    assert_eq!(reading.state.kubelet_serving, None);
    assert!(reading.rows.iter().any(|row| row.path == KUBELET_SERVER), "it is shown all the same");
}

#[tokio::test]
async fn the_kubelets_serving_certificate_keeps_its_names_and_gets_the_cross_behind_it() {
    let fixture = Fixture::new();
    fixture.kubelet_serving(&fixture.ca);
    let (authorities, new) = stage(&fixture);
    let old = fixture.certificates(KUBELET_SERVER_FIRST).remove(0);
    let op = Op::ReissueKubeletServing { issuer: new.clone(), vouched_by: vec![fixture.ca_id()] };
    applied(&fixture, &authorities, &op).await;
    let link = fs::read_link(fixture.layout.path(KUBELET_SERVER)).unwrap();
    assert_eq!(link.to_str(), Some("/var/lib/kubelet/pki/kubelet-server-2026-11-22-20-00-00.pem"));
    let link = link.to_str().unwrap();
    assert_eq!(fixture.mode(link), 0o600);
    let serving = read_disk(&fixture.layout, &[]).state.kubelet_serving.unwrap();
    assert_eq!((serving.issuer, serving.vouched_by), (Some(new.clone()), vec![fixture.ca_id()]));
    let chain = fixture.certificates(link);
    assert_eq!(
        (chain[0].subject_der(), chain[0].dns_names(), chain[0].ip_addresses()),
        (old.subject_der(), old.dns_names(), old.ip_addresses())
    );
    assert_eq!(chain[0].not_after(), old.not_after(), "a lifetime as long as before, from now on");
    let key = PrivateKey::from_pem(fixture.read(link).as_bytes()).unwrap();
    assert!(key.matches(&chain[0]) && !key.matches(&old), "a new key, in the same file");
    let ders: Vec<_> = chain.iter().map(Certificate::rustls_der).collect();
    for trusted in [fixture.ca.certificate(), authorities.certificate(&new).unwrap()] {
        crate::pki::verify(&ders, std::slice::from_ref(trusted), crate::pki::Usage::Server, fixture.now).unwrap();
    }
    assert!(
        fixture.read("/var/lib/certctl/history.json").contains(&chain[0].fingerprint()),
        "written by certctl, not by the kubelet"
    );
    assert!(fixture.layout.path(&format!("/var/lib/certctl/backup/r1{KUBELET_SERVER_FIRST}")).exists());
    // Again: nothing changes.
    let pair = fixture.read(link);
    applied(&fixture, &authorities, &op).await;
    assert_eq!(fixture.read(link), pair);
}

const KUBELET_SERVER_FIRST: &str = "/var/lib/kubelet/pki/kubelet-server-2026-01-01-00-00-00.pem";

#[tokio::test]
async fn on_a_worker_the_serving_certificate_is_asked_for_with_the_same_names_and_without_approval_nothing_changes() {
    let fixture = Fixture::new();
    fixture.kubelet_serving(&fixture.ca);
    let two = authority("kubernetes", fixture.now);
    let mut authorities = Authorities::open(&fixture.layout);
    authorities.know(two.certificate().clone());
    let op = Op::ReissueKubeletServing { issuer: two.certificate().ca_id(), vouched_by: Vec::new() };
    let before = fs::read_link(fixture.layout.path(KUBELET_SERVER)).unwrap();
    let error = run(&fixture, &authorities, &silent(), &op).await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("nobody approves here"), "{error}");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let stranger = two.issue_client("x", &[], PrivateKey::generate(ALGORITHM).unwrap().spki_der(), YEAR, fixture.now);
    let stranger = stranger.unwrap().to_pem();
    let callbacks = Callbacks {
        sign_kubelet_serving: Box::new(move |request| {
            seen.lock().unwrap().push(request);
            let stranger = stranger.clone();
            async move { Ok(stranger) }.boxed()
        }),
        ..silent()
    };
    let error = run(&fixture, &authorities, &callbacks, &op).await.unwrap_err();
    assert!(error.to_string().contains("kubelet-server-current"), "{error}");
    let request = CertificateRequest::from_pem(asked.lock().unwrap()[0].as_bytes()).unwrap();
    assert_eq!((request.subject(), request.dns_names()), ("CN=system:node:cp-1", &["cp-1".to_owned()][..]));
    assert_eq!(request.ip_addresses(), ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(request.is_proven());
    assert_eq!(fs::read_link(fixture.layout.path(KUBELET_SERVER)).unwrap(), before);
}

#[tokio::test]
async fn what_is_not_staged_is_named_and_nothing_is_written() {
    let fixture = Fixture::new();
    let authorities = Authorities::open(&fixture.layout);
    let strange = CaId::planned("two");
    let before = fixture.read(CA_CERT);
    let error = run(&fixture, &authorities, &silent(), &Op::WriteBundle(vec![strange.clone()])).await.unwrap_err();
    assert!(matches!(error, NodeError::UnknownAuthority(_)));
    let op = Op::ReissueLeaf { leaf: Leaf::Apiserver, issuer: fixture.ca_id(), vouched_by: vec![strange] };
    assert!(matches!(run(&fixture, &authorities, &silent(), &op).await, Err(NodeError::NoCross { .. })));
    assert_eq!(fixture.read(CA_CERT), before);
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

#[tokio::test]
async fn each_attempt_at_a_rotation_has_back_ups_of_its_own() {
    let fixture = Fixture::new();
    let (authorities, new) = stage(&fixture);
    let both = || Op::WriteConf { conf: Conf::Admin, issuer: None, trust: vec![fixture.ca_id(), new.clone()] };
    let old = || Op::WriteConf { conf: Conf::Admin, issuer: None, trust: vec![fixture.ca_id()] };
    let file = "/etc/kubernetes/admin.conf";
    let change = async |rotation: &str, op: Op| run_in(rotation, &fixture, &authorities, &silent(), &op).await.unwrap();
    let first = fixture.read(file);
    change("ca-2", both()).await;
    change("ca-1", old()).await;
    // What the administrator did in between.
    let second = fixture.read(file).replace("kubernetes-admin", "somebody-else");
    fixture.write(file, &second, 0o600);
    change("ca-2", both()).await;
    let kept = |attempt: &str| fixture.read(&format!("/var/lib/certctl/backup/{attempt}{file}"));
    assert_eq!((kept("ca-2"), kept("ca-2.2")), (first, second.clone()));
    // The same attempt goes on after a crash that cut the journal off.
    let journal = fixture.read("/var/lib/certctl/journal");
    fixture.write("/var/lib/certctl/journal", &journal[..journal.len() - 10], 0o600);
    change("ca-2", old()).await;
    assert_eq!(kept("ca-2.2"), second);
    assert!(!fixture.layout.backup("ca-2.3").exists());
}
