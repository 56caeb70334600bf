//! Clusters that are not fit for a rotation: another program, no key, an expired certificate, a member of etcd or a clock that is off.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::bench::{Bench, IMAGE, agent_archive};
use super::command::finished;
use super::evidence::Files;
use super::refusals::{Break, refused, refused_when_asked, refused_with};
use super::tally::Tally;
use crate::node::Node;
use crate::process::{command, output, output_with_input, run};
use crate::step::wait_until;
use crate::{cluster, container, images, paths};

/// From the end of what was wrong until nobody complains.
const HEALED: Duration = Duration::from_secs(90);

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let node = bench.other_control_plane()?;
    let _ = tally.test("agents of another version: named, refused", || other_version(bench));
    let _ = tally.test("no control-plane node has ca.key (external CA): refused", || external_ca(bench));
    let _ = tally.test("a leaf that has expired: refused", || {
        let broken =
            Break { node: &node, file: "front-proxy-client.crt", content: Some(expired_front_proxy_client(&node)?) };
        refused_with(bench, &broken, &["front-proxy-client.crt has expired"])
    });
    let _ = tally.test("a clock that is 90 s ahead: refused", || clock_ahead(bench));
    tally.test("once it is well again, nothing is said against a rotation", || {
        let done = || bench.certctl(&["rotate-ca", "--dry-run"]);
        wait_until("the dry run has nothing against it", HEALED, || done().is_ok_and(|done| done.code == Some(0)))
            .or_else(|_| done()?.expect(0).map(drop))
    })
}

/// A member that hangs takes its API server with it, and whoever is connected to that: minutes.
pub fn etcd(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let node = bench.other_control_plane()?;
    tally.test("a member of etcd that does not answer: refused", || etcd_silent(bench, &node))
}

/// The agents in the cluster are real, and so is the program that asks: its version is the only thing that differs.
fn other_version(bench: &Bench) -> Result<()> {
    let said = bench.certctl(&["version", "--output", "json"])?.expect(0)?.out;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    let ours = said["version"].as_str().context("certctl names no version")?;
    let other: String = ours.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let program = paths::state().join("certctl-of-another-version");
    fs::write(&program, replaced(fs::read(&bench.certctl)?, ours.as_bytes(), other.as_bytes()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let files = Files::read(bench)?;
    let mut certctl = cluster::outside(&bench.record, &program.to_string_lossy());
    let done = finished(certctl.args(["rotate-ca", "--yes"]))?.expect(5)?;
    let told = format!("its agent has version {ours}, this is {other}");
    done.saying(&[&format!("node/{}", bench.last_worker()?.name), &told, "certctl install"])?;
    fs::remove_file(program)?;
    files.must_equal(&Files::read(bench)?)
}

/// Both are equally long.
fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, window)| *window == from).map(|(place, _)| place).collect();
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to);
    }
    bytes
}

fn external_ca(bench: &Bench) -> Result<()> {
    let nodes = bench.control_planes();
    let broken = nodes.iter().map(|node| Break { node, file: "ca.key", content: None }.make());
    let _guards = broken.collect::<Result<Vec<_>>>()?;
    for node in &nodes {
        refused(bench, node, &["ca.key is missing (external CA)"])?;
    }
    Ok(())
}

/// The node's own certificate of this name, signed by its CA and over since yesterday.
fn expired_front_proxy_client(node: &Node) -> Result<Vec<u8>> {
    let pki = node.root().join("etc/kubernetes/pki");
    let key = pki.join("front-proxy-client.key");
    let request = output(command("openssl", ["req", "-new", "-subj", "/CN=front-proxy-client", "-key"]).arg(key))?;
    let mut sign = command("openssl", ["x509", "-req", "-days", "-1", "-set_serial", "7", "-CA"]);
    sign.arg(pki.join("front-proxy-ca.crt")).arg("-CAkey").arg(pki.join("front-proxy-ca.key"));
    output_with_input(&mut sign, request.as_bytes()).map(String::into_bytes)
}

fn etcd_silent(bench: &Bench, node: &Node) -> Result<()> {
    let signal = |signal| run(&mut container::inside(node, ["pkill", signal, "--exact", "etcd"]));
    signal("-STOP")?;
    // The others elect a leader if it was this one.
    wait_until("etcd answers without it", HEALED, || bench.kubectl(["get", "clusterpki"]).is_ok())?;
    let refused = refused_when_asked(bench, node, &["etcd is not healthy"]);
    signal("-CONT")?;
    refused?;
    cluster::wait_serving(&bench.record, HEALED)
}

/// libfaketime in the image gives one agent another clock: nodes of one machine share the machine's.
fn clock_ahead(bench: &Bench) -> Result<()> {
    let node = bench.last_worker()?;
    let library = faketime()?;
    let environment = [
        format!("LD_PRELOAD={}", library.display()),
        "FAKETIME=+90".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
    ];
    let archive = paths::state().join("certctl-ahead.tar");
    images::pack_agent_with(&bench.certctl, IMAGE, &archive, Some(&library), &environment)?;
    replace_agent(bench, &node, &archive)?;
    let refused = refused_when_asked(bench, &node, &["its clock is", "s off"]);
    fs::remove_file(archive)?;
    replace_agent(bench, &node, &agent_archive())?;
    refused
}

/// The library that gives a program another clock.
pub fn faketime() -> Result<PathBuf> {
    // Debian's name of this machine's kind, under which libraries are found.
    let multiarch = output(&mut command("gcc", ["-print-multiarch"]))?;
    Ok(Path::new("/usr/lib").join(multiarch.trim()).join("faketime/libfaketime.so.1"))
}

/// The same image name with other content; the DaemonSet makes the pod again.
fn replace_agent(bench: &Bench, node: &Node, archive: &Path) -> Result<()> {
    images::import(node, &fs::read(archive)?)?;
    let here = format!("spec.nodeName={}", node.name);
    let ours = ["-l", "app.kubernetes.io/component=agent", "--field-selector", &here];
    let agents = |words: &[&str]| {
        let mut kubectl = cluster::kubectl(&bench.record, ["-n", "certctl-system"]);
        output(kubectl.args(words).args(ours))
    };
    let ready = "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].ready}{end}";
    let before = agents(&["get", "pods", "-o", ready])?;
    let uid = before.split_whitespace().next().with_context(|| format!("no agent was there on {}", node.name))?;
    agents(&["delete", "pods", "--wait=false"])?;
    wait_until(&format!("another agent on {}", node.name), HEALED, || {
        agents(&["get", "pods", "-o", ready]).is_ok_and(|now| !now.contains(uid) && now.ends_with("true"))
    })
}
