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
}

pub(crate) async fn run(_context: &Context, args: &AgentArgs) -> Result<(), Error> {
    agent::run(&AgentOptions { root: args.root.clone(), node: args.node.clone() }).await
}
