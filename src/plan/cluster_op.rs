//! Changes of cluster objects that the driver makes by itself.

use std::fmt;

use crate::pki::CaId;

/// One idempotent change of an object in the cluster. `Display` is its line in a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterOp {
    /// Makes `kube-public/cluster-info` carry these CAs, so that `kubeadm join` works with either hash.
    ClusterInfo(Vec<CaId>),
    /// Makes every webhook, APIService and CRD conversion `caBundle` that holds one of the cluster's CAs carry these.
    CaBundles(Vec<CaId>),
    /// Records (or takes out) kube-controller-manager's own signing file in `kube-system/kubeadm-config`, so that `kubeadm upgrade` keeps it.
    KubeadmConfig {
        /// True while the own signing file is in force.
        own_signer: bool,
    },
    /// Overwrites `kube-system/extension-apiserver-authentication`, which API servers only ever add to (kubernetes#82429).
    ClientCa(Vec<CaId>),
    /// Has a certificate signed through the CSR API, to see which CA signs, and to renew the caller's kubeconfig with it.
    CallerCredential {
        /// The CA that must sign.
        issuer: CaId,
        /// What the kubeconfig trusts.
        trust: Vec<CaId>,
    },
}

impl fmt::Display for ClusterOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterInfo(_) => write!(f, "write configmap kube-public/cluster-info"),
            Self::CaBundles(_) => {
                write!(f, "write the caBundle of webhooks, APIServices and CRDs that hold the cluster CA")
            }
            Self::KubeadmConfig { own_signer: true } => {
                write!(f, "record the signing file in configmap kube-system/kubeadm-config")
            }
            Self::KubeadmConfig { own_signer: false } => {
                write!(f, "take the signing file out of configmap kube-system/kubeadm-config")
            }
            Self::ClientCa(_) => write!(f, "write configmap kube-system/extension-apiserver-authentication"),
            Self::CallerCredential { .. } => {
                write!(f, "have a client certificate signed through the CSR API and renew your kubeconfig")
            }
        }
    }
}
