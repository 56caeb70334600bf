//! Where the lab keeps things on the machine. Everything outside the cache goes with `lab down`.
//!
//! All names begin with the name of the lab, so that several can be up at the same time, each in a network of its own.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Names another lab than the usual one.
const NAME_VARIABLE: &str = "CERTCTL_LAB_NAME";
const USUAL_NAME: &str = "certctl-lab";

/// The lab's name; also of its outer network namespace, in which the balancer, the prober, certctl and kubectl run, and of
/// the parent of the nodes' control groups, in every hierarchy.
pub fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::env::var(NAME_VARIABLE).unwrap_or_else(|_| USUAL_NAME.to_owned()))
}

/// The name becomes part of paths that are deleted: nothing but a plain word will do.
pub fn check_name() -> Result<()> {
    let plain = name().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || !name().starts_with(|first: char| first.is_ascii_alphabetic()) {
        bail!("{NAME_VARIABLE}={} is no name for a lab: letters, digits and - are", name());
    }
    Ok(())
}

/// The network namespace of a node. The dot keeps lab `a` from owning what lab `a-b` made.
pub fn node_netns(node: &str) -> String {
    format!("{}.{node}", name())
}

/// Guards against two commands that both change the lab.
pub fn lock() -> PathBuf {
    Path::new("/run").join(format!("{}.lock", name()))
}

/// What outlives a power cut of a node. Best on the cache's file system, with which nodes share files.
pub fn state() -> PathBuf {
    Path::new("/var/lib").join(name())
}

pub fn run_dir() -> PathBuf {
    Path::new("/run").join(name())
}

/// Everything the lab mounts, apart from the state: no hard link leads from one mount to another.
pub fn mounts() -> PathBuf {
    run_dir().join("nodes")
}

pub fn runc_root() -> PathBuf {
    run_dir().join("runc")
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
        None => {
            let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
            PathBuf::from(home).join(".cache")
        }
    };
    Ok(base.join("certctl-lab"))
}
