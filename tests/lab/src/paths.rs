//! Where the lab keeps things on the machine. Everything outside the cache goes with `lab down`.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The lab's own network, in which the balancer, the prober, certctl and kubectl run.
pub const OUTER_NETNS: &str = "certctl-lab";
/// The prefix of the network namespace of each node.
pub const NODE_NETNS_PREFIX: &str = "certctl-lab-";
/// The parent of the nodes' control groups, in every hierarchy.
pub const CGROUP: &str = "certctl-lab";
/// Guards against two lab commands that both change the lab.
pub const LOCK: &str = "/run/certctl-lab.lock";

const STATE: &str = "/var/lib/certctl-lab";
const RUNC_ROOT: &str = "/run/certctl-lab/runc";

/// On a disk, because containerd refuses to keep its overlays on a tmpfs-backed overlay.
pub fn state() -> PathBuf {
    PathBuf::from(STATE)
}

pub fn run_dir() -> PathBuf {
    PathBuf::from("/run/certctl-lab")
}

pub fn runc_root() -> PathBuf {
    PathBuf::from(RUNC_ROOT)
}

pub fn kubeconfig() -> PathBuf {
    state().join("admin.conf")
}

pub fn snapshots() -> PathBuf {
    state().join("snapshots")
}

pub fn nodes() -> PathBuf {
    state().join("nodes")
}

pub fn balancer() -> PathBuf {
    state().join("balancer")
}

/// `${XDG_CACHE_HOME:-~/.cache}/certctl-lab`: survives the lab, the clone and the build folder.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache"),
    };
    Ok(base.join("certctl-lab"))
}
