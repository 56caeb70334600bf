//! A private key that cannot be printed, wipes itself, and is written back in the form in which it came.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer, alg_id};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef, UintRef};
use x509_cert::der::{Decode as _, Reader as _};
use zeroize::Zeroizing;

use super::{CaId, Certificate, KeyAlgorithm, PkiError, der, pem};

/// A private key with its encoding. Cheap to clone; the bytes are wiped when the last clone goes.
#[derive(Clone)]
pub struct PrivateKey(Arc<Inner>);

struct Inner {
    algorithm: KeyAlgorithm,
    pair: Pair,
    form: Form,
    encoded: Zeroizing<Vec<u8>>,
    spki: Vec<u8>,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// The three encodings in use; client-go parses strictly by label (`k8s.io/client-go/util/keyutil/key.go`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 8017 appendix A.1.2.
    Pkcs1,
    /// RFC 5915.
    Sec1,
    /// RFC 5958.
    Pkcs8,
}

impl Form {
    const fn label(self) -> &'static str {
        match self {
            Self::Pkcs1 => "RSA PRIVATE KEY",
            Self::Sec1 => "EC PRIVATE KEY",
            Self::Pkcs8 => "PRIVATE KEY",
        }
    }
}

impl PrivateKey {
    /// Makes a key, in the form kubeadm writes: PKCS#1 for RSA, SEC1 for ECDSA (PKCS#8 for Ed25519, which has no other).
    /// RSA takes 0.1 s (2048 bits) to several seconds (4096 bits) of CPU.
    ///
    /// # Errors
    /// [`PkiError::Crypto`].
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, PkiError> {
        match algorithm {
            KeyAlgorithm::Rsa2048 => generate_rsa(KeySize::Rsa2048),
            KeyAlgorithm::Rsa3072 => generate_rsa(KeySize::Rsa3072),
            KeyAlgorithm::Rsa4096 => generate_rsa(KeySize::Rsa4096),
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 | KeyAlgorithm::EcdsaP521 => generate_ecdsa(algorithm),
            KeyAlgorithm::Ed25519 => generate_ed25519(),
        }
    }

