//! PURE: what a cluster PKI is. No IO, no clock; the one impurity is entropy, in `private_key`, `der` (serials) and `seal`.
//!
//! Words are those of RFC 5280. Time is always an argument ([`jiff::Timestamp`]); file names are the caller's business, so
//! an error says what is wrong with the bytes and the caller adds where they stand.

mod authority;
mod ca_id;
mod certificate;
mod chain;
mod csr;
mod der;
mod error;
mod extension;
mod key_algorithm;
mod kubeconfig;
mod names;
mod pem;
mod private_key;
mod public_half;
mod public_key;
mod seal;
mod specimen;
mod yaml;

pub use authority::{CertificateAuthority, ServerNames};
pub use ca_id::CaId;
pub use certificate::{Certificate, Words};
pub use chain::{ChainError, Usage, verify};
pub use csr::{CertificateRequest, PlainRequest, certificate_request, signing_request_like};
pub use der::BACKDATE;
pub use error::PkiError;
pub use key_algorithm::KeyAlgorithm;
pub use kubeconfig::{
    Choice, Conflict, EXEC_API_VERSION, Kubeconfig, Login, LoginNames, Merge, MergedFile, PLUGIN, cluster_body,
    credential_name, merge,
};
pub use names::hex;
pub use private_key::PrivateKey;
pub use public_half::PublicHalf;
pub use seal::{Sealed, SealingKey, SealingPublicKey};
pub use specimen::Material;
pub use yaml::read_yaml;

#[cfg(test)]
mod tests;
