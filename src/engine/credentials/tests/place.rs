//! Where a credential leads to, and whom it trusts.

use super::super::place::{in_rotation, place_beside, trust};
use super::*;
use crate::api::{AuthorityRecord, ClusterPKI, ClusterPkiSpec, ClusterPkiStatus, RotationIntent};
use crate::engine::Record;

fn ids(cas: &[Certificate]) -> Vec<String> {
    cas.iter().map(|ca| ca.ca_id().short().to_owned()).collect()
}

#[test]
fn the_clusters_cas_take_the_place_of_its_older_ones_and_strangers_stay() {
    let stranger = CertificateAuthority::generate("proxy", KeyAlgorithm::EcdsaP256, DAY, now()).unwrap();
    let [zero, one, two] = [ca(), ca(), ca()].map(|ca| ca.certificate().clone());
    let stranger = stranger.certificate().clone();
    let both = [two.clone(), one.clone()];
    let trust = |held: Option<&[Certificate]>, own: &[Certificate]| ids(&trust(held, own));
    assert_eq!(trust(None, &both), ids(&both));
    assert_eq!(trust(Some(std::slice::from_ref(&one)), &both), ids(&both), "both while a rotation runs");
    let mixed = [zero, stranger.clone(), one];
    assert_eq!(trust(Some(&mixed), &both), ids(&[&both[..], std::slice::from_ref(&stranger)].concat()));
    assert_eq!(
        trust(Some(std::slice::from_ref(&stranger)), &both),
        ids(std::slice::from_ref(&stranger)),
        "a proxy's CA"
    );
    assert_eq!(trust(Some(&[]), &both), Vec::<String>::new(), "the system's CAs");
    assert_eq!(trust(Some(&mixed), &[]), ids(&mixed), "nothing is known");
}

fn authority(ca: &Certificate) -> AuthorityRecord {
    AuthorityRecord {
        id: ca.ca_id(),
        certificate: ca.to_pem(),
        crosses: Vec::new(),
        specimen_server: None,
        specimen_client: None,
    }
}

fn record(wanted: u32, cas: &[&Certificate], rotation: Option<RotationIntent>) -> Record {
    let mut record = Record { wanted, completed: 1, rotation, ..Record::default() };
    for (version, ca) in (1..).zip(cas) {
        record.add(version, &authority(ca));
    }
    record
}

fn intent(from: &Certificate, to: &Certificate) -> RotationIntent {
    RotationIntent {
        from: from.ca_id(),
        to: Some(to.ca_id()),
        rollback: false,
        started_by: "root@here:1".into(),
        started_at: "2031-05-06T07:00:00Z".into(),
        trusted_at: None,
    }
}

#[test]
fn a_rotation_under_way_gives_both_its_cas_and_a_finished_one_none() {
    let [one, two] = [ca(), ca()].map(|ca| ca.certificate().clone());
    let intent = intent(&one, &two);
    let running = record(2, &[&one, &two], Some(intent.clone()));
    assert_eq!(ids(&in_rotation(&running)), ids(&[one.clone(), two.clone()]));
    let finished = Record { completed: 2, ..record(2, &[&one, &two], Some(intent)) };
    assert_eq!(in_rotation(&finished), []);
    assert_eq!(in_rotation(&record(1, &[&one], None)), []);
}

/// What the played cluster shows of itself; certctl is not installed in it.
fn published(root: &str, info: Option<&str>) -> Cluster {
    published_beside(root, info, None)
}

