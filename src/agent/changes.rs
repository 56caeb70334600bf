//! What wakes the agent: its object, other nodes' objects where it is told to look at them, and folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use inotify::{Inotify, WatchMask};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;

use super::Until;
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

/// Keeps the newest version of the node's own object in a channel: relist on 410 and on an error; a watch that is silent for too long is an
/// error of the client's. The channel closes when the credential is refused and that is the end ([`Until::Settled`]); else it is followed
/// for ever.
pub(super) fn follow_object(cluster: Cluster, node: String, until: Until) -> watch::Receiver<Option<NodePKI>> {
    follow(cluster, node, until, Clone::clone)
}

/// Keeps what `pick` takes of one node's object, as long as somebody holds the receiver.
fn follow<T: PartialEq + Send + Sync + 'static>(
    cluster: Cluster,
    node: String,
    until: Until,
    pick: impl Fn(&NodePKI) -> T + Send + 'static,
) -> watch::Receiver<Option<T>> {
    let (send, receive) = watch::channel(None);
    tokio::spawn(async move {
        let config = watcher::Config::default().fields(&format!("metadata.name={node}"));
        let mut events = std::pin::pin!(watcher(cluster.node_pki_api(), config).applied_objects());
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = send.closed() => return,
            };
            match event {
                Some(Ok(object)) => {
                    let picked = Some(pick(&object));
                    send.send_if_modified(|held| {
                        let differs = *held != picked;
                        if differs {
                            *held = picked;
                        }
                        differs
                    });
                }
                Some(Err(error)) if until == Until::Settled && is_refusal(&error) => return,
                Some(Err(error)) => {
                    tracing::debug!(%error, node, "watch of a node's object");
                    tokio::time::sleep(RETRY).await;
                }
                // A watcher has no end of its own.
                None => return,
            }
        }
    });
    receive
}

/// 401: the credential counts no more.
fn is_refusal(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(cause)
    | watcher::Error::WatchStartFailed(cause)
    | watcher::Error::WatchFailed(cause)) = error
    else {
        return false;
    };
    matches!(cause, kube::Error::Api(status) if status.code == 401)
}

/// What is wanted of other nodes' objects, each kept up to date by a watch of its own.
pub(super) struct Others<T> {
    watched: BTreeMap<String, watch::Receiver<Option<T>>>,
}

impl<T: PartialEq + Clone + Send + Sync + 'static> Others<T> {
    /// Looks at nobody.
    pub(super) const fn none() -> Self {
        Self { watched: BTreeMap::new() }
    }

    /// Looks at these nodes and no others; a watch that stands goes on.
    pub(super) fn look_at<P>(&mut self, cluster: &Cluster, names: &[String], pick: P)
    where
        P: Fn(&NodePKI) -> T + Clone + Send + 'static,
    {
        self.watched.retain(|name, _| names.contains(name));
        for name in names {
            self.watched
                .entry(name.clone())
                .or_insert_with(|| follow(cluster.clone(), name.clone(), Until::Ended, pick.clone()));
        }
    }

    /// What is known now, by node.
    pub(super) fn seen(&mut self) -> BTreeMap<String, T> {
        let seen = self.watched.iter_mut();
        seen.filter_map(|(name, watch)| Some((name.clone(), watch.borrow_and_update().clone()?))).collect()
    }

    /// Returns when something is known that [`Self::seen`] has not shown yet.
    pub(super) async fn changed(&mut self) {
        let changes = self.watched.values_mut().map(|watch| {
            async move {
                // A watch that ended changes no more.
                if watch.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            .boxed()
        });
        // Of nobody there is no news.
        futures::future::select_all(changes.chain([std::future::pending().boxed()])).await;
    }
}

/// The node's folders, and for the host's agent also the lock: whoever opens that is the pod's agent, so the kubelet starts pods again.
pub(super) fn node_folders(root: &Path, lock: &Path, until: Until) -> Vec<(PathBuf, WatchMask)> {
    let mask =
        WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE | WatchMask::ATTRIB;
    let folders = FOLDERS.iter().map(|folder| (root.join(folder), mask));
    let lock = (until == Until::Settled).then(|| (lock.to_path_buf(), WatchMask::OPEN));
    folders.chain(lock).collect()
}

/// Fires when something in the folders was written, renamed or removed.
pub(super) fn follow_folders(
    folders: &[(PathBuf, WatchMask)],
) -> std::io::Result<impl Stream<Item = ()> + Unpin + use<>> {
    let inotify = Inotify::init()?;
    for (folder, mask) in folders {
        // A worker lacks some of them.
        if let Err(error) = inotify.watches().add(folder, *mask) {
            tracing::debug!(folder = %folder.display(), %error, "not watched");
        }
    }
    Ok(inotify.into_event_stream(vec![0; 4096])?.map(|_| ()))
}
