//! What only a beginning needs to know: objects that nothing watches, read once.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::cluster::{Cluster, Live, kubeadm};
use crate::error::Error;
use crate::rotation::{ClusterHealth, EventKind};

use super::driver::Driver;

/// Asks for what a preflight wants to know of the cluster's objects. `broken_bundles` came with the caBundles.
pub(super) async fn survey(
    cluster: &Cluster,
    live: &Live,
    broken_bundles: BTreeMap<String, String>,
) -> Result<ClusterHealth, Error> {
    let maps = live.kube_system.state();
    let map = maps.iter().find(|map| map.metadata.name.as_deref() == Some("kubeadm-config"));
    let uploaded = cluster.uploaded_certificates().await?;
    Ok(ClusterHealth {
        kubeadm: map.and_then(|map| kubeadm::record(map)),
        api_servers: cluster.api_server_tags().await?,
        uploaded_age: uploaded.map(|uploaded| Timestamp::now().as_second() - uploaded.at.as_second()),
        broken_bundles,
    })
}

impl Driver {
    /// Deletes what `kubeadm init phase upload-certs` left: a control-plane node that joins with the key of a CA that is in force no more
    /// would bring it back. What was uploaded during the rotation may be either CA's: nobody can see which.
    pub(super) async fn drop_uploaded(&self) {
        const WHAT: &str = "secret/kube-system/kubeadm-certs";
        const WHY: &str = "it may hold the key of the CA that is in force no more";
        const AGAIN: &str =
            "to join a control-plane node, upload anew: `kubeadm init phase upload-certs --upload-certs`";
        let outcome = async {
            let Some(uploaded) = self.cluster.uploaded_certificates().await? else { return Ok(false) };
            self.cluster.delete_uploaded_certificates(&uploaded).await.map(|()| true)
        };
        let message = match outcome.await {
            Ok(false) => return,
            Ok(true) => format!("{WHAT} was deleted: {WHY}; {AGAIN}"),
            // The rotation is complete without it.
            Err(error) => format!("{error}; delete {WHAT} yourself: {WHY}; {AGAIN}"),
        };
        self.emit(EventKind::Warning { message });
    }
}
