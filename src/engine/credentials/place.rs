//! Where a new credential is to be used: the API server's address, and the CAs that verify it.

use serde_json::Value;

use crate::cluster::{Cluster, ClusterError, Published};
use crate::engine::Record;
use crate::engine::caller::{self, HeldCluster};
use crate::error::Error;
use crate::pki::{CaId, Certificate, cluster_body};

/// The cluster as a kubeconfig's entry says it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Name of the cluster's entry.
    pub cluster: String,
    /// Body of the cluster's entry, the CAs in it.
    pub body: Value,
    /// The body that the caller's own kubeconfig has for the same server and the same CAs, in other words (a file's name, for example).
    pub as_held: Option<Value>,
    /// The CAs of the cluster itself; more than one while a rotation runs.
    pub cas: Vec<Certificate>,
    /// The CA that stays when the rotation under way is over; `None` when there is none, or nobody knows.
    pub staying: Option<CaId>,
    /// What the administrator should know.
    pub warnings: Vec<String>,
}

/// Looks where this connection leads to. `server` is an address that counts more than the caller's.
///
/// # Errors
/// The caller's kubeconfig cannot be read, or nothing says where the API server is, or by what CA it is verified.
pub async fn place(cluster: &Cluster, server: Option<&str>) -> Result<Place, Error> {
    let held = caller::held_cluster(cluster).map_err(Error::failed)?;
    place_beside(cluster, held, server).await
}

/// As [`place`], for a caller whose kubeconfig has this entry.
pub(super) async fn place_beside(
    cluster: &Cluster,
    held: Option<HeldCluster>,
    server: Option<&str>,
) -> Result<Place, Error> {
    let mut warnings = Vec::new();
    let mut published = published(cluster, &mut warnings).await?;
    let record = record(cluster).await?;
    add(&mut published.cas, in_rotation(&record));
    let rotation = record.rotation.as_ref().filter(|_| record.rotating());
    let trusted = held.as_ref().map(|held| held.trusted.clone());
    let trust = trust(trusted.as_deref(), &published.cas);
    let theirs = held.as_ref().map(|held| held.body["server"].as_str().unwrap_or_default().to_owned());
    let address = server.map(str::to_owned).or_else(|| theirs.clone()).or(published.server);
    let address = address.filter(|address| !address.is_empty()).ok_or_else(|| {
        Error::failed("nothing says at which address the API server is reached").hint("name it with --server")
    })?;
    let like = held.as_ref().map(|held| &held.body);
    let body = cluster_body(&address, like, &trust);
    let as_held = held.as_ref().filter(|held| theirs.as_ref() == Some(&address) && same(&held.trusted, &trust));
    if trust.is_empty() && like.is_none() {
        return Err(Error::failed("nothing says which CA the API server is verified with").hint("use a kubeconfig"));
    }
    Ok(Place {
        cluster: held.as_ref().map_or_else(|| "kubernetes".to_owned(), |held| held.name.clone()),
        as_held: as_held.map(|held| held.body.clone()),
        body,
        cas: published.cas,
        staying: rotation.and_then(|rotation| rotation.to.clone()),
        warnings,
    })
}

/// What the cluster publishes, in the place that the caller may read.
async fn published(cluster: &Cluster, warnings: &mut Vec<String>) -> Result<Published, Error> {
    let hidden = |error: &ClusterError| matches!(error.code(), Some(403 | 404));
    let error = match cluster.root_cas().await {
        Err(error) if hidden(&error) => error,
        found => return Ok(found?),
    };
    match cluster.cluster_info().await {
        Err(other) if hidden(&other) => {
            warnings.push(format!(
                "the CAs are those of your kubeconfig, because the cluster's are hidden from you: {error}; {other}"
            ));
            Ok(Published::default())
        }
        found => Ok(found?),
    }
}

/// The record of rotations; empty where certctl is not installed, or its objects are none of the caller's business.
async fn record(cluster: &Cluster) -> Result<Record, Error> {
    match cluster.cluster_pki().await {
        Ok(object) => Ok(object.as_ref().map(Record::read).unwrap_or_default()),
        Err(error) if matches!(error.code(), Some(403 | 404)) => Ok(Record::default()),
        Err(error) => Err(error.into()),
    }
}

fn add(cas: &mut Vec<Certificate>, more: Vec<Certificate>) {
    for ca in more {
        if !cas.iter().any(|known| known.ca_id() == ca.ca_id()) {
            cas.push(ca);
        }
    }
}

/// The two CAs of the rotation under way, also before the new one is published; none without one.
pub(super) fn in_rotation(record: &Record) -> Vec<Certificate> {
    let rotation = record.rotation.as_ref().filter(|_| record.rotating());
    let ids = rotation.map(|rotation| std::iter::once(&rotation.from).chain(&rotation.to).cloned().collect::<Vec<_>>());
    ids.map(|ids| record.certificates(&ids)).unwrap_or_default()
}

/// The CAs of the new entry: the cluster's, and those of others that the caller trusts beside them. A caller who trusts none of the cluster's
/// (a proxy with a CA of its own, the system's CAs) has a reason: the new entry then is like theirs.
///
/// A CA of the same name as one of the cluster's is an older one of the cluster's, and is left out.
pub(super) fn trust(held: Option<&[Certificate]>, own: &[Certificate]) -> Vec<Certificate> {
    let clusters = |ca: &Certificate| {
        own.iter().any(|known| known.ca_id() == ca.ca_id() || known.subject_der() == ca.subject_der())
    };
    match held {
        Some(held) if own.is_empty() || !held.iter().any(clusters) => held.to_vec(),
        _ => own.iter().chain(held.unwrap_or_default().iter().filter(|ca| !clusters(ca))).cloned().collect(),
    }
}

fn same(one: &[Certificate], other: &[Certificate]) -> bool {
    let within = |one: &[Certificate], other: &[Certificate]| one.iter().all(|ca| other.contains(ca));
    within(one, other) && within(other, one)
}
