//! Asking endpoints what they serve and whom they accept.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::api::{NodePkiSpec, Probe, ProbeServer};
use crate::node::{Addresses, Authorities, EtcdAddresses};
use crate::pki::{CaId, Certificate, CertificateAuthority, KeyAlgorithm, PrivateKey};
use crate::plan::{Component, Conf, EndpointState, NodeState, NodeTarget, Verdict};
use crate::probe::{self, ProbeError};

/// User of the throw-away client certificates; nothing is bound to it.
const PROBE_USER: &str = "certctl:probe";
/// Their lifetime.
const PROBE_VALIDITY: SignedDuration = SignedDuration::from_hours(1);
/// Longest wait for one answer.
const LIMIT: Duration = Duration::from_secs(2);
/// How many endpoints are asked at the same time: each takes a few connections, and the agent has 64 MiB.
const AT_ONCE: usize = 16;

/// Endpoints of this node itself, by the names that stand in the report.
pub(super) const APISERVER: &str = "kube-apiserver";
/// kube-controller-manager.
pub(super) const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// kube-scheduler.
pub(super) const SCHEDULER: &str = "kube-scheduler";
/// The kubelet.
pub(super) const KUBELET: &str = "kubelet";

/// etcd, towards its clients.
const ETCD: &str = "etcd";

/// One address to ask, and whom it should accept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    name: String,
    address: String,
    path: &'static str,
    /// `None`: it is only seen what it serves.
    accepts: Option<Vec<CaId>>,
    serves: Option<CaId>,
}

/// Throw-away client certificates, one for each CA whose key is on the node, and the answers that are not asked for again.
#[derive(Default)]
pub(super) struct Prober {
    clients: BTreeMap<CaId, Client>,
    /// What was asked for when the answers were given.
    occasion: Occasion,
    /// Answers that were as expected, by the endpoint's name, with what was asked.
    settled: BTreeMap<String, (Endpoint, EndpointState)>,
}

/// What makes every answer an old one when it changes.
#[derive(Clone, Debug, Default, PartialEq)]
struct Occasion {
    ping: Option<String>,
    target: Option<NodeTarget>,
    probes: Vec<Probe>,
}

/// Somebody who can be let in or refused, and has no rights.
pub(super) struct Client {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    until: Timestamp,
}

/// What the endpoints answered, and whether that is what the files promise.
pub(super) struct Answers {
    pub(super) endpoints: BTreeMap<String, EndpointState>,
    pub(super) settled: bool,
}

impl Prober {
    /// Forgets every answer: something has changed on the node, and all is asked again.
    pub(super) fn forget_answers(&mut self) {
        self.settled.clear();
    }

    /// Asks the endpoints of the node and every one it was told to ask; as long as the same is wanted and nothing has changed on the node,
    /// only those that have not yet answered as expected.
    pub(super) async fn ask(&mut self, state: &NodeState, authorities: &Authorities, spec: &NodePkiSpec) -> Answers {
        self.renew(authorities);
        let NodePkiSpec { ping, target, probes, .. } = spec.clone();
        let occasion = Occasion { ping, target, probes };
        if self.occasion != occasion {
            self.forget_answers();
            self.occasion = occasion;
        }
        let layout = authorities.layout();
        let mut endpoints = own_endpoints(state, &Addresses::read(layout));
        let etcd = layout.manifest(Component::Etcd).exists().then(|| etcd(&EtcdAddresses::read(layout).client));
        endpoints.extend(etcd.filter(|_| state.control_plane));
        endpoints.extend(spec.probes.iter().map(|probe| Endpoint {
            name: format!("{}/{}", server_name(probe.server), probe.node),
            address: probe.address.clone(),
            path: path(probe.server),
            accepts: Some(probe.accepts.clone()),
            serves: probe.serves.clone(),
        }));
        let cas: Vec<&Certificate> = authorities.certificates().collect();
        let (prober, cas) = (&*self, cas.as_slice());
        let questions = endpoints.iter().map(|endpoint| async move {
            match prober.remembered(endpoint) {
                Some(answer) => answer.clone(),
                None => prober.one(endpoint, cas).await,
            }
        });
        let answers = at_most(AT_ONCE, questions).await;
        let good = endpoints.iter().zip(&answers).filter(|(endpoint, answer)| as_expected(endpoint, answer));
        let good: BTreeMap<_, _> =
            good.map(|(asked, got)| (asked.name.clone(), (asked.clone(), got.clone()))).collect();
        let settled = good.len() == endpoints.len();
        self.settled = good;
        Answers { endpoints: endpoints.into_iter().map(|endpoint| endpoint.name).zip(answers).collect(), settled }
    }

    /// The answer to this very question, as clients of the same CAs got it.
    fn remembered(&self, endpoint: &Endpoint) -> Option<&EndpointState> {
        let (asked, answer) = self.settled.get(&endpoint.name)?;
        (asked == endpoint && answer.clients.keys().eq(self.clients.keys())).then_some(answer)
    }

    /// A client for each CA that is kept, and before the first rotation, when none is, for the one in force.
    fn renew(&mut self, authorities: &Authorities) {
        let now = Timestamp::now();
        let kept = authorities.kept();
        let stock = authorities.stock().unwrap_or_else(|error| {
            tracing::debug!(%error, "no probe certificate of the CA in force");
            None
        });
        let stock = stock.filter(|stock| !kept.contains(&stock.certificate().ca_id()));
        let in_force = stock.as_ref().map(|stock| stock.certificate().ca_id());
        self.clients.retain(|ca, client| (kept.contains(ca) || in_force.as_ref() == Some(ca)) && client.until > now);
        for ca in kept.into_iter().chain(in_force) {
            let Entry::Vacant(slot) = self.clients.entry(ca) else { continue };
            let authority = stock.clone().filter(|stock| stock.certificate().ca_id() == *slot.key());
            let authority = authority.map_or_else(|| authorities.authority(slot.key()), Ok);
            let issued = authority.map_err(|error| error.to_string()).and_then(|authority| throw_away(&authority, now));
            match issued {
                Ok(client) => drop(slot.insert(client)),
                Err(problem) => tracing::warn!(ca = slot.key().short(), %problem, "no probe certificate"),
            }
        }
    }

