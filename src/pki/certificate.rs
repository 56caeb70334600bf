//! An X.509 certificate (RFC 5280), owned, read once.

mod words;

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::SectionKind;
use x509_cert::ext::Extension;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::{CaId, KeyAlgorithm, PkiError, extension, names, pem, public_key};
pub use words::Words;

/// A certificate. Equal when the DER is. Cheap to clone.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

/// The ranges are of `der`.
struct Inner {
    der: Vec<u8>,
    subject: String,
    subject_der: Range<usize>,
    issuer: String,
    issuer_der: Range<usize>,
    common_name: Option<String>,
    organizations: Vec<String>,
    serial_hex: String,
    not_before: Timestamp,
    not_after: Timestamp,
    spki: Range<usize>,
    key_description: Cow<'static, str>,
    key_algorithm: Option<KeyAlgorithm>,
    signature_description: Cow<'static, str>,
    details: Details,
}

/// What the extensions say.
#[derive(Default)]
struct Details {
    dns_names: Vec<String>,
    ip_addresses: Vec<IpAddr>,
    is_ca: bool,
    path_length: Option<u32>,
    client_auth: bool,
    server_auth: bool,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
}

impl Certificate {
    /// Reads one DER certificate and nothing after it.
    ///
    /// # Errors
    /// [`PkiError::Certificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        Self::from_vec(der.to_vec())
    }

    fn from_vec(der: Vec<u8>) -> Result<Self, PkiError> {
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|error| unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(unreadable(format!("{} bytes follow it", rest.len())));
        }
        let inner = read(&der, &parsed)?;
        Ok(Self(Arc::new(Inner { der, ..inner })))
    }

    /// Every certificate of a PEM file, in order; other blocks (keys, parameters) are skipped.
    ///
    /// # Errors
    /// The first broken block, by number; [`PkiError::NoCertificate`] when there is none.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, PkiError> {
        let found: Vec<Self> = Self::each_from_pem(pem).into_iter().collect::<Result<_, _>>()?;
        if found.is_empty() { Err(PkiError::NoCertificate) } else { Ok(found) }
    }

    /// Every CERTIFICATE block of a file, readable or not: one broken block hides nothing.
    #[must_use]
    pub fn each_from_pem(pem: &[u8]) -> Vec<Result<Self, PkiError>> {
        let blocks = pem::blocks(pem).into_iter().filter(|block| block.label == "CERTIFICATE");
        blocks.filter_map(|block| Self::from_block(&block).transpose()).collect()
    }

    /// The first CERTIFICATE block: the leaf of a chain, the active signer of a bundle.
    ///
    /// # Errors
    /// That block is broken, or there is none.
    pub fn first_from_pem(pem: &[u8]) -> Result<Self, PkiError> {
        Self::each_from_pem(pem).into_iter().next().unwrap_or(Err(PkiError::NoCertificate))
    }

    fn from_block(block: &pem::Block<'_>) -> Result<Option<Self>, PkiError> {
        let Some((SectionKind::Certificate, der)) = block.decode()? else { return Ok(None) };
        let named = |error: PkiError| PkiError::PemBlock { block: block.number, reason: error.to_string() };
        Self::from_vec(der).map(Some).map_err(named)
    }

    /// PEM as kubeadm writes it: 64 columns, LF.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.0.der)
    }

    /// The DER bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.0.der.get(range.clone()).unwrap_or_default()
    }

    /// The DER bytes as rustls wants them.
    #[must_use]
    pub fn rustls_der(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.0.der.clone())
    }

    /// Subject as Go prints it, for example `CN=kubernetes-admin,O=kubeadm:cluster-admins`.
    #[must_use]
    pub fn subject(&self) -> String {
        self.0.subject.clone()
    }

    /// Subject, DER of the Name.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        self.part(&self.0.subject_der)
    }

    /// Issuer as Go prints it.
    #[must_use]
    pub fn issuer_subject(&self) -> String {
        self.0.issuer.clone()
    }

    /// Issuer, DER of the Name.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        self.part(&self.0.issuer_der)
    }

    /// The last CN of the subject (Go takes the last): the user name to Kubernetes.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.0.common_name.as_deref()
    }

    /// Every O of the subject in order: the groups to Kubernetes.
    #[must_use]
    pub fn organizations(&self) -> &[String] {
        &self.0.organizations
    }

    /// Serial number, lower-case hex without leading zero bytes.
    #[must_use]
    pub fn serial_hex(&self) -> String {
        self.0.serial_hex.clone()
    }

    /// First second of validity.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// Last second of validity. RFC 5280's "no expiry" (99991231235959Z) becomes [`Timestamp::MAX`].
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// True when `now` lies within the validity, both ends included. Fractions of a second count, as they do for the cluster's programs (Go,
    /// `crypto/x509`, `Certificate.Verify`).
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.0.not_before <= now && now <= self.0.not_after
    }

    /// DNS names of the subject alternative name.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.0.details.dns_names
    }

    /// Addresses of the subject alternative name.
    #[must_use]
    pub fn ip_addresses(&self) -> Vec<IpAddr> {
        self.0.details.ip_addresses.clone()
    }

    /// True when basic constraints say CA.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.details.is_ca
    }

    /// How many CAs may stand between this CA and a leaf; `None` for any number.
    #[must_use]
    pub fn path_length(&self) -> Option<u32> {
        self.0.details.path_length
    }

    /// True when its own key signed it.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        self.signed_by(self)
    }

    /// True when extended key usage allows TLS clients (an absent extension allows everything).
    #[must_use]
    pub fn client_auth(&self) -> bool {
        self.0.details.client_auth
    }

    /// True when extended key usage allows TLS servers (an absent extension allows everything).
    #[must_use]
    pub fn server_auth(&self) -> bool {
        self.0.details.server_auth
    }

    /// Subject key identifier.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0.details.subject_key_id.as_deref()
    }

    /// keyIdentifier of the authority key identifier.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.0.details.authority_key_id.as_deref()
    }

    /// Identity of its key. Of a CA: who it is, whichever certificate it stands in.
    #[must_use]
    pub fn ca_id(&self) -> CaId {
        CaId::of_key(self.spki_der())
    }

    /// SHA-256 of the DER, lower-case hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        names::hex(digest::digest(&digest::SHA256, &self.0.der).as_ref())
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        self.part(&self.0.spki)
    }

    /// Kind of its key when it is one we can make.
    #[must_use]
    pub fn key_algorithm(&self) -> Option<KeyAlgorithm> {
        self.0.key_algorithm
    }

    /// Kind of its key in words, for any key: `RSA-8192`, `EC 1.3.132.0.10`, `DSA`, an OID.
    #[must_use]
    pub fn key_description(&self) -> Cow<'static, str> {
        self.0.key_description.clone()
    }

    /// Algorithm of its issuer's signature by Go's name (`SHA256-RSA`), or an OID.
    #[must_use]
    pub fn signature_description(&self) -> Cow<'static, str> {
        self.0.signature_description.clone()
    }

    /// Every extension with its exact bytes, in order. Read anew each time: who inspects thousands of certificates asks for none.
    pub(super) fn extensions(&self) -> Vec<Extension> {
        let parsed = X509Certificate::from_der(&self.0.der);
        parsed
            .iter()
            .flat_map(|(_, parsed)| parsed.extensions())
            .filter_map(|found| extension::copy(found).ok())
            .collect()
    }

    /// True when `issuer` is named as issuer and its key made the signature. Validity and CA flag are not looked at.
    #[must_use]
    pub fn signed_by(&self, issuer: &Self) -> bool {
        self.issuer_der() == issuer.subject_der() && public_key::made_signature(issuer.spki_der(), &self.0.der)
    }
}

