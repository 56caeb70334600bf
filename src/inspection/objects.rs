//! What is wrong between nodes, and with objects of the API: differing CAs, requests nobody answers, tokens.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::certificate::short;
use super::finding::about;
use super::{Evidence, Finding, FindingId, InspectRow, Severity};
use crate::pki::CaId;
use crate::plan::CertificateKind;

/// Approvers need a moment.
const FRESH: i64 = 60;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RequestState {
    /// Nobody has approved or denied it.
    Pending,
    /// Approved, not yet signed.
    Approved,
    /// Signed.
    Issued,
    /// Denied.
    Denied,
    /// The signer could not.
    Failed,
}

/// A CertificateSigningRequest.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Name of the object.
    pub name: String,
    /// Who is to sign.
    pub signer: String,
    /// Who asks.
    pub requester: String,
    /// Subject asked for, as Go prints it; empty when the request cannot be read.
    pub subject: String,
    /// DNS names and IP addresses asked for.
    pub sans: Vec<String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Where it stands.
    pub state: RequestState,
}

/// A bootstrap token, without its secret half.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapToken {
    /// The public half.
    pub id: String,
    /// RFC 3339; absent when it never expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// `authentication`, `signing`.
    pub usages: Vec<String>,
    /// Extra groups of whoever authenticates with it.
    pub groups: Vec<String>,
}

pub(super) fn judge(evidence: &Evidence, now: Timestamp, found: &mut Vec<Finding>) {
    ambiguous(&evidence.rows, found);
    if !evidence.rotating {
        leftover(&evidence.rows, found);
        nodes_differ(&evidence.rows, found);
        trust_differs(&evidence.rows, found);
    }
    for request in &evidence.requests {
        judge_request(request, now, found);
    }
    for token in &evidence.tokens {
        judge_token(token, now, found);
    }
    for unread in &evidence.unread {
        let (object, message) = unread.split_once(": ").unwrap_or((unread, "could not be looked at"));
        let remedy = "ask with rights to read it; what is not seen is not checked";
        found.push(about((None, object.to_owned()), Severity::Warning, FindingId::NotSeen, message, remedy));
    }
}

fn is_trust(row: &InspectRow) -> bool {
    let kind = row.certificate.kind;
    matches!(kind, CertificateKind::Authority | CertificateKind::KubeconfigAuthority | CertificateKind::Trust)
}

/// Two CAs of one name: without key identifiers Go tries one after the other, other verifiers take the first.
fn ambiguous(rows: &[InspectRow], found: &mut Vec<Finding>) {
    let mut by_subject: BTreeMap<(&str, &Option<String>), Vec<&InspectRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_trust(row) && row.certificate.ca_id.is_some()) {
        by_subject.entry((&row.certificate.subject, &row.node)).or_default().push(row);
    }
    for ((subject, _), same) in by_subject {
        let keys: BTreeSet<&Option<CaId>> = same.iter().map(|row| &row.certificate.ca_id).collect();
        let nameless = same.iter().find(|row| row.certificate.subject_key_id.is_empty());
        if let (true, Some(row)) = (keys.len() > 1, nameless) {
            let message =
                format!("{} CAs are called `{subject}`, and this one has no subject key identifier", keys.len());
            let remedy = "replace it by a CA with key identifiers, which `certctl rotate-ca` makes";
            found.push(about(row.place(), Severity::Warning, FindingId::AmbiguousCa, message, remedy));
        }
    }
}

/// The CAs of each CA file, kubeconfig or object.
fn bundles(rows: &[InspectRow]) -> BTreeMap<(Option<&str>, &str), BTreeSet<&CaId>> {
    let mut bundles: BTreeMap<_, BTreeSet<&CaId>> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_trust(row)) {
        if let Some(ca) = &row.certificate.ca_id {
            bundles.entry((row.node.as_deref(), row.certificate.path.as_str())).or_default().insert(ca);
        }
    }
    bundles
}

/// A PEM file or kubeconfig given by name, a Secret of an application or a caBundle may hold what it likes.
fn is_clusters(path: &str) -> bool {
    path.starts_with("/etc/kubernetes/") || path.ends_with("/kube-root-ca.crt") || path.ends_with("/cluster-info")
}

fn leftover(rows: &[InspectRow], found: &mut Vec<Finding>) {
    for ((node, path), cas) in bundles(rows) {
        if cas.len() > 1 && is_clusters(path) {
            let message = format!("it trusts {} CAs, and no rotation is under way", cas.len());
            let remedy = "find out which CA signs the present certificates, and take the others out; \
                          `certctl status` says whether a rotation was left half-way";
            found.push(about((node, path.to_owned()), Severity::Warning, FindingId::LeftoverBundle, message, remedy));
        }
    }
}

