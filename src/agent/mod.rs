//! The agent: the only writer of its node's files. It watches its own NodePKI, brings the node to the target, and reports what it sees.
//!
//! **Guarantees.** One operation at a time, of one agent at a time; every operation may be cut off at any point and is done again. What
//! is reported was observed after the last operation. **No polling**: it wakes on a change of its object, of a watched folder, or while
//! an endpoint does not yet answer as the files say it will.
//!
//! [`alone`] does the same work once, for a command on the node.
//!
//! It runs in two places: in the DaemonSet's pod, and as a unit of the host where no pod can start ([`Until::Settled`]).
#![expect(clippy::disallowed_methods, reason = "the agent reads the clock and its own files")]

pub mod alone;
mod changes;
mod host;
mod members;
mod operations;
mod pace;
mod probing;
mod requests;
pub mod revive;
mod session;
mod snapshot;
mod unit;
mod vouching;

use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::node::{AgentLock, Layout, Node, WriteLock};

use host::Host;
pub use session::Session;

/// What the agent is told on its command line.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Where the node's root file system is mounted.
    pub root: PathBuf,
    /// The Node's name.
    pub node: String,
    /// True for the agent that the host's unit runs.
    pub until_settled: bool,
}

/// How long an agent works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// In the pod: until the process is ended.
    Ended,
    /// On the host: until nothing is left to do and a pod can take over, or until its token is refused.
    Settled,
}

/// Runs until the process is ended, or, on the host, until a pod can take over.
///
/// # Errors
/// The node's files cannot be opened at all, there is no API server to talk to by configuration, or the host's token is refused.
pub async fn run(options: &AgentOptions) -> Result<(), Error> {
    let node = Node::open(&options.root);
    if options.until_settled {
        return unit::run(node, &options.node).await;
    }
    let _lock = sole(node.layout()).await?;
    recover(&node).await?;
    let cluster = Cluster::in_cluster("agent").map_err(Error::from_display)?;
    let host = Host::settle_in(&node, &options.node).await;
    Session::open(node, cluster, &options.node, host)?.run(Until::Ended).await
}

/// The lock, as soon as the host's agent has finished.
async fn sole(layout: &Layout) -> Result<AgentLock, Error> {
    if let Some(lock) = AgentLock::try_take(layout).map_err(Error::from_display)? {
        return Ok(lock);
    }
    tracing::warn!("another agent is at work on this node: waiting for its end");
    let layout = layout.clone();
    let waiting = tokio::task::spawn_blocking(move || AgentLock::wait(&layout));
    waiting.await.map_err(Error::from_display)?.map_err(Error::from_display)
}

/// The right to write, as soon as no command on the node has it.
async fn writing(layout: &Layout) -> Result<WriteLock, Error> {
    let layout = layout.clone();
    let waiting = tokio::task::spawn_blocking(move || WriteLock::wait(&layout));
    waiting.await.map_err(Error::from_display)?.map_err(Error::from_display)
}

async fn recover(node: &Node) -> Result<(), Error> {
    let _writing = writing(node.layout()).await?;
    for component in node.recover().map_err(Error::from_display)? {
        tracing::warn!(component = component.name(), "its manifest was parked by an agent that was cut off: put back");
    }
    Ok(())
}
