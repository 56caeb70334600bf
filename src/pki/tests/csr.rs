//! Requests, as openssl reads them.

use super::fixture::{OpenSsl, YEAR, kubernetes_ca, now, p256};
use crate::pki::{
    Certificate, KeyAlgorithm, PkiError, PlainRequest, PrivateKey, ServerNames, certificate_request,
    signing_request_like,
};

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

fn refusal(request: &str) -> String {
    match PlainRequest::from_pem(request.as_bytes()) {
        Err(PkiError::Request { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

fn nodes() -> Vec<String> {
    vec!["system:nodes".to_owned()]
}

#[test]
fn a_request_is_read_back_and_asks_for_its_own_subject_only() {
    for key in [p256(), PrivateKey::generate(KeyAlgorithm::Rsa2048).unwrap()] {
        let request = certificate_request("system:node:w-1", &nodes(), &key).unwrap();
        let read = PlainRequest::from_pem(request.as_bytes()).unwrap();
        assert_eq!(read.spki_der(), key.spki_der());
        assert!(read.asks_for("system:node:w-1", &nodes()));
        assert!(!read.asks_for("system:node:w-2", &nodes()), "another node");
        assert!(!read.asks_for("system:node:w-1", &[]), "fewer groups");
        assert!(
            !read.asks_for("system:node:w-1", &["system:nodes", "system:masters"].map(str::to_owned)),
            "more groups"
        );
    }
    let twice = certificate_request("system:node:w-1", &["system:nodes", "system:nodes"].map(str::to_owned), &p256());
    assert!(!PlainRequest::from_pem(twice.unwrap().as_bytes()).unwrap().asks_for("system:node:w-1", &nodes()));
}

#[test]
fn a_request_for_names_or_usages_is_refused() {
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let names = ServerNames { dns: vec!["worker-1".into()], ips: Vec::new() };
    let old = ca.issue_server("system:node:w-1", &names, p256().spki_der(), YEAR, now()).unwrap();
    assert_eq!(refusal(&signing_request_like(&old, &p256()).unwrap()), "it asks for more than a subject");
    let openssl = OpenSsl::new();
    openssl.write(
        "k.cnf",
        "[req]\ndistinguished_name = dn\nreq_extensions = v3\n[dn]\n[v3]\nbasicConstraints = CA:TRUE\n",
    );
    openssl.ok("req -new -config k.cnf -newkey rsa:2048 -nodes -keyout k.key -out k.csr -subj /O=system:nodes/CN=system:node:w-1");
    assert_eq!(refusal(&String::from_utf8(openssl.read("k.csr")).unwrap()), "it asks for more than a subject");
}

#[test]
fn a_request_that_its_own_key_did_not_sign_is_refused() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let body =
        |pem: &str| STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let armoured = |der: &[u8]| crate::pki::pem::encode("CERTIFICATE REQUEST", der);
    let honest = p256();
    let request = certificate_request("system:node:w-1", &nodes(), &honest).unwrap();
    // The same request with another's public key: its sender does not hold the private one.
    let mut der = body(&request);
    let place = der.windows(honest.spki_der().len()).position(|window| window == honest.spki_der()).unwrap();
    der.splice(place..place + honest.spki_der().len(), p256().spki_der().iter().copied());
    assert_eq!(refusal(&armoured(&der)), "its signature is not that of its own key");
    // Another name under the same signature.
    let mut der = body(&request);
    let place = der.windows(15).position(|window| window == b"system:node:w-1").unwrap();
    der[place + 14] = b'2';
    assert_eq!(refusal(&armoured(&der)), "its signature is not that of its own key");
    // Something behind it.
    let mut der = body(&request);
    der.push(0);
    assert!(PlainRequest::from_pem(armoured(&der).as_bytes()).is_err());
}

#[test]
fn what_is_not_one_request_is_refused() {
    let request = certificate_request("system:node:w-1", &nodes(), &p256()).unwrap();
    assert_eq!(refusal(&format!("{request}{request}")), "it has 2 PEM blocks");
    assert_eq!(refusal(""), "it has 0 PEM blocks");
    let certificate: Certificate = kubernetes_ca(KeyAlgorithm::EcdsaP256).certificate().clone();
    assert_eq!(refusal(&certificate.to_pem()), "it is a CERTIFICATE");
}
