//! certctl runs the whole life of the PKI of a self-managed Kubernetes cluster.
//!
//! The map, top down (a module imports only what stands below it; `tests/architecture.rs` checks it):
//! `cli` → `commands`, `agent` → `engine`, `ui` → `node`, `cluster`, `probe` → `rotation` → `plan` → `pki`.

pub mod agent;
pub mod api;
pub mod cluster;
pub mod node;
pub mod pki;
pub mod plan;
pub mod probe;
pub mod rotation;