/// The same CA file on different nodes.
fn nodes_differ(rows: &[InspectRow], found: &mut Vec<Finding>) {
    let mut by_path: BTreeMap<&str, BTreeMap<BTreeSet<&CaId>, Vec<&str>>> = BTreeMap::new();
    for ((node, path), cas) in bundles(rows) {
        if let (Some(node), true) = (node, path.ends_with("ca.crt")) {
            by_path.entry(path).or_default().entry(cas).or_default().push(node);
        }
    }
    for (path, groups) in by_path.into_iter().filter(|(_, groups)| groups.len() > 1) {
        let name = |cas: &BTreeSet<&CaId>| cas.iter().map(|ca| ca.short().to_owned()).collect::<Vec<_>>().join(" ");
        let groups: Vec<String> =
            groups.iter().map(|(cas, nodes)| format!("[{}] on {}", name(cas), nodes.join(", "))).collect();
        let message = format!("nodes have different CAs: {}", groups.join("; "));
        let remedy =
            "one of them was replaced by hand: put the right CA on every node, or go on with `certctl rotate-ca`";
        found.push(about((None, path.to_owned()), Severity::Error, FindingId::NodesDiffer, message, remedy));
    }
}

/// What extension API servers and the scheduler take for the CA of clients.
const CLIENT_CA: &str = "/extension-apiserver-authentication/client-ca-file";

/// True for a bundle that must hold a CA of the nodes' ca.crt: kube-root-ca.crt, cluster-info, the client CA for extension API servers,
/// kubeconfigs of nodes, token Secrets. A caBundle may have a CA of its own.
#[must_use]
pub fn follows_the_cluster(path: &str) -> bool {
    let ends = ["/kube-root-ca.crt", "/cluster-info", CLIENT_CA];
    ends.iter().any(|end| path.ends_with(end))
        || path.starts_with("secret/")
        || (path.starts_with("/etc/kubernetes/") && path.ends_with(".conf"))
}

/// Those against the nodes' ca.crt.
fn trust_differs(rows: &[InspectRow], found: &mut Vec<Finding>) {
    let bundles = bundles(rows);
    let of_nodes = bundles.iter().filter(|((_, path), _)| *path == "/etc/kubernetes/pki/ca.crt");
    let cluster: BTreeSet<&CaId> = of_nodes.clone().flat_map(|(_, cas)| cas).copied().collect();
    if cluster.is_empty() {
        return;
    }
    for ((node, path), cas) in &bundles {
        if follows_the_cluster(path) && cas.is_disjoint(&cluster) {
            let message = "it trusts none of the CAs in /etc/kubernetes/pki/ca.crt of the nodes";
            let remedy = if node.is_some() || path.ends_with(".conf") {
                "put the cluster's CA into it; its user refuses every API server"
            } else if path.ends_with(CLIENT_CA) {
                "restart a kube-apiserver, which writes it from its --client-ca-file"
            } else {
                "see whether kube-controller-manager runs with the CA of the nodes, and restart it"
            };
            found.push(about((*node, (*path).to_owned()), Severity::Error, FindingId::TrustDiffers, message, remedy));
        }
    }
}

fn judge_request(request: &Request, now: Timestamp, found: &mut Vec<Finding>) {
    let place = (None, format!("csr/{}", request.name));
    let age = request.created.parse::<Timestamp>().map_or(0, |created| now.as_second() - created.as_second());
    let asks = format!("{} asks {} for `{}`", request.requester, request.signer, request.subject);
    match request.state {
        RequestState::Pending if age >= FRESH => {
            let message = format!("{asks}, since {}", short(age));
            let remedy = format!(
                "look at it, then `kubectl certificate approve {0}` or `kubectl certificate deny {0}`",
                request.name
            );
            found.push(about(place, Severity::Warning, FindingId::RequestPending, message, remedy));
        }
        RequestState::Denied | RequestState::Failed => {
            let how = if request.state == RequestState::Denied { "was denied" } else { "failed" };
            let remedy = format!("see why with `kubectl describe csr {}`", request.name);
            found.push(about(
                place,
                Severity::Warning,
                FindingId::RequestFailed,
                format!("{asks}, which {how}"),
                remedy,
            ));
        }
        _ => {}
    }
}

fn judge_token(token: &BootstrapToken, now: Timestamp, found: &mut Vec<Finding>) {
    let place = (None, format!("secret/kube-system/bootstrap-token-{}", token.id));
    let delete = format!("run `kubeadm token delete {}`", token.id);
    match &token.expires {
        None => {
            let message = "the bootstrap token never expires: who has it can join nodes for ever";
            found.push(about(place, Severity::Warning, FindingId::TokenForever, message, delete));
        }
        Some(expires) if expires.parse::<Timestamp>().is_ok_and(|expires| expires < now) => {
            let message = format!("the bootstrap token expired at {expires} and is still there");
            found.push(about(place, Severity::Info, FindingId::TokenExpired, message, delete));
        }
        Some(_) => {}
    }
}
