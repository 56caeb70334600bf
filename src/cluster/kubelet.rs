//! From the node itself, without a pod: as the kubelet, and as the agent with a token on the host.

use std::path::Path;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Config};

use super::client::{Access, Cluster};
use super::error::ClusterError;

impl Cluster {
    /// Connects as a node's kubelet: with its kubelet.conf, and the certificate and key in `credential` (the path in kubelet.conf is the
    /// node's own, and a link that only the node can follow).
    ///
    /// kube-controller-manager approves by itself what a node asks for itself, so this is how its next certificate is asked for.
    ///
    /// # Errors
    /// kubelet.conf or the credential cannot be read.
    pub async fn as_kubelet(kubelet_conf: &Path, credential: &Path, verb: &'static str) -> Result<Self, ClusterError> {
        let mut kubeconfig = read(kubelet_conf)?;
        for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            for file in [&mut user.client_certificate, &mut user.client_key].into_iter().flatten() {
                *file = credential.display().to_string();
            }
        }
        connect(kubeconfig, kubelet_conf, verb).await
    }

    /// Connects with a token in a file, at the address in kubelet.conf and trusting the CAs in it: where no pod runs there is neither a
    /// service address nor a mounted CA. API servers send the cross-signed CA along until `finalize`, so that a kubelet.conf of
    /// before the rotation verifies them.
    ///
    /// # Errors
    /// kubelet.conf or the token cannot be read.
    pub async fn with_token(kubelet_conf: &Path, token: &Path, verb: &'static str) -> Result<Self, ClusterError> {
        let mut kubeconfig = read(kubelet_conf)?;
        for user in &mut kubeconfig.auth_infos {
            // By its path: the client reads it again when it changes, and nobody else gets to see it.
            let token_file = Some(token.display().to_string());
            user.auth_info = Some(AuthInfo { token_file, ..AuthInfo::default() });
        }
        connect(kubeconfig, kubelet_conf, verb).await
    }

    /// Whether the API server accepts this connection's credential, seen by reading the Node, which its own kubelet may.
    ///
    /// # Errors
    /// No answer, or one that says nothing about the credential.
    pub async fn is_accepted(&self, node: &str) -> Result<bool, ClusterError> {
        let api: Api<Node> = Api::all(self.client.clone());
        match api.get(node).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code < 500 => Ok(status.code != 401),
            Err(error) => Err(ClusterError::call("read", format!("node/{node}"))(error)),
        }
    }

    /// The UID of the static pod of which the API server has a mirror under this name on this node (`kubetypes.ConfigHashAnnotationKey`);
    /// `None` without one.
    ///
    /// # Errors
    /// No answer, or one that says nothing about it.
    pub async fn mirrored(&self, component: &str, node: &str) -> Result<Option<String>, ClusterError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "kube-system");
        let name = format!("{component}-{node}");
        match api.get_metadata_opt(&name).await {
            Ok(pod) => Ok(pod.and_then(|pod| pod.metadata.annotations?.remove(HASH))),
            // A node may read its own pods: for it, one that is not there is not its own (`plugin/pkg/auth/authorizer/node`).
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            Err(error) => Err(ClusterError::call("read", format!("pod/kube-system/{name}"))(error)),
        }
    }
}

const HASH: &str = "kubernetes.io/config.hash";

pub(super) fn read(kubelet_conf: &Path) -> Result<Kubeconfig, ClusterError> {
    Kubeconfig::read_from(kubelet_conf)
        .map_err(|error| ClusterError::content(kubelet_conf.display().to_string(), error))
}

pub(super) async fn connect(kubeconfig: Kubeconfig, from: &Path, verb: &'static str) -> Result<Cluster, ClusterError> {
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| ClusterError::content(from.display().to_string(), error))?;
    // Whatever the file says: an agent that takes CA keys in and has certificates signed talks to a verified server only.
    config.accept_invalid_certs = false;
    Cluster::with_config(config, &Access { verb, ..Access::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: k\n  cluster:\n    server: https://192.0.2.1:6443\n    \
        insecure-skip-tls-verify: true\ncontexts:\n- name: c\n  context:\n    cluster: k\n    user: default-auth\nusers:\n- name: default-auth\n  \
        user: {client-certificate: /no/such.pem, client-key: /no/such.pem}\n";

    #[tokio::test]
    async fn on_the_host_the_token_takes_the_place_of_the_kubelets_certificate_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (conf, token) = (folder.path().join("kubelet.conf"), folder.path().join("token"));
        std::fs::write(&conf, CONF).unwrap();
        let missing = Cluster::with_token(&conf, &token, "test").await.err().unwrap().to_string();
        assert!(missing.contains("token"), "{missing}");
        std::fs::write(&token, "secret").unwrap();
        assert!(Cluster::with_token(&conf, &token, "test").await.is_ok(), "the certificate is not looked at");
        assert!(Cluster::as_kubelet(&conf, &folder.path().join("absent.pem"), "test").await.is_err());
    }
}
