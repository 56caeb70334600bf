//! What a node is: its name, its addresses, and where its files are. Nothing here does anything.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::paths;

/// Machines and pods have ranges of their own, inside the lab's network namespaces only.
pub const GATEWAY: &str = "172.30.0.1";
const NODE_NETWORK: &str = "172.30.0";
const POD_NETWORK: &str = "10.244";

/// The balancer has a slot for each of these from the start, so that it never needs a reload.
pub const CONTROL_PLANE_NUMBERS: std::ops::RangeInclusive<u8> = 11..=19;
const WORKER_NUMBERS: std::ops::RangeInclusive<u8> = 101..=199;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    ControlPlane,
    Worker,
}

/// One machine of the lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub role: Role,
    /// Last byte of its address, third byte of its pod range.
    pub number: u8,
}

/// The folders of a node that live on the disk, and where the node sees them.
pub const ON_DISK: [(&str, &str); 2] = [("containerd", "var/lib/containerd"), ("log", "var/log")];

/// Folders with files that are synced to the disk all the time. Nodes share one disk, on which a single `fsync` was seen to
/// wait 19 s for a compiler's output, and an etcd that waits fails requests. Memory outlives a power cut of a node too,
/// because the machine that has the memory stays on.
pub const IN_MEMORY: [(&str, &str); 3] = [
    ("etcd", "var/lib/etcd"),
    ("kubelet", "var/lib/kubelet"),
    (CONTAINERD_DATABASES, "var/lib/containerd/io.containerd.metadata.v1.bolt"),
];
pub const CONTAINERD_DATABASES: &str = "containerd-databases";

/// The changes to the machine's root.
pub const UPPER: &str = "upper";

impl Node {
    /// A node with the first free address of its role.
    pub fn allocate(name: &str, role: Role, existing: &[Node]) -> Result<Node> {
        check_name(name)?;
        if existing.iter().any(|node| node.name == name) {
            bail!("there is a node {name} already");
        }
        let mut numbers = match role {
            Role::ControlPlane => CONTROL_PLANE_NUMBERS,
            Role::Worker => WORKER_NUMBERS,
        };
        let free = numbers.find(|number| existing.iter().all(|node| node.number != *number));
        match free {
            Some(number) => Ok(Node { name: name.to_owned(), role, number }),
            None => bail!("no address is left for another node of this role"),
        }
    }

    pub fn is_control_plane(&self) -> bool {
        self.role == Role::ControlPlane
    }

    pub fn ip(&self) -> String {
        address(self.number)
    }

    pub fn pod_subnet(&self) -> String {
        format!("{POD_NETWORK}.{}.0/24", self.number)
    }

    pub fn netns(&self) -> String {
        paths::node_netns(&self.name)
    }

    /// The bridge's end of the node's cable.
    pub fn cable(&self) -> String {
        format!("veth-{}", self.name)
    }

    pub fn dir(&self) -> PathBuf {
        paths::nodes().join(&self.name)
    }

    pub fn mounts(&self) -> PathBuf {
        paths::mounts().join(&self.name)
    }

    /// The node's root filesystem as the machine sees it, whether the node is on or off.
    pub fn root(&self) -> PathBuf {
        self.mounts().join("root")
    }

    pub fn disk(&self) -> PathBuf {
        self.dir().join("disk")
    }

    /// A tmpfs: an overlay refuses an upper folder that lies on its lower file system.
    pub fn memory(&self) -> PathBuf {
        self.mounts().join("memory")
    }

    pub fn pid_file(&self) -> PathBuf {
        paths::run_dir().join(format!("{}.pid", self.name))
    }

    /// The process that is the node's systemd, if the node is on.
    pub fn init_pid(&self) -> Option<u32> {
        let pid = std::fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    }
}

pub fn address(number: u8) -> String {
    format!("{NODE_NETWORK}.{number}")
}

/// A name becomes a host name and part of an interface name, of which the kernel takes 15 bytes.
fn check_name(name: &str) -> Result<()> {
    let fits = (1..=10).contains(&name.len());
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !fits || !plain || name.starts_with('-') || name.ends_with('-') {
        bail!("`{name}` is no node name: 1 to 10 of a-z, 0-9 and - are");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_do_not_collide() {
        let first = Node::allocate("cp-1", Role::ControlPlane, &[]).unwrap();
        let second = Node::allocate("cp-2", Role::ControlPlane, std::slice::from_ref(&first)).unwrap();
        assert_eq!((first.number, second.number), (11, 12));
        assert!(Node::allocate("cp-1", Role::Worker, &[first]).is_err());
    }

    #[test]
    fn names_that_make_no_interface_are_refused() {
        for name in ["", "UPPER", "a-name-too-long", "-x", "a/b"] {
            assert!(Node::allocate(name, Role::Worker, &[]).is_err(), "{name}");
        }
    }
}
