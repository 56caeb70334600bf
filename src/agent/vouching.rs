//! Certificates for kubelets that the CSR API refuses: asked for and given through the statuses of two nodes.
//!
//! A node that was left out of a rotation holds a certificate that no API server accepts any more. Its agent still has a token, with
//! which it writes its own status and no other (ValidatingAdmissionPolicy): so a request that stands there is the node's own. A
//! control-plane node answers in its own status, for the nodes that the driver named and for no others.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::changes::Others;
use crate::api::{NodePKI, NodePkiStatus, Vouched};
use crate::cluster::Cluster;
use crate::node::{Authorities, BoxError};
use crate::pki::{CaId, Certificate, CertificateAuthority, PlainRequest};

/// Longest wait for an answer. The next try has a new key.
const ANSWERED: Duration = Duration::from_secs(60);
/// The one group of a kubelet; the same rule as for the signer `kubernetes.io/kube-apiserver-client-kubelet`.
const NODES: &str = "system:nodes";

/// The giving side: what a control-plane node has signed, by node.
pub(super) struct Vouching {
    requests: Others<Option<String>>,
    /// Request and answer, each while the request stands.
    answers: BTreeMap<String, (String, Answer)>,
}

/// What became of a request: a certificate, or a refusal, which is logged once.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Signed(Certificate),
    Refused,
}

impl Vouching {
    /// For nobody.
    pub(super) const fn none() -> Self {
        Self { requests: Others::none(), answers: BTreeMap::new() }
    }

    /// Looks at the requests of these nodes and no others; nothing is watched for an empty list.
    pub(super) fn look_at(&mut self, cluster: &Cluster, nodes: &[String]) {
        let request = |object: &NodePKI| object.status.as_ref().and_then(|status| status.kubelet_request.clone());
        self.requests.look_at(cluster, nodes, request);
    }

    /// Answers what is asked now and forgets what is asked no more. Nothing is signed without the key of the CA in force.
    pub(super) fn answer(
        &mut self,
        authorities: &Authorities,
        in_force: Option<&CaId>,
        validity: SignedDuration,
        now: Timestamp,
    ) {
        let requests = self.requests.seen();
        self.answers.retain(|node, (request, answer)| {
            requests.get(node).is_some_and(|asked| asked.as_ref() == Some(request))
                && answer.is_from(in_force, authorities)
        });
        let Some(in_force) = in_force else { return };
        for (node, request) in requests.into_iter().filter_map(|(node, request)| Some((node, request?))) {
            if self.answers.contains_key(&node) {
                continue;
            }
            let authority = authorities.authority(in_force).map_err(|error| error.to_string());
            let signed = authority.and_then(|authority| sign(&node, &request, &authority, validity, now));
            let answer = signed.map_or_else(
                |problem| {
                    tracing::warn!(node, problem, "no certificate for its kubelet");
                    Answer::Refused
                },
                Answer::Signed,
            );
            self.answers.insert(node, (request, answer));
        }
    }

    /// For the status.
    pub(super) fn answers(&self) -> Vec<Vouched> {
        let signed = self.answers.iter().filter_map(|(node, (_, answer))| match answer {
            Answer::Signed(certificate) => Some(Vouched { node: node.clone(), certificate: certificate.to_pem() }),
            Answer::Refused => None,
        });
        signed.collect()
    }

    /// Returns when a request came or went.
    pub(super) async fn changed(&mut self) {
        self.requests.changed().await;
    }
}

impl Answer {
    /// A certificate of an older CA is no answer any more; a refusal stays one.
    fn is_from(&self, in_force: Option<&CaId>, authorities: &Authorities) -> bool {
        match self {
            Self::Refused => true,
            Self::Signed(certificate) => in_force
                .and_then(|ca| authorities.certificate(ca).ok())
                .is_some_and(|authority| certificate.signed_by(authority)),
        }
    }
}

/// Signs a request that asks for the kubelet's own name on that node and nothing else.
fn sign(
    node: &str,
    request: &str,
    authority: &CertificateAuthority,
    validity: SignedDuration,
    now: Timestamp,
) -> Result<Certificate, String> {
    let (name, groups) = (format!("system:node:{node}"), [NODES.to_owned()]);
    let request = PlainRequest::from_pem(request.as_bytes()).map_err(|error| error.to_string())?;
    if !request.asks_for(&name, &groups) {
        return Err(format!("the certificate request is refused: its subject is not CN={name},O={NODES}"));
    }
    authority.issue_client(&name, &groups, request.spki_der(), validity, now).map_err(|error| error.to_string())
}

/// The asking side: who may answer, and the report in which the request goes out.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) cluster: Cluster,
    pub(super) node: String,
    pub(super) vouchers: Vec<String>,
    pub(super) status: Option<NodePkiStatus>,
}

