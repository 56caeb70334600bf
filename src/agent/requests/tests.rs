//! Requests of the driver, against folders in a temporary root.

use std::collections::BTreeSet;
use std::fs;

use super::*;

const YEAR: SignedDuration = SignedDuration::from_hours(8760);

struct Root {
    folder: tempfile::TempDir,
    layout: Layout,
    ca: CertificateAuthority,
}

fn now() -> Timestamp {
    "2026-11-22T20:00:00Z".parse().unwrap()
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, YEAR * 10, now()).unwrap()
}

impl Root {
    /// A control-plane node with one CA, whose key is kept.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Self { layout: Layout::new(folder.path()), folder, ca: authority() };
        root.write("etc/kubernetes/manifests/kube-apiserver.yaml", "");
        root.write("etc/kubernetes/pki/ca.crt", &root.ca.certificate().to_pem());
        root.write("etc/kubernetes/pki/ca.key", &root.ca.key().to_pem());
        root.open().import_stock().unwrap();
        root
    }

    fn open(&self) -> Authorities {
        Authorities::open(&self.layout)
    }

    fn id(&self) -> CaId {
        self.ca.certificate().ca_id()
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// The key of `authority`, sealed to cp-1 as that of `ca`.
fn sealed(key: &SealingKey, authority: &CertificateAuthority, ca: CaId) -> SealedKey {
    let sealed = key.public().seal(&seal_info("cp-1", &ca), authority.key().to_pem().as_bytes()).unwrap();
    SealedKey { ca, node: "cp-1".into(), sealed }
}

fn public(authority: &CertificateAuthority) -> AuthorityRecord {
    record(authority, &[], now()).unwrap()
}

#[test]
fn a_key_is_forgotten_once_the_node_no_longer_signs_with_it() {
    let root = Root::new();
    let (mut authorities, mut done) = (root.open(), BTreeSet::new());
    let problems = forget(&[root.id()], &mut authorities, &mut done);
    assert!(problems[0].contains("/etc/kubernetes/pki/ca.key"), "{problems:?}");
    assert_eq!(authorities.kept(), [root.id()]);
    root.write("etc/kubernetes/pki/ca.key", &authority().key().to_pem());
    assert_eq!(forget(&[root.id()], &mut authorities, &mut done), Vec::<String>::new());
    assert!(authorities.kept().is_empty());
}

#[test]
fn a_new_process_looks_for_copies_although_the_key_itself_is_gone() {
    let root = Root::new();
    let (mut authorities, mut done) = (root.open(), BTreeSet::new());
    root.write("etc/kubernetes/pki/ca.key", &authority().key().to_pem());
    forget(&[root.id()], &mut authorities, &mut done);
    let copy = "var/lib/certctl/backup/ca-2/etc/kubernetes/pki/ca.key";
    root.write(copy, &root.ca.key().to_pem());
    forget(&[root.id()], &mut authorities, &mut done);
    assert!(root.folder.path().join(copy).exists(), "the same process reads the back-ups once, not at each look");
    forget(&[root.id()], &mut root.open(), &mut BTreeSet::new());
    assert!(!root.folder.path().join(copy).exists());
}

#[test]
fn a_key_to_be_destroyed_is_not_taken_in_again() {
    let root = Root::new();
    let (key, mut authorities) = (SealingKey::generate().unwrap(), root.open());
    let other = authority();
    let id = other.certificate().ca_id();
    authorities.know(other.certificate().clone());
    let sealed_keys = vec![sealed(&key, &other, id.clone())];
    let mut spec = NodePkiSpec { sealed_keys, forget: vec![id.clone()], ..NodePkiSpec::default() };
    assert_eq!(take_in(&spec, "cp-1", &key, &root.layout, &mut authorities), Vec::<String>::new());
    assert!(!authorities.has_key(&id));
    spec.forget.clear();
    assert_eq!(take_in(&spec, "cp-1", &key, &root.layout, &mut authorities), Vec::<String>::new());
    assert!(authorities.has_key(&id));
}

#[test]
fn a_bad_entry_is_named_and_hides_no_other() {
    let root = Root::new();
    let (key, mut authorities) = (SealingKey::generate().unwrap(), root.open());
    let (good, unknown, lied_about) = (authority(), authority(), authority());
    let id = |authority: &CertificateAuthority| authority.certificate().ca_id();
    let garbage = AuthorityRecord { certificate: "garbage".into(), ..public(&unknown) };
    let exchanged = AuthorityRecord { id: id(&lied_about), ..public(&authority()) };
    let spec = NodePkiSpec {
        authorities: vec![garbage, exchanged, public(&good)],
        sealed_keys: vec![
            sealed(&key, &unknown, id(&unknown)),
            sealed(&SealingKey::generate().unwrap(), &good, id(&good)),
            sealed(&key, &good, id(&good)),
        ],
        ..NodePkiSpec::default()
    };
    let known = know(&spec, &mut authorities);
    assert_eq!(known.len(), 2, "{known:?}");
    assert!(known[0].contains(id(&unknown).short()) && known[1].contains("another CA"), "{known:?}");
    let taken = take_in(&spec, "cp-1", &key, &root.layout, &mut authorities);
    assert_eq!(taken.len(), 2, "{taken:?}");
    assert!(authorities.has_key(&id(&good)) && !authorities.has_key(&id(&unknown)));
    assert!(taken.iter().chain(&known).all(|problem| !problem.contains("PRIVATE")));
}

#[test]
fn keys_are_sealed_once_and_one_broken_receiver_hides_no_other() {
    let root = Root::new();
    let (authorities, key) = (root.open(), SealingKey::generate().unwrap());
    let broken = serde_json::from_value(serde_json::json!("AAAA")).unwrap();
    let ask = |node: &str, public_key| SealFor { node: node.into(), public_key, cas: vec![root.id()] };
    let asked = [ask("cp-2", broken), ask("cp-3", key.public())];
    let mut handout = Handout::default();
    let problems = handout.answer(&asked, &authorities);
    assert!(problems.len() == 1 && problems[0].contains("cp-2"), "{problems:?}");
    let first = handout.keys.clone();
    assert_eq!((first.len(), first[0].node.as_str()), (1, "cp-3"));
    assert_eq!(handout.answer(&asked, &authorities), problems, "said as long as it is so");
    assert_eq!(handout.keys, first);
}

#[test]
fn a_worker_takes_no_ca_key_in_whatever_its_label_says() {
    let root = Root::new();
    let (key, other) = (SealingKey::generate().unwrap(), authority());
    let id = other.certificate().ca_id();
    let sealed_keys = vec![sealed(&key, &other, id.clone())];
    let spec = NodePkiSpec { authorities: vec![public(&other)], sealed_keys, ..NodePkiSpec::default() };
    fs::remove_file(root.folder.path().join("etc/kubernetes/manifests/kube-apiserver.yaml")).unwrap();
    let mut authorities = root.open();
    know(&spec, &mut authorities);
    let problems = take_in(&spec, "cp-1", &key, &root.layout, &mut authorities);
    assert!(problems.len() == 1 && problems[0].contains("no kube-apiserver"), "{problems:?}");
    assert!(!authorities.has_key(&id));
}

fn request(root: &Root) -> MakeAuthority {
    MakeAuthority { request: "ca-2-after-x".into(), like: root.id(), algorithm: None, validity_seconds: None }
}

fn keys(root: &Root) -> usize {
    let files = fs::read_dir(root.layout.authorities()).unwrap().flatten();
    files.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "key")).count()
}

