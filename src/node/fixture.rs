//! A control-plane node as kubeadm leaves it, in a temporary folder, with a PKI made for the test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};

use super::layout::{KUBELET_CLIENT, KUBELET_SERVER, Layout};
use super::{ApplyContext, Authorities, Callbacks, Node, NodeError, apply};
use crate::pki::{CaId, Certificate, CertificateAuthority, KeyAlgorithm, Kubeconfig, PrivateKey, ServerNames};
use crate::plan::{Conf, Op};

pub(super) const YEAR: SignedDuration = SignedDuration::from_hours(8760);
pub(super) const ALGORITHM: KeyAlgorithm = KeyAlgorithm::EcdsaP256;

pub(super) const KCM_MANIFEST: &str = r#"apiVersion: v1
kind: Pod
metadata:
  annotations: {}
  labels:
    component: kube-controller-manager
  name: kube-controller-manager
  namespace: kube-system
spec:
  containers:
  - command:
    - kube-controller-manager
    - --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt
    - --cluster-signing-key-file=/etc/kubernetes/pki/ca.key
    - --root-ca-file=/etc/kubernetes/pki/ca.crt
    image: registry.k8s.io/kube-controller-manager:v1.37.1
    name: kube-controller-manager
status: {}
"#;

pub(super) struct Fixture {
    pub(super) root: tempfile::TempDir,
    pub(super) layout: Layout,
    pub(super) ca: CertificateAuthority,
    pub(super) now: Timestamp,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let now = "2026-11-22T20:00:00Z".parse().unwrap();
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let ca = authority("kubernetes", now);
        let fixture = Self { root, layout, ca, now };
        fixture.fill();
        fixture
    }

    pub(super) fn ca_id(&self) -> CaId {
        self.ca.certificate().ca_id()
    }

    pub(super) fn write(&self, on_node: &str, content: &str, mode: u32) {
        let path = self.layout.path(on_node);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(super) fn read(&self, on_node: &str) -> String {
        fs::read_to_string(self.layout.path(on_node)).unwrap()
    }

    pub(super) fn certificates(&self, on_node: &str) -> Vec<Certificate> {
        Certificate::all_from_pem(&fs::read(self.layout.path(on_node)).unwrap()).unwrap()
    }

    pub(super) fn kubeconfig(&self, conf: Conf) -> Kubeconfig {
        Kubeconfig::parse(&fs::read_to_string(self.layout.conf(conf)).unwrap()).unwrap()
    }

    pub(super) fn mode(&self, on_node: &str) -> u32 {
        fs::metadata(self.layout.path(on_node)).unwrap().permissions().mode() & 0o7777
    }

    /// Every regular file below the root.
    pub(super) fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, all: &mut Vec<std::path::PathBuf>) {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() { walk(&entry.path(), all) } else { all.push(entry.path()) }
            }
        }
        let mut all = Vec::new();
        walk(self.root.path(), &mut all);
        all.iter().map(|path| self.layout.on_node(path)).collect()
    }

    /// What a kubelet with `serverTLSBootstrap` keeps, signed by `ca`.
    pub(super) fn kubelet_serving(&self, ca: &CertificateAuthority) {
        let key = PrivateKey::generate(ALGORITHM).unwrap();
        let names = ServerNames { dns: vec!["cp-1".into()], ips: vec!["10.0.0.1".parse().unwrap()] };
        let server = ca.issue_server("system:node:cp-1", &names, key.spki_der(), YEAR, self.now).unwrap();
        let target = "/var/lib/kubelet/pki/kubelet-server-2026-01-01-00-00-00.pem";
        self.write(target, &format!("{}{}", server.to_pem(), &*key.to_pem()), 0o600);
        std::os::unix::fs::symlink(target, self.layout.path(KUBELET_SERVER)).unwrap();
    }

    fn fill(&self) {
        self.write_authority("ca", &self.ca);
        let (etcd, front) = (authority("etcd-ca", self.now), authority("front-proxy-ca", self.now));
        self.write_authority("etcd/ca", &etcd);
        self.write_authority("front-proxy-ca", &front);
        self.leaf("apiserver", &self.ca, "kube-apiserver", true);
        self.leaf("apiserver-kubelet-client", &self.ca, "kube-apiserver-kubelet-client", false);
        self.leaf("front-proxy-client", &front, "front-proxy-client", false);
        self.leaf("etcd/server", &etcd, "cp-1", true);
        self.leaf("etcd/peer", &etcd, "cp-1", true);
        self.leaf("etcd/healthcheck-client", &etcd, "kube-etcd-healthcheck-client", false);
        self.leaf("apiserver-etcd-client", &etcd, "kube-apiserver-etcd-client", false);
        self.conf("admin.conf", "kubernetes-admin", &["kubeadm:cluster-admins"]);
        self.conf("controller-manager.conf", "system:kube-controller-manager", &[]);
        self.conf("scheduler.conf", "system:kube-scheduler", &[]);
        self.kubelet();
        self.write("/etc/kubernetes/manifests/kube-controller-manager.yaml", KCM_MANIFEST, 0o600);
        self.write(
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
            &KCM_MANIFEST.replace("controller-manager", "apiserver"),
            0o600,
        );
    }

    fn write_authority(&self, name: &str, authority: &CertificateAuthority) {
        self.write(&format!("/etc/kubernetes/pki/{name}.crt"), &authority.certificate().to_pem(), 0o644);
        self.write(&format!("/etc/kubernetes/pki/{name}.key"), &authority.key().to_pem(), 0o600);
    }

    fn leaf(&self, name: &str, ca: &CertificateAuthority, common_name: &str, server: bool) {
        let key = PrivateKey::generate(ALGORITHM).unwrap();
        let names = ServerNames { dns: vec!["kubernetes".into()], ips: vec!["10.0.0.1".parse().unwrap()] };
        let certificate = if server {
            ca.issue_server(common_name, &names, key.spki_der(), YEAR, self.now)
        } else {
            ca.issue_client(common_name, &[], key.spki_der(), YEAR, self.now)
        };
        self.write(&format!("/etc/kubernetes/pki/{name}.crt"), &certificate.unwrap().to_pem(), 0o644);
        self.write(&format!("/etc/kubernetes/pki/{name}.key"), &key.to_pem(), 0o600);
    }

    fn conf(&self, file: &str, user: &str, organizations: &[&str]) {
        let key = PrivateKey::generate(ALGORITHM).unwrap();
        let organizations: Vec<String> = organizations.iter().map(ToString::to_string).collect();
        let client = self.ca.issue_client(user, &organizations, key.spki_der(), YEAR, self.now).unwrap();
        let mut kubeconfig = Kubeconfig::parse(&bare_kubeconfig(user, "{}")).unwrap();
        kubeconfig.set_ca_data(&[self.ca.certificate().clone()]);
        kubeconfig.set_client(&client, &key);
        self.write(&format!("/etc/kubernetes/{file}"), &kubeconfig.to_yaml().unwrap(), 0o600);
    }

    fn kubelet(&self) {
        let user = format!("{{client-certificate: {KUBELET_CLIENT}, client-key: {KUBELET_CLIENT}}}");
        let mut kubeconfig = Kubeconfig::parse(&bare_kubeconfig("default-auth", &user)).unwrap();
        kubeconfig.set_ca_data(&[self.ca.certificate().clone()]);
        self.write("/etc/kubernetes/kubelet.conf", &kubeconfig.to_yaml().unwrap(), 0o600);
        let key = PrivateKey::generate(ALGORITHM).unwrap();
        let groups = ["system:nodes".to_owned()];
        let client = self.ca.issue_client("system:node:cp-1", &groups, key.spki_der(), YEAR, self.now).unwrap();
        let pair = format!("{}{}", client.to_pem(), &*key.to_pem());
        let target = "/var/lib/kubelet/pki/kubelet-client-2026-01-01-00-00-00.pem";
        self.write(target, &pair, 0o600);
        std::os::unix::fs::symlink(target, self.layout.path(KUBELET_CLIENT)).unwrap();
    }
}

