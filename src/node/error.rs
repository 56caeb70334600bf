//! What can go wrong on a node: each case names the file, object or process, and what to do where that is known.

use std::io;
use std::path::Path;

use thiserror::Error;

use crate::pki::{CaId, PkiError};

/// An error from the boxed callbacks that the caller gives.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an observation or a change on a node failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A file system call failed.
    #[error("cannot {action} {path}")]
    Io {
        /// The verb: read, write, rename …
        action: &'static str,
        /// Path as this process sees it.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A file holds no usable certificate, key or kubeconfig.
    #[error("cannot use {path}")]
    Pki {
        /// Path on the node.
        path: String,
        /// What is wrong with it.
        source: PkiError,
    },
    /// A certificate could not be made.
    #[error("cannot issue {what}")]
    Issue {
        /// Which certificate.
        what: String,
        /// Why.
        source: PkiError,
    },
    /// A static-pod manifest is not what kubeadm writes.
    #[error("cannot edit {path}: {problem}")]
    Manifest {
        /// Path on the node.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// One of certctl's own files is broken.
    #[error("cannot read {path}: {problem}; move the file away and run the command again")]
    Record {
        /// Path on the node.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A CA whose certificate is not on this node.
    #[error("the certificate of CA {} is not in /var/lib/certctl/authorities: stage it on this node first", .0.short())]
    UnknownAuthority(CaId),
    /// A CA whose key is not on this node.
    #[error("the key of CA {} is not in /var/lib/certctl/authorities: stage it on this node first", .0.short())]
    NoKey(CaId),
    /// A cross-signed certificate that is not on this node.
    #[error("the certificate of CA {} signed by CA {} is not in /var/lib/certctl/authorities: stage it on this node first", subject.short(), signer.short())]
    NoCross {
        /// Whose certificate.
        subject: CaId,
        /// Signed by whom.
        signer: CaId,
    },
    /// A CA's key is to be destroyed while something still signs with it.
    #[error("the key of CA {} is not destroyed: {user} still signs with {path}; bring this node to another CA first", ca.short())]
    KeyInUse {
        /// Whose key.
        ca: CaId,
        /// Who uses it.
        user: &'static str,
        /// Path on the node.
        path: &'static str,
    },
    /// The container runtime did not answer or refused.
    #[error("container runtime at {socket}: {problem}")]
    Cri {
        /// The socket asked.
        socket: String,
        /// Its answer.
        problem: String,
    },
    /// systemd did not answer or refused.
    #[error("systemd at {socket}: {problem}")]
    Systemd {
        /// The D-Bus socket asked.
        socket: String,
        /// Its answer.
        problem: String,
    },
    /// etcd did not answer or refused.
    #[error("etcd at {address}: {problem}")]
    Etcd {
        /// The address asked.
        address: String,
        /// Its answer.
        problem: String,
    },
    /// A file of a client's credential cannot be used.
    #[error("cannot use {path}: {problem}")]
    Credential {
        /// Path as this process sees it.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An expected effect did not show in time.
    #[error("{what} for {seconds} s: {hint}")]
    Timeout {
        /// What was waited for, as a statement ("kube-scheduler has not stopped").
        what: String,
        /// How long.
        seconds: u64,
        /// Where to look.
        hint: &'static str,
    },
    /// A callback of the caller failed.
    #[error("{what}")]
    Callback {
        /// What was asked of it.
        what: String,
        /// Its reason.
        source: BoxError,
    },
}

/// An error with its causes: what the administrator sees of it is one line.
#[must_use]
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl NodeError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn pki(path: impl Into<String>) -> impl FnOnce(PkiError) -> Self {
        let path = path.into();
        move |source| Self::Pki { path, source }
    }

    pub(crate) fn issue(what: impl Into<String>) -> impl FnOnce(PkiError) -> Self {
        let what = what.into();
        move |source| Self::Issue { what, source }
    }
}
