//! certctl runs the whole life of the PKI of a self-managed Kubernetes cluster.
//!
//! The map, top down (a module imports only what stands below it; `tests/architecture.rs` checks it):
//!
//! ```text
//! entry     main → cli → commands        agent          parse, load, decide, apply, render
//! shell     engine                       ui             plan meets adapters │ the only printer
//! adapters  node      cluster     probe     remote      files │ Kubernetes API │ TLS │ ssh; strangers to each other
//! objects   api       config                            Kubernetes objects │ certctl.yaml
//! domain    diagnosis → rotation, inspection → plan → pki   pure: no IO, no clock, no terminal
//! ```
//!
//! `context` belongs to the entry row; `error` stands between the adapters and the shell.

pub mod agent;
pub mod api;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod context;
pub mod diagnosis;
pub mod engine;
pub mod error;
pub mod inspection;
pub mod node;
pub mod pki;
pub mod plan;
pub mod probe;
pub mod remote;
pub mod rotation;
pub mod ui;
