//! Probes against a TLS server in this process.
#![expect(clippy::disallowed_methods, reason = "certificates must be valid when the handshake takes place")]

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::pki::{CertificateAuthority, KeyAlgorithm, PrivateKey, ServerNames};

const LIMIT: Duration = Duration::from_secs(10);

struct Authority(CertificateAuthority, Timestamp);

impl Authority {
    fn new() -> Self {
        let now = Timestamp::now();
        let ca =
            CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, SignedDuration::from_hours(1), now);
        Self(ca.unwrap(), now)
    }

    fn credential(&self, server: bool) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let hour = SignedDuration::from_hours(1);
        let names = ServerNames { dns: vec!["localhost".into()], ips: vec!["127.0.0.1".parse().unwrap()] };
        let leaf = if server {
            self.0.issue_server("server", &names, key.spki_der(), hour, self.1)
        } else {
            self.0.issue_client("client", &[], key.spki_der(), hour, self.1)
        };
        (vec![leaf.unwrap().rustls_der(), self.0.certificate().rustls_der()], key.rustls_der())
    }
}

/// Serves until the test ends. With `required`, a client without a certificate of that CA is refused by TLS, as etcd does;
/// otherwise it gets `answer`, as kube-apiserver does.
async fn serve(
    ca: &Authority,
    required: Option<&Authority>,
    answer: &'static str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match required {
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(clients.0.certificate().rustls_der()).unwrap();
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap()
        }
        None => Arc::new(NoClientAuth),
    };
    let (chain, key) = ca.credential(true);
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            let mut request = [0; 1024];
            if tls.read(&mut request).await.is_ok_and(|length| length > 0) {
                let text = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                let _ = tls.write_all(text.as_bytes()).await;
                let _ = tls.shutdown().await;
            }
        }
    });
    address
}

async fn verdict(address: &str, client: &Authority) -> Verdict {
    let (chain, key) = client.credential(false);
    client_verdict(address, "localhost", chain, key, "/version", LIMIT).await
}

#[tokio::test]
async fn the_chain_served_is_recorded_whole() {
    let ca = Authority::new();
    let address = serve(&ca, None, "200 OK", rustls::ALL_VERSIONS).await;
    let served = handshake(&address, "127.0.0.1", LIMIT).await.unwrap();
    assert_eq!(served.certificates.len(), 2);
    assert_eq!(served.certificates[1].ca_id(), ca.0.certificate().ca_id());
    assert!(served.certificates[0].signed_by(&served.certificates[1]));
    assert_eq!(served.version, "TLSv1_3");
}

#[tokio::test]
async fn only_401_is_a_refusal_by_http() {
    let ca = Authority::new();
    for (answer, expected) in [
        ("200 OK", Verdict::Accepted),
        ("403 Forbidden", Verdict::Accepted),
        ("500 Internal Server Error", Verdict::Accepted),
        ("401 Unauthorized", Verdict::Refused),
    ] {
        let address = serve(&ca, None, answer, rustls::ALL_VERSIONS).await;
        assert_eq!(verdict(&address, &ca).await, expected, "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_by_tls_is_told_from_silence_in_both_versions() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let address = serve(&ca, Some(&ca), "200 OK", &[version]).await;
        assert_eq!(verdict(&address, &ca).await, Verdict::Accepted, "{version:?}");
        assert_eq!(verdict(&address, &stranger).await, Verdict::Refused, "{version:?}");
        let without = status(&address, "localhost", "/", LIMIT).await;
        assert!(matches!(without, Err(ProbeError::Refused { .. })), "{without:?}");
    }
}

#[tokio::test]
async fn nobody_and_a_mute_server_are_unreachable() {
    let ca = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = listener.local_addr().unwrap().to_string();
    let (chain, key) = ca.credential(false);
    let short = Duration::from_millis(100);
    assert_eq!(client_verdict(&mute, "localhost", chain, key, "/", short).await, Verdict::Unreachable);
    let error = handshake(&mute, "localhost", short).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{mute} does not answer within 100 ms"));
    drop(listener);
    assert_eq!(verdict(&mute, &ca).await, Verdict::Unreachable);
    assert!(matches!(handshake(&mute, "localhost", LIMIT).await, Err(ProbeError::Unreachable { .. })));
}

#[tokio::test]
async fn the_status_of_a_health_endpoint() {
    let address = serve(&Authority::new(), None, "200 OK", rustls::ALL_VERSIONS).await;
    assert_eq!(status(&address, "localhost", "/healthz", LIMIT).await.unwrap(), 200);
    assert!(matches!(status(&address, "no name", "/", LIMIT).await, Err(ProbeError::ServerName(_))));
}
