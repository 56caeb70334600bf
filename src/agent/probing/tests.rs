//! Who is asked, how often, and how many at the same time. The endpoints are sockets that count and hang up.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::*;
use crate::node::Layout;
use crate::pki::CertificateAuthority;

const YEAR: SignedDuration = SignedDuration::from_hours(8760);

/// Hangs up on everybody and counts them.
struct Deaf {
    address: String,
    asked: Arc<AtomicUsize>,
}

impl Deaf {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn probe(&self) -> Probe {
        let (node, address) = ("w-1".into(), self.address.clone());
        Probe { node, address, server: ProbeServer::Kubelet, accepts: Vec::new(), serves: None }
    }
}

/// The CAs of an empty folder, and those of one that keeps a key: only there clients are made, and then silence is never what is expected.
fn authorities(folder: &tempfile::TempDir, with_key: bool) -> Authorities {
    let mut authorities = Authorities::open(&Layout::new(folder.path()));
    if with_key {
        let now = Timestamp::now();
        let ca = CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, YEAR, now).unwrap();
        authorities.keep(&ca).unwrap();
    }
    authorities
}

#[tokio::test]
async fn an_endpoint_that_answered_as_expected_is_asked_again_only_on_a_change() {
    let (folder, deaf) = (tempfile::tempdir().unwrap(), Deaf::listen().await);
    let authorities = authorities(&folder, false);
    let (state, mut prober) = (NodeState::default(), Prober::default());
    let mut spec = NodePkiSpec { probes: vec![deaf.probe()], ..NodePkiSpec::default() };
    let first = prober.ask(&state, &authorities, &spec).await;
    assert!(first.settled && first.endpoints.contains_key("kubelet/w-1"));
    assert_eq!(deaf.asked(), 1);
    assert_eq!(prober.ask(&state, &authorities, &spec).await.endpoints, first.endpoints);
    assert_eq!(deaf.asked(), 1, "nothing has changed");
    spec.ping = Some("another driver".into());
    prober.ask(&state, &authorities, &spec).await;
    assert_eq!(deaf.asked(), 2);
    spec.probes[0].accepts = vec![CaId::planned("new")];
    prober.ask(&state, &authorities, &spec).await;
    assert_eq!(deaf.asked(), 3);
    prober.forget_answers();
    prober.ask(&state, &authorities, &spec).await;
    assert_eq!(deaf.asked(), 4, "a file of the node has changed");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_asked_each_time_and_once() {
    let (folder, deaf) = (tempfile::tempdir().unwrap(), Deaf::listen().await);
    let authorities = authorities(&folder, true);
    let (state, mut prober) = (NodeState::default(), Prober::default());
    let spec = NodePkiSpec { probes: vec![deaf.probe()], ..NodePkiSpec::default() };
    for times in 1..=3 {
        let answers = prober.ask(&state, &authorities, &spec).await;
        assert!(!answers.settled);
        assert_eq!(answers.endpoints["kubelet/w-1"].clients.values().collect::<Vec<_>>(), [&Verdict::Unreachable]);
        assert_eq!(deaf.asked(), times, "the handshake tells: no client is tried after it");
    }
}

#[tokio::test]
async fn a_new_ca_makes_a_settled_answer_an_old_one() {
    let (folder, deaf) = (tempfile::tempdir().unwrap(), Deaf::listen().await);
    let (state, mut prober) = (NodeState::default(), Prober::default());
    let spec = NodePkiSpec { probes: vec![deaf.probe()], ..NodePkiSpec::default() };
    assert!(prober.ask(&state, &authorities(&folder, false), &spec).await.settled);
    assert!(!prober.ask(&state, &authorities(&folder, true), &spec).await.settled);
    assert_eq!(deaf.asked(), 2);
}

#[tokio::test]
async fn no_more_than_a_few_are_asked_at_the_same_time_and_answers_keep_their_order() {
    let (now, most) = (Cell::new(0), Cell::new(0));
    let (counted, highest) = (&now, &most);
    let questions = (0..100).map(|number| async move {
        counted.set(counted.get() + 1);
        highest.set(highest.get().max(counted.get()));
        for _ in 0..number % 7 + 1 {
            tokio::task::yield_now().await;
        }
        counted.set(counted.get() - 1);
        number
    });
    assert_eq!(at_most(8, questions).await, (0..100).collect::<Vec<_>>());
    assert_eq!(most.get(), 8);
}

#[test]
fn an_endpoint_is_asked_again_until_it_serves_what_its_file_holds_unless_it_serves_another_file() {
    let (old, new) = (CaId::planned("old"), CaId::planned("new"));
    let endpoint = Endpoint {
        name: KUBELET.into(),
        address: "127.0.0.1:10250".into(),
        path: "/pods",
        accepts: None,
        serves: Some(new.clone()),
    };
    let answer = |issuer: Option<&CaId>, serial: &str| EndpointState {
        issuer: issuer.cloned(),
        serial: serial.into(),
        ..EndpointState::default()
    };
    assert!(as_expected(&endpoint, &answer(Some(&new), "1")));
    assert!(!as_expected(&endpoint, &answer(Some(&old), "1")), "not reloaded or restarted yet");
    assert!(!as_expected(&endpoint, &answer(None, "")), "no answer");
    assert!(as_expected(&endpoint, &answer(None, "1")), "a self-signed kubelet.crt stays what it is");
}
