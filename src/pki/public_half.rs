//! The public half of a private key's file: to whom a key belongs can be told without working with it.

use rustls_pki_types::alg_id;
use x509_cert::der::asn1::{AnyRef, BitStringRef, UintRef};
use x509_cert::der::{Decode as _, Encode as _, Error};

use super::private_key::{self, Form};
use super::{CaId, Certificate, PkiError, PrivateKey, der, pem};

/// 2^61 - 1, a prime.
const MODULUS: u128 = (1 << 61) - 1;

/// What the file of a private key says of its public key: to whom it belongs, also when it is too damaged to work with. Where a key has to work, as on a node, it is read as a [`PrivateKey`], which is tried out: for
/// RSA that takes half a millisecond. Here an RSA key is taken at its word if its modulus is the product of its primes (RFC 8017 section
/// 3.2), whatever its exponents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicHalf {
    spki: Vec<u8>,
}

impl PublicHalf {
    /// Of the first private key of a PEM file.
    ///
    /// # Errors
    /// As [`PrivateKey::from_pem`], but for the exponents of an RSA key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PkiError> {
        pem::blocks(pem).iter().find_map(Self::from_block).unwrap_or(Err(PkiError::NoKey))
    }

    /// Of every private key of a PEM file that can be read.
    #[must_use]
    pub fn each_from_pem(pem: &[u8]) -> Vec<Self> {
        pem::blocks(pem).iter().filter_map(Self::from_block).flatten().collect()
    }

    fn from_block(block: &pem::Block<'_>) -> Option<Result<Self, PkiError>> {
        private_key::encoded(block).map(|encoded| {
            let (form, encoded) = encoded?;
            match rsa(form, &encoded) {
                Some(spki) => Ok(Self { spki }),
                None => PrivateKey::from_encoded(form, encoded).map(|key| Self { spki: key.spki_der().to_vec() }),
            }
        })
    }

    /// True when `certificate` is for this key.
    #[must_use]
    pub fn matches(&self, certificate: &Certificate) -> bool {
        self.spki == certificate.spki_der()
    }

    /// Identity of the key: the same as [`Certificate::ca_id`] of its certificate.
    #[must_use]
    pub fn ca_id(&self) -> CaId {
        CaId::of_key(&self.spki)
    }
}

/// SubjectPublicKeyInfo of an RSA key; `None` for any other, and for one that has to be looked at more closely.
fn rsa(form: Form, encoded: &[u8]) -> Option<Vec<u8>> {
    let key = match form {
        Form::Pkcs1 => encoded,
        Form::Pkcs8 => {
            let (algorithm, key) = private_key::inner_key(encoded).ok()?;
            (algorithm == alg_id::RSA_ENCRYPTION.as_ref()).then_some(key)?
        }
        Form::Sec1 => return None,
    };
    let [modulus, exponent, first, second] = numbers(key).ok()?;
    let bits = modulus.as_bytes().len() * 8;
    let fits = residue(first.as_bytes()) * residue(second.as_bytes()) % MODULUS == residue(modulus.as_bytes());
    (fits && [2048, 3072, 4096].contains(&bits)).then(|| spki(modulus, exponent))?.ok()
}

/// Modulus, public exponent and the two primes (RFC 8017 appendix A.1.2).
fn numbers(pkcs1: &[u8]) -> Result<[UintRef<'_>; 4], Error> {
    AnyRef::from_der(pkcs1)?.sequence(|fields| {
        let _version = u8::decode(fields)?;
        let [modulus, exponent, _private, first, second] = [(); 5].map(|()| UintRef::decode(fields));
        private_key::skip_rest(fields)?;
        Ok([modulus?, exponent?, first?, second?])
    })
}

/// Of a number, most significant byte first. Two products that differ by damage have the same one by a chance of 2^-61.
fn residue(number: &[u8]) -> u128 {
    number
        .chunks(8)
        .fold(0, |rest, word| word.iter().fold(rest, |rest, byte| (rest << 8) | u128::from(*byte)) % MODULUS)
}

fn spki(modulus: UintRef<'_>, exponent: UintRef<'_>) -> Result<Vec<u8>, PkiError> {
    let failed = PkiError::encode("a public key");
    let key = der::sequence(&[&modulus.to_der().map_err(&failed)?, &exponent.to_der().map_err(&failed)?])?;
    let bits = BitStringRef::from_bytes(&key).and_then(|bits| bits.to_der()).map_err(failed)?;
    der::sequence(&[&der::sequence(&[alg_id::RSA_ENCRYPTION.as_ref()])?, &bits])
}
