//! A node's root filesystem: the machine's own root below, a tmpfs above it, and a few folders of the disk bound in.
//!
//! Everything is mounted on the machine's side, so that a node's files can be read and written while the node is off.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};

use crate::node::{GATEWAY, IN_MEMORY, Node, ON_DISK, UPPER};
use crate::paths;
use crate::process::{command, run};

/// Files that make the machine's root a node's root. `@NAME@` and so on are filled in.
const FILES: [(&str, &str); 11] = [
    ("etc/hosts", include_str!("../files/hosts")),
    ("etc/systemd/system/node.target", include_str!("../files/node.target")),
    ("etc/systemd/system/containerd.service", include_str!("../files/containerd.service")),
    ("etc/systemd/system/kubelet.service", include_str!("../files/kubelet.service")),
    ("etc/systemd/system/kubelet.service.d/10-kubeadm.conf", include_str!("../files/10-kubeadm.conf")),
    ("etc/systemd/system/sshd.service", include_str!("../files/sshd.service")),
    ("etc/ssh/lab_sshd_config", include_str!("../files/sshd_config")),
    ("etc/systemd/journald.conf.d/lab.conf", include_str!("../files/journald.conf")),
    ("etc/containerd/config.toml", include_str!("../files/containerd.toml")),
    ("etc/cni/net.d/10-lab.conflist", include_str!("../files/cni.conflist")),
    ("etc/resolv.conf", "# The lab has no name service.\n"),
];

/// Files of the machine that a node must not have.
const EMPTIED: [&str; 1] = ["etc/fstab"];

/// Units that would touch the machine itself, which the node shares its kernel with, or wait for hardware.
const MASKED: [&str; 21] = [
    "dev-hugepages.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-hwdb-update.service",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "modprobe@.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-resolved.service",
    "systemd-sysctl.service",
    "systemd-timesyncd.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "timers.target",
];

/// The lab's binaries in a node, reachable under the names that kubeadm's packages give them.
const BIN: &str = "opt/certctl-lab/bin";
const PROGRAMS: [&str; 5] = ["kubeadm", "kubectl", "kubelet", "etcdctl", "etcd"];

/// Keeps the nodes' mounts out of the machine's: nothing mounted below this folder spreads, or comes in.
pub fn prepare_folders() -> Result<()> {
    for dir in [paths::nodes(), paths::mounts()] {
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    bind(&paths::mounts(), &paths::mounts())
}

/// Makes a node's memory, and fills it with what `kept` holds of it.
pub fn plug_memory(node: &Node, kept: &[PathBuf]) -> Result<()> {
    let memory = node.memory();
    fs::create_dir_all(&memory)?;
    mount("tmpfs", &memory, "tmpfs", MountFlags::empty(), Some(c"mode=0755")).context("cannot mount a tmpfs")?;
    if kept.is_empty() { Ok(()) } else { run(command("cp", ["-a"]).args(kept).arg(memory)) }
}

/// Mounts a node's root. Its disk and its memory must be there already.
pub fn mount_root(node: &Node, bin: &Path) -> Result<()> {
    let (memory, root) = (node.memory(), node.root());
    let (upper, work) = (memory.join(UPPER), memory.join("work"));
    for dir in [&upper, &work, &root] {
        fs::create_dir_all(dir)?;
    }
    let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    run(command("mount", ["-t", "overlay", "overlay", "-o", &options]).arg(&root))
        .context("cannot mount the node's root")?;
    for (folder, place) in ON_DISK {
        bind(&node.disk().join(folder), &root.join(place))?;
    }
    for (folder, place) in IN_MEMORY {
        bind(&memory.join(folder), &root.join(place))?;
    }
    bind(bin, &root.join(BIN))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    for dir in [from, to] {
        fs::create_dir_all(dir)?;
    }
    mount_bind(from, to)
        // What a node mounts there is not to appear in the folder that is bound.
        .and_then(|()| mount_change(to, MountPropagationFlags::PRIVATE))
        .with_context(|| format!("cannot bind {} onto {}", from.display(), to.display()))
}

/// Lets go of everything that is mounted there; also of what an earlier lab left.
pub fn detach_below(dir: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mounts")?;
    let places = table.lines().filter_map(|line| line.split_whitespace().nth(1));
    let mut ours: Vec<&Path> = places.map(Path::new).filter(|place| place.starts_with(dir)).collect();
    // The last mounted is the first to go.
    ours.reverse();
    for place in ours {
        unmount(place, UnmountFlags::DETACH).with_context(|| format!("cannot unmount {}", place.display()))?;
    }
    Ok(())
}

/// Writes the node's own files into its root.
pub fn furnish(node: &Node, pause: &str) -> Result<()> {
    let root = node.root();
    let values = [
        ("@NAME@", node.name.as_str()),
        ("@IP@", &node.ip()),
        ("@POD_SUBNET@", &node.pod_subnet()),
        ("@GATEWAY@", GATEWAY),
        ("@PAUSE@", pause),
    ];
    for (place, content) in FILES {
        write(&root.join(place), &fill(content, &values))?;
    }
    write(&root.join("etc/hostname"), &format!("{}\n", node.name))?;
    write(&root.join("etc/machine-id"), &format!("{}\n", machine_id(node)))?;
    for place in EMPTIED {
        write(&root.join(place), "")?;
    }
    for unit in MASKED {
        link("/dev/null", &root.join("etc/systemd/system").join(unit))?;
    }
    for program in PROGRAMS {
        link(&format!("/{BIN}/{program}"), &root.join("usr/bin").join(program))?;
    }
    // With this folder there, the journal outlives a power cut.
    fs::create_dir_all(root.join("var/log/journal"))?;
    Ok(())
}

/// Replaces `@WORDS@` in a text.
pub fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
}

fn machine_id(node: &Node) -> String {
    format!("{:032x}", 0x00ce_27c7_1000_u64 + u64::from(node.number))
}

fn write(path: &Path, content: &str) -> Result<()> {
    // Not through a link: it could lead to a file of the machine that is bound elsewhere.
    let _ = fs::remove_file(path);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn link(target: &str, path: &Path) -> Result<()> {
    let _ = fs::remove_file(path);
    symlink(target, path).with_context(|| format!("cannot link {}", path.display()))
}
