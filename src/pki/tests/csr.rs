//! Requests, as openssl reads them.

use super::fixture::{OpenSsl, YEAR, kubernetes_ca, now, p256};
use crate::pki::{KeyAlgorithm, PrivateKey, ServerNames, certificate_request, signing_request_like};

#[test]
fn a_request_is_well_formed_and_keeps_the_order_of_groups() {
    let openssl = OpenSsl::new();
    for algorithm in [KeyAlgorithm::Rsa2048, KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384, KeyAlgorithm::Ed25519] {
        let key = PrivateKey::generate(algorithm).unwrap();
        let groups = ["system:nodes", "b", "a", "b"].map(str::to_owned);
        openssl.write("a.csr", certificate_request("system:node:worker-1", &groups, &key).unwrap());
        let read = openssl.run("req -in a.csr -verify -noout -subject -nameopt RFC2253");
        assert!(String::from_utf8_lossy(&read.stderr).contains("verify OK"), "{read:?}");
        assert_eq!(
            String::from_utf8(read.stdout).unwrap(),
            "subject=CN=system:node:worker-1,O=b,O=a,O=b,O=system:nodes\n"
        );
        openssl.ok("req -in a.csr -noout -pubkey -out public.pem");
        openssl.ok("pkey -pubin -in public.pem -outform der -out public.der");
        assert_eq!(key.spki_der(), openssl.read("public.der"));
        assert!(!openssl.ok("req -in a.csr -noout -text").contains("X509v3"), "a kubelet client must not ask for SANs");
    }
}

#[test]
fn a_request_like_a_server_certificate_asks_for_its_names() {
    let openssl = OpenSsl::new();
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let names = ServerNames { dns: vec!["worker-1".into()], ips: vec!["10.0.0.7".parse().unwrap()] };
    let old = ca.issue_server("system:node:worker-1", &names, p256().spki_der(), YEAR, now()).unwrap();
    openssl.write("a.csr", signing_request_like(&old, &p256()).unwrap());
    let text = openssl.ok("req -in a.csr -noout -text -verify");
    assert!(text.contains("DNS:worker-1, IP Address:10.0.0.7"), "{text}");
    assert!(text.contains("CN = system:node:worker-1"), "{text}");
}
