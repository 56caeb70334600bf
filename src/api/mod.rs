//! The objects of group `pki.certctl.dev/v1alpha1`: intent in the spec, observations in the status.

#[expect(unreachable_pub, reason = "kube's derive makes a helper type inside a function")]
mod cluster_pki;
mod node_pki;
mod renewal;

pub use cluster_pki::{AuthorityRecord, ClusterPKI, ClusterPkiSpec, ClusterPkiStatus, CrossRecord, RotationIntent};
pub use node_pki::{
    Clock, Made, MakeAuthority, NodePKI, NodePkiSpec, NodePkiStatus, Probe, ProbeServer, SealFor, SealedKey, Snapshot,
    Vouched,
};
pub use renewal::{NodeRenewal, RenewalOrder, RenewalOutcome, Renewed, Replaced, replaced};

/// API group of every certctl object.
pub const GROUP: &str = "pki.certctl.dev";
/// Name of the one ClusterPKI object.
pub const CLUSTER_PKI: &str = "cluster";
/// Namespace of the agents and of the driver's Lease.
pub const NAMESPACE: &str = "certctl-system";
