//! `certctl get-credentials`, used with the real kubectl.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::bench::Bench;
use super::command::{Done, finished};
use super::on_node::{furnish, on};
use super::tally::Tally;
use super::unfit::faketime;
use crate::process::{command, output, output_with_input, run};
use crate::step::wait_until;
use crate::{cluster, container, paths};

const ADMINISTRATORS: [&str; 2] = ["--group", "kubeadm:cluster-admins"];
const SOON: Duration = Duration::from_secs(60);

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let _ = tally
        .test("get-credentials: user, groups and lifetime as asked for, and kubectl works", || through_the_api(bench));
    let _ = tally
        .test("get-credentials: merged into a kubeconfig beside what is there, 0600; a conflict is refused", || {
            merged(bench)
        });
    let _ = tally.test("get-credentials: nobody becomes a member of system:masters by mistake", || {
        let masters = ["get-credentials", "boss", "--group", "system:masters", "-f", "-"];
        bench.certctl(&masters)?.expect(5)?.saying(&["--break-glass"]).map(drop)
    });
    let _ = tally.test("get-credentials: who may not approve is told what somebody else has to run", || {
        waits_for_approval(bench)
    });
    let _ = tally.test(
        "get-credentials --exec: four kubectl at once get their certificate from the plugin, which renews it; no key is in the file",
        || plugin(bench),
    );
    tally.test("get-credentials --root: from the CA's key, with the API server of the node down", || offline(bench))
}

/// Emptied at each start.
fn folder(name: &str) -> Result<PathBuf> {
    let folder = paths::state().join("credentials").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn kubectl(bench: &Bench, kubeconfig: &std::path::Path, words: &[&str]) -> Result<Done> {
    let mut kubectl = cluster::outside(&bench.record, "kubectl");
    finished(kubectl.args(["--request-timeout=20s", "--kubeconfig"]).arg(kubeconfig).args(words))
}

fn through_the_api(bench: &Bench) -> Result<()> {
    let file = folder("api")?.join("jane.conf");
    let words = ["get-credentials", "jane", "--lifetime", "30m", "-f", &file.to_string_lossy()];
    bench.certctl(&[&words[..], &ADMINISTRATORS].concat())?.expect(0)?;
    let who = kubectl(
        bench,
        &file,
        &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}"],
    )?;
    if !(who.out.starts_with("jane ") && who.out.contains("kubeadm:cluster-admins")) {
        bail!("kubectl is {} {}", who.out, who.err);
    }
    let text = fs::read_to_string(&file)?;
    let data = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("client-certificate-data: "))
        .context("no certificate")?;
    let pem = output_with_input(&mut command("base64", ["-d"]), data.as_bytes())?;
    // Ends within the half hour, and not within 25 minutes.
    for (seconds, ends) in [("1800", true), ("1500", false)] {
        let mut openssl = command("openssl", ["x509", "-noout", "-checkend", seconds]);
        if output_with_input(&mut openssl, pem.as_bytes()).is_err() != ends {
            bail!("it does not end in half an hour");
        }
    }
    let left = bench.kubectl(["get", "csr", "-o", "name"])?;
    if left.contains("certctl") { bail!("a request was left behind: {left}") } else { Ok(()) }
}

/// By kubectl's rules: into the first file of KUBECONFIG that exists, and nothing else in it changes.
fn merged(bench: &Bench) -> Result<()> {
    let file = folder("merge")?.join("config");
    fs::copy(paths::kubeconfig(), &file)?;
    let mut certctl = bench.certctl_command();
    certctl.env("KUBECONFIG", &file).args(["get-credentials", "jane"]).args(ADMINISTRATORS);
    finished(&mut certctl)?.expect(0)?;
    let contexts = kubectl(bench, &file, &["config", "get-contexts", "-o", "name"])?.expect(0)?.out;
    if contexts.lines().count() != 2 || !contexts.contains("jane@") {
        bail!("contexts: {contexts}");
    }
    let context = contexts.lines().find(|name| name.starts_with("jane@")).unwrap_or_default();
    kubectl(bench, &file, &["--context", context, "get", "nodes"])?.expect(0)?;
    // The administrator is who it was.
    let who = ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"];
    if kubectl(bench, &file, &who)?.out != "kubernetes-admin" {
        bail!("the current context is another one");
    }
    use std::os::unix::fs::PermissionsExt as _;
    if fs::metadata(&file)?.permissions().mode() & 0o777 != 0o600 {
        bail!("others can read the kubeconfig");
    }
    let before = fs::read(&file)?;
    finished(&mut certctl)?.expect(2)?.saying(&["--overwrite-existing"])?;
    if fs::read(&file)? != before { bail!("a refusal has changed the kubeconfig") } else { Ok(()) }
}

