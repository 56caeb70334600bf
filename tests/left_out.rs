//! The host's agent brings a node up to date whose kubelet no API server accepts any more, against a played API server.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "it writes a node's files, and certificates must be valid now")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use certctl::agent::{AgentOptions, run};
use certctl::api::{AuthorityRecord, CrossRecord, NodePKI, NodePkiSpec, NodePkiStatus, Vouched};
use certctl::error::Error;
use certctl::node::{AgentLock, Layout};
use certctl::pki::{Certificate, CertificateAuthority, KeyAlgorithm, PlainRequest, PrivateKey, ServerNames};
use certctl::plan::{Credential, NodeTarget};
use jiff::{SignedDuration, Timestamp};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

const TOKEN: &str = "a-token-of-the-pod";
const KUBELET: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const LIMIT: Duration = Duration::from_secs(60);

/// A cluster after the drop: its API server serves CA 2 with the cross-signed chain and accepts clients of CA 2 only.
struct Played {
    one: CertificateAuthority,
    two: CertificateAuthority,
    cross: Certificate,
    token: &'static str,
    /// `METHOD path code`.
    answered: Mutex<Vec<String>>,
    /// Every status that the agent wrote.
    statuses: Mutex<Vec<NodePkiStatus>>,
    /// A client broke the handshake off.
    broken_off: tokio::sync::Notify,
}