    /// Reads the first private key of a PEM file: PKCS#1, SEC1 or PKCS#8, whatever else stands in the file.
    ///
    /// # Errors
    /// [`PkiError::EncryptedKey`], [`PkiError::UnsupportedKey`], [`PkiError::PemBlock`], [`PkiError::NoKey`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, PkiError> {
        pem::blocks(pem).iter().find_map(Self::from_block).unwrap_or(Err(PkiError::NoKey))
    }

    /// `None` for a block that is no private key.
    fn from_block(block: &pem::Block<'_>) -> Option<Result<Self, PkiError>> {
        encoded(block).map(|encoded| encoded.and_then(|(form, bytes)| Self::from_encoded(form, bytes)))
    }

    pub(super) fn from_encoded(form: Form, encoded: Zeroizing<Vec<u8>>) -> Result<Self, PkiError> {
        let rsa = match form {
            Form::Pkcs1 => RsaKeyPair::from_der(&encoded).ok(),
            Form::Pkcs8 => RsaKeyPair::from_pkcs8(&encoded).ok(),
            Form::Sec1 => None,
        };
        if let Some(pair) = rsa {
            return Self::from_pair(Pair::Rsa(pair), form, encoded);
        }
        // Strict for PKCS#8: other tools write SEC1 bytes under that label, and then neither client-go nor rustls reads them.
        let ecdsa = |curve| match form {
            Form::Pkcs1 => None,
            Form::Sec1 => EcdsaKeyPair::from_private_key_der(curve, &encoded).ok(),
            Form::Pkcs8 => EcdsaKeyPair::from_pkcs8(curve, &encoded).ok(),
        };
        let curves =
            [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING];
        if let Some(pair) = curves.into_iter().find_map(ecdsa) {
            return Self::from_pair(Pair::Ecdsa(pair), form, encoded);
        }
        if form == Form::Pkcs8
            && let Ok(pair) = Ed25519KeyPair::from_pkcs8(&encoded)
        {
            return Self::from_pair(Pair::Ed25519(pair), form, encoded);
        }
        Err(PkiError::UnsupportedKey { found: describe_rejected(form, &encoded) })
    }

    fn from_pair(pair: Pair, form: Form, encoded: Zeroizing<Vec<u8>>) -> Result<Self, PkiError> {
        let (spki, algorithm) = match &pair {
            Pair::Rsa(pair) => (pair.public_key().as_der(), rsa_algorithm(pair.public_modulus_len())?),
            Pair::Ecdsa(pair) => (pair.public_key().as_der(), ecdsa_algorithm(pair.algorithm())),
            Pair::Ed25519(pair) => (pair.public_key().as_der(), KeyAlgorithm::Ed25519),
        };
        let spki = spki.map_err(|_| PkiError::Crypto("encode a public key"))?.as_ref().to_vec();
        Ok(Self(Arc::new(Inner { algorithm, pair, form, encoded, spki })))
    }

    /// PEM under the label it came with, or under kubeadm's for a generated key.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::encode(self.0.form.label(), &self.0.encoded))
    }

    /// The key as rustls wants it. A copy that rustls does not wipe: only for live TLS configurations.
    #[must_use]
    pub fn rustls_der(&self) -> PrivateKeyDer<'static> {
        let bytes = self.0.encoded.to_vec();
        match self.0.form {
            Form::Pkcs1 => PrivatePkcs1KeyDer::from(bytes).into(),
            Form::Sec1 => PrivateSec1KeyDer::from(bytes).into(),
            Form::Pkcs8 => PrivatePkcs8KeyDer::from(bytes).into(),
        }
    }

    /// Kind and size.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.0.algorithm
    }

    /// Identity of the key: the same as [`Certificate::ca_id`] of its certificate.
    #[must_use]
    pub fn ca_id(&self) -> CaId {
        CaId::of_key(&self.0.spki)
    }

    /// True when `certificate` is for this key.
    #[must_use]
    pub fn matches(&self, certificate: &Certificate) -> bool {
        self.0.spki == certificate.spki_der()
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki
    }

    /// Signs with the hash that goes with the key: SHA-256 for RSA (PKCS#1 v1.5) and P-256, SHA-384 for P-384, SHA-512 for P-521.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        let failed = |_| PkiError::Crypto("sign");
        match &self.0.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => Ok(pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
        }
    }

    /// AlgorithmIdentifier of [`Self::sign`], DER.
    pub(super) fn signature_algorithm(&self) -> Result<Vec<u8>, PkiError> {
        der::sequence(&[match self.0.algorithm {
            KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => alg_id::RSA_PKCS1_SHA256.as_ref(),
            KeyAlgorithm::EcdsaP256 => alg_id::ECDSA_SHA256.as_ref(),
            KeyAlgorithm::EcdsaP384 => alg_id::ECDSA_SHA384.as_ref(),
            KeyAlgorithm::EcdsaP521 => alg_id::ECDSA_SHA512.as_ref(),
            KeyAlgorithm::Ed25519 => alg_id::ED25519.as_ref(),
        }])
    }
}

/// Form and bytes of a key.
type Encoded = (Form, Zeroizing<Vec<u8>>);

/// The bytes of a private key's block; `None` for any other block.
pub(super) fn encoded(block: &pem::Block<'_>) -> Option<Result<Encoded, PkiError>> {
    if block.label == "CERTIFICATE" {
        return None;
    }
    if block.label == "ENCRYPTED PRIVATE KEY" || block.has_encryption_header() {
        return Some(Err(PkiError::EncryptedKey));
    }
    let form = match block.label {
        "RSA PRIVATE KEY" => Form::Pkcs1,
        "EC PRIVATE KEY" => Form::Sec1,
        "PRIVATE KEY" => Form::Pkcs8,
        _ => return None,
    };
    match block.decode() {
        Ok(section) => section.map(|(_, bytes)| Ok((form, Zeroizing::new(bytes)))),
        Err(error) => Some(Err(error)),
    }
}

fn generate_rsa(size: KeySize) -> Result<PrivateKey, PkiError> {
    let failed = |_| PkiError::Crypto("generate an RSA key");
    let pair = RsaKeyPair::generate(size).map_err(failed)?;
    let pkcs8: Pkcs8V1Der<'static> = pair.as_der().map_err(failed)?;
    let (_, encoded) = inner_key(pkcs8.as_ref()).map_err(PkiError::encode("an RSA key as PKCS#1"))?;
    let encoded = Zeroizing::new(encoded.to_vec());
    PrivateKey::from_pair(Pair::Rsa(pair), Form::Pkcs1, encoded)
}

