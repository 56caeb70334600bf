//! Credentials that are handed out: what they are valid for, how they are signed, and where they are put.

mod offline;
mod place;
mod plugin;
mod signing;
mod writing;

use jiff::SignedDuration;

pub use offline::Offline;
pub use place::{Place, place};
pub use plugin::{Given, Renewal};
pub use signing::{Desk, sign};
pub use writing::{Written, would_overwrite, write};

use crate::error::Error;
use crate::pki::{Certificate, KeyAlgorithm, PrivateKey};

/// The group that the API server lets do everything, whatever its authorizers say (`plugin/pkg/auth/authorizer/rbac`): the CSR API signs
/// for none of its members (admission plugin CertificateSubjectRestriction), and no authorizer can deny one anything.
pub const MASTERS: &str = "system:masters";

/// Who a credential is for, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// User (CN).
    pub user: String,
    /// Groups (O), in order.
    pub groups: Vec<String>,
    /// Lifetime asked for; the signer may give less.
    pub lifetime: SignedDuration,
}

impl Subject {
    /// True for a member of [`MASTERS`].
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

/// A certificate and its key, both new.
#[derive(Debug)]
pub struct Issued {
    /// The client certificate.
    pub certificate: Certificate,
    /// Made here, and sent nowhere.
    pub key: PrivateKey,
}

/// The keys of credentials: as small and quick as any that every client takes.
fn new_key() -> Result<PrivateKey, Error> {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(Error::from_display)
}

#[cfg(test)]
mod tests;
