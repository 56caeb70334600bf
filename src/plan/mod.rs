//! PURE: what a node holds, what it is wanted to hold, and the operations that lead from one to the other.

mod cluster_op;
mod facts;
mod op;
mod ops;
pub mod renewal;
pub mod repair;
pub(crate) mod row;
pub mod simulate;
mod state;
mod target;

pub use cluster_op::ClusterOp;
pub use facts::{ApiserverFacts, FileFault, KubeletFacts, NodeFacts, OddFile};
pub use op::Op;
pub use ops::{node_ops, same_set};
pub use row::{CertificateKind, CertificateRow, Fault};
pub use state::{
    Component, Conf, ConfState, DiskState, EndpointState, Leaf, LeafState, LoadedState, NodeState, ProcessState,
    Verdict,
};
pub use target::{ControlPlaneTarget, Credential, NodeTarget, Serving};