    async fn one(&self, endpoint: &Endpoint, cas: &[&Certificate]) -> EndpointState {
        let mut state = EndpointState::default();
        match probe::handshake(&endpoint.address, probe::host(&endpoint.address), LIMIT).await {
            Ok(served) => read_chain(&served.certificates, cas, &mut state),
            Err(error) => {
                tracing::debug!(endpoint = endpoint.name, %error, "handshake");
                if matches!(error, ProbeError::Timeout { .. } | ProbeError::Unreachable { .. }) {
                    // Nobody else would get an answer either: a node that is down costs one wait and not three.
                    state.clients = self.clients.keys().map(|ca| (ca.clone(), Verdict::Unreachable)).collect();
                    return state;
                }
            }
        }
        if endpoint.accepts.is_none() {
            return state;
        }
        let verdicts = self.clients.iter().map(|(ca, client)| async move {
            (ca.clone(), client.verdict(&endpoint.address, endpoint.path, LIMIT).await)
        });
        state.clients = join_all(verdicts).await.into_iter().collect();
        state
    }
}

/// Every answer in the order of the questions, no more than so many under way at the same time.
async fn at_most<T>(limit: usize, questions: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures::stream::iter(questions).buffered(limit).collect().await
}

impl Client {
    /// Whether the endpoint lets it in.
    pub(super) async fn verdict(&self, address: &str, path: &str, limit: Duration) -> Verdict {
        let (chain, key) = (self.chain.clone(), self.key.clone_key());
        probe::client_verdict(address, probe::host(address), chain, key, path, limit).await
    }
}

/// A client of this CA.
pub(super) fn throw_away(authority: &CertificateAuthority, now: Timestamp) -> Result<Client, String> {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(|error| error.to_string())?;
    let leaf = authority
        .issue_client(PROBE_USER, &[], key.spki_der(), PROBE_VALIDITY, now)
        .map_err(|error| error.to_string())?;
    let until = leaf.not_after().checked_sub(SignedDuration::from_mins(10)).unwrap_or(now);
    Ok(Client { chain: vec![leaf.rustls_der()], key: key.rustls_der(), until })
}

fn read_chain(certificates: &[Certificate], cas: &[&Certificate], state: &mut EndpointState) {
    let Some((leaf, rest)) = certificates.split_first() else { return };
    let signer = |certificate: &Certificate| cas.iter().find(|ca| certificate.signed_by(ca)).map(|ca| ca.ca_id());
    state.serial = leaf.serial_hex();
    state.issuer = signer(leaf);
    state.vouched_by = rest.iter().filter(|certificate| certificate.is_ca()).filter_map(signer).collect();
}

fn as_expected(endpoint: &Endpoint, answer: &EndpointState) -> bool {
    // A certificate of an unknown CA comes from another file than the one that is known of: asking again would not change it.
    let elsewhere = answer.issuer.is_none() && !answer.serial.is_empty();
    let served = endpoint.serves.is_none() || endpoint.serves == answer.issuer || elsewhere;
    let Some(accepts) = &endpoint.accepts else { return served };
    served
        && answer
            .clients
            .iter()
            .all(|(ca, verdict)| *verdict == if accepts.contains(ca) { Verdict::Accepted } else { Verdict::Refused })
}

fn own_endpoints(state: &NodeState, addresses: &Addresses) -> Vec<Endpoint> {
    let disk = &state.disk;
    let endpoint = |name: &str, address: &str, path| Endpoint {
        name: name.into(),
        address: address.into(),
        path,
        accepts: Some(disk.ca_bundle.clone()),
        serves: None,
    };
    let mut endpoints = Vec::new();
    if state.control_plane {
        let serves = disk.leaves.get(&crate::plan::Leaf::Apiserver).and_then(|leaf| leaf.issuer.clone());
        endpoints.push(Endpoint { serves, ..endpoint(APISERVER, &addresses.apiserver, "/version") });
        endpoints.push(endpoint(CONTROLLER_MANAGER, &addresses.controller_manager, "/metrics"));
        endpoints.push(endpoint(SCHEDULER, &addresses.scheduler, "/metrics"));
    }
    if disk.confs.contains_key(&Conf::Kubelet) {
        let serves = disk.kubelet_serving.as_ref().and_then(|leaf| leaf.issuer.clone());
        endpoints.push(Endpoint { serves, ..endpoint(KUBELET, &addresses.kubelet, path(ProbeServer::Kubelet)) });
    }
    endpoints
}

/// Its clients are of another authority, so it is only seen what it serves.
fn etcd(address: &str) -> Endpoint {
    Endpoint { name: ETCD.into(), address: address.into(), path: "/", accepts: None, serves: None }
}

const fn path(server: ProbeServer) -> &'static str {
    match server {
        ProbeServer::KubeApiserver => "/version",
        ProbeServer::Kubelet => "/pods",
    }
}

/// The name under which another node's endpoint stands in the report.
pub(super) const fn server_name(server: ProbeServer) -> &'static str {
    match server {
        ProbeServer::KubeApiserver => APISERVER,
        ProbeServer::Kubelet => KUBELET,
    }
}

#[cfg(test)]
mod tests;
