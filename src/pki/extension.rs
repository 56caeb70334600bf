//! The extensions kubeadm's certificates carry (RFC 5280 section 4.2.1), as Go's `crypto/x509` writes them.

use std::net::IpAddr;

use aws_lc_rs::digest;
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{self, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};

use x509_parser::prelude::X509Extension;

use super::certificate::unreadable;
use super::{Certificate, PkiError, public_key};

pub(super) const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
pub(super) const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Extensions that speak about the issuer's services or about one issued copy, and so are wrong in a certificate signed anew:
/// key identifiers (written anew), AIA, CRL distribution points, freshest CRL, embedded SCTs and their poison.
const NOT_COPIED: [&str; 7] = [
    "2.5.29.14",
    "2.5.29.35",
    "1.3.6.1.5.5.7.1.1",
    "2.5.29.31",
    "2.5.29.46",
    "1.3.6.1.4.1.11129.2.4.2",
    "1.3.6.1.4.1.11129.2.4.3",
];

/// The identifier of an extension that was read.
///
/// # Errors
/// [`PkiError::Certificate`]: it is not one that can be written again.
pub(super) fn identifier(found: &X509Extension<'_>) -> Result<ObjectIdentifier, PkiError> {
    ObjectIdentifier::from_bytes(found.oid.as_bytes()).map_err(|error| unreadable(error.to_string()))
}

/// An extension that was read, with its exact bytes.
///
/// # Errors
/// As [`identifier`].
pub(super) fn copy(found: &X509Extension<'_>) -> Result<Extension, PkiError> {
    let extn_value = OctetString::new(found.value).map_err(|error| unreadable(error.to_string()))?;
    Ok(Extension { extn_id: identifier(found)?, critical: found.critical, extn_value })
}

/// The extensions of `old` that a certificate signed anew keeps, byte for byte.
pub(super) fn kept(old: &Certificate) -> Vec<Extension> {
    let copied = |extension: &Extension| !NOT_COPIED.contains(&extension.extn_id.to_string().as_str());
    old.extensions().into_iter().filter(copied).collect()
}

/// True when `extensions` has one of this type.
pub(super) fn has<T: AssociatedOid>(extensions: &[Extension]) -> bool {
    extensions.iter().any(|extension| extension.extn_id == T::OID)
}

/// Critical, CA, no path length: kubeadm's CA.
pub(super) fn basic_constraints_ca() -> Result<Extension, PkiError> {
    make(true, &BasicConstraints { ca: true, path_len_constraint: None })
}

/// Critical, not a CA: what Go writes into every leaf.
pub(super) fn basic_constraints_leaf() -> Result<Extension, PkiError> {
    make(true, &BasicConstraints { ca: false, path_len_constraint: None })
}

/// Critical; of a CA: digitalSignature, keyEncipherment, keyCertSign (`k8s.io/client-go/util/cert`, `NewSelfSignedCACert`).
pub(super) fn key_usage_ca() -> Result<Extension, PkiError> {
    make(true, &KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment | KeyUsages::KeyCertSign))
}

/// Critical; of a leaf: digitalSignature, and keyEncipherment for RSA keys.
pub(super) fn key_usage_leaf(rsa: bool) -> Result<Extension, PkiError> {
    let mut usages: FlagSet<KeyUsages> = KeyUsages::DigitalSignature.into();
    if rsa {
        usages |= KeyUsages::KeyEncipherment;
    }
    make(true, &KeyUsage(usages))
}

/// One extended key usage.
pub(super) fn extended_key_usage(purpose: ObjectIdentifier) -> Result<Extension, PkiError> {
    make(false, &ExtendedKeyUsage(vec![purpose]))
}

/// Both usages of TLS, in kubeadm's order.
pub(super) fn server_and_client() -> Result<Extension, PkiError> {
    make(false, &ExtendedKeyUsage(vec![SERVER_AUTH, CLIENT_AUTH]))
}

/// DNS names and addresses.
pub(super) fn subject_alt_name(dns: &[String], ips: &[IpAddr]) -> Result<Extension, PkiError> {
    let mut names = Vec::with_capacity(dns.len() + ips.len());
    for name in dns {
        names.push(GeneralName::DnsName(Ia5String::new(name).map_err(PkiError::encode("a DNS name"))?));
    }
    names.extend(ips.iter().copied().map(GeneralName::from));
    make(false, &SubjectAltName(names))
}

/// Subject key identifier.
pub(super) fn subject_key_id(id: &[u8]) -> Result<Extension, PkiError> {
    make(false, &SubjectKeyIdentifier(octets(id)?))
}

/// Authority key identifier in its short form (keyIdentifier only), which is the one every verifier understands.
pub(super) fn authority_key_id(id: &[u8]) -> Result<Extension, PkiError> {
    make(false, &AuthorityKeyIdentifier { key_identifier: Some(octets(id)?), ..AuthorityKeyIdentifier::default() })
}

/// SHA-256 over the bits of the key, cut to 160 bits (RFC 7093 section 2, method 1), as Go does since 1.25.
pub(super) fn key_id(public_spki: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, public_key::key_bits(public_spki)).as_ref().iter().take(20).copied().collect()
}

/// The identifier under which `authority` is known to its leaves: the one it carries, else the one it would be given.
pub(super) fn key_id_of(authority: &Certificate) -> Vec<u8> {
    authority.subject_key_id().map_or_else(|| key_id(authority.spki_der()), <[u8]>::to_vec)
}

fn octets(bytes: &[u8]) -> Result<OctetString, PkiError> {
    OctetString::new(bytes).map_err(PkiError::encode("a key identifier"))
}

fn make<T: AssociatedOid + Encode>(critical: bool, value: &T) -> Result<Extension, PkiError> {
    let encoded = value.to_der().and_then(OctetString::new);
    let build = |extn_value| Extension { extn_id: T::OID, critical, extn_value };
    encoded.map(build).map_err(|error: der::Error| PkiError::Encode { what: "an extension", reason: error.to_string() })
}
