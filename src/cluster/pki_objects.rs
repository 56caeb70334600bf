//! NodePKI and ClusterPKI: the driver writes specs, the agent its status.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::client::Cluster;
use super::error::ClusterError;
use super::live::Live;
use super::nodes;
use super::pages::pages;
use crate::api::{CLUSTER_PKI, ClusterPKI, ClusterPkiSpec, ClusterPkiStatus, NodePKI, NodePkiSpec, NodePkiStatus};

/// Field manager of everything the driver writes.
pub(super) const DRIVER: &str = "certctl";
/// Field manager of the agents.
pub(super) const AGENT: &str = "certctl-agent";

/// Calls under way at the same time: a small part of what an API server takes (`--max-mutating-requests-inflight`, 200).
const AT_ONCE: usize = 32;

impl Cluster {
    /// The API of NodePKIs, for a watch of one's own.
    #[must_use]
    pub fn node_pki_api(&self) -> Api<NodePKI> {
        Api::all(self.client.clone())
    }

    /// One node's object, if there is one.
    ///
    /// # Errors
    /// The call failed.
    pub async fn node_pki(&self, node: &str) -> Result<Option<NodePKI>, ClusterError> {
        self.node_pki_api().get_opt(node).await.map_err(ClusterError::call("read", format!("nodepki/{node}")))
    }

    /// Every NodePKI.
    ///
    /// # Errors
    /// The list failed, for example because the CRDs are not installed.
    pub async fn node_pkis(&self) -> Result<Vec<NodePKI>, ClusterError> {
        let api: Api<NodePKI> = Api::all(self.client.clone());
        pages(&api, "nodepkis.pki.certctl.dev", |object| vec![object]).await
    }

    /// Waits until every node's agent of this version reports, and says how many they are.
    ///
    /// # Errors
    /// A failed watch, or the nodes whose agents have not reported in time.
    pub async fn agents_report(&self, version: &str, timeout: Duration) -> Result<usize, ClusterError> {
        let live = Live::start(self).await?;
        let missing = || {
            let reported: BTreeSet<String> = live
                .node_pkis
                .state()
                .iter()
                .filter(|object| object.status.as_ref().is_some_and(|status| status.agent_version == version))
                .filter_map(|object| object.metadata.name.clone())
                .collect();
            let nodes = live.nodes.state();
            nodes
                .iter()
                .filter_map(|node| node.metadata.name.clone())
                .filter(|name| !reported.contains(name))
                .collect::<Vec<_>>()
        };
        let all = async {
            while !missing().is_empty() {
                live.changed.notified().await;
            }
        };
        match tokio::time::timeout(timeout, all).await {
            Ok(()) => Ok(live.nodes.state().len()),
            Err(_) => {
                let problem = format!("no report within {} s from {}", timeout.as_secs(), missing().join(", "));
                Err(ClusterError::content("daemonset/certctl-system/certctl-agent", problem))
            }
        }
    }

    /// Asks every agent to take what it keeps on its host away, or to put it there again.
    ///
    /// # Errors
    /// A call failed.
    pub async fn ask_to_leave(&self, leave: bool) -> Result<(), ClusterError> {
        let other = self.node_pkis().await?.into_iter().filter(|object| object.spec.leave != leave);
        let names: Vec<String> = other.filter_map(|object| object.metadata.name).collect();
        let writes = names.iter().map(|name| self.patch_node_spec(name, json!({ "leave": leave })));
        futures::future::try_join_all(writes).await.map(drop)
    }

    /// Waits until every agent on a Ready node has left its host, and names the nodes where something may be left.
    ///
    /// # Errors
    /// A failed watch.
    pub async fn agents_left(&self, timeout: Duration) -> Result<Vec<String>, ClusterError> {
        let live = Live::start(self).await?;
        let stay = |only_ready: bool| {
            let here: BTreeSet<String> = live
                .node_pkis
                .state()
                .iter()
                .filter(|object| object.status.as_ref().is_some_and(|status| !status.left))
                .filter_map(|object| object.metadata.name.clone())
                .collect();
            let nodes = live.nodes.state();
            let asked = nodes.iter().filter(|node| !only_ready || nodes::ready(node));
            asked.filter_map(|node| node.metadata.name.clone()).filter(|name| here.contains(name)).collect::<Vec<_>>()
        };
        let all = async {
            // Nobody waits for a node that cannot answer.
            while !stay(true).is_empty() {
                live.changed.notified().await;
            }
        };
        drop(tokio::time::timeout(timeout, all).await);
        Ok(stay(false))
    }

