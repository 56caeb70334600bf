//! Certification requests (PKCS#10, RFC 2986), as the certificates API takes them.

use std::net::IpAddr;

use rustls_pki_types::pem::SectionKind;
use x509_cert::der::asn1::{Any, AnyRef, ObjectIdentifier};
use x509_cert::der::{Decode as _, Encode as _, Error, Reader as _, Tag, TagNumber};
use x509_cert::ext::Extension;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Extension};

use super::{Certificate, PkiError, PrivateKey, der, names, pem, public_key};

/// id-ExtensionReq of PKCS#9 (RFC 2985 section 5.4.2).
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const SUBJECT_ALT_NAME: &str = "2.5.29.17";

/// A request that somebody else made, for deciding whether to approve it.
///
/// It is read more strictly than by Go (`crypto/x509`, `ParseCertificateRequest`): whatever Go may see in it is seen here too, or it is
/// refused, because the signer reads the same bytes once more after the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    subject: String,
    dns_names: Vec<String>,
    ip_addresses: Vec<IpAddr>,
    has_other_names: bool,
    is_proven: bool,
}

impl CertificateRequest {
    /// Reads a file that holds one PEM block, a `CERTIFICATE REQUEST`.
    ///
    /// # Errors
    /// [`PkiError::Request`] for anything else.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PkiError> {
        Self::from_der(&only_request(pem)?)
    }

    fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let (rest, parsed) = X509CertificationRequest::from_der(der).map_err(|error| unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(unreadable(format!("{} bytes follow it", rest.len())));
        }
        let info = &parsed.certification_request_info;
        let mut request = Self {
            subject: names::display(&info.subject),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            has_other_names: false,
            is_proven: public_key::made_signature(info.subject_pki.raw, der),
        };
        for attribute in info.iter_attributes() {
            match attribute.parsed_attribute() {
                ParsedCriAttribute::ExtensionRequest(wanted) => {
                    wanted.extensions.iter().for_each(|extension| request.add(extension));
                }
                _ => request.has_other_names |= attribute.oid.to_id_string() == EXTENSION_REQUEST.to_string(),
            }
        }
        Ok(request)
    }

    /// Names of every subject alternative name, should there be several.
    fn add(&mut self, extension: &X509Extension<'_>) {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::DNSName(dns) => self.dns_names.push((*dns).to_owned()),
                        GeneralName::IPAddress(bytes) => match super::certificate::address(bytes) {
                            Some(address) => self.ip_addresses.push(address),
                            None => self.has_other_names = true,
                        },
                        _ => self.has_other_names = true,
                    }
                }
            }
            _ => self.has_other_names |= extension.oid.to_id_string() == SUBJECT_ALT_NAME,
        }
    }

    /// Subject as Go prints it.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// DNS names asked for.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// Addresses asked for.
    #[must_use]
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.ip_addresses
    }

    /// True when it asks for an email address, a URI, or a name that cannot be read.
    #[must_use]
    pub fn has_other_names(&self) -> bool {
        self.has_other_names
    }

    /// True when the key in it signed it: whoever asks holds that key (RFC 2986 section 3).
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.is_proven
    }
}

fn unreadable(reason: String) -> PkiError {
    PkiError::Request { reason }
}

/// The DER of a file that holds one PEM block, a `CERTIFICATE REQUEST`.
fn only_request(pem: &[u8]) -> Result<Vec<u8>, PkiError> {
    let blocks = pem::blocks(pem);
    let [block] = blocks.as_slice() else { return Err(unreadable(format!("it has {} PEM blocks", blocks.len()))) };
    match block.decode()? {
        Some((SectionKind::Csr, der)) if block.label == "CERTIFICATE REQUEST" => Ok(der),
        _ => Err(unreadable(format!("it is a {}", block.label))),
    }
}

/// version `0` and, behind subject and key, an empty `[0]`: the first and the last field of a request that asks for no extension
/// (RFC 2986 section 4.1).
const PLAIN: (&[u8], &[u8]) = (&[0x02, 0x01, 0x00], &[0xa0, 0x00]);

