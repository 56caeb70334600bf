//! Node objects: readiness and addresses.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};

use super::client::Cluster;
use super::error::ClusterError;

/// The Ready condition.
#[must_use]
pub fn ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// kubeadm's role label; NodeRestriction keeps kubelets from setting it.
#[must_use]
pub fn is_control_plane(node: &Node) -> bool {
    node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("node-role.kubernetes.io/control-plane"))
}

/// The InternalIP, by which API servers reach kubelets.
#[must_use]
pub fn internal_ip(node: &Node) -> Option<String> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|address| address.type_ == "InternalIP").map(|address| address.address.clone())
}

/// Every address of the Node: host name, IP addresses and DNS names, as its kubelet asks for them in its serving certificate
/// (`pkg/kubelet/certificate/kubelet.go`, `addressesToHostnamesAndIPs`).
#[must_use]
pub fn addresses(node: &Node) -> Vec<String> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    addresses.into_iter().flatten().map(|address| address.address.clone()).collect()
}

/// The kubelet's port.
#[must_use]
pub fn kubelet_port(node: &Node) -> i32 {
    let endpoints = node.status.as_ref().and_then(|status| status.daemon_endpoints.as_ref());
    endpoints.and_then(|endpoints| endpoints.kubelet_endpoint.as_ref()).map_or(10250, |endpoint| endpoint.port)
}

/// A container that has been running since before a time.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OldContainer {
    /// `namespace/pod`.
    pub pod: String,
    /// Container name.
    pub container: String,
    /// Node.
    pub node: String,
    /// RFC 3339.
    pub started: String,
}

impl Cluster {
    /// Every Node.
    ///
    /// # Errors
    /// The list failed.
    pub async fn nodes(&self) -> Result<Vec<Node>, ClusterError> {
        let api: Api<Node> = Api::all(self.client.clone());
        Ok(api.list(&ListParams::default()).await.map_err(ClusterError::call("list", "nodes"))?.items)
    }

    /// Running containers that were started before `time` and use a service account: their processes may have read the CA then.
    ///
    /// # Errors
    /// The list failed.
    pub async fn containers_older_than(&self, time: jiff::Timestamp) -> Result<Vec<OldContainer>, ClusterError> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let pods = api.list(&ListParams::default()).await.map_err(ClusterError::call("list", "pods"))?;
        let mut old = Vec::new();
        for pod in pods.items.iter().filter(|pod| mounts_the_ca(pod)) {
            let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            for status in statuses.into_iter().flatten() {
                let running = status
                    .state
                    .as_ref()
                    .and_then(|state| state.running.as_ref())
                    .and_then(|running| running.started_at.as_ref());
                let Some(started) = running.filter(|started| started.0 < time) else { continue };
                let metadata = &pod.metadata;
                old.push(OldContainer {
                    pod: format!(
                        "{}/{}",
                        metadata.namespace.as_deref().unwrap_or_default(),
                        metadata.name.as_deref().unwrap_or_default()
                    ),
                    container: status.name.clone(),
                    node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
                    started: started.0.to_string(),
                });
            }
        }
        old.sort_by(|left, right| (&left.pod, &left.container).cmp(&(&right.pod, &right.container)));
        Ok(old)
    }
}

/// A pod reads the cluster CA through a projected kube-root-ca.crt, or any other mount of that ConfigMap.
fn mounts_the_ca(pod: &Pod) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    volumes.into_iter().flatten().any(|volume| {
        let projected = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
        let sources = projected.into_iter().flatten().filter_map(|source| source.config_map.as_ref());
        let mut names =
            sources.map(|map| map.name.as_str()).chain(volume.config_map.as_ref().map(|map| map.name.as_str()));
        names.any(|name| name == "kube-root-ca.crt")
    })
}
