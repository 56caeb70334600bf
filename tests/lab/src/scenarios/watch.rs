//! The prober and the restart counter around a test, each a process of its own that knows nothing of certctl.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::figures::Figures;
use crate::paths;
use crate::process::{output, run, signal};
use crate::step::wait_until;

/// Dropped, it ends the prober.
pub struct Watch {
    report: PathBuf,
    prober: Child,
}

impl Watch {
    /// Starts recording, with `rate` requests a second, and returns when the prober is at work.
    pub fn start(rate: u32) -> Result<Watch> {
        run(lab()?.args(["restarts", "start"]))?;
        let report = paths::state().join("scenario-report");
        let prober = lab()?
            .args(["probe", "--rate", &rate.to_string(), "--report"])
            .arg(&report)
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start the prober")?;
        let watch = Watch { report, prober };
        // Totals come once a second; the first second is spent on opening connections.
        wait_until("the prober is at work", Duration::from_secs(30), || watch.seconds() >= 3)?;
        Ok(watch)
    }

    /// Ends recording after a last stretch, in which failures that follow from the end would be seen.
    pub fn end(mut self) -> Result<Figures> {
        let seen = self.seconds();
        wait_until("the prober has seen the end", Duration::from_secs(30), || self.seconds() >= seen + 5)?;
        signal(&self.prober, Signal::INT).context("cannot end the prober")?;
        if !self.prober.wait()?.success() {
            bail!("the prober failed");
        }
        let text = std::fs::read_to_string(&self.report).context("the prober left no report")?;
        // Its exit code says whether a request failed, which is judged here.
        let summary = lab()?.args(["probe", "--output", "json", "--summarise"]).arg(&self.report).output()?;
        let restarts = output(lab()?.args(["restarts", "stop", "--output", "json"]))?;
        Figures::of(&text, serde_json::from_slice(&summary.stdout)?, serde_json::from_str(&restarts)?)
    }

    /// Seconds of which totals were written.
    fn seconds(&self) -> usize {
        let text = std::fs::read_to_string(&self.report).unwrap_or_default();
        // Looked for in the text: to parse a report of minutes several times a second would disturb what is measured.
        let totals = text.lines().filter(|line| line.starts_with(r#"{"type":"total","#));
        let times: BTreeSet<&str> = totals.filter_map(|line| line.split('"').nth(7)).collect();
        times.len()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Already ended in the ordinary case.
        let _ = self.prober.kill();
        let _ = self.prober.wait();
    }
}

/// This program again.
fn lab() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().context("cannot find this program")?))
}
