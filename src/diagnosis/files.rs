//! Items about the files of nodes: CAs, leaves, kubeconfigs, and how kubelets get their certificates.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use super::check::{Check, Group};
use super::ledger::{Ledger, Subject};
use crate::inspection::{Evidence, FindingId, InspectRow, NodeView, Presence, covers, reads_once};
use crate::plan::CertificateKind;
use crate::rotation::{Blocker, Topic};

const VALIDITY: &[FindingId] =
    &[FindingId::Expired, FindingId::Expiring, FindingId::NotYetValid, FindingId::OutlivesCa, FindingId::Unreadable];
const KEY: &[FindingId] =
    &[FindingId::KeyMismatch, FindingId::KeyUnreadable, FindingId::KeyMissing, FindingId::WeakKey];
const ISSUER: &[FindingId] = &[FindingId::ForeignIssuer, FindingId::WeakSignature, FindingId::ServingSelfSigned];
const FILES: &[FindingId] = &[
    FindingId::KeyReadable,
    FindingId::Writable,
    FindingId::WrongOwner,
    FindingId::Symlink,
    FindingId::HardLink,
    FindingId::NotAFile,
    FindingId::HugeFile,
    FindingId::CaKeyOnWorker,
];
const CA: &[FindingId] = &[FindingId::CaWithoutCaBit, FindingId::AmbiguousCa, FindingId::WeakSignature];

const APISERVER: &str = "/etc/kubernetes/pki/apiserver.crt";
const ETCD_SERVER: &str = "/etc/kubernetes/pki/etcd/server.crt";
const ETCD_PEER: &str = "/etc/kubernetes/pki/etcd/peer.crt";
const KUBELET_SERVER: &str = "/var/lib/kubelet/pki/kubelet-server-current.pem";

/// The certificates of one file.
struct File<'a> {
    node: &'a str,
    path: &'a str,
    rows: Vec<&'a InspectRow>,
    view: Option<&'a NodeView>,
}

pub(super) fn judge(evidence: &Evidence, blockers: &[Blocker], ledger: &mut Ledger<'_>) {
    let files = files(evidence);
    let serves = |row: &&InspectRow| {
        let certificate = &row.certificate;
        certificate.path == APISERVER && certificate.index == 0 && !certificate.sans.is_empty()
    };
    let servers: Vec<&InspectRow> = evidence.rows.iter().filter(serves).collect();
    for file in &files {
        match file.group() {
            Group::Authorities => authority(file, &files, blockers, ledger),
            Group::Kubeconfigs => kubeconfig(file, &servers, ledger),
            group => leaf(file, group, ledger),
        }
    }
    same(&files, ledger);
    for (name, view) in &evidence.nodes {
        settings(name, view, ledger);
    }
}

/// The files where kubeadm and the kubelet keep certificates, in the order of rows.
fn files(evidence: &Evidence) -> Vec<File<'_>> {
    let mut files: Vec<File<'_>> = Vec::new();
    let mut known: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in &evidence.rows {
        let (node, path) = (row.node.as_deref().unwrap_or_default(), row.certificate.path.as_str());
        if !evidence.nodes.contains_key(node)
            || !(path.starts_with("/etc/kubernetes/") || path.starts_with("/var/lib/kubelet/"))
        {
            continue;
        }
        let place = *known.entry((node, path)).or_insert(files.len());
        match files.get_mut(place) {
            Some(file) => file.rows.push(row),
            None => files.push(File { node, path, rows: vec![row], view: evidence.nodes.get(node) }),
        }
    }
    files
}

impl File<'_> {
    fn group(&self) -> Group {
        match self.path {
            path if path.ends_with("ca.crt") => Group::Authorities,
            path if path.ends_with(".conf") => Group::Kubeconfigs,
            path if path.starts_with("/var/lib/kubelet/") => Group::Kubelets,
            _ => Group::Certificates,
        }
    }

    /// kubeadm's name of it.
    fn name(&self) -> String {
        crate::inspection::kubeadm_name(self.path).into_owned()
    }

    fn subject(&self, group: Group) -> Subject {
        Subject::on(group, self.node, self.name()).at(self.rows.iter().map(|row| row.place().1))
    }

    /// The certificate and its key, which findings about modes and owners name each for itself.
    fn on_disk(&self, group: Group) -> Subject {
        let key = self.path.strip_suffix(".crt").map(|stem| format!("{stem}.key"));
        Subject::on(group, self.node, self.name()).at(std::iter::once(self.path.to_owned()).chain(key))
    }

    fn first(&self) -> Option<&InspectRow> {
        self.rows.first().copied().filter(|row| !row.certificate.not_after.is_empty())
    }

    /// A fact of the first certificate; empty where there is none, which `validity` says.
    fn seen(&self, fact: impl Fn(&InspectRow) -> String) -> String {
        self.first().map(fact).unwrap_or_default()
    }

    fn has_key(&self) -> bool {
        self.rows.iter().any(|row| row.certificate.key_mode.is_some())
    }

    fn is_control_plane(&self) -> bool {
        self.view.is_some_and(|view| view.facts.control_plane)
    }
}

