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
        root.open().import_stock(&root.layout).unwrap();
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
    let sealed = key.public().seal(&seal_info("cp-1", &id), other.key().to_pem().as_bytes()).unwrap();
    let sealed_keys = vec![SealedKey { ca: id.clone(), node: "cp-1".into(), sealed }];
    let mut spec = NodePkiSpec { sealed_keys, forget: vec![id.clone()], ..NodePkiSpec::default() };
    take_in(&spec, "cp-1", &key, &mut authorities).unwrap();
    assert!(!authorities.has_key(&id));
    spec.forget.clear();
    take_in(&spec, "cp-1", &key, &mut authorities).unwrap();
    assert!(authorities.has_key(&id));
}
