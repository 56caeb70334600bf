//! What a node's files say besides certificates: how the kubelet gets its own, which names servers need, files that are odd.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Facts about one node that findings are made from. Nothing is decided on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeFacts {
    /// True when the node has control-plane manifests.
    pub control_plane: bool,
    /// The host or `tls-server-name` under which each kubeconfig of the node knows its API server, by file name.
    pub servers: BTreeMap<String, String>,
    /// From kube-apiserver's manifest; absent on workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apiserver: Option<ApiserverFacts>,
    /// Hosts under which the node's etcd member is known, from its manifest; empty without a local etcd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub etcd_hosts: Vec<String>,
    /// From the kubelet's configuration; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<KubeletFacts>,
    /// Certificate files that a node with these manifests needs and does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Files in the PKI folders that are not as kubeadm writes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub odd_files: Vec<OddFile>,
}

/// What decides which names kube-apiserver's certificate needs (`cmd/kubeadm/app/util/pkiutil/pki_helpers.go`, `GetAPIServerAltNames`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiserverFacts {
    /// `--advertise-address`.
    pub advertise_address: String,
    /// `--service-cluster-ip-range`.
    pub service_range: String,
    /// The cluster's DNS domain, from `--service-account-issuer`.
    pub dns_domain: String,
}

/// How the kubelet gets its certificates (`k8s.io/kubelet/config/v1beta1`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeletFacts {
    /// `rotateCertificates`.
    pub rotates: bool,
    /// `serverTLSBootstrap`.
    pub server_bootstrap: bool,
    /// `kubelet.conf` refers to `kubelet-client-current.pem`, which the kubelet renews.
    pub conf_refers: bool,
    /// `kubelet.conf` carries a client certificate of its own, which nobody renews.
    pub conf_embeds: bool,
}

/// A file that is not as kubeadm writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OddFile {
    /// Path on the node.
    pub path: String,
    /// What is odd about it.
    pub fault: FileFault,
    /// The mode, owner or target found.
    pub detail: String,
}

/// In what way a file is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileFault {
    /// A private key that everybody on the machine can read.
    KeyReadableByAll,
    /// A private key that a group can read.
    KeyReadableByGroup,
    /// Somebody besides the owner can write it.
    WritableByOthers,
    /// It belongs neither to root nor to whom the root folder belongs.
    Owner,
    /// A symbolic link where kubeadm has a file.
    SymbolicLink,
    /// The same file has a second name.
    HardLink,
    /// A pipe, socket or device.
    NotAFile,
    /// A folder where kubeadm has a file.
    Folder,
    /// Larger than any PEM file or kubeconfig of a cluster; it is not read.
    Huge,
    /// The key of the cluster's CA on a node that signs nothing.
    CaKeyOnWorker,
}
