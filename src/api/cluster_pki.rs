//! ClusterPKI: what the administrator wants of the cluster's CAs. One object, named `cluster`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pki::CaId;

/// Denies a change of `caVersion` while the last one is not finished; going back to the version in force is a rollback.
const ONE_AT_A_TIME: &str = "self.spec.caVersion == oldSelf.spec.caVersion || !has(oldSelf.status) || !has(oldSelf.status.caVersion) \
    || oldSelf.status.caVersion == oldSelf.spec.caVersion || self.spec.caVersion == oldSelf.status.caVersion";
/// The refusal names who began, and when.
const ONE_AT_A_TIME_MESSAGE: &str = "has(oldSelf.spec.rotation) ? 'caVersion must not change while a rotation is not finished: \
    started by ' + oldSelf.spec.rotation.startedBy + ' at ' + oldSelf.spec.rotation.startedAt : 'caVersion must not change while a rotation is not finished'";

/// Wanted state.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "pki.certctl.dev",
    version = "v1alpha1",
    kind = "ClusterPKI",
    plural = "clusterpkis",
    shortname = "cpki",
    status = "ClusterPkiStatus",
    category = "certctl",
    validation = Rule::new(ONE_AT_A_TIME).message(Message::Expression(ONE_AT_A_TIME_MESSAGE.into())),
    printcolumn = r#"{"name":"CAVersion","type":"integer","jsonPath":".status.caVersion"}"#,
    printcolumn = r#"{"name":"Wanted","type":"integer","jsonPath":".spec.caVersion"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPkiSpec {
    /// The CAVersion wanted: 1, 2, 3 …
    pub ca_version: u32,
    /// The rotation under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationIntent>,
    /// Objects left out by name, for example `node/w-7`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<String>,
    /// CAs that are over and whose keys some control-plane node has still to destroy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forget: Vec<CaId>,
}

/// What is being replaced by what, by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationIntent {
    /// The CA in force when the rotation began.
    pub from: CaId,
    /// The CA wanted; absent until it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<CaId>,
    /// True for a rollback: `from` is the newer CA.
    #[serde(default)]
    pub rollback: bool,
    /// User and host.
    #[schemars(length(max = 200))]
    pub started_by: String,
    /// RFC 3339, UTC.
    #[schemars(length(max = 40))]
    pub started_at: String,
    /// RFC 3339, UTC: when every node's processes could have known both CAs; containers started before may hold only the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_at: Option<String>,
}

/// Observed state. A summary for people and for the rule above; every decision is taken from the nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterPkiStatus {
    /// The CAVersion of the last rotation that completed.
    pub ca_version: Option<u32>,
    /// Phase of the rotation, or Idle.
    pub phase: String,
    /// What `status` prints.
    pub message: String,
    /// CARotation, with the reasons CARotationProgressed, CARotationCompleted, CARotationBlocked, CARotationDrifted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Every CA known, by CAVersion.
    pub authorities: BTreeMap<String, AuthorityRecord>,
}

/// The public certificates of one CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityRecord {
    /// Its key.
    pub id: CaId,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The same CA signed by others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crosses: Vec<CrossRecord>,
    /// A server certificate of this CA, for path validation; its key was thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specimen_server: Option<String>,
    /// A client certificate of this CA, for path validation; its key was thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specimen_client: Option<String>,
}

/// A cross-signed CA certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CrossRecord {
    /// The CA that signed it.
    pub by: CaId,
    /// PEM.
    pub certificate: String,
}
