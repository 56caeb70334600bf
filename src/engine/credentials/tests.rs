//! Credentials against a played API server, and from the files of a control-plane node.

mod offline;
mod place;
mod plugin;
mod signing;
mod writing;

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::cluster::Cluster;
use crate::cluster::played::{Answer, Call, cluster};
use crate::pki::{CertificateAuthority, PlainRequest};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn now() -> Timestamp {
    "2031-05-06T07:08:09Z".parse().unwrap()
}

fn ca() -> CertificateAuthority {
    CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, DAY * 3650, now()).unwrap()
}

fn jane() -> Subject {
    Subject { user: "jane".into(), groups: vec!["dev".into(), "ops".into()], lifetime: DAY }
}

/// A played certificates API with one request.
struct Csrs {
    ca: CertificateAuthority,
    /// What an approver does: sign at once, refuse, or nothing.
    decision: Decision,
    /// The caller may approve.
    may_approve: bool,
    calls: Mutex<Vec<String>>,
    request: Mutex<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Sign,
    SignForAnother,
    Deny,
    Wait,
    /// The request is not there any more.
    Gone,
}

impl Csrs {
    fn new(decision: Decision, may_approve: bool) -> Arc<Self> {
        Arc::new(Self { ca: ca(), decision, may_approve, calls: Mutex::default(), request: Mutex::default() })
    }

    fn cluster(self: &Arc<Self>) -> Cluster {
        let played = Arc::clone(self);
        cluster(move |call| played.answer(call))
    }

    /// `METHOD path`, without the query.
    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn answer(&self, call: &Call) -> Answer {
        let path = call.path.split('?').next().unwrap_or_default();
        let path = path.trim_start_matches("/apis/certificates.k8s.io/v1/certificatesigningrequests");
        self.calls.lock().unwrap().push(format!("{} {path}", call.method));
        match (call.method.as_str(), path) {
            ("POST", "") => {
                *self.request.lock().unwrap() = call.body.clone();
                Answer::Object(self.object(None))
            }
            ("PATCH", "/certctl-x/approval") if !self.may_approve => Answer::Failure(403, "forbidden"),
            ("PATCH", "/certctl-x/approval") => Answer::Object(self.object(None)),
            ("GET", "/certctl-x") if self.decision == Decision::Gone => Answer::Failure(404, "not found"),
            ("GET", "/certctl-x") => Answer::Object(self.object(self.status())),
            ("GET", "") if call.path.contains("watch=") => Answer::Watch(Vec::new()),
            ("GET", "") => Answer::Object(json!({
                "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequestList",
                "metadata": { "resourceVersion": "1" },
                "items": if self.decision == Decision::Gone { json!([]) } else { json!([self.object(self.status())]) },
            })),
            ("DELETE", "/certctl-x") => {
                Answer::Object(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
            (method, path) => panic!("{method} {path} is not played"),
        }
    }

    fn object(&self, status: Option<Value>) -> Value {
        let mut spec = self.request.lock().unwrap()["spec"].clone();
        if spec.is_null() {
            // A request of an earlier process.
            spec = json!({ "request": "", "signerName": crate::cluster::csr::CLIENT });
        }
        json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": { "name": "certctl-x", "uid": "u", "resourceVersion": "1" }, "spec": spec, "status": status,
        })
    }

    fn status(&self) -> Option<Value> {
        let denied = json!({ "conditions": [{ "type": "Denied", "status": "True", "message": "not you" }] });
        match self.decision {
            Decision::Wait | Decision::Gone => None,
            Decision::Deny => Some(denied),
            Decision::Sign => Some(json!({ "certificate": STANDARD.encode(self.signed("jane").to_pem()) })),
            Decision::SignForAnother => Some(json!({ "certificate": STANDARD.encode(self.signed("june").to_pem()) })),
        }
    }

    /// The certificate for the key of the request.
    fn signed(&self, user: &str) -> Certificate {
        let asked = self.request.lock().unwrap()["spec"]["request"].as_str().unwrap().to_owned();
        let request = PlainRequest::from_pem(&STANDARD.decode(asked).unwrap()).unwrap();
        assert!(request.asks_for("jane", &jane().groups));
        self.ca.issue_client(user, &jane().groups, request.spki_der(), DAY, now()).unwrap()
    }
}