impl Played {
    fn new(token: &'static str) -> Arc<Self> {
        let now = Timestamp::now();
        let one = CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, HOUR * 9, now).unwrap();
        let two = CertificateAuthority::generate_like(one.certificate(), None, HOUR * 9, now).unwrap();
        let cross = one.cross_sign(two.certificate(), now).unwrap();
        Arc::new(Self {
            one,
            two,
            cross,
            token,
            answered: Mutex::default(),
            statuses: Mutex::default(),
            broken_off: tokio::sync::Notify::new(),
        })
    }

    async fn serve(self: &Arc<Self>) -> String {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        for ca in [&self.one, &self.two] {
            roots.add(ca.certificate().rustls_der()).unwrap();
        }
        // Like kube-apiserver: any client may connect, and the request is judged.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let names = ServerNames { dns: Vec::new(), ips: vec!["127.0.0.1".parse().unwrap()] };
        let leaf = self.two.issue_server("kube-apiserver", &names, key.spki_der(), HOUR, Timestamp::now()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_single_cert(vec![leaf.rustls_der(), self.cross.rustls_der()], key.rustls_der())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let played = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                match acceptor.accept(tcp).await {
                    Ok(tls) => drop(tokio::spawn(Arc::clone(&played).talk(tls))),
                    Err(_) => played.broken_off.notify_one(),
                }
            }
        });
        address
    }

    async fn talk(self: Arc<Self>, mut tls: TlsStream<TcpStream>) {
        let shown = tls.get_ref().1.peer_certificates().and_then(|chain| Certificate::from_der(chain.first()?).ok());
        let kubelet = shown.is_some_and(|certificate| certificate.signed_by(self.two.certificate()));
        while let Some((head, body)) = receive(&mut tls).await {
            let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
            let agent = head.to_lowercase().contains(&format!("authorization: bearer {}\r\n", self.token));
            if agent && line.contains("watch=true") {
                // Nothing changes by itself.
                let begun = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
                tls.write_all(begun.as_bytes()).await.unwrap();
                return std::future::pending().await;
            }
            let answer = if agent {
                self.to_agent(&line, &body)
            } else if kubelet {
                json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "w-1" } })
            } else {
                json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "message": "Unauthorized", "code": 401 })
            };
            let code = answer["code"].as_u64().unwrap_or(200);
            self.answered.lock().unwrap().push(format!("{line} {code}"));
            let text = answer.to_string();
            let head = format!(
                "HTTP/1.1 {code} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                text.len()
            );
            tls.write_all(format!("{head}{text}").as_bytes()).await.unwrap();
        }
    }

    fn to_agent(&self, line: &str, body: &[u8]) -> Value {
        if line.starts_with("PATCH") && line.contains("/nodepkis/w-1/status") {
            let edits: Value = serde_json::from_slice(body).unwrap();
            self.statuses.lock().unwrap().push(serde_json::from_value(edits[0]["value"].clone()).unwrap());
        }
        let object = if line.contains("cp-1") { self.voucher() } else { self.left_out() };
        if !line.contains("/nodepkis?") {
            return serde_json::to_value(object).unwrap();
        }
        json!({ "apiVersion": "pki.certctl.dev/v1alpha1", "kind": "NodePKIList", "metadata": { "resourceVersion": "7" }, "items": [object] })
    }

    fn left_out(&self) -> NodePKI {
        let record = |authority: &CertificateAuthority, crosses| AuthorityRecord {
            id: authority.certificate().ca_id(),
            certificate: authority.certificate().to_pem(),
            crosses,
            specimen_server: None,
            specimen_client: None,
        };
        let id = self.two.certificate().ca_id();
        let cross = CrossRecord { by: self.one.certificate().ca_id(), certificate: self.cross.to_pem() };
        let target = NodeTarget {
            ca_bundle: vec![id.clone()],
            kubelet: Credential { issuer: id.clone(), trust: vec![id] },
            kubelet_serving: None,
            // There is no systemd here that could restart the kubelet.
            kubelet_loaded: false,
            control_plane: None,
        };
        let spec = NodePkiSpec {
            authorities: vec![record(&self.one, Vec::new()), record(&self.two, vec![cross])],
            vouchers: vec!["cp-1".into()],
            target: Some(target),
            ..NodePkiSpec::default()
        };
        object("w-1", spec, self.statuses.lock().unwrap().last().cloned())
    }

    /// Answers the request that stands in the other status now.
    fn voucher(&self) -> NodePKI {
        let asked = self.statuses.lock().unwrap().last().and_then(|status| status.kubelet_request.clone());
        let vouched = asked.map(|pem| {
            let request = PlainRequest::from_pem(pem.as_bytes()).unwrap();
            let groups = ["system:nodes".to_owned()];
            assert!(request.asks_for("system:node:w-1", &groups));
            let signed = self.two.issue_client("system:node:w-1", &groups, request.spki_der(), HOUR, Timestamp::now());
            Vouched { node: "w-1".into(), certificate: signed.unwrap().to_pem() }
        });
        let status = NodePkiStatus { vouched: vouched.into_iter().collect(), ..NodePkiStatus::default() };
        object("cp-1", NodePkiSpec::default(), Some(status))
    }

    /// The files of a worker that slept through the rotation.
    fn write_node(&self, root: &Path, server: &str) {
        let write = |on_node: &str, content: &str| {
            let path = root.join(on_node.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        let old = self.one.certificate().to_pem();
        let data = base64::engine::general_purpose::STANDARD.encode(&old);
        write("/etc/kubernetes/pki/ca.crt", &old);
        write(
            "/etc/kubernetes/kubelet.conf",
            &format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: k\n  cluster:\n    server: https://{server}\n    \
             certificate-authority-data: {data}\ncontexts:\n- name: c\n  context: {{cluster: k, user: default-auth}}\nusers:\n\
             - name: default-auth\n  user: {{client-certificate: {KUBELET}, client-key: {KUBELET}}}\n"
            ),
        );
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let groups = ["system:nodes".to_owned()];
        let client = self.one.issue_client("system:node:w-1", &groups, key.spki_der(), HOUR, Timestamp::now()).unwrap();
        let named = "/var/lib/kubelet/pki/kubelet-client-2026-01-01-00-00-00.pem";
        write(named, &format!("{}{}", client.to_pem(), &*key.to_pem()));
        std::os::unix::fs::symlink(named, root.join(KUBELET.trim_start_matches('/'))).unwrap();
        write("/var/lib/certctl/agent/token", TOKEN);
    }
}

