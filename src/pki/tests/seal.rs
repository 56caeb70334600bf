//! What is sealed opens for one key and one purpose only.

use crate::pki::{PkiError, Sealed, SealingKey, SealingPublicKey};

const INFO: &str = "certctl/cp-1/0123";

#[test]
fn a_sealed_value_opens_for_its_key_and_purpose_only() {
    let key = SealingKey::generate().unwrap();
    let sealed = key.public().seal(INFO, b"a CA key").unwrap();
    assert_eq!(key.open(INFO, &sealed).unwrap().as_slice(), b"a CA key");
    let refused = PkiError::Sealed("it was sealed to another key, for another purpose, or changed");
    assert_eq!(key.open("certctl/cp-2/0123", &sealed).unwrap_err(), refused);
    assert_eq!(SealingKey::generate().unwrap().open(INFO, &sealed).unwrap_err(), refused);
    let other = key.public().seal(INFO, b"a CA key").unwrap();
    assert_ne!(other, sealed, "sealing twice gives two values");
    let mixed = Sealed { enc: other.enc, ciphertext: sealed.ciphertext };
    assert_eq!(key.open(INFO, &mixed).unwrap_err(), refused);
    let text = Sealed { enc: "?".into(), ciphertext: String::new() };
    assert_eq!(key.open(INFO, &text).unwrap_err(), PkiError::Sealed("it is not base64"));
}

#[test]
fn a_sealing_key_survives_its_file_and_is_never_printed() {
    let key = SealingKey::generate().unwrap();
    let again = SealingKey::from_bytes(&key.to_bytes()).unwrap();
    assert_eq!(again.public(), key.public());
    let sealed = key.public().seal(INFO, b"x").unwrap();
    assert_eq!(again.open(INFO, &sealed).unwrap().as_slice(), b"x");
    assert_eq!(format!("{key:?}"), "SealingKey(redacted)");
    assert!(SealingKey::from_bytes(&[7; 31]).is_err());
}

#[test]
fn the_stored_forms_are_plain_json() {
    let key = SealingKey::generate().unwrap();
    let public: SealingPublicKey = serde_json::from_value(serde_json::to_value(key.public()).unwrap()).unwrap();
    let json = serde_json::to_value(public.seal(INFO, b"x").unwrap()).unwrap();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["ciphertext", "enc"]);
    let sealed: Sealed = serde_json::from_value(json).unwrap();
    assert_eq!(key.open(INFO, &sealed).unwrap().as_slice(), b"x");
    let nonsense: SealingPublicKey = serde_json::from_value("AAAA".into()).unwrap();
    assert!(nonsense.seal(INFO, b"x").is_err());
}
