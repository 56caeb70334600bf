//! The kubelet's certificates: signed here, or asked for.

use super::*;

#[tokio::test]
async fn the_kubelet_client_is_signed_here_when_the_key_is_here() {
    let fixture = Fixture::new();
    let (authorities, new) = stage(&fixture);
    applied(&fixture, &authorities, &Op::ReissueKubeletClient(new.clone())).await;
    let link = fs::read_link(fixture.layout.path(KUBELET_CLIENT)).unwrap();
    assert_eq!(link.to_str(), Some("/var/lib/kubelet/pki/kubelet-client-2026-11-22-20-00-00.pem"));
    let state = read_disk(&fixture.layout, &[]).state;
    assert_eq!(state.kubelet_client, Some(new.clone()));
    assert_eq!(fixture.mode(link.to_str().unwrap()), 0o600);
    let pair = fixture.read(link.to_str().unwrap());
    let client = Certificate::first_from_pem(pair.as_bytes()).unwrap();
    assert!(PrivateKey::from_pem(pair.as_bytes()).unwrap().matches(&client));
    assert_eq!(client.subject(), fixture_subject());
    assert!(fixture.read("/var/lib/certctl/history.json").contains(&client.fingerprint()));
    applied(&fixture, &authorities, &Op::ReissueKubeletClient(new)).await;
    assert_eq!(fixture.read(link.to_str().unwrap()), pair);
}

fn fixture_subject() -> String {
    "CN=system:node:cp-1,O=system:nodes".to_owned()
}

#[tokio::test]
async fn on_a_worker_the_kubelet_client_comes_from_the_cluster_and_a_wrong_one_is_refused() {
    let fixture = Fixture::new();
    let two = authority("kubernetes", fixture.now);
    let mut authorities = Authorities::open(&fixture.layout);
    authorities.know(two.certificate().clone());
    let id = two.certificate().ca_id();
    let asked = Arc::new(Mutex::new(Vec::new()));
    // A certificate of the right CA over another key.
    let key = PrivateKey::generate(ALGORITHM).unwrap();
    let wrong = two.issue_client("system:node:cp-1", &[], key.spki_der(), YEAR, fixture.now).unwrap().to_pem();
    let seen = Arc::clone(&asked);
    let callbacks = Callbacks {
        sign_kubelet_client: Box::new(move |request| {
            seen.lock().unwrap().push(request);
            let wrong = wrong.clone();
            async move { Ok(wrong) }.boxed()
        }),
        ..silent()
    };
    let before = fs::read_link(fixture.layout.path(KUBELET_CLIENT)).unwrap();
    let error = run(&fixture, &authorities, &callbacks, &Op::ReissueKubeletClient(id.clone())).await.unwrap_err();
    assert!(error.to_string().contains("kubelet-client-current"), "{error}");
    assert!(asked.lock().unwrap()[0].contains("CERTIFICATE REQUEST"));
    assert_eq!(fs::read_link(fixture.layout.path(KUBELET_CLIENT)).unwrap(), before);
    let refused = run(&fixture, &authorities, &silent(), &Op::ReissueKubeletClient(id)).await.unwrap_err();
    assert!(std::error::Error::source(&refused).unwrap().to_string().contains("nobody signs here"));
}

#[test]
fn a_serving_certificate_counts_only_when_a_ca_of_the_cluster_signed_it() {
    let fixture = Fixture::new();
    fixture.kubelet_serving(&fixture.ca);
    let reading = read_disk(&fixture.layout, &[]);
    let serving = reading.state.kubelet_serving.unwrap();
    assert_eq!((serving.issuer, serving.vouched_by), (Some(fixture.ca_id()), Vec::new()));
    assert_eq!(serving.not_after, (fixture.now + YEAR).as_second());
    let row = reading.rows.iter().find(|row| row.path == KUBELET_SERVER).unwrap();
    assert_eq!((row.kind, row.key_mode.as_deref()), (CertificateKind::KubeletServing, Some("0600")));
    assert_eq!(row.sans, ["cp-1", "10.0.0.1"]);

    let other = Fixture::new();
    other.kubelet_serving(&authority("kubernetes", other.now));
    let reading = read_disk(&other.layout, &[]);
    assert_eq!(reading.state.kubelet_serving, None);
    assert!(reading.rows.iter().any(|row| row.path == KUBELET_SERVER), "it is shown all the same");
}

