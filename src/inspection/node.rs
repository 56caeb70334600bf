//! What is wrong with a node beyond single certificates: its files, its kubelet, what its processes have not read again.

use jiff::Timestamp;

use super::expected::{APISERVER, ETCD_SERVER};
use super::finding::about;
use super::row::{has_loaded, reader};
use super::{Finding, FindingId, InspectRow, NodeView, Severity};
use crate::plan::{CertificateKind, CertificateRow, FileFault, KubeletFacts, OddFile};

const KUBELET_SERVER: &str = "/var/lib/kubelet/pki/kubelet-server-current.pem";

/// A certificate against what its process has loaded and its endpoint serves.
pub(super) fn judge_row(row: &InspectRow, view: &NodeView, now: Timestamp, found: &mut Vec<Finding>) {
    let certificate = &row.certificate;
    if certificate.kind == CertificateKind::KubeletServing && certificate.index == 0 && certificate.issuer_id.is_none()
    {
        let message = "no CA that the node knows signed it, so API servers cannot verify this kubelet".to_owned();
        let remedy = "set serverTLSBootstrap in the kubelet's configuration and approve its requests";
        found.push(about(row.place(), Severity::Info, FindingId::ServingSelfSigned, message, remedy));
    }
    let Some(state) = &view.state else { return };
    if certificate.index == 0
        && has_loaded(certificate, state) == Some(false)
        && let Some((name, process)) = reader(certificate, state)
    {
        let held = process.conf.as_ref().map_or(0, |conf| conf.not_after);
        let dead = certificate.kind != CertificateKind::Authority && held > 0 && held < now.as_second();
        let severity = if dead { Severity::Error } else { Severity::Warning };
        let dead = if dead { ", and that one has expired" } else { "" };
        let message = format!("{name} still has an older one in memory{dead}");
        found.push(about(row.place(), severity, FindingId::NotLoaded, message, format!("restart {name} on this node")));
    }
    let endpoint = match certificate.path.as_str() {
        APISERVER => "kube-apiserver",
        ETCD_SERVER => "etcd",
        KUBELET_SERVER => "kubelet",
        _ => return,
    };
    let served = state.endpoints.get(endpoint).map(|endpoint| endpoint.serial.as_str()).unwrap_or_default();
    if certificate.index == 0 && !served.is_empty() && served != certificate.serial {
        let message = format!("{endpoint} serves serial {served}, the file has {}", certificate.serial);
        let remedy = format!("wait a minute for it to read the file again; then restart {endpoint} on this node");
        found.push(about(row.place(), Severity::Warning, FindingId::NotServed, message, remedy));
    }
}

/// A node's files and its kubelet.
pub(super) fn judge(name: &str, view: &NodeView, rows: &[InspectRow], found: &mut Vec<Finding>) {
    for file in &view.facts.odd_files {
        found.push(odd(name, file));
    }
    for path in &view.facts.missing {
        let message = "a manifest refers to it, and it is not there";
        let remedy = "put it back from a back-up, or have it made anew by `certctl repair`";
        found.push(about((Some(name), path.clone()), Severity::Error, FindingId::Missing, message, remedy));
    }
    if let Some(kubelet) = &view.facts.kubelet {
        let own = |row: &&InspectRow| row.node.as_deref().unwrap_or_default() == name;
        let embedded =
            rows.iter().filter(own).map(|row| &row.certificate).find(|row| {
                row.path == "/etc/kubernetes/kubelet.conf" && row.kind == CertificateKind::KubeconfigClient
            });
        judge_kubelet(name, kubelet, embedded, found);
    }
}

fn judge_kubelet(name: &str, kubelet: &KubeletFacts, embedded: Option<&CertificateRow>, found: &mut Vec<Finding>) {
    let conf = || (Some(name), "/etc/kubernetes/kubelet.conf".to_owned());
    let refer = "let client-certificate and client-key refer to /var/lib/kubelet/pki/kubelet-client-current.pem, then restart the kubelet";
    if kubelet.conf_embeds {
        let until = embedded.map(|row| row.not_after.as_str()).filter(|until| !until.is_empty());
        let dies = until.map(|until| format!(" and ends at {until}")).unwrap_or_default();
        let message = format!("the kubelet's client certificate stands in it, which nobody renews{dies}");
        found.push(about(conf(), Severity::Warning, FindingId::EmbeddedCredential, message, refer));
    } else if !kubelet.conf_refers {
        let message = "it does not use the certificate that the kubelet gets by TLS bootstrap and renews";
        found.push(about(conf(), Severity::Warning, FindingId::NoBootstrap, message, refer));
    }
    if !kubelet.rotates {
        let place = (Some(name), "/var/lib/kubelet/config.yaml".to_owned());
        let message = "rotateCertificates is not set, so the kubelet lets its certificate expire";
        let remedy = "set `rotateCertificates: true` and restart the kubelet";
        found.push(about(place, Severity::Warning, FindingId::NoRotation, message, remedy));
    }
}

fn odd(name: &str, file: &OddFile) -> Finding {
    let OddFile { path, fault, detail } = file;
    let (severity, id, message, remedy) = match fault {
        FileFault::KeyReadableByAll => (
            Severity::Error,
            FindingId::KeyReadable,
            format!("it holds a private key and has mode {detail}: everybody on the machine can read it"),
            format!("run `chmod 0600 {path}`, and renew what the key is for if others were on the machine"),
        ),
        FileFault::KeyReadableByGroup => (
            Severity::Warning,
            FindingId::KeyReadable,
            format!("it holds a private key and has mode {detail}: a group can read it"),
            format!("run `chmod 0600 {path}`, unless the control plane runs without root and needs the group"),
        ),
        FileFault::WritableByOthers => (
            Severity::Error,
            FindingId::Writable,
            format!("it has mode {detail}: others can put another certificate or key there"),
            format!("run `chmod go-w {path}`"),
        ),
        FileFault::Owner => (
            Severity::Warning,
            FindingId::WrongOwner,
            format!("it belongs to user id {detail}"),
            format!("run `chown root {path}`, unless the component runs as that user"),
        ),
        FileFault::SymbolicLink => (
            Severity::Warning,
            FindingId::Symlink,
            format!(
                "it is a symbolic link to {detail}: `renew` and `repair` refuse it, a rotation replaces the link, not its target"
            ),
            "put the file itself there".to_owned(),
        ),
        FileFault::HardLink => (
            Severity::Warning,
            FindingId::HardLink,
            format!("the file has {detail} names"),
            format!(
                "copy it, and put the copy in its place: `cp --preserve {path} {path}.new && mv {path}.new {path}`"
            ),
        ),
        FileFault::NotAFile | FileFault::Folder => {
            let what = if detail.is_empty() { "a folder" } else { detail };
            (Severity::Warning, FindingId::NotAFile, format!("it is {what}, not a file"), "move it away".to_owned())
        }
        FileFault::Huge => (
            Severity::Warning,
            FindingId::HugeFile,
            format!("it has {detail} bytes, which no certificate file has; it was not read"),
            "move it away".to_owned(),
        ),
        FileFault::CaKeyOnWorker => (
            Severity::Error,
            FindingId::CaKeyOnWorker,
            "it is the key of a CA, and this node is no control-plane node".to_owned(),
            "remove it; who had root on this node can have signed anything, so think of `certctl rotate-ca`".to_owned(),
        ),
    };
    about((Some(name), path.clone()), severity, id, message, remedy)
}
