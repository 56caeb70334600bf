//! The few programs that the lab takes from the machine's distribution.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{command, run, succeeds};
use crate::step::{step, wait_until};

/// A file that a package brings, and the package.
const NEEDED: [(&str, &str); 13] = [
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/lib/systemd/systemd", "systemd"),
    ("/usr/bin/dbus-daemon", "dbus"),
    ("/usr/sbin/nft", "nftables"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("/bin/busybox", "busybox-static"),
    ("/usr/sbin/haproxy", "haproxy"),
    ("/usr/sbin/ip", "iproute2"),
    ("/usr/sbin/conntrack", "conntrack"),
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/ssh-keygen", "openssh-client"),
    ("/usr/sbin/sshd", "openssh-server"),
];

pub fn install_missing() -> Result<()> {
    let missing: Vec<_> =
        NEEDED.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    step(&format!("apt-get install {}", missing.join(" ")), || install(&missing))
}

fn install(packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut apt = command("apt-get", ["-o", "DPkg::Lock::Timeout=300", "-qq"]);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    // `update` does not know the lock's timeout.
    let updated = || succeeds(apt().arg("update"));
    wait_until("apt-get update", Duration::from_secs(300), updated)?;
    // The lab starts these programs itself, inside its nodes; on the machine they are not to run.
    let policy = PolicyFile::deny_starts()?;
    let result = run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages));
    drop(policy);
    result.context("the packages that the lab needs cannot be installed")?;
    if packages.contains(&"openssh-server") {
        // Nor at the machine's next start: nobody asked for a way into it.
        run(&mut command("systemctl", ["--root=/", "--quiet", "disable", "ssh.service"]))?;
    }
    Ok(())
}

/// Debian's way to install a service without starting it.
struct PolicyFile(Option<&'static Path>);

impl PolicyFile {
    fn deny_starts() -> Result<PolicyFile> {
        use std::os::unix::fs::PermissionsExt;
        let path = Path::new("/usr/sbin/policy-rc.d");
        if path.exists() {
            return Ok(PolicyFile(None));
        }
        std::fs::write(path, "#!/bin/sh\nexit 101\n")?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        Ok(PolicyFile(Some(path)))
    }
}

impl Drop for PolicyFile {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
