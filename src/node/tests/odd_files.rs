//! Files that are not as kubeadm writes them are named; none of them is waited for.

use std::os::unix::fs::symlink;
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, mkfifo};

use super::*;
use crate::plan::{ApiserverFacts, Fault, FileFault, KubeletFacts};

const PKI: &str = "/etc/kubernetes/pki";

fn odd(fixture: &Fixture) -> Vec<(String, FileFault)> {
    let facts = reading(fixture).facts;
    facts.odd_files.into_iter().map(|file| (file.path, file.fault)).collect()
}

/// A reading that waits for somebody is a failure, not a test that never ends.
fn reading(fixture: &Fixture) -> DiskReading {
    let layout = fixture.layout.clone();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more once the test has failed.
        let _ = sender.send(read_disk(&layout, &[]));
    });
    receiver.recv_timeout(Duration::from_secs(60)).expect("the reading waits for a file")
}

#[test]
fn a_node_as_kubeadm_leaves_it_has_no_odd_file_and_lacks_none() {
    let fixture = Fixture::new();
    let facts = reading(&fixture).facts;
    assert_eq!((facts.odd_files, facts.missing), (Vec::new(), Vec::<String>::new()));
    assert!(facts.control_plane);
    assert_eq!(facts.servers["scheduler.conf"], "10.0.0.1");
}

#[test]
fn modes_links_and_owners_are_named() {
    let fixture = Fixture::new();
    let path = |name: &str| fixture.layout.path(&format!("{PKI}/{name}"));
    let mode = |name: &str, mode: u32| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path(name), permissions).unwrap();
    };
    mode("apiserver.key", 0o644);
    mode("etcd/peer.key", 0o640);
    mode("etcd/peer.crt", 0o664);
    fs::rename(path("front-proxy-client.crt"), path("elsewhere.txt")).unwrap();
    symlink("elsewhere.txt", path("front-proxy-client.crt")).unwrap();
    fs::hard_link(path("ca.key"), path("ca-copy.key")).unwrap();
    let mut expected = vec![
        (format!("{PKI}/apiserver.key"), FileFault::KeyReadableByAll),
        (format!("{PKI}/ca-copy.key"), FileFault::HardLink),
        (format!("{PKI}/ca.key"), FileFault::HardLink),
        (format!("{PKI}/etcd/peer.crt"), FileFault::WritableByOthers),
        (format!("{PKI}/etcd/peer.key"), FileFault::KeyReadableByGroup),
        (format!("{PKI}/front-proxy-client.crt"), FileFault::SymbolicLink),
    ];
    if Uid::effective().is_root() {
        chown(&path("apiserver.crt"), Some(Uid::from_raw(65_534)), None).unwrap();
        expected.insert(0, (format!("{PKI}/apiserver.crt"), FileFault::Owner));
    }
    assert_eq!(odd(&fixture), expected);
}

#[test]
fn a_copy_that_belongs_to_one_user_has_no_wrong_owner() {
    if !Uid::effective().is_root() {
        return;
    }
    let fixture = Fixture::new();
    let user = Some(Uid::from_raw(65_534));
    chown(fixture.root.path(), user, None).unwrap();
    for file in fixture.files() {
        // Links as well.
        std::os::unix::fs::lchown(fixture.layout.path(&file), Some(65_534), None).unwrap();
    }
    assert_eq!(odd(&fixture), []);
}

