//! Kubeconfigs as kubeadm and the kubelet write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rstest::rstest;

use super::fixture::{YEAR, kubernetes_ca, now, p256};
use crate::pki::{Certificate, CertificateAuthority, Choice, KeyAlgorithm, Kubeconfig, PrivateKey};

struct Admin {
    ca: CertificateAuthority,
    certificate: Certificate,
    key: PrivateKey,
}

impl Admin {
    fn new() -> Self {
        let (ca, key) = (kubernetes_ca(KeyAlgorithm::EcdsaP256), p256());
        let groups = ["kubeadm:cluster-admins".into()];
        let certificate = ca.issue_client("kubernetes-admin", &groups, key.spki_der(), YEAR, now()).unwrap();
        Self { ca, certificate, key }
    }

    /// admin.conf, key by key and indent by indent as `kubeadm init` writes it.
    fn conf(&self) -> String {
        let [ca, certificate] = [self.ca.certificate(), &self.certificate].map(|one| STANDARD.encode(one.to_pem()));
        let key = STANDARD.encode(self.key.to_pem().as_bytes());
        format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    server: https://10.0.0.1:6443\n  \
             name: kubernetes\ncontexts:\n- context:\n    cluster: kubernetes\n    user: kubernetes-admin\n  \
             name: kubernetes-admin@kubernetes\ncurrent-context: kubernetes-admin@kubernetes\nkind: Config\n\
             preferences: {{}}\nusers:\n- name: kubernetes-admin\n  user:\n    client-certificate-data: {certificate}\n    \
             client-key-data: {key}\n"
        )
    }
}

#[test]
fn what_kubeadm_wrote_is_read_and_written_back_to_the_byte() {
    let admin = Admin::new();
    let text = admin.conf();
    let conf = Kubeconfig::parse(&text).unwrap();
    assert_eq!(conf.to_yaml().unwrap().as_str(), text);
    assert_eq!(conf.context_name(), "kubernetes-admin@kubernetes");
    assert_eq!((conf.user_name(), conf.cluster_name()), ("kubernetes-admin", "kubernetes"));
    assert_eq!(conf.server(), "https://10.0.0.1:6443");
    assert_eq!(conf.ca_data().unwrap(), [admin.ca.certificate().clone()]);
    assert_eq!(conf.client_certificate(), Some(admin.certificate.clone()));
    assert_eq!(conf.client_key().unwrap().ca_id(), admin.key.ca_id());
    assert_eq!((conf.ca_file(), conf.client_certificate_file()), (None, None));
}

#[test]
fn trust_and_client_are_replaced_and_nothing_else() {
    let (admin, next) = (Admin::new(), Admin::new());
    let mut conf = Kubeconfig::parse(&admin.conf()).unwrap();
    conf.set_client(&next.certificate, &next.key);
    conf.set_ca_data(&[next.ca.certificate().clone(), admin.ca.certificate().clone()]);
    let both = format!("{}{}", next.ca.certificate().to_pem(), admin.ca.certificate().to_pem());
    let old_ca = STANDARD.encode(admin.ca.certificate().to_pem());
    let expected = next.conf().replace(&STANDARD.encode(next.ca.certificate().to_pem()), &STANDARD.encode(both));
    assert_eq!(conf.to_yaml().unwrap().as_str(), expected);
    assert!(!expected.contains(&old_ca));
}

