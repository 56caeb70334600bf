//! kill -9 of the driver and of an agent, and a second driver beside the first.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::bench::Bench;
use super::command::finished;
use super::evidence::{Before, Files, completed};
use super::rotation::LIMIT;
use super::tally::Tally;
use super::watch::Watch;
use crate::cluster;
use crate::node::Node;
use crate::step::wait_until;

const RATE: u32 = 100;
const PHASE: Duration = Duration::from_secs(180);

pub fn drivers(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let watch = Watch::start(RATE)?;
    let mut first = bench.rotate(&[])?;
    first.wait_phase("CPTrusted", PHASE)?;
    // One that fails says nothing about the others.
    let _ = tally.test("a second rotate-ca while one runs is refused and told who runs the first", || {
        let pid = format!(":{}", first.pid());
        bench.certctl(&["rotate-ca", "--yes"])?.expect(5)?.saying(&[&pid]).map(drop)
    });
    let _ = tally.test("another CAVersion while a rotation runs is refused by the API server", || third_version(bench));
    tally.test(
        "kill -9 of the driver in the middle of a phase: the same command goes on, and pauses where it is told",
        || {
            first.wait_for("a node being changed", PHASE, |event| event["type"] == "NodeChanging")?;
            first.kill()?;
            bench.rotate(&["--pause-before", "DPUntrusted"])?.finish(LIMIT)?.expect(0).map(drop)
        },
    )?;
    let _ = tally.test("after the drop there is no way back: rollback is refused and changes nothing", || {
        let files = Files::read(bench)?;
        bench.certctl(&["rotate-ca", "rollback", "--yes"])?.expect(5)?.saying(&["no way back"])?;
        files.must_equal(&Files::read(bench)?)
    });
    tally.test("and rotate-ca continue completes the rotation", || {
        bench.rotate(&["continue"])?.finish(LIMIT)?.expect(0)?;
        completed(bench, 2)
    })?;
    let figures = watch.end()?;
    eprintln!("lab: {}", figures.line());
    tally.test("drivers: no API request fails", || figures.none_failed())
}

pub fn agents(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let before = Before::look(bench)?;
    let watch = Watch::start(RATE)?;
    tally.test("kill -9 of a control-plane node's agent in the middle of a step: the rotation completes", || {
        kill_agent_in_a_step(bench)
    })?;
    let figures = watch.end()?;
    eprintln!("lab: {}", figures.line());
    let _ = tally.test("agents: no API request fails", || figures.none_failed());
    tally.test("agents: stock kubeadm layout with CA 2, and CA 1 refused", || before.rotated(bench, &[]))
}

fn third_version(bench: &Bench) -> Result<()> {
    let patch = ["patch", "clusterpki", "cluster", "--type=merge", "--patch", r#"{"spec":{"caVersion":3}}"#];
    let refused = finished(&mut cluster::kubectl(&bench.record, patch))?;
    if refused.code == Some(0) {
        bail!("the API server took caVersion 3");
    }
    refused.saying(&["must not change while a rotation is not finished", "started by"])?;
    bench.certctl(&["rotate-ca", "--ca-version", "3", "--yes"])?.expect(5)?.saying(&["started by"]).map(drop)
}

/// The agent restarts a static pod by its manifest: as soon as that is touched, it is in the middle of its work.
fn kill_agent_in_a_step(bench: &Bench) -> Result<()> {
    let node = bench.other_control_plane()?;
    let manifest = || manifest(&node);
    let untouched = manifest().context("there is no manifest of kube-controller-manager")?;
    let mut rotation = bench.rotate(&[])?;
    rotation.wait_phase("CPTrusted", PHASE)?;
    wait_until("the agent restarts kube-controller-manager", PHASE, || manifest().as_ref() != Some(&untouched))?;
    bench.kill_agent(&node)?;
    rotation.finish(LIMIT)?.expect(0)?;
    completed(bench, 2)
}

fn manifest(node: &Node) -> Option<Vec<u8>> {
    fs::read(node.root().join("etc/kubernetes/manifests/kube-controller-manager.yaml")).ok()
}
