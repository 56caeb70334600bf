//! The kinds of keys, under kubeadm's names.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PkiError;

/// Kind and size of a key (`EncryptionAlgorithm` of kubeadm's ClusterConfiguration, `apis/kubeadm/v1beta4/types.go`, extended).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum KeyAlgorithm {
    /// RSA with 2048 bits: kubeadm's default.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// RSA with 3072 bits.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// RSA with 4096 bits.
    #[serde(rename = "RSA-4096")]
    Rsa4096,
    /// ECDSA on NIST P-256.
    #[serde(rename = "ECDSA-P256")]
    EcdsaP256,
    /// ECDSA on NIST P-384.
    #[serde(rename = "ECDSA-P384")]
    EcdsaP384,
    /// ECDSA on NIST P-521 (kubeadm reads such keys but does not make them).
    #[serde(rename = "ECDSA-P521")]
    EcdsaP521,
    /// Ed25519 (kubeadm refuses it: `util/pkiutil/pki_helpers.go`, `TryLoadPrivateKeyFromDisk`).
    Ed25519,
}

impl KeyAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 7] =
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::EcdsaP256, Self::EcdsaP384, Self::EcdsaP521, Self::Ed25519];

    /// kubeadm's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
            Self::Rsa4096 => "RSA-4096",
            Self::EcdsaP256 => "ECDSA-P256",
            Self::EcdsaP384 => "ECDSA-P384",
            Self::EcdsaP521 => "ECDSA-P521",
            Self::Ed25519 => "Ed25519",
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = PkiError;

    fn from_str(name: &str) -> Result<Self, PkiError> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| PkiError::UnknownAlgorithm(name.to_owned()))
    }
}
