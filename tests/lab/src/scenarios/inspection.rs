//! What `certctl inspect` and `certctl check` say of a cluster that kubeadm has made, and of one in which something is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::bench::Bench;
use super::command::Done;
use super::on_node::{furnish, on};
use super::refusals::Break;
use super::tally::Tally;
use crate::process::output_with_input;
use crate::step::wait_until;
use crate::{cluster, container};

/// From a change of a file until the agent has told of it.
const TOLD: Duration = Duration::from_secs(30);

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let node = bench.other_control_plane()?;
    furnish(bench, &node)?;
    let _ = tally.test("check: nothing to find on a cluster as kubeadm makes it", || {
        says(&bench.certctl(&["check", "--fail-on", "warning"])?.expect(0)?, &["no finding"])
    });
    let _ = tally
        .test("inspect: as many certificates of a node as kubeadm knows, with the same ends", || as_kubeadm(bench));
    let _ = tally.test("inspect: on disk, loaded and served are told apart", || presence(bench));
    let _ = tally
        .test("inspect: token Secrets, published CAs, requests and bootstrap tokens of the cluster", || objects(bench));
    let _ = tally.test("inspect: an endpoint, a folder, a kubeconfig, standard input", || sources(bench));
    let _ = tally.test("inspect --map: every certificate that somebody checks is trusted there", || map(bench));
    let _ = tally.test("check: a key that others can read, named by node, exit code 4", || {
        let key = node.root().join("etc/kubernetes/pki/apiserver.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
        let found = wait_found(bench, &["key-readable", &node.name, "apiserver.key"]);
        let offline = on(&node, &["check", "--root", "/"]);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        found?;
        says(&offline?.expect(4)?, &["key-readable", "apiserver.key"])
    });
    let _ = tally.test("check: a broken certificate is named, and hides no other", || broken(bench));
    tally.test("check: nothing to find again when it is put right", || {
        let done = || bench.certctl(&["check", "--fail-on", "warning"]);
        wait_until("nothing is found", TOLD, || done().is_ok_and(|done| done.code == Some(0)))
    })
}

fn items(bench: &Bench, words: &[&str]) -> Result<Vec<Value>> {
    let done = bench.certctl(&[&["inspect", "--output", "json"], words].concat())?.expect(0)?;
    let document: Value = serde_json::from_str(&done.out)?;
    Ok(document["certificates"].as_array().context("no certificates")?.clone())
}

/// kubeadm's names, each with the second in which it ends.
fn as_kubeadm(bench: &Bench) -> Result<()> {
    for node in bench.control_planes() {
        let words = ["kubeadm", "certs", "check-expiration", "--output", "json"];
        let listed: Value = serde_json::from_str(&crate::process::output(&mut container::inside(&node, words))?)?;
        let ours = items(bench, &["--node", &node.name])?;
        let list = |key: &str| listed[key].as_array().with_context(|| format!("kubeadm lists no {key}"));
        for certificate in list("certificates")?.iter().chain(list("certificateAuthorities")?) {
            if certificate["missing"] == true {
                continue;
            }
            let (name, end) = (&certificate["name"], &certificate["expirationDate"]);
            if !ours.iter().any(|item| item["name"] == *name && item["notAfter"] == *end) {
                bail!("{}: {name} until {end} is not in certctl's list", node.name);
            }
        }
    }
    Ok(())
}

fn presence(bench: &Bench) -> Result<()> {
    let all = items(bench, &[])?;
    for node in &bench.record.nodes {
        let state = |name: &str| {
            let item = all.iter().find(|item| item["node"] == node.name.as_str() && item["name"] == name);
            item.map(|item| item["state"].to_string()).unwrap_or_default()
        };
        let mut wanted = vec![("kubelet-client", "loaded"), ("kubelet", "served")];
        if node.is_control_plane() {
            wanted.extend([("apiserver", "served"), ("scheduler.conf", "loaded")]);
        }
        for (name, word) in wanted {
            if !state(name).contains(word) {
                bail!("{} of {} is not {word}: {}", name, node.name, state(name));
            }
        }
    }
    Ok(())
}

