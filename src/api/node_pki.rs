//! NodePKI: what is wanted of one node, and what its agent sees there. Named like the Node.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::cluster_pki::AuthorityRecord;
use super::renewal::{NodeRenewal, RenewalOrder};
use crate::pki::{CaId, Sealed, SealingPublicKey};
use crate::plan::{CertificateRow, NodeFacts, NodeState, NodeTarget};

/// Wanted state, written by the driver. The agent of the node is the only other reader that matters.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "pki.certctl.dev",
    version = "v1alpha1",
    kind = "NodePKI",
    plural = "nodepkis",
    shortname = "npki",
    status = "NodePkiStatus",
    category = "certctl",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Agent","type":"string","jsonPath":".status.agentVersion"}"#,
    printcolumn = r#"{"name":"Doing","type":"string","jsonPath":".status.doing"}"#,
    printcolumn = r#"{"name":"Problem","type":"string","jsonPath":".status.problem"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePkiSpec {
    /// Name of the rotation: the folder of the node's back-ups and a column of its journal.
    pub rotation: Option<String>,
    /// Lifetime of new leaves, seconds; absent: as the leaf replaced.
    pub leaf_validity_seconds: Option<i64>,
    /// Any change asks the agent to answer with its clock.
    pub ping: Option<String>,
    /// Public certificates of the CAs in play.
    pub authorities: Vec<AuthorityRecord>,
    /// CA keys sealed to this node.
    pub sealed_keys: Vec<SealedKey>,
    /// Asks a control-plane node to make a CA.
    pub make: Option<MakeAuthority>,
    /// Asks a control-plane node to seal CA keys to others.
    pub seal_for: Vec<SealFor>,
    /// Asks a control-plane node to save a snapshot of its etcd: the name of the request. It is answered once.
    pub snapshot: Option<String>,
    /// What to probe besides the node's own endpoints.
    pub probes: Vec<Probe>,
    /// CAs whose keys are to be destroyed on this node.
    pub forget: Vec<CaId>,
    /// Nodes whose kubelet this control-plane node may give a certificate of the CA in force: they were left out of a rotation, and
    /// API servers refuse the certificate that they hold.
    pub vouch_for: Vec<String>,
    /// The control-plane nodes that may do so for this node.
    pub vouchers: Vec<String>,
    /// Certificates to be renewed, besides what the target says.
    #[serde(deserialize_with = "readable")]
    pub renewal: Option<RenewalOrder>,
    /// Asks the agent to take its unit, program and token off the host: certctl is being taken out.
    pub leave: bool,
    /// What the node shall hold.
    #[serde(deserialize_with = "readable")]
    pub target: Option<NodeTarget>,
}

/// What another version of certctl wrote in another form is nothing: it is written anew, and it must not hide every other node.
fn readable<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let written = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(written.and_then(|written| serde_json::from_value(written).ok()))
}

/// A CA key that only one node can open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealedKey {
    /// The CA.
    pub ca: CaId,
    /// The node it is sealed to.
    pub node: String,
    /// HPKE ciphertext (RFC 9180) of the PEM key.
    pub sealed: Sealed,
}

/// A CA to be made on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MakeAuthority {
    /// Name of the request: the same request makes one CA, however often it is read.
    pub request: String,
    /// The CA whose subject and usages the new one takes.
    pub like: CaId,
    /// kubeadm's name of the key algorithm; absent: as the old CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Validity in seconds; absent: as the old CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_seconds: Option<i64>,
}

/// A request to seal CA keys to another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealFor {
    /// The receiving node.
    pub node: String,
    /// Its sealing key.
    pub public_key: SealingPublicKey,
    /// The CAs whose keys it lacks.
    pub cas: Vec<CaId>,
}

/// Which process an address belongs to: it decides the path asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeServer {
    /// kube-apiserver.
    KubeApiserver,
    /// The kubelet.
    Kubelet,
}

/// An endpoint of another node to be probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// The node it belongs to.
    pub node: String,
    /// `host:port`.
    pub address: String,
    /// What listens there.
    pub server: ProbeServer,
    /// The CAs whose clients it is expected to accept: as long as it says otherwise it is asked again.
    pub accepts: Vec<CaId>,
    /// The CA whose certificate it is expected to serve: the same. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<CaId>,
}

/// A kubelet's client certificate that a control-plane node signed for a node that cannot use the CSR API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Vouched {
    /// The node that asked.
    pub node: String,
    /// PEM, over the key of its request.
    pub certificate: String,
}

/// Observed state, written by the node's agent alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePkiStatus {
    /// `metadata.generation` of the spec that the rest answers to.
    pub observed_generation: i64,
    /// Version of the agent.
    pub agent_version: String,
    /// The answer to `spec.ping`.
    pub clock: Option<Clock>,
    /// To which CA keys are sealed for this node.
    pub sealing_key: Option<SealingPublicKey>,
    /// What the node holds, has loaded and serves.
    pub state: NodeState,
    /// Every certificate of the node.
    pub certificates: Vec<CertificateRow>,
    /// What else its files say: odd files, the kubelet's settings, names that servers need.
    pub facts: NodeFacts,
    /// The CA made on request.
    pub made: Option<Made>,
    /// The snapshot of etcd made on request.
    pub snapshot: Option<Snapshot>,
    /// The answer to `spec.renewal`.
    #[serde(deserialize_with = "readable", skip_serializing_if = "Option::is_none")]
    pub renewal: Option<NodeRenewal>,
    /// Keys sealed on request.
    pub sealed_keys: Vec<SealedKey>,
    /// What the agent is doing now, in words.
    pub doing: Option<String>,
    /// What stands in the way, in words.
    pub problem: Option<String>,
    /// etcd on this node answers healthy; absent without etcd.
    pub etcd_healthy: Option<bool>,
    /// Members of etcd that do not vote yet, as the member on this node knows them; absent without etcd and without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_learners: Option<Vec<String>>,
    /// `pki/ca.key` does not belong to the first certificate of `pki/ca.crt`.
    pub key_mismatch: bool,
    /// PEM request for the kubelet's client certificate, while the CSR API refuses this kubelet: for the nodes in `spec.vouchers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub kubelet_request: Option<String>,
    /// Answers to such requests of the nodes in `spec.vouchFor`, each while its request stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vouched: Vec<Vouched>,
    /// Nothing of the agent is left on the host (`spec.leave`).
    pub left: bool,
    /// Why kube-controller-manager's manifest cannot be edited, when it cannot.
    pub signer_problem: Option<String>,
}

/// An answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Clock {
    /// The ping answered.
    pub ping: String,
    /// The node's clock, milliseconds since the Unix epoch.
    pub unix_millis: i64,
}

/// A CA made on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// The request answered.
    pub request: String,
    /// The new CA, cross-signed by the old one.
    pub authority: AuthorityRecord,
    /// The old CA, cross-signed by the new one, with specimens of its own.
    pub old: AuthorityRecord,
}

/// The answer to a request for a snapshot of etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// The request answered.
    pub request: String,
    /// Path on the node.
    pub path: String,
    /// Size of the file, bytes.
    pub bytes: i64,
    /// Revision of etcd's data when it was begun.
    pub revision: i64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Why there is none.
    pub problem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_in_another_versions_form_is_none_and_hides_nothing_else() {
        let old = serde_json::json!({ "rotation": "ca-2", "target": { "caBundle": [], "controlPlane": { "components": {} } } });
        let spec: NodePkiSpec = serde_json::from_value(old).unwrap();
        assert_eq!((spec.rotation.as_deref(), spec.target), (Some("ca-2"), None));
    }
}