fn until(row: &InspectRow) -> String {
    format!("valid until {}", row.certificate.not_after)
}

fn signer(row: &InspectRow) -> String {
    format!("signed by {}", row.signed_by.as_ref().unwrap_or(&row.certificate.issuer))
}

/// What every file of certificates must satisfy.
fn common(file: &File<'_>, group: Group, ledger: &mut Ledger<'_>) {
    ledger.judge(&file.subject(group), Check::Validity, VALIDITY, file.seen(until));
    let mode = |row: &InspectRow| row.certificate.key_mode.as_ref().map(|mode| format!("the key's mode is {mode}"));
    ledger.judge(&file.on_disk(group), Check::Files, FILES, file.seen(|row| mode(row).unwrap_or_default()));
    loaded(file, group, ledger);
}

fn authority(file: &File<'_>, all: &[File<'_>], blockers: &[Blocker], ledger: &mut Ledger<'_>) {
    let (group, subject) = (Group::Authorities, file.subject(Group::Authorities));
    common(file, group, ledger);
    ledger.judge(&subject, Check::Usage, CA, "it is a CA");
    let count = file.rows.len();
    let alone = if count == 1 { "one CA".to_owned() } else { format!("{count} CAs: a rotation is under way") };
    ledger.judge(&subject, Check::Alone, &[FindingId::LeftoverBundle], alone);
    authority_key(file, all, blockers, ledger);
}

/// On control-plane nodes: every one has the key, or none has, and then the CA is kept elsewhere.
fn authority_key(file: &File<'_>, all: &[File<'_>], blockers: &[Blocker], ledger: &mut Ledger<'_>) {
    let subject = file.subject(Group::Authorities);
    let object = format!("node/{}", file.node);
    let about_key = |blocker: &&Blocker| blocker.topic == Topic::KeyMismatch && blocker.object == object;
    if !file.is_control_plane() {
        return;
    }
    let elsewhere = all.iter().find(|other| other.path == file.path && other.is_control_plane() && other.has_key());
    if let Some(blocker) = blockers.iter().find(about_key).filter(|_| file.path == "/etc/kubernetes/pki/ca.crt") {
        ledger.take(&subject, KEY);
        ledger.add(&subject, Check::Key, Verdict::Failed, &blocker.problem, &blocker.remedy);
    } else if file.has_key() {
        ledger.judge(&subject, Check::Key, KEY, file.seen(|row| row.certificate.key_algorithm.to_string()));
    } else if let Some(other) = elsewhere {
        let message = format!("its key is not on this node, but it is on node {}", other.node);
        let remedy =
            format!("copy {} from there: this node signs and joins nothing", file.path.replace(".crt", ".key"));
        ledger.add(&subject, Check::Key, Verdict::Warning, message, remedy);
    } else {
        ledger.judge(&subject, Check::Key, KEY, "no node keeps its key: the CA is external");
    }
}

/// Each CA file on all nodes that have it.
fn same(files: &[File<'_>], ledger: &mut Ledger<'_>) {
    let mut by_path: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.group() == Group::Authorities && !file.node.is_empty()) {
        by_path.entry(file.path).or_default().push(file.node);
    }
    for (path, nodes) in by_path {
        let subject = Subject::new(Group::Authorities, crate::inspection::kubeadm_name(path)).at([path.to_owned()]);
        let count = nodes.len();
        let seen = if count == 1 { "on one node".to_owned() } else { format!("the same on {count} nodes") };
        ledger.judge_all(&subject, Check::Same, &[FindingId::NodesDiffer], seen, &nodes);
    }
}

fn leaf(file: &File<'_>, group: Group, ledger: &mut Ledger<'_>) {
    let subject = file.subject(group);
    common(file, group, ledger);
    ledger.judge(&subject, Check::Issuer, ISSUER, file.seen(signer));
    ledger.judge(&subject, Check::Key, KEY, file.seen(|row| row.certificate.key_algorithm.to_string()));
    ledger.judge(&subject, Check::Usage, &[FindingId::WrongUsage], file.seen(|row| row.certificate.usages.join(", ")));
    names(file, &subject, ledger);
}

/// Of servers, as far as the files say which names are needed.
fn names(file: &File<'_>, subject: &Subject, ledger: &mut Ledger<'_>) {
    let facts = file.view.map(|view| &view.facts);
    let known = match file.path {
        APISERVER => facts.is_some_and(|facts| facts.apiserver.is_some()),
        ETCD_SERVER | ETCD_PEER => facts.is_some_and(|facts| !facts.etcd_hosts.is_empty()),
        KUBELET_SERVER => true,
        _ => return,
    };
    if known {
        let seen = file.seen(|row| row.certificate.sans.join(", "));
        return ledger.judge(subject, Check::Names, &[FindingId::MissingSan], seen);
    }
    let message = "no manifest of its server says which names it needs";
    let remedy =
        "put the manifest back into /etc/kubernetes/manifests, or look at the names with `certctl inspect -o wide`";
    ledger.add(subject, Check::Names, Verdict::Unknown, message, remedy);
}

