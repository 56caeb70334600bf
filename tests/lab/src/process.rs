//! Runs other programs: quietly when they succeed, with their own words when they do not.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Builds a command from words, for call sites that would otherwise be all `.arg()`.
pub fn command<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Runs a program to its end; its standard output is returned, its standard error becomes the error.
pub fn output(command: &mut Command) -> Result<String> {
    let done = capture(command)?;
    if !done.status.success() {
        bail!("{}", failure(command, &done));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs a program whose output is of no interest unless it fails.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs a program and says only whether it succeeded: for probes that are expected to fail for a while.
pub fn succeeds(command: &mut Command) -> bool {
    capture(command).is_ok_and(|done| done.status.success())
}

/// Runs a program that reads `input` from its standard input.
pub fn output_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early closes the pipe; its exit status tells more than EPIPE does.
        let _ = stdin.write_all(input);
    }
    let done = child.wait_with_output()?;
    if !done.status.success() {
        bail!("{}", failure(command, &done));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Sends a signal to a program that was started here.
pub fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(child.id().cast_signed()).context("the program has no process")?;
    kill_process(pid, signal).with_context(|| format!("cannot signal process {}", child.id()))
}

fn capture(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", line(command)))
}

fn failure(command: &Command, done: &Output) -> String {
    let words = String::from_utf8_lossy(&done.stderr);
    let words = if words.trim().is_empty() { String::from_utf8_lossy(&done.stdout) } else { words };
    format!("`{}` ended with {}: {}", line(command), done.status, words.trim())
}

fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
