//! The file side of the node, against a kubeadm layout in a temporary folder.

use std::fs;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;

use super::fixture::{ALGORITHM, Fixture, YEAR, authority, keep_new, run, run_in, silent};
use super::layout::{CA_CERT, KUBELET_CLIENT, KUBELET_SERVER, SIGNER};
use super::*;
use crate::pki::{CaId, Certificate, CertificateRequest, PrivateKey};
use crate::plan::{Component, Conf, Leaf, Op};

mod damage;
mod kubelet;
mod malformed;
mod odd_files;
mod reading;

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
