//! The agent: the only writer of its node's files. It watches its own NodePKI, brings the node to the target, and reports what it sees.
//!
//! **Guarantees.** One operation at a time; every operation may be cut off at any point and is done again. What is reported was observed
//! after the last operation. **No polling**: it wakes on a change of its object, of a watched folder, or while an endpoint does not yet
//! answer as the files say it will.
#![expect(clippy::disallowed_methods, reason = "the agent reads the clock and its own files")]

mod changes;
mod operations;
mod probing;
mod requests;
mod session;
mod snapshot;

use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::node::Node;

pub use session::Session;

/// What the agent is told on its command line.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Where the node's root file system is mounted.
    pub root: PathBuf,
    /// The Node's name.
    pub node: String,
}

/// Runs until the process is ended.
///
/// # Errors
/// The node's files cannot be opened at all, or there is no API server to talk to by configuration.
pub async fn run(options: &AgentOptions) -> Result<(), Error> {
    let node = Node::open(&options.root);
    for component in node.recover().map_err(Error::from_display)? {
        tracing::warn!(component = component.name(), "its manifest was parked by an agent that was cut off: put back");
    }
    let cluster = Cluster::in_cluster("agent").map_err(Error::from_display)?;
    let mut session = Session::open(node, cluster, &options.node)?;
    session.run().await
}