fn object(name: &str, spec: NodePkiSpec, status: Option<NodePkiStatus>) -> NodePKI {
    let mut object = NodePKI::new(name, spec);
    object.metadata.generation = Some(1);
    object.metadata.resource_version = Some("7".into());
    object.status = status;
    object
}

/// One request: head and body.
async fn receive(tls: &mut TlsStream<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        tls.read_exact(&mut byte).await.ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    tls.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

async fn agent(root: &Path) -> Result<(), Error> {
    let options = AgentOptions { root: root.to_path_buf(), node: "w-1".into(), until_settled: true };
    tokio::time::timeout(LIMIT, run(&options)).await.expect("it ends")
}

#[tokio::test]
async fn a_worker_that_no_api_server_accepts_gets_its_certificate_and_hands_over() {
    let (played, root) = (Played::new(TOKEN), tempfile::tempdir().unwrap());
    played.write_node(root.path(), &played.serve().await);
    agent(root.path()).await.unwrap();

    let layout = Layout::new(root.path());
    let pair = fs::read(layout.kubelet_client()).unwrap();
    let client = Certificate::first_from_pem(&pair).unwrap();
    assert!(client.signed_by(played.two.certificate()) && PrivateKey::from_pem(&pair).unwrap().matches(&client));
    assert_eq!(client.subject(), "CN=system:node:w-1,O=system:nodes");
    let bundle = fs::read_to_string(layout.path("/etc/kubernetes/pki/ca.crt")).unwrap();
    assert_eq!(bundle, played.two.certificate().to_pem());

    let answered = played.answered.lock().unwrap();
    let refused = |line: &&String| line.contains("certificatesigningrequests") && line.ends_with(" 401");
    assert_eq!(answered.iter().filter(refused).count(), 1, "the CSR API is asked first, once: {answered:#?}");
    assert!(answered.last().unwrap().starts_with("GET /api/v1/nodes/w-1"), "it goes when the kubelet is accepted");
    let statuses = played.statuses.lock().unwrap();
    assert_eq!(statuses.iter().filter(|status| status.kubelet_request.is_some()).count(), 1);
    assert_eq!(statuses.last().unwrap().kubelet_request, None, "the request goes with its use");
}

#[tokio::test]
async fn a_refused_token_ends_the_hosts_agent_with_an_error_and_nothing_is_touched() {
    let (played, root) = (Played::new("another-token"), tempfile::tempdir().unwrap());
    played.write_node(root.path(), &played.serve().await);
    let before = fs::read(root.path().join("etc/kubernetes/kubelet.conf")).unwrap();
    let error = format!("{:?}", agent(root.path()).await.unwrap_err());
    assert!(error.contains("refuses the agent's token in /var/lib/certctl/agent/token"), "{error}");
    assert!(!error.contains(TOKEN));
    assert_eq!(fs::read(root.path().join("etc/kubernetes/kubelet.conf")).unwrap(), before);
    // The lock is free for the pod's agent.
    assert!(AgentLock::try_take(&Layout::new(root.path())).unwrap().is_some());
}

#[tokio::test]
async fn while_another_agent_is_at_work_the_hosts_agent_goes_at_once() {
    let (played, root) = (Played::new(TOKEN), tempfile::tempdir().unwrap());
    played.write_node(root.path(), &played.serve().await);
    let _lock = AgentLock::try_take(&Layout::new(root.path())).unwrap().unwrap();
    agent(root.path()).await.unwrap();
    assert!(played.answered.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_given_the_token() {
    let (played, stranger) = (Played::new(TOKEN), Played::new(TOKEN));
    let root = tempfile::tempdir().unwrap();
    played.write_node(root.path(), &stranger.serve().await);
    let options = AgentOptions { root: root.path().to_path_buf(), node: "w-1".into(), until_settled: true };
    tokio::select! {
        ended = run(&options) => panic!("it ended: {ended:?}"),
        () = stranger.broken_off.notified() => {}
    }
    assert!(stranger.answered.lock().unwrap().is_empty());
}
