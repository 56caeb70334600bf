//! kill -9 of `certctl renew` at the writes that only a node with a kubelet sees: a manifest that is parked and put back.
//!
//! Every other write of renew and repair is found and struck in the same way in a temporary root (`tests/cli`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::bench::Bench;
use super::command::{Done, finished};
use super::on_node::{PROGRAM, furnish, on};
use super::tally::Tally;
use crate::cluster;
use crate::container;
use crate::node::Node;
use crate::step::wait_until;

/// Calls that change a file or a name. How often a file is opened depends on how long there is to wait; what is opened to be written is
/// written next.
const CALLS: &str = "pwrite64,fsync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,chmod,fchmod,fchmodat,chown,fchown,fchownat";
const PARKED: &str = "/etc/kubernetes/certctl-parked";
const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Its reader does not reload it: the static pod is restarted.
const RENEW: [&str; 5] = ["renew", "--root", "/", "scheduler.conf", "--yes"];
const TRACE: &str = "/run/certctl-trace";
/// What `runc exec` makes of SIGKILL.
const KILLED: i32 = 137;
const SOON: Duration = Duration::from_secs(60);

/// A call of an undisturbed run, counted as strace does.
struct Point {
    call: String,
    number: usize,
    what: String,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.call, self.number, self.what)
    }
}

/// Every write.
pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let node = bench.other_control_plane()?;
    furnish(bench, &node)?;
    strike(bench, &node, &points(&node)?, tally)
}

/// The manifest just out of the folder, and not yet back in it. The call at which it is killed is not carried out.
pub fn some(bench: &Bench, node: &Node, tally: &mut Tally) -> Result<()> {
    let points = points(node)?;
    let manifest = format!("{MANIFESTS}/kube-scheduler.yaml");
    let out = |point: &Point| point.call.starts_with("rename") && point.what == manifest;
    let after = points.iter().position(out).and_then(|at| points.get(at + 1));
    let back = points.iter().rfind(|point| point.call.starts_with("rename"));
    let (Some(after), Some(back)) = (after, back) else { bail!("no manifest was moved") };
    strike(bench, node, [after, back], tally)
}

fn strike<'a>(
    bench: &Bench,
    node: &Node,
    points: impl IntoIterator<Item = &'a Point>,
    tally: &mut Tally,
) -> Result<()> {
    for point in points {
        tally.test(&format!("renew killed at {point}: the same command completes it"), || {
            let kill = format!("--inject={}:signal=SIGKILL:when={}", point.call, point.number);
            traced(node, &[&kill])?.expect(KILLED)?;
            on(node, &RENEW)?.expect(0)?;
            nothing_parked(node)?;
            cluster::wait_serving(&bench.record, SOON)?;
            let check = || bench.certctl(&["check", "--fail-on", "warning"]);
            wait_until("nothing is found on the cluster", SOON, || check().is_ok_and(|done| done.code == Some(0)))
        })?;
    }
    Ok(())
}

/// certctl below strace in the node. Only its first thread is followed: that one writes all files.
fn traced(node: &Node, options: &[&str]) -> Result<Done> {
    let words = ["strace", "-y", "-qq", "-o", TRACE, "-e"];
    let mut strace = container::inside(node, words);
    finished(strace.arg(format!("trace={CALLS}")).args(options).arg(PROGRAM).args(RENEW))
}

/// What an undisturbed run does in the two folders: the second, for the first makes folders that stay. A manifest whose pod the kubelet has
/// refused gets another mark, which the next run need not do: the writes for that are left out.
fn points(node: &Node) -> Result<Vec<Point>> {
    traced(node, &[])?.expect(0)?;
    traced(node, &[])?.expect(0)?;
    let trace = container::path_inside(node, TRACE.trim_start_matches('/')).context("the node is off")?;
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for line in fs::read_to_string(trace)?.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let number = counted.entry(call.to_owned()).or_default();
        *number += 1;
        if let Some(at) = [PARKED, MANIFESTS].iter().filter_map(|folder| arguments.find(folder)).min() {
            let what = arguments[at..].split(['"', '>']).next().unwrap_or_default().to_owned();
            found.push(Point { call: call.to_owned(), number: *number, what });
        }
    }
    let marks = |(_, point): &(usize, &Point)| point.call == "pwrite64" && point.what.contains(".edited.");
    if let Some((again, _)) = found.iter().enumerate().filter(marks).nth(1) {
        found.truncate(again);
    }
    // Out, the edited one (temporary file, name), in, the old one away: each followed by its folder.
    if found.len() < 8 {
        bail!("the run has only {} writes in the folders of manifests", found.len());
    }
    Ok(found)
}

fn nothing_parked(node: &Node) -> Result<()> {
    let names = |folder: &str| -> Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(node.root().join(folder.trim_start_matches('/'))) else { return Ok(Vec::new()) };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let (parked, mut manifests) = (names(PARKED)?, names(MANIFESTS)?);
    manifests.sort();
    let stock =
        ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"].map(|name| format!("{name}.yaml"));
    if !parked.is_empty() || manifests != stock {
        bail!("parked: {parked:?}; manifests: {manifests:?}");
    }
    Ok(())
}
