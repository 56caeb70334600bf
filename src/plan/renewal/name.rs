//! The certificates that can be renewed, under the names of `kubeadm certs renew`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{Component, Conf, Op};

/// A CA of a kubeadm cluster (`cmd/kubeadm/app/phases/certs/certlist.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityName {
    /// `pki/ca`.
    Cluster,
    /// `pki/etcd/ca`.
    Etcd,
    /// `pki/front-proxy-ca`.
    FrontProxy,
}

impl AuthorityName {
    /// Every authority.
    pub const ALL: [Self; 3] = [Self::Cluster, Self::Etcd, Self::FrontProxy];

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Etcd => "etcd",
            Self::FrontProxy => "front-proxy",
        }
    }

    /// Path of the certificate on the node.
    #[must_use]
    pub const fn certificate(self) -> &'static str {
        match self {
            Self::Cluster => "/etc/kubernetes/pki/ca.crt",
            Self::Etcd => "/etc/kubernetes/pki/etcd/ca.crt",
            Self::FrontProxy => "/etc/kubernetes/pki/front-proxy-ca.crt",
        }
    }

    /// Path of the key on the node.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Cluster => "/etc/kubernetes/pki/ca.key",
            Self::Etcd => "/etc/kubernetes/pki/etcd/ca.key",
            Self::FrontProxy => "/etc/kubernetes/pki/front-proxy-ca.key",
        }
    }
}

impl fmt::Display for AuthorityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A leaf certificate of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
pub enum CertificateName {
    /// `pki/etcd/server`.
    EtcdServer,
    /// `pki/etcd/peer`.
    EtcdPeer,
    /// `pki/etcd/healthcheck-client`.
    EtcdHealthcheckClient,
    /// `pki/apiserver-etcd-client`.
    ApiserverEtcdClient,
    /// `pki/apiserver`.
    Apiserver,
    /// `pki/apiserver-kubelet-client`.
    ApiserverKubeletClient,
    /// `pki/front-proxy-client`.
    FrontProxyClient,
    /// A kubeconfig in `/etc/kubernetes`.
    Conf(Conf),
    /// `kubelet-client-current.pem`, which the kubelet renews by itself while the API server answers it.
    KubeletClient,
    /// `kubelet-server-current.pem` of a kubelet with `serverTLSBootstrap`, which the kubelet renews by itself too.
    KubeletServer,
}

/// Where a certificate and its key stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Two files, `STEM.crt` and `STEM.key`, below `/etc/kubernetes/pki`.
    Pair(&'static str),
    /// Inside this kubeconfig.
    Kubeconfig(Conf),
    /// One file behind this symlink, as the kubelet's certificate manager keeps it.
    Linked(&'static str),
}

impl CertificateName {
    /// Every name, in the order in which a node is brought back: etcd first, then what the API server needs, then its clients.
    pub const ALL: [Self; 14] = [
        Self::EtcdServer,
        Self::EtcdPeer,
        Self::EtcdHealthcheckClient,
        Self::ApiserverEtcdClient,
        Self::Apiserver,
        Self::ApiserverKubeletClient,
        Self::FrontProxyClient,
        Self::Conf(Conf::Admin),
        Self::Conf(Conf::SuperAdmin),
        Self::Conf(Conf::ControllerManager),
        Self::Conf(Conf::Scheduler),
        Self::Conf(Conf::Kubelet),
        Self::KubeletClient,
        Self::KubeletServer,
    ];

    /// Its name; of those that kubeadm renews, kubeadm's (`cmd/kubeadm/app/phases/certs/renewal/manager.go`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EtcdServer => "etcd-server",
            Self::EtcdPeer => "etcd-peer",
            Self::EtcdHealthcheckClient => "etcd-healthcheck-client",
            Self::ApiserverEtcdClient => "apiserver-etcd-client",
            Self::Apiserver => "apiserver",
            Self::ApiserverKubeletClient => "apiserver-kubelet-client",
            Self::FrontProxyClient => "front-proxy-client",
            Self::Conf(conf) => conf.file_name(),
            Self::KubeletClient => "kubelet-client",
            Self::KubeletServer => "kubelet-server",
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn place(self) -> Place {
        match self {
            Self::EtcdServer => Place::Pair("etcd/server"),
            Self::EtcdPeer => Place::Pair("etcd/peer"),
            Self::EtcdHealthcheckClient => Place::Pair("etcd/healthcheck-client"),
            Self::ApiserverEtcdClient | Self::Apiserver | Self::ApiserverKubeletClient | Self::FrontProxyClient => {
                Place::Pair(self.name())
            }
            Self::Conf(conf) => Place::Kubeconfig(conf),
            Self::KubeletClient => Place::Linked("/var/lib/kubelet/pki/kubelet-client-current.pem"),
            Self::KubeletServer => Place::Linked("/var/lib/kubelet/pki/kubelet-server-current.pem"),
        }
    }

    /// Who signs it.
    #[must_use]
    pub const fn authority(self) -> AuthorityName {
        match self {
            Self::EtcdServer | Self::EtcdPeer | Self::EtcdHealthcheckClient | Self::ApiserverEtcdClient => {
                AuthorityName::Etcd
            }
            Self::FrontProxyClient => AuthorityName::FrontProxy,
            _ => AuthorityName::Cluster,
        }
    }

    /// The files it stands in, as paths on the node.
    #[must_use]
    pub fn files(self) -> Vec<String> {
        match self.place() {
            Place::Pair(stem) => ["crt", "key"].map(|end| format!("/etc/kubernetes/pki/{stem}.{end}")).to_vec(),
            Place::Kubeconfig(conf) => vec![format!("/etc/kubernetes/{}", conf.file_name())],
            Place::Linked(link) => vec![link.to_owned()],
        }
    }

    /// The restart without which its reader goes on with the old one. kube-apiserver and etcd read theirs again by themselves
    /// (`k8s.io/apiserver/pkg/server/dynamiccertificates`, `client-go/transport/cert_rotation.go`, etcd's
    /// `client/pkg/transport/listener.go`); data inside a kubeconfig, and the kubelet's certificate store, are read at the start only.
    #[must_use]
    pub fn restart(self) -> Option<Op> {
        match self {
            Self::Conf(Conf::ControllerManager) => Some(restart(Component::KubeControllerManager)),
            Self::Conf(Conf::Scheduler) => Some(restart(Component::KubeScheduler)),
            Self::Conf(Conf::Kubelet) | Self::KubeletClient | Self::KubeletServer => Some(Op::RestartKubelet),
            _ => None,
        }
    }

    /// True for what the kubelet looks after by itself: it is renewed only where it is named.
    #[must_use]
    pub const fn is_the_kubelets_own(self) -> bool {
        matches!(self, Self::KubeletClient | Self::KubeletServer)
    }
}

/// A plain restart of a static pod.
pub(super) fn restart(component: Component) -> Op {
    Op::RestartStaticPod { component, own_signer: None, during: Vec::new() }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<CertificateName> for String {
    fn from(name: CertificateName) -> Self {
        name.name().to_owned()
    }
}

impl TryFrom<String> for CertificateName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for CertificateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|name| name.name() == text);
        found.ok_or_else(|| format!("no certificate is called `{text}`; use one of {}", known()))
    }
}
