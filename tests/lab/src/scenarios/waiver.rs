//! A worker that is dead before the rotation begins.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::bench::Bench;
use super::evidence::{Before, Files, completed};
use super::rotation::LIMIT;
use super::tally::Tally;
use crate::node::Node;
use crate::step::wait_until;

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
    bench.power_on(&worker)?;
    tally.test("a waived node that is back is named by status", || {
        let named = || -> Result<bool> {
            let status = bench.status()?;
            let row = row(&status, &worker)?;
            Ok(row["waived"] == true || row["problem"].is_string() || status["reason"] == "CARotationDrifted")
        };
        wait_until("status names the node", Duration::from_secs(60), || named().unwrap_or(false))
    })
}

fn row(status: &Value, node: &Node) -> Result<Value> {
    let rows = status["nodes"].as_array().context("status has no nodes")?;
    rows.iter()
        .find(|row| row["node"] == node.name.as_str())
        .cloned()
        .with_context(|| format!("status does not list {}", node.name))
}
