//! Writing an object while others write it too.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::super::client::Cluster;
use super::super::played::{Answer, Call, cluster};
use crate::pki::Certificate;

/// One object that somebody else changes after it was read for the first time.
struct Contested {
    object: Value,
    /// What the others make of it.
    others: Option<Value>,
    writes: usize,
    /// Refuses every write.
    stubborn: bool,
}

impl Contested {
    fn new(object: Value, others: Option<Value>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { object, others, writes: 0, stubborn: false }))
    }

    fn answer(&mut self, call: &Call) -> Answer {
        let path = call.path.split('?').next().unwrap_or_default();
        let list = |items: Vec<Value>| {
            Answer::Object(json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }))
        };
        match call.method.as_str() {
            "PATCH" => self.write(call),
            _ if path.ends_with("/validatingwebhookconfigurations") => list(vec![self.object.clone()]),
            _ if path.ends_with("/x") || path.ends_with("/kubeadm-config") => {
                let read = self.object.clone();
                if let Some(changed) = self.others.take() {
                    self.object = changed;
                }
                Answer::Object(read)
            }
            _ => list(Vec::new()),
        }
    }

    fn write(&mut self, call: &Call) -> Answer {
        self.writes += 1;
        let patch: json_patch::Patch = serde_json::from_value(call.body.clone()).unwrap();
        if self.stubborn {
            return Answer::Failure(409, "Conflict");
        }
        match json_patch::patch(&mut self.object, &patch) {
            Ok(()) => Answer::Object(self.object.clone()),
            Err(_) => Answer::Failure(422, "Invalid"),
        }
    }
}

fn connect(object: &Arc<Mutex<Contested>>) -> Cluster {
    let object = Arc::clone(object);
    cluster(move |call| object.lock().unwrap().answer(call))
}

fn ca() -> Certificate {
    crate::pki::Material::planned("kubernetes", None, "2026-11-22T12:00:00Z".parse().unwrap()).unwrap().ca
}

fn bundle(ca: &Certificate) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(ca.to_pem())
}

/// A webhook configuration named `x` with these bundles, in this order.
fn webhooks(version: &str, bundles: &[&str]) -> Value {
    let hooks: Vec<Value> = bundles.iter().map(|text| json!({ "clientConfig": { "caBundle": text } })).collect();
    json!({ "metadata": { "name": "x", "resourceVersion": version }, "webhooks": hooks })
}

#[tokio::test]
async fn a_bundle_that_moves_while_it_is_written_is_edited_where_it_is_then() {
    let (old, new, stranger) = (ca(), ca(), ca());
    let (ours, foreign) = (bundle(&old), bundle(&stranger));
    let object = Contested::new(webhooks("1", &[&ours, &foreign]), Some(webhooks("2", &[&foreign, &ours])));
    connect(&object).write_ca_bundles(&[old.ca_id()], std::slice::from_ref(&new)).await.unwrap();
    assert_eq!(object.lock().unwrap().object, webhooks("2", &[&foreign, &bundle(&new)]));
}

#[tokio::test]
async fn an_object_that_is_written_all_the_time_is_given_up_after_a_few_attempts() {
    let old = ca();
    let object = Contested::new(webhooks("1", &[&bundle(&old)]), None);
    object.lock().unwrap().stubborn = true;
    let error = connect(&object).write_ca_bundles(&[old.ca_id()], &[ca()]).await.unwrap_err();
    assert_eq!(error.code(), Some(409));
    assert!(error.to_string().contains("validatingwebhookconfiguration/x"), "{error}");
    assert_eq!(object.lock().unwrap().writes, 5);
}

#[tokio::test]
async fn what_kubeadm_writes_into_its_configuration_meanwhile_stays_there() {
    let config = |version: &str, kubernetes: &str| {
        let text = format!(
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: {kubernetes}\n"
        );
        json!({ "metadata": { "name": "kubeadm-config", "resourceVersion": version }, "data": { "ClusterConfiguration": text } })
    };
    let object = Contested::new(config("1", "v1.36.0"), Some(config("2", "v1.37.0")));
    connect(&object).write_kubeadm_config(Some("/signer.pem")).await.unwrap();
    let text = object.lock().unwrap().object["data"]["ClusterConfiguration"].as_str().unwrap().to_owned();
    assert!(text.contains("v1.37.0") && text.contains("/signer.pem"), "{text}");
}
