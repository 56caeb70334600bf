//! What etcd on this node says of itself.

use std::time::Duration;

use crate::node::{Etcd, EtcdAddresses, Layout};
use crate::plan::Component;
use crate::probe;

/// Longest wait for one answer: whoever waits for the whole report waits for it.
const LIMIT: Duration = Duration::from_secs(2);

/// Whether the member answers healthy; `None` where none runs.
pub(super) async fn healthy(layout: &Layout) -> Option<bool> {
    if !layout.is_control_plane() || !layout.manifest(Component::Etcd).exists() {
        return None;
    }
    let address = EtcdAddresses::read(layout).metrics;
    Some(matches!(probe::plain_status(&address, "/readyz", LIMIT).await, Ok(200)))
}

/// Names of the members that do not vote yet, as this member knows them; `None` when it gives no answer.
pub(super) async fn learners(layout: &Layout) -> Option<Vec<String>> {
    let address = EtcdAddresses::read(layout).client;
    let ask = async { Etcd::connect(layout, &address).await?.learners().await };
    match tokio::time::timeout(LIMIT, ask).await {
        Ok(Ok(learners)) => Some(learners),
        Ok(Err(error)) => {
            tracing::debug!(%error, "members of etcd");
            None
        }
        Err(_) => None,
    }
}
