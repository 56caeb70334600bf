//! Certificates that stand for one CA generation when an edge is verified before it exists.

use jiff::{SignedDuration, Timestamp};

use super::{CaId, Certificate, CertificateAuthority, KeyAlgorithm, PkiError, PrivateKey, ServerNames};

/// kubeadm's lifetimes: 10 years for a CA, 1 year for a leaf.
const CA_VALIDITY: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
const LEAF_VALIDITY: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Public certificates of one CA generation: enough to verify every edge that a plan would make.
#[derive(Clone, Debug)]
pub struct Material {
    /// The CA.
    pub ca: Certificate,
    /// This CA as signed by others: who signed, and the cross-signed certificate.
    pub crosses: Vec<(CaId, Certificate)>,
    /// A server leaf of this CA; `None` when nobody with its key was there to make one.
    pub specimen_server: Option<Certificate>,
    /// A client leaf of this CA.
    pub specimen_client: Option<Certificate>,
}

impl Material {
    /// Mints specimen leaves of `authority` over a key that is thrown away at once: they can be verified, and used by nobody.
    ///
    /// # Errors
    /// [`PkiError::NoValidity`] when the CA is not valid at `now`.
    pub fn from_authority(
        authority: &CertificateAuthority,
        crosses: Vec<(CaId, Certificate)>,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let names = ServerNames { dns: vec!["certctl-specimen".into()], ips: Vec::new() };
        let server = authority.issue_server("certctl-specimen", &names, key.spki_der(), LEAF_VALIDITY, now)?;
        let client = authority.issue_client("certctl-specimen", &[], key.spki_der(), LEAF_VALIDITY, now)?;
        let ca = authority.certificate().clone();
        Ok(Self { ca, crosses, specimen_server: Some(server), specimen_client: Some(client) })
    }

    /// A model of a CA that does not exist yet, for a dry run: like `like`, or kubeadm's, under a key that is thrown away.
    /// `name` is its common name when there is nothing to be like. It has no cross-signed certificates: nobody else's key is
    /// here; see [`Self::planned_pair`].
    ///
    /// # Errors
    /// As [`CertificateAuthority::generate_like`].
    pub fn planned(name: &str, like: Option<&Self>, now: Timestamp) -> Result<Self, PkiError> {
        Self::from_authority(&model(name, like, now)?, Vec::new(), now)
    }

    /// Models of two generations that vouch for each other, old first: a dry run verifies its edges among these.
    ///
    /// # Errors
    /// As [`Self::planned`].
    pub fn planned_pair(name: &str, like: Option<&Self>, now: Timestamp) -> Result<(Self, Self), PkiError> {
        let (old, new) = (model(name, like, now)?, model(name, like, now)?);
        let new_by_old = vec![(old.certificate().ca_id(), old.cross_sign(new.certificate(), now)?)];
        let old_by_new = vec![(new.certificate().ca_id(), new.cross_sign(old.certificate(), now)?)];
        Ok((Self::from_authority(&old, old_by_new, now)?, Self::from_authority(&new, new_by_old, now)?))
    }
}

/// P-256 whatever the real key is: a model is verified, not measured, and RSA keys take a second to make.
fn model(name: &str, like: Option<&Material>, now: Timestamp) -> Result<CertificateAuthority, PkiError> {
    let algorithm = KeyAlgorithm::EcdsaP256;
    match like {
        Some(like) => CertificateAuthority::generate_like(&like.ca, Some(algorithm), CA_VALIDITY, now),
        None => CertificateAuthority::generate(name, algorithm, CA_VALIDITY, now),
    }
}
