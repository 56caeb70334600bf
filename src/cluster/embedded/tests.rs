//! Objects of a played API server.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::played::{Answer, Call, cluster};
use super::*;
use crate::pki::{KeyAlgorithm, Material, PrivateKey, certificate_request};

fn ca() -> Certificate {
    Material::planned("kubernetes", None, "2026-11-22T12:00:00Z".parse().unwrap()).unwrap().ca
}

fn list(items: &[Value]) -> Answer {
    Answer::Object(json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }))
}

/// Each kind of object that holds a CA, once; what is asked for is noted.
fn play(call: &Call, pem: &str) -> Answer {
    let base64 = STANDARD.encode(pem);
    let named = |namespace: &str, name: &str| json!({ "namespace": namespace, "name": name });
    let conf = format!("clusters:\n- cluster:\n    certificate-authority-data: {base64}\n");
    match call.path.split('?').next().unwrap() {
        "/api/v1/namespaces/kube-public/configmaps/cluster-info" => {
            Answer::Object(json!({ "metadata": named("kube-public", "cluster-info"), "data": { "kubeconfig": conf } }))
        }
        "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication" => Answer::Object(
            json!({ "metadata": {}, "data": { "client-ca-file": pem, "requestheader-client-ca-file": pem } }),
        ),
        "/api/v1/configmaps" => list(&[
            json!({ "metadata": named("b", "kube-root-ca.crt"), "data": { "ca.crt": pem } }),
            json!({ "metadata": named("a", "kube-root-ca.crt"), "data": { "ca.crt": "emptied" } }),
        ]),
        "/api/v1/secrets" => list(&[
            json!({ "metadata": named("ns", "ci"), "data": { "ca.crt": base64, "token": STANDARD.encode("s3cret") } }),
        ]),
        path if path.ends_with("/validatingwebhookconfigurations") => list(&[json!({
            "metadata": { "name": "policy" },
            "webhooks": [
                { "name": "pods.example.org", "clientConfig": { "caBundle": base64 } },
                { "clientConfig": { "caBundle": "%" } },
            ],
        })]),
        path if path.ends_with("/apiservices") => {
            list(&[json!({ "metadata": { "name": "v1.metrics" }, "spec": { "caBundle": base64 } })])
        }
        path if path.ends_with("/mutatingwebhookconfigurations") => Answer::Failure(403, "Forbidden"),
        path if path.ends_with("/customresourcedefinitions") => Answer::Failure(404, "NotFound"),
        other => panic!("{other}"),
    }
}

/// Each kind in the form that its API has (`k8s.io/api/admissionregistration/v1`, `k8s.io/kube-aggregator/pkg/apis/apiregistration/v1`,
/// `k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1`).
#[tokio::test]
async fn ca_bundles_of_mutating_webhooks_api_services_and_conversions_are_found() {
    let ca = ca();
    let base64 = STANDARD.encode(ca.to_pem());
    let connection = cluster(move |call| {
        let client = json!({ "caBundle": base64 });
        let object = match call.path.split('?').next().unwrap().rsplit('/').next().unwrap() {
            "mutatingwebhookconfigurations" => json!({
                "metadata": { "name": "defaults" },
                "webhooks": [{ "name": "pods.example.org", "clientConfig": client }, { "name": "none", "clientConfig": {} }],
            }),
            "apiservices" => json!({ "metadata": { "name": "v1beta1.metrics.k8s.io" }, "spec": client }),
            "customresourcedefinitions" => json!({
                "metadata": { "name": "things.example.org" },
                "spec": { "conversion": { "strategy": "Webhook", "webhook": { "clientConfig": client } } },
            }),
            _ => return Answer::Failure(404, "NotFound"),
        };
        list(&[object])
    });
    let (bundles, errors) = connection.trust_bundles().await;
    assert!(errors.is_empty(), "{errors:?}");
    let objects: Vec<&str> = bundles.iter().map(|bundle| bundle.object.as_str()).collect();
    let wanted = [
        "mutatingwebhookconfiguration/defaults/pods.example.org",
        "apiservice/v1beta1.metrics.k8s.io",
        "customresourcedefinition/things.example.org",
    ];
    assert_eq!(objects, wanted);
    let found = bundles.iter().flat_map(|bundle| &bundle.certificates).map(|found| found.as_ref().unwrap().ca_id());
    assert_eq!(found.collect::<Vec<_>>(), [ca.ca_id(), ca.ca_id(), ca.ca_id()]);
}

