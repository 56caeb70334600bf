//! Nodes that are dead while the CA is rotated, and come back when nothing accepts their certificates any more.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::bench::Bench;
use super::evidence::{Before, Files, completed};
use super::rotation::LIMIT;
use super::tally::Tally;
use crate::cluster;
use crate::node::Node;
use crate::step::wait_until;

/// From the power switch to Ready.
const BACK: Duration = Duration::from_secs(120);
/// From Ready to the report of the pod's agent.
const REPORTED: Duration = Duration::from_secs(60);

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let worker = bench.last_worker()?;
    let waived = format!("node/{}", worker.name);
    let before = Before::look(bench)?;
    bench.power_off(&worker);
    bench.wait_not_ready(&worker)?;
    let _ = tally.test("a node that is NotReady is refused in preflight, and nothing is changed", || {
        let files = Files::read(bench)?;
        bench.certctl(&["rotate-ca", "--yes"])?.expect(5)?.saying(&[&waived, &format!("--waive {waived}")])?;
        files.must_equal(&Files::read(bench)?)
    });
    tally.test("with --waive the rotation completes without it, and status lists it", || {
        bench.rotate(&["--waive", &waived])?.finish(LIMIT)?.expect(0)?;
        completed(bench, 2)?;
        let row = row(&bench.status()?, &worker)?;
        if row["waived"] != true {
            bail!("status does not list it as waived: {row}");
        }
        before.rotated(bench, &[&worker.name])
    })?;
    tally.test("finalize is refused while the waived node is not up to date", || {
        let files = Files::read(bench)?;
        bench.certctl(&["rotate-ca", "finalize", "--yes"])?.expect(5)?.saying(&[&waived, "--accept-cut-off"])?;
        files.must_equal(&Files::read(bench)?)
    })?;
    let since = cluster::now();
    bench.power_on(&worker)?;
    tally.test("a waived node that comes back after the drop becomes Ready by itself", || {
        let mut alone = bench.record.clone();
        alone.nodes.retain(|node| node.name == worker.name);
        cluster::wait_ready(&alone, &since, BACK)
    })?;
    tally.test("it holds the new CA only, and status does not list it any more", || {
        let counts = || -> Result<bool> {
            let row = row(&bench.status()?, &worker)?;
            Ok(row["waived"] == false && row["kubelet"] == 2 && row["kubeletLoaded"] == 2 && row["problem"].is_null())
        };
        wait_until("status counts the node again", REPORTED, || counts().unwrap_or(false))?;
        completed(bench, 2)?;
        before.rotated(bench, &[])
    })?;
    tally.test("neither its request nor an answer is left, and its pods run again", || {
        let traces =
            || bench.kubectl(["get", "nodepkis", "-o", "jsonpath={.items[*].status['kubeletRequest','vouched']}"]);
        wait_until("the statuses are clean", REPORTED, || traces().is_ok_and(|traces| traces.trim().is_empty()))?;
        cluster::wait_pods(&bench.record, BACK)
    })?;
    tally.test("the next rotation counts it: nothing is waived on", || {
        bench.rotate(&[])?.finish(LIMIT)?.expect(0)?;
        completed(bench, 3)?;
        let row = row(&bench.status()?, &worker)?;
        if row["waived"] != false || row["kubelet"] != 3 {
            bail!("the node was left out: {row}");
        }
        Ok(())
    })
}

/// Its API server and its kube-controller-manager come back with the CA that is in force no more.
pub fn control_plane(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let node = bench.other_control_plane()?;
    let waived = format!("node/{}", node.name);
    let before = Before::look(bench)?;
    tally.test("a control-plane node dies in the middle: with --waive the rotation goes on without it", || {
        bench.rotate(&["--pause-before", "CPReissued"])?.finish(LIMIT)?.expect(0)?;
        bench.power_off(&node);
        bench.wait_not_ready(&node)?;
        bench.rotate(&["--waive", &waived])?.finish(LIMIT)?.expect(0)?;
        completed(bench, 2)?;
        before.rotated(bench, &[&node.name])
    })?;
    bench.power_on(&node)?;
    tally.test("it comes back after the drop, and is brought up to date", || {
        let counts = || -> Result<bool> {
            let row = row(&bench.status()?, &node)?;
            Ok(row["waived"] == false && row["served"] == 2 && row["kubeletLoaded"] == 2 && row["problem"].is_null())
        };
        wait_until("status counts the node again", BACK, || counts().unwrap_or(false))?;
        before.rotated(bench, &[])?;
        cluster::wait_pods(&bench.record, BACK)
    })?;
    tally.test(
        "what its API server published of the old CA is named, and gone after the command that status names",
        || {
            let status = bench.status()?;
            if status["reason"] != "CARotationDrifted" || !status["next"].to_string().contains("rotate-ca finalize") {
                bail!("reason: {}, next: {}", status["reason"], status["next"]);
            }
            bench.certctl(&["rotate-ca", "finalize", "--yes", "--accept-cut-off"])?.expect(0)?;
            completed(bench, 2)
        },
    )
}

fn row(status: &Value, node: &Node) -> Result<Value> {
    let rows = status["nodes"].as_array().context("status has no nodes")?;
    rows.iter()
        .find(|row| row["node"] == node.name.as_str())
        .cloned()
        .with_context(|| format!("status does not list {}", node.name))
}
