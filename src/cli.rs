//! The command line: global flags, the list of commands, and the one table that dispatches them.

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;

use crate::commands::{
    agent_cmd, check, completion, config, credential_plugin, diagnose, generate, get_credentials, inspect, install,
    renew, repair, rotate_ca, schema, status, version,
};
use crate::context::{Context, GlobalArgs, Signal, called_as_plugin};
use crate::error::Error;

/// Runs the whole life of a self-managed Kubernetes cluster's PKI.
#[derive(Debug, Parser)]
#[command(name = "certctl", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// Flags that every command has.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What certctl can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show certificates and what is wrong: of a node's files, of kubeconfigs and PEM files, of an endpoint, of the whole cluster
    Inspect(inspect::InspectArgs),
    /// Say what is wrong with certificates, with an exit code for CI
    Check(check::CheckArgs),
    /// Go through everything that a healthy cluster must satisfy, item by item, with the remedy
    Diagnose(diagnose::DiagnoseArgs),
    /// Renew certificates, of every node through the agents or of one node on it
    Renew(renew::RenewArgs),
    /// Bring back a cluster whose certificates have expired, on a node of it
    Repair(repair::RepairArgs),
    /// Replace the certificate authorities of a running cluster
    RotateCa(rotate_ca::RotateCaArgs),
    /// Show where a CA rotation stands
    Status(status::StatusArgs),
    /// Get a kubeconfig for a user, through the CSR API or from the CA's key
    GetCredentials(get_credentials::GetCredentialsArgs),
    /// Give a client the credential that it asks for (kubectl runs this)
    CredentialPlugin(credential_plugin::CredentialPluginArgs),
    /// Install certctl's objects and its agent in the cluster
    Install(install::InstallArgs),
    /// Take certctl's objects and its agent out of the cluster
    Uninstall(install::UninstallArgs),
    /// Run the agent of one node (the DaemonSet does)
    Agent(agent_cmd::AgentArgs),
    /// Show or check a configuration file
    Config(config::ConfigArgs),
    /// Print the JSON schema of a document that certctl prints
    Schema(schema::SchemaArgs),
    /// Print the completion script for a shell
    Completion(completion::CompletionArgs),
    /// Print the version
    Version(version::VersionArgs),
    /// Write the generated files of the source tree (completions, man pages, reference)
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

/// Reads the command line; wrong usage, `--help` and `--version` end the process here.
#[must_use]
pub fn parse() -> Cli {
    let matches = command_tree(called_as_plugin(std::env::args().next().as_deref())).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The clap tree; as kubectl's plugin, usage lines say `kubectl certctl`.
#[must_use]
pub fn command_tree(plugin: bool) -> clap::Command {
    let command = Cli::command();
    if plugin { command.bin_name("kubectl certctl") } else { command }
}

/// Runs one command on a runtime of its own.
///
/// # Errors
/// Whatever the command could not do; see [`crate::error::ErrorKind`].
pub fn run(context: &Context, signals: watch::Sender<Option<Signal>>, command: Command) -> Result<(), Error> {
    let kept_private = no_core_dumps();
    let mut builder = match command {
        // The agent lives on every node of the cluster: one thread keeps it small.
        Command::Agent(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    // Two on every machine: none of them computes for long, and to ask how many processors there are costs as much as a thread.
    let runtime = builder
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Error::failed(format!("cannot start the runtime: {e}")))?;
    crate::ui::start_log(context.global.verbose);
    if let Err(error) = kept_private {
        tracing::warn!(%error, "a crash may write private keys into a core dump: forbid them with `ulimit -c 0`");
    }
    let outcome = runtime.block_on(async {
        // Before anything begins: a signal must never find the default handler once work is under way.
        let stop = StopSignal::listen(signals).map_err(|e| Error::failed(format!("cannot listen for signals: {e}")))?;
        tokio::select! {
            outcome = dispatch(context, command) => outcome,
            error = stop.wait(context) => Err(error),
        }
    });
    // A thread that still waits for an answer on stdin must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

/// Private keys are in memory, and a panic ends the process with SIGABRT: what it held must not land on the disk or at a core handler.
/// Not being dumpable also keeps other processes of the same user from reading the memory (prctl(2), PR_SET_DUMPABLE).
///
/// # Errors
/// The system refuses.
pub fn no_core_dumps() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)
}

async fn dispatch(context: &Context, command: Command) -> Result<(), Error> {
    match command {
        Command::Inspect(args) => inspect::run(context, &args).await,
        Command::Check(args) => check::run(context, &args).await,
        Command::Diagnose(args) => diagnose::run(context, &args).await,
        Command::Renew(args) => renew::run(context, &args).await,
        Command::Repair(args) => repair::run(context, &args).await,
        Command::RotateCa(args) => rotate_ca::run(context, &args).await,
        Command::Status(args) => status::run(context, &args).await,
        Command::GetCredentials(args) => get_credentials::run(context, &args).await,
        Command::CredentialPlugin(args) => credential_plugin::run(context, &args).await,
        Command::Install(args) => install::install(context, &args).await,
        Command::Uninstall(args) => install::uninstall(context, &args).await,
        Command::Agent(args) => agent_cmd::run(context, &args).await,
        Command::Config(args) => config::run(context, &args),
        Command::Schema(args) => schema::run(context, &args),
        Command::Completion(args) => completion::run(context, &args, command_tree(false)),
        Command::Version(args) => version::run(context, &args),
        Command::Generate(args) => generate::run(context, &args, &command_tree(false)),
    }
}

/// SIGINT and SIGTERM, and who wants to hear of them.
struct StopSignal {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    sender: watch::Sender<Option<Signal>>,
}

impl StopSignal {
    fn listen(sender: watch::Sender<Option<Signal>>) -> std::io::Result<Self> {
        let interrupt = unix::signal(SignalKind::interrupt())?;
        let terminate = unix::signal(SignalKind::terminate())?;
        Ok(Self { interrupt, terminate, sender })
    }

    /// Ends when the command is to be dropped: at the first signal, or at the second when the command took over the first.
    async fn wait(mut self, context: &Context) -> Error {
        loop {
            let received = tokio::select! {
                _ = self.interrupt.recv() => Signal::Interrupt,
                _ = self.terminate.recv() => Signal::Terminate,
            };
            let first = self.sender.send_replace(Some(received)).is_none();
            if !(first && context.interrupt.is_taken_over()) {
                return Error::new(received.kind(), "interrupted");
            }
            context.ui.note("stopping at the next safe moment; once more to leave at once");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        command_tree(false).debug_assert();
    }

    #[test]
    fn a_crash_writes_no_memory_to_a_disk() {
        no_core_dumps().unwrap();
        assert_eq!(nix::sys::resource::getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
        assert!(!prctl::get_dumpable().unwrap());
    }

    #[test]
    fn as_a_plugin_the_usage_says_so() {
        let usage = command_tree(called_as_plugin(Some("/opt/kubectl-certctl"))).render_usage().to_string();
        assert!(usage.contains("kubectl certctl"), "{usage}");
    }
}
