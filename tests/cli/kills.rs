//! The commands besides a plain renewal and a plain repair are killed at their writes: no pair is torn, no file is open to others, and the same
//! command finishes.

use std::error::Error;
use std::fs;
use std::path::Path;

use certctl::pki::{Certificate, CertificateAuthority, CertificateRequest, PrivateKey};
use jiff::{SignedDuration, Timestamp};

use crate::harness::NOW;
use crate::renew::{Node, Picture};
use crate::repair::{self, LATER, LINK, MUCH_LATER, certctl, torn};
use crate::rights::assert_private;
use crate::strace::{Job, stderr};

type Outcome = Result<(), Box<dyn Error>>;

const DAY: SignedDuration = SignedDuration::from_hours(24);
const EVERYWHERE: &[&str] = &["etc/kubernetes", "var/lib/certctl", "var/lib/kubelet"];
const REQUESTS: &str = "var/lib/certctl/requests";

/// A command, the node on which it is run, and how often it is killed.
struct Case {
    job: Job,
    node: Node,
    /// With which code it ends when nothing disturbs it.
    code: i32,
    /// Every how many writes.
    every: usize,
    /// What it may say with code 1 instead when the run that was killed had done everything already.
    over: Option<&'static str>,
}

/// Kills the command at its writes, runs it again, and then asks whether everything is as it should be.
fn sweep(case: &Case, finished: impl Fn(&Node, &str) -> Outcome) -> Outcome {
    let Case { job, node: template, code, every, over } = case;
    let points = job.points(&template.copy()?, *code)?;
    assert!(points.len() > 8, "{:?}: {points:?}", job.arguments);
    for point in points.iter().step_by(*every) {
        let node = template.copy()?;
        let at = format!("{} killed at {point}", job.arguments.join(" "));
        job.killed_at(&node, point)?;
        assert_eq!(torn(&node).map_err(|error| format!("{at}: {error}"))?, None, "{at}");
        assert_private(&node, &at)?;
        let run = job.run(&node)?;
        let said = stderr(&run);
        let done = run.status.code() == Some(*code) || over.is_some_and(|over| said.contains(over));
        assert!(done, "after {at}: {:?} {said}", run.status.code());
        assert_eq!(torn(&node)?, None, "after {at}");
        assert_private(&node, &at)?;
        assert_nothing_half_made(&node, &at)?;
        finished(&node, &at)?;
    }
    Ok(())
}

fn assert_nothing_half_made(node: &Node, at: &str) -> Outcome {
    let mut all = Picture::new();
    crate::renew::walk(&node.sandbox.path("."), &mut all)?;
    let left: Vec<&String> = all.keys().filter(|path| path.contains("/.certctl-")).collect();
    assert!(left.is_empty(), "after {at}: {left:?}");
    Ok(())
}

fn serial(path: &Path) -> Result<String, Box<dyn Error>> {
    Ok(Certificate::first_from_pem(&fs::read(path)?)?.serial_hex())
}

#[test]
fn a_kubelets_certificate_that_is_renewed() -> Outcome {
    let arguments = &["renew", "--root", ".", "kubelet-client", "--yes"];
    let job = Job { arguments, now: NOW, places: EVERYWHERE };
    let case = Case { job, node: repair::node()?, code: 0, every: 1, over: None };
    let old = serial(&case.node.sandbox.path(repair::TARGET))?;
    sweep(&case, |node, at| {
        let target = fs::read_link(node.sandbox.path(LINK))?;
        let now = serial(&node.sandbox.path(target.to_string_lossy().trim_start_matches('/')))?;
        assert_ne!(now, old, "after {at}");
        let names = fs::read_dir(node.sandbox.path("var/lib/kubelet/pki"))?.count();
        assert_eq!(names, 3, "after {at}: the old pair, the new one, and the link");
        Ok(())
    })
}

/// The request is whole, and for the key beside it.
fn assert_requested(folder: &Path, name: &str, at: &str) -> Outcome {
    let key = PrivateKey::from_pem(&fs::read(folder.join(format!("{name}.key")))?)?;
    let request = fs::read(folder.join(format!("{name}.csr")))?;
    assert!(CertificateRequest::from_pem(&request)?.is_proven(), "after {at}: {name}");
    let (_, pem) = x509_parser::pem::parse_x509_pem(&request)?;
    let of_key = pem.contents.windows(key.spki_der().len()).any(|part| part == key.spki_der());
    assert!(of_key, "after {at}: {name} is for another key");
    Ok(())
}

#[test]
fn requests_for_a_ca_elsewhere() -> Outcome {
    let arguments = &["renew", "--root", ".", "apiserver", "scheduler.conf", "--csr-only", "out"];
    let job = Job { arguments, now: NOW, places: &["\"out", "/out/"] };
    let case = Case { job, node: repair::node()?, code: 0, every: 1, over: None };
    let before = case.node.serial("apiserver.crt")?;
    sweep(&case, |node, at| {
        assert_requested(&node.sandbox.path("out"), "apiserver", at)?;
        assert_requested(&node.sandbox.path("out"), "scheduler.conf", at)?;
        assert_eq!(node.serial("apiserver.crt")?, before, "after {at}: nothing is replaced yet");
        Ok(())
    })
}