fn kubeconfig(file: &File<'_>, servers: &[&InspectRow], ledger: &mut Ledger<'_>) {
    let (group, subject) = (Group::Kubeconfigs, file.subject(Group::Kubeconfigs));
    common(file, group, ledger);
    if file.rows.iter().any(|row| row.certificate.kind == CertificateKind::KubeconfigClient) {
        ledger.judge(&subject, Check::Issuer, ISSUER, file.seen(signer));
        ledger.judge(&subject, Check::Key, KEY, file.seen(|row| row.certificate.key_algorithm.to_string()));
        let usages = file.seen(|row| row.certificate.usages.join(", "));
        ledger.judge(&subject, Check::Usage, &[FindingId::WrongUsage], usages);
    }
    let trust = file.rows.iter().filter_map(|row| row.certificate.ca_id.as_ref());
    let trust: BTreeSet<&str> = trust.map(|ca| ca.short()).collect();
    let seen = format!("CA {}", trust.into_iter().collect::<Vec<_>>().join(" "));
    let ids = [FindingId::TrustDiffers, FindingId::LeftoverBundle, FindingId::CaWithoutCaBit, FindingId::AmbiguousCa];
    ledger.judge(&subject, Check::Trusts, &ids, seen);
    server(file, &subject, servers, ledger);
}

/// The certificate of some API server must be valid for the name of the kubeconfig's server; which one answers is a balancer's business.
fn server(file: &File<'_>, subject: &Subject, servers: &[&InspectRow], ledger: &mut Ledger<'_>) {
    let Some(host) = file.view.and_then(|view| view.facts.servers.get(&file.name())) else { return };
    if servers.is_empty() {
        // A worker's files alone say nothing about API servers.
        if !file.node.is_empty() {
            let remedy = "bring the agents of the control-plane nodes back, which report them";
            ledger.add(subject, Check::Server, Verdict::Unknown, "no API server's certificate was seen", remedy);
        }
        return;
    }
    if servers.iter().any(|row| covers(&row.certificate.sans, host)) {
        return ledger.satisfied(subject, Check::Server, host.clone());
    }
    let message = format!("its server is called {host}, and no API server's certificate is valid for that");
    let remedy = format!(
        "make apiserver.crt anew with this name (certSANs in kubeadm's configuration), or correct the server in {}",
        file.path
    );
    ledger.add(subject, Check::Server, Verdict::Failed, message, remedy);
}

/// What a process has read that does not read it again.
fn loaded(file: &File<'_>, group: Group, ledger: &mut Ledger<'_>) {
    let Some(state) = file.view.and_then(|view| view.state.as_ref()) else { return };
    // What a kubelet serves is seen in a handshake.
    let once = |row: &&InspectRow| {
        let certificate = &row.certificate;
        certificate.index == 0
            && certificate.kind != CertificateKind::KubeletServing
            && reads_once(certificate, state).is_some()
    };
    let read: Vec<&InspectRow> = file.rows.iter().copied().filter(once).collect();
    let Some(reader) = read.first().and_then(|row| reads_once(&row.certificate, state)) else { return };
    let subject = file.subject(group);
    let against = ledger.against(&subject, &[FindingId::NotLoaded]);
    if against || read.iter().all(|row| row.state.contains(&Presence::Loaded)) {
        return ledger.judge(&subject, Check::Loaded, &[FindingId::NotLoaded], format!("{reader} has it loaded"));
    }
    let message = format!("the file changed before the agent could see what {reader} had read at its start");
    ledger.add(
        &subject,
        Check::Loaded,
        Verdict::Unknown,
        message,
        format!("restart {reader} on this node; then it is known"),
    );
}

/// What the manifests and the kubelet's configuration say.
fn settings(name: &str, view: &NodeView, ledger: &mut Ledger<'_>) {
    if view.facts.control_plane {
        let subject = Subject::on(Group::Certificates, name, "manifests").at(view.facts.missing.iter().cloned());
        ledger.judge(&subject, Check::Present, &[FindingId::Missing], "every file that they name is there");
    }
    let conf = Subject::on(Group::Kubelets, name, "kubelet.conf").at(["/etc/kubernetes/kubelet.conf".to_owned()]);
    let config = Subject::on(Group::Kubelets, name, "kubelet config").at(["/var/lib/kubelet/config.yaml".to_owned()]);
    if view.facts.kubelet.is_none() {
        let message = "/var/lib/kubelet/config.yaml cannot be read";
        return ledger.add(
            &config,
            Check::Renewal,
            Verdict::Unknown,
            message,
            "look whether a kubelet runs there, and with which --config",
        );
    }
    let ids = [FindingId::NoBootstrap, FindingId::EmbeddedCredential];
    ledger.judge(&conf, Check::Bootstrap, &ids, "it refers to kubelet-client-current.pem");
    ledger.judge(&config, Check::Renewal, &[FindingId::NoRotation], "rotateCertificates is on");
}
