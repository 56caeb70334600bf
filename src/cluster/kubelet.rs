//! The kubelet's own identity, for asking for its next certificate: kube-controller-manager approves by itself what a node asks for itself.

use std::path::Path;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::client::{Access, Cluster};
use super::error::ClusterError;

impl Cluster {
    /// Connects as a node's kubelet: with its kubelet.conf, and the certificate and key in `credential` (the path in kubelet.conf is the
    /// node's own, and a link that only the node can follow).
    ///
    /// # Errors
    /// kubelet.conf or the credential cannot be read.
    pub async fn as_kubelet(kubelet_conf: &Path, credential: &Path, verb: &'static str) -> Result<Self, ClusterError> {
        let failed = |error: String| ClusterError::content(kubelet_conf.display().to_string(), error);
        let mut kubeconfig = Kubeconfig::read_from(kubelet_conf).map_err(|error| failed(error.to_string()))?;
        for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            for file in [&mut user.client_certificate, &mut user.client_key].into_iter().flatten() {
                *file = credential.display().to_string();
            }
        }
        let options = KubeConfigOptions::default();
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| failed(error.to_string()))?;
        Self::with_config(config, &Access { verb, ..Access::default() })
    }
}
