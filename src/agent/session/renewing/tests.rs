//! An agent's part of a renewal on a node's files, with a played API server.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::agent::host::Host;
use crate::api::{NodePKI, Replaced};
use crate::cluster::played::{Answer, cluster};
use crate::node::Node;
use crate::node::layout::SIGNER;
use crate::pki::{CertificateAuthority, KeyAlgorithm, PrivateKey};
use crate::plan::renewal::Action;

const CLIENT: &str = "etc/kubernetes/pki/front-proxy-client.crt";

/// Every status that the agents of a node have written.
type Statuses = Arc<Mutex<Vec<Value>>>;

/// An agent that has just been started.
fn agent(root: &Path, statuses: &Statuses) -> Session {
    let statuses = Arc::clone(statuses);
    let connection = cluster(move |call| {
        if call.path.contains("/status") {
            statuses.lock().unwrap().push(call.body[0]["value"].clone());
        }
        Answer::Object(serde_json::to_value(NodePKI::new("n-1", NodePkiSpec::default())).unwrap())
    });
    Session::open(Node::open(root), connection, "n-1", Host::stranger()).unwrap()
}

/// A node with the front-proxy CA and a client of it: nobody restarts for that one, and nobody shows it in a handshake.
fn files() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let (hour, now) = (SignedDuration::from_hours(1), Timestamp::now());
    let ca = CertificateAuthority::generate("front-proxy-ca", KeyAlgorithm::EcdsaP256, hour * 9, now).unwrap();
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let client = ca.issue_client("front-proxy-client", &[], key.spki_der(), hour, now).unwrap();
    let pki = root.path().join("etc/kubernetes/pki");
    fs::create_dir_all(&pki).unwrap();
    for (name, certificate, key) in
        [("front-proxy-ca", ca.certificate(), ca.key()), ("front-proxy-client", &client, &key)]
    {
        fs::write(pki.join(format!("{name}.crt")), certificate.to_pem()).unwrap();
        fs::write(pki.join(format!("{name}.key")), key.to_pem().as_bytes()).unwrap();
    }
    root
}

fn serial(root: &Path) -> String {
    Certificate::first_from_pem(&fs::read(root.join(CLIENT)).unwrap()).unwrap().serial_hex()
}

fn asked(replace: Option<&str>) -> NodePkiSpec {
    let gone = |serial: &str| vec![Replaced { name: "front-proxy-client".into(), serial: serial.to_owned() }];
    let order = RenewalOrder { run: "renew-1".into(), replace: replace.map(gone), ..RenewalOrder::default() };
    NodePkiSpec { renewal: Some(order), ..NodePkiSpec::default() }
}

async fn answer(agent: &mut Session, spec: &NodePkiSpec) -> NodeRenewal {
    let authorities = Authorities::open(agent.node.layout());
    agent.renew((spec, None), 7, &authorities).await;
    agent.renewing.answer.clone().unwrap()
}

#[tokio::test]
async fn a_plan_changes_nothing_and_an_order_changes_what_it_names_once_whoever_reads_it() {
    let (root, statuses) = (files(), Statuses::default());
    let old = serial(root.path());
    let mut first = agent(root.path(), &statuses);
    let plan = answer(&mut first, &asked(None)).await;
    assert_eq!((plan.problem, plan.outcome), (None, None));
    assert_eq!(plan.certificates.len(), 1);
    assert_eq!(plan.certificates[0].action, Action::Renew);
    assert_eq!(plan.certificates[0].change.as_ref().unwrap().old_serial, old);
    assert_eq!(serial(root.path()), old);
    assert!(statuses.lock().unwrap().is_empty(), "a plan is at once there");

    let done = answer(&mut first, &asked(Some(&old))).await;
    let (new, outcome) = (serial(root.path()), done.outcome.unwrap());
    assert_eq!(done.problem, None);
    assert_ne!(new, old);
    assert_eq!((outcome.renewed[0].serial.as_str(), outcome.backup.is_some()), (new.as_str(), true));
    let said = statuses.lock().unwrap()[0].clone();
    assert_eq!((&said["doing"], &said["observedGeneration"]), (&json!("renew-1: renewing certificates"), &json!(7)));

    // It was killed before it could report.
    let again = answer(&mut agent(root.path(), &statuses), &asked(Some(&old))).await;
    let outcome = again.outcome.unwrap();
    assert_eq!((again.problem, again.certificates.len()), (None, 0));
    assert_eq!((outcome.renewed[0].serial.as_str(), outcome.backup), (new.as_str(), None));
    assert_eq!(serial(root.path()), new);

    first.renew((&NodePkiSpec::default(), None), 8, &Authorities::open(first.node.layout())).await;
    assert_eq!(first.renewing.answer, None, "what nobody asks for is not answered");
    for status in statuses.lock().unwrap().iter() {
        assert!(!status.to_string().contains("PRIVATE KEY"));
    }
}