/// Of a PKCS#8 structure (RFC 5958 section 2), the content of its AlgorithmIdentifier, and its privateKey field: for RSA the PKCS#1 key.
pub(super) fn inner_key(pkcs8: &[u8]) -> Result<(&[u8], &[u8]), x509_cert::der::Error> {
    AnyRef::from_der(pkcs8)?.sequence(|fields| {
        let _version = u8::decode(fields)?;
        let algorithm = AnyRef::decode(fields)?;
        let key = <&OctetStringRef>::decode(fields)?;
        skip_rest(fields)?;
        Ok((algorithm.value(), key.as_bytes()))
    })
}

/// What can be told of a key that the crypto library rejects: too small, another algorithm, or plain damage.
fn describe_rejected(form: Form, encoded: &[u8]) -> String {
    let read = AnyRef::from_der(encoded).and_then(|outer| {
        outer.sequence(|fields| {
            let _version = u8::decode(fields)?;
            let found = match form {
                Form::Pkcs1 => format!("RSA-{}", <UintRef<'_>>::decode(fields)?.as_bytes().len() * 8),
                Form::Pkcs8 => AnyRef::decode(fields)?.sequence(|algorithm| {
                    let oid: ObjectIdentifier = algorithm.decode()?;
                    skip_rest(algorithm)?;
                    Ok::<_, x509_cert::der::Error>(format!("of algorithm {oid}"))
                })?,
                Form::Sec1 => "on another curve".to_owned(),
            };
            skip_rest(fields)?;
            Ok::<_, x509_cert::der::Error>(found)
        })
    });
    read.unwrap_or_else(|_| format!("with damaged content in block {}", form.label()))
}

pub(super) fn skip_rest<'a>(fields: &mut impl x509_cert::der::Reader<'a>) -> x509_cert::der::Result<()> {
    while !fields.is_finished() {
        AnyRef::decode(fields)?;
    }
    Ok(())
}

fn generate_ecdsa(algorithm: KeyAlgorithm) -> Result<PrivateKey, PkiError> {
    let failed = |_| PkiError::Crypto("generate an ECDSA key");
    let curve: &'static EcdsaSigningAlgorithm = match algorithm {
        KeyAlgorithm::EcdsaP384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        KeyAlgorithm::EcdsaP521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
        _ => &ECDSA_P256_SHA256_ASN1_SIGNING,
    };
    let pair = EcdsaKeyPair::generate(curve).map_err(failed)?;
    let encoded = Zeroizing::new(pair.private_key().as_der().map_err(failed)?.as_ref().to_vec());
    PrivateKey::from_pair(Pair::Ecdsa(pair), Form::Sec1, encoded)
}

fn generate_ed25519() -> Result<PrivateKey, PkiError> {
    let failed = |_| PkiError::Crypto("generate an Ed25519 key");
    let pair = Ed25519KeyPair::generate().map_err(failed)?;
    let encoded = Zeroizing::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec());
    PrivateKey::from_pair(Pair::Ed25519(pair), Form::Pkcs8, encoded)
}

fn rsa_algorithm(bytes: usize) -> Result<KeyAlgorithm, PkiError> {
    match bytes {
        256 => Ok(KeyAlgorithm::Rsa2048),
        384 => Ok(KeyAlgorithm::Rsa3072),
        512 => Ok(KeyAlgorithm::Rsa4096),
        other => Err(PkiError::UnsupportedKey { found: format!("RSA-{}", other * 8) }),
    }
}

fn ecdsa_algorithm(curve: &'static EcdsaSigningAlgorithm) -> KeyAlgorithm {
    if curve == &ECDSA_P384_SHA384_ASN1_SIGNING {
        KeyAlgorithm::EcdsaP384
    } else if curve == &ECDSA_P521_SHA512_ASN1_SIGNING {
        KeyAlgorithm::EcdsaP521
    } else {
        KeyAlgorithm::EcdsaP256
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, redacted)", self.0.algorithm)
    }
}
