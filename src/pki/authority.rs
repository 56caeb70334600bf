//! A certificate authority: certificate and key, and what it signs.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName, SubjectKeyIdentifier};

use super::der::{Span, ToBeSigned};
use super::{Certificate, KeyAlgorithm, PkiError, PrivateKey, extension, names};

/// A CA that can sign. Key and certificate belong together, and the certificate is a CA's.
#[derive(Clone, Debug)]
pub struct CertificateAuthority {
    certificate: Certificate,
    key: PrivateKey,
}

/// Names of a server certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames {
    /// DNS names, ASCII.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

impl CertificateAuthority {
    /// Puts a pair together.
    ///
    /// # Errors
    /// [`PkiError::NotACa`], [`PkiError::KeyMismatch`].
    pub fn new(certificate: Certificate, key: PrivateKey) -> Result<Self, PkiError> {
        if !certificate.is_ca() {
            return Err(PkiError::NotACa { subject: certificate.subject() });
        }
        if !key.matches(&certificate) {
            return Err(PkiError::KeyMismatch { subject: certificate.subject() });
        }
        Ok(Self { certificate, key })
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The CA's key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// A new self-signed CA in the place of `old`: same subject bytes, its extensions kept (kubeadm's where it lacks them), new
    /// key. `algorithm: None` keeps the old one's kind.
    ///
    /// OpenSSL tells two CAs of one name apart by their key identifiers only. The new one always has one; where the old has
    /// none (kubeadm before 1.20, built with Go before 1.15) the new one gets a serialNumber into its name instead.
    ///
    /// # Errors
    /// [`PkiError::UnsupportedKey`] when the old key is of a kind we cannot make and none is named.
    pub fn generate_like(
        old: &Certificate,
        algorithm: Option<KeyAlgorithm>,
        validity: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let unsupported = || PkiError::UnsupportedKey { found: old.key_description().into_owned() };
        let key = PrivateKey::generate(algorithm.or(old.key_algorithm()).ok_or_else(unsupported)?)?;
        let extensions = authority_extensions(old)?;
        if old.subject_key_id().is_some() {
            return Self::self_signed(old.subject_der(), extensions, key, validity, now);
        }
        let subject = names::told_apart(old.subject_der(), key.ca_id().short())?;
        Self::self_signed(&subject, extensions, key, validity, now)
    }

    /// A new self-signed CA with kubeadm's form (`k8s.io/client-go/util/cert`, `NewSelfSignedCACert`).
    ///
    /// # Errors
    /// [`PkiError::Encode`], [`PkiError::Crypto`].
    pub fn generate(
        common_name: &str,
        algorithm: KeyAlgorithm,
        validity: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let subject = names::distinguished_name(common_name, &[])?;
        let mut extensions = Vec::new();
        complete(&mut extensions, Some(common_name))?;
        Self::self_signed(&subject, extensions, PrivateKey::generate(algorithm)?, validity, now)
    }

    fn self_signed(
        subject: &[u8],
        mut extensions: Vec<Extension>,
        key: PrivateKey,
        validity: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        extensions.push(extension::subject_key_id(&extension::key_id(key.spki_der()))?);
        let certificate = ToBeSigned {
            issuer: subject,
            subject,
            public_spki: key.spki_der(),
            span: Span::starting(now, validity),
            extensions,
        }
        .sign(&key)?;
        Self::new(certificate, key)
    }

    /// This CA with a new end: same key, subject, extensions and notBefore, signed by itself. Whatever it has signed goes on verifying against
    /// it, and its SPKI, which joins are pinned to, stays. notBefore stays because a CA that is valid from now on would be refused by clocks
    /// that are behind.
    ///
    /// # Errors
    /// [`PkiError::NoValidity`] when the CA is not valid yet at `now`.
    pub fn prolonged(&self, validity: SignedDuration, now: Timestamp) -> Result<Self, PkiError> {
        let old = &self.certificate;
        let span = Span { not_before: old.not_before(), not_after: Span::starting(now, validity).not_after };
        if now < span.not_before {
            let (not_before, not_after) = (span.not_before, span.not_after);
            return Err(PkiError::NoValidity { subject: old.subject(), not_before, not_after });
        }
        let extensions = old.extensions();
        let (issuer, subject, public_spki) = (old.subject_der(), old.subject_der(), old.spki_der());
        let certificate = ToBeSigned { issuer, subject, public_spki, span, extensions }.sign(&self.key)?;
        Self::new(certificate, self.key.clone())
    }

    /// `other` as this CA vouches for it: other's subject, key and extensions, signed here. Behind a leaf of `other` it lets
    /// verifiers that trust only this CA accept the leaf. Valid while both are.
    ///
    /// # Errors
    /// [`PkiError::NotACa`]; [`PkiError::NoValidity`] when the two validities do not meet, or are over at `now`.
    pub fn cross_sign(&self, other: &Certificate, now: Timestamp) -> Result<Certificate, PkiError> {
        if !other.is_ca() {
            return Err(PkiError::NotACa { subject: other.subject() });
        }
        let whole = Span { not_before: other.not_before(), not_after: other.not_after() };
        let mut extensions = authority_extensions(other)?;
        extensions.push(extension::subject_key_id(&extension::key_id_of(other))?);
        self.sign(other.subject_der(), other.spki_der(), whole, extensions, now)
    }