#[test]
fn the_same_request_is_answered_with_the_same_ca_and_another_makes_another() {
    let root = Root::new();
    let first = make(&request(&root), &root.layout, &mut root.open(), now()).unwrap();
    assert_eq!(make(&request(&root), &root.layout, &mut root.open(), now()).unwrap().authority.id, first.authority.id);
    let other = MakeAuthority { request: "ca-3-after-x".into(), ..request(&root) };
    assert_ne!(make(&other, &root.layout, &mut root.open(), now()).unwrap().authority.id, first.authority.id);
}

/// A crash is played by a folder in the place of the file that would be written next.
#[test]
fn no_crash_leaves_a_key_that_nobody_knows_of() {
    let root = Root::new();
    let blocked = root.layout.authorities().join("made-ca-2-after-x");
    fs::create_dir(&blocked).unwrap();
    make(&request(&root), &root.layout, &mut root.open(), now()).unwrap_err();
    assert_eq!(keys(&root), 1, "without a note no key is kept");
    fs::remove_dir(&blocked).unwrap();
    let made = make(&request(&root), &root.layout, &mut root.open(), now()).unwrap().authority.id;
    // Cut off between the key and the certificate.
    fs::remove_file(root.layout.authorities().join(format!("{made}.crt"))).unwrap();
    let again = make(&request(&root), &root.layout, &mut root.open(), now()).unwrap().authority.id;
    assert_ne!(again, made);
    assert_eq!(keys(&root), 2, "half of a CA is removed before another is made");
}
