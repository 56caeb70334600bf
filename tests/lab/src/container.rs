//! A node's machine: a runc container whose init is the real systemd.

use std::fs::{self, File};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::network;
use crate::node::Node;
use crate::paths;
use crate::process::{command, succeeds};
use crate::step::wait_until;

/// Every capability of Linux in the order of its number.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Turns a node on and waits until its systemd, D-Bus and containerd answer.
pub fn power_on(node: &Node) -> Result<()> {
    network::connect(node)?;
    let bundle = node.dir().join("bundle");
    fs::create_dir_all(&bundle)?;
    fs::create_dir_all(paths::run_dir())?;
    fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&configuration(node)?)?)?;
    let console = File::create(node.dir().join("console"))?;
    let status = runc()
        .args(["run", "--detach", "--bundle"])
        .arg(&bundle)
        .arg("--pid-file")
        .arg(node.pid_file())
        .arg(&node.name)
        // The container keeps these for its whole life, so they must not be a pipe of ours.
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .status()
        .context("cannot start runc")?;
    if !status.success() {
        let console = fs::read_to_string(node.dir().join("console")).unwrap_or_default();
        anyhow::bail!("runc cannot start {}: {}", node.name, console.trim());
    }
    wait_for_services(node)
}

/// What a power cut does: the network is silent first, then every process of the node ends at once.
pub fn power_off(node: &Node) {
    network::pull_cable(node);
    succeeds(runc().args(["kill", &node.name, "KILL"]));
    succeeds(runc().args(["delete", "--force", &node.name]));
    network::disconnect(node);
    let _ = fs::remove_file(node.pid_file());
}

/// A command inside the node. It is given a terminal if we have one.
pub fn exec(node: &Node, words: &[String]) -> Command {
    let mut exec = runc();
    exec.args(["exec", "--env", "HOME=/root"]);
    if node.is_control_plane() {
        exec.args(["--env", "KUBECONFIG=/etc/kubernetes/admin.conf"]);
    }
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        exec.args(["--tty", "--env", "TERM=xterm"]);
    }
    exec.arg(&node.name).args(words);
    exec
}

/// A command of the lab itself inside the node.
pub fn inside<const N: usize>(node: &Node, words: [&str; N]) -> Command {
    let mut exec = runc();
    exec.args(["exec", "--env", "HOME=/root", "--env", "KUBECONFIG=/etc/kubernetes/admin.conf", &node.name]);
    exec.args(words);
    exec
}

/// A file as the node's own processes see it; only while the node is on.
pub fn path_inside(node: &Node, path: &str) -> Option<PathBuf> {
    Some(Path::new("/proc").join(node.init_pid()?.to_string()).join("root").join(path))
}

pub fn runc() -> Command {
    let mut runc = command("runc", ["--root"]);
    runc.arg(paths::runc_root());
    runc
}

fn wait_for_services(node: &Node) -> Result<()> {
    let what = format!("containerd and D-Bus answer on {}", node.name);
    wait_until(&what, Duration::from_secs(60), || {
        ["run/containerd/containerd.sock", "run/dbus/system_bus_socket"]
            .iter()
            .all(|socket| path_inside(node, socket).is_some_and(|path| path.exists()))
    })
}

fn configuration(node: &Node) -> Result<Value> {
    let capabilities = bounding_set()?;
    Ok(json!({
        "ociVersion": "1.0.2",
        "hostname": node.name,
        "root": { "path": node.root() },
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "cwd": "/",
            "args": ["/lib/systemd/systemd", "--unit=node.target"],
            "env": [SEARCH_PATH, "container=oci"],
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "mounts": mounts(),
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "uts" }, { "type": "ipc" }, { "type": "cgroup" },
                { "type": "network", "path": format!("/run/netns/{}", node.netns()) },
            ],
            "cgroupsPath": format!("/{}/{}", paths::name(), node.name),
            "resources": { "devices": [{ "allow": true, "access": "rwm" }] },
            // Volumes that the kubelet mounts must reach the pods.
            "rootfsPropagation": "shared",
            "sysctl": { "net.ipv4.ip_forward": "1" },
        },
    }))
}

fn mounts() -> Value {
    let mount = |to: &str, kind: &str, options: &[&str]| json!({ "destination": to, "type": kind, "source": kind, "options": options });
    json!([
        mount("/proc", "proc", &[]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "rw"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "rw"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755"]),
        mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
        // The kubelet does not start without it.
        { "destination": "/dev/kmsg", "type": "bind", "source": "/dev/kmsg", "options": ["bind", "rw"] },
        // A node sees neither the other nodes' files nor the snapshots.
        mount(&paths::state().to_string_lossy(), "tmpfs", &["ro", "size=4k"]),
    ])
}

/// A container can be given no more than this machine has.
fn bounding_set() -> Result<Vec<String>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask =
        status.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("the kernel names no bounding set")?;
    let mask = u64::from_str_radix(mask.trim(), 16).context("the bounding set is no number")?;
    let held = CAPABILITIES.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
    Ok(held.map(|(_, name)| format!("CAP_{name}")).collect())
}