#[test]
fn certificates_from_a_ca_elsewhere() -> Outcome {
    let node = repair::node()?;
    let run = certctl(&node, NOW, &["renew", "--root", ".", "apiserver", "--csr-only", "out"])?;
    assert!(run.status.success(), "{}", stderr(&run));
    let old = Certificate::first_from_pem(&fs::read(node.sandbox.path("etc/kubernetes/pki/apiserver.crt"))?)?;
    let key = PrivateKey::from_pem(&fs::read(node.sandbox.path("out/apiserver.key"))?)?;
    let new = node.ca.reissue(&old, key.spki_der(), DAY * 90, NOW.parse()?)?;
    node.sandbox.write("out/apiserver.crt", new.to_pem())?;
    let arguments = &["renew", "--root", ".", "apiserver", "--import", "out", "--yes"];
    let job = Job { arguments, now: NOW, places: EVERYWHERE };
    sweep(&Case { job, node, code: 0, every: 1, over: None }, |node, at| {
        assert_eq!(node.serial("apiserver.crt")?, new.serial_hex(), "after {at}");
        Ok(())
    })
}

#[test]
fn a_repair_that_is_taken_back() -> Outcome {
    let node = repair::node()?;
    let before = relative(&node)?;
    let run = repair::JOB.run(&node)?;
    assert!(run.status.success(), "{}", stderr(&run));
    let arguments = &["repair", "--root", ".", "--yes", "--undo"];
    let job = Job { arguments, now: MUCH_LATER, places: EVERYWHERE };
    // With only the record of it missing, everything is taken back and there is nothing left to take back.
    let over = Some("there is no repair to be undone on this node");
    sweep(&Case { job, node, code: 0, every: 2, over }, |node, at| {
        assert_eq!(relative(node)?, before, "after {at}");
        Ok(())
    })
}

/// What stands on the node, by its path there.
fn relative(node: &Node) -> Result<Picture, Box<dyn Error>> {
    let root = node.sandbox.path(".").display().to_string();
    let strip = |path: String| path.trim_start_matches(root.trim_end_matches('.')).to_owned();
    Ok(repair::picture(node)?.into_iter().map(|(path, entry)| (strip(path), entry)).collect())
}

/// A node without the key of etcd's CA, years later; and that CA.
fn without_etcds_key() -> Result<(Node, CertificateAuthority), Box<dyn Error>> {
    let node = repair::node()?;
    let [certificate, key] = ["crt", "key"].map(|end| node.sandbox.path(&format!("etc/kubernetes/pki/etcd/ca.{end}")));
    let authority = CertificateAuthority::new(
        Certificate::first_from_pem(&fs::read(certificate)?)?,
        PrivateKey::from_pem(&fs::read(&key)?)?,
    )?;
    fs::remove_file(key)?;
    Ok((node, authority))
}

#[test]
fn a_repair_that_must_ask_elsewhere() -> Outcome {
    let (node, _) = without_etcds_key()?;
    let job = Job { arguments: repair::JOB.arguments, now: LATER, places: &[REQUESTS] };
    sweep(&Case { job, node, code: 1, every: 1, over: None }, |node, at| {
        assert_requested(&node.sandbox.path(REQUESTS), "etcd-server", at)?;
        let pem = fs::read(node.sandbox.path("etc/kubernetes/pki/apiserver.crt"))?;
        assert!(Certificate::first_from_pem(&pem)?.is_valid_at(LATER.parse::<Timestamp>()?), "after {at}");
        Ok(())
    })
}

#[test]
fn what_was_signed_elsewhere_for_a_repair() -> Outcome {
    let (node, etcd) = without_etcds_key()?;
    let asked = certctl(&node, LATER, repair::JOB.arguments)?;
    assert_eq!(asked.status.code(), Some(1), "{}", stderr(&asked));
    let old = Certificate::first_from_pem(&fs::read(node.sandbox.path("etc/kubernetes/pki/etcd/server.crt"))?)?;
    let key = PrivateKey::from_pem(&fs::read(node.sandbox.path(REQUESTS).join("etcd-server.key"))?)?;
    let new = etcd.reissue(&old, key.spki_der(), DAY * 365, LATER.parse()?)?;
    node.sandbox.write("answer.pem", new.to_pem())?;
    let arguments = &["repair", "--root", ".", "--yes", "--import", "answer.pem"];
    let job = Job { arguments, now: LATER, places: EVERYWHERE };
    sweep(&Case { job, node, code: 0, every: 3, over: None }, |node, at| {
        assert_eq!(node.serial("etcd/server.crt")?, new.serial_hex(), "after {at}");
        let kept = fs::read_dir(node.sandbox.path(REQUESTS))?.count();
        assert_eq!(kept, 0, "after {at}: the key is in its place and nowhere else");
        Ok(())
    })
}
