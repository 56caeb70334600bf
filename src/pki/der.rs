//! To-be-signed structures, put together from parts that are kept byte for byte.
//!
//! A builder that takes names apart and puts them together again loses repeated or oddly encoded attributes; here names,
//! public keys and extensions of an existing certificate go through as they are.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use x509_cert::der::asn1::{Any, BitString, ContextSpecific};
use x509_cert::der::{DateTime, Encode, Tag, TagMode, TagNumber};
use x509_cert::ext::Extension;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use super::{Certificate, PkiError, PrivateKey};

/// How far notBefore of what is issued lies before now, for clocks that are behind (`CertificateBackdate` in kubeadm's `constants.go`).
pub const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// A span of validity, both ends included (RFC 5280 section 4.1.2.5), whole seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Span {
    /// From five minutes before `now` until `length` after it; what lies beyond the calendar becomes its end.
    pub(super) fn starting(now: Timestamp, length: SignedDuration) -> Self {
        Self {
            not_before: now.checked_sub(BACKDATE).unwrap_or(Timestamp::MIN),
            not_after: now.checked_add(length).unwrap_or(Timestamp::MAX),
        }
    }

    /// The part of this span that lies within the validity of `certificate`.
    pub(super) fn within(self, certificate: &Certificate) -> Self {
        Self {
            not_before: self.not_before.max(certificate.not_before()),
            not_after: self.not_after.min(certificate.not_after()),
        }
    }
}

/// TBSCertificate (RFC 5280 section 4.1.2). Names and key are DER.
pub(super) struct ToBeSigned<'a> {
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) public_spki: &'a [u8],
    pub(super) span: Span,
    pub(super) extensions: Vec<Extension>,
}

impl ToBeSigned<'_> {
    /// Gives it a serial number and signs it.
    ///
    /// # Errors
    /// [`PkiError::Encode`] for a time before 1970, [`PkiError::Crypto`].
    pub(super) fn sign(self, key: &PrivateKey) -> Result<Certificate, PkiError> {
        let failed = PkiError::encode("the certificate");
        let validity: Validity = Validity::new(time(self.span.not_before)?, time(self.span.not_after)?);
        let version = explicit(0, 2_u8).to_der().map_err(&failed)?;
        let body = sequence(&[
            &version,
            &serial_number()?.to_der().map_err(&failed)?,
            &key.signature_algorithm()?,
            self.issuer,
            &validity.to_der().map_err(&failed)?,
            self.subject,
            self.public_spki,
            &explicit(3, self.extensions).to_der().map_err(&failed)?,
        ])?;
        Certificate::from_der(&signed(&body, key)?)
    }
}

/// `SEQUENCE { body, signatureAlgorithm, signature }`: the shape of certificates and of requests.
pub(super) fn signed(body: &[u8], key: &PrivateKey) -> Result<Vec<u8>, PkiError> {
    let failed = PkiError::encode("the signature");
    let signature = BitString::from_bytes(&key.sign(body)?).and_then(|bits| bits.to_der()).map_err(failed)?;
    sequence(&[body, &key.signature_algorithm()?, &signature])
}

/// A SEQUENCE of parts that are DER already.
pub(super) fn sequence(parts: &[&[u8]]) -> Result<Vec<u8>, PkiError> {
    wrap(Tag::Sequence, &parts.concat())
}

/// One tag around content that is DER already.
pub(super) fn wrap(tag: Tag, content: &[u8]) -> Result<Vec<u8>, PkiError> {
    Any::new(tag, content).and_then(|any| any.to_der()).map_err(PkiError::encode("a DER value"))
}

fn explicit<T>(number: u32, value: T) -> ContextSpecific<T> {
    ContextSpecific { tag_number: TagNumber(number), tag_mode: TagMode::Explicit, value }
}

fn time(at: Timestamp) -> Result<Time, PkiError> {
    let before_1970 = |_| PkiError::Encode { what: "a validity time", reason: format!("{at} lies before 1970") };
    let seconds = u64::try_from(at.as_second()).map_err(before_1970)?;
    let date =
        DateTime::from_unix_duration(Duration::from_secs(seconds)).map_err(PkiError::encode("a validity time"))?;
    Ok(Time::from(date))
}

/// A random positive serial number of 16 bytes (RFC 5280 section 4.1.2.2).
fn serial_number() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| PkiError::Crypto("draw a serial number"))?;
    // Top bit 0: positive without a padding byte. Next bit 1: never short, never zero.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::new(&bytes).map_err(PkiError::encode("the serial number"))
}
