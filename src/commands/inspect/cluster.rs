//! The whole cluster: what the agents report of their nodes, and what the API holds.

use std::collections::BTreeMap;

use crate::api::NodePKI;
use crate::cluster::{Bundle, Cluster, ClusterError};
use crate::context::Context;
use crate::error::Error;
use crate::inspection::{Evidence, InspectRow, NodeView, merged_trust, rows_of};
use crate::node::CA_CERT;
use crate::pki::{CaId, Certificate};
use crate::plan::row::issuer_of;
use crate::plan::{CertificateKind, CertificateRow};

/// The generation that a cluster begins with (gkectl's CAVersion).
const FIRST: u32 = 1;

/// Looks at everything; of what the caller may not read, the evidence says so.
///
/// # Errors
/// No API server, or a node of `wanted` has no agent.
pub(super) async fn look(context: &Context, verb: &'static str, wanted: &[String]) -> Result<Evidence, Error> {
    look_at(&connect(context, verb).await?, wanted).await
}

/// A connection to an API server that answers.
///
/// # Errors
/// No API server.
pub(crate) async fn connect(context: &Context, verb: &'static str) -> Result<Cluster, Error> {
    let cluster = Cluster::connect(&context.access(verb)).await.map_err(|e| offline_hint(Error::from_display(e)))?;
    cluster.version().await.map_err(|e| offline_hint(Error::from_display(e)))?;
    Ok(cluster)
}

/// As [`look`], through a connection that is there.
///
/// # Errors
/// A node of `wanted` has no agent.
pub(crate) async fn look_at(cluster: &Cluster, wanted: &[String]) -> Result<Evidence, Error> {
    let mut evidence = Evidence::default();
    // Where it cannot be read, certctl is not installed, or the nodes cannot be read either, which is said below.
    let object = cluster.cluster_pki().await.ok().flatten();
    let wanted_version = object.as_ref().map(|object| object.spec.ca_version);
    let status = object.and_then(|object| object.status).unwrap_or_default();
    let rotating = status.ca_version.is_some_and(|reached| Some(reached) != wanted_version);
    let known = status.authorities.into_iter().filter_map(|(number, ca)| Some((ca.id, number.parse().ok()?)));
    let mut versions: BTreeMap<CaId, u32> = known.collect();
    evidence.rotating = rotating;
    let nodes = cluster.node_pkis().await;
    if let (true, Ok(nodes)) = (versions.is_empty(), &nodes) {
        versions.extend(never_rotated(nodes).map(|ca| (ca, FIRST)));
    }
    match nodes {
        Ok(nodes) => add_nodes(&nodes, wanted, &versions, &mut evidence)?,
        // A check must not be green because nobody looked.
        Err(error) if error.code() == Some(404) && wanted.is_empty() => evidence.unread.push(
            "nodes: certctl is not installed in this cluster, so their files are not seen; run `certctl install`"
                .to_owned(),
        ),
        Err(error) if error.code() == Some(404) => {
            return Err(Error::failed("certctl is not installed in this cluster").hint("run `certctl install` first"));
        }
        Err(error) => evidence.unread.push(unread(&error)),
    }
    if wanted.is_empty() {
        add_objects(cluster, &versions, &mut evidence).await;
    }
    Ok(evidence)
}

/// The cluster CA where no rotation has recorded any: the one that all nodes share. Where they do not, no number would be right.
fn never_rotated(nodes: &[NodePKI]) -> Option<CaId> {
    let rows = nodes.iter().filter_map(|node| node.status.as_ref()).flat_map(|status| &status.certificates);
    let mut cas = rows.filter(|row| row.path == CA_CERT).filter_map(|row| row.ca_id.as_ref());
    let first = cas.next()?;
    cas.all(|ca| ca == first).then(|| first.clone())
}

fn add_nodes(
    nodes: &[NodePKI],
    wanted: &[String],
    versions: &BTreeMap<CaId, u32>,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let name = |node: &NodePKI| node.metadata.name.clone().unwrap_or_default();
    if let Some(missing) = wanted.iter().find(|wanted| !nodes.iter().any(|node| name(node) == **wanted)) {
        return Err(Error::failed(format!("node {missing} has no agent that reports")).hint("see `certctl status`"));
    }
    for node in nodes.iter().filter(|node| wanted.is_empty() || wanted.contains(&name(node))) {
        let name = name(node);
        let Some(status) = &node.status else {
            evidence.unread.push(format!("node/{name}: its agent has not reported yet"));
            continue;
        };
        let view = NodeView { facts: status.facts.clone(), state: Some(status.state.clone()) };
        evidence.add_node(Some(&name), status.certificates.clone(), view, versions);
    }
    Ok(())
}

async fn add_objects(cluster: &Cluster, versions: &BTreeMap<CaId, u32>, evidence: &mut Evidence) {
    let (bundles, requests, tokens) =
        futures::join!(cluster.trust_bundles(), cluster.certificate_requests(), cluster.bootstrap_tokens());
    let (bundles, errors) = bundles;
    evidence.unread.extend(errors.iter().map(unread));
    evidence.rows.extend(merged_trust(bundles.iter().map(|bundle| trust_rows(bundle, versions)).collect()));
    match requests {
        Ok(requests) => evidence.requests = requests,
        Err(error) => evidence.unread.push(unread(&error)),
    }
    match tokens {
        Ok(tokens) => evidence.tokens = tokens,
        Err(error) => evidence.unread.push(unread(&error)),
    }
}

fn trust_rows(bundle: &Bundle, versions: &BTreeMap<CaId, u32>) -> Vec<InspectRow> {
    let known: Vec<Certificate> = bundle.certificates.iter().flatten().cloned().collect();
    let row = |(index, certificate): (usize, &Result<Certificate, _>)| match certificate {
        Ok(certificate) => {
            let issuer = issuer_of(certificate, &known);
            CertificateRow::new(&bundle.object, index, CertificateKind::Trust, certificate.clone(), issuer)
        }
        Err(problem) => {
            let problem: &String = problem;
            CertificateRow::broken(&bundle.object, index, CertificateKind::Trust, problem.clone())
        }
    };
    let rows: Vec<CertificateRow> = bundle.certificates.iter().enumerate().map(row).collect();
    rows_of(None, rows, None, versions)
}

fn unread(error: &ClusterError) -> String {
    match error {
        ClusterError::Call { object, reason, .. } => format!("{object}: {reason}"),
        other => format!("cluster: {other}"),
    }
}

fn offline_hint(error: Error) -> Error {
    error.hint("on a node, `certctl inspect --root /` needs no API server")
}
