//! Clusters whose certificates live for minutes, and what `certctl repair` makes of them when those are over: while everything still
//! runs, and after every node was powered off and on, when nothing starts any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::Value;

use super::bench::{Bench, BenchOptions};
use super::command::finished;
use super::evidence::Files;
use super::on_node::{self, certctl, on, on_first};
use super::tally::Tally;
use crate::node::{Node, Role};
use crate::process::{command, output, output_with_input, run};
use crate::step::{step, wait_until};
use crate::{cluster, container, paths, snapshot};

/// A cluster of five nodes is made and kept in three minutes on a slow day.
const LIFE: &str = "4m";
/// One of two nodes in one minute.
const SHORT_LIFE: &str = "150s";
/// As long as nobody renews them, which takes a minute before their end; and as long again if kubelets did.
const OVER: Duration = Duration::from_secs(900);
const SOON: Duration = Duration::from_secs(90);
/// By hand it took 40 s (facts, section 18).
const BY_HAND: Duration = Duration::from_secs(40);
/// Nodes without power, their certificates still valid.
const FRESH: &str = "fresh";
const NODES: &str = "root/nodes.yaml";
const CA_KEY: &str = "etc/kubernetes/pki/ca.key";
/// Without ssh.
const REPAIR: [&str; 6] = ["repair", "--validity", "8760h", "--ca-validity", "87600h", "--yes"];

pub fn tell(options: &BenchOptions, tally: &mut Tally) -> Result<()> {
    // One that fails says nothing about the other.
    let first = by_hand(options, tally);
    let second = with_ssh(options, tally);
    first.and(second)
}

/// Three control-plane nodes and two workers, one command.
fn with_ssh(options: &BenchOptions, tally: &mut Tally) -> Result<()> {
    let bench = options.other_cluster(3, 2, (LIFE, "87600h"))?;
    snapshot::take(FRESH, true)?;
    furnish(&bench)?;
    let repair = ["repair", "--config", "/root/nodes.yaml", "--validity", "8760h", "--yes"];
    tally.test("expired, everything runs: kubectl is refused", || {
        wait_expired(&bench, &control_plane_leaves)?;
        kubectl_is_refused(&bench)
    })?;
    tally.test("expired, everything runs: one command brings 3 + 2 nodes back", || {
        let since = cluster::now();
        on_first(&bench, &repair)?.expect(0)?;
        whole(&bench, &since)
    })?;
    power_cut_since(&bench)?;
    tally.test("expired, powered off and on: nothing runs anywhere", || nothing_runs(&bench))?;
    let before = Files::read(&bench)?;
    tally.test("expired, powered off and on: a dry run shows the plan and changes nothing", || {
        let done = on_first(&bench, &["repair", "--dry-run"])?.expect(0)?;
        for name in ["apiserver", "etcd-peer", "admin.conf", "kubelet-client"] {
            if !done.out.contains(name) {
                bail!("the plan does not name {name}: {}", done.out);
            }
        }
        before.must_equal(&Files::read(&bench)?)
    })?;
    tally.test("expired, powered off and on: one command brings 3 + 2 nodes back", || {
        let (begun, since) = (Instant::now(), cluster::now());
        on_first(&bench, &repair)?.expect(0)?;
        eprintln!("lab: repaired in {:.1} s (by hand {} s)", begun.elapsed().as_secs_f64(), BY_HAND.as_secs());
        whole(&bench, &since)
    })?;
    tally.test("repaired: the same command finds nothing to do", || {
        let before = Files::read(&bench)?;
        on_first(&bench, &repair)?.expect(0)?.saying(&["in order"])?;
        before.must_equal(&Files::read(&bench)?)
    })
}

/// One control-plane node and one worker, which nobody has an ssh key for; their CAs expire too.
fn by_hand(options: &BenchOptions, tally: &mut Tally) -> Result<()> {
    let bench = options.other_cluster(1, 1, (SHORT_LIFE, SHORT_LIFE))?;
    snapshot::take(FRESH, true)?;
    furnish(&bench)?;
    tally.test("expired with their CAs, 1 + 1 nodes, everything runs: kubectl is refused", || {
        wait_expired(&bench, &leaves)?;
        kubectl_is_refused(&bench)
    })?;
    tally.test(
        "expired with their CAs, 1 + 1 nodes, everything runs: one command for each brings them back",
        || {
            let key = fs::read(bench.record.first_control_plane()?.root().join(CA_KEY))?;
            let since = cluster::now();
            let done = on_first(&bench, &REPAIR)?.expect(0)?;
            join_worker(&bench)?;
            whole(&bench, &since)?;
            if fs::read(bench.record.first_control_plane()?.root().join(CA_KEY))? != key {
                bail!("the CA has another key: whoever trusted it trusts nobody now");
            }
            joinable(&bench).context(done.err)
        },
    )?;
    power_cut_since(&bench)?;
    tally.test("expired, 1 + 1 nodes, powered off and on: one command for each brings them back", || {
        nothing_runs(&bench)?;
        let since = cluster::now();
        on_first(&bench, &REPAIR)?.expect(0)?;
        join_worker(&bench)?;
        whole(&bench, &since)
    })?;
    power_cut_since(&bench)?;
    let worker = bench.last_worker()?;
    tally.test("without the API server: a request goes over, an answer comes back, no secret in either", || {
        let since = cluster::now();
        let done = on(&worker, &["repair", "--yes"])?;
        let request = fs::read(worker.root().join("var/lib/certctl/requests/kubelet-client.csr"))
            .with_context(|| format!("the worker wrote no request: {}", done.err))?;
        on_first(&bench, &REPAIR)?.expect(0)?;
        let sign = ["repair", "--sign", "-"];
        let answer = output_with_input(&mut certctl(bench.record.first_control_plane()?, &sign), &request)?;
        if answer.contains("PRIVATE KEY") {
            bail!("a private key is in the answer");
        }
        output_with_input(&mut certctl(&worker, &["repair", "--yes", "--import", "-"]), answer.as_bytes())?;
        whole(&bench, &since)
    })?;
    tally.test("repair --undo puts the files back as they were", || undo(&bench))
}

