//! Imports the images once, into a containerd folder of the cache, and makes each node's folder out of it.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::distribution::{Distribution, remove_if_there};
use crate::images;
use crate::process::{command, run, succeeds};
use crate::step::wait_until;

/// containerd's name space of the kubelet.
pub const NAMESPACE: &str = "k8s.io";

pub fn create(distribution: &Distribution) -> Result<()> {
    let scratch = distribution.dir.join("import");
    remove_if_there(&scratch)?;
    fs::create_dir_all(&scratch)?;
    let archive = scratch.join("images.tar");
    images::pack(distribution, &archive)?;
    let mut containerd = start(&scratch)?;
    let imported = import(&scratch, &archive);
    stop(&mut containerd)?;
    imported?;
    fs::rename(scratch.join("root"), distribution.containerd())?;
    remove_if_there(&scratch)
}

fn start(scratch: &Path) -> Result<Child> {
    let config = scratch.join("config.toml");
    // Only content and snapshots are wanted; the kubelet's part would look for a network.
    fs::write(&config, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")?;
    let log = fs::File::create(scratch.join("log"))?;
    command("containerd", ["--config"])
        .arg(&config)
        .arg("--root")
        .arg(scratch.join("root"))
        .arg("--state")
        .arg(scratch.join("state"))
        .arg("--address")
        .arg(scratch.join("socket"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start containerd")
}

fn import(scratch: &Path, archive: &Path) -> Result<()> {
    let socket = scratch.join("socket");
    let ctr = || {
        let mut ctr = command("ctr", ["--namespace", NAMESPACE, "--address"]);
        ctr.arg(&socket);
        ctr
    };
    wait_until("containerd answers", Duration::from_secs(30), || succeeds(ctr().arg("version")))?;
    run(ctr().args(["images", "import"]).arg(archive))
}

fn stop(containerd: &mut Child) -> Result<()> {
    if let Some(pid) = Pid::from_raw(containerd.id().cast_signed()) {
        kill_process(pid, Signal::TERM)?;
    }
    containerd.wait()?;
    Ok(())
}

/// Makes a node's containerd folder: hard links, because layers and blobs are only ever read, but real copies of the
/// databases, which are written in place.
pub fn link(template: &Path, to: &Path) -> Result<()> {
    if !succeeds(command("cp", ["-al"]).args([template, to])) {
        // The cache is on another file system.
        remove_if_there(to)?;
        return run(command("cp", ["-a"]).args([template, to]));
    }
    privatise(to, &["-name", "*.db"])
}

/// Copies the folder of a node that is off. Files that are shared with the template are shared again; the rest, which the
/// node wrote and may write again, is copied.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    run(command("cp", ["-al"]).args([from, to]))?;
    // A file that only these two folders share has two links; one of the template has at least three.
    privatise(to, &["-links", "2"])
}

fn privatise(dir: &Path, which: &[&str]) -> Result<()> {
    // Renaming onto a file that is there would make ext4 write the new one to the disk at once, and wait for it.
    let replace = r#"for file; do mv "$file" "$file.lab" && cp -a "$file.lab" "$file" && rm "$file.lab" || exit 1; done"#;
    run(command("find", [dir]).args(["-type", "f"]).args(which).args(["-exec", "sh", "-c", replace, "sh", "{}", "+"]))
}
