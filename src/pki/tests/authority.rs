//! What a CA signs, judged by rustls-webpki and by OpenSSL.

use rstest::rstest;
use rustls_pki_types::CertificateDer;

use super::fixture::{DECADE, OpenSsl, YEAR, kubernetes_ca, now, p256};
use crate::pki::{
    Certificate, CertificateAuthority, ChainError, KeyAlgorithm, PkiError, PrivateKey, ServerNames, Usage, verify,
};

fn verifies(roots: &[&Certificate], chain: &[&Certificate], usage: Usage) -> Result<(), ChainError> {
    let chain: Vec<CertificateDer<'static>> = chain.iter().map(|certificate| certificate.rustls_der()).collect();
    let roots: Vec<Certificate> = roots.iter().copied().cloned().collect();
    verify(&chain, &roots, usage, now())
}

/// The rotation's heart: a leaf of CA 2 with CA 2 signed by CA 1 behind it is accepted by whoever holds CA 1, CA 2 or both,
/// although both CAs have the same name.
#[rstest]
#[case(KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP256)]
#[case(KeyAlgorithm::Rsa2048, KeyAlgorithm::EcdsaP256)]
#[case(KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048)]
#[case(KeyAlgorithm::EcdsaP384, KeyAlgorithm::EcdsaP521)]
#[case(KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519)]
fn a_cross_signed_chain_is_accepted_by_holders_of_either_ca(#[case] old: KeyAlgorithm, #[case] new: KeyAlgorithm) {
    let old = kubernetes_ca(old);
    let new = CertificateAuthority::generate_like(old.certificate(), Some(new), DECADE, now()).unwrap();
    let cross = old.cross_sign(new.certificate(), now()).unwrap();
    let names = ServerNames { dns: vec!["kubernetes.default.svc".into()], ips: vec!["10.96.0.1".parse().unwrap()] };
    let server = new.issue_server("kube-apiserver", &names, p256().spki_der(), YEAR, now()).unwrap();
    let groups = ["kubeadm:cluster-admins".to_owned()];
    let client = new.issue_client("kubernetes-admin", &groups, p256().spki_der(), YEAR, now()).unwrap();
    let (one, two) = (old.certificate(), new.certificate());
    assert_eq!(one.subject_der(), two.subject_der());
    let openssl = OpenSsl::new();
    for roots in [vec![one], vec![two], vec![one, two], vec![two, one]] {
        for (leaf, usage, purpose) in [(&server, Usage::Server, "sslserver"), (&client, Usage::Client, "sslclient")] {
            assert_eq!(verifies(&roots, &[leaf, &cross], usage), Ok(()), "{roots:?}");
            assert!(openssl.verifies(&roots, &[&cross], leaf, purpose), "{roots:?} {purpose}");
        }
    }
    let alone = verifies(&[one], &[&server], Usage::Server);
    assert!(matches!(alone, Err(ChainError::UnknownIssuer { .. })), "{alone:?}");
    assert!(!openssl.verifies(&[one], &[], &server, "sslserver"));
    assert!(matches!(verifies(&[one, two], &[&server], Usage::Client), Err(ChainError::WrongUsage { .. })));
}