/// A machine that joins trusts what cluster-info says: no CA in it may be over.
fn joinable(bench: &Bench) -> Result<()> {
    let words = ["-n", "kube-public", "get", "configmap", "cluster-info", "-o", "jsonpath={.data.kubeconfig}"];
    let text = bench.kubectl(words)?;
    let data = text.lines().find_map(|line| line.trim().strip_prefix("certificate-authority-data: "));
    let pem = output_with_input(&mut command("base64", ["-d"]), data.context("cluster-info names no CA")?.as_bytes())?;
    output_with_input(&mut command("openssl", ["x509", "-noout", "-checkend", "0"]), pem.as_bytes()).map(drop)
}

/// What `--print-join` prints is run on the node that it is meant for, as it stands.
fn join_worker(bench: &Bench) -> Result<()> {
    let printed = on_first(bench, &["repair", "--print-join"])?.expect(0)?.out;
    let worker = bench.last_worker()?;
    if !printed.contains(&worker.name) {
        bail!("no command for {}: {printed}", worker.name);
    }
    output_with_input(&mut container::inside(&worker, ["sh", "-s"]), printed.as_bytes()).map(drop)
}

fn undo(bench: &Bench) -> Result<()> {
    let node = bench.record.first_control_plane()?;
    let apiserver = || fs::read(node.root().join("etc/kubernetes/pki/apiserver.crt"));
    let repaired = apiserver()?;
    on(node, &["repair", "--undo", "--yes"])?.expect(0)?;
    let old = apiserver()?;
    if old == repaired || end_of(&node.root().join("etc/kubernetes/pki/apiserver.crt"))? > Timestamp::now() {
        bail!("apiserver.crt is not the one of before");
    }
    // And forward again: an undone repair is a cluster to be repaired.
    let since = cluster::now();
    on(node, &REPAIR)?.expect(0)?;
    whole(bench, &since)
}

/// The program on every node; ssh opens all of them, and the list of nodes is on the first.
fn furnish(bench: &Bench) -> Result<()> {
    bench.record.nodes.iter().try_for_each(|node| on_node::furnish(bench, node))?;
    let nodes = bench.record.nodes.iter().map(|node| format!("- {{name: {}, address: {}}}\n", node.name, node.ip()));
    let config = format!("apiVersion: certctl.dev/v1alpha1\nkind: Config\nnodes:\n{}", nodes.collect::<String>());
    fs::write(bench.record.first_control_plane()?.root().join(NODES), config)?;
    Ok(())
}

/// From nodes that were off while their certificates ended.
fn power_cut_since(bench: &Bench) -> Result<()> {
    snapshot::restore(FRESH, false)?;
    furnish(bench)?;
    step("every certificate has expired", || wait_expired(bench, &leaves))
}

