//! The prober: asks every API server all the time, in every way a client can, and writes down each request that fails.
//!
//! It knows the cluster and nothing of what is done to it. The clients:
//!
//! - `ca1`: a kubeconfig copied at the start, which believes only the CA that issued its certificate;
//! - `both`: the kubeconfig as it is at each request, as a user who runs kubectl has it;
//! - `ca2`: comes by itself, see [`newcomer`];
//! - the `kubectl proxy` pods: programs in the cluster that read their CA once.
//!
//! Each of the first three asks every API server directly and the balancer, with a connection per request, a kept-alive
//! HTTP/1.1 connection and an HTTP/2 connection. All share one rate. Nothing is asked twice: a connection that breaks
//! under a request is a failed request, even where client-go would have hidden it.

mod connection;
mod dispatch;
mod kubeconfig;
mod lane;
mod newcomer;
mod outcome;
mod probe;
mod refusal;
mod report;
mod request;
mod source;
mod summary;
mod table;
mod targets;
mod welcome;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

/// Ask every API server all the time and report each request that fails; or summarise such a report.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Write the report (JSON lines) to this file and probe until the duration is over, or SIGINT or SIGTERM.
    #[arg(long, value_name = "FILE", required_unless_present = "summarise")]
    report: Option<PathBuf>,

    /// Print what a report says; exit 1 if a request failed that must not.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["report", "rate", "duration", "kubeconfig"])]
    summarise: Option<PathBuf>,

    /// Requests per second in all, calls through kubelets apart.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    rate: u32,

    /// Stop after this long, e.g. 60s, 5m, 1h.
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,

    /// The kubeconfig of the clients [default: the lab's].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// How to print a summary.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// The prober's command. Must run before the program has threads: it moves into the lab's network.
pub fn run(args: &ProbeArgs) -> Result<ExitCode> {
    match (&args.summarise, &args.report) {
        (Some(file), _) => summarise(file, args.output),
        (None, Some(report)) => probe::run(&probe::Settings {
            report,
            rate: args.rate,
            duration: args.duration,
            kubeconfig: args.kubeconfig.clone().unwrap_or_else(crate::paths::kubeconfig),
        }),
        (None, None) => bail!("either --report or --summarise is needed"),
    }
}

fn summarise(file: &Path, output: Output) -> Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the report {}", file.display()))?;
    let summary = summary::Summary::of(&summary::lines(&text)?)?;
    let text = match output {
        Output::Table => table::render(&summary),
        Output::Json => serde_json::to_string_pretty(&summary)? + "\n",
    };
    // A reader that has gone has read enough; the exit code is for whoever started us.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from(duration).map_err(|_| "a duration is not negative".to_owned())
}
