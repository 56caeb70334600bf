//! kubeadm's and certctl's paths below a root (kubeadm: `cmd/kubeadm/app/constants/constants.go`).

use std::fs;
use std::path::{Component as PathPart, Path, PathBuf};

use crate::plan::{Component, Conf, Leaf};

/// The pair of kube-controller-manager's own signing file, as the process in the pod sees it.
pub const SIGNER: &str = "/etc/kubernetes/pki/certctl/signer.pem";
/// The stock signing certificate and trust bundle.
pub const CA_CERT: &str = "/etc/kubernetes/pki/ca.crt";
/// The stock signing key.
pub const CA_KEY: &str = "/etc/kubernetes/pki/ca.key";
/// The kubelet's client certificate: a symlink that the kubelet moves on at each renewal.
pub const KUBELET_CLIENT: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
/// The kubelet's serving certificate with `serverTLSBootstrap`: a symlink as well.
pub const KUBELET_SERVER: &str = "/var/lib/kubelet/pki/kubelet-server-current.pem";
/// Where the kubelet looks for static pods.
pub const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Where manifests stand while their pod is out: the same file system, outside the folder that the kubelet watches.
pub const PARKED: &str = "/etc/kubernetes/certctl-parked";
/// certctl's own folder.
pub const STATE: &str = "/var/lib/certctl";
/// Snapshots of etcd.
pub const SNAPSHOTS: &str = "/var/lib/certctl/snapshots";
/// The agent's program with its loader and libraries, for the host's unit.
pub const PROGRAM: &str = "/var/lib/certctl/bin";
/// Where the administrator's units stand (systemd.unit(5)).
pub const UNITS: &str = "/etc/systemd/system";

/// PEM certificate files of kubeadm under `/etc/kubernetes/pki` (`cmd/kubeadm/app/phases/certs/certlist.go`): file, and the key
/// beside it.
pub const PKI_FILES: [(&str, &str); 10] = [
    ("ca.crt", "ca.key"),
    ("apiserver.crt", "apiserver.key"),
    ("apiserver-kubelet-client.crt", "apiserver-kubelet-client.key"),
    ("front-proxy-ca.crt", "front-proxy-ca.key"),
    ("front-proxy-client.crt", "front-proxy-client.key"),
    ("etcd/ca.crt", "etcd/ca.key"),
    ("etcd/server.crt", "etcd/server.key"),
    ("etcd/peer.crt", "etcd/peer.key"),
    ("etcd/healthcheck-client.crt", "etcd/healthcheck-client.key"),
    ("apiserver-etcd-client.crt", "apiserver-etcd-client.key"),
];

