//! ADAPTER: the Kubernetes API. Errors of the client become ours here and nowhere else.
#![expect(clippy::disallowed_methods, reason = "the one module that talks to the API server")]

pub mod bootstrap;
mod client;
mod containers;
pub mod csr;
mod edit;
mod embedded;
mod error;
pub mod exec;
mod install;
pub mod kubeadm;
mod kubelet;
mod lease;
mod live;
pub mod nodes;
mod pages;
mod pki_objects;
#[cfg(test)]
pub(crate) mod played;
mod published;
pub mod trust;
mod wire;

pub use client::{Access, Cluster};
pub use embedded::Bundle;
pub use error::ClusterError;
pub use install::{InstallOptions, manifests};
pub use lease::{DriverLease, Holder, leader_node, release_leader};
pub use live::Live;
pub use published::Published;
