//! An agent's work for one command on the node itself: restarts and their proof, with the API server up or down.

use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;

use super::operations::{mirror, ready, release};
use crate::cluster::{Access, Cluster};
use crate::node::renewal::Signed;
use crate::node::repair::node_name;
use crate::node::{Addresses, ApplyContext, Authorities, Callbacks, EtcdAddresses, Layout, Node, NodeError, apply};
use crate::pki::Certificate;
use crate::plan::renewal::{CertificateName, Place, ProofRow};
use crate::plan::{Conf, Op, Verdict};
use crate::probe;

/// Longest wait for a server to show a new certificate: it looks at its files every minute at the latest
/// (`k8s.io/apiserver/pkg/server/dynamiccertificates`, `FileRefreshDuration`).
const RELOADED: Duration = Duration::from_secs(75);
/// How long a server may be silent before it counts as not running.
const SILENT: Duration = Duration::from_secs(10);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// Who was asked about a renewed certificate, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The certificate.
    pub name: CertificateName,
    /// `host:port` asked.
    pub address: String,
    /// What was seen.
    pub seen: Seen,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The server shows the new certificate, or lets the new client in.
    New,
    /// The server goes on showing another certificate, of this serial number.
    Other(String),
    /// The server does not let the new client in.
    Refused,
    /// Nobody answers.
    Nobody,
}

impl Seen {
    /// The word in documents.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Other(_) => "other",
            Self::Refused => "refused",
            Self::Nobody => "unreachable",
        }
    }
}

impl Proof {
    /// For documents.
    #[must_use]
    pub fn row(&self) -> ProofRow {
        ProofRow { name: self.name, address: self.address.clone(), seen: self.seen.word().to_owned() }
    }
}

/// True when `root` is this machine's own: only then do its processes belong to the files.
#[must_use]
pub fn is_own_root(root: &Path) -> bool {
    root.canonicalize().is_ok_and(|root| root == Path::new("/"))
}

/// Restarts one process and waits until it is healthy. `run` names the back-ups and the lines of the journal.
///
/// # Errors
/// The runtime, systemd or the kubelet does not act, or the process does not become healthy.
pub async fn restart(node: &Node, op: &Op, run: &str, now: Timestamp) -> Result<(), NodeError> {
    let authorities = Authorities::open(node.layout());
    let callbacks = callbacks(node.layout());
    let context =
        ApplyContext { node, authorities: &authorities, rotation: run, validity: None, now, callbacks: &callbacks };
    apply(op, &context).await
}

fn callbacks(layout: &Layout) -> Callbacks {
    let (gone, mirrored, started) = (layout.clone(), layout.clone(), layout.clone());
    let nobody = || async { Err("nobody signs for a command on the node".into()) }.boxed();
    Callbacks {
        component_gone: Box::new(move |component| {
            let layout = gone.clone();
            let released = async move {
                if let Some(node) = node_name(&layout)
                    && let Ok(cluster) = as_administrator(&layout).await
                {
                    release(cluster, component, node).await;
                }
            };
            // It only makes things faster, and the API server may be down.
            async move { drop(tokio::time::timeout(ANSWER, released).await) }.boxed()
        }),
        // The CA is the one that the API server knew before.
        admitted: Box::new(|_| async { Ok(()) }.boxed()),
        mirror: Box::new(move |component| {
            let layout = mirrored.clone();
            async move {
                let node = node_name(&layout).ok_or("the node's name is not known")?;
                mirror(layout, component, node).await
            }
            .boxed()
        }),
        component_ready: Box::new(move |component| ready(started.clone(), component).boxed()),
        sign_kubelet_client: Box::new(move |_| nobody()),
        sign_kubelet_serving: Box::new(move |_| nobody()),
    }
}

async fn as_administrator(layout: &Layout) -> Result<Cluster, crate::cluster::ClusterError> {
    let kubeconfig = Some(layout.conf(Conf::Admin));
    Cluster::connect(&Access { kubeconfig, request_timeout: Some(ANSWER), verb: "renew", ..Access::default() }).await
}

