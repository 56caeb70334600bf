//! What wakes the agent: its object and its folders.

use std::path::Path;
use std::time::Duration;

use futures::{Stream, StreamExt};
use inotify::{Inotify, WatchMask};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;

use crate::api::NodePKI;
use crate::cluster::Cluster;

/// Longest pause before a watch that was refused is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Folders whose changes matter, on the node.
const FOLDERS: [&str; 5] = [
    "etc/kubernetes",
    "etc/kubernetes/pki",
    "etc/kubernetes/pki/etcd",
    "etc/kubernetes/manifests",
    "var/lib/kubelet/pki",
];

/// Keeps the newest version of the node's own object in a channel, for ever: relist on 410 and on an error. A watch that is silent for
/// too long is an error of the client's.
pub(super) fn follow_object(cluster: Cluster, node: String) -> watch::Receiver<Option<NodePKI>> {
    let (send, receive) = watch::channel(None);
    tokio::spawn(async move {
        let config = watcher::Config::default().fields(&format!("metadata.name={node}"));
        let mut events = std::pin::pin!(watcher(cluster.node_pki_api(), config).applied_objects());
        while let Some(event) = events.next().await {
            match event {
                Ok(object) => {
                    send.send_replace(Some(object));
                }
                Err(error) => {
                    tracing::debug!(%error, "watch of the node's object");
                    tokio::time::sleep(RETRY).await;
                }
            }
            if send.is_closed() {
                return;
            }
        }
    });
    receive
}

/// Fires when something in the folders was written, renamed or removed.
pub(super) fn follow_folders(root: &Path) -> std::io::Result<impl Stream<Item = ()> + Unpin + use<>> {
    let inotify = Inotify::init()?;
    let mask =
        WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE | WatchMask::ATTRIB;
    for folder in FOLDERS {
        // A worker lacks some of them.
        if let Err(error) = inotify.watches().add(root.join(folder), mask) {
            tracing::debug!(folder, %error, "not watched");
        }
    }
    Ok(inotify.into_event_stream(vec![0; 4096])?.map(|_| ()))
}
