//! Refusals, in words an administrator understands.

use jiff::Timestamp;

use super::fixture::{DECADE, OpenSsl, YEAR, kubernetes_ca, now, p256};
use crate::pki::{Certificate, CertificateAuthority, ChainError, KeyAlgorithm, PrivateKey, Usage, verify};

fn client(ca: &CertificateAuthority) -> Certificate {
    ca.issue_client("kubernetes-admin", &["kubeadm:cluster-admins".into()], p256().spki_der(), YEAR, now()).unwrap()
}

fn refusal(leaf: &Certificate, roots: &[&Certificate], at: Timestamp) -> String {
    let roots: Vec<Certificate> = roots.iter().copied().cloned().collect();
    verify(&[leaf.rustls_der()], &roots, Usage::Client, at).unwrap_err().to_string()
}

#[test]
fn refusals_name_the_leaf_and_the_reason() {
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let leaf = client(&ca);
    let root = ca.certificate();
    let trust = std::slice::from_ref(root);
    let name = "`CN=kubernetes-admin,O=kubeadm:cluster-admins`";
    let expired = format!("{name} is refused: a certificate of its chain expired at 2032-05-05T07:08:09Z");
    assert_eq!(refusal(&leaf, &[root], now() + YEAR + YEAR), expired);
    let early = format!(
        "{name} is refused: a certificate of its chain is valid only from 2031-05-06T07:03:09Z; check the clocks"
    );
    assert_eq!(refusal(&leaf, &[root], now() - YEAR), early);
    assert_eq!(refusal(&leaf, &[], now()), format!("{name} is refused: the verifier trusts no CA"));
    let stranger = kubernetes_ca(KeyAlgorithm::Rsa2048);
    let unknown = format!("{name} (issuer `CN=kubernetes`) is not signed by a trusted CA");
    assert_eq!(refusal(&leaf, &[stranger.certificate()], now()), unknown);
    assert_eq!(refusal(root, &[root], now()), "`CN=kubernetes` is refused: it is a CA certificate, not a leaf");
    assert_eq!(verify(&[], trust, Usage::Client, now()), Err(ChainError::Empty));
    let server = verify(&[leaf.rustls_der()], trust, Usage::Server, now()).unwrap_err();
    assert_eq!(server.to_string(), format!("{name} may not be used as a TLS server"));
    let garbage = rustls_pki_types::CertificateDer::from(vec![1, 2, 3]);
    let unreadable = verify(&[garbage], trust, Usage::Client, now()).unwrap_err();
    assert!(unreadable.to_string().starts_with("`unreadable certificate` is refused: "), "{unreadable}");
}

/// webpki takes a root for what it is whatever its dates; Go and OpenSSL do not, and they are who we speak for.
#[test]
fn an_expired_root_is_refused_unless_its_renewed_copy_stands_beside_it() {
    let ca = CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, YEAR, now()).unwrap();
    let long = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let leaf = long.issue_client("a", &[], p256().spki_der(), DECADE, now()).unwrap();
    let cross = ca.cross_sign(long.certificate(), now()).unwrap();
    let later = now() + YEAR + YEAR;
    // The same key under a certificate that is over, as a trusted root.
    let stale = refusal(&leaf, &[&cross], later);
    assert_eq!(
        stale,
        "`CN=a` is refused: the trusted CA `CN=kubernetes` is valid from 2031-05-06T07:03:09Z to 2032-05-05T07:08:09Z only"
    );
    let both = [cross, long.certificate().clone()];
    assert_eq!(verify(&[leaf.rustls_der()], &both, Usage::Client, later), Ok(()));
}

/// Go counts every CA certificate against the root's path length; with a limit of 0 nothing can be cross-signed.
#[test]
fn a_root_that_allows_no_ca_below_it_refuses_a_cross_signed_chain() {
    let openssl = OpenSsl::new();
    let root = openssl.certificate("root", "rsa:2048", "/CN=root", "basicConstraints=critical,CA:TRUE,pathlen:0");
    let root = CertificateAuthority::new(root, PrivateKey::from_pem(&openssl.read("root.key")).unwrap()).unwrap();
    let new = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let cross = root.cross_sign(new.certificate(), now()).unwrap();
    let leaf = client(&new);
    let chain = [leaf.rustls_der(), cross.rustls_der()];
    let trust = [root.certificate().clone()];
    let refused = verify(&chain, &trust, Usage::Client, now()).unwrap_err().to_string();
    assert!(
        refused.ends_with("the trusted CA `CN=root` allows 0 CA certificates below it, the chain has 1"),
        "{refused}"
    );
    assert!(!openssl.accepts(&[root.certificate()], &[&cross], &leaf, "sslclient", ""));
    assert_eq!(verify(&[client(&root).rustls_der()], &trust, Usage::Client, now()), Ok(()));
}
