//! Asking endpoints what they serve and whom they accept.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::api::{Probe, ProbeServer};
use crate::node::Authorities;
use crate::pki::{CaId, Certificate, KeyAlgorithm, PrivateKey};
use crate::plan::{Conf, EndpointState, NodeState, Verdict};
use crate::probe;

/// User of the throw-away client certificates; nothing is bound to it.
const PROBE_USER: &str = "certctl:probe";
/// Their lifetime.
const PROBE_VALIDITY: SignedDuration = SignedDuration::from_hours(1);
/// Longest wait for one answer.
const LIMIT: Duration = Duration::from_secs(2);

/// Endpoints of this node itself, by the names that stand in the report.
pub(super) const APISERVER: &str = "kube-apiserver";
/// kube-controller-manager.
pub(super) const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// kube-scheduler.
pub(super) const SCHEDULER: &str = "kube-scheduler";
/// The kubelet.
pub(super) const KUBELET: &str = "kubelet";

/// One address to ask, and whom it should accept.
struct Endpoint {
    name: String,
    address: String,
    path: &'static str,
    accepts: Option<Vec<CaId>>,
    serves: Option<CaId>,
}

/// Throw-away client certificates, one for each CA whose key is on the node.
#[derive(Default)]
pub(super) struct Prober {
    clients: BTreeMap<CaId, Client>,
}

struct Client {
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
    /// Asks every endpoint of the node and every one it was told to ask, all at the same time.
    pub(super) async fn ask(&mut self, state: &NodeState, authorities: &Authorities, probes: &[Probe]) -> Answers {
        self.renew(authorities);
        let mut endpoints = own_endpoints(state);
        endpoints.extend(probes.iter().map(|probe| Endpoint {
            name: format!("{}/{}", server_name(probe.server), probe.node),
            address: probe.address.clone(),
            path: path(probe.server),
            accepts: Some(probe.accepts.clone()),
            serves: probe.serves.clone(),
        }));
        let cas: Vec<&Certificate> = authorities.certificates().collect();
        let answers = join_all(endpoints.iter().map(|endpoint| self.one(endpoint, &cas))).await;
        let settled = endpoints.iter().zip(&answers).all(|(endpoint, answer)| as_expected(endpoint, answer));
        Answers { endpoints: endpoints.into_iter().map(|endpoint| endpoint.name).zip(answers).collect(), settled }
    }

    fn renew(&mut self, authorities: &Authorities) {
        let now = Timestamp::now();
        let kept = authorities.kept();
        self.clients.retain(|ca, client| kept.contains(ca) && client.until > now);
        for ca in kept {
            let Entry::Vacant(slot) = self.clients.entry(ca) else { continue };
            match issue(slot.key(), authorities, now) {
                Ok(client) => drop(slot.insert(client)),
                Err(problem) => tracing::warn!(ca = slot.key().short(), %problem, "no probe certificate"),
            }
        }
    }

    async fn one(&self, endpoint: &Endpoint, cas: &[&Certificate]) -> EndpointState {
        let mut state = EndpointState::default();
        match probe::handshake(&endpoint.address, host(&endpoint.address), LIMIT).await {
            Ok(served) => read_chain(&served.certificates, cas, &mut state),
            Err(error) => tracing::debug!(endpoint = endpoint.name, %error, "handshake"),
        }
        let verdicts = self.clients.iter().map(|(ca, client)| async move {
            let verdict = probe::client_verdict(
                &endpoint.address,
                host(&endpoint.address),
                client.chain.clone(),
                client.key.clone_key(),
                endpoint.path,
                LIMIT,
            );
            (ca.clone(), verdict.await)
        });
        state.clients = join_all(verdicts).await.into_iter().collect();
        state
    }
}

fn issue(ca: &CaId, authorities: &Authorities, now: Timestamp) -> Result<Client, String> {
    let authority = authorities.authority(ca).map_err(|error| error.to_string())?;
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

fn own_endpoints(state: &NodeState) -> Vec<Endpoint> {
    let disk = &state.disk;
    let endpoint = |name: &str, port: u16, path| Endpoint {
        name: name.into(),
        address: format!("127.0.0.1:{port}"),
        path,
        accepts: Some(disk.ca_bundle.clone()),
        serves: None,
    };
    let mut endpoints = Vec::new();
    if state.control_plane {
        let serves = disk.leaves.get(&crate::plan::Leaf::Apiserver).and_then(|leaf| leaf.issuer.clone());
        endpoints.push(Endpoint { serves, ..endpoint(APISERVER, 6443, "/version") });
        endpoints.push(endpoint(CONTROLLER_MANAGER, 10257, "/metrics"));
        endpoints.push(endpoint(SCHEDULER, 10259, "/metrics"));
    }
    if disk.confs.contains_key(&Conf::Kubelet) {
        let serves = disk.kubelet_serving.as_ref().and_then(|leaf| leaf.issuer.clone());
        endpoints.push(Endpoint { serves, ..endpoint(KUBELET, 10250, path(ProbeServer::Kubelet)) });
    }
    endpoints
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

fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host.trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
