//! `certctl renew` for every node of the cluster, through the agents, while clients are at work.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::bench::Bench;
use super::command::Rotation;
use super::evidence::Files;
use super::expired::control_plane_leaves;
use super::renewal::{FEWEST, served};
use super::rotation::LIMIT;
use super::tally::Tally;
use super::watch::Watch;
use crate::cluster;
use crate::node::Node;

const RATE: u32 = 60;
const SOON: Duration = Duration::from_secs(60);
/// Ten on each control-plane node, and the first has super-admin.conf.
const FEWEST_LEAVES: usize = 31;

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let _ = tally.test("renew, every node: a dry run shows each node's plan and changes no file", || {
        let before = Files::read(bench)?;
        let done = bench.certctl(&["renew", "--all", "--dry-run"])?.expect(0)?;
        for node in bench.control_planes() {
            if !done.out.contains(&node.name) {
                bail!("{} is not in the plan: {}", node.name, done.out);
            }
        }
        before.must_equal(&Files::read(bench)?)
    });
    let _ = tally.test("renew, every node: nothing is due, nothing changes", || {
        let before = Files::read(bench)?;
        bench.certctl(&["renew", "--only-due", "--yes"])?.expect(0)?;
        before.must_equal(&Files::read(bench)?)
    });
    let watch = Watch::start(RATE)?;
    tally.test("renew, every node: new certificates are served everywhere, node by node", || all(bench))?;
    tally.test("renew, every kubelet: another client certificate, and every node Ready", || kubelets(bench))?;
    let figures = watch.end()?;
    eprintln!("lab: {}", figures.line());
    let _ = tally.test("renew, every node: no API request fails", || figures.none_failed_of(FEWEST));
    let _ = tally.test("renew, every node: restarts stay within their limits", || figures.restarts_within_limits());
    let _ = tally.test("renew, every node: kill -9 of an agent in the middle, and the run completes", || killed(bench));
    tally.test(
        "renew, every node: one that is down is named and refused, nothing changes; --waive does without it",
        || node_down(bench),
    )
}

fn serials(bench: &Bench) -> Result<BTreeMap<String, String>> {
    bench.control_planes().iter().map(|node| Ok((node.name.clone(), served(bench, node, "-serial")?))).collect()
}

/// Every leaf of every control-plane node.
fn leaves(bench: &Bench) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for node in bench.control_planes() {
        for file in control_plane_leaves(&node)? {
            let content = fs::read(&file)?;
            all.insert(file, content);
        }
    }
    Ok(all)
}

/// What control-plane nodes show, and what they hold.
struct Before {
    served: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Before {
    fn read(bench: &Bench) -> Result<Before> {
        Ok(Before { served: serials(bench)?, files: leaves(bench)? })
    }

    /// All of it is another now, and the API servers serve.
    fn is_over(&self, bench: &Bench) -> Result<()> {
        let now = Before::read(bench)?;
        if self.files.len() < FEWEST_LEAVES || now.files.len() != self.files.len() {
            bail!("{} files became {}", self.files.len(), now.files.len());
        }
        if let Some((file, _)) = self.files.iter().find(|(file, content)| now.files.get(*file) == Some(*content)) {
            bail!("{} is the one of before", file.display());
        }
        if let Some((node, _)) = self.served.iter().find(|(node, serial)| now.served.get(*node) == Some(*serial)) {
            bail!("the API server of {node} serves the old certificate");
        }
        cluster::wait_serving(&bench.record, SOON)
    }
}

fn all(bench: &Bench) -> Result<()> {
    let before = Before::read(bench)?;
    let done = bench.certctl(&["renew", "--all", "--yes", "--output", "json"])?.expect(0)?;
    before.is_over(bench).context(done.out)
}

fn killed(bench: &Bench) -> Result<()> {
    let (node, before) = (bench.other_control_plane()?, Before::read(bench)?);
    let mut certctl = bench.certctl_command();
    let mut run = Rotation::start(certctl.args(["--output", "json", "renew", "--all", "--yes"]))?;
    run.wait_for("a control-plane node being changed", SOON, |event| {
        event["type"] == "NodeChanging" && event["node"] == node.name.as_str()
    })?;
    bench.kill_agent(&node)?;
    run.finish(LIMIT)?.expect(0)?;
    before.is_over(bench)
}

/// Where the link of the current certificate leads.
fn current(node: &Node) -> Result<std::path::PathBuf> {
    Ok(fs::read_link(node.root().join("var/lib/kubelet/pki/kubelet-client-current.pem"))?)
}

fn kubelets(bench: &Bench) -> Result<()> {
    let certificates = || -> Result<Vec<Vec<u8>>> {
        let file = |node: &Node| -> Result<_> {
            Ok(node.root().join(current(node)?.to_string_lossy().trim_start_matches('/')))
        };
        bench.record.nodes.iter().map(|node| Ok(fs::read(file(node)?)?)).collect()
    };
    let before = certificates()?;
    let since = cluster::now();
    bench.certctl(&["renew", "kubelet-client", "--yes"])?.expect(0)?;
    let after = certificates()?;
    if let Some(at) = (0..before.len()).find(|at| before[*at] == after[*at]) {
        bail!("the kubelet of {} has its old certificate", bench.record.nodes[at].name);
    }
    cluster::wait_ready(&bench.record, &since, SOON)
}

fn node_down(bench: &Bench) -> Result<()> {
    let worker = bench.last_worker()?;
    bench.power_off(&worker);
    bench.wait_not_ready(&worker)?;
    let name = format!("node/{}", worker.name);
    let before = Files::read(bench)?;
    bench.certctl(&["renew", "apiserver", "kubelet-client", "--yes"])?.expect(5)?.saying(&[&name])?;
    before.must_equal(&Files::read(bench)?)?;
    let serials_before = serials(bench)?;
    bench.certctl(&["renew", "apiserver", "kubelet-client", "--waive", &name, "--yes"])?.expect(0)?;
    if serials(bench)?.iter().any(|(node, serial)| serials_before.get(node) == Some(serial)) {
        bail!("an API server serves the old certificate");
    }
    bench.power_on(&worker)
}