fn objects(bench: &Bench) -> Result<()> {
    let namespace = ["-n", "lab-inspection"];
    bench.kubectl(["create", "namespace", "lab-inspection"])?;
    // A token's Secret without its account is taken away again.
    let account = || bench.kubectl(["-n", "lab-inspection", "get", "serviceaccount", "default"]).is_ok();
    wait_until("the namespace has its account", TOLD, account)?;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: token\n  namespace: lab-inspection\n  annotations:\n    \
                  kubernetes.io/service-account.name: default\ntype: kubernetes.io/service-account-token\n";
    let made = output_with_input(&mut cluster::kubectl(&bench.record, ["apply", "-f", "-"]), secret.as_bytes());
    let seen = made.and_then(|_| {
        let all = || bench.certctl(&["inspect", "--output", "json"]);
        let words = [
            "secret/lab-inspection/token",
            "configmap/kube-public/cluster-info",
            "bootstrapTokens",
            "kube-apiserver-client-kubelet",
        ];
        wait_until("all objects are shown", TOLD, || {
            all().is_ok_and(|done| words.iter().all(|word| done.out.contains(word)))
        })
        .with_context(|| all().map_or_else(|error| error.to_string(), |done| done.out))
    });
    bench.kubectl(["delete", "namespace", namespace[1], "--wait=false"])?;
    seen
}

fn sources(bench: &Bench) -> Result<()> {
    let node = bench.other_control_plane()?;
    let pki = node.root().join("etc/kubernetes/pki");
    let endpoint = format!("{}:6443", node.ip());
    let served = items(bench, &[&endpoint])?;
    let on_disk = items(bench, &[&pki.join("apiserver.crt").to_string_lossy()])?;
    let folder = items(bench, &[&pki.to_string_lossy()])?;
    let conf = items(bench, &[&node.root().join("etc/kubernetes/admin.conf").to_string_lossy()])?;
    let mut stdin = bench.certctl_command();
    stdin.args(["inspect", "--output", "json", "-"]);
    let piped: Value = serde_json::from_str(&output_with_input(&mut stdin, &fs::read(pki.join("apiserver.crt"))?)?)?;
    let fingerprint = |items: &[Value]| items.first().map(|item| item["fingerprint"].clone());
    let ours = fingerprint(&on_disk);
    if ours.is_none()
        || fingerprint(&served) != ours
        || piped["certificates"][0]["fingerprint"] != *ours.as_ref().context("none")?
    {
        bail!("endpoint, file and standard input do not show one certificate: {served:?} {on_disk:?} {piped}");
    }
    // Ten leaves and CAs of kubeadm, etcd's included.
    if folder.len() < 10 || !conf.iter().any(|item| item["subject"].to_string().contains("kubernetes-admin")) {
        bail!("{} certificates in the folder; kubeconfig: {conf:?}", folder.len());
    }
    Ok(())
}

fn map(bench: &Bench) -> Result<()> {
    let done = bench.certctl(&["inspect", "--map"])?.expect(0)?;
    let untrusted: Vec<&str> = done.out.lines().skip(1).filter(|line| line.trim_end().ends_with(" NO")).collect();
    let trusted = done.out.lines().filter(|line| line.trim_end().ends_with(" yes")).count();
    // Seventeen of each control-plane node, a kubelet of each worker.
    if untrusted.is_empty() && trusted >= 17 * bench.control_planes().len() { Ok(()) } else { bail!("{}", done.out) }
}

fn broken(bench: &Bench) -> Result<()> {
    let node = bench.other_control_plane()?;
    let guard = Break { node: &node, file: "apiserver-kubelet-client.crt", content: Some(b"no certificate".to_vec()) }
        .make()?;
    let found = wait_found(bench, &["unreadable", &node.name, "apiserver-kubelet-client.crt"]);
    let others = items(bench, &["--node", &node.name]);
    drop(guard);
    found?;
    match others?
        .iter()
        .any(|item| item["name"] == "apiserver" && item["notAfter"].as_str().is_some_and(|end| !end.is_empty()))
    {
        true => Ok(()),
        false => bail!("apiserver of {} is not shown", node.name),
    }
}

/// Agents tell of a change by themselves.
fn wait_found(bench: &Bench, words: &[&str]) -> Result<()> {
    let check = || bench.certctl(&["check"]);
    wait_until("check ends with 4", TOLD, || check().is_ok_and(|done| done.code == Some(4)))?;
    says(&check()?.expect(4)?, words)
}

fn says(done: &Done, words: &[&str]) -> Result<()> {
    match words.iter().find(|word| !done.out.contains(**word)) {
        None => Ok(()),
        Some(word) => bail!("`{word}` is not said: {}{}", done.out, done.err),
    }
}