/// A request that somebody else sent: well formed, signed by the key that it names, and asking for a subject and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainRequest {
    subject: Vec<u8>,
    spki: Vec<u8>,
}

impl PlainRequest {
    /// Reads exactly one PEM request. Whoever cannot sign with the key does not own it; whoever asks for extensions asks for more than
    /// a name.
    ///
    /// # Errors
    /// [`PkiError::Request`] with the reason for the refusal; [`PkiError::PemBlock`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, PkiError> {
        let refused = |reason: &str| unreadable(reason.to_owned());
        let der = only_request(pem)?;
        let [version, subject, spki, attributes] = fields(&der).map_err(|error| unreadable(error.to_string()))?;
        if (version, attributes) != PLAIN {
            return Err(refused("it asks for more than a subject"));
        }
        if !public_key::made_signature(spki, &der) {
            return Err(refused("its signature is not that of its own key"));
        }
        Ok(Self { subject: subject.to_vec(), spki: spki.to_vec() })
    }

    /// True when the subject is exactly this user in exactly these groups, in that order, as [`certificate_request`] writes it.
    #[must_use]
    pub fn asks_for(&self, common_name: &str, organizations: &[String]) -> bool {
        names::distinguished_name(common_name, organizations).is_ok_and(|subject| subject == self.subject)
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }
}

/// The four fields of CertificationRequestInfo, each with its header. Nothing may follow them.
fn fields(der: &[u8]) -> Result<[&[u8]; 4], Error> {
    let body = AnyRef::from_der(der)?.sequence(|request| {
        let body = request.tlv_bytes()?;
        let (_algorithm, _signature) = (request.tlv_bytes()?, request.tlv_bytes()?);
        Ok::<_, Error>(body)
    })?;
    AnyRef::from_der(body)?
        .sequence(|info| Ok::<_, Error>([info.tlv_bytes()?, info.tlv_bytes()?, info.tlv_bytes()?, info.tlv_bytes()?]))
}

/// A request for a client certificate, PEM. The order of organizations is kept.
///
/// # Errors
/// [`PkiError::Encode`], [`PkiError::Crypto`].
pub fn certificate_request(common_name: &str, organizations: &[String], key: &PrivateKey) -> Result<String, PkiError> {
    request(&names::distinguished_name(common_name, organizations)?, &[], key)
}

/// A request for a certificate like `old`: same subject bytes and subject alternative name. Usages are not asked for: the
/// certificates API takes them from the CertificateSigningRequest object.
///
/// # Errors
/// [`PkiError::Encode`], [`PkiError::Crypto`].
pub fn signing_request_like(old: &Certificate, key: &PrivateKey) -> Result<String, PkiError> {
    let mut names = old.extensions();
    names.retain(|extension| extension.extn_id.to_string() == SUBJECT_ALT_NAME);
    request(old.subject_der(), &names, key)
}

fn request(subject: &[u8], extensions: &[Extension], key: &PrivateKey) -> Result<String, PkiError> {
    let failed = PkiError::encode("a certificate request");
    let version = 0_u8.to_der().map_err(&failed)?;
    let attributes = attributes(extensions)?;
    let body = der::sequence(&[&version, subject, key.spki_der(), &attributes])?;
    Ok(pem::encode("CERTIFICATE REQUEST", &der::signed(&body, key)?))
}

/// `[0] IMPLICIT SET OF Attribute`: empty, or one extension request.
fn attributes(extensions: &[Extension]) -> Result<Vec<u8>, PkiError> {
    let failed = PkiError::encode("the attributes of a request");
    let content = if extensions.is_empty() {
        Vec::new()
    } else {
        let wanted = extensions.to_vec().to_der().map_err(&failed)?;
        let values = der::wrap(Tag::Set, &wanted)?;
        der::sequence(&[&EXTENSION_REQUEST.to_der().map_err(&failed)?, &values])?
    };
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    Any::new(tag, content).and_then(|any| any.to_der()).map_err(failed)
}
