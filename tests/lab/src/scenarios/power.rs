//! Power cuts in the middle of a rotation.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use super::bench::Bench;
use super::command::Rotation;
use super::evidence::{Before, completed};
use super::figures::Cut;
use super::rotation::LIMIT;
use super::tally::Tally;
use super::watch::Watch;
use crate::node::Node;

const RATE: u32 = 100;
const PHASE: Duration = Duration::from_secs(180);
/// The control plane takes a node for gone after 40 s or so.
const NOTICED: Duration = Duration::from_secs(120);

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let (worker, control_plane) = (bench.last_worker()?, bench.other_control_plane()?);
    let before = Before::look(bench)?;
    let mut cuts = Vec::new();
    let watch = Watch::start(RATE)?;
    let mut rotation = bench.rotate(&[])?;
    tally.test("a worker loses power in the middle: it is named, and waited for", || {
        rotation.wait_phase("CPTrusted", PHASE)?;
        cuts.push(cut_until_noticed(bench, &mut rotation, &worker)?);
        rotation.wait_phase("CPReissued", PHASE).map(drop)
    })?;
    tally.test("a control-plane node loses power in the middle: it is named, and the rotation completes", || {
        rotation.wait_for("a node being changed", PHASE, |event| event["type"] == "NodeChanging")?;
        cuts.push(cut_until_noticed(bench, &mut rotation, &control_plane)?);
        rotation.finish(LIMIT)?.expect(0)?;
        completed(bench, 2)
    })?;
    let figures = watch.end()?;
    eprintln!("lab: {}", figures.line());
    let _ =
        tally.test("power: no API request fails but through the node without power", || figures.failed_only_by(&cuts));
    tally.test("power: stock kubeadm layout with CA 2, and CA 1 refused", || before.rotated(bench, &[]))
}

fn cut_until_noticed(bench: &Bench, rotation: &mut Rotation, node: &Node) -> Result<Cut> {
    let cut = begin_cut(bench, node)?;
    rotation.wait_named(&node.name, NOTICED)?;
    end_cut(bench, node, cut)
}

/// Cuts the power. The cut lasts until `end_cut`.
pub fn begin_cut(bench: &Bench, node: &Node) -> Result<Cut> {
    let clients = clients_on(bench, node)?;
    let off = Timestamp::now();
    bench.power_off(node);
    Ok(Cut { node: node.name.clone(), control_plane: node.is_control_plane(), clients, off, on: Timestamp::MAX })
}

pub fn end_cut(bench: &Bench, node: &Node, cut: Cut) -> Result<Cut> {
    bench.power_on(node)?;
    Ok(Cut { on: Timestamp::now(), ..cut })
}

fn clients_on(bench: &Bench, node: &Node) -> Result<Vec<String>> {
    let pods: Value =
        serde_json::from_str(&bench.kubectl(["-n", "lab", "get", "pods", "-l", "app=proxy", "-o", "json"])?)?;
    let items = pods["items"].as_array().cloned().unwrap_or_default();
    let here = items.iter().filter(|pod| pod["spec"]["nodeName"] == node.name.as_str());
    Ok(here.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
}
