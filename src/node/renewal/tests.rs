use std::os::unix::fs::MetadataExt as _;

use jiff::SignedDuration;

use super::super::fixture::{Fixture, YEAR, authority as new_authority};
use super::super::layout::KUBELET_CLIENT;
use super::inventory::LARGEST;
use super::*;
use crate::pki::{CertificateRequest, KeyAlgorithm, PlainRequest, Usage, verify};
use crate::plan::renewal::{Held, Plan, Request};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn plan(fixture: &Fixture, request: &Request) -> Plan {
    let plan = Plan::new(&inventory(&fixture.layout), request, fixture.now).unwrap();
    assert_eq!(plan.blockers, []);
    plan
}

fn only(name: CertificateName) -> Request {
    Request { names: vec![name], ..Request::default() }
}

fn renew(fixture: &Fixture, request: &Request) -> String {
    let signed = sign(&fixture.layout, &plan(fixture, request).items, fixture.now).unwrap();
    let run = run_name(fixture.now);
    write(&fixture.layout, &signed, &run, fixture.now).unwrap();
    run
}

fn leaf_of(fixture: &Fixture, name: CertificateName) -> (Certificate, KeyAlgorithm) {
    match inventory(&fixture.layout).held.remove(&name) {
        Some(Held::Certificate { certificate, key }) => (certificate, key.unwrap()),
        other => panic!("{name}: {other:?}"),
    }
}

/// Everything under `/etc/kubernetes` and the kubelet's folder: path, mode, content.
fn picture(fixture: &Fixture) -> BTreeMap<String, (u32, Vec<u8>)> {
    let files = fixture.files().into_iter().filter(|file| !file.starts_with("/var/lib/certctl"));
    let read = |file: &String| {
        let path = fixture.layout.path(file);
        match fs::read_link(&path) {
            Ok(target) => (0, target.into_os_string().into_encoded_bytes()),
            Err(_) => (fixture.mode(file), fs::read(path).unwrap()),
        }
    };
    files.map(|file| (file.clone(), read(&file))).collect()
}

#[test]
fn every_certificate_is_renewed_with_its_names_and_a_new_key_in_kubeadms_files() {
    let fixture = Fixture::new();
    let before = picture(&fixture);
    let names: Vec<_> = plan(&fixture, &Request::default()).items.iter().map(|item| item.name).collect();
    assert_eq!(names.len(), 10, "seven pairs and three kubeconfigs: {names:?}");
    let old: BTreeMap<_, _> = names.iter().map(|name| (*name, leaf_of(&fixture, *name).0)).collect();
    renew(&fixture, &Request::default());
    for (name, old) in &old {
        let (new, _) = leaf_of(&fixture, *name);
        assert_ne!(new.serial_hex(), old.serial_hex(), "{name}");
        assert_ne!(new.spki_der(), old.spki_der(), "{name}");
        assert_eq!(new.subject_der(), old.subject_der(), "{name}");
        assert_eq!((new.dns_names(), new.ip_addresses()), (old.dns_names(), old.ip_addresses()), "{name}");
        let ca = Certificate::first_from_pem(&fs::read(fixture.layout.path(name.authority().certificate())).unwrap())
            .unwrap();
        let usage = if new.server_auth() { Usage::Server } else { Usage::Client };
        verify(&[new.rustls_der()], &[ca], usage, fixture.now).unwrap();
    }
    let after = picture(&fixture);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "the same files and no other");
    let changed: Vec<_> =
        before.iter().filter(|(file, old)| after[*file].1 != old.1).map(|(file, _)| file.as_str()).collect();
    assert_eq!(changed.len(), 17, "two files a pair, one a kubeconfig: {changed:?}");
    assert!(before.iter().all(|(file, old)| after[file].0 == old.0), "modes are as they were");
    assert!(read_all_match(&fixture));
}

fn read_all_match(fixture: &Fixture) -> bool {
    super::super::read_disk(&fixture.layout, &[]).rows.iter().all(|row| row.problem.is_none())
}