pub(super) fn authority(common_name: &str, now: Timestamp) -> CertificateAuthority {
    CertificateAuthority::generate(common_name, ALGORITHM, YEAR * 10, now).unwrap()
}

/// Makes a CA like the one in force and keeps it, as the agent does on request.
pub(super) fn keep_new(fixture: &Fixture, authorities: &mut Authorities) -> CaId {
    let new = CertificateAuthority::generate_like(fixture.ca.certificate(), None, YEAR, fixture.now).unwrap();
    authorities.keep(&new).unwrap()
}

/// Callbacks that do nothing.
pub(super) fn silent() -> Callbacks {
    Callbacks {
        component_gone: Box::new(|_| async {}.boxed()),
        admitted: Box::new(|_| async { Ok(()) }.boxed()),
        mirror: Box::new(|_| async { Err("nobody knows the mirror here".into()) }.boxed()),
        component_ready: Box::new(|_| async { Ok(()) }.boxed()),
        sign_kubelet_client: Box::new(|_| async { Err("nobody signs here".into()) }.boxed()),
        sign_kubelet_serving: Box::new(|_| async { Err("nobody approves here".into()) }.boxed()),
    }
}

/// Applies one operation to the fixture's node.
pub(super) async fn run(
    fixture: &Fixture,
    authorities: &Authorities,
    callbacks: &Callbacks,
    op: &Op,
) -> Result<(), NodeError> {
    run_in("r1", fixture, authorities, callbacks, op).await
}

/// As [`run`], for the rotation of this name.
pub(super) async fn run_in(
    rotation: &str,
    fixture: &Fixture,
    authorities: &Authorities,
    callbacks: &Callbacks,
    op: &Op,
) -> Result<(), NodeError> {
    let node = Node::open(fixture.root.path());
    let context = ApplyContext { node: &node, authorities, rotation, validity: None, now: fixture.now, callbacks };
    apply(op, &context).await
}

fn bare_kubeconfig(user: &str, credential: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: kubernetes\n  cluster:\n    server: https://10.0.0.1:6443\n\
         contexts:\n- name: c\n  context:\n    cluster: kubernetes\n    user: {user}\nusers:\n- name: {user}\n  user: {credential}\n"
    )
}
