//! The identity of a certificate authority: the hash of its public key.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::PkiError;

/// Digits of a SHA-256 in hex.
const DIGITS: usize = 64;

/// SHA-256 of a CA's SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), 64 lower-case hex digits.
///
/// The key, not the certificate, names a CA: a same-key renewal and a cross-signed copy are the same authority, and two CAs
/// with the same subject are not. It is also what `kubeadm join --discovery-token-ca-cert-hash` pins.
///
/// It becomes part of file names on the nodes, so that what is read from outside is nothing but those digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
// The digits are checked when it is read. A pattern would turn maps with such keys into `patternProperties`, which a CRD must not have.
pub struct CaId(#[schemars(length(min = 64, max = 64))] String);

impl CaId {
    /// Takes the 32 bytes of a SHA-256 over a DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn from_hash(hash: &[u8]) -> Self {
        Self(super::names::hex(hash))
    }

    /// Of the key in a DER SubjectPublicKeyInfo.
    pub(super) fn of_key(spki: &[u8]) -> Self {
        Self::from_hash(digest::digest(&digest::SHA256, spki).as_ref())
    }

    /// An identity for a CA that does not exist yet, for plans and simulations; it never equals a real one, and cannot be read back.
    #[must_use]
    pub fn planned(name: &str) -> Self {
        Self(format!("planned-{name}"))
    }

    /// The hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: enough to tell CAs apart in a message.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl FromStr for CaId {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == DIGITS && text.bytes().all(digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PkiError::CaId { found: text.chars().take(DIGITS).collect() })
        }
    }
}

impl<'de> Deserialize<'de> for CaId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for CaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_64_lower_case_hex_digits_and_nothing_else() {
        let good = CaId::from_hash(&[0xab; 32]);
        assert_eq!(good.as_str().parse::<CaId>().unwrap(), good);
        let json = serde_json::to_string(&good).unwrap();
        assert_eq!(serde_json::from_str::<CaId>(&json).unwrap(), good);
        let upper = good.as_str().to_uppercase();
        let long = format!("{good}0");
        let path = format!("../../{}", &good.as_str()[6..]);
        let unicode = "é".repeat(32);
        for bad in ["", "planned-new", &good.as_str()[1..], &long, &upper, &path, &unicode] {
            assert!(serde_json::from_value::<CaId>(bad.into()).is_err(), "{bad}");
        }
        let map = serde_json::json!({ "../x": 1 });
        assert!(serde_json::from_value::<std::collections::BTreeMap<CaId, u8>>(map).is_err(), "a key of a map too");
    }

    #[test]
    fn the_schema_refuses_what_cannot_be_read() {
        let schema = serde_json::to_value(schemars::schema_for!(CaId)).unwrap();
        assert_eq!((&schema["minLength"], &schema["maxLength"]), (&64.into(), &64.into()), "{schema}");
    }
}
