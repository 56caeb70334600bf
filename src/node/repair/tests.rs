use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::node::fixture::{ALGORITHM, Fixture, YEAR, authority as made_authority};
use crate::node::layout::{KUBELET_CLIENT, KUBELET_SERVER};
use crate::node::renewal::{inventory, put_right};
use crate::pki::{PrivateKey, Usage, verify};
use crate::plan::renewal::Held;
use crate::plan::repair::{Clock, Fault, Wish};

const APISERVER: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.0.0.1
    - --service-cluster-ip-range=10.96.0.0/12
    - --service-account-issuer=https://kubernetes.default.svc.cluster.local
    - --tls-cert-file=/etc/kubernetes/pki/apiserver.crt
    - --kubelet-client-certificate=/etc/kubernetes/pki/apiserver-kubelet-client.crt
    - --proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt
    - --etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt
    image: registry.k8s.io/kube-apiserver:v1.37.1
    name: kube-apiserver
";

/// A control-plane node with kubeadm's manifest of kube-apiserver.
fn node() -> Fixture {
    let fixture = Fixture::new();
    fixture.write("/etc/kubernetes/manifests/kube-apiserver.yaml", APISERVER, 0o600);
    fixture
}

/// The same node, at the time when its leaves (after a year) or its CAs too (after ten) have expired.
fn years_later(fixture: &mut Fixture, years: i32) -> Timestamp {
    fixture.now += YEAR * years + SignedDuration::from_hours(24);
    fixture.now
}

fn plan(fixture: &Fixture) -> Plan {
    Plan::new(&see(&fixture.layout, &[], None, fixture.now), &Wish::default(), fixture.now)
}

fn run(fixture: &Fixture) -> Written {
    write(&fixture.layout, &plan(fixture), Vec::new(), fixture.now).unwrap()
}

/// Mode, link target and content of everything below the root but certctl's own folder.
fn picture(fixture: &Fixture) -> BTreeMap<String, (u32, Vec<u8>)> {
    let files = fixture.files().into_iter().filter(|path| !path.starts_with("/var/lib/certctl"));
    let of = |path: String| {
        let real = fixture.layout.path(&path);
        let data = fs::symlink_metadata(&real).unwrap();
        let content = match fs::read_link(&real) {
            Ok(target) => target.into_os_string().into_encoded_bytes(),
            Err(_) => fs::read(&real).unwrap(),
        };
        (path, (data.permissions().mode() & 0o7777, content))
    };
    files.map(of).collect()
}

