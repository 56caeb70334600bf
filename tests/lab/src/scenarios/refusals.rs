//! What may not begin: refused with its remedy, and nothing is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::bench::Bench;
use super::command::{Done, finished};
use super::evidence::Files;
use super::tally::Tally;
use super::unfit;
use crate::node::Node;
use crate::paths;
use crate::process::{command, output};
use crate::step::wait_until;

const NOTICED: Duration = Duration::from_secs(45);

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let node = bench.other_control_plane()?;
    let healthy = Files::read(bench)?;
    // Each stands alone.
    let _ =
        tally.test("an unknown field of the configuration: file, line, column, nearest name", || unknown_field(bench));
    let _ = tally.test("no cluster: what was tried, exit code 1", || no_cluster(bench));
    let _ = tally.test("an agent that does not answer: named, refused", || silent_agent(bench));
    let _ = tally.test("ca.key missing: refused", || {
        refused_with(bench, &Break { node: &node, file: "ca.key", content: None }, &["ca.key is missing"])
    });
    let _ = tally.test("ca.key of another CA: refused", || {
        let other = output(&mut command("openssl", ["genrsa", "2048"]))?;
        let broken = Break { node: &node, file: "ca.key", content: Some(other.into_bytes()) };
        refused_with(bench, &broken, &["ca.key does not belong to"])
    });
    let _ = tally.test("ca.crt already a bundle: refused", || {
        let bundle = other_ca(&node)?;
        refused_with(
            bench,
            &Break { node: &node, file: "ca.crt", content: Some(bundle) },
            &["ca.crt is already a bundle"],
        )
    });
    let _ = tally.test("a broken PEM file on one node: named, refused, and it hides nothing else", || {
        let broken = Break {
            node: &node,
            file: "front-proxy-client.crt",
            content: Some(b"-----BEGIN CERTIFICATE-----\nno\n".to_vec()),
        };
        let guard = broken.make()?;
        let refused = refused(bench, &node, &["front-proxy-client.crt"]).and_then(|()| other_rows(bench, &node));
        guard.restore()?;
        refused
    });
    unfit::tell(bench, tally)?;
    tally.test("refusals: every file is as it was", || healthy.must_equal(&Files::read(bench)?))
}

fn unknown_field(bench: &Bench) -> Result<()> {
    let file = paths::state().join("certctl.yaml");
    fs::write(&file, "apiVersion: certctl.dev/v1alpha1\nkind: Config\nkeyAlgoritm: RSA-2048\n")?;
    let path = file.to_string_lossy();
    let done = bench.certctl(&["rotate-ca", "--config", &path, "--yes"])?.expect(2)?;
    done.saying(&["certctl.yaml:3:1", "keyAlgoritm", "keyAlgorithm"]).map(drop)
}

fn no_cluster(bench: &Bench) -> Result<()> {
    let missing = "/does/not/exist.conf";
    let mut command = bench.certctl_command();
    let done =
        finished(command.env("KUBECONFIG", missing).env("HOME", "/does/not/exist").args(["rotate-ca", "--yes"]))?;
    done.expect(1)?.saying(&[missing]).map(drop)
}

fn silent_agent(bench: &Bench) -> Result<()> {
    let worker = bench.last_worker()?;
    bench.signal_agent(&worker, "-STOP")?;
    let files = Files::read(bench)?;
    let refused = bench.certctl(&["rotate-ca", "--yes"]).and_then(|done| {
        done.expect(5)?.saying(&[&format!("node/{}", worker.name), "does not answer", "--waive"]).map(drop)
    });
    bench.signal_agent(&worker, "-CONT")?;
    refused?;
    files.must_equal(&Files::read(bench)?)
}

/// A file of a control-plane node below pki, exchanged or taken away.
pub struct Break<'a> {
    pub node: &'a Node,
    pub file: &'static str,
    pub content: Option<Vec<u8>>,
}

impl Break<'_> {
    pub fn make(&self) -> Result<Broken> {
        let path = self.node.root().join("etc/kubernetes/pki").join(self.file);
        let kept = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mode = fs::metadata(&path)?.permissions();
        match &self.content {
            None => fs::remove_file(&path)?,
            Some(content) => replace(&path, content, mode.clone())?,
        }
        Ok(Broken { path, kept, mode })
    }
}