/// A CA of years ago: no key identifiers, several organizational units in one RDN, a path length. OpenSSL takes the first CA of
/// the right name, key kind and key identifier for the issuer: of two RSA CAs of one name without identifiers, the wrong one.
#[test]
fn a_ca_without_key_identifiers_can_be_rotated_away_from() {
    let openssl = OpenSsl::new();
    let extensions = "basicConstraints=critical,CA:TRUE,pathlen:1\nkeyUsage=critical,keyCertSign,cRLSign\n\
                      subjectKeyIdentifier=none\nauthorityKeyIdentifier=none\nauthorityInfoAccess=OCSP;URI:http://ocsp.example";
    let old = openssl.certificate("old", "rsa:2048", "/O=Example/OU=b+OU=a/CN=Root", extensions);
    assert_eq!(old.subject_key_id(), None);
    let old = CertificateAuthority::new(old, PrivateKey::from_pem(&openssl.read("old.key")).unwrap()).unwrap();
    let new = CertificateAuthority::generate_like(old.certificate(), None, DECADE, now()).unwrap();
    assert_eq!(new.key().algorithm(), KeyAlgorithm::Rsa2048);
    let name = format!("SERIALNUMBER={},CN=Root,OU=a+OU=b,O=Example", new.certificate().ca_id().short());
    assert_eq!((new.certificate().subject(), new.certificate().issuer_subject()), (name.clone(), name));
    let next =
        CertificateAuthority::generate_like(new.certificate(), Some(KeyAlgorithm::EcdsaP256), DECADE, now()).unwrap();
    assert_eq!(next.certificate().subject_der(), new.certificate().subject_der(), "from then on identifiers do");
    openssl.bundle("new.crt", &[new.certificate()]);
    let text = openssl.ok("x509 -in new.crt -noout -text");
    assert!(text.contains("CA:TRUE, pathlen:1") && text.contains("Certificate Sign, CRL Sign"), "{text}");
    assert!(!text.contains("ocsp.example"), "the old CA's services are not the new one's: {text}");
    let cross = old.cross_sign(new.certificate(), now()).unwrap();
    let leaf = new.issue_client("a", &[], p256().spki_der(), YEAR, now()).unwrap();
    let (one, two) = (old.certificate(), new.certificate());
    // -x509_strict wants key identifiers of every CA, so this old root is judged by the ordinary rules.
    for roots in [vec![one], vec![two], vec![one, two], vec![two, one]] {
        assert_eq!(verifies(&roots, &[&leaf, &cross], Usage::Client), Ok(()), "{roots:?}");
        assert!(openssl.accepts(&roots, &[&cross], &leaf, "sslclient", ""), "{roots:?}");
    }
}

#[test]
fn a_generated_ca_looks_like_kubeadms() {
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let openssl = OpenSsl::new();
    openssl.bundle("ca.crt", &[ca.certificate()]);
    let text = openssl.ok("x509 -in ca.crt -noout -ext keyUsage,basicConstraints,subjectAltName,subjectKeyIdentifier");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(
        lines.get(..6).unwrap(),
        [
            "X509v3 Key Usage: critical",
            "Digital Signature, Key Encipherment, Certificate Sign",
            "X509v3 Basic Constraints: critical",
            "CA:TRUE",
            "X509v3 Subject Alternative Name:",
            "DNS:kubernetes",
        ]
    );
    assert_eq!(lines.get(6), Some(&"X509v3 Subject Key Identifier:"));
    assert_eq!(ca.certificate().not_before(), "2031-05-06T07:03:09Z".parse().unwrap());
    assert_eq!(ca.certificate().not_after(), now() + DECADE);
    assert!(ca.certificate().is_self_signed());
}

/// Everything that somebody put into a certificate is still there after it was signed anew; only what must change does.
#[test]
fn a_reissued_certificate_differs_only_where_it_must() {
    let openssl = OpenSsl::new();
    let extensions = "keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n\
                      basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:cp-1,IP:10.0.0.1\n1.2.3.4=DER:0500\n\
                      crlDistributionPoints=URI:http://old.example/crl\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none";
    let old = openssl.certificate("old", "rsa:2048", "/O=z/O=a+OU=é/O=z/CN=kube-apiserver", extensions);
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let key = PrivateKey::from_pem(&openssl.read("old.key")).unwrap();
    let new = ca.reissue(&old, key.spki_der(), YEAR, now()).unwrap();
    assert_eq!(new.subject_der(), old.subject_der());
    assert_eq!(new.organizations(), old.organizations());
    let mut kept = old.extensions();
    kept.retain(|extension| extension.extn_id.to_string() != "2.5.29.31");
    assert_eq!(kept.len(), 5);
    let all = new.extensions();
    let (aki, rest) = all.split_last().unwrap();
    assert_eq!(rest, kept);
    assert_eq!(aki.extn_id.to_string(), "2.5.29.35");
    assert_eq!(new.authority_key_id(), ca.certificate().subject_key_id());
    assert_ne!(new.serial_hex(), old.serial_hex());
    assert!(key.matches(&new) && new.signed_by(ca.certificate()));
    assert_eq!((new.not_before(), new.not_after()), ("2031-05-06T07:03:09Z".parse().unwrap(), now() + YEAR));
    assert_eq!(verifies(&[ca.certificate()], &[&new], Usage::Server), Ok(()));
    assert!(openssl.verifies(&[ca.certificate()], &[], &new, "sslserver"));
}

