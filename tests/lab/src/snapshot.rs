//! The whole cluster's files at one moment, kept and brought back.
//!
//! A snapshot is taken of nodes whose power was cut, so it is what a cluster finds after such a cut.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::node::{IN_MEMORY, Node, ON_DISK, UPPER};
use crate::process::{command, run};
use crate::record::{self, Record};
use crate::step::{for_all, step};
use crate::{cluster, container, machines, paths, template};

const READY_LIMIT: Duration = Duration::from_secs(180);

pub fn take(name: &str, wait: bool) -> Result<()> {
    let record = Record::load()?;
    let dir = folder(name)?;
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let since = cluster::now();
    step("cut the power of all nodes", || {
        for_all(&record.nodes, |node| {
            container::power_off(node);
            Ok(())
        })
    })?;
    step("copy the nodes' files", || {
        for_all(&record.nodes, |node| keep(node, &dir))?;
        fs::copy(record::file(), dir.join("lab.json"))?;
        fs::copy(paths::kubeconfig(), dir.join("admin.conf"))?;
        Ok(())
    })?;
    step("turn all nodes on", || for_all(&record.nodes, container::power_on))?;
    if wait { wait_until_whole(&record, &since) } else { Ok(()) }
}

pub fn restore(name: &str, wait: bool) -> Result<()> {
    let dir = folder(name)?;
    if !dir.join("lab.json").exists() {
        bail!("there is no snapshot `{name}`");
    }
    let present = Record::load()?;
    step("cut the power of all nodes", || for_all(&present.nodes, machines::detach))?;
    let since = cluster::now();
    fs::remove_dir_all(paths::nodes())?;
    fs::copy(dir.join("lab.json"), record::file())?;
    fs::copy(dir.join("admin.conf"), paths::kubeconfig())?;
    let record = Record::load()?;
    step("put the nodes' files back and turn all nodes on", || {
        for_all(&record.nodes, |node| {
            bring_back(node, &dir)?;
            machines::attach(node, &record.bin(), &memory_of(&dir.join(&node.name)))
        })
    })?;
    if wait { wait_until_whole(&record, &since) } else { Ok(()) }
}

fn wait_until_whole(record: &Record, since: &str) -> Result<()> {
    step("all nodes Ready", || cluster::wait_ready(record, since, READY_LIMIT))?;
    step("all control-plane components serve", || cluster::wait_serving(record, READY_LIMIT))?;
    step("all pods run", || cluster::wait_restarted_pods(record, since, READY_LIMIT))
}

fn keep(node: &Node, dir: &Path) -> Result<()> {
    let to = dir.join(&node.name);
    fs::create_dir_all(&to)?;
    copy_disks(&node.disk(), &to)?;
    run(command("cp", ["-a"]).args(memory_of(&node.memory())).arg(to))
}

/// Not the whole folder: what else is in it belongs to the overlay that is mounted.
fn memory_of(dir: &Path) -> Vec<PathBuf> {
    std::iter::once(UPPER).chain(IN_MEMORY.map(|(folder, _)| folder)).map(|folder| dir.join(folder)).collect()
}

fn bring_back(node: &Node, dir: &Path) -> Result<()> {
    fs::create_dir_all(node.disk())?;
    copy_disks(&dir.join(&node.name), &node.disk())
}

fn copy_disks(from: &Path, to: &Path) -> Result<()> {
    for (disk, _) in ON_DISK {
        match disk {
            "containerd" => template::copy(&from.join(disk), &to.join(disk))?,
            _ => run(command("cp", ["-a"]).args([from.join(disk), to.join(disk)]))?,
        }
    }
    Ok(())
}

fn folder(name: &str) -> Result<PathBuf> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if name.is_empty() || !plain {
        bail!("`{name}` is no name for a snapshot: letters, digits, - and _ are");
    }
    Ok(paths::snapshots().join(name))
}
