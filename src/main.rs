//! Parses the command line, runs one command and turns its outcome into the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = certctl::cli::parse();
    let (context, signals) = certctl::context::build(&cli.global);
    let outcome = certctl::cli::run(&context, signals, cli.command);
    certctl::error::report(&context.ui, outcome)
}