#[test]
fn the_key_stays_or_changes_its_kind_as_told() {
    let fixture = Fixture::new();
    let key = |fixture: &Fixture| fixture.read("/etc/kubernetes/pki/apiserver.key");
    let old = key(&fixture);
    renew(&fixture, &Request { reuse_key: true, ..only(CertificateName::Apiserver) });
    assert_eq!(key(&fixture), old);
    renew(&fixture, &Request { algorithm: Some(KeyAlgorithm::Rsa2048), ..only(CertificateName::Apiserver) });
    assert!(key(&fixture).starts_with("-----BEGIN RSA PRIVATE KEY-----\n"), "PKCS#1, as kubeadm writes it");
    renew(&fixture, &Request { algorithm: Some(KeyAlgorithm::EcdsaP384), ..only(CertificateName::Apiserver) });
    assert!(key(&fixture).starts_with("-----BEGIN EC PRIVATE KEY-----\n"), "SEC1, as kubeadm writes it");
    assert_eq!(leaf_of(&fixture, CertificateName::Apiserver).1, KeyAlgorithm::EcdsaP384);
    let conf = CertificateName::Conf(Conf::Admin);
    renew(&fixture, &Request { algorithm: Some(KeyAlgorithm::Rsa2048), validity: Some(DAY), ..only(conf) });
    let (certificate, algorithm) = leaf_of(&fixture, conf);
    assert_eq!((algorithm, certificate.not_after()), (KeyAlgorithm::Rsa2048, fixture.now + DAY));
    assert!(read_all_match(&fixture));
}

#[test]
fn what_was_replaced_is_kept_privately_and_only_of_the_last_runs() {
    let fixture = Fixture::new();
    let old = fixture.read("/etc/kubernetes/pki/apiserver.key");
    let run = renew(&fixture, &only(CertificateName::Apiserver));
    let copy = format!("/var/lib/certctl/backup/{run}/etc/kubernetes/pki/apiserver.key");
    assert_eq!((fixture.read(&copy), fixture.mode(&copy)), (old, 0o600));
    fs::create_dir(fixture.layout.backup("ca-2")).unwrap();
    for minutes in 1..=4 {
        let signed =
            sign(&fixture.layout, &plan(&fixture, &only(CertificateName::Apiserver)).items, fixture.now).unwrap();
        let later = fixture.now + SignedDuration::from_mins(minutes);
        write(&fixture.layout, &signed, &run_name(later), later).unwrap();
    }
    let mut left: Vec<_> =
        fs::read_dir(fixture.layout.backups()).unwrap().map(|entry| name_of(&entry.unwrap().path())).collect();
    left.sort();
    assert_eq!(left, ["ca-2", "renew-20261122T200200Z", "renew-20261122T200300Z", "renew-20261122T200400Z"]);
}

#[test]
fn a_narrower_mode_of_a_certificate_stays_and_a_wider_one_of_a_key_does_not() {
    let fixture = Fixture::new();
    let set =
        |file: &str, mode| fs::set_permissions(fixture.layout.path(file), fs::Permissions::from_mode(mode)).unwrap();
    set("/etc/kubernetes/pki/apiserver.crt", 0o600);
    set("/etc/kubernetes/pki/apiserver.key", 0o644);
    set("/etc/kubernetes/admin.conf", 0o644);
    renew(&fixture, &Request::default());
    for file in ["pki/apiserver.crt", "pki/apiserver.key", "admin.conf"] {
        assert_eq!(fixture.mode(&format!("/etc/kubernetes/{file}")), 0o600, "{file}");
    }
    assert_eq!(fixture.mode("/etc/kubernetes/pki/etcd/server.crt"), 0o644);
}

#[test]
fn what_is_sent_behind_a_certificate_goes_on_being_sent_by_the_same_ca() {
    let fixture = Fixture::new();
    let other = new_authority("kubernetes", fixture.now);
    let cross = other.cross_sign(fixture.ca.certificate(), fixture.now).unwrap();
    let path = "/etc/kubernetes/pki/apiserver.crt";
    fixture.write(path, &(fixture.read(path) + &cross.to_pem()), 0o644);
    renew(&fixture, &only(CertificateName::Apiserver));
    assert_eq!(fixture.certificates(path)[1..], *std::slice::from_ref(&cross));
    // Signed by the same CA's earlier key, its chain says nothing about the new one.
    let key = fixture.read("/etc/kubernetes/pki/apiserver.key");
    let key = PrivateKey::from_pem(key.as_bytes()).unwrap();
    let names = crate::pki::ServerNames::default();
    let stray = other.issue_server("kube-apiserver", &names, key.spki_der(), YEAR, fixture.now).unwrap();
    fixture.write(path, &(stray.to_pem() + &cross.to_pem()), 0o644);
    renew(&fixture, &only(CertificateName::Apiserver));
    assert_eq!(fixture.certificates(path).len(), 1);
}

