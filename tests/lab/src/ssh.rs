//! The administrator's way into a node whose cluster is down: Debian's sshd in every node, one key that opens them all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::node::Node;
use crate::paths;
use crate::process::{command, run};

/// The administrator's key, and the key by which every node is known.
const USER: &str = "administrator";
const HOST: &str = "host";

/// Makes both key pairs anew for each lab.
pub fn make_keys() -> Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    for name in [USER, HOST] {
        let file = folder.join(name);
        run(command("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&file))?;
    }
    Ok(())
}

/// Gives a node its key, and its root the administrator's: from each node the others can be reached.
pub fn furnish(node: &Node) -> Result<()> {
    let root = node.root();
    let (ssh, home) = (root.join("etc/ssh"), root.join("root/.ssh"));
    place(&folder().join(HOST), &ssh.join("lab_host_key"), 0o600)?;
    place(&folder().join(USER), &home.join("id_ed25519"), 0o600)?;
    place(&public(USER), &home.join("authorized_keys"), 0o600)?;
    let host = fs::read_to_string(public(HOST)).context("the nodes' host key is gone")?;
    fs::write(home.join("known_hosts"), format!("* {host}"))?;
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
    // sshd lets nobody into a locked account, which root may be on this machine.
    run(command("usermod", ["--password", "*", "--root"]).arg(&root).arg("root"))
}

fn place(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    run(command("install", ["-m", &format!("{mode:o}")]).args([from, to]))
}

fn public(name: &str) -> PathBuf {
    folder().join(name).with_extension("pub")
}

fn folder() -> PathBuf {
    paths::state().join("ssh")
}