/// kubelet.conf refers to a file that the kubelet rotates; a kubectl user may have more contexts and fields we never heard of.
#[test]
fn references_and_unknown_fields_are_kept() {
    let text = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority: /etc/ca.crt\n    server: https://a:6443\n    \
                tls-server-name: \"on\"\n  name: default-cluster\n- cluster:\n    future: [1, 2.5, true, null]\n  name: other\n\
                contexts:\n- context:\n    cluster: default-cluster\n    extensions:\n    - extension:\n        x: \"012\"\n      \
                name: e\n    user: default-auth\n  name: default-context\ncurrent-context: default-context\nkind: Config\n\
                users:\n- name: default-auth\n  user:\n    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n    \
                client-key: /var/lib/kubelet/pki/kubelet-client-current.pem\n- name: token\n  user:\n    token: \"1e3\"\n";
    let conf = Kubeconfig::parse(text).unwrap();
    assert_eq!(conf.client_certificate_file().as_deref(), Some("/var/lib/kubelet/pki/kubelet-client-current.pem"));
    assert_eq!(conf.ca_file().as_deref(), Some("/etc/ca.crt"));
    assert_eq!((conf.ca_data(), conf.client_certificate()), (Ok(Vec::new()), None));
    let expected = text.replace("future: [1, 2.5, true, null]", "future:\n    - 1\n    - 2.5\n    - true\n    - null");
    assert_eq!(conf.to_yaml().unwrap().as_str(), expected, "words that YAML 1.1 would misread stay quoted");
    let admin = Admin::new();
    let mut conf = conf.clone();
    conf.set_client(&admin.certificate, &admin.key);
    conf.set_ca_data(&[admin.ca.certificate().clone()]);
    assert_eq!((conf.ca_file(), conf.client_certificate_file()), (None, None));
    assert_eq!(conf.client_certificate(), Some(admin.certificate));
    assert!(!conf.to_yaml().unwrap().contains("kubelet-client-current"));
}

#[rstest]
#[case("kind: Config\n", "kubeconfig: no current-context is set")]
#[case("current-context: a\ncontexts: []\n", "kubeconfig: no context is named `a`, but the current context needs it")]
#[case(
    "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c}]\n",
    "kubeconfig: cluster `c` is not a mapping"
)]
#[case(
    "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {}}]\n",
    "kubeconfig: no user is named `u`, but the current context needs it"
)]
#[case("", "kubeconfig: no current-context is set")]
#[case("- a\n", "kubeconfig: no current-context is set")]
fn a_kubeconfig_that_leads_nowhere_says_so(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(Kubeconfig::parse(text).unwrap_err().to_string(), expected);
}

#[test]
fn neither_debug_nor_errors_show_what_is_inside() {
    let admin = Admin::new();
    let secret = STANDARD.encode(admin.key.to_pem().as_bytes());
    let secret = secret.get(..60).unwrap();
    let conf = Kubeconfig::parse(&admin.conf()).unwrap();
    let printed = format!("{conf:?}");
    assert_eq!(
        printed,
        "Kubeconfig(context kubernetes-admin@kubernetes, user kubernetes-admin, server https://10.0.0.1:6443)"
    );
    let broken = admin.conf().replace("client-key-data:", "client-key-data: [");
    let error = Kubeconfig::parse(&broken).unwrap_err().to_string();
    assert!(error.starts_with("kubeconfig: not readable YAML at line "), "{error}");
    assert!(!error.contains(secret), "{error}");
}

#[test]
fn a_broken_certificate_inside_is_not_taken_for_none() {
    let admin = Admin::new();
    let good = STANDARD.encode(admin.certificate.to_pem());
    let conf = Kubeconfig::parse(&admin.conf().replace(&good, "AAA!")).unwrap();
    assert_eq!(conf.client_certificate(), None);
    assert_eq!(conf.client_certificate_pem().as_deref(), Some(&b"AAA!"[..]));
    let ca = STANDARD.encode(admin.ca.certificate().to_pem());
    let conf = Kubeconfig::parse(&admin.conf().replace(&ca, "AAA!")).unwrap();
    assert_eq!(conf.ca_data().unwrap_err().to_string(), "kubeconfig: certificate-authority-data is not base64");
}

/// Two clusters, two users, three contexts: `day` and `night` share a user.
const THREE: &str = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority: ca/east.crt\n    server: https://east:6443\n  \
                     name: east\n- cluster:\n    certificate-authority-data: QUJD\n    server: https://west:6443\n  name: west\n\
                     contexts:\n- context:\n    cluster: east\n    user: alice\n  name: day\n- context:\n    cluster: west\n    \
                     namespace: prod\n    user: alice\n  name: night\n- context:\n    cluster: west\n    user: bob\n  name: other\n\
                     current-context: other\nkind: Config\nusers:\n- name: alice\n  user:\n    client-certificate: alice.crt\n    \
                     client-key: alice.key\n- name: bob\n  user:\n    token: \"012\"\n";

fn choice(context: Option<&str>, cluster: Option<&str>, user: Option<&str>) -> Choice {
    let name = |name: Option<&str>| name.map(str::to_owned);
    Choice { context: name(context), cluster: name(cluster), user: name(user) }
}

