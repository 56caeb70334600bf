//! What an administrator does while a rotation runs: stops it, watches it, gives up on it, and runs the same command again.

use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::bench::Bench;
use super::command::finished;
use super::evidence::completed;
use super::rotation::LIMIT;
use super::tally::Tally;
use crate::paths;
use crate::process::{command, signal};
use crate::step::wait_until;

const PHASE: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(30);

/// Leaves the rotation complete.
pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let file = paths::state().join("certctl.yaml");
    fs::write(&file, "apiVersion: certctl.dev/v1alpha1\nkind: Config\nauthorities: [cluster]\nleafValidity: 1h\n")?;
    let config = ["--config", &file.to_string_lossy()];
    tally.test("Ctrl-C in the middle of a phase: exit code 130, and the cluster works", || {
        let mut rotation = bench.rotate(&config)?;
        rotation.wait_phase("CPTrusted", PHASE)?;
        rotation.wait_for("a node being changed", PHASE, |event| event["type"] == "NodeChanging")?;
        rotation.interrupt()?;
        rotation.finish(SOON)?.expect(130)?;
        let status = bench.status()?;
        if status["status"] != "False" || status["reason"] != "CARotationProgressed" {
            bail!("status: {}, reason: {}", status["status"], status["reason"]);
        }
        bench.kubectl(["get", "--raw", "/readyz"]).map(drop)
    })?;
    let watch = StatusWatch::start(bench)?;
    let _ = tally.test("--timeout: a rotation that cannot go on ends, and names the node that it waited for", || {
        gives_up(bench, &config)
    });
    tally.test("the same command goes on from there and completes", || {
        bench.rotate(&config)?.finish(LIMIT)?.expect(0)?;
        completed(bench, 2)
    })?;
    let _ =
        tally.test("status --watch has seen it all, with a kubeconfig whose CA was dropped meanwhile", || watch.end());
    tally.test("leafValidity: the new leaves live as long as the configuration says", || leaves_live_an_hour(bench))
}

fn gives_up(bench: &Bench, config: &[&str]) -> Result<()> {
    let worker = bench.last_worker()?;
    bench.signal_agent(&worker, "-STOP")?;
    let mut certctl = bench.certctl_command();
    certctl.arg("rotate-ca").args(config).args(["--yes", "--timeout", "30s"]);
    let done = finished(&mut certctl);
    bench.signal_agent(&worker, "-CONT")?;
    done?.expect(124)?.saying(&[&format!("node/{}", worker.name), "no progress for 30 s"]).map(drop)
}

fn leaves_live_an_hour(bench: &Bench) -> Result<()> {
    for node in bench.control_planes() {
        let leaf = node.root().join("etc/kubernetes/pki/apiserver.crt");
        let ends_within = |seconds: &str| -> Result<bool> {
            let done = finished(command("openssl", ["x509", "-noout", "-checkend", seconds, "-in"]).arg(&leaf))?;
            Ok(done.code == Some(1))
        };
        if !ends_within("3600")? || ends_within("1800")? {
            bail!("{} does not live an hour", leaf.display());
        }
    }
    Ok(())
}

/// `certctl status --watch`. Dropped, it is killed.
struct StatusWatch {
    certctl: Child,
}

impl StatusWatch {
    fn start(bench: &Bench) -> Result<StatusWatch> {
        let out = File::create(Self::file())?;
        let mut certctl = bench.certctl_command();
        certctl.args(["status", "--watch", "--output", "json"]).stdin(Stdio::null()).stdout(out);
        let watch = StatusWatch { certctl: certctl.spawn().context("cannot start certctl")? };
        wait_until("status --watch has shown something", SOON, || Self::said("CARotationProgressed"))?;
        Ok(watch)
    }

    fn end(mut self) -> Result<()> {
        wait_until("status --watch shows the end", SOON, || Self::said("CARotationCompleted"))?;
        if let Some(status) = self.certctl.try_wait()? {
            bail!("it ended by itself with {status}");
        }
        signal(&self.certctl, Signal::INT)?;
        match self.certctl.wait()?.code() {
            Some(130) => Ok(()),
            code => bail!("exit code {code:?} after Ctrl-C instead of 130"),
        }
    }

    fn file() -> std::path::PathBuf {
        paths::state().join("status-watch")
    }

    fn said(word: &str) -> bool {
        fs::read_to_string(Self::file()).is_ok_and(|text| text.contains(word))
    }
}

impl Drop for StatusWatch {
    fn drop(&mut self) {
        // Already ended in the ordinary case.
        let _ = self.certctl.kill();
        let _ = self.certctl.wait();
    }
}