#[test]
fn the_kubelets_certificate_is_renewed_behind_its_symlink() {
    let fixture = Fixture::new();
    let target = fs::read_link(fixture.layout.path(KUBELET_CLIENT)).unwrap();
    let (old, _) = leaf_of(&fixture, CertificateName::KubeletClient);
    renew(&fixture, &only(CertificateName::KubeletClient));
    let moved = fs::read_link(fixture.layout.path(KUBELET_CLIENT)).unwrap();
    assert_ne!(moved, target);
    assert_eq!(moved, Path::new("/var/lib/kubelet/pki/kubelet-client-2026-11-22-20-00-00.pem"));
    let (new, _) = leaf_of(&fixture, CertificateName::KubeletClient);
    assert_eq!((new.subject_der(), new.organizations()), (old.subject_der(), old.organizations()));
    assert_ne!(new.serial_hex(), old.serial_hex());
    assert!(read_all_match(&fixture));
}

#[test]
fn a_lost_or_foreign_key_is_mended_and_a_lost_certificate_is_told() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.layout.path("/etc/kubernetes/pki/apiserver.key")).unwrap();
    let foreign = fixture.read("/etc/kubernetes/pki/front-proxy-client.key");
    fixture.write("/etc/kubernetes/pki/etcd/server.key", &foreign, 0o600);
    renew(&fixture, &Request::default());
    assert!(read_all_match(&fixture));
    assert_eq!(fixture.mode("/etc/kubernetes/pki/apiserver.key"), 0o600);
    fs::remove_file(fixture.layout.path("/etc/kubernetes/pki/apiserver.crt")).unwrap();
    let found = inventory(&fixture.layout).held.remove(&CertificateName::Apiserver);
    assert!(matches!(found, Some(Held::Broken(problem)) if problem.contains("no /etc/kubernetes/pki/apiserver.crt")));
}