/// As [`published`], with this ClusterPKI.
fn published_beside(root: &str, info: Option<&str>, pki: Option<&ClusterPKI>) -> Cluster {
    let pki = pki.map(|pki| serde_json::to_value(pki).unwrap());
    let map = |key: &str, text: &str| {
        Answer::Object(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": { key: text } }))
    };
    let (root, info) = (root.to_owned(), info.map(str::to_owned));
    cluster(move |call| match (call.path.as_str(), &info) {
        (path, _) if path.ends_with("/kube-root-ca.crt") && root.is_empty() => Answer::Failure(403, "not for you"),
        (path, _) if path.ends_with("/kube-root-ca.crt") => map("ca.crt", &root),
        (path, Some(info)) if path.ends_with("/cluster-info") => map("kubeconfig", info),
        (path, None) if path.ends_with("/cluster-info") => Answer::Failure(404, "none"),
        (path, _) if path.contains("/clusterpkis/") => {
            pki.clone().map_or(Answer::Failure(404, "not installed"), Answer::Object)
        }
        (path, _) => panic!("{path} is not played"),
    })
}

#[tokio::test]
async fn the_address_is_the_one_named_and_without_a_kubeconfig_that_of_cluster_info() {
    let ca = ca().certificate().clone();
    let data = STANDARD.encode(ca.to_pem());
    let info = format!(
        "clusters:\n- cluster:\n    certificate-authority-data: {data}\n    server: https://10.0.0.1:6443\n  name: ''\n"
    );
    let hidden = published("", Some(&info));
    let here = place_beside(&hidden, None, None).await.unwrap();
    assert_eq!((here.cluster.as_str(), &here.body["server"]), ("kubernetes", &json!("https://10.0.0.1:6443")));
    assert_eq!((here.body["certificate-authority-data"].as_str(), here.warnings.len()), (Some(data.as_str()), 0));
    let named = place_beside(&hidden, None, Some("https://vip:6443")).await.unwrap();
    assert_eq!(named.body["server"], "https://vip:6443");
    let silent = published(&ca.to_pem(), None);
    let error = format!("{:?}", place_beside(&silent, None, None).await.unwrap_err());
    assert!(error.contains("at which address") && error.contains("--server"), "{error}");
    let dark = published("", None);
    assert!(place_beside(&dark, None, Some("https://vip:6443")).await.unwrap_err().sentence().contains("which CA"));
}

/// The new CA is made, and not published yet: whoever trusts the old one alone is cut off before the credential ends.
#[tokio::test]
async fn while_a_rotation_runs_the_entry_carries_both_cas() {
    let [one, two] = [ca(), ca()].map(|ca| ca.certificate().clone());
    let spec =
        ClusterPkiSpec { ca_version: 2, rotation: Some(intent(&one, &two)), waivers: Vec::new(), forget: Vec::new() };
    let mut pki = ClusterPKI::new("cluster", spec);
    let authorities = [("1".to_owned(), authority(&one)), ("2".to_owned(), authority(&two))].into();
    pki.status = Some(ClusterPkiStatus { ca_version: Some(1), authorities, ..ClusterPkiStatus::default() });
    let server = Some("https://vip:6443");
    let carried = |body: &Value| {
        let data = STANDARD.decode(body["certificate-authority-data"].as_str().unwrap()).unwrap();
        ids(&Certificate::all_from_pem(&data).unwrap())
    };
    let both = ids(&[one.clone(), two.clone()]);
    let running = place_beside(&published_beside(&one.to_pem(), None, Some(&pki)), None, server).await.unwrap();
    assert_eq!((ids(&running.cas), carried(&running.body)), (both.clone(), both));
    assert_eq!(running.staying, Some(two.ca_id()));
    pki.status = pki.status.map(|status| ClusterPkiStatus { ca_version: Some(2), ..status });
    let over = place_beside(&published_beside(&two.to_pem(), None, Some(&pki)), None, server).await.unwrap();
    assert_eq!((carried(&over.body), over.staying), (ids(&[two]), None), "the old one is over");
}

#[tokio::test]
async fn the_new_entry_reaches_the_server_as_the_callers_does_with_the_cas_of_the_cluster() {
    let [one, two] = [ca(), ca()].map(|ca| ca.certificate().clone());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let text = "current-context: c\ncontexts:\n- {name: c, context: {cluster: prod, user: u}}\nclusters:\n- name: prod\n  \
        cluster: {server: 'https://a:6443', proxy-url: 'socks5://p:1', certificate-authority: ca.crt}\n";
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.path().join("ca.crt"), one.to_pem()).unwrap();
    let both = published(&format!("{}{}", two.to_pem(), one.to_pem()), None).with_kubeconfig(&path);
    let here = place(&both, None).await.unwrap();
    assert_eq!(
        (here.cluster.as_str(), &here.body["server"], &here.body["proxy-url"]),
        ("prod", &json!("https://a:6443"), &json!("socks5://p:1"))
    );
    let data = STANDARD.decode(here.body["certificate-authority-data"].as_str().unwrap()).unwrap();
    assert_eq!(ids(&Certificate::all_from_pem(&data).unwrap()), ids(&[two, one.clone()]));
    assert_eq!((here.body.get("certificate-authority"), here.as_held), (None, None), "the file lacks one of them");
    let same = published(&one.to_pem(), None).with_kubeconfig(&path);
    assert!(place(&same, None).await.unwrap().as_held.is_some(), "the file says the same");
}
