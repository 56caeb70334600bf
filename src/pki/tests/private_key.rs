//! Keys in the forms that kubeadm, openssl and cert-manager write.

use rstest::rstest;
use rustls_pki_types::pem::{PemObject as _, SectionKind};

use super::fixture::{OpenSsl, kubernetes_ca, p256};
use crate::pki::{KeyAlgorithm, PkiError, PrivateKey, PublicHalf, pem};

/// Keys made by the openssl command: read, recognised, and written back as they came.
#[rstest]
#[case("genrsa -traditional -out key.pem 2048", "RSA-2048", "RSA PRIVATE KEY")]
#[case("genrsa -out key.pem 3072", "RSA-3072", "PRIVATE KEY")]
#[case("ecparam -name prime256v1 -genkey -out key.pem", "ECDSA-P256", "EC PRIVATE KEY")]
#[case("ecparam -name secp384r1 -genkey -noout -out key.pem", "ECDSA-P384", "EC PRIVATE KEY")]
#[case("ecparam -name secp521r1 -genkey -noout -out key.pem", "ECDSA-P521", "EC PRIVATE KEY")]
#[case("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key.pem", "ECDSA-P384", "PRIVATE KEY")]
#[case("genpkey -algorithm ed25519 -out key.pem", "Ed25519", "PRIVATE KEY")]
fn a_key_keeps_the_form_in_which_it_came(#[case] make: &str, #[case] algorithm: &str, #[case] label: &str) {
    let openssl = OpenSsl::new();
    openssl.ok(make);
    let text = String::from_utf8(openssl.read("key.pem")).unwrap();
    let key = PrivateKey::from_pem(text.as_bytes()).unwrap();
    assert_eq!(key.algorithm(), algorithm.parse().unwrap());
    let block = text.get(text.find(&format!("-----BEGIN {label}-----")).unwrap()..).unwrap();
    assert_eq!(key.to_pem().as_str(), block);
    openssl.ok("pkey -in key.pem -pubout -outform der -out public.der");
    assert_eq!(key.spki_der(), openssl.read("public.der"));
    assert_eq!(key.ca_id().as_str(), openssl.value("dgst -sha256 public.der"));
    assert_eq!(PublicHalf::from_pem(text.as_bytes()).unwrap().ca_id(), key.ca_id());
}

/// Only the exponents are left to those who sign; the offsets are those of RSA-2048 (RFC 8017 appendix A.1.2).
#[rstest]
#[case::modulus(100, false)]
#[case::private_exponent(350, true)]
#[case::first_prime(590, false)]
#[case::second_prime(720, false)]
fn the_public_half_of_a_damaged_key_is_refused_where_the_damage_is_of_what_it_says(
    #[case] at: usize,
    #[case] accepted: bool,
) {
    let whole = PrivateKey::generate(KeyAlgorithm::Rsa2048).unwrap().to_pem();
    let mut der = <(SectionKind, Vec<u8>)>::from_pem_slice(whole.as_bytes()).unwrap().1;
    assert!(PublicHalf::from_pem(whole.as_bytes()).is_ok());
    der[at] ^= 4;
    let damaged = pem::encode("RSA PRIVATE KEY", &der);
    assert!(PrivateKey::from_pem(damaged.as_bytes()).is_err());
    assert_eq!(PublicHalf::from_pem(damaged.as_bytes()).is_ok(), accepted);
}

/// What we make is byte for byte what openssl would have written in the same form.
#[rstest]
#[case(KeyAlgorithm::Rsa2048, "rsa -traditional")]
#[case(KeyAlgorithm::EcdsaP256, "ec")]
#[case(KeyAlgorithm::EcdsaP384, "ec")]
#[case(KeyAlgorithm::EcdsaP521, "ec")]
#[case(KeyAlgorithm::Ed25519, "pkey")]
fn a_generated_key_has_the_form_kubeadm_writes(#[case] algorithm: KeyAlgorithm, #[case] rewrite: &str) {
    let openssl = OpenSsl::new();
    let key = PrivateKey::generate(algorithm).unwrap();
    assert_eq!(key.algorithm(), algorithm);
    openssl.write("key.pem", key.to_pem().as_bytes());
    openssl.ok("pkey -in key.pem -noout -check");
    openssl.ok(&format!("{rewrite} -in key.pem -out again.pem"));
    assert_eq!(key.to_pem().as_bytes(), openssl.read("again.pem"));
    let again = PrivateKey::from_pem(key.to_pem().as_bytes()).unwrap();
    assert_eq!(again.ca_id(), key.ca_id());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    assert!(provider.key_provider.load_private_key(key.rustls_der()).is_ok());
}

/// kubelet-client-current.pem: certificate first, key behind it.
#[test]
fn a_key_is_found_behind_a_certificate() {
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let file = format!("{}{}", ca.certificate().to_pem(), ca.key().to_pem().as_str());
    let key = PrivateKey::from_pem(file.as_bytes()).unwrap();
    assert!(key.matches(ca.certificate()));
    assert!(!p256().matches(ca.certificate()));
}

#[rstest]
#[case(
    "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:x -out key.pem",
    "private key is encrypted"
)]
#[case("genrsa -traditional -aes128 -passout pass:x -out key.pem 2048", "private key is encrypted")]
#[case("genrsa -traditional -out key.pem 1024", "unsupported key RSA-1024; use one of")]
#[case("ecparam -name secp256k1 -genkey -noout -out key.pem", "unsupported key on another curve")]
#[case("genpkey -algorithm RSA-PSS -out key.pem", "unsupported key of algorithm 1.2.840.113549.1.1.10")]
#[case("genpkey -algorithm x25519 -out key.pem", "unsupported key of algorithm 1.3.101.110")]
#[case("ecparam -name prime256v1 -out key.pem", "no private key found")]
fn a_key_we_cannot_use_is_refused_in_plain_words(#[case] make: &str, #[case] expected: &str) {
    let openssl = OpenSsl::new();
    openssl.ok(make);
    let error = PrivateKey::from_pem(&openssl.read("key.pem")).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
}

/// Some tools put SEC1 bytes under `PRIVATE KEY`; client-go reads strictly by label, and so do we.
#[test]
fn a_key_under_the_wrong_label_is_refused() {
    let mislabelled = p256().to_pem().replace("EC PRIVATE KEY", "PRIVATE KEY");
    let error = PrivateKey::from_pem(mislabelled.as_bytes()).unwrap_err();
    assert!(matches!(error, PkiError::UnsupportedKey { .. }), "{error}");
}

#[test]
fn a_key_cannot_be_printed() {
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let printed = format!("{:?} {:#?}", ca.key(), ca);
    assert!(printed.contains("PrivateKey(ECDSA-P256, redacted)"), "{printed}");
    let body = ca.key().to_pem();
    let line = body.lines().nth(1).unwrap();
    assert!(!printed.contains(line));
}

#[test]
fn names_of_algorithms_are_kubeadms() {
    for algorithm in KeyAlgorithm::ALL {
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.name());
    }
    let error = "RSA-1024".parse::<KeyAlgorithm>().unwrap_err();
    assert!(error.to_string().starts_with("unknown key algorithm `RSA-1024`; use one of RSA-2048"));
}
