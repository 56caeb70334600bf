//! A picture of the cluster that keeps itself up to date: watches, no polling.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::client::Cluster;
use super::csr;
use super::error::ClusterError;
use crate::api::{ClusterPKI, NodePKI};

/// Stores filled by watches. `changed` fires after every event; dropping the picture ends the watches.
pub struct Live {
    /// Every NodePKI.
    pub node_pkis: Store<NodePKI>,
    /// The ClusterPKI.
    pub cluster_pkis: Store<ClusterPKI>,
    /// Every Node.
    pub nodes: Store<Node>,
    /// `kube-root-ca.crt` of every namespace.
    pub root_cas: Store<ConfigMap>,
    /// ConfigMaps of `kube-system` (extension-apiserver-authentication, kubeadm-config).
    pub kube_system: Store<ConfigMap>,
    /// ConfigMaps of `kube-public` (cluster-info).
    pub kube_public: Store<ConfigMap>,
    /// Leases of `kube-system`.
    pub leases: Store<Lease>,
    /// Requests for kubelets' serving certificates; only for a driver, else empty.
    pub serving_requests: Option<Store<CertificateSigningRequest>>,
    /// Fires after every event.
    pub changed: Arc<Notify>,
    picture: Picture,
}

impl Live {
    /// Starts the watches and waits until each has listed once.
    ///
    /// # Errors
    /// A list failed (for example: the CRDs are not installed).
    pub async fn start(cluster: &Cluster) -> Result<Self, ClusterError> {
        let client = &cluster.client;
        let mut picture = Picture::default();
        let any = watcher::Config::default;
        let named = |name: &str| any().fields(&format!("metadata.name={name}"));
        let live = Self {
            node_pkis: picture.follow(Api::all(client.clone()), any()),
            cluster_pkis: picture.follow(Api::all(client.clone()), any()),
            nodes: picture.follow(Api::all(client.clone()), any()),
            root_cas: picture.follow(Api::all(client.clone()), named("kube-root-ca.crt")),
            kube_system: picture.follow(namespaced(cluster, "kube-system"), any()),
            kube_public: picture.follow(namespaced(cluster, "kube-public"), any()),
            leases: picture.follow(namespaced(cluster, "kube-system"), named("kube-controller-manager")),
            serving_requests: None,
            changed: Arc::clone(&picture.changed),
            picture,
        };
        live.ready(cluster).await?;
        Ok(live)
    }

    /// As [`Self::start`], with the requests for kubelets' serving certificates, which only a driver answers. They are not waited for:
    /// most clusters have none.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_driving(cluster: &Cluster) -> Result<Self, ClusterError> {
        let mut live = Self::start(cluster).await?;
        let only = watcher::Config::default().fields(&format!("spec.signerName={}", csr::KUBELET_SERVING));
        let api = Api::all(cluster.client.clone());
        live.serving_requests = Some(live.picture.follow(api, only));
        Ok(live)
    }

    async fn ready(&self, cluster: &Cluster) -> Result<(), ClusterError> {
        // A watch retries for ever; a plain list first tells what is wrong.
        let params = kube::api::ListParams::default().limit(1);
        let api: Api<NodePKI> = Api::all(cluster.client.clone());
        api.list(&params).await.map_err(ClusterError::call("list", "nodepkis.pki.certctl.dev"))?;
        let gone = |_| ClusterError::content("watch", "ended before its first list");
        self.node_pkis.wait_until_ready().await.map_err(gone)?;
        self.cluster_pkis.wait_until_ready().await.map_err(gone)?;
        self.nodes.wait_until_ready().await.map_err(gone)?;
        self.root_cas.wait_until_ready().await.map_err(gone)?;
        self.kube_system.wait_until_ready().await.map_err(gone)?;
        self.kube_public.wait_until_ready().await.map_err(gone)?;
        self.leases.wait_until_ready().await.map_err(gone)
    }

    /// True once a watch was answered with 401: the credential counts no more, and nothing new will be seen with it.
    #[must_use]
    pub fn unauthorized(&self) -> bool {
        self.picture.unauthorized.load(Ordering::SeqCst)
    }

    /// The ClusterPKI object, if there is one.
    #[must_use]
    pub fn cluster_pki(&self) -> Option<Arc<ClusterPKI>> {
        self.cluster_pkis
            .state()
            .into_iter()
            .find(|object| object.metadata.name.as_deref() == Some(crate::api::CLUSTER_PKI))
    }
}

fn namespaced<K>(cluster: &Cluster, namespace: &str) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Api::namespaced(cluster.client.clone(), namespace)
}

/// What the watches of one picture share.
#[derive(Default)]
struct Picture {
    changed: Arc<Notify>,
    unauthorized: Arc<AtomicBool>,
    watches: JoinSet<()>,
}

impl Picture {
    /// One watch into one store, with relist on 410 and back-off, as kube's watcher does.
    fn follow<K>(&mut self, api: Api<K>, config: watcher::Config) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
    {
        let (store, writer) = reflector::store();
        let (changed, unauthorized) = (Arc::clone(&self.changed), Arc::clone(&self.unauthorized));
        self.watches.spawn(async move {
            let mut events = std::pin::pin!(reflector::reflector(writer, watcher(api, config).default_backoff()));
            while let Some(event) = events.next().await {
                if let Err(error) = event {
                    tracing::debug!(%error, "watch");
                    unauthorized.fetch_or(is_unauthorized(&error), Ordering::SeqCst);
                }
                changed.notify_waiters();
                changed.notify_one();
            }
        });
        store
    }
}

fn is_unauthorized(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status)) => status.code == 401,
        WatchError(status) => status.code == 401,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use serde_json::json;

    use super::super::played::{Answer, cluster};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_refused_later_on_is_noticed() {
        let dropped = Arc::new(AtomicBool::new(false));
        let refuses = Arc::clone(&dropped);
        let connection = cluster(move |call| match call.path.contains("watch=") {
            true if refuses.load(Ordering::SeqCst) => Answer::Failure(401, "Unauthorized"),
            // The watch ends by itself now and then.
            true => Answer::Failure(504, "Timeout"),
            false => Answer::Object(json!({
                "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "1" }, "items": [],
            })),
        });
        let live = Live::start(&connection).await.unwrap();
        live.changed.notified().await;
        assert!(!live.unauthorized());
        dropped.store(true, Ordering::SeqCst);
        while !live.unauthorized() {
            live.changed.notified().await;
        }
    }
}
