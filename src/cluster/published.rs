//! The CAs that a cluster publishes for its clients.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::client::Cluster;
use super::error::ClusterError;
use crate::pki::{Certificate, Kubeconfig};

/// What a client needs to verify the API servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The CAs. While a rotation runs there are two.
    pub cas: Vec<Certificate>,
    /// Address of the API servers for machines outside, where it is published.
    pub server: Option<String>,
}

impl Cluster {
    /// `kube-root-ca.crt` of `kube-system`, which kube-controller-manager writes from its `--root-ca-file`.
    ///
    /// # Errors
    /// A failed call, or no certificate in it.
    pub async fn root_cas(&self) -> Result<Published, ClusterError> {
        let pem = self.text("kube-system", "kube-root-ca.crt", "ca.crt").await?;
        let cas = Certificate::all_from_pem(pem.as_bytes());
        let cas = cas.map_err(|error| ClusterError::content("configmap/kube-system/kube-root-ca.crt", error))?;
        Ok(Published { cas, server: None })
    }

    /// `cluster-info` of `kube-public`, which kubeadm makes for nodes that join (`phases/bootstraptoken/clusterinfo`).
    ///
    /// # Errors
    /// A failed call, or no kubeconfig in it.
    pub async fn cluster_info(&self) -> Result<Published, ClusterError> {
        let named = |error| ClusterError::content("configmap/kube-public/cluster-info", error);
        let text = self.text("kube-public", "cluster-info", "kubeconfig").await?;
        let (server, cas) = Kubeconfig::first_cluster(&text).map_err(named)?;
        Ok(Published { cas, server: Some(server).filter(|server| !server.is_empty()) })
    }

    async fn text(&self, namespace: &str, name: &str, key: &str) -> Result<String, ClusterError> {
        let object = format!("configmap/{namespace}/{name}");
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = api.get(name).await.map_err(ClusterError::call("read", &object))?;
        let text = map.data.and_then(|mut data| data.remove(key));
        text.ok_or_else(|| ClusterError::content(object, format!("has no {key}")))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::json;

    use super::super::played::{Answer, cluster};
    use super::*;

    fn ca() -> Certificate {
        crate::pki::Material::planned("kubernetes", None, "2026-11-22T12:00:00Z".parse().unwrap()).unwrap().ca
    }

    fn map(key: &str, text: &str) -> serde_json::Value {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": { key: text } })
    }

    #[tokio::test]
    async fn both_places_give_the_cas_and_cluster_info_the_address_too() {
        let ca = ca();
        let data = base64::engine::general_purpose::STANDARD.encode(ca.to_pem());
        let info = format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {data}\n    server: https://10.0.0.1:6443\n  name: \"\"\n\
             contexts: null\ncurrent-context: \"\"\nkind: Config\nusers: null\n"
        );
        let pem = ca.to_pem();
        let connection = cluster(move |call| match call.path.as_str() {
            "/api/v1/namespaces/kube-public/configmaps/cluster-info" => Answer::Object(map("kubeconfig", &info)),
            "/api/v1/namespaces/kube-system/configmaps/kube-root-ca.crt" => Answer::Object(map("ca.crt", &pem)),
            other => panic!("{other} is asked for"),
        });
        let wanted = |server: Option<&str>| Published { cas: vec![ca.clone()], server: server.map(str::to_owned) };
        assert_eq!(connection.root_cas().await.unwrap(), wanted(None));
        assert_eq!(connection.cluster_info().await.unwrap(), wanted(Some("https://10.0.0.1:6443")));
    }

    #[tokio::test]
    async fn an_object_without_a_certificate_is_named() {
        let connection = cluster(|_| Answer::Object(map("other", "")));
        let error = connection.root_cas().await.unwrap_err().to_string();
        assert_eq!(error, "configmap/kube-system/kube-root-ca.crt: has no ca.crt");
    }
}
