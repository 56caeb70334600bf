//! PURE: what a node holds, what it is wanted to hold, and the operations that lead from one to the other.

mod op;
mod state;
mod target;

pub use op::Op;
pub use state::{
    Component, Conf, ConfState, DiskState, EndpointState, Leaf, LeafState, LoadedState, NodeState, ProcessState, Verdict,
};
pub use target::{ControlPlaneTarget, Credential, NodeTarget};
