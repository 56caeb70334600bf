//! What is odd about the files of a PKI, and what the manifests and the kubelet's configuration say about the certificates needed.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hyper::Uri;

use super::addresses::{command, host};
use super::layout::{CA_KEY, KUBELET_CLIENT, KUBELET_SERVER, Layout};
use super::whole_file::{self, LONGEST, kind_of};
use crate::pki::{Kubeconfig, read_yaml};
use crate::plan::{ApiserverFacts, Component, FileFault, KubeletFacts, NodeFacts, OddFile};

/// Flags that name a certificate file, by component.
const FILES: [(Component, &[&str]); 3] = [
    (
        Component::KubeApiserver,
        &[
            "--client-ca-file",
            "--etcd-cafile",
            "--etcd-certfile",
            "--kubelet-client-certificate",
            "--proxy-client-cert-file",
            "--requestheader-client-ca-file",
            "--tls-cert-file",
        ],
    ),
    (Component::Etcd, &["--cert-file", "--peer-cert-file", "--trusted-ca-file", "--peer-trusted-ca-file"]),
    (Component::KubeControllerManager, &["--root-ca-file", "--cluster-signing-cert-file"]),
];

/// Odd files reported: a report has a limit, and who has so many has one cause.
const MOST: usize = 64;
/// Folders within folders that are looked into.
const DEEPEST: u8 = 4;

/// Reads them. What is absent says nothing.
pub(super) fn read(layout: &Layout) -> NodeFacts {
    let control_plane = layout.is_control_plane();
    NodeFacts {
        control_plane,
        apiserver: control_plane.then(|| apiserver(layout)),
        etcd_hosts: etcd_hosts(layout),
        kubelet: kubelet(layout),
        missing: missing(layout),
        odd_files: odd_files(layout, control_plane),
        ..NodeFacts::default()
    }
}

/// The name that a kubeconfig wants in its server's certificate: the host, without brackets, unless it says otherwise.
pub(super) fn server_host(conf: &Kubeconfig) -> Option<String> {
    conf.tls_server_name().or_else(|| host(&conf.server().parse().ok()?))
}

fn apiserver(layout: &Layout) -> ApiserverFacts {
    let command = command(layout, Component::KubeApiserver);
    let flag = |name| command.flag(name).unwrap_or_default();
    let issuer = flag("--service-account-issuer");
    // kubeadm: https://kubernetes.default.svc.DOMAIN (`phases/controlplane/manifests.go`).
    let domain = issuer.strip_prefix("https://kubernetes.default.svc.").unwrap_or_default();
    ApiserverFacts {
        advertise_address: flag("--advertise-address"),
        service_range: flag("--service-cluster-ip-range"),
        dns_domain: domain.trim_end_matches('/').to_owned(),
    }
}

