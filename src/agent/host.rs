//! What the pod's agent keeps on its host, so that the host can go on when no pod can: program, unit and token.

use std::path::Path;

use futures::StreamExt;
use inotify::WatchMask;
use tokio::task::AbortHandle;

use super::changes::follow_folders;
use crate::node::{Layout, Node, Program, in_full, install_unit, keep_token, remove_unit};

/// Where the pod's token is mounted; the kubelet renews it by a rename of `..data` in this folder (`pkg/volume/util/atomic_writer.go`).
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The agent's part of its host.
pub(super) struct Host {
    /// The node's name; `None` for the host's own agent, which writes nothing of this.
    settler: Option<String>,
    /// Copies the token whenever it changes.
    following: Option<AbortHandle>,
    left: bool,
}

impl Host {
    /// Of the host's own agent: what stands there was put there by the pod's.
    pub(super) const fn stranger() -> Self {
        Self { settler: None, following: None, left: false }
    }

    /// Puts program, unit and token on the host. What cannot be put there is said in the log: the agent itself can do without.
    pub(super) async fn settle_in(node: &Node, name: &str) -> Self {
        let mut host = Self { settler: Some(name.to_owned()), ..Self::stranger() };
        host.install(node).await;
        host
    }

    /// True when nothing of the agent is left on the host.
    pub(super) const fn left(&self) -> bool {
        self.left
    }

    /// Leaves the host, or comes back, as the object says.
    pub(super) async fn obey(&mut self, node: &Node, leave: bool) -> Result<(), String> {
        match (leave, self.left) {
            (true, false) => {
                if let Some(following) = self.following.take() {
                    following.abort();
                }
                remove_unit(node.layout()).map_err(|error| in_full(&error))?;
                reload(node).await;
                self.left = true;
            }
            (false, true) => {
                self.left = false;
                self.install(node).await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn install(&mut self, node: &Node) {
        let Some(name) = &self.settler else { return };
        let layout = node.layout();
        match Program::running().and_then(|program| install_unit(layout, name, &program)) {
            Ok(true) => reload(node).await,
            Ok(false) => {}
            Err(error) => tracing::warn!(error = in_full(&error), "{WITHOUT}"),
        }
        match follow_token(layout.clone()) {
            Ok(following) => self.following = Some(following),
            Err(error) => tracing::warn!(%error, "{WITHOUT}"),
        }
    }
}

/// What it means that something of this cannot be done.
const WITHOUT: &str = "without the host's agent a node that is left out of a rotation must be joined again";

/// A host without systemd has nobody who reads the unit.
async fn reload(node: &Node) {
    if let Err(error) = node.systemd().reload().await {
        tracing::warn!(error = in_full(&error), "{WITHOUT}");
    }
}

/// Copies the token now and at every change. The watch stands before the first copy, so that no change is missed.
fn follow_token(layout: Layout) -> std::io::Result<AbortHandle> {
    let mut changes = follow_folders(&[(MOUNT.into(), WatchMask::MOVED_TO)])?;
    let task = tokio::spawn(async move {
        loop {
            if let Err(problem) = copy_token(&layout) {
                tracing::warn!(problem, "the host's copy of the token is old");
            }
            if changes.next().await.is_none() {
                return;
            }
        }
    });
    Ok(task.abort_handle())
}

fn copy_token(layout: &Layout) -> Result<(), String> {
    let mounted = Path::new(MOUNT).join("token");
    let token =
        zeroize::Zeroizing::new(std::fs::read(&mounted).map_err(|error| format!("{}: {error}", mounted.display()))?);
    keep_token(layout, &token).map_err(|error| in_full(&error))
}