#[rstest]
#[case(choice(None, None, None), ("other", "west", "bob"))]
#[case(choice(Some("day"), None, None), ("day", "east", "alice"))]
#[case(choice(Some("night"), Some("east"), None), ("night", "east", "alice"))]
#[case(choice(None, None, Some("alice")), ("other", "west", "alice"))]
#[case(choice(None, None, Some("nobody")), ("other", "west", ""))]
fn the_entries_are_those_that_kubectl_would_take(#[case] choice: Choice, #[case] expected: (&str, &str, &str)) {
    let conf = Kubeconfig::merged(&[THREE], &choice).unwrap();
    assert_eq!((conf.context_name(), conf.cluster_name(), conf.user_name()), expected);
}

#[rstest]
#[case(choice(Some("x"), None, None), "kubeconfig: no context is named `x`, but --context names it")]
#[case(choice(None, Some("x"), None), "kubeconfig: no cluster is named `x`, but --cluster names it")]
fn a_flag_that_names_nothing_is_named(#[case] choice: Choice, #[case] expected: &str) {
    assert_eq!(Kubeconfig::merged(&[THREE], &choice).unwrap_err().to_string(), expected);
}

#[test]
fn another_context_than_the_current_one_is_renewed_and_all_else_stays_as_it_is() {
    let admin = Admin::new();
    let mut conf = Kubeconfig::merged(&[THREE], &choice(Some("day"), None, None)).unwrap();
    assert_eq!(
        (conf.ca_file().as_deref(), conf.client_key_file().as_deref()),
        (Some("ca/east.crt"), Some("alice.key"))
    );
    assert!(!conf.has_key_data());
    conf.set_client(&admin.certificate, &admin.key);
    conf.set_ca_data(&[admin.ca.certificate().clone()]);
    let [ca, certificate] = [admin.ca.certificate(), &admin.certificate].map(|one| STANDARD.encode(one.to_pem()));
    let key = STANDARD.encode(admin.key.to_pem().as_bytes());
    let expected = THREE
        .replace("certificate-authority: ca/east.crt", &format!("certificate-authority-data: {ca}"))
        .replace("client-certificate: alice.crt", &format!("client-certificate-data: {certificate}"))
        .replace("client-key: alice.key", &format!("client-key-data: {key}"));
    let written = conf.to_yaml().unwrap();
    assert_eq!(written.as_str(), expected, "the current context, bob and cluster west are what they were");
    // The user is one, so the other context that names it has the new credential too.
    let night = Kubeconfig::merged(&[written.as_str()], &choice(Some("night"), None, None)).unwrap();
    assert_eq!(night.client_certificate(), Some(admin.certificate));
    assert_eq!(night.server(), "https://west:6443");
}

#[test]
fn of_a_list_the_first_file_that_has_an_entry_counts() {
    let first = "users:\n- name: bob\n  user:\n    token: first\n";
    let last = THREE.replace("current-context: other", "current-context: day").replace("\"012\"", "last");
    let mut conf = Kubeconfig::merged(&[first, THREE, &last], &Choice::default()).unwrap();
    assert_eq!((conf.context_name(), conf.user_file(), conf.cluster_file()), ("other", Some(0), 1));
    let admin = Admin::new();
    conf.set_client(&admin.certificate, &admin.key);
    conf.set_ca_data(&[admin.ca.certificate().clone()]);
    let written = |file| conf.yaml_of(file).unwrap().to_string();
    assert!(written(0).contains("token: first") && written(0).contains("client-key-data: "), "{}", written(0));
    let ca = STANDARD.encode(admin.ca.certificate().to_pem());
    assert_eq!(written(1), THREE.replace("QUJD", &ca));
    assert_eq!(written(2), last);
    assert_eq!(conf.client_certificate(), Some(admin.certificate));
}

#[test]
fn a_user_that_is_missing_is_anonymous_and_is_given_nothing() {
    let mut conf = Kubeconfig::merged(&[THREE], &choice(None, None, Some("nobody"))).unwrap();
    assert_eq!((conf.user_file(), conf.client_certificate(), conf.client_certificate_file()), (None, None, None));
    let admin = Admin::new();
    conf.set_client(&admin.certificate, &admin.key);
    assert_eq!(conf.to_yaml().unwrap().as_str(), THREE);
}