fn etcd_hosts(layout: &Layout) -> Vec<String> {
    let command = command(layout, Component::Etcd);
    let urls = ["--advertise-client-urls", "--initial-advertise-peer-urls"].map(|flag| command.flag(flag));
    let mut hosts: Vec<String> = urls
        .iter()
        .flatten()
        .flat_map(|urls| urls.split(','))
        .filter_map(|url| host(&url.parse::<Uri>().ok()?))
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn kubelet(layout: &Layout) -> Option<KubeletFacts> {
    let yaml = whole_file::read(&layout.path("/var/lib/kubelet/config.yaml")).ok()?;
    let config = read_yaml(&String::from_utf8_lossy(&yaml)).ok()?;
    let conf = whole_file::text(&layout.path("/etc/kubernetes/kubelet.conf"));
    let conf = Kubeconfig::parse(&conf).ok();
    let refers = |conf: &Kubeconfig| conf.client_certificate_file().as_deref() == Some(KUBELET_CLIENT);
    Some(KubeletFacts {
        rotates: config["rotateCertificates"].as_bool().unwrap_or(false),
        server_bootstrap: config["serverTLSBootstrap"].as_bool().unwrap_or(false),
        conf_refers: conf.as_ref().is_some_and(refers),
        conf_embeds: conf.as_ref().is_some_and(|conf| conf.client_certificate_pem().is_some()),
    })
}

/// Files that manifests refer to and that are not there.
fn missing(layout: &Layout) -> Vec<String> {
    let mut missing = Vec::new();
    for (component, flags) in FILES {
        let command = command(layout, component);
        let named = flags.iter().filter_map(|flag| command.flag(flag));
        // Other paths may be of a volume, and say nothing about the node.
        missing.extend(named.filter(|path| path.starts_with("/etc/kubernetes/") && !layout.path(path).exists()));
    }
    missing.sort();
    missing.dedup();
    missing
}

fn odd_files(layout: &Layout, control_plane: bool) -> Vec<OddFile> {
    let owner = fs::metadata(layout.root()).map_or(0, |root| root.uid());
    let mut walk = Walk { layout, owner, found: Vec::new() };
    walk.folder(&layout.path("/etc/kubernetes/pki"), DEEPEST);
    walk.folder(&layout.path("/var/lib/kubelet/pki"), 1);
    for conf in crate::plan::Conf::ALL {
        walk.entry(&layout.conf(conf), 0);
    }
    if !control_plane && layout.path(CA_KEY).exists() {
        walk.odd(&layout.path(CA_KEY), FileFault::CaKeyOnWorker, String::new());
    }
    walk.found.sort();
    walk.found.truncate(MOST);
    walk.found
}

struct Walk<'a> {
    layout: &'a Layout,
    /// Whom the root belongs to: in a copy of a node's files everything is one user's.
    owner: u32,
    found: Vec<OddFile>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, depth: u8) {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(folder).map(|all| all.flatten().map(|entry| entry.path()).collect()).unwrap_or_default();
        entries.sort();
        entries.iter().for_each(|path| self.entry(path, depth));
    }

    fn entry(&mut self, path: &Path, depth: u8) {
        let Ok(data) = fs::symlink_metadata(path) else { return };
        let kind = data.file_type();
        if kind.is_dir() {
            if is_certificate_file(path) {
                self.odd(path, FileFault::Folder, String::new());
            } else if depth > 0 {
                self.folder(path, depth - 1);
            }
        } else if kind.is_symlink() {
            let moves = [KUBELET_CLIENT, KUBELET_SERVER].iter().any(|link| *path == self.layout.path(link));
            if !moves {
                let target = fs::read_link(path).map(|target| target.display().to_string());
                self.odd(path, FileFault::SymbolicLink, target.unwrap_or_default());
                // What is behind the kubelet's own links stands beside them.
                if let Ok(data) = fs::metadata(self.layout.resolve(path))
                    && data.is_file()
                {
                    self.file(path, &data);
                }
            }
        } else if kind.is_file() {
            self.file(path, &data);
        } else {
            self.odd(path, FileFault::NotAFile, kind_of(kind).to_owned());
        }
    }

    fn file(&mut self, path: &Path, data: &fs::Metadata) {
        let mode = data.permissions().mode() & 0o7777;
        if data.len() > LONGEST {
            return self.odd(path, FileFault::Huge, data.len().to_string());
        }
        if data.nlink() > 1 {
            self.odd(path, FileFault::HardLink, data.nlink().to_string());
        }
        if data.uid() != 0 && data.uid() != self.owner {
            self.odd(path, FileFault::Owner, data.uid().to_string());
        }
        if mode & 0o022 != 0 {
            self.odd(path, FileFault::WritableByOthers, format!("{mode:04o}"));
        }
        if mode & 0o044 != 0 && holds_key(&self.layout.resolve(path)) {
            let fault = if mode & 0o004 != 0 { FileFault::KeyReadableByAll } else { FileFault::KeyReadableByGroup };
            self.odd(path, fault, format!("{mode:04o}"));
        }
    }

    fn odd(&mut self, path: &Path, fault: FileFault, detail: String) {
        self.found.push(OddFile { path: self.layout.on_node(path), fault, detail });
    }
}

fn is_certificate_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    matches!(extension, "crt" | "key" | "pem" | "pub" | "conf")
}

/// By content, not by name: a bundle may be called `.pem`, and a kubeconfig may refer to its key.
fn holds_key(path: &Path) -> bool {
    let Ok(bytes) = whole_file::read(path) else { return false };
    let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    has(b"PRIVATE KEY-----") || has(b"client-key-data:") || has(b"\"client-key-data\"") || has(b"token:")
}
