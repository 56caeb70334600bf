//! What the nodes' files and the cluster say, past certctl.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::bench::Bench;
use super::command::finished;
use crate::node::Node;
use crate::{cluster, paths};

/// Everything below these folders of a node belongs to the cluster's PKI or to its static pods.
const FOLDERS: [&str; 2] = ["etc/kubernetes", "var/lib/kubelet/pki"];
const SERVING: Duration = Duration::from_secs(60);

/// Content and mode of files, by node and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files(BTreeMap<(String, PathBuf), (u32, Vec<u8>)>);

impl Files {
    /// Of every node, whether it is on or off.
    pub fn read(bench: &Bench) -> Result<Files> {
        let mut files = BTreeMap::new();
        for node in &bench.record.nodes {
            for folder in FOLDERS {
                collect(node, &node.root(), Path::new(folder), &mut files)?;
            }
        }
        Ok(Files(files))
    }

    /// Names what differs.
    pub fn must_equal(&self, later: &Files) -> Result<()> {
        let of = |files: &Files, key: &(String, PathBuf)| files.0.get(key).cloned();
        let keys: std::collections::BTreeSet<_> = self.0.keys().chain(later.0.keys()).collect();
        let changed: Vec<String> = keys
            .into_iter()
            .filter(|key| of(self, key) != of(later, key))
            .map(|(node, path)| format!("{node}:/{}", path.display()))
            .collect();
        if changed.is_empty() { Ok(()) } else { bail!("files were changed: {}", changed.join(", ")) }
    }

    fn content(&self, node: &str, path: &str) -> Option<&[u8]> {
        self.0.get(&(node.to_owned(), PathBuf::from(path))).map(|(_, content)| content.as_slice())
    }

    /// The files of control-plane nodes below etc/kubernetes, by node.
    fn names(&self, node: &str) -> Vec<&Path> {
        let ours = self.0.keys().filter(|(owner, path)| owner == node && path.starts_with("etc/kubernetes"));
        ours.map(|(_, path)| path.as_path()).collect()
    }
}

fn collect(
    node: &Node,
    root: &Path,
    folder: &Path,
    files: &mut BTreeMap<(String, PathBuf), (u32, Vec<u8>)>,
) -> Result<()> {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return Ok(()) };
    for entry in entries {
        let path = folder.join(entry?.file_name());
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full)?;
        if metadata.is_dir() {
            collect(node, root, &path, files)?;
        } else {
            let content = if metadata.is_symlink() {
                fs::read_link(&full)?.into_os_string().into_encoded_bytes()
            } else {
                fs::read(&full).with_context(|| format!("cannot read {}", full.display()))?
            };
            files.insert((node.name.clone(), path), (metadata.permissions().mode(), content));
        }
    }
    Ok(())
}

/// The cluster before a rotation, to be compared with what it is afterwards.
pub struct Before {
    files: Files,
    kubeadm: String,
    kubeconfig: PathBuf,
}

impl Before {
    pub fn look(bench: &Bench) -> Result<Before> {
        let kubeconfig = paths::state().join("kubeconfig-before");
        fs::copy(paths::kubeconfig(), &kubeconfig)?;
        Ok(Before { files: Files::read(bench)?, kubeadm: kubeadm_config(bench)?, kubeconfig })
    }

    /// Every node (but those left out) has one CA, the same new one; kubeadm's layout and configuration are as they were; the
    /// old administrator is refused everywhere, the new one is not.
    pub fn rotated(&self, bench: &Bench, left_out: &[&str]) -> Result<()> {
        let after = Files::read(bench)?;
        let first = &bench.record.first_control_plane()?.name;
        let ca = after.content(first, "etc/kubernetes/pki/ca.crt").context("there is no ca.crt")?;
        for node in bench.record.nodes.iter().filter(|node| !left_out.contains(&node.name.as_str())) {
            let name = node.name.as_str();
            let (old, new) = (self.ca(&self.files, name)?, self.ca(&after, name)?);
            if new != ca || new == old || certificates(new) != 1 {
                bail!("ca.crt of {name} is not the new CA alone ({} certificates)", certificates(new));
            }
            if self.files.names(name) != after.names(name) {
                bail!("etc/kubernetes of {name} has other files than before: {:?}", after.names(name));
            }
        }
        if kubeadm_config(bench)? != self.kubeadm {
            bail!("kubeadm-config is not as it was: {}", kubeadm_config(bench)?);
        }
        self.whole(bench, left_out)?;
        self.old_administrator(bench, left_out, false)
    }

    /// Every node has the CA it had, and the administrator of before is still one.
    pub fn returned(&self, bench: &Bench) -> Result<()> {
        let after = Files::read(bench)?;
        for node in &bench.record.nodes {
            if self.ca(&self.files, &node.name)? != self.ca(&after, &node.name)? {
                bail!("ca.crt of {} is not what it was", node.name);
            }
            if self.files.names(&node.name) != after.names(&node.name) {
                bail!("etc/kubernetes of {} has other files than before: {:?}", node.name, after.names(&node.name));
            }
        }
        if kubeadm_config(bench)? != self.kubeadm {
            bail!("kubeadm-config is not as it was: {}", kubeadm_config(bench)?);
        }
        self.whole(bench, &[])?;
        self.old_administrator(bench, &[], true)
    }

    fn ca<'a>(&self, files: &'a Files, node: &str) -> Result<&'a [u8]> {
        files.content(node, "etc/kubernetes/pki/ca.crt").with_context(|| format!("{node} has no ca.crt"))
    }

    fn whole(&self, bench: &Bench, left_out: &[&str]) -> Result<()> {
        let mut there = bench.record.clone();
        there.nodes.retain(|node| !left_out.contains(&node.name.as_str()));
        cluster::wait_ready(&there, "", SERVING)?;
        cluster::wait_serving(&there, SERVING)
    }

    /// Asks every API server and the balancer with the kubeconfig of before.
    fn old_administrator(&self, bench: &Bench, left_out: &[&str], admitted: bool) -> Result<()> {
        let there = bench.control_planes().into_iter().filter(|node| !left_out.contains(&node.name.as_str()));
        let servers = there.map(|node| format!("https://{}:6443", node.ip()));
        for server in servers.chain([format!("https://{}:6443", crate::node::GATEWAY)]) {
            let mut kubectl =
                cluster::kubectl(&bench.record, ["get", "--raw", "/api/v1/namespaces", "--server", &server]);
            let done = finished(kubectl.arg("--kubeconfig").arg(&self.kubeconfig))?;
            let refused = done.err.contains("Unauthorized");
            if (done.code == Some(0)) != admitted || refused == admitted {
                bail!("the kubeconfig of before at {server}: {:?} {}", done.code, done.err.trim());
            }
        }
        Ok(())
    }
}

fn certificates(pem: &[u8]) -> usize {
    String::from_utf8_lossy(pem).matches("-----BEGIN CERTIFICATE-----").count()
}

fn kubeadm_config(bench: &Bench) -> Result<String> {
    bench.kubectl(["-n", "kube-system", "get", "configmap", "kubeadm-config", "-o", "jsonpath={.data}"])
}

/// What certctl says of the rotation's end.
pub fn completed(bench: &Bench, version: u64) -> Result<()> {
    let status = bench.status()?;
    let good =
        status["status"] == "True" && status["reason"] == "CARotationCompleted" && status["caVersion"] == version;
    if !good {
        bail!(
            "status: {}, reason: {}, CAVersion {}, message: {}",
            status["status"],
            status["reason"],
            status["caVersion"],
            status["message"]
        );
    }
    Ok(())
}
