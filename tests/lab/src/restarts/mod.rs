//! The restart counter: how often each component of each node was started since recording began.
//!
//! It reads the nodes' journals, where containerd writes down every container it starts and systemd every unit. So
//! nothing runs meanwhile, no container is too short-lived to be seen, and a node that is off can be read as well.

mod count;
mod journal;
mod starts;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::count::{Report, Unit, count};
use self::starts::{History, history};
use crate::paths;
use crate::record::Record;

/// Count how often each component of each node is started.
#[derive(Debug, Args)]
pub struct RestartsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Begin recording, forgetting an earlier one
    Start,
    /// Print what was started so far; exits with 0 whatever it was
    Show {
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// End the recording and print it
    Stop {
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// What the lab keeps between `start` and `stop`.
#[derive(Debug, Serialize, Deserialize)]
struct Recording {
    since: Timestamp,
    until: Option<Timestamp>,
    /// What had been started before. The journals say so too, until they are rotated away.
    known: BTreeSet<Unit>,
}

pub fn run(args: &RestartsArgs) -> Result<ExitCode> {
    match args.action {
        Action::Start => start()?,
        Action::Show { output } => print(&load()?, output)?,
        Action::Stop { output } => stop(output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn start() -> Result<()> {
    let since = Timestamp::now();
    let known = read_nodes()?.into_iter().flat_map(|(node, history)| history.units(&node)).collect();
    save(&Recording { since, until: None, known })
}

fn stop(output: Output) -> Result<()> {
    let mut recording = load()?;
    recording.until = recording.until.or_else(|| Some(Timestamp::now()));
    save(&recording)?;
    print(&recording, output)
}

fn print(recording: &Recording, output: Output) -> Result<()> {
    let until = recording.until.unwrap_or_else(Timestamp::now);
    let report: Report = count(&read_nodes()?, &recording.known, recording.since, until);
    let text = match output {
        Output::Table => table::render(&report),
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    // A reader that has gone has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn read_nodes() -> Result<Vec<(String, History)>> {
    let nodes = Record::load()?.nodes;
    nodes
        .iter()
        .map(|node| Ok((node.name.clone(), history(journal::read(&node.disk().join("log/journal"))?))))
        .collect()
}

fn file() -> PathBuf {
    paths::state().join("restarts.json")
}

fn load() -> Result<Recording> {
    let text = fs::read_to_string(file()).context("nothing is recorded (begin with `lab restarts start`)")?;
    serde_json::from_str(&text).context("the recording cannot be read; `lab restarts start` makes a new one")
}

fn save(recording: &Recording) -> Result<()> {
    fs::write(file(), serde_json::to_vec(recording)?).context("cannot keep the recording")
}
