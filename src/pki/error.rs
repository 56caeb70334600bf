//! What can be wrong with certificates, keys and the files around them.

use jiff::Timestamp;

/// Every failure of this module. Texts name the object, never key material; the caller adds the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    /// A PEM block cannot be decoded.
    #[error("PEM block {block} is broken: {reason}")]
    PemBlock {
        /// Position in the file, from 1, every `-----BEGIN` counted.
        block: usize,
        /// Why.
        reason: String,
    },
    /// There is no certificate in the file.
    #[error("no CERTIFICATE block found")]
    NoCertificate,
    /// Bytes that are no X.509 certificate.
    #[error("not a readable X.509 certificate: {reason}")]
    Certificate {
        /// What the parser said.
        reason: String,
    },
    /// Bytes that are no certification request.
    #[error("not a readable certificate request: {reason}")]
    Request {
        /// What is wrong.
        reason: String,
    },
    /// There is no private key in the file.
    #[error("no private key found; expected a block RSA PRIVATE KEY, EC PRIVATE KEY or PRIVATE KEY")]
    NoKey,
    /// The key needs a passphrase.
    #[error("private key is encrypted; decrypt it first with `openssl pkey`")]
    EncryptedKey,
    /// A key this program, or Kubernetes, does not work with.
    #[error("unsupported key {found}; use one of RSA-2048, RSA-3072, RSA-4096, ECDSA-P256, ECDSA-P384, ECDSA-P521")]
    UnsupportedKey {
        /// Kind of key found, or that its bytes were rejected.
        found: String,
    },
    /// A word that names no key algorithm.
    #[error(
        "unknown key algorithm `{0}`; use one of RSA-2048, RSA-3072, RSA-4096, ECDSA-P256, ECDSA-P384, ECDSA-P521, Ed25519"
    )]
    UnknownAlgorithm(String),
    /// A text that is no identity of a CA.
    #[error("`{found}` is no CA id; expected the SHA-256 of its public key, 64 lower-case hex digits")]
    CaId {
        /// Its beginning.
        found: String,
    },
    /// Key and certificate are not a pair.
    #[error("private key does not belong to the certificate `{subject}`")]
    KeyMismatch {
        /// Subject of the certificate.
        subject: String,
    },
    /// The certificate must not sign certificates.
    #[error("certificate `{subject}` is no CA")]
    NotACa {
        /// Subject of the certificate.
        subject: String,
    },
    /// No time is left in which the new certificate would be valid.
    #[error("cannot issue `{subject}`: it would be valid from {not_before} to {not_after} only; renew the CA first")]
    NoValidity {
        /// Subject of the certificate wanted.
        subject: String,
        /// Earliest possible start.
        not_before: Timestamp,
        /// Latest possible end.
        not_after: Timestamp,
    },
    /// A value has no DER form, for example a DNS name outside ASCII.
    #[error("cannot encode {what}: {reason}")]
    Encode {
        /// The field.
        what: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// The crypto library gave no reason.
    #[error("the crypto library failed to {0}")]
    Crypto(&'static str),
    /// A kubeconfig that cannot be understood.
    #[error("kubeconfig: {0}")]
    Kubeconfig(String),
    /// A sealed value that is not for this key or this purpose, or was changed.
    #[error("cannot open the sealed value: {0}")]
    Sealed(&'static str),
}

impl PkiError {
    pub(super) fn encode(what: &'static str) -> impl Fn(x509_cert::der::Error) -> Self {
        move |error| Self::Encode { what, reason: error.to_string() }
    }
}