#[tokio::test]
async fn in_the_middle_of_a_rotation_the_node_says_so_and_changes_nothing() {
    let (root, statuses) = (files(), Statuses::default());
    let old = serial(root.path());
    let signer = root.path().join(SIGNER.trim_start_matches('/'));
    fs::create_dir_all(signer.parent().unwrap()).unwrap();
    fs::write(signer, "").unwrap();
    let mut agent = agent(root.path(), &statuses);
    for spec in [asked(None), asked(Some(&old))] {
        let problem = answer(&mut agent, &spec).await.problem.unwrap();
        assert!(problem.starts_with("a CA rotation is under way"), "{problem}");
    }
    assert_eq!(serial(root.path()), old);
}

#[tokio::test]
async fn a_certificate_that_is_gone_is_not_taken_for_renewed() {
    let (root, statuses) = (files(), Statuses::default());
    let old = serial(root.path());
    fs::remove_file(root.path().join(CLIENT)).unwrap();
    fs::remove_file(root.path().join(CLIENT.replace(".crt", ".key"))).unwrap();
    let problem = answer(&mut agent(root.path(), &statuses), &asked(Some(&old))).await.problem.unwrap();
    assert!(problem.contains("front-proxy-client.crt") && problem.contains("it is not there"), "{problem}");
}

fn proof(name: CertificateName, seen: &Seen) -> ProofRow {
    ProofRow { name, address: "10.0.0.1:6443".into(), seen: seen.word().into() }
}

#[test]
fn whoever_does_not_work_with_the_new_certificate_or_does_not_answer_is_named() {
    let good = proof(CertificateName::Apiserver, &Seen::New);
    assert_eq!(judge(&[]), Ok(()));
    assert_eq!(judge(std::slice::from_ref(&good)), Ok(()));
    let old = proof(CertificateName::EtcdPeer, &Seen::Other("7".into()));
    let silent = proof(CertificateName::KubeletServer, &Seen::Nobody);
    let problem = judge(&[good, old, silent]).unwrap_err();
    assert!(problem.contains("etcd-peer: 10.0.0.1:6443 goes on showing the old certificate"), "{problem}");
    assert!(problem.contains("kubelet-server: 10.0.0.1:6443 does not answer"), "{problem}");
    assert!(!problem.contains("apiserver:"), "{problem}");
}

#[tokio::test]
async fn an_agent_that_starts_later_does_not_carry_out_an_order_that_was_answered() {
    let (root, statuses) = (files(), Statuses::default());
    let spec = asked(Some(&serial(root.path())));
    let failed = NodeRenewal {
        run: "renew-1".into(),
        outcome: Some(RenewalOutcome::default()),
        problem: Some("disk full".into()),
        ..NodeRenewal::default()
    };
    let before = serial(root.path());
    let mut later = agent(root.path(), &statuses);
    let authorities = Authorities::open(later.node.layout());
    let says = |answer: &NodeRenewal| NodePkiStatus { renewal: Some(answer.clone()), ..NodePkiStatus::default() };
    later.renew((&spec, Some(&says(&failed))), 7, &authorities).await;
    assert_eq!((later.renewing.answer.clone(), serial(root.path())), (Some(failed.clone()), before.clone()));
    // The answer to another run is none.
    let other = NodeRenewal { run: "renew-0".into(), ..failed };
    let mut fresh = agent(root.path(), &statuses);
    fresh.renew((&spec, Some(&says(&other))), 7, &authorities).await;
    assert_ne!(serial(root.path()), before);
}
