//! `certctl renew` on a node's own files, while clients are at work.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::bench::Bench;
use super::evidence::Files;
use super::on_node::{furnish, on};
use super::rotation::LIMIT;
use super::tally::Tally;
use super::watch::Watch;
use super::writes;
use crate::cluster;
use crate::node::Node;
use crate::process::{command, output, output_with_input};

const RATE: u32 = 60;
/// A renewal takes some seconds, and the prober is at work before and after it.
pub const FEWEST: u64 = 400;
/// What kubeadm knows of a node that is not its first; that one also has super-admin.conf.
const RENEWED: usize = 10;

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let node = bench.other_control_plane()?;
    furnish(bench, &node)?;
    let before = Files::read(bench)?;
    let _ = tally.test("renew --dry-run: shows the plan and changes nothing", || {
        on(&node, &["renew", "--root", "/", "--all", "--dry-run"])?.expect(0)?;
        before.must_equal(&Files::read(bench)?)
    });
    let _ = tally.test("renew --only-due: nothing is due, nothing changes", || {
        on(&node, &["renew", "--root", "/", "--only-due", "--yes"])?.expect(0)?;
        before.must_equal(&Files::read(bench)?)
    });
    let watch = Watch::start(RATE)?;
    tally.test("renew --all: every certificate of a node is new, is served, and has the names of before", || {
        all(bench, &node)
    })?;
    let figures = watch.end()?;
    eprintln!("lab: {}", figures.line());
    let _ = tally.test("renew: no API request fails", || figures.none_failed_of(FEWEST));
    let _ = tally.test("renew: restarts stay within their limits", || figures.restarts_within_limits());
    let _ = tally.test(
        "renew --key-algorithm and --validity: one certificate with another kind of key, for 90 days",
        || {
            let words =
                ["renew", "--root", "/", "apiserver", "--key-algorithm", "ECDSA-P256", "--validity", "90d", "--yes"];
            on(&node, &words)?.expect(0)?;
            let text = served(bench, &node, "-text")?;
            if !text.contains("id-ecPublicKey") {
                bail!("the API server shows another kind of key: {text}")
            }
            Ok(())
        },
    );
    writes::some(bench, &node, tally)?;
    let _ = tally
        .test("renew --csr-only and --import: signed by somebody else who holds the CA", || requests(bench, &node));
    tally.test("renew while a rotation runs: refused, nothing changes", || {
        bench.rotate(&["--pause-before", "DPTrusted"])?.finish(LIMIT)?.expect(0)?;
        let before = Files::read(bench)?;
        on(&node, &["renew", "--root", "/", "--all", "--yes"])?.expect(5)?.saying(&["rotation"])?;
        before.must_equal(&Files::read(bench)?)?;
        bench.rotate(&["rollback"])?.finish(LIMIT)?.expect(0).map(drop)
    })
}

fn all(bench: &Bench, node: &Node) -> Result<()> {
    let serial = served(bench, node, "-serial")?;
    let names = facts(node)?;
    let done = on(node, &["renew", "--root", "/", "--all", "--yes", "--output", "json"])?.expect(0)?;
    let document: Value = serde_json::from_str(&done.out)?;
    let renewed = document["certificates"].as_array().context("no list")?.iter().filter(|row| row["action"] == "renew");
    let proofs = document["proofs"].as_array().context("no proofs")?;
    if renewed.count() != RENEWED || proofs.is_empty() || proofs.iter().any(|proof| proof["seen"] != "new") {
        bail!("{}", done.out);
    }
    if served(bench, node, "-serial")? == serial {
        bail!("the API server shows the old certificate");
    }
    let after = facts(node)?;
    for ((file, old), (_, new)) in names.iter().zip(&after) {
        let (old, new) = (old.as_str(), new.as_str());
        let without_serial =
            |text: &str| text.lines().filter(|line| !line.starts_with("serial=")).collect::<Vec<_>>().join("\n");
        if without_serial(old) != without_serial(new) || old == new {
            bail!("{}: {old} became {new}", file.display());
        }
    }
    Ok(())
}

/// Subject, issuer, SANs and usages of each leaf, and its serial.
fn facts(node: &Node) -> Result<Vec<(PathBuf, String)>> {
    let pki = node.root().join("etc/kubernetes/pki");
    let files = [
        "apiserver",
        "apiserver-etcd-client",
        "apiserver-kubelet-client",
        "front-proxy-client",
        "etcd/server",
        "etcd/peer",
        "etcd/healthcheck-client",
    ];
    let read = |name: &&str| {
        let file = pki.join(format!("{name}.crt"));
        let words = [
            "x509",
            "-noout",
            "-serial",
            "-subject",
            "-issuer",
            "-ext",
            "subjectAltName,extendedKeyUsage,keyUsage",
            "-in",
        ];
        let text = output(command("openssl", words).arg(&file))?;
        let modes = output(command("stat", ["-c", "%a %u %g"]).arg(&file).arg(file.with_extension("key")))?;
        Ok((file, format!("{text}{modes}")))
    };
    files.iter().map(read).collect()
}

/// What the API server of a node shows to a new client.
pub fn served(bench: &Bench, node: &Node, what: &str) -> Result<String> {
    let address = format!("{}:6443", node.ip());
    let shown = output(
        cluster::outside(&bench.record, "openssl")
            .args(["s_client", "-connect", &address])
            .stdin(std::process::Stdio::null()),
    )?;
    output_with_input(&mut command("openssl", ["x509", "-noout", what]), shown.as_bytes())
}

/// The CA's key is elsewhere: here it is OpenSSL that signs.
fn requests(bench: &Bench, node: &Node) -> Result<()> {
    let pki = node.root().join("etc/kubernetes/pki");
    let serial = served(bench, node, "-serial")?;
    let folder = "/root/requests";
    on(node, &["renew", "--root", "/", "apiserver", "--csr-only", folder])?.expect(0)?;
    if served(bench, node, "-serial")? != serial {
        bail!("a request alone has changed what is served");
    }
    let place = node.root().join(folder.trim_start_matches('/'));
    sign(&pki, &place.join("apiserver.csr"), &place.join("apiserver.crt"))?;
    on(node, &["renew", "--root", "/", "--import", folder, "--yes"])?.expect(0)?;
    if served(bench, node, "-serial")? == serial { bail!("the API server shows the old certificate") } else { Ok(()) }
}

fn sign(pki: &Path, request: &Path, certificate: &Path) -> Result<()> {
    let words = ["x509", "-req", "-days", "30", "-copy_extensions", "copyall", "-in"];
    let mut openssl = command("openssl", words);
    openssl.arg(request).arg("-CA").arg(pki.join("ca.crt")).arg("-CAkey").arg(pki.join("ca.key"));
    let signed = output(&mut openssl)?;
    Ok(fs::write(certificate, signed)?)
}
