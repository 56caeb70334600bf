//! What one node holds, has loaded and serves, in terms of CAs: the input of every decision.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::pki::CaId;

/// A leaf that kubeadm keeps as a pair of files under `pki/` and the cluster CA signs
/// (`cmd/kubeadm/app/phases/certs/certlist.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Leaf {
    /// `apiserver.crt`: what kube-apiserver serves.
    Apiserver,
    /// `apiserver-kubelet-client.crt`: what kube-apiserver shows to kubelets.
    ApiserverKubeletClient,
}

impl Leaf {
    /// Every leaf of the cluster CA.
    pub const ALL: [Self; 2] = [Self::Apiserver, Self::ApiserverKubeletClient];

    /// The file name under `pki/` without extension.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apiserver => "apiserver",
            Self::ApiserverKubeletClient => "apiserver-kubelet-client",
        }
    }
}

/// A kubeconfig that kubeadm keeps in `/etc/kubernetes` (`cmd/kubeadm/app/constants/constants.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Conf {
    /// `admin.conf`.
    Admin,
    /// `super-admin.conf`, on the node of `kubeadm init` only.
    SuperAdmin,
    /// `controller-manager.conf`.
    ControllerManager,
    /// `scheduler.conf`.
    Scheduler,
    /// `kubelet.conf`.
    Kubelet,
}

impl Conf {
    /// Every kubeconfig, in the order in which they are written.
    pub const ALL: [Self; 5] = [Self::Admin, Self::SuperAdmin, Self::ControllerManager, Self::Scheduler, Self::Kubelet];

    /// The file name under `/etc/kubernetes`.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Admin => "admin.conf",
            Self::SuperAdmin => "super-admin.conf",
            Self::ControllerManager => "controller-manager.conf",
            Self::Scheduler => "scheduler.conf",
            Self::Kubelet => "kubelet.conf",
        }
    }
}

/// A static pod of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// etcd.
    Etcd,
    /// kube-apiserver.
    KubeApiserver,
    /// kube-controller-manager.
    KubeControllerManager,
    /// kube-scheduler.
    KubeScheduler,
}

impl Component {
    /// Container name and manifest file name without extension.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
        }
    }
}

/// A leaf certificate file: who signed it, and who vouches for that signer in the chain behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeafState {
    /// The CA whose key signed the leaf; `None` when no CA known on the node did.
    pub issuer: Option<CaId>,
    /// For each CA certificate that follows the leaf in the file, the CA that signed it (a cross-signed issuer: the other CA).
    #[serde(default)]
    pub vouched_by: Vec<CaId>,
    /// notAfter, seconds since the Unix epoch.
    pub not_after: i64,
}

/// A kubeconfig: who signed its client certificate, and which CAs it trusts, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfState {
    /// The CA that signed the client certificate; `None` for a kubeconfig that carries none or an unknown one.
    pub issuer: Option<CaId>,
    /// The CAs in `certificate-authority-data`.
    pub trust: Vec<CaId>,
    /// notAfter of the client certificate, seconds since the Unix epoch; 0 without one.
    pub not_after: i64,
    /// True when its server is this node's own API server, as kubeadm has it for kube-controller-manager and kube-scheduler: no other one
    /// ever sees the client certificate (`cmd/kubeadm/app/phases/kubeconfig/kubeconfig.go`).
    pub own_server: bool,
}

/// What stands in a node's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DiskState {
    /// `pki/ca.crt`, in file order. kubeadm and OpenSSL take the first as the signer.
    pub ca_bundle: Vec<CaId>,
    /// The CA to which `pki/ca.key` belongs. Control-plane nodes only; absent with an external CA.
    pub ca_key: Option<CaId>,
    /// CAs whose certificate and key stand in certctl's own folder on this node, referenced by nothing.
    pub kept: Vec<CaId>,
    /// The CA in kube-controller-manager's own signing file, which exists only while a bundle is in force.
    pub signer_file: Option<CaId>,
    /// True when the manifest points kube-controller-manager at that signing file instead of `pki/ca.crt`.
    pub own_signer: bool,
    /// Leaves of the cluster CA under `pki/`.
    pub leaves: BTreeMap<Leaf, LeafState>,
    /// Kubeconfigs in `/etc/kubernetes`.
    pub confs: BTreeMap<Conf, ConfState>,
    /// The CA that signed `kubelet-client-current.pem`.
    pub kubelet_client: Option<CaId>,
    /// notAfter of that certificate, seconds since the Unix epoch.
    pub kubelet_client_not_after: i64,
    /// `kubelet-server-current.pem`, which a kubelet with `serverTLSBootstrap` serves. `None` without the file, and when no CA known on
    /// the node signed it: what another signer issued is not the cluster CA's to replace.
    pub kubelet_serving: Option<LeafState>,
}

