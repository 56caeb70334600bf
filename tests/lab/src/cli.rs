//! The commands of the lab, and which of them may run beside another.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::lock::Lock;
use crate::node::Role;
use crate::prober::{self, ProbeArgs};
use crate::record::Record;
use crate::restarts::{self, RestartsArgs};
use crate::scenarios::{self, TestArgs, TortureArgs};
use crate::status::{self, Format};
use crate::step::{for_all, step};
use crate::up::{self, UpOptions};
use crate::{cleanup, clients, cluster, container, distribution, images, paths, snapshot};

/// A real kubeadm cluster on one machine
#[derive(Parser)]
#[command(name = "lab", max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Build binaries and images of a Kubernetes version into the cache
    Build {
        /// Another Kubernetes than the one that go.mod names, for example 1.36.3
        #[arg(long)]
        kubernetes_version: Option<String>,
    },
    /// Remove what is left of an earlier lab, then start a cluster
    Up(UpOptions),
    /// Remove the lab and every trace of it, also after a crash
    Down,
    /// Show nodes, readiness and etcd health; exits with 1 if something is not well
    Status {
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
    /// Run a command on a node
    Exec {
        node: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run a command in the lab's outer network, with the administrator's kubeconfig and the lab's programs
    Run {
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Print the path of the administrator's kubeconfig
    Kubeconfig,
    /// Print the path of a node's root filesystem on this machine
    NodeRoot { node: String },
    /// Cut a node's power
    PowerOff { node: String },
    /// Turn a node on again
    PowerOn { node: String },
    /// Keep the state of the whole cluster under a name (cuts the power of all nodes and turns them on again)
    Snapshot {
        name: String,
        /// Do not wait until the cluster is whole again
        #[arg(long)]
        no_wait: bool,
    },
    /// Bring the whole cluster back to a kept state
    Restore {
        name: String,
        /// Do not wait until the cluster is whole again: for a kept state that is broken on purpose
        #[arg(long)]
        no_wait: bool,
    },
    /// Pack a build of certctl and the libraries it is linked with into an image archive, without Docker and without a registry
    PackImage {
        /// The binary
        program: PathBuf,
        /// Name and tag of the image
        tag: String,
        /// Where to write it; `ctr --namespace k8s.io images import` reads it
        archive: PathBuf,
    },
    /// Import an image archive into the containerd of every node
    LoadImage { archive: PathBuf },
    /// Add a machine that runs and has not joined the cluster
    AddNode {
        name: String,
        #[command(flatten)]
        role: RoleOption,
    },
    /// Add a machine and join it as a worker, with the command that kubeadm prints
    JoinWorker { name: String },
    /// Add a machine and join it as a control-plane node, with the command that kubeadm prints
    JoinControlPlane { name: String },
    /// Start the in-cluster clients and a logger on every node, in namespace `lab`
    DeployClients,
    /// Ask every API server all the time and report each request that fails, or summarise such a report
    Probe(ProbeArgs),
    /// Count how often each component of each node is started
    Restarts(RestartsArgs),
    /// Run certctl through its scenarios on a lab of its own, and print a line per test
    Test(TestArgs),
    /// Kill and power-cut everything at every phase of a rotation (hours); prints a table
    Torture(TortureArgs),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct RoleOption {
    #[arg(long)]
    control_plane: bool,
    #[arg(long)]
    worker: bool,
}

impl RoleOption {
    fn role(&self) -> Role {
        if self.control_plane { Role::ControlPlane } else { Role::Worker }
    }
}

impl Cli {
    pub fn run(self) -> Result<ExitCode> {
        paths::check_name()?;
        match self.command {
            Subcommands::Build { kubernetes_version } => {
                distribution::ensure(kubernetes_version.as_deref()).map(drop)?
            }
            Subcommands::Up(options) => alone(|| up::up(&options))?,
            Subcommands::Down => down()?,
            Subcommands::Status { output } => return status::print(output).map(exit_code),
            Subcommands::Exec { node, command } => {
                return become_command(container::exec(Record::load()?.node(&node)?, &command));
            }
            Subcommands::Run { command } => return run(&command),
            Subcommands::Kubeconfig => print_path(&paths::kubeconfig())?,
            Subcommands::NodeRoot { node } => print_path(&Record::load()?.node(&node)?.root())?,
            Subcommands::PowerOff { node } => alone(|| power_off(&node))?,
            Subcommands::PowerOn { node } => alone(|| power_on(&node))?,
            Subcommands::Snapshot { name, no_wait } => alone(|| snapshot::take(&name, !no_wait))?,
            Subcommands::Restore { name, no_wait } => alone(|| snapshot::restore(&name, !no_wait))?,
            Subcommands::PackImage { program, tag, archive } => images::pack_agent(&program, &tag, &archive)?,
            Subcommands::LoadImage { archive } => alone(|| load_image(&archive))?,
            Subcommands::AddNode { name, role } => alone(|| up::add_node(&name, role.role()).map(drop))?,
            Subcommands::JoinWorker { name } => alone(|| up::join_new_node(&name, Role::Worker))?,
            Subcommands::JoinControlPlane { name } => alone(|| up::join_new_node(&name, Role::ControlPlane))?,
            Subcommands::DeployClients => alone(clients::deploy)?,
            Subcommands::Probe(arguments) => return prober::run(&arguments),
            Subcommands::Restarts(arguments) => return restarts::run(&arguments),
            Subcommands::Test(arguments) => return alone(|| scenarios::test(&arguments)),
            Subcommands::Torture(arguments) => return alone(|| scenarios::torture(&arguments)),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// For commands that change the lab.
fn alone<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let _lock = Lock::acquire(&paths::lock())?;
    work()
}

fn down() -> Result<()> {
    let lock = Lock::acquire(&paths::lock())?;
    step("remove the lab", cleanup::everything)?;
    lock.remove()
}

fn run(words: &[String]) -> Result<ExitCode> {
    let (program, arguments) = words.split_first().context("no command is given")?;
    let mut command = cluster::outside(&Record::load()?, program);
    command.args(arguments);
    become_command(command)
}

/// Input, output, signals and the exit code are then the command's own.
fn become_command(mut command: Command) -> Result<ExitCode> {
    Err(command.exec()).with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))
}

fn print_path(path: &Path) -> Result<()> {
    println!("{}", path.display());
    if !path.exists() {
        bail!("{} is not there (yet)", path.display());
    }
    Ok(())
}

fn power_off(name: &str) -> Result<()> {
    let record = Record::load()?;
    container::power_off(record.node(name)?);
    Ok(())
}

fn power_on(name: &str) -> Result<()> {
    let record = Record::load()?;
    let node = record.node(name)?;
    if node.init_pid().is_some() {
        bail!("{name} is on already");
    }
    step(&format!("turn {name} on"), || container::power_on(node))
}

/// The archive is read on the machine; a node need not see it.
pub fn load_image(archive: &Path) -> Result<()> {
    let record = Record::load()?;
    let bytes = std::fs::read(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    step(&format!("import {}", archive.display()), || for_all(&record.nodes, |node| images::import(node, &bytes)))
}

fn exit_code(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