/// Put back when dropped, whatever the test came to.
pub struct Broken {
    path: PathBuf,
    kept: Vec<u8>,
    mode: fs::Permissions,
}

impl Broken {
    fn restore(&self) -> Result<()> {
        replace(&self.path, &self.kept, self.mode.clone()).context("cannot put the file back")
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        let _ = self.restore();
    }
}

/// In one go, as every tool does that knows what reads these files.
fn replace(path: &Path, content: &[u8], mode: fs::Permissions) -> Result<()> {
    let beside = path.with_extension("lab");
    fs::write(&beside, content)?;
    fs::set_permissions(&beside, mode)?;
    fs::rename(&beside, path)?;
    Ok(())
}

pub fn refused_with(bench: &Bench, broken: &Break<'_>, words: &[&str]) -> Result<()> {
    let _guard = broken.make()?;
    refused(bench, broken.node, words)
}

/// Both the dry run and the real one refuse, name the node and what is wrong, and change nothing.
pub fn refused(bench: &Bench, node: &Node, words: &[&str]) -> Result<()> {
    let name = format!("node/{}", node.name);
    let planned = || bench.certctl(&["rotate-ca", "--dry-run"]);
    let says = |done: &Done| done.out.contains(&name) && words.iter().all(|word| done.out.contains(word));
    wait_until("the dry run names it", NOTICED, || planned().is_ok_and(|done| done.code == Some(5) && says(&done)))
        .or_else(|error| planned()?.expect(5).and_then(|done| bail!("{error:#}; it says {}", done.out)))?;
    refused_when_asked(bench, node, words)
}

/// For what only an agent's answer shows, for which a dry run does not ask.
pub fn refused_when_asked(bench: &Bench, node: &Node, words: &[&str]) -> Result<()> {
    let (files, spec) = (Files::read(bench)?, wanted_by_cluster(bench)?);
    bench.certctl(&["rotate-ca", "--yes"])?.expect(5)?.saying(&[&format!("node/{}", node.name)])?.saying(words)?;
    files.must_equal(&Files::read(bench)?)?;
    if wanted_by_cluster(bench)? != spec {
        bail!("the ClusterPKI was changed: {spec} -> {}", wanted_by_cluster(bench)?);
    }
    Ok(())
}

/// The intent that the cluster holds; nothing before the first rotation.
fn wanted_by_cluster(bench: &Bench) -> Result<String> {
    bench.kubectl(["get", "clusterpki", "-o", "jsonpath={.items[*].spec}"])
}

/// A bundle of the node's CA and a stranger.
fn other_ca(node: &Node) -> Result<Vec<u8>> {
    let pki = node.root().join("etc/kubernetes/pki");
    let mut bundle = fs::read(pki.join("ca.crt"))?;
    // Any other CA certificate will do.
    bundle.extend(fs::read(pki.join("front-proxy-ca.crt"))?);
    Ok(bundle)
}

/// inspect shows the broken file with its problem, the node's other certificates, and the other nodes'.
fn other_rows(bench: &Bench, node: &Node) -> Result<()> {
    let done = bench.certctl(&["inspect", "--output", "json"])?;
    let report: Value =
        serde_json::from_str(&done.out).with_context(|| format!("inspect printed no JSON: {}", done.err))?;
    let rows = report["certificates"].as_array().context("inspect has no certificates")?;
    let of = |name: &str| rows.iter().filter(|row| row["node"] == name).count();
    let broken = rows.iter().any(|row| {
        row["node"] == node.name.as_str()
            && row["path"].as_str().is_some_and(|path| path.ends_with("front-proxy-client.crt"))
            && row["problem"].is_string()
    });
    let poorest = bench.control_planes().iter().map(|other| of(&other.name)).min().unwrap_or(0);
    if !broken || of(&node.name) < 10 || poorest < 10 {
        bail!(
            "broken file shown: {broken}, rows of {}: {}, least rows of a control-plane node: {poorest}",
            node.name,
            of(&node.name)
        );
    }
    Ok(())
}
