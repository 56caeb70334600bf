//! A picture of the cluster that keeps itself up to date: watches, no polling.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

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
    watches: JoinSet<()>,
}

impl Live {
    /// Starts the watches and waits until each has listed once.
    ///
    /// # Errors
    /// A list failed (for example: the CRDs are not installed).
    pub async fn start(cluster: &Cluster) -> Result<Self, ClusterError> {
        let client = &cluster.client;
        let changed = Arc::new(Notify::new());
        let mut watches = JoinSet::new();
        let any = watcher::Config::default;
        let named = |name: &str| any().fields(&format!("metadata.name={name}"));
        let live = Self {
            node_pkis: follow(Api::all(client.clone()), any(), &changed, &mut watches),
            cluster_pkis: follow(Api::all(client.clone()), any(), &changed, &mut watches),
            nodes: follow(Api::all(client.clone()), any(), &changed, &mut watches),
            root_cas: follow(Api::all(client.clone()), named("kube-root-ca.crt"), &changed, &mut watches),
            kube_system: follow(namespaced(cluster, "kube-system"), any(), &changed, &mut watches),
            kube_public: follow(namespaced(cluster, "kube-public"), any(), &changed, &mut watches),
            leases: follow(
                namespaced(cluster, "kube-system"),
                named("kube-controller-manager"),
                &changed,
                &mut watches,
            ),
            serving_requests: None,
            changed,
            watches,
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
        live.serving_requests = Some(follow(api, only, &live.changed, &mut live.watches));
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

/// One watch into one store, with relist on 410 and back-off, as kube's watcher does.
fn follow<K>(api: Api<K>, config: watcher::Config, changed: &Arc<Notify>, watches: &mut JoinSet<()>) -> Store<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
{
    let (store, writer) = reflector::store();
    let changed = Arc::clone(changed);
    watches.spawn(async move {
        let mut events = std::pin::pin!(reflector::reflector(writer, watcher(api, config).default_backoff()));
        while let Some(event) = events.next().await {
            if let Err(error) = event {
                tracing::debug!(%error, "watch");
            }
            changed.notify_waiters();
            changed.notify_one();
        }
    });
    store
}
