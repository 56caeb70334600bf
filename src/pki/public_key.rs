//! A SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7): what kind of key it is, and signatures made with it.

use std::borrow::Cow;

use x509_cert::der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use x509_cert::der::{Decode as _, Error, Reader};
use x509_parser::oid_registry::Oid;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::KeyAlgorithm;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const DSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10040.4.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const CURVES: [(ObjectIdentifier, KeyAlgorithm); 3] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), KeyAlgorithm::EcdsaP256),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), KeyAlgorithm::EcdsaP384),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), KeyAlgorithm::EcdsaP521),
];

/// Go's names (`crypto/x509/x509.go`, `signatureAlgorithmDetails`).
const SIGNATURES: [(ObjectIdentifier, &str); 15] = [
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"), "SHA256-RSA"),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"), "ECDSA-SHA256"),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"), "ECDSA-SHA384"),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"), "ECDSA-SHA512"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"), "SHA384-RSA"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"), "SHA512-RSA"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10"), "RSA-PSS"),
    (ObjectIdentifier::new_unwrap("1.3.101.112"), "Ed25519"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.2"), "MD2-RSA"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"), "MD5-RSA"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"), "SHA1-RSA"),
    (ObjectIdentifier::new_unwrap("1.3.14.3.2.29"), "SHA1-RSA"),
    (ObjectIdentifier::new_unwrap("1.2.840.10040.4.3"), "DSA-SHA1"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.2"), "DSA-SHA256"),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"), "ECDSA-SHA1"),
];

/// `SEQUENCE { AlgorithmIdentifier, BIT STRING }`, the tail of a certificate and the whole of a SubjectPublicKeyInfo.
struct Signed<'a> {
    /// Content of the AlgorithmIdentifier, without its header: the form in which webpki names algorithms.
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> Signed<'a> {
    fn read(fields: &mut impl Reader<'a>) -> Result<Self, Error> {
        let algorithm = AnyRef::decode(fields)?.value();
        let bits = <BitStringRef<'a>>::decode(fields)?.raw_bytes();
        Ok(Self { algorithm, bits })
    }
}

/// The bytes of the key itself, without its algorithm. Empty for what is no SubjectPublicKeyInfo.
pub(super) fn key_bits(spki: &[u8]) -> &[u8] {
    read_spki(spki).map(|key| key.bits).unwrap_or_default()
}

/// True when the key made the signature of the certificate; neither names nor validity nor extensions are looked at, so that
/// an odd issuer is judged by its key alone.
pub(super) fn made_signature(spki: &[u8], certificate: &[u8]) -> bool {
    let (Ok(key), Ok((body, signature))) = (read_spki(spki), read_certificate(certificate)) else { return false };
    webpki::ALL_VERIFICATION_ALGS.iter().any(|candidate| {
        candidate.public_key_alg_id().as_ref() == key.algorithm
            && candidate.signature_alg_id().as_ref() == signature.algorithm
            && candidate.verify_signature(key.bits, body, signature.bits).is_ok()
    })
}

fn read_spki(spki: &[u8]) -> Result<Signed<'_>, Error> {
    AnyRef::from_der(spki)?.sequence(Signed::read)
}

/// TBSCertificate with its header, and what follows it.
fn read_certificate(der: &[u8]) -> Result<(&[u8], Signed<'_>), Error> {
    AnyRef::from_der(der)?.sequence(|fields| {
        let body = fields.tlv_bytes()?;
        Ok((body, Signed::read(fields)?))
    })
}

/// Kind of key in words (`RSA-8192`, `EC 1.3.132.0.10`, `DSA`, an OID), and as one we can make.
pub(super) fn describe(spki: &SubjectPublicKeyInfo<'_>) -> (Cow<'static, str>, Option<KeyAlgorithm>) {
    let oid = &spki.algorithm.algorithm;
    let name = match spki.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA-{}", key.key_size()).into(),
        _ if oid.as_bytes() == EC.as_bytes() => curve(spki),
        _ if oid.as_bytes() == DSA.as_bytes() => "DSA".into(),
        _ if oid.as_bytes() == ED25519.as_bytes() => KeyAlgorithm::Ed25519.name().into(),
        _ => oid.to_id_string().into(),
    };
    let algorithm = name.parse().ok();
    (name, algorithm)
}

fn curve(spki: &SubjectPublicKeyInfo<'_>) -> Cow<'static, str> {
    let Some(oid) = spki.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok()) else {
        return "EC with explicit parameters".into();
    };
    match CURVES.iter().find(|(curve, _)| curve.as_bytes() == oid.as_bytes()) {
        Some((_, algorithm)) => algorithm.name().into(),
        None => format!("EC {}", oid.to_id_string()).into(),
    }
}

/// Go's name of a signature algorithm; an unknown one is its OID.
pub(super) fn signature_name(oid: &Oid<'_>) -> Cow<'static, str> {
    match SIGNATURES.iter().find(|(known, _)| known.as_bytes() == oid.as_bytes()) {
        Some((_, name)) => (*name).into(),
        None => oid.to_id_string().into(),
    }
}