impl DiskState {
    /// The CA that kube-controller-manager on this node signs CSRs with: its own signing file while that is in force, else the first of `ca.crt`.
    #[must_use]
    pub fn signer(&self) -> Option<&CaId> {
        if self.own_signer { self.signer_file.as_ref() } else { self.ca_bundle.first() }
    }
}

/// What a running process read when it started and does not read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessState {
    /// Container id, or systemd invocation id for the kubelet.
    pub instance: String,
    /// Start of the process, seconds since the Unix epoch.
    pub started: i64,
    /// Its kubeconfig, as it was at the start. `None`: it changed before anybody looked, so it is not known.
    pub conf: Option<ConfState>,
    /// kube-controller-manager: `--root-ca-file` as it was at the start; empty when not known.
    pub root_ca: Vec<CaId>,
    /// kube-controller-manager: started with its own signing file.
    pub own_signer: bool,
    /// The kubelet: `kubelet-server-current.pem` as it was at the start, or as the kubelet itself renewed it since. `None` without that
    /// file, and when it changed before anybody looked.
    pub serving: Option<LeafState>,
}

/// What the node's processes have loaded, where they do not reload by themselves (facts file, section 2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadedState {
    /// kube-controller-manager.
    pub controller_manager: Option<ProcessState>,
    /// kube-scheduler.
    pub scheduler: Option<ProcessState>,
    /// The kubelet; `conf.issuer` is that of `kubelet-client-current.pem`.
    pub kubelet: Option<ProcessState>,
}

/// The answer of a verifier to a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Authenticated (any answer but 401).
    Accepted,
    /// 401 Unauthorized.
    Refused,
    /// No answer: nothing is known.
    Unreachable,
}

/// One endpoint as seen by a handshake and by requests with throw-away client certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointState {
    /// The CA that signed the leaf served; `None` when unreachable or signed by an unknown CA (a kubelet's self-signed one).
    pub issuer: Option<CaId>,
    /// As [`LeafState::vouched_by`], for the chain served.
    pub vouched_by: Vec<CaId>,
    /// Serial number served, hex; empty when unreachable.
    pub serial: String,
    /// What it says to a client certificate of each CA.
    #[serde(deserialize_with = "known_clients")]
    pub clients: BTreeMap<CaId, Verdict>,
}

/// Leaves out what is no CA: the schema of a map says nothing about its keys, and one such report must not hide every other.
fn known_clients<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<CaId, Verdict>, D::Error> {
    let all = BTreeMap::<String, Verdict>::deserialize(deserializer)?;
    Ok(all.into_iter().filter_map(|(ca, verdict)| Some((ca.parse().ok()?, verdict))).collect())
}

/// Everything about one node that a rotation decides on. Reported by the node's agent; never edited by anybody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeState {
    /// True when the node has control-plane manifests.
    pub control_plane: bool,
    /// Files.
    pub disk: DiskState,
    /// Memory of the processes.
    pub loaded: LoadedState,
    /// Endpoints that this node was asked to probe, by `host:port`; its own API server, KCM, scheduler and kubelet always.
    pub endpoints: BTreeMap<String, EndpointState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_about_no_ca_is_left_out_and_hides_nothing() {
        let ca = CaId::from_hash(&[1; 32]);
        let report = serde_json::json!({ "serial": "1", "clients": { ca.as_str(): "Refused", "../x": "Accepted" } });
        let state: EndpointState = serde_json::from_value(report).unwrap();
        assert_eq!(state.clients, BTreeMap::from([(ca, Verdict::Refused)]));
    }
}
