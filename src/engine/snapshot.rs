//! The way back that no rotation should be without: a snapshot of etcd, before anything is changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::driver::Driver;
use super::observe::reports;
use crate::api::Snapshot;
use crate::error::Error;
use crate::rotation::{EventKind, Inventory, NodeHealth};

impl Driver {
    /// Has one control-plane node save a snapshot of its etcd, and waits for it.
    ///
    /// # Errors
    /// Kind Refused when there is none in the end; nothing was changed.
    pub(super) async fn save_etcd(
        &mut self,
        look: &Inventory,
        health: &BTreeMap<String, NodeHealth>,
    ) -> Result<(), Error> {
        let healthy = |name: &str| health.get(name).is_some_and(|health| health.etcd_healthy == Some(true));
        let Some((node, _)) = look.control_plane(&self.goal).find(|(name, node)| node.responding && healthy(name))
        else {
            let message = "no control-plane node runs etcd: save a snapshot of it yourself".into();
            self.emit(EventKind::Warning { message });
            return Ok(());
        };
        let rotation = self.record.rotation_name();
        // Of this moment: an older snapshot does not answer it.
        let request = format!("{rotation} at {}", Timestamp::now());
        self.cluster.patch_node_spec(node, json!({ "snapshot": request, "rotation": rotation })).await?;
        let answer = self.snapshot(node, &request).await;
        // The next spec takes the request back if this cannot.
        if let Err(error) = self.cluster.patch_node_spec(node, json!({ "snapshot": null })).await {
            tracing::debug!(%error, "the request for a snapshot stays");
        }
        match answer {
            Some(Snapshot { problem: None, path, bytes, revision, sha256, .. }) => {
                self.emit(EventKind::SnapshotSaved { node: node.to_owned(), path, bytes, revision, sha256 });
                Ok(())
            }
            answer => {
                let problem = answer
                    .and_then(|answer| answer.problem)
                    .unwrap_or_else(|| "its agent did not answer in time".into());
                Err(Error::refused("no snapshot of etcd could be saved; nothing was changed")
                    .caused_by(format!("node/{node}: {problem}"))
                    .hint("mend it, or do without a snapshot: --no-etcd-snapshot"))
            }
        }
    }

    /// The answer of the node's agent; `None` when there is none in time.
    async fn snapshot(&self, node: &str, request: &str) -> Option<Snapshot> {
        let answer = || {
            let snapshot = reports(&self.live).get(node)?.status.as_ref()?.snapshot.clone()?;
            (snapshot.request == request).then_some(snapshot)
        };
        let answered = async {
            loop {
                if let Some(answer) = answer() {
                    return answer;
                }
                self.wake().await;
            }
        };
        if self.settings.timeout.is_zero() {
            return Some(answered.await);
        }
        tokio::time::timeout(self.settings.timeout, answered).await.ok()
    }
}
