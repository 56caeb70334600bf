//! Sealing: a secret for one node and one purpose, by HPKE (RFC 9180) base mode, DHKEM(X25519, HKDF-SHA256), AES-256-GCM.

use std::fmt;

use aws_lc_rs::agreement;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::PkiError;

/// A node's private sealing key: 32 bytes, redacted, wiped.
pub struct SealingKey {
    private: Zeroizing<Vec<u8>>,
    public: SealingPublicKey,
}

/// The public half, base64 of 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SealingPublicKey(String);

/// A sealed value. Safe to store anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    /// Encapsulated key, base64.
    pub enc: String,
    /// Ciphertext with its tag, base64.
    pub ciphertext: String,
}

impl SealingKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`PkiError::Crypto`].
    pub fn generate() -> Result<Self, PkiError> {
        let (_, private) = SUITE.generate_key_pair().map_err(|_| PkiError::Crypto("generate a sealing key"))?;
        Self::from_bytes(private.secret_bytes())
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`PkiError::Sealed`] for anything but 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PkiError> {
        let broken =
            PkiError::Sealed("the sealing key is not an X25519 key of 32 bytes; remove it and a new one is made");
        let private = agreement::PrivateKey::from_private_key(&agreement::X25519, bytes).map_err(|_| broken.clone())?;
        let public = private.compute_public_key().map_err(|_| broken)?;
        let public = SealingPublicKey(STANDARD.encode(public.as_ref()));
        Ok(Self { private: Zeroizing::new(bytes.to_vec()), public })
    }

    /// The 32 bytes, for a file of mode 0600.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.private.clone()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> SealingPublicKey {
        self.public.clone()
    }

    /// Opens what was sealed to this key under the same `info`.
    ///
    /// # Errors
    /// [`PkiError::Sealed`]: other key, other `info`, changed value. Which one it was cannot be told, by design.
    pub fn open(&self, info: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        let not_base64 = |_| PkiError::Sealed("it is not base64");
        let enc = EncapsulatedSecret(STANDARD.decode(&sealed.enc).map_err(not_base64)?);
        let ciphertext = STANDARD.decode(&sealed.ciphertext).map_err(not_base64)?;
        let private = HpkePrivateKey::from(self.private.to_vec());
        let opened = SUITE.open(&enc, info.as_bytes(), &[], &ciphertext, &private);
        opened
            .map(Zeroizing::new)
            .map_err(|_| PkiError::Sealed("it was sealed to another key, for another purpose, or changed"))
    }
}

impl SealingPublicKey {
    /// Seals `plaintext` so that only the holder of the private key opens it, and only under the same `info` (node name and
    /// CA id: a value copied to another place does not open there).
    ///
    /// # Errors
    /// [`PkiError::Sealed`] when this is no public key.
    pub fn seal(&self, info: &str, plaintext: &[u8]) -> Result<Sealed, PkiError> {
        let broken = PkiError::Sealed("the public sealing key is not an X25519 key in base64");
        let public = HpkePublicKey(STANDARD.decode(&self.0).map_err(|_| broken.clone())?);
        let (enc, ciphertext) = SUITE.seal(info.as_bytes(), &[], plaintext, &public).map_err(|_| broken)?;
        Ok(Sealed { enc: STANDARD.encode(enc.0), ciphertext: STANDARD.encode(ciphertext) })
    }

    /// The base64 text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(redacted)")
    }
}
