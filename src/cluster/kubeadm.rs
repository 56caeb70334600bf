//! What kubeadm keeps in the cluster besides the CA: its record of the version, the static pods that it made, uploaded certificates.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use kube::core::PartialObjectMeta;
use serde_json::Value;

use super::client::Cluster;
use super::error::ClusterError;
use super::trust::CLUSTER_CONFIGURATION;
use crate::pki::read_yaml;
use crate::rotation::KubeadmRecord;

/// The CA keys that `kubeadm init phase upload-certs` hands to joining control-plane nodes, encrypted
/// (`cmd/kubeadm/app/phases/copycerts`).
const UPLOADED: &str = "kubeadm-certs";

/// kubeadm's ClusterConfiguration; `None` without one. What cannot be read is empty.
#[must_use]
pub fn record(map: &ConfigMap) -> Option<KubeadmRecord> {
    let text = map.data.as_ref()?.get(CLUSTER_CONFIGURATION)?;
    let config = read_yaml(text).unwrap_or_default();
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(KubeadmRecord { api_version: text("apiVersion"), kubernetes_version: text("kubernetesVersion") })
}

/// Certificates that were uploaded for a join.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// When they were uploaded last: an upload into the Secret that is there keeps its time of creation.
    pub at: Timestamp,
    uid: Option<String>,
}

impl Cluster {
    /// Tag of kube-apiserver's image by node, as kubeadm itself asks for it (`cmd/kubeadm/app/phases/upgrade/versiongetter.go`). A node
    /// whose image has no tag is left out.
    ///
    /// # Errors
    /// The list failed.
    pub async fn api_server_tags(&self) -> Result<BTreeMap<String, String>, ClusterError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "kube-system");
        let params = ListParams::default().labels("component=kube-apiserver,tier=control-plane");
        let pods = api.list(&params).await.map_err(ClusterError::call("list", "pods of kube-system"))?;
        let tags = pods.items.into_iter().filter_map(|pod| {
            let spec = pod.spec?;
            Some((spec.node_name?, tag(spec.containers.first()?.image.as_deref()?)?.to_owned()))
        });
        Ok(tags.collect())
    }

    /// The uploaded certificates, if there are any. Their content is not read.
    ///
    /// # Errors
    /// The call failed.
    pub async fn uploaded_certificates(&self) -> Result<Option<Uploaded>, ClusterError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), "kube-system");
        let found: Option<PartialObjectMeta<Secret>> =
            api.get_metadata_opt(UPLOADED).await.map_err(ClusterError::call("read", object()))?;
        Ok(found.map(|found| {
            let writes = found.metadata.managed_fields.into_iter().flatten().filter_map(|entry| Some(entry.time?.0));
            let created = found.metadata.creation_timestamp.map(|time| time.0);
            Uploaded { at: writes.max().or(created).unwrap_or_default(), uid: found.metadata.uid }
        }))
    }

    /// Deletes them, unless others have taken their place by now. What is gone already is no error.
    ///
    /// # Errors
    /// The call failed.
    pub async fn delete_uploaded_certificates(&self, uploaded: &Uploaded) -> Result<(), ClusterError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), "kube-system");
        let only_those = Preconditions { uid: uploaded.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(only_those), ..DeleteParams::default() };
        match api.delete(UPLOADED, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            other => other.map(drop).map_err(ClusterError::call("delete", object())),
        }
    }
}

fn object() -> String {
    format!("secret/kube-system/{UPLOADED}")
}

/// The tag of an image: what follows the last colon, when that is not the registry's port.
fn tag(image: &str) -> Option<&str> {
    let (name, _) = image.split_once('@').unwrap_or((image, ""));
    name.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_an_image_is_neither_a_port_nor_a_digest() {
        assert_eq!(tag("registry.example:5000/kube-apiserver:v1.36.3"), Some("v1.36.3"));
        assert_eq!(tag("registry.example:5000/kube-apiserver"), None);
        assert_eq!(tag("kube-apiserver:v1.36.3@sha256:00"), Some("v1.36.3"));
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_there_and_says_nothing() {
        let map = |text: &str| {
            let data = BTreeMap::from([(CLUSTER_CONFIGURATION.to_owned(), text.to_owned())]);
            ConfigMap { data: Some(data), ..ConfigMap::default() }
        };
        let good = record(&map("apiVersion: kubeadm.k8s.io/v1beta4\nkubernetesVersion: v1.36.3\n")).unwrap();
        assert_eq!(
            (good.api_version.as_str(), good.kubernetes_version.as_str()),
            ("kubeadm.k8s.io/v1beta4", "v1.36.3")
        );
        assert_eq!(record(&map(": {")), Some(KubeadmRecord::default()));
        assert_eq!(record(&ConfigMap::default()), None);
    }
}
