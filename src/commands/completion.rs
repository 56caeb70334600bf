//! `certctl completion`: the completion script for a shell, made from the command tree.

use clap_complete::{Shell, generate};

use crate::context::Context;
use crate::error::Error;

/// Arguments of `certctl completion`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_parser = clap::value_parser!(Shell))]
    shell: Shell,
}

pub(crate) fn run(context: &Context, args: &CompletionArgs) -> Result<(), Error> {
    Ok(context.ui.bytes(&script(args.shell))?)
}

/// The script; the same text stands in `completions/`.
pub(super) fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut crate::cli::command_tree(false), "certctl", &mut script);
    script
}
