//! From the CA's key, in a folder that looks like a control-plane node.

use std::fs;
use std::path::Path;

use super::*;
use crate::pki::Kubeconfig;

fn write(root: &Path, name: &str, content: &str) {
    let path = root.join("etc/kubernetes").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A node in the middle of a rotation: both CAs trusted, the key of `signer` in force.
fn node(signer: &CertificateAuthority, cas: &[&CertificateAuthority]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let bundle: String = cas.iter().map(|ca| ca.certificate().to_pem()).collect();
    write(root.path(), "pki/ca.crt", &bundle);
    write(root.path(), "pki/ca.key", &signer.key().to_pem());
    let conf = "current-context: c\ncontexts:\n- {name: c, context: {cluster: prod, user: u}}\nclusters:\n\
        - {name: prod, cluster: {server: 'https://vip:6443'}}\nusers:\n- {name: u, user: {token: t}}\n";
    write(root.path(), "admin.conf", conf);
    root
}

fn problem(root: &Path, server: Option<&str>) -> String {
    Offline::open(root, server).err().map(|error| format!("{error:?}")).unwrap_or_default()
}

#[test]
fn the_ca_in_force_signs_both_are_trusted_and_the_journal_knows() {
    let (old, new) = (ca(), ca());
    let root = node(&new, &[&new, &old]);
    let offline = Offline::open(root.path(), None).unwrap();
    let here = offline.place();
    assert_eq!((here.cluster.as_str(), &here.body["server"]), ("prod", &json!("https://vip:6443")));
    let data = STANDARD.decode(here.body["certificate-authority-data"].as_str().unwrap()).unwrap();
    assert_eq!(Certificate::all_from_pem(&data).unwrap(), [new.certificate().clone(), old.certificate().clone()]);
    let issued = offline.issue(&jane(), now()).unwrap();
    assert!(issued.certificate.signed_by(new.certificate()) && issued.key.matches(&issued.certificate));
    assert_eq!(
        (issued.certificate.common_name(), issued.certificate.organizations()),
        (Some("jane"), &jane().groups[..])
    );
    assert_eq!(issued.certificate.not_after(), now() + DAY);
    let masters = Subject { groups: vec![MASTERS.into()], ..jane() };
    let second = offline.issue(&masters, now()).unwrap();
    let journal = fs::read_to_string(root.path().join("var/lib/certctl/journal")).unwrap();
    let lines: Vec<Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["event"], &lines[0]["breakGlass"]), (&json!("issued"), &json!(false)));
    assert_eq!((&lines[1]["breakGlass"], &lines[1]["subject"]), (&json!(true), &json!("CN=jane,O=system:masters")));
    assert_eq!(lines[1]["fingerprint"], second.certificate.fingerprint());
    assert!(lines[1]["by"].as_str().unwrap().contains('@'), "{journal}");
}

#[test]
fn a_certificate_that_cannot_be_put_on_record_is_not_handed_out() {
    let one = ca();
    let root = node(&one, &[&one]);
    fs::create_dir_all(root.path().join("var/lib")).unwrap();
    fs::write(root.path().join("var/lib/certctl"), "in the way").unwrap();
    let error = Offline::open(root.path(), None).unwrap().issue(&jane(), now()).unwrap_err();
    assert!(error.sentence().contains("var/lib/certctl"), "{error:?}");
}

#[test]
fn what_is_missing_on_the_node_is_named() {
    let (one, other) = (ca(), ca());
    let root = node(&one, &[&one]);
    fs::remove_file(root.path().join("etc/kubernetes/pki/ca.key")).unwrap();
    assert!(problem(root.path(), None).contains("external CA"));
    let root = node(&one, &[&other]);
    assert!(!problem(root.path(), None).is_empty(), "the key of a CA that nobody knows");
    let root = node(&one, &[&one]);
    fs::remove_file(root.path().join("etc/kubernetes/admin.conf")).unwrap();
    assert!(problem(root.path(), None).contains("--server"));
    assert_eq!(problem(root.path(), Some("https://a:6443")), "");
    let expired = Offline::open(root.path(), Some("https://a:6443")).unwrap().issue(&jane(), now() + DAY * 3651);
    assert!(expired.unwrap_err().sentence().contains("renew the CA first"));
}

#[test]
fn a_ca_whose_key_is_here_but_which_the_api_server_does_not_trust_signs_nothing() {
    let (one, other) = (ca(), ca());
    let root = node(&other, &[&one]);
    // A CA that is staged, and not trusted yet.
    let staged = root.path().join("var/lib/certctl/authorities");
    fs::create_dir_all(&staged).unwrap();
    fs::write(staged.join("x.crt"), other.certificate().to_pem()).unwrap();
    let error = Offline::open(root.path(), None).err().unwrap();
    assert_eq!(error.kind(), crate::error::ErrorKind::Refused);
}

#[test]
fn the_administrators_kubeconfig_counts_before_the_kubelets() {
    let one = ca();
    let root = node(&one, &[&one]);
    let admin = fs::read_to_string(root.path().join("etc/kubernetes/admin.conf")).unwrap();
    write(root.path(), "kubelet.conf", &admin.replace("vip", "localhost"));
    assert_eq!(Offline::open(root.path(), None).unwrap().place().body["server"], "https://vip:6443");
    fs::remove_file(root.path().join("etc/kubernetes/admin.conf")).unwrap();
    assert_eq!(Offline::open(root.path(), None).unwrap().place().body["server"], "https://localhost:6443");
    assert!(Kubeconfig::parse(&admin).is_ok());
}
