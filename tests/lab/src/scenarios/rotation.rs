//! The whole rotation, undisturbed, under load; then the end of the old CA, and of certctl in the cluster.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::bench::Bench;
use super::command::finished;
use super::evidence::{Before, completed};
use super::operator;
use super::tally::Tally;
use super::watch::Watch;
use crate::cluster;
use crate::process::command;
use crate::step::wait_until;

pub const LIMIT: Duration = Duration::from_secs(420);
const RATE: u32 = 200;

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let watch = Watch::start(RATE)?;
    tally.test("rotation: certctl rotate-ca takes the cluster CA from 1 to 2", || {
        let done = bench.rotate(&[])?.finish(LIMIT)?.expect(0)?;
        eprintln!("lab: rotated in {} s", seconds(&done.out));
        completed(bench, 2)
    })?;
    let figures = watch.end()?;
    eprintln!("lab: {}", figures.line());
    // One that fails says nothing about the others.
    let _ = tally.test("rotation: no API request fails", || figures.none_failed());
    tally.test("rotation: restarts stay within their limits", || figures.restarts_within_limits())
}

/// One with an administrator at it, and what is left when it is over.
pub fn end(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let before = Before::look(bench)?;
    let old_key = OldKey::read(bench)?;
    operator::tell(bench, tally)?;
    // One that fails says nothing about the others.
    let _ = tally.test("end: stock kubeadm layout with CA 2, and CA 1 refused", || before.rotated(bench, &[]));
    let _ = tally.test("end: the same command again has nothing to undo", || {
        bench.certctl(&["rotate-ca", "--ca-version", "2", "--yes"])?.expect(5)?.saying(&["CAVersion 2"]).map(drop)
    });
    tally.test("finalize: containers that may hold only CA 1 are named, then it ends CA 1", || {
        finalize(bench, &old_key)
    })?;
    tally.test("uninstall: nothing of certctl stays in the cluster", || uninstall(bench))
}

/// Seconds that certctl itself says.
fn seconds(events: &str) -> String {
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["type"] == "Finished").map(|event| event["seconds"].to_string()).collect()
}

fn finalize(bench: &Bench, old_key: &OldKey) -> Result<()> {
    // kubectl proxy runs since before the rotation and reads its CA once.
    bench.certctl(&["rotate-ca", "finalize", "--yes"])?.expect(5)?.saying(&["lab/proxy-reads-ca-once"])?;
    if old_key.places(bench)?.is_empty() {
        bail!("the key of CA 1 is gone already, so this test would show nothing");
    }
    bench.certctl(&["rotate-ca", "finalize", "--yes", "--accept-cut-off"])?.expect(0)?;
    let left = old_key.places(bench)?;
    if !left.is_empty() {
        bail!("the key of CA 1 is still in {}", left.join(", "));
    }
    for node in bench.control_planes() {
        let address = format!("{}:6443", node.ip());
        let mut openssl = cluster::outside(&bench.record, "openssl");
        let chain = finished(openssl.args(["s_client", "-showcerts", "-connect", &address]))?;
        if chain.out.matches("BEGIN CERTIFICATE").count() != 1 {
            bail!("the API server of {} still serves a chain", node.name);
        }
    }
    completed(bench, 2)
}

/// A piece of the old CA's private key, which stands in one line of every PEM file that holds it.
struct OldKey(String);

impl OldKey {
    fn read(bench: &Bench) -> Result<OldKey> {
        let path = bench.record.first_control_plane()?.root().join("etc/kubernetes/pki/ca.key");
        let pem = fs::read_to_string(&path)?;
        // The second line of its body: the first says what kind of key it is.
        Ok(OldKey(pem.lines().nth(2).context("ca.key is too short")?.to_owned()))
    }

    /// Files of control-plane nodes that hold it.
    fn places(&self, bench: &Bench) -> Result<Vec<String>> {
        let mut places = Vec::new();
        for node in bench.control_planes() {
            for folder in ["etc/kubernetes", "var/lib/certctl"] {
                let found = finished(command("grep", ["-rlF", "-e", &self.0]).arg(node.root().join(folder)))?;
                places.extend(found.out.lines().map(|path| format!("{}: {path}", node.name)));
            }
        }
        Ok(places)
    }
}

const CLUSTER_WIDE: &str =
    "crd,namespace,clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding";
const NAMESPACED: &str = "role,rolebinding,configmap,secret,serviceaccount,lease,daemonset,pod";

fn uninstall(bench: &Bench) -> Result<()> {
    bench.certctl(&["uninstall", "--yes"])?.expect(0)?;
    let left = || -> Result<Vec<String>> {
        let all = bench.kubectl(["get", CLUSTER_WIDE, "--output=name"])?
            + &bench.kubectl(["get", NAMESPACED, "--all-namespaces", "--output=name"])?;
        Ok(all.lines().filter(|name| name.contains("certctl")).map(str::to_owned).collect())
    };
    // The namespace controller takes away what is in a namespace by and by.
    let gone = wait_until("certctl is gone", Duration::from_secs(60), || left().is_ok_and(|left| left.is_empty()));
    if gone.is_err() {
        bail!("left behind: {}", left()?.join(", "));
    }
    Ok(())
}
