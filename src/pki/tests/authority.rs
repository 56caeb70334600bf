//! What a CA signs, judged by rustls-webpki and by OpenSSL.

use rstest::rstest;
use rustls_pki_types::CertificateDer;

use super::fixture::{DECADE, OpenSsl, YEAR, kubernetes_ca, now, p256};
use crate::pki::{Certificate, CertificateAuthority, ChainError, KeyAlgorithm, ServerNames, Usage, verify};

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
