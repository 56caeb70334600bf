//! The cluster that every story starts from, and the program under test.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::command::{Done, Rotation, finished};
use crate::node::{Node, Role};
use crate::process::{command, output, run};
use crate::record::Record;
use crate::step::{step, wait_until};
use crate::up::{self, UpOptions};
use crate::{cleanup, cli, clients, cluster, container, images, paths, snapshot};

/// Healthy, with agents and clients.
const INSTALLED: &str = "installed";
pub const IMAGE: &str = "certctl:lab-test";

/// What `lab test` and `lab torture` start from.
#[derive(Args, Clone, Debug)]
pub struct BenchOptions {
    /// Test this binary instead of building one
    #[arg(long, value_name = "FILE")]
    certctl: Option<PathBuf>,
    /// Use the lab that an earlier run left with --keep
    #[arg(long)]
    reuse: bool,
    /// Leave the lab up
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    up: UpOptions,
}

pub struct Bench {
    pub record: Record,
    pub certctl: PathBuf,
    keep: bool,
}

impl BenchOptions {
    /// The cluster that the stories share is to outlive them.
    pub fn stays(&self) -> bool {
        self.keep || self.reuse
    }

    /// The program under test, built unless it was given.
    fn program(&self) -> Result<PathBuf> {
        match &self.certctl {
            Some(path) => Ok(std::path::absolute(path)?),
            None => step("build certctl", build),
        }
    }

    /// The end of a cluster that a story has made for itself.
    pub fn close(&self) -> Result<()> {
        if self.keep { Ok(()) } else { step("remove the lab", cleanup::everything) }
    }

    /// A cluster with clients and without agents.
    pub fn other_cluster(&self, control_planes: u8, workers: u8, (leaves, cas): (&str, &str)) -> Result<Bench> {
        let certctl = self.program()?;
        let mut up = UpOptions { control_planes, workers, ..self.up.clone() };
        leaves.clone_into(&mut up.pki.leaf_validity);
        cas.clone_into(&mut up.pki.ca_validity);
        up::up(&up)?;
        clients::deploy()?;
        Ok(Bench { record: Record::load()?, certctl, keep: self.keep })
    }
}

impl Bench {
    pub fn prepare(options: &BenchOptions) -> Result<Bench> {
        let made = Bench::make(options);
        if made.is_err() && !options.keep {
            cleanup::everything()?;
        }
        made
    }

    fn make(options: &BenchOptions) -> Result<Bench> {
        let certctl = options.program()?;
        if options.reuse {
            snapshot::restore(INSTALLED, true)?;
            return Ok(Bench { record: Record::load()?, certctl, keep: options.keep });
        }
        up::up(&options.up)?;
        let bench = Bench { record: Record::load()?, certctl, keep: options.keep };
        let archive = agent_archive();
        images::pack_agent(&bench.certctl, IMAGE, &archive)?;
        cli::load_image(&archive)?;
        clients::deploy()?;
        step("certctl install", || bench.certctl(&["install", "--image", IMAGE])?.expect(0).map(drop))?;
        snapshot::take(INSTALLED, true)?;
        Ok(bench)
    }

    pub fn restore(&self) -> Result<()> {
        snapshot::restore(INSTALLED, true)
    }

    pub fn close(&self) -> Result<()> {
        if self.keep { Ok(()) } else { step("remove the lab", cleanup::everything) }
    }

    /// Runs certctl to its end, as an administrator does.
    pub fn certctl(&self, words: &[&str]) -> Result<Done> {
        finished(self.certctl_command().args(words))
    }

    /// certctl in the lab's network with the administrator's kubeconfig.
    pub fn certctl_command(&self) -> Command {
        cluster::outside(&self.record, &self.certctl.to_string_lossy())
    }

    /// Starts `certctl rotate-ca` with further words.
    pub fn rotate(&self, words: &[&str]) -> Result<Rotation> {
        let mut command = self.certctl_command();
        command.args(["--output", "json", "rotate-ca"]).args(words).args(["--yes", "--timeout", "4m"]);
        Rotation::start(&mut command)
    }

    pub fn status(&self) -> Result<Value> {
        let done = self.certctl(&["status", "--output", "json"])?.expect(0)?;
        serde_json::from_str(&done.out).context("certctl status printed no JSON")
    }

    pub fn kubectl<const N: usize>(&self, words: [&str; N]) -> Result<String> {
        output(&mut cluster::kubectl(&self.record, words))
    }

    pub fn control_planes(&self) -> Vec<Node> {
        self.record.with_role(Role::ControlPlane)
    }

    /// A control-plane node that is not the first, which the administrator's commands run on.
    pub fn other_control_plane(&self) -> Result<Node> {
        self.control_planes().into_iter().nth(1).context("the lab has one control-plane node only")
    }

    pub fn last_worker(&self) -> Result<Node> {
        self.record.with_role(Role::Worker).pop().context("the lab has no worker")
    }

    pub fn power_off(&self, node: &Node) {
        eprintln!("lab: power of {} is cut", node.name);
        container::power_off(node);
    }

    pub fn power_on(&self, node: &Node) -> Result<()> {
        step(&format!("turn {} on", node.name), || container::power_on(node))
    }

    /// kill -9 of the agent's process, in the node's own process namespace.
    pub fn kill_agent(&self, node: &Node) -> Result<()> {
        self.signal_agent(node, "-KILL")
    }

    pub fn signal_agent(&self, node: &Node, signal: &str) -> Result<()> {
        run(&mut container::inside(node, ["pkill", signal, "--full", "certctl agent"]))
            .with_context(|| format!("no agent runs on {}", node.name))
    }

    pub fn wait_not_ready(&self, node: &Node) -> Result<()> {
        wait_until(&format!("{} is NotReady", node.name), Duration::from_secs(120), || {
            cluster::nodes(&self.record).is_ok_and(|all| all.iter().any(|seen| seen.name == node.name && !seen.ready))
        })
    }

    /// What helps to understand a failure, to standard error.
    pub fn explain(&self) {
        for (what, words) in
            [("certctl status", &["status"][..]), ("certctl inspect", &["inspect", "--output", "wide"][..])]
        {
            if let Ok(done) = self.certctl(words) {
                eprintln!("---- {what}\n{}{}", done.out, done.err);
            }
        }
        let logs = ["-n", "certctl-system", "logs", "-l", "app.kubernetes.io/component=agent", "--prefix", "--tail=15"];
        eprintln!("---- agents\n{}", self.kubectl(logs).unwrap_or_else(|error| format!("{error:#}")));
    }
}

/// The agent's image, for as long as the lab is up.
pub fn agent_archive() -> PathBuf {
    paths::state().join("certctl.tar")
}

/// Of the checkout in which the lab is called. Not of the one in which it was built: clones share one build folder.
fn build() -> Result<PathBuf> {
    let words = ["build", "--quiet", "--locked", "-p", "certctl", "--bin", "certctl", "--message-format=json"];
    let messages = output(&mut command("cargo", words))?;
    let program = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "certctl")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    match program {
        Some(program) => Ok(program),
        None => bail!("cargo names no binary"),
    }
}