/// Turns paths of the node ("/etc/kubernetes/…") into paths of this process: everything stands below one root, which is `/` on
/// the node itself, the mount point in the agent's pod, and a temporary folder in tests.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Everything below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of this process for an absolute path of the node.
    #[must_use]
    pub fn path(&self, on_node: &str) -> PathBuf {
        self.root.join(on_node.trim_start_matches('/'))
    }

    /// The path of the node for a path of this process, for messages and rows.
    #[must_use]
    pub fn on_node(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).map_or_else(|_| path.display().to_string(), |rest| format!("/{}", rest.display()))
    }

    /// Follows a symlink as the node would: an absolute target is looked up below the root again. At most eight links.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let mut current = path.to_path_buf();
        for _ in 0..8 {
            let Ok(target) = fs::read_link(&current) else { return current };
            current = if target.is_absolute() {
                self.root.join(target.components().filter(|part| *part != PathPart::RootDir).collect::<PathBuf>())
            } else {
                current.parent().map_or(target.clone(), |folder| folder.join(&target))
            };
        }
        current
    }

    /// `pki/NAME.crt`.
    #[must_use]
    pub fn leaf(&self, leaf: Leaf) -> PathBuf {
        self.path(&format!("/etc/kubernetes/pki/{}.crt", leaf.name()))
    }

    /// `pki/NAME.key`.
    #[must_use]
    pub fn leaf_key(&self, leaf: Leaf) -> PathBuf {
        self.path(&format!("/etc/kubernetes/pki/{}.key", leaf.name()))
    }

    /// A kubeconfig in `/etc/kubernetes`.
    #[must_use]
    pub fn conf(&self, conf: Conf) -> PathBuf {
        self.path("/etc/kubernetes").join(conf.file_name())
    }

    /// The manifest where the kubelet runs it.
    #[must_use]
    pub fn manifest(&self, component: Component) -> PathBuf {
        self.path(MANIFESTS).join(format!("{}.yaml", component.name()))
    }

    /// The manifest while its pod is out, as it was.
    #[must_use]
    pub fn parked(&self, component: Component) -> PathBuf {
        self.path(PARKED).join(format!("{}.yaml", component.name()))
    }

    /// The edited manifest, complete and ready to go in.
    #[must_use]
    pub fn parked_edited(&self, component: Component) -> PathBuf {
        self.path(PARKED).join(format!("{}.edited.yaml", component.name()))
    }

    /// CA certificates, cross-signed certificates and CA keys (0700).
    #[must_use]
    pub fn authorities(&self) -> PathBuf {
        self.path(STATE).join("authorities")
    }

    /// The folders of every rotation's back-ups.
    #[must_use]
    pub fn backups(&self) -> PathBuf {
        self.path(STATE).join("backup")
    }

    /// First versions of the files that a rotation replaced.
    #[must_use]
    pub fn backup(&self, rotation: &str) -> PathBuf {
        self.backups().join(rotation)
    }

    /// The snapshot of etcd from before a rotation. Not among the back-ups: those are read whole when a CA's key is destroyed.
    #[must_use]
    pub fn etcd_snapshot(&self, rotation: &str) -> PathBuf {
        self.path(SNAPSHOTS).join(format!("{rotation}.db"))
    }

    /// What each running process had loaded when it started.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.path(STATE).join("history.json")
    }

    /// The file behind `kubelet-client-current.pem`: its link is absolute on the node, not below the root.
    #[must_use]
    pub fn kubelet_client(&self) -> PathBuf {
        self.resolve(&self.path(KUBELET_CLIENT))
    }

    /// The node's private key for sealed CA keys (0600).
    #[must_use]
    pub fn sealing_key(&self) -> PathBuf {
        self.path(STATE).join("sealing.key")
    }

    /// One line before and one after each change.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path(STATE).join("journal")
    }

    /// Held by the one agent that is at work.
    #[must_use]
    pub fn agent_lock(&self) -> PathBuf {
        self.path(STATE).join("agent.lock")
    }

    /// Held by whoever changes the node's files, for as long as that takes.
    #[must_use]
    pub fn write_lock(&self) -> PathBuf {
        self.path(STATE).join("write.lock")
    }

    /// The host's copy of the agent's service-account token (0600 in a folder of 0700).
    #[must_use]
    pub fn agent_token(&self) -> PathBuf {
        self.path(STATE).join("agent/token")
    }

    /// containerd's CRI socket.
    #[must_use]
    pub fn cri_socket(&self) -> PathBuf {
        self.path("/run/containerd/containerd.sock")
    }

    /// The system bus.
    #[must_use]
    pub fn bus_socket(&self) -> PathBuf {
        self.path("/run/dbus/system_bus_socket")
    }

    /// True when this is a control-plane node: it has a manifest of kube-apiserver, in place or parked.
    #[must_use]
    pub fn is_control_plane(&self) -> bool {
        let api = Component::KubeApiserver;
        self.manifest(api).exists() || self.parked(api).exists() || self.parked_edited(api).exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_symlink_stays_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let folder = layout.path("/var/lib/kubelet/pki");
        fs::create_dir_all(&folder).unwrap();
        let link = layout.path(KUBELET_CLIENT);
        std::os::unix::fs::symlink("/var/lib/kubelet/pki/kubelet-client-2026.pem", &link).unwrap();
        assert_eq!(layout.resolve(&link), folder.join("kubelet-client-2026.pem"));
        assert_eq!(layout.on_node(&link), KUBELET_CLIENT);
    }

    #[test]
    fn a_relative_symlink_and_a_loop() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        std::os::unix::fs::symlink("b", root.path().join("a")).unwrap();
        assert_eq!(layout.resolve(&root.path().join("a")), root.path().join("b"));
        std::os::unix::fs::symlink("a", root.path().join("b")).unwrap();
        let _ends = layout.resolve(&root.path().join("a"));
    }
}