pub(super) fn unreadable(reason: String) -> PkiError {
    PkiError::Certificate { reason }
}

/// Everything but the DER itself.
fn read(der: &[u8], parsed: &X509Certificate<'_>) -> Result<Inner, PkiError> {
    let subject = parsed.subject();
    let spki = parsed.public_key();
    let (key_description, key_algorithm) = public_key::describe(spki);
    parsed.extensions().iter().try_for_each(|found| extension::identifier(found).map(drop))?;
    Ok(Inner {
        der: Vec::new(),
        subject: names::display(subject),
        subject_der: place(der, subject.as_raw()),
        issuer: names::display(parsed.issuer()),
        issuer_der: place(der, parsed.issuer().as_raw()),
        common_name: subject.iter_common_name().last().and_then(names::text).map(Cow::into_owned),
        organizations: subject.iter_organization().filter_map(names::text).map(Cow::into_owned).collect(),
        serial_hex: serial_hex(parsed.raw_serial()),
        not_before: timestamp(parsed.validity().not_before.timestamp()),
        not_after: timestamp(parsed.validity().not_after.timestamp()),
        spki: place(der, spki.raw),
        key_description,
        key_algorithm,
        signature_description: public_key::signature_name(&parsed.signature_algorithm.algorithm),
        details: read_details(parsed),
    })
}

/// Where `part`, a piece of `whole`, stands in it.
fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    start..start + part.len()
}

/// jiff's calendar ends a day before X.509's; what lies beyond is its end.
fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn serial_hex(bytes: &[u8]) -> String {
    let first = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len().saturating_sub(1));
    names::hex(bytes.get(first..).unwrap_or_default())
}

fn read_details(parsed: &X509Certificate<'_>) -> Details {
    let mut details = Details { client_auth: true, server_auth: true, ..Details::default() };
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => {
                details.is_ca = constraints.ca;
                details.path_length = constraints.path_len_constraint;
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                details.client_auth = usage.any || usage.client_auth;
                details.server_auth = usage.any || usage.server_auth;
            }
            ParsedExtension::SubjectKeyIdentifier(id) => details.subject_key_id = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                details.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                names.general_names.iter().for_each(|name| details.add(name))
            }
            _ => {}
        }
    }
    details
}

impl Details {
    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(dns) => self.dns_names.push((*dns).to_owned()),
            GeneralName::IPAddress(bytes) => self.ip_addresses.extend(address(bytes)),
            _ => {}
        }
    }
}

pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, serial {})", self.0.subject, self.0.serial_hex)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl Hash for Certificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.der.hash(state);
    }
}
