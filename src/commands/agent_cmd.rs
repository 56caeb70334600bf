//! `certctl agent`: what the DaemonSet runs on every node.

use std::path::PathBuf;

use clap::Args;

use crate::agent::{self, AgentOptions};
use crate::context::Context;
use crate::error::Error;

/// Arguments of `certctl agent`.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// Where the node's root file system is mounted
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// The Node's name
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    node: String,
    /// Work with the token that the pod's agent left on the host, and end when nothing is left to do (the host's unit does this)
    #[arg(long)]
    until_settled: bool,
}

pub(crate) async fn run(_context: &Context, args: &AgentArgs) -> Result<(), Error> {
    let (root, node) = (args.root.clone(), args.node.clone());
    agent::run(&AgentOptions { root, node, until_settled: args.until_settled }).await
}