#[tokio::test]
async fn every_place_of_a_ca_is_read_and_what_may_not_be_read_is_said() {
    let pem = ca().to_pem();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let connection = cluster(move |call| {
        seen.lock().unwrap().push(call.path.clone());
        play(call, &pem)
    });
    let (bundles, errors) = connection.trust_bundles().await;
    let names: Vec<(&str, bool)> =
        bundles.iter().map(|bundle| (bundle.object.as_str(), bundle.certificates.iter().all(Result::is_ok))).collect();
    assert_eq!(
        names,
        [
            ("configmap/kube-public/cluster-info", true),
            ("configmap/a/kube-root-ca.crt", false),
            ("configmap/b/kube-root-ca.crt", true),
            ("configmap/kube-system/extension-apiserver-authentication/client-ca-file", true),
            ("configmap/kube-system/extension-apiserver-authentication/requestheader-client-ca-file", true),
            ("secret/ns/ci", true),
            ("validatingwebhookconfiguration/policy/pods.example.org", true),
            ("validatingwebhookconfiguration/policy/1", false),
            ("apiservice/v1.metrics", true),
        ]
    );
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("mutatingwebhookconfigurations"), "{}", errors[0]);
    assert!(!format!("{bundles:?}").contains("s3cret"));
    let asked = asked.lock().unwrap();
    let secrets = asked.iter().find(|path| path.contains("/secrets")).unwrap();
    assert!(secrets.contains("service-account-token"), "no other Secret is asked for: {secrets}");
}

#[tokio::test]
async fn of_a_bootstrap_token_only_the_public_half_is_kept() {
    let encoded = |text: &str| STANDARD.encode(text);
    let connection = cluster(move |call| {
        assert!(call.path.contains("bootstrap.kubernetes.io"), "{}", call.path);
        list(&[
            json!({ "metadata": { "name": "bootstrap-token-abcdef" }, "data": {
                "token-id": encoded("abcdef"), "token-secret": encoded("0123456789abcdef"),
                "expiration": encoded("2026-11-23T12:00:00Z"), "usage-bootstrap-signing": encoded("true"),
                "usage-bootstrap-authentication": encoded("false"),
                "auth-extra-groups": encoded("system:bootstrappers:kubeadm:default-node-token"),
            }}),
            json!({ "metadata": { "name": "bootstrap-token-ffffff" } }),
        ])
    });
    let tokens = connection.bootstrap_tokens().await.unwrap();
    let shown = serde_json::to_string(&tokens).unwrap();
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
    assert_eq!((tokens[0].id.as_str(), tokens[0].expires.as_deref()), ("abcdef", Some("2026-11-23T12:00:00Z")));
    assert_eq!((tokens[0].usages.as_slice(), tokens[0].groups.len()), (["signing".to_owned()].as_slice(), 1));
    assert_eq!((tokens[1].id.as_str(), tokens[1].expires.as_deref()), ("bootstrap-token-ffffff", None));
}

#[tokio::test]
async fn a_request_says_who_wants_what_of_whom_and_where_it_stands() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let pem = certificate_request("system:node:w-1", &["system:nodes".to_owned()], &key).unwrap();
    let csr = move |name: &str, status: Value| {
        json!({
            "metadata": { "name": name, "creationTimestamp": "2026-11-22T11:00:00Z" },
            "spec": { "request": STANDARD.encode(&pem), "signerName": "kubernetes.io/kubelet-serving", "username": "system:node:w-1" },
            "status": status,
        })
    };
    let condition = |kind: &str| json!({ "conditions": [{ "type": kind, "status": "True" }] });
    let connection = cluster(move |_| {
        list(&[
            csr("a", json!({})),
            csr("b", condition("Approved")),
            csr("c", condition("Denied")),
            csr("d", condition("Failed")),
            csr("e", json!({ "conditions": [{ "type": "Approved", "status": "True" }], "certificate": "eA==" })),
        ])
    });
    let requests = connection.certificate_requests().await.unwrap();
    let states: Vec<RequestState> = requests.iter().map(|request| request.state).collect();
    use RequestState::{Approved, Denied, Failed, Issued, Pending};
    assert_eq!(states, [Pending, Approved, Denied, Failed, Issued]);
    assert_eq!(requests[0].subject, "CN=system:node:w-1,O=system:nodes");
    assert_eq!(
        (requests[0].requester.as_str(), requests[0].created.as_str()),
        ("system:node:w-1", "2026-11-22T11:00:00Z")
    );
}
