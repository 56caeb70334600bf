//! One of three control-plane nodes whose certificates have expired, as on a node that somebody forgot.

use std::fs;
use std::time::Duration;

use anyhow::{Result, bail};

use super::bench::Bench;
use super::command::finished;
use super::expired::{control_plane_leaves, over};
use super::on_node::{furnish, on};
use super::tally::Tally;
use crate::cluster;
use crate::node::Node;
use crate::step::wait_until;

/// Long enough to be put in place and proved.
const LIFE: &str = "1m";
const SOON: Duration = Duration::from_secs(180);
const CA: &str = "etc/kubernetes/pki/ca.crt";

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let node = bench.other_control_plane()?;
    furnish(bench, &node)?;
    tally.test("one of three control-plane nodes has expired: the others serve on, it does not", || {
        on(&node, &["renew", "--root", "/", "--all", "--validity", LIFE, "--yes"])?.expect(0)?;
        let leaves = || control_plane_leaves(&node).is_ok_and(|leaves| leaves.len() >= 10 && over(&leaves));
        wait_until("its certificates have expired", SOON, leaves)?;
        let nodes_by = |node: &Node| {
            let server = format!("https://{}:6443", node.ip());
            finished(&mut cluster::kubectl(&bench.record, ["--server", &server, "get", "nodes"]))
        };
        let refused = nodes_by(&node)?;
        if refused.code == Some(0) || !refused.err.contains("expired") {
            bail!("kubectl at {}: {}{}", node.name, refused.out, refused.err);
        }
        nodes_by(bench.record.first_control_plane()?)?.expect(0).map(drop)
    })?;
    tally.test("one of three control-plane nodes has expired: one command there, and the cluster is whole", || {
        let ca = fs::read(node.root().join(CA))?;
        on(&node, &["repair", "--validity", "8760h", "--yes"])?.expect(0)?;
        cluster::wait_serving(&bench.record, SOON)?;
        cluster::wait_ready(&bench.record, "", SOON)?;
        cluster::wait_pods(&bench.record, SOON)?;
        if fs::read(node.root().join(CA))? != ca {
            bail!("the CA is another one");
        }
        let found = || bench.certctl(&["check", "--fail-on", "warning"]);
        wait_until("nothing is found any more", SOON, || found().is_ok_and(|done| done.code == Some(0)))
    })
}
