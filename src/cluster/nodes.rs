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

/// How old a kubelet's word may be, seconds, and twice that: it repeats it every five minutes (`nodeStatusReportFrequency`). What seems older
/// than that comes from a clock that was set back since the kubelet started.
const OLDEST: i64 = 600;

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
    ready_since(node, None)
}

/// The Ready condition as the kubelet says it that was `started` then, seconds since the Unix epoch. One that has just been restarted often
/// says first that it is not Ready; until then the word of the one before it stands there. It says something at once, whatever has changed
/// (`pkg/kubelet/kubelet_node_status.go`, `tryUpdateNodeStatus`), and both times are by the node's clock.
#[must_use]
pub fn ready_since(node: &Node, started: Option<i64>) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        let said = condition.last_heartbeat_time.as_ref().map(|time| time.0.as_second());
        let age = started.zip(said).map_or(0, |(started, said)| started.saturating_sub(said));
        condition.type_ == "Ready" && condition.status == "True" && !(1..OLDEST).contains(&age)
    })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_word_of_the_kubelet_before_does_not_count() {
        let node = |status: &str| {
            let condition = json!({"type": "Ready", "status": status, "lastHeartbeatTime": "2026-11-26T17:00:00Z"});
            serde_json::from_value::<Node>(json!({"status": {"conditions": [condition]}})).unwrap()
        };
        let said = "2026-11-26T17:00:00Z".parse::<Timestamp>().unwrap().as_second();
        for (status, started, ready) in [
            ("True", None, true),
            ("True", Some(said - 3600), true),
            // The same second: it is not said twice.
            ("True", Some(said), true),
            ("True", Some(said + 1), false),
            ("True", Some(said + 299), false),
            // The clock was set back: by this measure it would not be Ready for an hour.
            ("True", Some(said + 3600), true),
            ("False", Some(said - 1), false),
            ("Unknown", None, false),
        ] {
            assert_eq!(ready_since(&node(status), started), ready, "{status}, {started:?}");
        }
    }
}
