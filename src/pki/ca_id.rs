//! The identity of a certificate authority: the hash of its public key.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// SHA-256 of a CA's SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), 64 lower-case hex digits.
///
/// The key, not the certificate, names a CA: a same-key renewal and a cross-signed copy are the same authority, and two CAs
/// with the same subject are not. It is also what `kubeadm join --discovery-token-ca-cert-hash` pins.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CaId(String);

impl CaId {
    /// Takes the 32 bytes of a SHA-256 over a DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn from_hash(hash: &[u8]) -> Self {
        use std::fmt::Write as _;
        let mut hex = String::with_capacity(hash.len() * 2);
        for byte in hash {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self(hex)
    }

    /// An identity for a CA that does not exist yet, for plans and simulations; it never equals a real one.
    #[must_use]
    pub fn planned(name: &str) -> Self {
        Self(format!("planned-{name}"))
    }

    /// The hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: enough to tell CAs apart in a message.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for CaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}