/// The certificates of the control plane, kubeconfigs included; as kubeadm knows them.
pub fn control_plane_leaves(node: &Node) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in ["pki", "pki/etcd", "."] {
        let Ok(entries) = fs::read_dir(node.root().join("etc/kubernetes").join(folder)) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let leaf = name.ends_with(".crt") && !name.ends_with("ca.crt");
            if leaf || (name.ends_with(".conf") && name != "kubelet.conf") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn leaves(node: &Node) -> Result<Vec<PathBuf>> {
    let mut files = control_plane_leaves(node)?;
    let pki = node.root().join("var/lib/kubelet/pki");
    // The link leads to a path on the node.
    let current = fs::read_link(pki.join("kubelet-client-current.pem")).context("the kubelet has no certificate")?;
    files.push(pki.join(current.file_name().context("no file")?));
    Ok(files)
}

fn wait_expired(bench: &Bench, which: &dyn Fn(&Node) -> Result<Vec<PathBuf>>) -> Result<()> {
    wait_until("every certificate has expired", OVER, || {
        bench.record.nodes.iter().all(|node| which(node).is_ok_and(|files| over(&files)))
    })
}

/// True when the certificate in each of these files has expired.
pub fn over(files: &[PathBuf]) -> bool {
    files.iter().all(|file| end_of(file).is_ok_and(|end| end < Timestamp::now()))
}

/// By OpenSSL: of a PEM file, or of the certificate in a kubeconfig.
fn end_of(file: &Path) -> Result<Timestamp> {
    let text = fs::read_to_string(file)?;
    let embedded = text.lines().find_map(|line| line.trim().strip_prefix("client-certificate-data: "));
    let pem = match embedded {
        Some(data) => output_with_input(&mut command("base64", ["-d"]), data.as_bytes())?,
        None => text,
    };
    let words = ["x509", "-noout", "-enddate", "-dateopt", "iso_8601"];
    let end = output_with_input(&mut command("openssl", words), pem.as_bytes())?;
    let end = end.trim().strip_prefix("notAfter=").context("openssl names no end")?.replace(' ', "T");
    end.parse().with_context(|| format!("{}: {end}", file.display()))
}

fn kubectl_is_refused(bench: &Bench) -> Result<()> {
    let done = finished(&mut cluster::kubectl(&bench.record, ["get", "nodes"]))?;
    let told = ["expired", "Unauthorized", "logged in"].iter().any(|word| done.err.contains(word));
    if done.code == Some(0) || !told { bail!("kubectl: {:?} {}{}", done.code, done.err, done.out) } else { Ok(()) }
}

/// Asked after every kubelet has tried, so that it shows something.
fn nothing_runs(bench: &Bench) -> Result<()> {
    for node in &bench.record.nodes {
        let restarts = ["systemctl", "show", "kubelet", "--property", "NRestarts", "--value"];
        let given_up = || output(&mut container::inside(node, restarts)).is_ok_and(|count| count.trim() != "0");
        wait_until(&format!("the kubelet of {} has given up once", node.name), SOON, given_up)?;
        let running =
            output(&mut container::inside(node, ["ctr", "--namespace", "k8s.io", "tasks", "list", "--quiet"]))?;
        if !running.trim().is_empty() {
            bail!("containers run on {}: {running}", node.name);
        }
    }
    Ok(())
}

fn take_kubeconfig(bench: &Bench) -> Result<()> {
    fs::copy(bench.record.first_control_plane()?.root().join("etc/kubernetes/admin.conf"), paths::kubeconfig())?;
    Ok(())
}

/// As an administrator would judge it: kubectl works, every kubelet lives and is Ready, kubeadm is content, all pods run.
fn whole(bench: &Bench, since: &str) -> Result<()> {
    take_kubeconfig(bench)?;
    wait_until("every kubelet has renewed its lease", SOON, || alive(bench, since))?;
    cluster::wait_ready(&bench.record, "", SOON)?;
    cluster::wait_serving(&bench.record, SOON)?;
    cluster::wait_pods(&bench.record, SOON)?;
    for node in &bench.record.nodes {
        for file in leaves(node)? {
            if end_of(&file)? < Timestamp::now() {
                bail!("{} is over", file.display());
            }
        }
    }
    for node in bench.record.with_role(Role::ControlPlane) {
        // Its exit code is 0 whatever it finds.
        let words = ["kubeadm", "certs", "check-expiration", "--output", "json"];
        let found: Value = serde_json::from_str(&output(&mut container::inside(&node, words))?)?;
        for list in ["certificates", "certificateAuthorities"] {
            for found in found[list].as_array().with_context(|| format!("kubeadm lists no {list}"))? {
                // Only the first node has super-admin.conf; what else may be lost is read above.
                if found["missing"] == true {
                    continue;
                }
                let end: Timestamp = found["expirationDate"].as_str().unwrap_or_default().parse()?;
                if end < Timestamp::now() {
                    bail!("kubeadm on {}: {found}", node.name);
                }
            }
        }
    }
    run(&mut cluster::kubectl(&bench.record, ["get", "--raw", "/readyz"]))
}

/// After a power cut the API server shows nodes as Ready that nobody has heard of: what counts is the kubelet's own lease.
fn alive(bench: &Bench, since: &str) -> bool {
    let list = bench.kubectl(["get", "leases", "-n", "kube-node-lease", "-o", "json"]);
    let list: Value = list.ok().and_then(|list| serde_json::from_str(&list).ok()).unwrap_or_default();
    let renewed = |node: &Node| {
        let mut leases = list["items"].as_array().into_iter().flatten();
        leases.any(|lease| {
            lease["metadata"]["name"] == node.name.as_str()
                && lease["spec"]["renewTime"].as_str().is_some_and(|time| time >= since)
        })
    };
    bench.record.nodes.iter().all(renewed)
}
