//! The kubeconfig of whoever runs the rotation: renewed on the way, so that the next kubectl works.

mod kubeconfigs;

use std::time::Duration;

use self::kubeconfigs::{CallerFiles, Held, OTHER_ADMIN};
use super::record::Record;
use crate::cluster::{Cluster, csr};
use crate::error::Error;
use crate::pki::{CaId, Certificate, KeyAlgorithm, PrivateKey, certificate_request};
use crate::plan::ConfState;
use crate::rotation::{Blocker, Topic};

/// User of the CSR that is made when the caller has no certificate to renew.
const PROBE_USER: &str = "certctl:probe";
/// Longest wait for a signature: a change of the signing leader included.
const SIGNED: Duration = Duration::from_secs(60);

/// What a certificate made through the CSR API shall be.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The CA that must sign.
    pub(super) issuer: &'a CaId,
    /// Seconds; `None`: as kube-controller-manager does it.
    pub(super) lifetime: Option<i64>,
}

/// The caller's credential and trust, when it has a client certificate of the cluster CA. What cannot be read is named by [`blocker`].
pub(super) fn read(cluster: &Cluster, record: &Record) -> Option<ConfState> {
    open(cluster).ok().flatten()?.state(record).ok().flatten()
}

/// Why the caller's credential could not be renewed on the way, if so.
pub(super) fn blocker(cluster: &Cluster, record: &Record) -> Option<Blocker> {
    match open(cluster) {
        Ok(files) => files?.blocker(record),
        Err(problem) => {
            Some(Blocker { topic: Topic::Rotation, object: "kubeconfig".into(), problem, remedy: OTHER_ADMIN.into() })
        }
    }
}

/// Has a certificate signed and sees by whom; renews the caller's credential when it has a certificate of the cluster CA.
/// The old files stay beside the new ones. Returns the CA that signed, `None` when nothing had to be signed.
///
/// # Errors
/// The CSR API, a file, or a signer other than the one wanted.
pub(super) async fn renew(
    cluster: &Cluster,
    record: &Record,
    wanted: Wanted<'_>,
    trust: &[CaId],
) -> Result<Option<CaId>, Error> {
    let named = |problem| Error::failed(problem).hint("run the same command with another admin's kubeconfig");
    let files = open(cluster).map_err(named)?;
    let held = files.map(|files| Ok((files.state(record)?, files))).transpose().map_err(named)?;
    let Some((Some(held), mut files)) = held else {
        let key = new_key(None)?;
        return sign(cluster, record, PROBE_USER, &[], &key, wanted).await.map(|(_, signer)| Some(signer));
    };
    files.trust(trust, record).map_err(named)?;
    let old = files.certificate().map_err(named)?.filter(|_| held.issuer.as_ref() != Some(wanted.issuer));
    let mut signer = None;
    if let Some(old) = old {
        let place = files.held().map_err(named)?;
        let key = match &place {
            Held::Inline => new_key(old.key_algorithm())?,
            Held::Files { key, .. } => key.clone(),
        };
        let (certificate, by) =
            sign(cluster, record, old.common_name().unwrap_or_default(), old.organizations(), &key, wanted).await?;
        files.put(&place, &certificate, &key, record)?;
        signer = Some(by);
    }
    files.write(record)?;
    Ok(signer)
}

/// The entry of the cluster in the caller's kubeconfig.
pub(super) struct HeldCluster {
    /// Its name.
    pub(super) name: String,
    /// Its body.
    pub(super) body: serde_json::Value,
    /// The CAs that it trusts, in the entry or in a file that it names.
    pub(super) trusted: Vec<Certificate>,
}

/// The cluster's entry in the kubeconfig by which this connection was found; `None` without one, as in a pod.
pub(super) fn held_cluster(cluster: &Cluster) -> Result<Option<HeldCluster>, String> {
    open(cluster)?.map(|files| files.cluster()).transpose()
}

fn open(cluster: &Cluster) -> Result<Option<CallerFiles>, String> {
    let access = cluster.access();
    let paths = access.kubeconfigs();
    if paths.is_empty() { Ok(None) } else { CallerFiles::open(paths, &access.choice()).map(Some) }
}

fn new_key(algorithm: Option<KeyAlgorithm>) -> Result<PrivateKey, Error> {
    PrivateKey::generate(algorithm.unwrap_or(KeyAlgorithm::EcdsaP256)).map_err(Error::from_display)
}

async fn sign(
    cluster: &Cluster,
    record: &Record,
    name: &str,
    groups: &[String],
    key: &PrivateKey,
    wanted: Wanted<'_>,
) -> Result<(Certificate, CaId), Error> {
    let request = certificate_request(name, groups, key).map_err(Error::from_display)?;
    let Wanted { issuer, lifetime } = wanted;
    let pem = csr::sign(cluster, &request, csr::CLIENT, true, lifetime, SIGNED).await?;
    let certificate = Certificate::first_from_pem(pem.as_bytes()).map_err(Error::from_display)?;
    let signer =
        record.versions.keys().find(|ca| record.certificate(ca).is_some_and(|ca| certificate.signed_by(&ca))).cloned();
    match signer {
        Some(signer) if signer == *issuer => Ok((certificate, signer)),
        other => {
            let by = other.map_or_else(|| "an unknown CA".to_owned(), |ca| format!("CA {}", ca.short()));
            Err(Error::failed(format!(
                "a certificate made through the CSR API was signed by {by}, not by CA {}",
                issuer.short()
            )))
        }
    }
}
