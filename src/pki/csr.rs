//! Certification requests (PKCS#10, RFC 2986), as the certificates API takes them.

use x509_cert::der::Encode as _;
use x509_cert::der::asn1::{Any, ObjectIdentifier};
use x509_cert::der::{Tag, TagNumber};
use x509_cert::ext::Extension;

use super::{Certificate, PkiError, PrivateKey, der, names, pem};

/// id-ExtensionReq of PKCS#9 (RFC 2985 section 5.4.2).
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const SUBJECT_ALT_NAME: &str = "2.5.29.17";

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
    let names = old.extensions().iter().filter(|extension| extension.extn_id.to_string() == SUBJECT_ALT_NAME);
    request(old.subject_der(), &names.cloned().collect::<Vec<_>>(), key)
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
