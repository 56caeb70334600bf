//! NodePKI and ClusterPKI: the driver writes specs, the agent its status.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::client::Cluster;
use super::error::ClusterError;
use super::live::Live;
use super::nodes;
use crate::api::{CLUSTER_PKI, ClusterPKI, ClusterPkiSpec, ClusterPkiStatus, NodePKI, NodePkiSpec, NodePkiStatus};

/// Field manager of everything the driver writes.
pub(super) const DRIVER: &str = "certctl";
/// Field manager of the agents.
pub(super) const AGENT: &str = "certctl-agent";

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
        Ok(api
            .list(&kube::api::ListParams::default())
            .await
            .map_err(ClusterError::call("list", "nodepkis.pki.certctl.dev"))?
            .items)
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
        let api: Api<ClusterPKI> = Api::all(self.client.clone());
        let object = ClusterPKI::new(CLUSTER_PKI, spec.clone());
        let params = PatchParams { field_manager: Some(DRIVER.into()), force: true, ..PatchParams::default() };
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