/// Everything on the node verifies at this time, with its key and against its CA.
fn assert_sound(fixture: &Fixture) {
    let inventory = inventory(&fixture.layout);
    for (name, held) in &inventory.held {
        let Held::Certificate { certificate, key } = held else {
            assert!(matches!(held, Held::Elsewhere(_)), "{name}: {held:?}");
            continue;
        };
        assert!(key.is_ok(), "{name}");
        let root = inventory.authorities[&name.authority()].certificate.clone();
        let usage = if certificate.client_auth() { Usage::Client } else { Usage::Server };
        verify(&[certificate.rustls_der()], &[root], usage, fixture.now)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let seen = see(&fixture.layout, &[], None, fixture.now);
    assert_eq!(seen.misplaced, BTreeMap::new());
    assert!(seen.trust.values().all(|trusted| trusted.iter().all(|ca| ca.is_valid_at(fixture.now))));
}

#[test]
fn everything_expired_is_valid_again_with_kubeadms_modes_and_labels() {
    let mut fixture = node();
    fixture.kubelet_serving(&fixture.ca);
    let before = picture(&fixture);
    years_later(&mut fixture, 1);
    let written = run(&fixture);
    assert_eq!(written.signed.len(), 12);
    assert_sound(&fixture);
    assert!(plan(&fixture).is_empty(), "a second run has nothing to do");
    let after = picture(&fixture);
    assert!(before.iter().all(|(path, (mode, _))| after[path].0 == *mode), "modes");
    let stays = ["/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/etcd/ca.key"];
    assert!(stays.iter().all(|path| before[*path] == after[*path]), "CAs that are valid stay");
    assert!(fixture.read("/etc/kubernetes/pki/apiserver.key").starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
    for link in [KUBELET_CLIENT, KUBELET_SERVER] {
        assert_ne!(before[link], after[link]);
        let pair = fixture.read(&String::from_utf8(after[link].1.clone()).unwrap());
        assert!(pair.starts_with("-----BEGIN CERTIFICATE-----\n") && pair.contains("-----BEGIN EC PRIVATE KEY-----\n"));
    }
    assert!(after.keys().all(|path| !path.contains(".certctl")), "{:?}", after.keys());
    let snapshot = fixture.layout.path(&written.snapshot);
    assert_eq!(fs::metadata(&snapshot).unwrap().permissions().mode() & 0o7777, 0o700);
    assert!(files_below(&fixture).iter().all(|path| !path.ends_with("/ca.key")), "no copy of a CA key");
}

fn files_below(fixture: &Fixture) -> Vec<String> {
    fixture.files().into_iter().filter(|path| path.starts_with("/var/lib/certctl/backup")).collect()
}

#[test]
fn expired_cas_keep_their_keys_and_every_kubeconfig_follows() {
    let mut fixture = node();
    let old = fixture.ca.certificate().clone();
    let keys =
        ["ca.key", "etcd/ca.key", "front-proxy-ca.key"].map(|key| fixture.read(&format!("/etc/kubernetes/pki/{key}")));
    years_later(&mut fixture, 10);
    run(&fixture);
    assert_sound(&fixture);
    let new = &fixture.certificates("/etc/kubernetes/pki/ca.crt")[0];
    assert_eq!((new.ca_id(), new.subject_key_id()), (old.ca_id(), old.subject_key_id()));
    assert_eq!(
        keys,
        ["ca.key", "etcd/ca.key", "front-proxy-ca.key"].map(|key| fixture.read(&format!("/etc/kubernetes/pki/{key}")))
    );
    for conf in [Conf::Admin, Conf::ControllerManager, Conf::Scheduler, Conf::Kubelet] {
        assert_eq!(fixture.kubeconfig(conf).ca_data().unwrap(), std::slice::from_ref(new), "{conf:?}");
    }
    assert_eq!(fixture.kubeconfig(Conf::Kubelet).client_certificate_file().as_deref(), Some(KUBELET_CLIENT));
    assert!(plan(&fixture).is_empty());
}

#[test]
fn undo_puts_back_every_byte_and_every_link_and_can_be_repeated() {
    for years in [1, 10] {
        let mut fixture = node();
        fs::remove_file(fixture.layout.path("/etc/kubernetes/scheduler.conf")).unwrap();
        fixture.write("/etc/kubernetes/pki/etcd/peer.key", "torn", 0o640);
        years_later(&mut fixture, years);
        let before = picture(&fixture);
        run(&fixture);
        assert_ne!(picture(&fixture), before);
        let (_, back) = undo(&fixture.layout, fixture.now).unwrap().unwrap();
        assert!(back.changed.contains(&"/etc/kubernetes/pki/apiserver.crt".to_owned()), "{back:?}");
        assert_eq!(back.kept, Vec::<String>::new());
        assert_eq!(picture(&fixture), before);
        assert!(undo(&fixture.layout, fixture.now).unwrap().is_none(), "there was one repair");
        run(&fixture);
        assert!(plan(&fixture).is_empty());
    }
}

#[test]
fn undo_leaves_what_others_have_written_since_and_both_halves_of_such_a_pair() {
    let mut fixture = node();
    years_later(&mut fixture, 1);
    let old = fixture.read("/etc/kubernetes/scheduler.conf");
    run(&fixture);
    let [crt, key] = ["crt", "key"].map(|end| format!("/etc/kubernetes/pki/front-proxy-client.{end}"));
    let repaired_key = fixture.read(&key);
    fixture.write(&crt, "a renewal with the same key", 0o644);
    let kubelets = "/var/lib/kubelet/pki/kubelet-client-2040-01-01-00-00-00.pem";
    fixture.write(kubelets, "the kubelet has rotated", 0o600);
    atomic::replace_symlink(&fixture.layout.path(KUBELET_CLIENT), Path::new(kubelets)).unwrap();
    assert!(!replaced(&fixture.layout).unwrap().contains(&crt));
    let (_, back) = undo(&fixture.layout, fixture.now).unwrap().unwrap();
    assert_eq!(back.kept, [crt.clone(), key.clone(), KUBELET_CLIENT.to_owned()]);
    assert_eq!(fixture.read(&crt), "a renewal with the same key");
    assert_eq!(fixture.read(&key), repaired_key);
    assert_eq!(fs::read_link(fixture.layout.path(KUBELET_CLIENT)).unwrap(), Path::new(kubelets));
    assert_eq!(fixture.read("/etc/kubernetes/scheduler.conf"), old, "what the repair wrote is put back");
}

#[test]
fn what_a_repair_has_replaced_is_known_until_it_is_undone() {
    let mut fixture = node();
    years_later(&mut fixture, 1);
    assert_eq!(replaced(&fixture.layout).unwrap(), Vec::<String>::new());
    run(&fixture);
    let files = replaced(&fixture.layout).unwrap();
    assert!(files.contains(&"/etc/kubernetes/scheduler.conf".to_owned()), "{files:?}");
    assert!(!files.contains(&"/etc/kubernetes/pki/ca.crt".to_owned()), "{files:?}");
    undo(&fixture.layout, fixture.now).unwrap();
    assert_eq!(replaced(&fixture.layout).unwrap(), Vec::<String>::new());
}

#[test]
fn a_repair_that_was_cut_off_keeps_the_first_state_for_undo() {
    let mut fixture = node();
    let now = years_later(&mut fixture, 1);
    let before = picture(&fixture);
    // As a crash leaves it: the snapshot complete, some files new.
    let mut snapshot = Snapshot::take(&fixture.layout, &[], now).unwrap();
    let mut part = plan(&fixture);
    part.steps.truncate(3);
    let signed = sign(&fixture.layout, &part, now).unwrap();
    let sets = sets(&fixture.layout, &part, &signed).unwrap();
    snapshot.will_write(contents(&fixture.layout, &sets, &[])).unwrap();
    replace_all(&sets).unwrap();
    put_right(&fixture.layout).unwrap();
    fixture.now += SignedDuration::from_secs(60);
    run(&fixture);
    assert_sound(&fixture);
    undo(&fixture.layout, fixture.now).unwrap().unwrap();
    assert_eq!(picture(&fixture), before);
}

#[test]
fn a_snapshot_that_was_cut_off_is_no_snapshot() {
    let mut fixture = node();
    let now = years_later(&mut fixture, 1);
    let name = format!("repair-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    fixture.write(&format!("/var/lib/certctl/backup/{name}/etc/kubernetes/pki/apiserver.key"), "half", 0o600);
    assert!(undo(&fixture.layout, now).unwrap().is_none());
    let before = picture(&fixture);
    run(&fixture);
    undo(&fixture.layout, now).unwrap().unwrap();
    assert_eq!(picture(&fixture), before, "the half copy was not put back");
}

#[test]
fn the_last_snapshot_is_the_one_that_was_taken_last_whatever_the_clock_showed_at_the_one_before() {
    let fixture = node();
    Snapshot::take(&fixture.layout, &[], fixture.now + SignedDuration::from_hours(24)).unwrap().finish().unwrap();
    let last = Snapshot::take(&fixture.layout, &[], fixture.now).unwrap().name();
    assert_eq!(Snapshot::last(&fixture.layout).unwrap().unwrap().name(), last);
}

#[test]
fn three_snapshots_are_kept() {
    let mut fixture = node();
    for _ in 0..5 {
        years_later(&mut fixture, 1);
        run(&fixture);
    }
    let kept = fs::read_dir(fixture.layout.backups()).unwrap().flatten();
    assert_eq!(kept.filter(|entry| entry.file_name().to_string_lossy().starts_with("repair-")).count(), 3);
}

#[test]
fn lost_and_torn_files_are_made_as_kubeadm_makes_them() {
    let fixture = node();
    for lost in ["pki/apiserver.crt", "pki/apiserver.key", "pki/apiserver-etcd-client.key", "scheduler.conf"] {
        fs::remove_file(fixture.layout.path("/etc/kubernetes").join(lost)).unwrap();
    }
    fixture.write(
        "/etc/kubernetes/manifests/kube-scheduler.yaml",
        &APISERVER.replace("--advertise-address=10.0.0.1", "--kubeconfig=/etc/kubernetes/scheduler.conf"),
        0o600,
    );
    fixture.write("/etc/kubernetes/kubelet.conf", "not: [yaml", 0o600);
    fs::remove_file(fixture.layout.path(KUBELET_CLIENT)).unwrap();
    let plan = plan(&fixture);
    assert_eq!(plan.blockers, []);
    let faults: BTreeMap<&str, &Fault> = plan.steps.iter().map(|step| (step.item.name.name(), &step.fault)).collect();
    assert_eq!(faults["apiserver"], &Fault::Lost);
    assert!(matches!(faults["apiserver-etcd-client"], Fault::KeyLost(_)));
    assert!(matches!(faults["kubelet.conf"], Fault::Unreadable(_)), "{faults:?}");
    run(&fixture);
    assert_sound(&fixture);
    let apiserver = &fixture.certificates("/etc/kubernetes/pki/apiserver.crt")[0];
    assert_eq!(apiserver.subject(), "CN=kube-apiserver");
    assert!(apiserver.dns_names().contains(&"kubernetes.default.svc.cluster.local".to_owned()));
    assert_eq!(fixture.mode("/etc/kubernetes/pki/apiserver.key"), 0o600);
    let scheduler = fixture.kubeconfig(Conf::Scheduler);
    assert_eq!((scheduler.server(), scheduler.user_name()), ("https://10.0.0.1:6443", "system:kube-scheduler"));
    assert_eq!(fixture.mode("/etc/kubernetes/scheduler.conf"), 0o600);
    let kubelet = fixture.kubeconfig(Conf::Kubelet).client_certificate().unwrap();
    assert_eq!(kubelet.subject(), "CN=system:node:cp-1,O=system:nodes");
}

#[test]
fn swapped_keys_are_named_and_both_pairs_get_keys_of_their_own() {
    let fixture = node();
    let (one, two) = ("/etc/kubernetes/pki/apiserver.key", "/etc/kubernetes/pki/etcd/peer.key");
    let (first, second) = (fixture.read(one), fixture.read(two));
    fixture.write(one, &second, 0o600);
    fixture.write(two, &first, 0o600);
    let plan = plan(&fixture);
    let faults: Vec<String> = plan.steps.iter().map(|step| format!("{:?}", step.fault)).collect();
    assert_eq!(
        faults,
        [
            format!("KeyMisplaced(\"the key in {two} belongs to /etc/kubernetes/pki/apiserver.crt\")"),
            format!("KeyMisplaced(\"the key in {one} belongs to /etc/kubernetes/pki/etcd/peer.crt\")"),
        ]
    );
    run(&fixture);
    assert_sound(&fixture);
}

#[test]
fn a_ca_key_in_the_wrong_place_is_named_and_nothing_is_signed_with_it() {
    let mut fixture = node();
    fixture.write("/etc/kubernetes/pki/ca.key", &fixture.read("/etc/kubernetes/pki/front-proxy-ca.key"), 0o600);
    years_later(&mut fixture, 1);
    let plan = plan(&fixture);
    let why = &plan.unable[&AuthorityName::Cluster];
    assert!(why.ends_with("/etc/kubernetes/pki/ca.crt, but to /etc/kubernetes/pki/front-proxy-ca.crt"), "{why}");
    assert!(plan.steps.iter().all(|step| step.item.name.authority() != AuthorityName::Cluster));
    assert_eq!((plan.steps.len(), plan.blockers.len()), (5, 0));
}

#[test]
fn without_the_ca_key_requests_wait_and_the_answers_go_in_their_places() {
    let mut fixture = node();
    let elsewhere = fixture.ca.clone();
    fs::remove_file(fixture.layout.path("/etc/kubernetes/pki/ca.key")).unwrap();
    let now = years_later(&mut fixture, 1);
    let first = plan(&fixture);
    let asked = request(&fixture.layout, &first).unwrap();
    assert_eq!(asked.len(), first.requests.len());
    assert!(asked.iter().all(|(_, pem)| pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----")));
    // The second run asks with the same keys.
    let keys = || fixture.read("/var/lib/certctl/requests/apiserver.key");
    let before = keys();
    request(&fixture.layout, &first).unwrap();
    assert_eq!(keys(), before);
    let signed: Vec<Certificate> = first
        .requests
        .iter()
        .map(|step| {
            let path = format!("/var/lib/certctl/requests/{}.key", step.item.name);
            let key = PrivateKey::from_pem(fixture.read(&path).as_bytes()).unwrap();
            elsewhere.reissue(&step.item.old, key.spki_der(), YEAR, now).unwrap()
        })
        .collect();
    let answers = answered(&fixture.layout, &first, &signed, now).unwrap();
    assert_eq!(answers.len(), signed.len());
    write(&fixture.layout, &first, answers, now).unwrap();
    assert_sound(&fixture);
    assert!(plan(&fixture).is_empty());
    let names: Vec<CertificateName> = first.requests.iter().map(|step| step.item.name).collect();
    forget_requests(&fixture.layout, &names).unwrap();
    assert_eq!(fs::read_dir(requests_folder(&fixture.layout)).unwrap().count(), 0, "no second copy of a key");
}

#[test]
fn a_certificate_for_the_right_key_and_another_name_is_refused() {
    let mut fixture = node();
    let elsewhere = fixture.ca.clone();
    fs::remove_file(fixture.layout.path("/etc/kubernetes/pki/ca.key")).unwrap();
    let now = years_later(&mut fixture, 1);
    let plan = plan(&fixture);
    request(&fixture.layout, &plan).unwrap();
    let key = PrivateKey::from_pem(fixture.read("/var/lib/certctl/requests/kubelet-client.key").as_bytes()).unwrap();
    let wrong =
        elsewhere.issue_client("system:node:cp-2", &["system:nodes".into()], key.spki_der(), YEAR, now).unwrap();
    let error = answered(&fixture.layout, &plan, &[wrong], now).unwrap_err();
    assert!(error.to_string().contains("its subject is `CN=system:node:cp-2"), "{error}");
}

#[test]
fn a_ca_that_another_node_has_prolonged_is_taken_and_a_stranger_is_not() {
    let mut fixture = node();
    let now = years_later(&mut fixture, 10);
    let made_there = fixture.ca.prolonged(YEAR, now).unwrap().certificate().clone();
    let stranger = made_authority("kubernetes", now).certificate().clone();
    let successors = |brought: &[Certificate]| see(&fixture.layout, brought, None, now).successors;
    assert_eq!(successors(&[stranger.clone(), made_there.clone()])[&AuthorityName::Cluster], made_there);
    let own = &successors(&[stranger])[&AuthorityName::Cluster];
    assert_eq!(own.ca_id(), fixture.ca_id());
    fs::remove_file(fixture.layout.path("/etc/kubernetes/pki/ca.key")).unwrap();
    assert!(!successors(&[]).contains_key(&AuthorityName::Cluster));
    assert_eq!(
        successors(std::slice::from_ref(&made_there))[&AuthorityName::Cluster],
        made_there,
        "a worker has no key"
    );
}

#[test]
fn a_node_is_signed_for_with_the_lifetime_of_this_nodes_kubelet() {
    let fixture = node();
    let key = PrivateKey::generate(ALGORITHM).unwrap();
    let groups = ["system:nodes".to_owned()];
    let made =
        |validity| sign_client(&fixture.layout, ("system:node:w-1", &groups), key.spki_der(), validity, fixture.now);
    assert_eq!(made(None).unwrap().not_after(), fixture.now + YEAR);
    let day = SignedDuration::from_hours(24);
    let short = made(Some(day)).unwrap();
    assert_eq!((short.not_after(), short.subject().as_str()), (fixture.now + day, "CN=system:node:w-1,O=system:nodes"));
}

#[test]
fn an_etcd_that_was_silent_for_years_makes_the_clock_doubtful() {
    let mut fixture = node();
    fixture.write("/var/lib/etcd/member/wal/0.wal", "", 0o600);
    let wrote = crate::node::files_changed(&fixture.layout.path("/var/lib/etcd/member/wal/0.wal")).unwrap();
    fixture.now = wrote + YEAR * 2;
    assert_eq!(plan(&fixture).clock, Clock::MaybeAhead { last_life: wrote });
    fixture.now = wrote + SignedDuration::from_hours(24);
    assert_eq!(plan(&fixture).clock, Clock::Plausible);
}

#[test]
fn a_name_that_is_no_plain_file_is_refused_and_nothing_has_changed() {
    let mut fixture = node();
    let place = fixture.layout.path("/etc/kubernetes/pki/etcd/peer.key");
    fs::rename(&place, place.with_extension("elsewhere")).unwrap();
    std::os::unix::fs::symlink("peer.elsewhere", &place).unwrap();
    years_later(&mut fixture, 1);
    let before = picture(&fixture);
    let error = write(&fixture.layout, &plan(&fixture), Vec::new(), fixture.now).unwrap_err();
    assert!(crate::node::in_full(&error).contains("peer.key: it is not a regular file"), "{error}");
    assert_eq!(picture(&fixture), before);
}