#[test]
fn a_fifo_a_folder_and_a_huge_file_are_named_and_not_read() {
    let fixture = Fixture::new();
    let at = |file: &str| fixture.layout.path(&format!("/etc/kubernetes/pki/{file}"));
    for file in ["apiserver.crt", "front-proxy-client.crt", "etcd/peer.crt"] {
        fs::remove_file(at(file)).unwrap();
    }
    nix::unistd::mkfifo(&at("apiserver.crt"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::create_dir(at("front-proxy-client.crt")).unwrap();
    fs::File::create(at("etcd/peer.crt")).unwrap().set_len(LARGEST + 1).unwrap();
    let held = inventory(&fixture.layout).held;
    let broken = |name| matches!(&held[&name], Held::Broken(problem) if problem.contains("regular file") || problem.contains("bytes"));
    for name in [CertificateName::Apiserver, CertificateName::FrontProxyClient, CertificateName::EtcdPeer] {
        assert!(broken(name), "{:?}", held[&name]);
    }
    assert!(matches!(held[&CertificateName::EtcdServer], Held::Certificate { .. }));
}

#[test]
fn a_ca_whose_key_is_not_here_or_not_its_own_cannot_sign_here() {
    let fixture = Fixture::new();
    let problem = |name| inventory(&fixture.layout).authorities[&name].problem.clone();
    assert_eq!(AuthorityName::ALL.map(problem), [None, None, None]);
    fs::remove_file(fixture.layout.path("/etc/kubernetes/pki/ca.key")).unwrap();
    assert_eq!(problem(AuthorityName::Cluster).unwrap(), "there is no /etc/kubernetes/pki/ca.key");
    let foreign = fixture.read("/etc/kubernetes/pki/front-proxy-ca.key");
    fixture.write("/etc/kubernetes/pki/etcd/ca.key", &foreign, 0o600);
    assert!(problem(AuthorityName::Etcd).unwrap().contains("belongs to no certificate"));
}

#[test]
fn of_a_bundle_the_ca_signs_to_which_the_key_belongs() {
    let fixture = Fixture::new();
    let other = new_authority("kubernetes", fixture.now);
    let bundle = other.certificate().to_pem() + &fixture.ca.certificate().to_pem();
    fixture.write("/etc/kubernetes/pki/ca.crt", &bundle, 0o644);
    assert_eq!(rotation_under_way(&fixture.layout), None, "a bundle of the administrator's own");
    renew(&fixture, &only(CertificateName::Apiserver));
    assert!(leaf_of(&fixture, CertificateName::Apiserver).0.signed_by(fixture.ca.certificate()));
}

#[test]
fn a_rotation_is_seen_by_its_bundle_or_its_signing_file() {
    let fixture = Fixture::new();
    super::super::Authorities::open(&fixture.layout).import_stock().unwrap();
    assert_eq!(rotation_under_way(&fixture.layout), None);
    fixture.write(SIGNER, "", 0o600);
    assert!(rotation_under_way(&fixture.layout).unwrap().contains("signing file"));
    fs::remove_file(fixture.layout.path(SIGNER)).unwrap();
    let other = new_authority("kubernetes", fixture.now);
    let bundle = fixture.ca.certificate().to_pem() + &other.certificate().to_pem();
    fixture.write("/etc/kubernetes/pki/ca.crt", &bundle, 0o644);
    assert!(rotation_under_way(&fixture.layout).unwrap().contains("holds 2 CAs"));
}

#[test]
fn a_failure_leaves_every_file_as_it_was() {
    let fixture = Fixture::new();
    // The last set of the plan cannot be replaced.
    let conf = fixture.layout.conf(Conf::Scheduler);
    let signed = sign(&fixture.layout, &plan(&fixture, &Request::default()).items, fixture.now).unwrap();
    let text = fs::read(&conf).unwrap();
    fs::rename(&conf, conf.with_extension("real")).unwrap();
    std::os::unix::fs::symlink("scheduler.real", &conf).unwrap();
    let before = picture(&fixture);
    let error = write(&fixture.layout, &signed, "renew-1", fixture.now).unwrap_err();
    assert!(super::super::in_full(&error).ends_with("scheduler.conf: it is not a regular file"), "{error}");
    assert_eq!(picture(&fixture), before);
    assert_eq!(fs::read(&conf).unwrap(), text);
    let journal = fs::read_to_string(fixture.layout.journal()).unwrap();
    assert!(journal.contains(r#""event":"failed""#), "{journal}");
}

#[test]
fn requests_go_out_and_certificates_come_in() {
    let fixture = Fixture::new();
    let folder = fixture.root.path().join("requests");
    let request = Request { signed_elsewhere: true, ..Request::default() };
    fs::remove_file(fixture.layout.path("/etc/kubernetes/pki/ca.key")).unwrap();
    let items = plan(&fixture, &request).items;
    let before = picture(&fixture);
    let written = write_requests(&fixture.layout, &items, &folder).unwrap();
    assert_eq!(written.len(), items.len());
    let old = leaf_of(&fixture, CertificateName::Apiserver).0;
    let file = |end: &str| fs::read_to_string(folder.join(format!("apiserver.{end}"))).unwrap();
    let csr = CertificateRequest::from_pem(file("csr").as_bytes()).unwrap();
    assert_eq!((csr.subject(), csr.dns_names()), (old.subject().as_str(), old.dns_names()));
    assert_eq!(fs::metadata(folder.join("apiserver.key")).unwrap().mode() & 0o7777, 0o600);
    // Again: the key whose request is being signed stays.
    let key = file("key");
    write_requests(&fixture.layout, &items, &folder).unwrap();
    assert_eq!(file("key"), key);
    // Signed where the CA is: one of them.
    let spki = PrivateKey::from_pem(key.as_bytes()).unwrap();
    let new = fixture.ca.reissue(&old, spki.spki_der(), YEAR, fixture.now).unwrap();
    fs::write(folder.join("apiserver.crt"), new.to_pem() + &fixture.ca.certificate().to_pem()).unwrap();
    let signed = read_signed(&fixture.layout, &items, &folder, fixture.now).unwrap();
    assert_eq!(signed.len(), 1);
    write(&fixture.layout, &signed, "renew-1", fixture.now).unwrap();
    assert_eq!(fixture.certificates("/etc/kubernetes/pki/apiserver.crt"), [new], "the CA itself is not sent");
    assert_eq!(fixture.read("/etc/kubernetes/pki/apiserver.key"), key);
    let after = picture(&fixture);
    let changed = |file: &&String| !file.starts_with("/requests/") && before.get(*file) != after.get(*file);
    assert_eq!(after.keys().filter(changed).count(), 2);
}

#[test]
fn a_certificate_that_is_not_what_was_asked_for_does_not_come_in() {
    let fixture = Fixture::new();
    let folder = fixture.root.path().join("requests");
    let items = plan(&fixture, &Request { signed_elsewhere: true, ..only(CertificateName::Apiserver) }).items;
    write_requests(&fixture.layout, &items, &folder).unwrap();
    let old = leaf_of(&fixture, CertificateName::Apiserver).0;
    let key = PrivateKey::from_pem(&fs::read(folder.join("apiserver.key")).unwrap()).unwrap();
    let other = new_authority("kubernetes", fixture.now);
    let stranger = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let names = crate::pki::ServerNames { dns: vec!["kubernetes".into()], ips: Vec::new() };
    let now = fixture.now;
    let wrong = [
        (fixture.ca.reissue(&old, stranger.spki_der(), YEAR, now), "for another key"),
        (other.reissue(&old, key.spki_der(), YEAR, now), "against /etc/kubernetes/pki/ca.crt"),
        (fixture.ca.issue_server("kube-apiserver", &names, key.spki_der(), YEAR, now), "subject alternative names"),
        (
            fixture.ca.issue_client("kube-apiserver", &["system:masters".into()], key.spki_der(), YEAR, now),
            "its subject is",
        ),
    ];
    // What is right today is so no more when it has expired.
    let short = (fixture.ca.reissue(&old, key.spki_der(), DAY, now), "expired");
    for ((certificate, wanted), at) in wrong.into_iter().map(|wrong| (wrong, now)).chain([(short, now + DAY * 2)]) {
        fs::write(folder.join("apiserver.crt"), certificate.unwrap().to_pem()).unwrap();
        let error = read_signed(&fixture.layout, &items, &folder, at).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

/// Signs a request as kube-controller-manager does, with these groups.
fn csr_api(fixture: &Fixture, request: &str, groups: &[&str]) -> String {
    let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    let request = PlainRequest::from_pem(request.as_bytes()).unwrap();
    let issued = fixture.ca.issue_client("system:node:cp-1", &groups, request.spki_der(), DAY, fixture.now);
    issued.unwrap().to_pem()
}

#[test]
fn what_the_csr_api_sends_is_taken_only_if_it_is_what_was_asked_for() {
    let fixture = Fixture::new();
    let name = CertificateName::KubeletClient;
    let items = plan(&fixture, &only(name)).items;
    let (key, text) = request(&fixture.layout, &items[0]).unwrap();
    let wrong =
        received(&fixture.layout, &items[0], &csr_api(&fixture, &text, &["system:masters"]), key.clone(), fixture.now);
    assert!(wrong.unwrap_err().to_string().contains("its subject is"), "another group than the kubelet's");
    let (other, _) = request(&fixture.layout, &items[0]).unwrap();
    let answer = csr_api(&fixture, &text, &["system:nodes"]);
    let wrong = received(&fixture.layout, &items[0], &answer, other, fixture.now).unwrap_err().to_string();
    assert!(wrong.contains("for another key"), "{wrong}");
    let signed = received(&fixture.layout, &items[0], &answer, key, fixture.now).unwrap();
    write(&fixture.layout, std::slice::from_ref(&signed), &run_name(fixture.now), fixture.now).unwrap();
    let standing = standing(&fixture.layout, &[name]).unwrap();
    assert_eq!(standing[0].certificate.serial_hex(), signed.certificate.serial_hex());
    assert_ne!(standing[0].certificate.serial_hex(), items[0].old.serial_hex());
}

#[test]
fn a_certificate_that_does_not_fit_its_key_or_is_gone_is_not_taken_for_renewed() {
    let fixture = Fixture::new();
    let names = [CertificateName::Apiserver, CertificateName::Conf(Conf::Scheduler)];
    assert_eq!(standing(&fixture.layout, &names).unwrap().len(), 2);
    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    fixture.write("/etc/kubernetes/pki/apiserver.key", &other.to_pem(), 0o600);
    let problem = standing(&fixture.layout, &names).unwrap_err().to_string();
    assert!(problem.contains("do not belong together"), "{problem}");
    fs::remove_file(fixture.layout.conf(Conf::Scheduler)).unwrap();
    let problem = standing(&fixture.layout, &names[1..]).unwrap_err().to_string();
    assert!(problem.contains("scheduler.conf") && problem.contains("it is not there"), "{problem}");
}

#[test]
fn two_renewals_in_one_second_keep_their_back_ups_apart() {
    let fixture = Fixture::new();
    let first = free_run_name(&fixture.layout, fixture.now);
    assert_eq!(first, run_name(fixture.now));
    fs::create_dir_all(fixture.layout.backup(&first)).unwrap();
    assert_eq!(free_run_name(&fixture.layout, fixture.now), format!("{first}.2"));
}