    /// Sets fields of one node's spec (JSON merge patch: `null` takes a field out).
    ///
    /// # Errors
    /// The call failed.
    pub async fn patch_node_spec(&self, node: &str, spec: serde_json::Value) -> Result<NodePKI, ClusterError> {
        let api: Api<NodePKI> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({ "spec": spec }));
        let params = PatchParams { field_manager: Some(DRIVER.into()), ..PatchParams::default() };
        api.patch(node, &params, &patch).await.map_err(ClusterError::call("write", format!("nodepki/{node}")))
    }

    /// Sets fields of many nodes' specs, as [`Self::patch_node_spec`] does of one, a bounded number at a time. Every one is tried.
    ///
    /// # Errors
    /// Every call that failed.
    pub async fn patch_node_specs(
        &self,
        specs: impl IntoIterator<Item = (String, serde_json::Value)>,
    ) -> Result<(), ClusterError> {
        let patches = specs.into_iter().map(|(node, spec)| async move { self.patch_node_spec(&node, spec).await });
        let outcomes: Vec<_> = futures::stream::iter(patches).buffer_unordered(AT_ONCE).collect().await;
        let of = outcomes.len();
        let mut failed: Vec<ClusterError> = outcomes.into_iter().filter_map(Result::err).collect();
        match failed.len() {
            0 => Ok(()),
            1 => Err(failed.remove(0)),
            _ => Err(ClusterError::Several { failed, of }),
        }
    }

    /// Creates the node's object if it is not there, and writes its status. Only the node's own agent may.
    ///
    /// # Errors
    /// The call failed.
    pub async fn report(&self, node: &str, status: &NodePkiStatus) -> Result<NodePKI, ClusterError> {
        let api: Api<NodePKI> = Api::all(self.client.clone());
        let object = || format!("nodepki/{node}");
        let patch = whole_status(status).map_err(|error| ClusterError::content(object(), error))?;
        let params = PatchParams { field_manager: Some(AGENT.into()), ..PatchParams::default() };
        match api.patch_status(node, &params, &patch).await {
            Err(kube::Error::Api(error)) if error.code == 404 => {
                api.create(&PostParams::default(), &NodePKI::new(node, NodePkiSpec::default()))
                    .await
                    .map_err(ClusterError::call("create", object()))?;
                api.patch_status(node, &params, &patch)
                    .await
                    .map_err(ClusterError::call("write the status of", object()))
            }
            other => other.map_err(ClusterError::call("write the status of", object())),
        }
    }

    /// The ClusterPKI, if there is one.
    ///
    /// # Errors
    /// The call failed, for example because the CRDs are not installed.
    pub async fn cluster_pki(&self) -> Result<Option<ClusterPKI>, ClusterError> {
        let api: Api<ClusterPKI> = Api::all(self.client.clone());
        api.get_opt(CLUSTER_PKI).await.map_err(ClusterError::call("read", "clusterpki/cluster"))
    }

    /// Writes the ClusterPKI's spec, creating the object if need be. The API server refuses a second rotation (CEL rule of the CRD).
    ///
    /// # Errors
    /// The call failed; code 422 is the refusal.
    pub async fn write_cluster_spec(&self, spec: &ClusterPkiSpec) -> Result<ClusterPKI, ClusterError> {
        self.apply_cluster_spec(spec, false).await
    }

    /// Asks the API server whether it would take this spec. Nothing is written.
    ///
    /// # Errors
    /// As [`Self::write_cluster_spec`].
    pub async fn try_cluster_spec(&self, spec: &ClusterPkiSpec) -> Result<(), ClusterError> {
        self.apply_cluster_spec(spec, true).await.map(drop)
    }

    async fn apply_cluster_spec(&self, spec: &ClusterPkiSpec, dry_run: bool) -> Result<ClusterPKI, ClusterError> {
        let api: Api<ClusterPKI> = Api::all(self.client.clone());
        let object = ClusterPKI::new(CLUSTER_PKI, spec.clone());
        let params = PatchParams { field_manager: Some(DRIVER.into()), force: true, dry_run, ..PatchParams::default() };
        api.patch(CLUSTER_PKI, &params, &Patch::Apply(&object))
            .await
            .map_err(ClusterError::call("write", "clusterpki/cluster"))
    }

    /// Writes the ClusterPKI's status.
    ///
    /// # Errors
    /// The call failed.
    pub async fn write_cluster_status(&self, status: &ClusterPkiStatus) -> Result<ClusterPKI, ClusterError> {
        let api: Api<ClusterPKI> = Api::all(self.client.clone());
        let patch = whole_status(status).map_err(|error| ClusterError::content("clusterpki/cluster", error))?;
        let params = PatchParams { field_manager: Some(DRIVER.into()), ..PatchParams::default() };
        api.patch_status(CLUSTER_PKI, &params, &patch)
            .await
            .map_err(ClusterError::call("write the status of", "clusterpki/cluster"))
    }
}

/// Puts a status in the place of the one that is there. A merge patch would leave every entry of a map that is no longer
/// in it: what an endpoint answered before another node was told to ask it, for example.
fn whole_status(status: &impl serde::Serialize) -> serde_json::Result<Patch<()>> {
    // `add` replaces what is there (RFC 6902, 4.1) and needs nothing to be there.
    let edits = json!([{ "op": "add", "path": "/status", "value": status }]);
    serde_json::from_value(edits).map(Patch::Json)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::super::played::{Answer, cluster};
    use super::*;

    fn specs(count: usize) -> Vec<(String, serde_json::Value)> {
        (0..count).map(|index| (format!("w-{index}"), json!({ "ping": "now" }))).collect()
    }

    #[tokio::test]
    async fn every_node_is_written_although_some_cannot_be_and_each_failure_is_named() {
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = Arc::clone(&asked);
        let connection = cluster(move |call| {
            let node = call.path.split(['/', '?']).find(|part| part.starts_with("w-")).unwrap_or_default().to_owned();
            let refused = node == "w-1" || node == "w-3";
            seen.lock().unwrap().insert(node.clone());
            let object = serde_json::to_value(NodePKI::new(&node, NodePkiSpec::default())).unwrap();
            if refused { Answer::Failure(500, "etcd has no leader") } else { Answer::Object(object) }
        });
        let error = connection.patch_node_specs(specs(6)).await.unwrap_err();
        assert_eq!(asked.lock().unwrap().len(), 6);
        assert!(error.code() == Some(500) && error.is_passing());
        let text = error.to_string();
        assert!(text.starts_with("2 of 6 calls failed") && text.contains("w-1:") && text.contains("w-3:"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_are_under_way_than_an_api_server_bears() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let silent = cluster(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Answer::Silence
        });
        let writes = silent.patch_node_specs(specs(100));
        assert!(tokio::time::timeout(Duration::from_secs(1), writes).await.is_err());
        assert_eq!(calls.load(Ordering::SeqCst), AT_ONCE);
    }
}
