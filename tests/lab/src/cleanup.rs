//! Removes every trace of a lab: the one that is up, one that crashed half-way, or none.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::distribution::remove_if_there;
use crate::paths;
use crate::process::{command, output, succeeds};
use crate::step::wait_until;
use crate::{container, rootfs};

/// Trusts no record of what was started: it looks at what is there.
pub fn everything() -> Result<()> {
    delete_containers()?;
    kill_outer_network()?;
    kill_control_groups()?;
    rootfs::detach_below(&paths::run_dir())?;
    delete_network_namespaces()?;
    delete_control_groups()?;
    remove_if_there(&paths::state())?;
    remove_if_there(&paths::run_dir())
}

fn delete_containers() -> Result<()> {
    let Ok(entries) = fs::read_dir(paths::runc_root()) else {
        return Ok(());
    };
    for entry in entries {
        // Kills the node's systemd, and with it every process of the node.
        succeeds(container::runc().args(["delete", "--force"]).arg(entry?.file_name()));
    }
    Ok(())
}

/// The balancer, and whatever was left running by `lab run`.
fn kill_outer_network() -> Result<()> {
    let Ok(pids) = output(&mut command("ip", ["netns", "pids", paths::name()])) else {
        return Ok(());
    };
    pids.split_whitespace().for_each(kill);
    wait_until("the processes of the lab's network end", Duration::from_secs(10), || {
        output(&mut command("ip", ["netns", "pids", paths::name()])).is_ok_and(|pids| others(&pids) == 0)
    })
}

/// A lab command that was started inside the lab's network does not wait for itself.
fn others(pids: &str) -> usize {
    let own = std::process::id().to_string();
    pids.split_whitespace().filter(|pid| *pid != own).count()
}

fn kill(pid: &str) {
    let number = pid.parse().ok().filter(|number| *number != std::process::id().cast_signed());
    if let Some(pid) = number.and_then(Pid::from_raw) {
        // It may have ended in the meantime.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// What runc no longer knows of, for example after a crash in the middle of a start.
fn kill_control_groups() -> Result<()> {
    for group in control_groups()? {
        each_group(&group, &mut |dir| {
            let pids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.split_whitespace().for_each(kill);
            Ok(())
        })?;
    }
    Ok(())
}

fn delete_control_groups() -> Result<()> {
    for group in control_groups()? {
        // A group stays busy for a moment after its last process was killed.
        wait_until(&format!("{} is empty", group.display()), Duration::from_secs(10), || {
            each_group(&group, &mut |dir| fs::remove_dir(dir).map_err(Into::into)).is_ok()
        })?;
    }
    Ok(())
}

/// The lab's group in every hierarchy of this machine.
fn control_groups() -> Result<Vec<std::path::PathBuf>> {
    let table = fs::read_to_string("/proc/self/mounts")?;
    let hierarchies = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (place, kind) = (words.nth(1)?, words.next()?);
        kind.starts_with("cgroup").then(|| Path::new(place).join(paths::name()))
    });
    Ok(hierarchies.filter(|group| group.exists()).collect())
}

/// Visits the innermost groups first.
fn each_group(dir: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            each_group(&entry.path(), visit)?;
        }
    }
    visit(dir)
}

fn delete_network_namespaces() -> Result<()> {
    let entries = match fs::read_dir("/run/netns") {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("cannot list the network namespaces"),
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name == paths::name() || name.starts_with(&paths::node_netns("")) {
            output(&mut command("ip", ["netns", "del", &name]))?;
        }
    }
    Ok(())
}
