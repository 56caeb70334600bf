//! Kubeconfigs as kubeadm and the kubelet write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rstest::rstest;

use super::fixture::{YEAR, kubernetes_ca, now, p256};
use crate::pki::{Certificate, CertificateAuthority, KeyAlgorithm, Kubeconfig, PrivateKey};

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
