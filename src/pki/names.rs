//! Distinguished names (RFC 5280 section 4.1.2.4): written as bytes, printed as Go prints them.

use std::borrow::Cow;

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, AnyRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_parser::prelude::{AttributeTypeAndValue as ParsedAttribute, X509Name};

use super::{PkiError, der};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// DER of `O=…, O=…, CN=…`: organizations first and one per RDN, so that their order survives (inside one RDN, DER sorts them).
pub(super) fn distinguished_name(common_name: &str, organizations: &[String]) -> Result<Vec<u8>, PkiError> {
    let failed = PkiError::encode("the subject");
    let mut name = RdnSequence::default();
    let attributes =
        organizations.iter().map(|value| (ORGANIZATION, value.as_str())).chain([(COMMON_NAME, common_name)]);
    for (oid, value) in attributes {
        name.push(rdn(oid, value).map_err(&failed)?);
    }
    name.to_der().map_err(failed)
}

/// `name` with a serialNumber attribute at its end: what X.520 has for two authorities that would be called the same otherwise
/// (RFC 3739 section 3.1.2).
pub(super) fn told_apart(name: &[u8], serial: &str) -> Result<Vec<u8>, PkiError> {
    let failed = PkiError::encode("the subject");
    let rdns = AnyRef::from_der(name).map_err(&failed)?.value();
    let last = rdn(SERIAL_NUMBER, serial).and_then(|rdn| rdn.to_der()).map_err(failed)?;
    der::sequence(&[rdns, &last])
}

fn rdn(oid: ObjectIdentifier, value: &str) -> x509_cert::der::Result<RelativeDistinguishedName> {
    let mut rdn = RelativeDistinguishedName::default();
    rdn.insert(AttributeTypeAndValue { oid, value: directory_string(value)? })?;
    Ok(rdn)
}

/// PrintableString where it can be one, else UTF8String: what Go's `encoding/asn1` writes.
fn directory_string(value: &str) -> x509_cert::der::Result<Any> {
    match PrintableStringRef::new(value) {
        Ok(printable) => Any::encode_from(&printable),
        Err(_) => Any::encode_from(&Utf8StringRef::new(value)?),
    }
}

/// RFC 4514 text as Go's `pkix.Name.String` writes it: last RDN first, `CN=kubernetes-admin,O=kubeadm:cluster-admins`.
pub(super) fn display(name: &X509Name<'_>) -> String {
    let rdns: Vec<_> = name.iter_rdn().collect();
    let mut shown = String::with_capacity(name.as_raw().len());
    for (place, rdn) in rdns.into_iter().rev().enumerate() {
        if place > 0 {
            shown.push(',');
        }
        for (place, attribute) in rdn.iter().enumerate() {
            if place > 0 {
                shown.push('+');
            }
            display_attribute(attribute, &mut shown);
        }
    }
    shown
}

fn display_attribute(attribute: &ParsedAttribute<'_>, shown: &mut String) {
    let name = short_name(attribute.attr_type().as_bytes());
    match name {
        Some(name) => shown.push_str(name),
        None => shown.push_str(&attribute.attr_type().to_id_string()),
    }
    shown.push('=');
    match text(attribute).filter(|_| name.is_some()) {
        Some(value) => escape(&value, shown),
        // RFC 4514 section 2.4: an attribute without a short name, or without text, is the hex of its DER.
        None => {
            shown.push('#');
            shown.push_str(&hex(&value_der(attribute)));
        }
    }
}

fn value_der(attribute: &ParsedAttribute<'_>) -> Vec<u8> {
    use x509_parser::asn1_rs::ToDer as _;
    attribute.attr_value().to_der_vec().unwrap_or_default()
}

/// Go's table (`crypto/x509/pkix/pkix.go`, `attributeTypeNames`), of the attributes 2.5.4.N.
fn short_name(oid: &[u8]) -> Option<&'static str> {
    let [0x55, 0x04, number] = oid else { return None };
    Some(match number {
        3 => "CN",
        5 => "SERIALNUMBER",
        6 => "C",
        7 => "L",
        8 => "ST",
        9 => "STREET",
        10 => "O",
        11 => "OU",
        17 => "POSTALCODE",
        _ => return None,
    })
}

/// The text of an attribute whose value is one of the usual string types.
pub(super) fn text<'a>(attribute: &'a ParsedAttribute<'_>) -> Option<Cow<'a, str>> {
    if let Ok(text) = attribute.as_str() {
        return Some(text.into());
    }
    // TeletexString is read as UTF-8 where it is; BMPString as UTF-16.
    let value = attribute.attr_value();
    match value.tag().0 {
        0x14 => std::str::from_utf8(value.data).ok().map(Cow::from),
        0x1e => {
            let units: Vec<u16> =
                value.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok().map(Cow::from)
        }
        _ => None,
    }
}

/// RFC 4514 section 2.4.
fn escape(value: &str, escaped: &mut String) {
    let last = value.char_indices().next_back().map_or(0, |(at, _)| at);
    for (at, character) in value.char_indices() {
        let special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (character == ' ' && (at == 0 || at == last))
            || (character == '#' && at == 0);
        if special {
            escaped.push('\\');
        }
        escaped.push(character);
    }
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or_default();
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xf));
    }
    text
}

/// [`display`] for the DER of a Name, for error texts.
pub(super) fn display_der(der: &[u8]) -> String {
    use x509_parser::prelude::FromDer as _;
    X509Name::from_der(der).map(|(_, name)| display(&name)).unwrap_or_default()
}