#[test]
fn pipes_folders_and_huge_files_are_named_and_hide_nothing_else() {
    let fixture = Fixture::new();
    let good = reading(&fixture).rows;
    let path = |name: &str| fixture.layout.path(name);
    let replaced = [
        format!("{PKI}/apiserver.crt"),
        format!("{PKI}/etcd/peer.key"),
        format!("{PKI}/etcd/server.crt"),
        "/etc/kubernetes/scheduler.conf".to_owned(),
    ];
    replaced.iter().for_each(|name| fs::remove_file(path(name)).unwrap());
    mkfifo(&path(&replaced[0]), Mode::S_IRWXU).unwrap();
    mkfifo(&path(&replaced[1]), Mode::S_IRWXU).unwrap();
    fs::create_dir(path(&replaced[2])).unwrap();
    // Sparse: it takes no room on the disk.
    fs::File::create(path(&replaced[3])).unwrap().set_len(1 << 40).unwrap();
    for place in
        ["/etc/kubernetes/manifests/kube-apiserver.yaml", "/var/lib/kubelet/config.yaml", "/etc/kubernetes/pki/x.pem"]
    {
        let _ = fs::remove_file(path(place));
        mkfifo(&path(place), Mode::S_IRWXU).unwrap();
    }
    let found = reading(&fixture);
    let faults: Vec<(&str, FileFault)> =
        found.facts.odd_files.iter().map(|file| (file.path.as_str(), file.fault)).collect();
    assert_eq!(
        faults,
        [
            ("/etc/kubernetes/pki/apiserver.crt", FileFault::NotAFile),
            ("/etc/kubernetes/pki/etcd/peer.key", FileFault::NotAFile),
            ("/etc/kubernetes/pki/etcd/server.crt", FileFault::Folder),
            ("/etc/kubernetes/pki/x.pem", FileFault::NotAFile),
            ("/etc/kubernetes/scheduler.conf", FileFault::Huge),
        ]
    );
    let row = |path: &str| found.rows.iter().find(|row| row.path == path).unwrap();
    for name in [&replaced[0], &replaced[2], &replaced[3]] {
        assert_eq!(row(name).fault, Some(Fault::Unreadable), "{name}");
    }
    assert_eq!(row(&format!("{PKI}/etcd/peer.crt")).fault, Some(Fault::KeyUnreadable));
    let untouched = |row: &&CertificateRow| !replaced.contains(&row.path) && !row.path.ends_with("peer.crt");
    let rows = |all: &[CertificateRow]| all.iter().filter(untouched).cloned().collect::<Vec<_>>();
    assert_eq!(rows(&found.rows), rows(&good));
}

#[test]
fn a_dangling_link_and_a_loop_end() {
    let fixture = Fixture::new();
    let path = |name: &str| fixture.layout.path(&format!("{PKI}/{name}"));
    symlink("nowhere", path("stray.crt")).unwrap();
    symlink("a.crt", path("b.crt")).unwrap();
    symlink("b.crt", path("a.crt")).unwrap();
    symlink("..", path("up")).unwrap();
    let names: Vec<String> = odd(&fixture).into_iter().map(|(path, _)| path.replace(PKI, "")).collect();
    assert_eq!(names, ["/a.crt", "/b.crt", "/stray.crt", "/up"]);
}

#[test]
fn what_manifests_and_the_kubelets_configuration_say() {
    let fixture = Fixture::new();
    let place = "/etc/kubernetes/manifests/kube-apiserver.yaml";
    let flags = "    - --advertise-address=192.0.2.1\n    - --service-cluster-ip-range=10.96.0.0/12\n    \
                 - --service-account-issuer=https://kubernetes.default.svc.example.org\n    \
                 - --tls-cert-file=/etc/kubernetes/pki/gone.crt\n    - --client-ca-file=/elsewhere/ca.crt\n";
    fixture.write(place, &fixture.read(place).replace("    image:", &format!("{flags}    image:")), 0o600);
    let etcd =
        fixture.read(place).replace("--tls-cert-file=/etc", "--initial-advertise-peer-urls=https://[fd00::7]:2380 #");
    fixture.write("/etc/kubernetes/manifests/etcd.yaml", &etcd, 0o600);
    fixture.write("/var/lib/kubelet/config.yaml", "rotateCertificates: true\n", 0o644);
    let conf = fixture.read("/etc/kubernetes/scheduler.conf");
    let line = conf.lines().find(|line| line.contains("server: ")).unwrap();
    let (indent, _) = line.split_once("server:").unwrap();
    let named = conf.replace(line, &format!("{line}\n{indent}tls-server-name: api.example.org"));
    fixture.write("/etc/kubernetes/scheduler.conf", &named, 0o600);
    let facts = reading(&fixture).facts;
    assert_eq!(facts.servers["scheduler.conf"], "api.example.org");
    assert_eq!(
        facts.apiserver,
        Some(ApiserverFacts {
            advertise_address: "192.0.2.1".into(),
            service_range: "10.96.0.0/12".into(),
            dns_domain: "example.org".into(),
        })
    );
    assert_eq!(facts.etcd_hosts, ["fd00::7"]);
    assert_eq!(facts.missing, ["/etc/kubernetes/pki/gone.crt"]);
    let expected = KubeletFacts { rotates: true, server_bootstrap: false, conf_refers: true, conf_embeds: false };
    assert_eq!(facts.kubelet, Some(expected));
}

#[test]
fn a_ca_key_on_a_worker_is_named() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.layout.path("/etc/kubernetes/manifests/kube-apiserver.yaml")).unwrap();
    assert_eq!(odd(&fixture), [("/etc/kubernetes/pki/ca.key".to_owned(), FileFault::CaKeyOnWorker)]);
}