impl Asker {
    /// Puts the request into the node's status and returns the first certificate over its key that a voucher shows. The caller verifies
    /// who signed it.
    pub(super) async fn ask(self, request: String) -> Result<String, BoxError> {
        if self.vouchers.is_empty() {
            return Err("the API server refuses the kubelet's certificate (401), and no control-plane node is told to vouch for this \
                        node: run `certctl rotate-ca` with the node left out, or join it again"
                .into());
        }
        let status = self.status.ok_or("the node's first report has not been taken yet")?;
        let key = PlainRequest::from_pem(request.as_bytes())?.spki_der().to_vec();
        self.cluster.report(&self.node, &NodePkiStatus { kubelet_request: Some(request), ..status }).await?;
        let mut vouchers = Others::none();
        vouchers.look_at(&self.cluster, &self.vouchers, move |object: &NodePKI| answer_for(&self.node, &key, object));
        let answered = async {
            loop {
                if let Some(certificate) = vouchers.seen().into_values().flatten().next() {
                    return certificate;
                }
                vouchers.changed().await;
            }
        };
        let late =
            |_| format!("none of node/{} has answered within {} s", self.vouchers.join(", node/"), ANSWERED.as_secs());
        Ok(tokio::time::timeout(ANSWERED, answered).await.map_err(late)?)
    }
}

fn answer_for(node: &str, key: &[u8], object: &NodePKI) -> Option<String> {
    let answers = object.status.iter().flat_map(|status| &status.vouched).filter(|vouched| vouched.node == node);
    let over_key = |pem: &str| Certificate::first_from_pem(pem.as_bytes()).is_ok_and(|found| found.spki_der() == key);
    answers.map(|vouched| &vouched.certificate).find(|pem| over_key(pem)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::ONE_YEAR;
    use crate::pki::{KeyAlgorithm, PrivateKey, certificate_request};

    fn now() -> Timestamp {
        "2026-11-22T20:00:00Z".parse().unwrap()
    }

    fn authority() -> CertificateAuthority {
        CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, ONE_YEAR * 10, now()).unwrap()
    }

    fn key() -> PrivateKey {
        PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
    }

    fn request(name: &str, groups: &[&str], key: &PrivateKey) -> String {
        certificate_request(name, &groups.iter().map(ToString::to_string).collect::<Vec<_>>(), key).unwrap()
    }

    #[test]
    fn a_kubelet_gets_a_client_certificate_for_its_own_name_over_its_own_key() {
        let (authority, key) = (authority(), key());
        let signed = sign("w-1", &request("system:node:w-1", &[NODES], &key), &authority, ONE_YEAR, now()).unwrap();
        assert_eq!(signed.subject(), "CN=system:node:w-1,O=system:nodes");
        assert!(key.matches(&signed) && signed.signed_by(authority.certificate()));
        assert!(signed.client_auth() && !signed.server_auth() && !signed.is_ca());
        assert!(signed.dns_names().is_empty() && signed.ip_addresses().is_empty());
        assert_eq!(signed.not_after(), now() + ONE_YEAR);
    }

    #[test]
    fn other_names_and_groups_are_refused() {
        let (authority, key) = (authority(), key());
        let asked: [(&str, &[&str]); 6] = [
            ("system:node:w-2", &[NODES]),
            ("system:node:w-1", &[]),
            ("system:node:w-1", &["system:masters"]),
            ("system:node:w-1", &[NODES, "system:masters"]),
            ("kubernetes-admin", &[NODES]),
            ("system:node:", &[NODES]),
        ];
        for (name, groups) in asked {
            let problem = sign("w-1", &request(name, groups, &key), &authority, ONE_YEAR, now()).unwrap_err();
            assert!(
                problem.contains("its subject is not CN=system:node:w-1,O=system:nodes"),
                "{name} {groups:?}: {problem}"
            );
        }
        assert!(sign("w-1", "no request", &authority, ONE_YEAR, now()).is_err());
    }

    #[test]
    fn only_an_answer_to_this_node_and_this_request_is_taken() {
        let (authority, mine, older) = (authority(), key(), key());
        let vouched = |node: &str, key: &PrivateKey| Vouched {
            node: node.to_owned(),
            certificate: authority.issue_client("n", &[], key.spki_der(), ONE_YEAR, now()).unwrap().to_pem(),
        };
        let object = |vouched: Vec<Vouched>| NodePKI {
            status: Some(NodePkiStatus { vouched, ..NodePkiStatus::default() }),
            ..NodePKI::default()
        };
        let find = |object: &NodePKI| answer_for("w-1", mine.spki_der(), object);
        assert_eq!(find(&object(vec![vouched("w-1", &older), vouched("w-2", &mine)])), None);
        let right = vouched("w-1", &mine);
        assert_eq!(find(&object(vec![vouched("w-1", &older), right.clone()])), Some(right.certificate));
    }
}