#[tokio::test]
async fn the_kubelets_serving_certificate_keeps_its_names_and_gets_the_cross_behind_it() {
    let fixture = Fixture::new();
    fixture.kubelet_serving(&fixture.ca);
    let (authorities, new) = stage(&fixture);
    let old = fixture.certificates(KUBELET_SERVER_FIRST).remove(0);
    let op = Op::ReissueKubeletServing { issuer: new.clone(), vouched_by: vec![fixture.ca_id()] };
    applied(&fixture, &authorities, &op).await;
    let link = fs::read_link(fixture.layout.path(KUBELET_SERVER)).unwrap();
    assert_eq!(link.to_str(), Some("/var/lib/kubelet/pki/kubelet-server-2026-11-22-20-00-00.pem"));
    let link = link.to_str().unwrap();
    assert_eq!(fixture.mode(link), 0o600);
    let serving = read_disk(&fixture.layout, &[]).state.kubelet_serving.unwrap();
    assert_eq!((serving.issuer, serving.vouched_by), (Some(new.clone()), vec![fixture.ca_id()]));
    let chain = fixture.certificates(link);
    assert_eq!(
        (chain[0].subject_der(), chain[0].dns_names(), chain[0].ip_addresses()),
        (old.subject_der(), old.dns_names(), old.ip_addresses())
    );
    assert_eq!(chain[0].not_after(), old.not_after(), "a lifetime as long as before, from now on");
    let key = PrivateKey::from_pem(fixture.read(link).as_bytes()).unwrap();
    assert!(key.matches(&chain[0]) && !key.matches(&old), "a new key, in the same file");
    let ders: Vec<_> = chain.iter().map(Certificate::rustls_der).collect();
    for trusted in [fixture.ca.certificate(), authorities.certificate(&new).unwrap()] {
        crate::pki::verify(&ders, std::slice::from_ref(trusted), crate::pki::Usage::Server, fixture.now).unwrap();
    }
    assert!(
        fixture.read("/var/lib/certctl/history.json").contains(&chain[0].fingerprint()),
        "written by certctl, not by the kubelet"
    );
    assert!(fixture.layout.path(&format!("/var/lib/certctl/backup/r1{KUBELET_SERVER_FIRST}")).exists());
    // Again: nothing changes.
    let pair = fixture.read(link);
    applied(&fixture, &authorities, &op).await;
    assert_eq!(fixture.read(link), pair);
}

const KUBELET_SERVER_FIRST: &str = "/var/lib/kubelet/pki/kubelet-server-2026-01-01-00-00-00.pem";

#[tokio::test]
async fn on_a_worker_the_serving_certificate_is_asked_for_with_the_same_names_and_without_approval_nothing_changes() {
    let fixture = Fixture::new();
    fixture.kubelet_serving(&fixture.ca);
    let two = authority("kubernetes", fixture.now);
    let mut authorities = Authorities::open(&fixture.layout);
    authorities.know(two.certificate().clone());
    let op = Op::ReissueKubeletServing { issuer: two.certificate().ca_id(), vouched_by: Vec::new() };
    let before = fs::read_link(fixture.layout.path(KUBELET_SERVER)).unwrap();
    let error = run(&fixture, &authorities, &silent(), &op).await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("nobody approves here"), "{error}");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let stranger = two.issue_client("x", &[], PrivateKey::generate(ALGORITHM).unwrap().spki_der(), YEAR, fixture.now);
    let stranger = stranger.unwrap().to_pem();
    let callbacks = Callbacks {
        sign_kubelet_serving: Box::new(move |request| {
            seen.lock().unwrap().push(request);
            let stranger = stranger.clone();
            async move { Ok(stranger) }.boxed()
        }),
        ..silent()
    };
    let error = run(&fixture, &authorities, &callbacks, &op).await.unwrap_err();
    assert!(error.to_string().contains("kubelet-server-current"), "{error}");
    let request = CertificateRequest::from_pem(asked.lock().unwrap()[0].as_bytes()).unwrap();
    assert_eq!((request.subject(), request.dns_names()), ("CN=system:node:cp-1", &["cp-1".to_owned()][..]));
    assert_eq!(request.ip_addresses(), ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(request.is_proven());
    assert_eq!(fs::read_link(fixture.layout.path(KUBELET_SERVER)).unwrap(), before);
}
