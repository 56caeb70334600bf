//! Logins merged into kubeconfigs, against what `kubectl config set-cluster`, `set-credentials` and `set-context` do with them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rstest::rstest;
use serde_json::{Value, json};

use super::fixture::{YEAR, kubernetes_ca, now, p256};
use crate::pki::{
    Certificate, Choice, KeyAlgorithm, Kubeconfig, Login, LoginNames, Merge, PrivateKey, cluster_body, credential_name,
    merge,
};

const SERVER: &str = "https://10.0.0.1:6443";

fn login_at(body: Value) -> Login {
    let names = LoginNames { context: "jane@prod".into(), cluster: "prod".into(), user: "jane".into() };
    Login::new(names, body)
}

/// A login with a plugin: the same every time.
fn login() -> Login {
    login_at(json!({ "server": SERVER })).with_exec("/bin/certctl", &["credential-plugin".into()], "hint")
}

fn merged(texts: &[&str]) -> Merge {
    merge(texts, 0, &login(), false).unwrap_or_else(|(file, error)| panic!("file {file}: {error}"))
}

fn text(merge: &Merge, file: usize) -> &str {
    merge.files.iter().find(|merged| merged.file == file).map_or("", |merged| merged.text.as_str())
}

fn value(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

/// The lines of `after` that are not in `before`, and the other way round.
fn changed<'a>(before: &'a str, after: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let only = |one: &'a str, other: &str| one.lines().filter(|line| !other.lines().any(|has| has == *line)).collect();
    (only(after, before), only(before, after))
}

