//! Distinguished names (RFC 5280 section 4.1.2.4): written as bytes, printed as Go prints them.

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
    let rdns: Vec<String> =
        name.iter_rdn().map(|rdn| rdn.iter().map(display_attribute).collect::<Vec<_>>().join("+")).collect();
    rdns.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn display_attribute(attribute: &ParsedAttribute<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    match (short_name(&oid), text(attribute)) {
        (Some(name), Some(value)) => format!("{name}={}", escape(&value)),
        // RFC 4514 section 2.4: an attribute without a short name, or without text, is the hex of its DER.
        (name, _) => format!("{}=#{}", name.unwrap_or(&oid), hex(&value_der(attribute))),
    }
}

fn value_der(attribute: &ParsedAttribute<'_>) -> Vec<u8> {
    use x509_parser::asn1_rs::ToDer as _;
    attribute.attr_value().to_der_vec().unwrap_or_default()
}

/// Go's table (`crypto/x509/pkix/pkix.go`, `attributeTypeNames`).
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "SERIALNUMBER",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.17" => "POSTALCODE",
        _ => return None,
    })
}

/// The text of an attribute whose value is one of the usual string types.
pub(super) fn text(attribute: &ParsedAttribute<'_>) -> Option<String> {
    if let Ok(text) = attribute.as_str() {
        return Some(text.to_owned());
    }
    // TeletexString is read as UTF-8 where it is; BMPString as UTF-16.
    let value = attribute.attr_value();
    match value.tag().0 {
        0x14 => std::str::from_utf8(value.data).ok().map(str::to_owned),
        0x1e => {
            let units: Vec<u16> =
                value.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

/// RFC 4514 section 2.4.
fn escape(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(value.len());
    for (index, character) in value.chars().enumerate() {
        let special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (character == ' ' && (index == 0 || index == last))
            || (character == '#' && index == 0);
        if special {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// [`display`] for the DER of a Name, for error texts.
pub(super) fn display_der(der: &[u8]) -> String {
    use x509_parser::prelude::FromDer as _;
    X509Name::from_der(der).map(|(_, name)| display(&name)).unwrap_or_default()
}
