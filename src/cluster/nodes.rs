//! Node objects: readiness and addresses; the old containers on them; and namespaces.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::Api;

use super::client::Cluster;
pub use super::containers::OldContainer;
use super::error::ClusterError;
use super::pages::pages;

/// Every Node.
///
/// # Errors
/// The call failed.
pub async fn list(cluster: &Cluster) -> Result<Vec<Node>, ClusterError> {
    pages(&Api::<Node>::all(cluster.client.clone()), "nodes", |node| vec![node]).await
}

/// Every namespace that is there to stay, by name.
///
/// # Errors
/// The call failed.
pub async fn namespaces(cluster: &Cluster) -> Result<Vec<String>, ClusterError> {
    let api = Api::<Namespace>::all(cluster.client.clone());
    let stays = |namespace: &Namespace| namespace.metadata.deletion_timestamp.is_none();
    pages(&api, "namespaces", |namespace| {
        Some(namespace).filter(stays).and_then(|it| it.metadata.name).into_iter().collect()
    })
    .await
}

/// When each kubelet last said that it lives (`kube-node-lease`, every ten seconds), by the Node's name. A Node's conditions say so only
/// after a minute.
///
/// # Errors
/// The call failed.
pub async fn heartbeats(cluster: &Cluster) -> Result<Vec<(String, Timestamp)>, ClusterError> {
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-node-lease");
    let beat = |lease: Lease| Some((lease.metadata.name?, lease.spec?.renew_time?.0));
    pages(&api, "the leases of nodes", |lease| beat(lease).into_iter().collect()).await
}

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

/// The InternalIP, by which API servers reach kubelets. A kubelet may write anything there: what is no IP address is none.
#[must_use]
pub fn internal_ip(node: &Node) -> Option<String> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let mut internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
    internal.find_map(|address| address.address.parse::<std::net::IpAddr>().ok()).map(|address| address.to_string())
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
