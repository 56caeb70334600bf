//! Through the CSR API.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::error::ErrorKind;

/// Signs with a minute's patience; also who was told to approve.
async fn signed(played: &Arc<Csrs>) -> (Result<Issued, Error>, Vec<String>) {
    let told = Mutex::new(Vec::new());
    let tell = |name: &str| told.lock().unwrap().push(name.to_owned());
    let desk = Desk { timeout: Some(Duration::from_secs(60)), waits_for_approval: &tell };
    let outcome = sign(&played.cluster(), &jane(), &desk, std::future::pending()).await;
    (outcome, told.into_inner().unwrap())
}

#[tokio::test(start_paused = true)]
async fn who_may_approve_gets_a_certificate_and_the_request_is_gone() {
    let played = Csrs::new(Decision::Sign, true);
    let (outcome, told) = signed(&played).await;
    let issued = outcome.unwrap();
    assert_eq!(issued.certificate.subject(), "CN=jane,O=ops,O=dev");
    assert!(issued.key.matches(&issued.certificate));
    assert!(told.is_empty());
    let spec = played.request.lock().unwrap()["spec"].clone();
    assert_eq!(spec["signerName"], "kubernetes.io/kube-apiserver-client");
    assert_eq!(spec["expirationSeconds"], 24 * 3600);
    assert_eq!(spec["usages"], json!(["digital signature", "client auth"]));
    assert!(
        !STANDARD.decode(spec["request"].as_str().unwrap()).unwrap().windows(11).any(|text| text == b"PRIVATE KEY")
    );
    let calls = played.calls();
    assert_eq!(
        (calls[1].as_str(), calls.last().map(String::as_str)),
        ("PATCH /certctl-x/approval", Some("DELETE /certctl-x"))
    );
}

#[tokio::test(start_paused = true)]
async fn who_may_not_approve_waits_for_somebody_who_is_named_the_request() {
    let (outcome, told) = signed(&Csrs::new(Decision::Sign, false)).await;
    assert!(outcome.is_ok());
    assert_eq!(told, ["certctl-x"]);
}

#[tokio::test(start_paused = true)]
async fn a_denied_request_is_named_with_its_reason_and_taken_away() {
    let played = Csrs::new(Decision::Deny, false);
    let error = signed(&played).await.0.unwrap_err();
    assert_eq!(error.sentence(), "csr/certctl-x is refused: Denied: not you");
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert_eq!(played.calls().last().unwrap(), "DELETE /certctl-x");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_somebody_deletes_is_not_waited_for() {
    let error = signed(&Csrs::new(Decision::Gone, true)).await.0.unwrap_err();
    assert_eq!(error.sentence(), "csr/certctl-x is refused: it was deleted");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_approves_in_time_is_taken_back() {
    let played = Csrs::new(Decision::Wait, false);
    let error = signed(&played).await.0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.sentence().contains("csr/certctl-x was not approved and signed within 60 s"), "{error:?}");
    assert_eq!(played.calls().last().unwrap(), "DELETE /certctl-x");
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_takes_the_request_back_too() {
    let played = Csrs::new(Decision::Wait, false);
    let told = tokio::sync::Notify::new();
    let tell = |_: &str| told.notify_one();
    let desk = Desk { timeout: None, waits_for_approval: &tell };
    let stop = async {
        told.notified().await;
        Error::new(ErrorKind::Interrupted, "interrupted")
    };
    let error = sign(&played.cluster(), &jane(), &desk, stop).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(played.calls().last().unwrap(), "DELETE /certctl-x");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_ask_is_told_what_is_missing() {
    let forbidden = cluster(|_| Answer::Failure(403, "may not create"));
    let desk = Desk { timeout: None, waits_for_approval: &|_| panic!("nothing waits") };
    let error = format!("{:?}", sign(&forbidden, &jane(), &desk, std::future::pending()).await.unwrap_err());
    assert!(
        error.contains("may not create") && error.contains("groups [dev ops]") && error.contains("--root /"),
        "{error}"
    );
}

#[test]
fn a_certificate_for_another_key_is_not_taken() {
    let (ca, ours, theirs) = (ca(), new_key().unwrap(), new_key().unwrap());
    let pem = ca.issue_client("jane", &[], theirs.spki_der(), DAY, now()).unwrap().to_pem();
    assert!(super::super::signing::vetted(&pem, &ours).unwrap_err().contains("another key"));
    let server = ca.issue_server("jane", &crate::pki::ServerNames::default(), ours.spki_der(), DAY, now()).unwrap();
    assert!(super::super::signing::vetted(&server.to_pem(), &ours).unwrap_err().contains("clients"));
}
