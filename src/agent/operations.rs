//! What operations need from the cluster while they change the node.

use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;

use super::probing::throw_away;
use super::vouching::Asker;
use crate::cluster::{Cluster, ClusterError, csr, release_leader};
use crate::node::{Addresses, Authorities, BoxError, Callbacks, Layout, Mirror};
use crate::pki::CaId;
use crate::plan::{Component, Conf, Verdict};
use crate::probe;

/// Longest wait for a component that has just started to say that it is healthy.
const HEALTHY: Duration = Duration::from_secs(60);
/// Longest wait for kube-apiserver to notice a new ca.crt: at once as a rule, and every minute for certain
/// (`k8s.io/apiserver/pkg/server/dynamiccertificates`, `FileRefreshDuration`).
const RELOADED: Duration = Duration::from_secs(75);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Pause between two questions to a component that starts.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for a kubelet certificate through the CSR API: a change of the signing leader included.
const SIGNED: Duration = Duration::from_secs(60);

/// The cluster's part of an operation, for one node; new certificates shall live for `lifetime` seconds.
pub(super) fn callbacks(asker: Asker, authorities: &Authorities, lifetime: Option<i64>) -> Callbacks {
    let (cluster, node, layout) = (asker.cluster.clone(), asker.node.clone(), authorities.layout().clone());
    let (kubelet, started, authorities) = (layout.clone(), layout.clone(), authorities.clone());
    let (mirrored, on_node) = (layout.clone(), node.clone());
    Callbacks {
        component_gone: Box::new(move |component| release(cluster.clone(), component, node.clone()).boxed()),
        admitted: Box::new(move |ca| admitted(authorities.clone(), ca).boxed()),
        mirror: Box::new(move |component| mirror(mirrored.clone(), component, on_node.clone()).boxed()),
        component_ready: Box::new(move |component| ready(started.clone(), component).boxed()),
        sign_kubelet_client: Box::new(move |request| sign(layout.clone(), asker.clone(), request, lifetime).boxed()),
        sign_kubelet_serving: Box::new(move |request| sign_serving(kubelet.clone(), request, lifetime).boxed()),
    }
}

/// Lets a follower lead at once. It only makes things faster: a Lease that cannot be released runs out by itself.
pub(super) async fn release(cluster: Cluster, component: Component, node: String) {
    if let Err(error) = release_leader(&cluster, component.name(), &node).await {
        tracing::warn!(component = component.name(), %error, "its leader lease runs out by itself");
    }
}

/// Asks kube-apiserver with a throw-away client certificate of the CA until it is let in.
async fn admitted(authorities: Authorities, ca: CaId) -> Result<(), BoxError> {
    let client = throw_away(&authorities.authority(&ca)?, Timestamp::now())?;
    let address = Addresses::read(authorities.layout()).apiserver;
    let let_in = async {
        while client.verdict(&address, "/version", ANSWER).await != Verdict::Accepted {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let late = || format!("https://{address} did not let one in within {} s", RELOADED.as_secs());
    tokio::time::timeout(RELOADED, let_in).await.map_err(|_| late().into())
}

/// Connects with the kubelet's own certificate.
pub(super) async fn as_kubelet(layout: &Layout) -> Result<Cluster, ClusterError> {
    let (conf, credential) = (layout.conf(Conf::Kubelet), layout.kubelet_client());
    Cluster::as_kubelet(&conf, &credential, "agent, for the kubelet").await
}

/// Asked with the kubelet's own certificate, which may read the pods of its node.
pub(super) async fn mirror(layout: Layout, component: Component, node: String) -> Mirror {
    let kubelet = as_kubelet(&layout).await?;
    Ok(kubelet.mirrored(component.name(), &node).await?)
}

pub(super) async fn ready(layout: Layout, component: Component) -> Result<(), BoxError> {
    let addresses = Addresses::read(&layout);
    let (address, path) = match component {
        Component::KubeControllerManager => (addresses.controller_manager, "/healthz"),
        Component::KubeScheduler => (addresses.scheduler, "/healthz"),
        Component::KubeApiserver => (addresses.apiserver, "/readyz"),
        // etcd's health is asked in clear text by kubeadm's probes; nothing here restarts it yet.
        Component::Etcd => return Ok(()),
    };
    let healthy = async {
        while !matches!(probe::status(&address, probe::host(&address), path, ANSWER).await, Ok(200)) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let late = || format!("https://{address}{path} did not answer 200 within {} s", HEALTHY.as_secs());
    tokio::time::timeout(HEALTHY, healthy).await.map_err(|_| late().into())
}

/// Asks with the kubelet's own certificate: kube-controller-manager then approves by itself. Where that certificate counts no more, a
/// control-plane node may vouch for this one.
pub(super) async fn sign(
    layout: Layout,
    asker: Asker,
    request: String,
    lifetime: Option<i64>,
) -> Result<String, BoxError> {
    let kubelet = as_kubelet(&layout).await?;
    match csr::sign(&kubelet, &request, csr::KUBELET_CLIENT, false, lifetime, SIGNED).await {
        Err(error) if error.code() == Some(401) => asker.ask(request).await,
        signed => Ok(signed?),
    }
}

/// Asks with the kubelet's own certificate; the driver approves what it has brought about, kube-controller-manager approves none.
pub(super) async fn sign_serving(layout: Layout, request: String, lifetime: Option<i64>) -> Result<String, BoxError> {
    let kubelet = as_kubelet(&layout).await?;
    Ok(csr::sign(&kubelet, &request, csr::KUBELET_SERVING, false, lifetime, SIGNED).await?)
}
