//! The kubelet's own identity, for asking for its next certificate: kube-controller-manager approves by itself what a node asks for itself.

use std::path::Path;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::client::{Access, Cluster};
use super::error::ClusterError;

impl Cluster {
    /// Connects as the node's kubelet: kubelet.conf below `root`, with the certificate file that it names.
    ///
    /// # Errors
    /// kubelet.conf or its certificate cannot be read.
    pub async fn as_kubelet(root: &Path, verb: &'static str) -> Result<Self, ClusterError> {
        let path = root.join("etc/kubernetes/kubelet.conf");
        let failed = |error: String| ClusterError::content(path.display().to_string(), error);
        let mut kubeconfig = Kubeconfig::read_from(&path).map_err(|error| failed(error.to_string()))?;
        for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            for file in [&mut user.client_certificate, &mut user.client_key].into_iter().flatten() {
                // The path is the node's; the agent sees the node below `root`.
                *file = root.join(file.trim_start_matches('/')).display().to_string();
            }
        }
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(|error| failed(error.to_string()))?;
        Self::with_config(config, &Access { verb, ..Access::default() })
    }
}
