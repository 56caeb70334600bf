//! `certctl diagnose`: all ticks on a cluster as kubeadm makes it, and a cross where something is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Result, bail};

use super::bench::Bench;
use super::on_node::{furnish, on};
use super::tally::Tally;
use crate::step::wait_until;

/// Agents tell of a change by themselves.
const TOLD: Duration = Duration::from_secs(30);

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let node = bench.other_control_plane()?;
    furnish(bench, &node)?;
    let _ = tally.test("diagnose: every item holds on a cluster as kubeadm makes it", || {
        let done = bench.certctl(&["diagnose"])?.expect(0)?;
        for word in ["trust", "etcd", "objects", &node.name] {
            if !done.out.contains(word) {
                bail!("nothing is said of {word}: {}", done.out);
            }
        }
        Ok(())
    });
    let _ = tally.test("diagnose --root --probe: every item holds on a node as kubeadm makes it", || {
        on(&node, &["diagnose", "--root", "/", "--probe"])?.expect(0).map(drop)
    });
    tally.test(
        "diagnose: a cross for a key that others can read, named by node, exit code 4; well again afterwards",
        || {
            let key = node.root().join("etc/kubernetes/pki/apiserver.key");
            let diagnose = || bench.certctl(&["diagnose", "--group", "certificates"]);
            let ends =
                |code| wait_until("diagnose says it", TOLD, || diagnose().is_ok_and(|done| done.code == Some(code)));
            fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
            let crossed = ends(4).and_then(|()| Ok(diagnose()?.out));
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
            let crossed = crossed?;
            if !(crossed.contains(&node.name) && crossed.contains("chmod 0600")) {
                bail!("node and remedy are not named: {crossed}");
            }
            ends(0)
        },
    )
}
