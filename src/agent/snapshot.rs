//! A snapshot of the node's etcd, on request.

use crate::api::Snapshot;
use crate::node::{Etcd, EtcdAddresses, Layout, in_full};

/// Saves one and answers the request, also when it fails: whoever asked decides what then.
pub(super) async fn save(request: &str, rotation: &str, layout: &Layout) -> Snapshot {
    let path = layout.etcd_snapshot(rotation);
    let answer = Snapshot { request: request.to_owned(), path: layout.on_node(&path), ..Snapshot::default() };
    let saved = async { Etcd::connect(layout, &EtcdAddresses::read(layout).client).await?.save(&path).await };
    match saved.await {
        Ok(saved) => {
            let bytes = i64::try_from(saved.bytes).unwrap_or(i64::MAX);
            Snapshot { bytes, revision: saved.revision, sha256: saved.sha256, ..answer }
        }
        Err(error) => Snapshot { problem: Some(in_full(&error)), ..answer },
    }
}