fn waits_for_approval(bench: &Bench) -> Result<()> {
    let folder = folder("approval")?;
    let (viewer, answer) = (folder.join("viewer.conf"), folder.join("bob.conf"));
    bench.certctl(&["get-credentials", "viewer", "-f", &viewer.to_string_lossy()])?.expect(0)?;
    bench.kubectl([
        "create",
        "clusterrole",
        "lab-requester",
        "--verb=create,get,list,watch,delete",
        "--resource=certificatesigningrequests",
    ])?;
    bench.kubectl(["create", "clusterrolebinding", "lab-requester", "--clusterrole=lab-requester", "--user=viewer"])?;
    let mut certctl = bench.certctl_command();
    certctl.arg("--kubeconfig").arg(&viewer).args(["get-credentials", "bob", "-f"]).arg(&answer);
    let words = folder.join("words");
    let mut child = certctl.stdin(Stdio::null()).stderr(fs::File::create(&words)?).spawn()?;
    let told = || fs::read_to_string(&words).unwrap_or_default();
    let request =
        || told().split('`').find_map(|word| word.strip_prefix("kubectl certificate approve ").map(str::to_owned));
    let approved = wait_until("the command to run is printed", SOON, || request().is_some())
        .and_then(|()| bench.kubectl(["certificate", "approve", &request().unwrap_or_default()]));
    if approved.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    bench.kubectl(["delete", "clusterrole,clusterrolebinding", "lab-requester"])?;
    approved?;
    if !status.success() {
        bail!("{status}: {}", told());
    }
    let who = kubectl(bench, &answer, &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])?;
    if who.out == "bob" { Ok(()) } else { bail!("kubectl is {} {}", who.out, who.err) }
}

fn plugin(bench: &Bench) -> Result<()> {
    let folder = folder("exec")?;
    let file = folder.join("exec.conf");
    let words = ["get-credentials", "jane", "--lifetime", "30m", "--exec", "-f", &file.to_string_lossy()];
    let cached = |command: &mut Command| {
        command.env("XDG_CACHE_HOME", &folder).env("HOME", &folder);
    };
    let mut certctl = bench.certctl_command();
    cached(&mut certctl);
    finished(certctl.args(words).args(ADMINISTRATORS))?.expect(0)?;
    let text = fs::read_to_string(&file)?;
    if text.contains("client-key-data") || text.contains("client-certificate-data") {
        bail!("the kubeconfig holds a key");
    }
    let who =
        "jsonpath={.status.userInfo.username} {.status.userInfo.extra.authentication\\.kubernetes\\.io/credential-id}";
    // kubectl has its own clock; what it runs has this one.
    let at_once = |late: &str| -> Result<BTreeSet<String>> {
        let children = (0..4).map(|_| {
            let mut kubectl = cluster::outside(&bench.record, "kubectl");
            cached(&mut kubectl);
            kubectl.env("LD_PRELOAD", faketime()?).env("FAKETIME", late).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            kubectl.arg("--kubeconfig").arg(&file).args(["auth", "whoami", "-o", who]);
            Ok(kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
        });
        let mut seen = BTreeSet::new();
        for child in children.collect::<Result<Vec<_>>>()? {
            let done = child.wait_with_output()?;
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            if !said.starts_with("jane ") || !said.contains("X509SHA256=") {
                bail!("kubectl {late}: {said}{}", String::from_utf8_lossy(&done.stderr));
            }
            seen.insert(said);
        }
        Ok(seen)
    };
    let first = at_once("+0")?;
    // Four fifths of the half hour are over: one renews, and who comes meanwhile is given what is still valid.
    let late = at_once("+26m")?;
    let last = at_once("+0")?;
    if first.len() != 1 || last.len() != 1 {
        bail!("clients of one moment have shown different certificates: {first:?}, {last:?}");
    }
    if last != first && last.is_subset(&late) {
        Ok(())
    } else {
        bail!("not renewed, or not used: first {first:?}, late {late:?}, last {last:?}")
    }
}

fn offline(bench: &Bench) -> Result<()> {
    let node = bench.other_control_plane()?;
    furnish(bench, &node)?;
    let manifest = node.root().join("etc/kubernetes/manifests/kube-apiserver.yaml");
    let aside = node.root().join("root/kube-apiserver.yaml");
    run(&mut command("mv", [&manifest, &aside]))?;
    let url = format!("https://{}:6443/livez", node.ip());
    let serves = || output(&mut container::inside(&node, ["curl", "-sk", "-m", "2", &url])).is_ok();
    let made = wait_until("the API server is down", SOON, || !serves()).and_then(|()| {
        let words = ["get-credentials", "jane", "--root", "/", "-f", "-"];
        on(&node, &[&words[..], &ADMINISTRATORS].concat())?.expect(0)
    });
    run(&mut command("mv", [&aside, &manifest]))?;
    wait_until("the API server is back", SOON, serves)?;
    let file = folder("offline")?.join("jane.conf");
    fs::write(&file, made?.out)?;
    let who = kubectl(bench, &file, &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])?;
    if who.out != "jane" {
        bail!("kubectl is {} {}", who.out, who.err);
    }
    let journal = fs::read_to_string(node.root().join("var/lib/certctl/journal"))?;
    if journal.lines().any(|line| line.contains("issued") && line.contains("CN=jane")) {
        Ok(())
    } else {
        bail!("the node's journal does not record it: {journal}")
    }
}
