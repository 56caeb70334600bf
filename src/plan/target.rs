//! What one node is wanted to hold: written by the driver, brought about by the node's agent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pki::CaId;

/// Who signs a certificate and which CAs its holder trusts, in file order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// The CA that signs the client certificate.
    pub issuer: CaId,
    /// The CAs it trusts.
    pub trust: Vec<CaId>,
}

/// Who signs a serving certificate, and who vouches for that CA in the chain behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Serving {
    /// The CA that signs it.
    pub issuer: CaId,
    /// CAs whose cross-signed certificate of `issuer` follows a new certificate. One that is from `issuer` already stays as it is: a chain
    /// alone is not worth a restart.
    #[serde(default)]
    pub vouched_by: Vec<CaId>,
}

/// The wanted state of one node. It is a state, not a command: applying it twice changes nothing the second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeTarget {
    /// `pki/ca.crt`, the active signer first: trust of kube-apiserver and of the kubelet, both hot.
    pub ca_bundle: Vec<CaId>,
    /// The kubelet's client certificate and what its kubeconfig trusts.
    pub kubelet: Credential,
    /// The kubelet's serving certificate, where it has one from a CA of the cluster (`serverTLSBootstrap`). Not told by `kubelet.issuer`:
    /// the kubelet may renew one of the two by itself before it is time for the other, and nothing is ever asked to go back.
    #[serde(default)]
    pub kubelet_serving: Option<Serving>,
    /// True when the running kubelet must have loaded `kubelet` and `kubelet_serving`, false when the files are enough for now.
    pub kubelet_loaded: bool,
    /// What only a control-plane node has.
    pub control_plane: Option<ControlPlaneTarget>,
}

/// The part of a target that only control-plane nodes have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneTarget {
    /// CAs whose key must stand in certctl's own folder.
    pub kept: Vec<CaId>,
    /// The CA of kube-controller-manager's own signing file; `None`: stock flags, it signs with `pki/ca.crt` and `pki/ca.key`.
    pub signer: Option<CaId>,
    /// The CA of `apiserver.crt`.
    pub serving: CaId,
    /// CAs that vouch for `serving` in the chain: for each, the cross-signed certificate follows the leaf.
    pub vouched_by: Vec<CaId>,
    /// The CA of `apiserver-kubelet-client.crt`.
    pub kubelet_client: CaId,
    /// `admin.conf` and `super-admin.conf`.
    pub admin: Credential,
    /// `controller-manager.conf`.
    pub controller_manager: Credential,
    /// `scheduler.conf`.
    pub scheduler: Credential,
    /// True when the running kube-controller-manager must have loaded its file, false when the file is enough for now.
    pub controller_manager_loaded: bool,
    /// The same for kube-scheduler.
    pub scheduler_loaded: bool,
}