#[rstest]
#[case::absent("")]
#[case::blank("\n  \n")]
#[case::comments("# mine\n")]
#[case::null("null\n")]
fn a_file_that_says_nothing_gets_what_kubectl_would_write(#[case] before: &str) {
    let merge = merged(&[before]);
    insta::allow_duplicates! {
        insta::assert_snapshot!(text(&merge, 0), @r"
        apiVersion: v1
        clusters:
        - cluster:
            server: https://10.0.0.1:6443
          name: prod
        contexts:
        - context:
            cluster: prod
            user: jane
          name: jane@prod
        current-context: jane@prod
        kind: Config
        users:
        - name: jane
          user:
            exec:
              apiVersion: client.authentication.k8s.io/v1
              args:
              - credential-plugin
              command: /bin/certctl
              env: null
              installHint: hint
              interactiveMode: Never
              provideClusterInfo: true
        ");
    }
    assert!(merge.is_current && merge.conflicts.is_empty());
    assert!(merged(&[text(&merge, 0)]).files.is_empty(), "once more changes nothing");
}

/// As people keep it: comments, an order of their own, fields nobody else knows.
const OWN: &str = "\
# my clusters
kind: Config
apiVersion: v1
x-tool: {colour: red}   # not kubectl's
current-context: dev
users:
# the robot
- name: robot   # do not touch
  user:
    token: abc

contexts:
- name: dev
  context: {cluster: dev, user: robot, namespace: web}
# here end the contexts
clusters:
  # behind the proxy
  - name: dev
    cluster:
      server: https://dev:6443   # old
      proxy-url: socks5://p:1080
preferences: {}
";

#[test]
fn a_new_login_adds_lines_and_changes_none() {
    let merge = merged(&[OWN]);
    let after = text(&merge, 0);
    let (added, removed) = changed(OWN, after);
    assert_eq!(removed, Vec::<&str>::new());
    assert_eq!(added.len(), 3 + 4 + 10, "{added:#?}");
    assert!(!merge.files[0].reformatted && !merge.is_current && merge.conflicts.is_empty());
    assert!(
        after.contains("  - cluster:\n      server: https://10.0.0.1:6443\n    name: prod\npreferences"),
        "{after}"
    );
    assert!(after.contains("  name: jane@prod\n# here end the contexts\n"), "{after}");
    let value = value(after);
    assert_eq!(value["clusters"][1], json!({ "name": "prod", "cluster": { "server": SERVER } }));
    assert_eq!(value["current-context"], "dev");
}

#[test]
fn an_entry_that_is_overwritten_keeps_its_place_its_foreign_fields_and_its_namespace() {
    let before = "\
clusters:
- name: prod   # the big one
  labels: {team: a}
  cluster:
    certificate-authority: old.crt
    server: https://old:6443
    tls-server-name: old
    extensions:
    - name: minikube
      extension: {a: 1}
    x-note: mine
# the other one
- name: dev
  cluster: {server: 'https://dev:6443'}
contexts:
- context: {cluster: prod, user: somebody, namespace: web}
  name: jane@prod
current-context: jane@prod
users:
- name: jane
  user:
    token: secret
    as: root
    tokenFile: /t
";
    let merge = merged(&[before]);
    let after = value(text(&merge, 0));
    let cluster = &after["clusters"][0];
    assert_eq!(cluster["labels"], json!({ "team": "a" }));
    assert_eq!(
        cluster["cluster"],
        json!({ "server": SERVER, "x-note": "mine", "extensions": [{ "name": "minikube", "extension": { "a": 1 } }] })
    );
    assert_eq!(after["contexts"][0]["context"], json!({ "cluster": "prod", "user": "jane", "namespace": "web" }));
    assert_eq!(after["users"][0]["user"].as_object().unwrap().keys().collect::<Vec<_>>(), ["exec"]);
    assert!(text(&merge, 0).contains("# the other one\n- name: dev\n  cluster: {server: 'https://dev:6443'}\n"));
    let told: Vec<(&str, Vec<&str>)> = merge
        .conflicts
        .iter()
        .map(|conflict| (conflict.kind, conflict.fields.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(
        told,
        [
            ("cluster", vec!["certificate-authority", "server", "tls-server-name"]),
            ("user", vec!["as", "exec", "token", "tokenFile"]),
            ("context", vec!["user"]),
        ]
    );
    assert!(!format!("{:?}", merge.conflicts).contains("secret"));
}

#[test]
fn what_counts_in_another_file_of_the_list_is_changed_there_and_what_is_new_goes_to_the_default() {
    let (first, second) = ("current-context: x\n", "users:\n- name: jane\n  user: {token: t}\n");
    let third = "users:\n- name: jane\n  user: {token: shadowed}\n";
    let merge = merge(&[first, second, third], 0, &login(), false).ok().unwrap();
    assert_eq!(merge.files.iter().map(|file| file.file).collect::<Vec<_>>(), [0, 1], "the third is not touched");
    assert_eq!(
        merge.conflicts.iter().map(|conflict| (conflict.file, conflict.kind)).collect::<Vec<_>>(),
        [(1, "user")]
    );
    assert!(value(text(&merge, 0))["users"].is_null());
    assert!(value(text(&merge, 1))["users"][0]["user"]["exec"].is_object());
}

#[test]
fn the_file_with_the_trust_is_written_before_the_one_with_the_credential() {
    let user = "users:\n- name: jane\n  user: {token: t}\n";
    let cluster = "clusters:\n- name: prod\n  cluster: {server: 'https://old'}\n";
    let merge = merged(&[user, cluster]);
    assert_eq!(merge.files.iter().map(|file| file.file).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn an_entry_that_says_nothing_is_filled_without_a_question() {
    let merge = merged(&["users:\n- name: jane\n  user: {token: '', x-note: mine}\n"]);
    assert!(merge.conflicts.is_empty());
    let user = &value(text(&merge, 0))["users"][0]["user"];
    assert!(user["exec"].is_object() && user["x-note"] == "mine");
}

#[rstest]
#[case::first_of_the_list("a: 1\n", "current-context: b\n", false, None)]
#[case::wanted("a: 1\n", "current-context: b\n", true, Some(0))]
#[case::none_yet("a: 1\n", "current-context: ''\n", false, Some(0))]
#[case::it_is_already("a: 1\n", "current-context: jane@prod\n", true, None)]
fn the_current_context_is_set_where_there_is_none_or_when_it_is_wanted(
    #[case] first: &str,
    #[case] second: &str,
    #[case] wanted: bool,
    #[case] written_to: Option<usize>,
) {
    let merge = merge(&[first, second], 0, &login(), wanted).ok().unwrap();
    let current = merge.files.iter().find(|file| value(&file.text)["current-context"] == "jane@prod");
    assert_eq!(current.map(|file| file.file).filter(|_| merge.is_current), written_to);
}

#[rstest]
#[case::json(r#"{"kind": "Config", "clusters": [{"name": "a", "cluster": {"server": "s"}}], "users": null}"#, true)]
#[case::flow("clusters: [{name: a, cluster: {server: s}}] # c\n", true)]
#[case::anchors("x: &n {server: s}\nclusters:\n- {name: a, cluster: *n}\n", false)]
#[case::no_newline_at_the_end("clusters:\n- name: a\n  cluster: {server: s}", false)]
#[case::windows("clusters:\r\n- name: a\r\n  cluster: {server: s}\r\n", false)]
#[case::document("---\nclusters:\n- name: a\n  cluster: {server: s}\n", false)]
#[case::ended("clusters:\n- name: a\n  cluster: {server: s}\n...\n", true)]
#[case::folded("clusters:\n- name: a\n  cluster:\n    server: >-\n      s\nusers: []\ncontexts: null\n", false)]
#[case::items_of_items("clusters:\n- name: a\n  cluster:\n    server: s\n    l:\n    - 1\n", false)]
fn whatever_the_form_what_stood_there_still_does(#[case] before: &str, #[case] reformatted: bool) {
    let merge = merged(&[before]);
    let after = value(text(&merge, 0));
    assert_eq!(after["clusters"][0], value(before)["clusters"][0]);
    assert_eq!(after["clusters"][1]["name"], "prod");
    assert_eq!((&after["users"][0]["name"], &after["contexts"][0]["name"]), (&json!("jane"), &json!("jane@prod")));
    assert_eq!(merge.files[0].reformatted, reformatted, "{}", text(&merge, 0));
}

#[rstest]
#[case::no_yaml("clusters: [\n")]
#[case::a_list("- 1\n")]
#[case::an_entry_without_a_body("clusters:\n- name: prod\n")]
fn a_file_that_cannot_be_understood_is_left_alone_and_named(#[case] broken: &str) {
    let (file, error) = merge(&["", broken], 0, &login(), false).err().unwrap();
    assert_eq!(file, 1);
    assert!(!error.to_string().contains("abc"), "{error}");
}

fn bundle(cas: &[&Certificate]) -> Value {
    let pem: String = cas.iter().map(|ca| ca.to_pem()).collect();
    json!({ "server": SERVER, "certificate-authority-data": STANDARD.encode(pem) })
}

#[test]
fn the_same_trust_in_other_words_is_no_conflict() {
    let (one, two) = (kubernetes_ca(KeyAlgorithm::EcdsaP256), kubernetes_ca(KeyAlgorithm::EcdsaP256));
    let (one, two) = (one.certificate(), two.certificate());
    let conflicts = |login: &Login, held: &Value| {
        let file = json!({ "clusters": [{ "name": "prod", "cluster": held }] }).to_string();
        merge(&[file], 0, login, false).ok().unwrap().conflicts.len()
    };
    let login = login_at(bundle(&[one, two]));
    assert_eq!(conflicts(&login, &bundle(&[two, one])), 0, "the order means nothing to a client");
    assert_eq!(conflicts(&login, &bundle(&[two])), 1, "a CA less does");
    let mut silent = bundle(&[one, two]);
    silent["insecure-skip-tls-verify"] = false.into();
    silent["tls-server-name"] = "".into();
    assert_eq!(conflicts(&login, &silent), 0);
    let by_file = json!({ "server": SERVER, "certificate-authority": "ca.crt" });
    assert_eq!(conflicts(&login, &by_file), 1);
    assert_eq!(conflicts(&login_at(bundle(&[one, two])).or_cluster_as_held(by_file.clone()), &by_file), 0);
}

#[test]
fn a_body_like_another_keeps_how_the_server_is_reached_and_not_how_it_was_trusted() {
    let ca = kubernetes_ca(KeyAlgorithm::EcdsaP256);
    let like = json!({
        "server": "https://old", "proxy-url": "http://p", "tls-server-name": "k",
        "certificate-authority": "ca.crt", "insecure-skip-tls-verify": true,
    });
    let mut wanted = bundle(&[ca.certificate()]);
    wanted["proxy-url"] = "http://p".into();
    wanted["tls-server-name"] = "k".into();
    assert_eq!(cluster_body(SERVER, Some(&like), &[ca.certificate().clone()]), wanted);
    assert_eq!(cluster_body("https://old", Some(&like), &[]), like, "without a CA it is as it was");
}

#[test]
fn a_kubeconfig_of_its_own_can_be_used() {
    let (ca, key): (_, PrivateKey) = (kubernetes_ca(KeyAlgorithm::EcdsaP256), p256());
    let certificate = ca.issue_client("jane", &["dev".into()], key.spki_der(), YEAR, now()).unwrap();
    let yaml = login_at(bundle(&[ca.certificate()])).with_client(&certificate, &key).to_yaml().unwrap();
    let conf = Kubeconfig::merged(&[yaml.as_str()], &Choice::default()).unwrap();
    assert_eq!((conf.context_name(), conf.user_name(), conf.server()), ("jane@prod", "jane", SERVER));
    assert_eq!(conf.client_certificate(), Some(certificate));
    assert_eq!(conf.client_key().unwrap().ca_id(), key.ca_id());
    assert_eq!(conf.ca_data().unwrap(), [ca.certificate().clone()]);
}

#[test]
fn a_credentials_name_is_a_file_name_and_tells_clusters_users_and_groups_apart() {
    let name = |user: &str, groups: &[&str], server: &str| {
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        credential_name(user, &groups, "prod", server)
    };
    let names = [
        name("jane", &["a", "b"], SERVER),
        name("jane", &["b", "a"], SERVER),
        name("jane", &["a,b"], SERVER),
        name("jane", &["a", "b"], "https://other"),
        name("../jane", &["a", "b"], SERVER),
    ];
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
    assert!(names[0].starts_with("jane@prod-"), "{names:?}");
    assert!(names.iter().all(|name| !name.contains('/') && !name.starts_with('.')), "{names:?}");
    assert_eq!(name("jane", &[], SERVER), name("jane", &[], SERVER));
}