#[test]
fn a_subject_key_identifier_follows_the_key() {
    let openssl = OpenSsl::new();
    let extensions = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid,issuer:always";
    let old = openssl.certificate("old", "rsa:2048", "/CN=a", extensions);
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let key = p256();
    let new = ca.reissue(&old, key.spki_der(), YEAR, now()).unwrap();
    assert!(new.subject_key_id().is_some());
    assert_ne!(new.subject_key_id(), old.subject_key_id());
    assert_eq!(new.authority_key_id(), ca.certificate().subject_key_id());
    assert_eq!(new.extensions().len(), 2);
}

#[test]
fn serial_numbers_are_positive_and_never_the_same() {
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let key = p256();
    let serial = |_| ca.issue_client("a", &[], key.spki_der(), YEAR, now()).unwrap().serial_hex();
    let serials: std::collections::BTreeSet<String> = (0..200).map(serial).collect();
    assert_eq!(serials.len(), 200);
    assert!(
        serials.iter().all(|hex| hex.len() == 32 && ('4'..='7').contains(&hex.chars().next().unwrap())),
        "{serials:?}"
    );
}

#[test]
fn nothing_outlives_its_ca() {
    let ca = CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, YEAR, now()).unwrap();
    let key = p256();
    let leaf = ca.issue_client("a", &[], key.spki_der(), DECADE, now()).unwrap();
    assert_eq!(leaf.not_after(), ca.certificate().not_after());
    let later = now() + YEAR + YEAR;
    let error = ca.issue_client("a", &["g".into()], key.spki_der(), YEAR, later).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot issue `CN=a,O=g`: it would be valid from 2033-05-05T07:03:09Z to 2032-05-05T07:08:09Z only; renew the CA first"
    );
    assert!(matches!(ca.reissue(&leaf, key.spki_der(), YEAR, now() - YEAR), Err(PkiError::NoValidity { .. })));
    let long = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let cross = long.cross_sign(ca.certificate(), now()).unwrap();
    assert_eq!(cross.not_after(), ca.certificate().not_after());
    let cross = ca.cross_sign(long.certificate(), now()).unwrap();
    assert_eq!(cross.not_after(), ca.certificate().not_after());
    assert_eq!(
        (cross.ca_id(), cross.subject_key_id()),
        (long.certificate().ca_id(), long.certificate().subject_key_id())
    );
    assert!(matches!(ca.cross_sign(long.certificate(), later), Err(PkiError::NoValidity { .. })));
}

#[test]
fn only_a_ca_with_its_own_key_can_sign() {
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let key = p256();
    let mismatch = CertificateAuthority::new(ca.certificate().clone(), key.clone()).unwrap_err();
    assert_eq!(mismatch.to_string(), "private key does not belong to the certificate `CN=kubernetes`");
    let leaf = ca.issue_client("a", &[], key.spki_der(), YEAR, now()).unwrap();
    assert_eq!(ca.cross_sign(&leaf, now()), Err(PkiError::NotACa { subject: "CN=a".into() }));
    assert!(matches!(CertificateAuthority::new(leaf, key), Err(PkiError::NotACa { .. })));
}

#[test]
fn a_ca_of_an_unusual_key_needs_a_named_algorithm() {
    let openssl = OpenSsl::new();
    let old = openssl.certificate("old", "rsa:2304", "/CN=kubernetes", "basicConstraints=critical,CA:TRUE");
    let error = CertificateAuthority::generate_like(&old, None, DECADE, now()).unwrap_err();
    assert!(error.to_string().starts_with("unsupported key RSA-2304; use one of RSA-2048"), "{error}");
    assert!(CertificateAuthority::generate_like(&old, Some(KeyAlgorithm::EcdsaP256), DECADE, now()).is_ok());
}

#[test]
fn a_ca_with_a_new_end_is_the_same_ca_to_everybody() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let old = kubernetes_ca(algorithm);
        let later = now() + DECADE + YEAR;
        let new = old.prolonged(DECADE, later).unwrap();
        let (before, after) = (old.certificate(), new.certificate());
        assert!(!before.is_valid_at(later) && after.is_valid_at(later) && after.is_self_signed());
        assert_eq!((before.ca_id(), before.subject_key_id()), (after.ca_id(), after.subject_key_id()));
        assert_eq!((before.not_before(), after.not_after()), (after.not_before(), later + DECADE));
        assert_ne!(before.serial_hex(), after.serial_hex());
        let leaf = old.issue_client("a", &[], p256().spki_der(), YEAR, now()).unwrap();
        assert!(leaf.signed_by(after));
        assert!(matches!(old.prolonged(YEAR, now() - YEAR), Err(PkiError::NoValidity { .. })));
    }
}
