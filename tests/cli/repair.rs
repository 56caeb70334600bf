//! `certctl repair` on a node's files, years later and without a cluster; cut off, or failing, at every write that strace sees.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use certctl::pki::{Certificate, KeyAlgorithm, PrivateKey};
use jiff::{SignedDuration, Timestamp};

use crate::harness::NOW;
use crate::renew::{Node, Picture, walk};
use crate::strace::{DISKS, Job, Point, stderr};

type Outcome = Result<(), Box<dyn Error>>;
/// The leaves have expired.
pub(crate) const LATER: &str = "2028-01-01T12:00:00Z";
/// The CAs too.
pub(crate) const MUCH_LATER: &str = "2040-01-01T12:00:00Z";
const REPAIR: [&str; 4] = ["repair", "--root", ".", "--yes"];
/// Everything is over, the CAs too.
pub(crate) const JOB: Job =
    Job { arguments: &REPAIR, now: MUCH_LATER, places: &["etc/kubernetes", "var/lib/certctl", "var/lib/kubelet"] };
pub(crate) const LINK: &str = "var/lib/kubelet/pki/kubelet-client-current.pem";
pub(crate) const TARGET: &str = "var/lib/kubelet/pki/kubelet-client-2026-01-01-00-00-00.pem";
/// [`Node`] with the kubelet's own certificate.
pub(crate) fn node() -> Result<Node, Box<dyn Error>> {
    let node = Node::new()?;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let (year, now) = (SignedDuration::from_hours(8760), NOW.parse::<Timestamp>()?);
    let client = node.ca.issue_client("system:node:cp-1", &["system:nodes".into()], key.spki_der(), year, now)?;
    let path = node.sandbox.write(TARGET, format!("{}{}", client.to_pem(), &*key.to_pem()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    std::os::unix::fs::symlink(format!("/{TARGET}"), node.sandbox.path(LINK))?;
    Ok(node)
}

pub(crate) fn certctl(node: &Node, now: &str, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_certctl"))
        .args(arguments)
        .env_clear()
        .env("CERTCTL_TEST_NOW", now)
        .current_dir(node.sandbox.path("."))
        .output()
}

/// Every call of a repair that changes something of the node.
pub(crate) fn points() -> Result<Vec<Point>, Box<dyn Error>> {
    let found = JOB.points(&node()?, 0)?;
    // Two CAs, two pairs, one kubeconfig, one symlink: copied, staged, linked, switched, settled.
    assert!(found.len() > 120, "{} points", found.len());
    Ok(found)
}

/// The node without certctl's own folder.
pub(crate) fn picture(node: &Node) -> Result<Picture, Box<dyn Error>> {
    let mut picture = Picture::new();
    walk(&node.sandbox.path("etc/kubernetes"), &mut picture)?;
    walk(&node.sandbox.path("var/lib/kubelet"), &mut picture)?;
    Ok(picture)
}

/// Pairs, kubeconfigs and the kubelet's file fit.
pub(crate) fn torn(node: &Node) -> Result<Option<String>, Box<dyn Error>> {
    let target = fs::read_link(node.sandbox.path(LINK))?;
    let pem = fs::read(node.sandbox.path(target.to_string_lossy().trim_start_matches('/')))?;
    let fits = PrivateKey::from_pem(&pem)?.matches(&Certificate::first_from_pem(&pem)?);
    if fits { node.torn() } else { Ok(Some(LINK.to_owned())) }
}

/// The names that kubeadm and the kubelet have, and no others; each certificate valid now.
pub(crate) fn assert_repaired(node: &Node, before: &Picture, at: &str) -> Outcome {
    assert_eq!(torn(node)?, None, "{at}");
    let after = picture(node)?;
    assert!(before.iter().all(|(path, (mode, _))| after[path].0 == *mode), "{at}: a mode has changed");
    let strangers: Vec<&String> =
        after.keys().filter(|path| !before.contains_key(*path) && !path.contains("kubelet-client-2040")).collect();
    assert!(strangers.is_empty(), "{at}: {strangers:?}");
    let now: Timestamp = MUCH_LATER.parse()?;
    for stem in ["ca", "etcd/ca", "apiserver", "etcd/server"] {
        let pem = fs::read(node.sandbox.path(&format!("etc/kubernetes/pki/{stem}.crt")))?;
        assert!(Certificate::first_from_pem(&pem)?.is_valid_at(now), "{at}: {stem}");
    }
    Ok(())
}

pub(crate) fn assert_nothing_left(node: &Node, at: &str) -> Outcome {
    let run = certctl(node, MUCH_LATER, &["repair", "--root", ".", "--dry-run"])?;
    assert_eq!((run.status.code(), run.stdout.len()), (Some(0), 0), "{at}: nothing is left to do");
    Ok(())
}

#[test]
fn a_dry_run_says_what_is_wrong_and_changes_nothing() -> Outcome {
    let node = node()?;
    fs::remove_file(node.sandbox.path("etc/kubernetes/pki/etcd/ca.key"))?;
    let before = picture(&node)?;
    let run = certctl(&node, LATER, &["repair", "--root", ".", "--dry-run"])?;
    assert_eq!((run.status.code(), stderr(&run).as_str()), (Some(0), ""));
    insta::assert_snapshot!(String::from_utf8(run.stdout)?, @r"
    CERTIFICATE      ACTION      NEW-EXPIRY               FAULT
    apiserver        make anew   Dec 31, 2028 12:00 UTC   expired Dec 22, 2026 12:00 UTC
    scheduler.conf   make anew   Dec 31, 2028 12:00 UTC   expired Dec 22, 2026 12:00 UTC
    kubelet-client   make anew   Dec 31, 2028 12:00 UTC   expired Nov 22, 2027 12:00 UTC
    etcd-server      request     -                        expired Nov 22, 2027 12:00 UTC
    ");
    assert_eq!(picture(&node)?, before);
    let run = certctl(&node, LATER, &["repair", "--root", ".", "--dry-run", "-o", "json"])?;
    let document: serde_json::Value = serde_json::from_slice(&run.stdout)?;
    assert_eq!((document["kind"].as_str(), document["node"].as_str()), (Some("Repair"), Some("cp-1")));
    assert_eq!(document["certificates"][3]["action"], "request");
    Ok(())
}

#[test]
fn a_clock_before_the_ca_is_named_and_nothing_is_made_worse() -> Outcome {
    let node = node()?;
    let before = picture(&node)?;
    let run = certctl(&node, "2001-01-01T00:00:00Z", &[&REPAIR[..], &["--clock-is-right"]].concat())?;
    assert_eq!(run.status.code(), Some(5));
    insta::assert_snapshot!(stderr(&run), @r"
    error: the clock of this node says 2001-01-01T00:00:00Z; nothing was changed
      caused by: the cluster CA is valid only from 2025-12-22T11:55:00Z
    hint: set the clock right (`timedatectl`), then run the same command
    ");
    assert_eq!(picture(&node)?, before);
    Ok(())
}

#[test]
fn nobody_at_the_terminal_and_no_yes_changes_nothing() -> Outcome {
    let node = node()?;
    let before = picture(&node)?;
    let run = certctl(&node, LATER, &["repair", "--root", "."])?;
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    assert_eq!(picture(&node)?, before);
    assert!(!node.sandbox.path("var/lib/certctl").exists());
    Ok(())
}

#[test]
fn a_worker_asks_a_control_plane_node_signs_and_no_key_leaves_the_worker() -> Outcome {
    let (control_plane, worker) = (node()?, node()?);
    // The worker's files: the CA, and a kubelet's certificate of it.
    let copy = |name: &str| fs::copy(control_plane.sandbox.path(name), worker.sandbox.path(name));
    copy("etc/kubernetes/pki/ca.crt")?;
    copy(TARGET)?;
    for stranger in ["pki/ca.key", "pki/apiserver.crt", "pki/apiserver.key", "scheduler.conf"] {
        fs::remove_file(worker.sandbox.path("etc/kubernetes").join(stranger))?;
    }
    fs::remove_dir_all(worker.sandbox.path("etc/kubernetes/pki/etcd"))?;
    let run = certctl(&control_plane, MUCH_LATER, &REPAIR)?;
    assert!(run.status.success(), "{}", stderr(&run));

    let asked = certctl(&worker, MUCH_LATER, &[&REPAIR[..], &["-o", "json"]].concat())?;
    assert_eq!(asked.status.code(), Some(1), "{}", stderr(&asked));
    assert!(stderr(&asked).contains("certctl repair --sign -"), "{}", stderr(&asked));
    let document: serde_json::Value = serde_json::from_slice(&asked.stdout)?;
    let request = document["requests"][0]["request"].as_str().unwrap_or_default();
    fs::write(control_plane.sandbox.path("request.pem"), request)?;
    let signed = certctl(&control_plane, MUCH_LATER, &["repair", "--root", ".", "--sign", "request.pem"])?;
    assert!(signed.status.success(), "{}", stderr(&signed));
    assert!(!String::from_utf8_lossy(&signed.stdout).contains("PRIVATE KEY"));
    fs::write(worker.sandbox.path("answer.pem"), &signed.stdout)?;

    // The CA's new end and the certificate, in one go.
    let import = [&REPAIR[..], &["--import", "answer.pem"]].concat();
    let run = certctl(&worker, MUCH_LATER, &import)?;
    assert!(run.status.success(), "{}", stderr(&run));
    let run = certctl(&worker, MUCH_LATER, &REPAIR)?;
    assert!(run.status.success() && run.stdout.is_empty(), "{}", stderr(&run));
    assert_eq!(fs::read_dir(worker.sandbox.path("var/lib/certctl/requests"))?.count(), 0);
    Ok(())
}

#[test]
fn only_a_kubelets_own_request_is_signed() -> Outcome {
    let node = node()?;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    for (user, groups) in [("kubernetes-admin", "system:masters"), ("system:node:w-1", "system:masters")] {
        let request = certctl::pki::certificate_request(user, &[groups.into()], &key)?;
        fs::write(node.sandbox.path("request.pem"), request)?;
        let run = certctl(&node, NOW, &["repair", "--root", ".", "--sign", "request.pem"])?;
        assert_eq!((run.status.code(), run.stdout.len()), (Some(5), 0), "{user}: {}", stderr(&run));
    }
    Ok(())
}

#[test]
fn killed_at_any_write_no_pair_is_torn_the_same_command_finishes_and_undo_brings_back_every_byte() -> Outcome {
    for (index, point) in points()?.iter().enumerate() {
        let node = node()?;
        let before = picture(&node)?;
        let at = format!("killed at {point}");
        JOB.killed_at(&node, point)?;
        assert_eq!(torn(&node)?, None, "{at}");
        let run = certctl(&node, MUCH_LATER, &REPAIR)?;
        assert!(run.status.success(), "{at}: {}", stderr(&run));
        assert_repaired(&node, &before, &at)?;
        // Whether undo works depends on the snapshot only, of which there are few states.
        if index % 4 != 0 {
            continue;
        }
        assert_nothing_left(&node, &at)?;
        let run = certctl(&node, MUCH_LATER, &["repair", "--root", ".", "--yes", "--undo"])?;
        assert!(run.status.success(), "{at}: {}", stderr(&run));
        let mut back = picture(&node)?;
        // A pair of the kubelet that nothing points to may be left by the run that was killed.
        back.retain(|path, _| before.contains_key(path) || !path.contains("kubelet-client-2040"));
        assert_eq!(back, before, "{at}, then undone");
    }
    Ok(())
}

#[test]
fn a_full_disk_a_read_only_one_and_a_broken_one_leave_every_byte_or_a_whole_repair() -> Outcome {
    for (index, point) in points()?.iter().enumerate() {
        let (errno, _) = DISKS[index % 3];
        let node = node()?;
        let before = picture(&node)?;
        let at = format!("{errno} at {point}");
        let output = JOB.failing_at(&node, point, errno)?;
        let said = stderr(&output);
        assert_eq!(torn(&node)?, None, "{at}: {said}");
        match output.status.code() {
            Some(1) => {
                assert!(said.contains("error: "), "{at}: {said}");
                let replaced =
                    point.switching && said.contains("the files are replaced, but something is left to tidy up");
                assert!(replaced || picture(&node)? == before, "{at}: {said}");
            }
            // A record that could not be written is no reason to take certificates back.
            Some(0) => assert_ne!(picture(&node)?, before, "{at}"),
            other => return Err(format!("{at}: {other:?} {said}").into()),
        }
        let run = certctl(&node, MUCH_LATER, &REPAIR)?;
        assert!(run.status.success(), "after {at}: {}", stderr(&run));
        assert_repaired(&node, &before, &at)?;
    }
    Ok(())
}
