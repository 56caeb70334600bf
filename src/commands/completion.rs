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

pub(crate) fn run(context: &Context, args: &CompletionArgs, tree: clap::Command) -> Result<(), Error> {
    Ok(context.ui.bytes(&script(args.shell, tree))?)
}

/// The script; the same text stands in `completions/`.
pub(super) fn script(shell: Shell, mut tree: clap::Command) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut tree, "certctl", &mut script);
    script
}
