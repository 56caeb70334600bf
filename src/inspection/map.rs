//! Who presents and who checks each certificate: the question with which most readings of a cluster's PKI begin.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::InspectRow;
use crate::pki::CaId;
use crate::plan::CertificateKind;

/// One certificate, who shows it, who checks it, and against what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// The node of the presenter; absent without a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// kubeadm's name of the certificate.
    pub certificate: String,
    /// `server` or `client`: which side of TLS it is for.
    pub side: &'static str,
    /// The process that shows it.
    pub presented_by: &'static str,
    /// The process that checks it.
    pub checked_by: &'static str,
    /// The file or object whose CAs it is checked against.
    pub against: &'static str,
    /// Whether those CAs include the one that signed it; absent when none of them is seen here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
}

type Checker = (&'static str, &'static str, Trust);

/// Where the verifier's CAs stand.
#[derive(Clone, Copy)]
enum Trust {
    /// In a file of the presenter's own node.
    Here(&'static str),
    /// In a file of any node.
    Anywhere(&'static str),
    /// In an object with this end of its name.
    Object(&'static str),
    /// Nowhere: it is not verified.
    Nobody,
}

const CA: &str = "/etc/kubernetes/pki/ca.crt";
const ETCD_CA: &str = "/etc/kubernetes/pki/etcd/ca.crt";
const FRONT_PROXY_CA: &str = "/etc/kubernetes/pki/front-proxy-ca.crt";

const CLIENTS_OF_THE_API: &[Checker] = &[("kube-apiserver", "--client-ca-file (pki/ca.crt)", Trust::Anywhere(CA))];

/// Certificate file, side, presenter, and every verifier (facts: kubeadm's flags, `cmd/kubeadm/app/phases/controlplane/manifests.go`).
const EDGES: [(&str, &str, &str, &[Checker]); 16] = [
    (
        "/etc/kubernetes/pki/apiserver.crt",
        "server",
        "kube-apiserver",
        &[
            ("kubelet", "kubelet.conf", Trust::Anywhere("/etc/kubernetes/kubelet.conf")),
            (
                "kube-controller-manager",
                "controller-manager.conf",
                Trust::Here("/etc/kubernetes/controller-manager.conf"),
            ),
            ("kube-scheduler", "scheduler.conf", Trust::Here("/etc/kubernetes/scheduler.conf")),
            ("administrators", "admin.conf and its copies", Trust::Anywhere("/etc/kubernetes/admin.conf")),
            ("pods, kube-proxy", "kube-root-ca.crt", Trust::Object("/kube-root-ca.crt")),
            ("kubeadm join", "cluster-info", Trust::Object("/cluster-info")),
        ],
    ),
    (
        "/etc/kubernetes/pki/apiserver-kubelet-client.crt",
        "client",
        "kube-apiserver",
        &[("kubelet", "clientCAFile (pki/ca.crt)", Trust::Anywhere(CA))],
    ),
    (
        "/etc/kubernetes/pki/apiserver-etcd-client.crt",
        "client",
        "kube-apiserver",
        &[("etcd", "--trusted-ca-file (pki/etcd/ca.crt)", Trust::Anywhere(ETCD_CA))],
    ),
    (
        "/etc/kubernetes/pki/front-proxy-client.crt",
        "client",
        "kube-apiserver",
        &[(
            "aggregated API servers",
            "requestheader-client-ca-file (pki/front-proxy-ca.crt)",
            Trust::Anywhere(FRONT_PROXY_CA),
        )],
    ),
    (
        "/etc/kubernetes/pki/etcd/server.crt",
        "server",
        "etcd",
        &[("kube-apiserver", "--etcd-cafile (pki/etcd/ca.crt)", Trust::Anywhere(ETCD_CA))],
    ),
    (
        "/etc/kubernetes/pki/etcd/peer.crt",
        "server",
        "etcd",
        &[("other etcd members", "--peer-trusted-ca-file (pki/etcd/ca.crt)", Trust::Anywhere(ETCD_CA))],
    ),
    (
        "/etc/kubernetes/pki/etcd/peer.crt",
        "client",
        "etcd",
        &[("other etcd members", "--peer-trusted-ca-file (pki/etcd/ca.crt)", Trust::Anywhere(ETCD_CA))],
    ),
    (
        "/etc/kubernetes/pki/etcd/healthcheck-client.crt",
        "client",
        "etcdctl in probes",
        &[("etcd", "--trusted-ca-file (pki/etcd/ca.crt)", Trust::Here(ETCD_CA))],
    ),
    ("/etc/kubernetes/admin.conf", "client", "administrators", CLIENTS_OF_THE_API),
    ("/etc/kubernetes/super-admin.conf", "client", "administrators in need", CLIENTS_OF_THE_API),
    ("/etc/kubernetes/controller-manager.conf", "client", "kube-controller-manager", CLIENTS_OF_THE_API),
    ("/etc/kubernetes/scheduler.conf", "client", "kube-scheduler", CLIENTS_OF_THE_API),
    ("/etc/kubernetes/kubelet.conf", "client", "kubelet", CLIENTS_OF_THE_API),
    ("/var/lib/kubelet/pki/kubelet-client-current.pem", "client", "kubelet", CLIENTS_OF_THE_API),
    (
        "/var/lib/kubelet/pki/kubelet-server-current.pem",
        "server",
        "kubelet",
        &[("kube-apiserver", "--kubelet-certificate-authority, if it is set", Trust::Anywhere(CA))],
    ),
    (
        "/var/lib/kubelet/pki/kubelet.crt",
        "server",
        "kubelet",
        &[("nobody", "kubeadm sets no --kubelet-certificate-authority", Trust::Nobody)],
    ),
];

/// Every edge of the certificates at hand, in the order of nodes.
#[must_use]
pub fn edges(rows: &[InspectRow]) -> Vec<Edge> {
    let mut found = Vec::new();
    let presented = |row: &&InspectRow| {
        let trust = matches!(row.certificate.kind, CertificateKind::KubeconfigAuthority | CertificateKind::Authority);
        row.certificate.index == 0 && !trust
    };
    for row in rows.iter().filter(presented) {
        for (_, side, presented_by, checkers) in EDGES.iter().filter(|(path, ..)| *path == row.certificate.path) {
            for (checked_by, against, trust) in *checkers {
                found.push(Edge {
                    node: row.node.clone(),
                    certificate: row.name.clone(),
                    side,
                    presented_by,
                    checked_by,
                    against,
                    trusted: trusted(row, rows, *trust),
                });
            }
        }
    }
    found
}

fn trusted(row: &InspectRow, rows: &[InspectRow], trust: Trust) -> Option<bool> {
    let holds = |wanted: &dyn Fn(&InspectRow) -> bool| -> Vec<BTreeSet<&CaId>> {
        let mut bundles = std::collections::BTreeMap::<_, BTreeSet<&CaId>>::new();
        for other in rows.iter().filter(|other| wanted(other)) {
            if let Some(ca) = &other.certificate.ca_id {
                bundles.entry((&other.node, &other.certificate.path)).or_default().insert(ca);
            }
        }
        bundles.into_values().collect()
    };
    let bundles = match trust {
        Trust::Here(path) => holds(&|other| other.certificate.path == path && other.node == row.node),
        Trust::Anywhere(path) => holds(&|other| other.certificate.path == path),
        Trust::Object(name) => holds(&|other| other.certificate.path.ends_with(name)),
        Trust::Nobody => return None,
    };
    if bundles.is_empty() {
        return None;
    }
    // Every one of them must trust it: a certificate that one node refuses is refused.
    // The CA that signed the leaf, and those that vouch for it in the chain behind the leaf.
    let same_file =
        rows.iter().filter(|other| other.node == row.node && other.certificate.path == row.certificate.path);
    let shown =
        same_file.filter(|other| other.certificate.index == 0 || other.certificate.kind == CertificateKind::Chain);
    let signers: Vec<&CaId> = shown.filter_map(|other| other.certificate.issuer_id.as_ref()).collect();
    Some(bundles.iter().all(|cas| signers.iter().any(|signer| cas.contains(signer))))
}