    /// Signs `old` anew over `public_spki`: subject and extensions byte for byte, new serial, validity and key identifiers.
    /// It ends with the CA at the latest.
    ///
    /// # Errors
    /// [`PkiError::NoValidity`] when the CA is not valid at `now`.
    pub fn reissue(
        &self,
        old: &Certificate,
        public_spki: &[u8],
        validity: SignedDuration,
        now: Timestamp,
    ) -> Result<Certificate, PkiError> {
        let mut extensions = extension::kept(old);
        if extension::has::<SubjectKeyIdentifier>(&old.extensions()) {
            extensions.push(extension::subject_key_id(&extension::key_id(public_spki))?);
        }
        self.sign(old.subject_der(), public_spki, Span::starting(now, validity), extensions, now)
    }

    /// A client certificate as kubeadm makes them: user `common_name`, groups `organizations` in that order.
    ///
    /// # Errors
    /// [`PkiError::NoValidity`], [`PkiError::Encode`].
    pub fn issue_client(
        &self,
        common_name: &str,
        organizations: &[String],
        public_spki: &[u8],
        validity: SignedDuration,
        now: Timestamp,
    ) -> Result<Certificate, PkiError> {
        let subject = names::distinguished_name(common_name, organizations)?;
        let extensions = vec![
            extension::key_usage_leaf(is_rsa(public_spki))?,
            extension::extended_key_usage(extension::CLIENT_AUTH)?,
            extension::basic_constraints_leaf()?,
        ];
        self.sign(&subject, public_spki, Span::starting(now, validity), extensions, now)
    }

    /// A server certificate as kubeadm makes them.
    ///
    /// # Errors
    /// [`PkiError::NoValidity`], [`PkiError::Encode`] for a DNS name outside ASCII.
    pub fn issue_server(
        &self,
        common_name: &str,
        names: &ServerNames,
        public_spki: &[u8],
        validity: SignedDuration,
        now: Timestamp,
    ) -> Result<Certificate, PkiError> {
        let usages = extension::extended_key_usage(extension::SERVER_AUTH)?;
        let extensions = named_extensions(names, usages, public_spki)?;
        let subject = names::distinguished_name(common_name, &[])?;
        self.sign(&subject, public_spki, Span::starting(now, validity), extensions, now)
    }

    /// A certificate of an etcd member as kubeadm makes them: for a server that is a client too (`cmd/kubeadm/app/phases/certs/certlist.go`).
    ///
    /// # Errors
    /// As [`Self::issue_server`].
    pub fn issue_peer(
        &self,
        common_name: &str,
        names: &ServerNames,
        public_spki: &[u8],
        validity: SignedDuration,
        now: Timestamp,
    ) -> Result<Certificate, PkiError> {
        let extensions = named_extensions(names, extension::server_and_client()?, public_spki)?;
        let subject = names::distinguished_name(common_name, &[])?;
        self.sign(&subject, public_spki, Span::starting(now, validity), extensions, now)
    }

    fn sign(
        &self,
        subject: &[u8],
        public_spki: &[u8],
        span: Span,
        mut extensions: Vec<Extension>,
        now: Timestamp,
    ) -> Result<Certificate, PkiError> {
        extensions.push(extension::authority_key_id(&extension::key_id_of(&self.certificate))?);
        let span = span.within(&self.certificate);
        if span.not_after <= now || now < span.not_before {
            let (not_before, not_after) = (span.not_before, span.not_after);
            return Err(PkiError::NoValidity { subject: names::display_der(subject), not_before, not_after });
        }
        ToBeSigned { issuer: self.certificate.subject_der(), subject, public_spki, span, extensions }.sign(&self.key)
    }
}

fn named_extensions(names: &ServerNames, usages: Extension, public_spki: &[u8]) -> Result<Vec<Extension>, PkiError> {
    let usage = extension::key_usage_leaf(is_rsa(public_spki))?;
    let mut extensions = vec![usage, usages, extension::basic_constraints_leaf()?];
    if !names.dns.is_empty() || !names.ips.is_empty() {
        extensions.push(extension::subject_alt_name(&names.dns, &names.ips)?);
    }
    Ok(extensions)
}

/// What a CA in the place of `old` carries: its own extensions, and kubeadm's where it lacks one.
fn authority_extensions(old: &Certificate) -> Result<Vec<Extension>, PkiError> {
    let mut extensions = extension::kept(old);
    complete(&mut extensions, old.common_name())?;
    Ok(extensions)
}

fn complete(extensions: &mut Vec<Extension>, common_name: Option<&str>) -> Result<(), PkiError> {
    if !extension::has::<KeyUsage>(extensions) {
        extensions.push(extension::key_usage_ca()?);
    }
    if !extension::has::<BasicConstraints>(extensions) {
        extensions.push(extension::basic_constraints_ca()?);
    }
    // kubeadm repeats the CN as a DNS name, which only makes sense, and only parses everywhere, where it could be one.
    let dns = common_name.filter(|name| is_dns_name(name));
    if let Some(name) = dns.filter(|_| !extension::has::<SubjectAltName>(extensions)) {
        extensions.push(extension::subject_alt_name(&[name.to_owned()], &[])?);
    }
    Ok(())
}

fn is_dns_name(name: &str) -> bool {
    rustls_pki_types::DnsName::try_from(name).is_ok()
}

fn is_rsa(public_spki: &[u8]) -> bool {
    use rustls_pki_types::alg_id::RSA_ENCRYPTION;
    public_spki.windows(RSA_ENCRYPTION.as_ref().len()).take(8).any(|window| window == RSA_ENCRYPTION.as_ref())
}
