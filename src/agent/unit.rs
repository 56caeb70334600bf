//! The agent that the host starts with the kubelet: it brings a node up to date whose kubelet can start no pod.

use std::time::Duration;

use super::host::Host;
use super::operations::as_kubelet;
use super::{Session, Until, recover};
use crate::cluster::{Cluster, ClusterError};
use crate::error::Error;
use crate::node::{AgentLock, Layout, Node};
use crate::plan::Conf;

/// First pause before an API server that does not answer is asked again; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest: after a power cut of everything the pod's agent waits for this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Works until nothing is left to do. Another agent at work is a reason to go at once: it does the same.
pub(super) async fn run(node: Node, name: &str) -> Result<(), Error> {
    let layout = node.layout().clone();
    let Some(_lock) = AgentLock::try_take(&layout).map_err(Error::from_display)? else { return Ok(()) };
    recover(&node).await?;
    let conf = layout.conf(Conf::Kubelet);
    let cluster =
        Cluster::with_token(&conf, &layout.agent_token(), "agent, on the host").await.map_err(Error::from_display)?;
    if !knows(&cluster, name, &layout).await? {
        return Ok(());
    }
    Session::open(node, cluster, name, Host::stranger())?.run(Until::Settled).await
}

/// Waits for an answer of the API server; true when there is an object of this node.
async fn knows(cluster: &Cluster, name: &str, layout: &Layout) -> Result<bool, Error> {
    let (mut pause, mut said) = (PAUSE, String::new());
    loop {
        match cluster.node_pki(name).await {
            Ok(object) => return Ok(object.is_some()),
            Err(error) if matches!(error.code(), Some(401 | 403)) => return Err(refused(layout)),
            Err(error) => {
                let text = error.to_string();
                if text != said {
                    tracing::warn!(error = text, "waiting for the API server");
                    said = text;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Why the host's agent ends: with another credential the pod's agent may still do the work.
pub(super) fn refused(layout: &Layout) -> Error {
    let token = layout.on_node(&layout.agent_token());
    Error::failed(format!("the API server refuses the agent's token in {token}"))
        .hint("the pod's agent writes a new one when it runs; a node whose kubelet is refused too must be joined again")
}

/// Whether the API server accepts the kubelet: only then can the pod's agent take over. A node without a kubelet's credential waits for
/// nobody.
///
/// # Errors
/// The API server did not say.
pub(super) async fn kubelet_is_accepted(layout: &Layout, name: &str) -> Result<bool, ClusterError> {
    match as_kubelet(layout).await {
        Ok(kubelet) => kubelet.is_accepted(name).await,
        Err(error) => {
            tracing::warn!(%error, "the kubelet has no credential");
            Ok(true)
        }
    }
}