/// Asks whoever shows or checks each of these certificates, until it is the new one or the time is up.
pub async fn prove(layout: &Layout, signed: &[Signed]) -> Vec<Proof> {
    let (addresses, etcd) = (Addresses::read(layout), EtcdAddresses::read(layout));
    let questions = signed.iter().filter_map(|signed| {
        let (address, serves) = match signed.name {
            CertificateName::Apiserver => (&addresses.apiserver, true),
            CertificateName::KubeletServer => (&addresses.kubelet, true),
            CertificateName::EtcdServer => (&etcd.client, true),
            CertificateName::EtcdPeer => (&etcd.peer, true),
            name if matches!(name.place(), Place::Kubeconfig(_)) => (&addresses.apiserver, false),
            _ => return None,
        };
        Some(prove_one(signed, address.clone(), serves))
    });
    futures::future::join_all(questions).await
}

async fn prove_one(signed: &Signed, address: String, serves: bool) -> Proof {
    let begun = Instant::now();
    let seen = loop {
        let seen = if serves { served(signed, &address).await } else { admitted(signed, &address).await };
        let limit = if seen == Seen::Nobody { SILENT } else { RELOADED };
        if seen == Seen::New || begun.elapsed() > limit {
            break seen;
        }
        tokio::time::sleep(PAUSE).await;
    };
    Proof { name: signed.name, address, seen }
}

async fn served(signed: &Signed, address: &str) -> Seen {
    match probe::handshake(address, probe::host(address), ANSWER).await {
        Ok(served) if served.certificates.first() == Some(&signed.certificate) => Seen::New,
        Ok(served) => Seen::Other(served.certificates.first().map(Certificate::serial_hex).unwrap_or_default()),
        Err(error) => {
            tracing::debug!(%error, "no proof yet");
            Seen::Nobody
        }
    }
}

async fn admitted(signed: &Signed, address: &str) -> Seen {
    let (chain, key) = (vec![signed.certificate.rustls_der()], signed.key.rustls_der());
    match probe::client_verdict(address, probe::host(address), chain, key, "/version", ANSWER).await {
        Verdict::Accepted => Seen::New,
        Verdict::Refused => Seen::Refused,
        Verdict::Unreachable => Seen::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;
    use tokio::net::TcpListener;

    use super::*;
    use crate::pki::{CertificateAuthority, KeyAlgorithm, PrivateKey, ServerNames};

    fn signed(ca: &CertificateAuthority) -> Signed {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let names = ServerNames { dns: Vec::new(), ips: vec!["127.0.0.1".parse().unwrap()] };
        let hour = SignedDuration::from_hours(1);
        let certificate = ca.issue_server("kube-apiserver", &names, key.spki_der(), hour, Timestamp::now()).unwrap();
        Signed { name: CertificateName::Apiserver, certificate, chain: Vec::new(), key, new_key: true }
    }

    /// Shows the first certificate for so many handshakes, then the second.
    async fn server(first: Signed, times: usize, second: Signed) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            for turn in 0_usize.. {
                let shown = if turn < times { &first } else { &second };
                let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .with_no_client_auth()
                    .with_single_cert(vec![shown.certificate.rustls_der()], shown.key.rustls_der())
                    .unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                let _ = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
            }
        });
        address
    }

    fn authority() -> CertificateAuthority {
        let (hours, now) = (SignedDuration::from_hours(9), Timestamp::now());
        CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, hours, now).unwrap()
    }

    #[tokio::test]
    async fn a_server_that_reloads_late_is_waited_for() {
        let ca = authority();
        let (old, new) = (signed(&ca), signed(&ca));
        let address = server(old.clone(), 2, new.clone()).await;
        assert_eq!(served(&new, &address).await, Seen::Other(old.certificate.serial_hex()));
        assert_eq!(prove_one(&new, address, true).await.seen, Seen::New);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_listens_the_wait_ends_soon() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let begun = Instant::now();
        assert_eq!(prove_one(&signed(&authority()), address, true).await.seen, Seen::Nobody);
        assert!(begun.elapsed() < RELOADED);
    }

    #[test]
    fn only_the_machines_own_root_has_its_processes() {
        assert!(is_own_root(Path::new("/")) && is_own_root(Path::new("/etc/..")));
        assert!(!is_own_root(Path::new("/etc")) && !is_own_root(Path::new("/no/such/folder")));
    }
}
