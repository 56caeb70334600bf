//! Imports the images once, into a containerd folder of the cache, out of which each node's folder is made.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::distribution::{Distribution, remove_if_there};
use crate::images;
use crate::node::CONTAINERD_DATABASES;
use crate::process::{command, run, signal, succeeds};
use crate::step::wait_until;

/// containerd's name space of the kubelet.
pub const NAMESPACE: &str = "k8s.io";

/// containerd's folder with all images, and beside it containerd's databases, which a node keeps in another place.
pub struct Template(PathBuf);

/// Where containerd has its databases, and their names among the databases.
const DATABASES: [(&str, &str); 2] = [
    ("io.containerd.metadata.v1.bolt/meta.db", "meta.db"),
    ("io.containerd.snapshotter.v1.overlayfs/metadata.db", "overlayfs.db"),
];

impl Template {
    /// The template in the cache's folder of a distribution.
    pub fn of(distribution: &Path) -> Template {
        Template(distribution.join("template"))
    }

    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    pub fn databases(&self) -> PathBuf {
        self.0.join(CONTAINERD_DATABASES)
    }

    pub fn create(distribution: &Distribution) -> Result<()> {
        let scratch = distribution.dir.join("import");
        remove_if_there(&scratch)?;
        let made = Template(scratch.join("template"));
        fs::create_dir_all(made.databases())?;
        let archive = scratch.join("images.tar");
        images::pack(distribution, &archive)?;
        let mut containerd = start(&scratch, &made.folder())?;
        let imported = import(&scratch, &archive);
        stop(&mut containerd)?;
        imported?;
        made.set_databases_apart()?;
        fs::rename(&made.0, Template::of(&distribution.dir).0)?;
        remove_if_there(&scratch)
    }

    /// Makes `containerd` below a node's disk: hard links, because layers and blobs are only ever read.
    pub fn link_folder(&self, disk: &Path) -> Result<()> {
        if succeeds(command("cp", ["-al"]).arg(self.folder()).arg(disk)) {
            return Ok(());
        }
        // The cache is on another file system.
        remove_if_there(&disk.join("containerd"))?;
        run(command("cp", ["-a"]).arg(self.folder()).arg(disk))
    }

    fn folder(&self) -> PathBuf {
        self.0.join("containerd")
    }

    /// The first database's folder is what a node binds its own databases onto; the second is reached through a link.
    fn set_databases_apart(&self) -> Result<()> {
        for (place, name) in DATABASES {
            fs::rename(self.folder().join(place), self.databases().join(name))?;
        }
        let link = self.folder().join(DATABASES[1].0);
        symlink(Path::new("../io.containerd.metadata.v1.bolt").join(DATABASES[1].1), link)?;
        Ok(())
    }
}

fn start(scratch: &Path, root: &Path) -> Result<Child> {
    let config = scratch.join("config.toml");
    // Only content and snapshots are wanted; the kubelet's part would look for a network.
    fs::write(&config, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")?;
    let log = fs::File::create(scratch.join("log"))?;
    // Whatever ends the lab ends this too: nothing else would ever find it.
    command("setpriv", ["--pdeathsig", "KILL", "containerd", "--config"])
        .arg(&config)
        .arg("--root")
        .arg(root)
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
    signal(containerd, Signal::TERM)?;
    containerd.wait()?;
    Ok(())
}

/// Copies the folder of a node that is off. Files that are shared with the template are shared again; the rest, which the
/// node wrote and may write again, is copied.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    run(command("cp", ["-al"]).args([from, to]))?;
    // A file that only these two folders share has two links; one of the template has at least three. Renaming onto a file
    // that is there would make ext4 write the new one to the disk at once, and wait for it.
    let replace =
        r#"for file; do mv "$file" "$file.lab" && cp -a "$file.lab" "$file" && rm "$file.lab" || exit 1; done"#;
    run(command("find", [to]).args(["-type", "f", "-links", "2", "-exec", "sh", "-c", replace, "sh", "{}", "+"]))
}
