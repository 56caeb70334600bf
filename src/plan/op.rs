//! One idempotent change on one node, and the order in which a node gets from its state to its target.

use std::fmt;

use super::state::{Component, Conf, Leaf};
use crate::pki::CaId;

/// The smallest change that leaves a node working. `Display` is its line in a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes `pki/ca.crt` with these CAs in this order.
    WriteBundle(Vec<CaId>),
    /// Writes kube-controller-manager's own signing file (certificate and key in one file, so that one rename switches both).
    WriteSigner(CaId),
    /// Removes that file once nothing refers to it.
    RemoveSigner,
    /// Writes `pki/ca.key`.
    WriteCaKey(CaId),
    /// Signs a leaf anew over its own key (one rename) and puts the cross-signed certificates behind it.
    ReissueLeaf {
        /// Which file.
        leaf: Leaf,
        /// Signer.
        issuer: CaId,
        /// CAs whose cross-signed certificate of `issuer` follows the leaf.
        vouched_by: Vec<CaId>,
    },
    /// Writes a kubeconfig: client certificate anew if `issuer` is not its signer, and what it trusts.
    WriteConf {
        /// Which file.
        conf: Conf,
        /// Signer of the client certificate. `None`: the credential stays as it is (kubelet.conf refers to a file).
        issuer: Option<CaId>,
        /// CAs in `certificate-authority-data`.
        trust: Vec<CaId>,
    },
    /// Gets a new `kubelet-client-current.pem` (signed here on a control-plane node, else through the CSR API).
    ReissueKubeletClient(CaId),
    /// Gets a new `kubelet-server-current.pem` (signed here on a control-plane node, else through the CSR API) and puts the cross-signed
    /// certificates behind it.
    ReissueKubeletServing {
        /// Signer.
        issuer: CaId,
        /// CAs whose cross-signed certificate of `issuer` follows the leaf.
        vouched_by: Vec<CaId>,
    },
    /// Restarts kubelet.service through systemd.
    RestartKubelet,
    /// Takes a static pod out, applies `during` while it is away, and puts it back with changed content.
    RestartStaticPod {
        /// Which pod.
        component: Component,
        /// kube-controller-manager only: `Some(true)` points it at its own signing file, `Some(false)` back to stock flags.
        own_signer: Option<bool>,
        /// Writes that must not be seen by the old process.
        during: Vec<Op>,
    },
}

impl Op {
    /// The files this operation writes, relative to the node's root, for plans.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        match self {
            Self::WriteBundle(_) => vec!["etc/kubernetes/pki/ca.crt".into()],
            Self::WriteSigner(_) | Self::RemoveSigner => vec!["etc/kubernetes/pki/certctl/signer.pem".into()],
            Self::WriteCaKey(_) => vec!["etc/kubernetes/pki/ca.key".into()],
            Self::ReissueLeaf { leaf, .. } => vec![format!("etc/kubernetes/pki/{}.crt", leaf.name())],
            Self::WriteConf { conf, .. } => vec![format!("etc/kubernetes/{}", conf.file_name())],
            Self::ReissueKubeletClient(_) => vec!["var/lib/kubelet/pki/kubelet-client-current.pem".into()],
            Self::ReissueKubeletServing { .. } => vec!["var/lib/kubelet/pki/kubelet-server-current.pem".into()],
            Self::RestartKubelet => Vec::new(),
            Self::RestartStaticPod { component, during, .. } => {
                let mut files: Vec<String> = during.iter().flat_map(Self::files).collect();
                files.push(format!("etc/kubernetes/manifests/{}.yaml", component.name()));
                files
            }
        }
    }

    /// The process this operation restarts.
    #[must_use]
    pub const fn restarts(&self) -> Option<&'static str> {
        match self {
            Self::RestartKubelet => Some("kubelet"),
            Self::RestartStaticPod { component, .. } => Some(component.name()),
            _ => None,
        }
    }

    /// True for an operation that is not done by this node alone: it restarts something, or waits until somebody approves a request.
    #[must_use]
    pub const fn takes_time(&self) -> bool {
        self.restarts().is_some() || matches!(self, Self::ReissueKubeletServing { .. })
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.restarts() {
            Some(process) if self.files().is_empty() => write!(f, "restart {process}"),
            Some(process) => write!(f, "restart {process}, writing {}", self.files().join(", ")),
            None if *self == Self::RemoveSigner => write!(f, "remove {}", self.files().join(", ")),
            None => write!(f, "write {}", self.files().join(", ")),
        }
    }
}
