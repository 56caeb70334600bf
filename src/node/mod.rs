//! ADAPTER: one machine's certificate files, container runtime and systemd, all below a root that tests can set.
#![expect(clippy::disallowed_methods, reason = "the one module that works on files of the node")]

mod addresses;
mod apply;
mod atomic;
mod authorities;
mod backups;
mod credential_cache;
mod cri;
mod error;
mod etcd;
mod facts;
#[cfg(test)]
mod fixture;
mod journal;
mod key_files;
mod kubeconfig_files;
pub mod layout;
mod loaded;
mod lock;
pub mod manifest;
mod observe;
mod pki_dir;
pub mod renewal;
pub mod repair;
mod static_pods;
mod switch;
mod systemd;
mod unit;
mod whole_file;

pub use crate::plan::{CertificateKind, CertificateRow};
pub use addresses::{Addresses, EtcdAddresses};
pub use apply::{ApplyContext, Callbacks, Mirror, ONE_YEAR, apply};
pub use authorities::Authorities;
pub use credential_cache::{CredentialCache, Pending};
pub use cri::{ContainerState, Cri};
pub use error::{BoxError, NodeError, in_full};
pub use etcd::{Etcd, EtcdSnapshot};
pub use journal::{Issued, note_issued};
pub use kubeconfig_files::{KubeconfigFiles, KubeconfigLock};
pub use layout::{CA_CERT, Layout};
pub use loaded::{History, changed as files_changed};
pub use lock::{AgentLock, WriteLock};
pub use observe::{Node, Observation};
pub use pki_dir::{DiskReading, read_disk};
pub use static_pods::StaticPods;
pub use switch::Recovered;
pub use systemd::{Systemd, UnitState};
pub use unit::{Program, install_unit, keep_token, remove_unit};
pub use whole_file::read_whole;

/// Reading and writing of whole files for the agent's own state (the sealing key): the one writer of this crate.
pub mod files {
    pub use super::atomic::{PUBLIC, SECRET, private_folder, remove, replace};
}

#[cfg(test)]
mod tests;
