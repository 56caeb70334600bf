//! The kubeconfig of whoever runs the rotation: renewed on the way, so that the next kubectl works.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::Record;
use crate::cluster::{Cluster, csr};
use crate::error::Error;
use crate::node::files;
use crate::pki::{CaId, Certificate, KeyAlgorithm, Kubeconfig, PrivateKey, certificate_request};
use crate::plan::ConfState;
use crate::rotation::Blocker;

/// The CSR API signs for no member of this group (admission plugin CertificateSubjectRestriction).
const MASTERS: &str = "system:masters";
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

/// The caller's kubeconfig, when it holds a client certificate of the cluster CA.
pub(super) fn read(cluster: &Cluster, record: &Record) -> Option<ConfState> {
    let (_, kubeconfig) = open(&cluster.kubeconfig_path()?).ok()?;
    let certificate = kubeconfig.client_certificate()?;
    let cas: Vec<Certificate> = record.versions.keys().filter_map(|ca| record.certificate(ca)).collect();
    let issuer = cas.iter().find(|ca| certificate.signed_by(ca))?.ca_id();
    let trust = kubeconfig.ca_data().ok()?.iter().map(Certificate::ca_id).collect();
    Some(ConfState { issuer: Some(issuer), trust, not_after: certificate.not_after().as_second() })
}

/// Why the caller's credential could not be renewed on the way, if so.
pub(super) fn blocker(cluster: &Cluster) -> Option<Blocker> {
    let (path, kubeconfig) = open(&cluster.kubeconfig_path()?).ok()?;
    let masters = kubeconfig.client_certificate()?.organizations().iter().any(|group| group == MASTERS);
    let path = path.display();
    masters.then(|| Blocker {
        object: "kubeconfig".into(),
        problem: format!("{path}: its client certificate is in group {MASTERS}, which the CSR API signs for nobody"),
        remedy: "use a kubeconfig of another admin, for example /etc/kubernetes/admin.conf of a control-plane node"
            .into(),
    })
}

/// Has a certificate signed and sees by whom; writes the caller's kubeconfig when it has a certificate of the cluster CA.
/// The old file stays beside it. Returns the CA that signed, `None` when nothing had to be signed.
///
/// # Errors
/// The CSR API, the file, or a signer other than the one wanted.
pub(super) async fn renew(
    cluster: &Cluster,
    record: &Record,
    wanted: Wanted<'_>,
    trust: &[CaId],
) -> Result<Option<CaId>, Error> {
    let held = read(cluster, record);
    let path = cluster.kubeconfig_path().filter(|_| held.is_some());
    let Some(path) = path else {
        let key = new_key(None)?;
        return sign(cluster, record, PROBE_USER, &[], &key, wanted).await.map(|(_, signer)| Some(signer));
    };
    let (path, mut kubeconfig) = open(&path)?;
    let mut signer = None;
    if held.and_then(|held| held.issuer).as_ref() != Some(wanted.issuer) {
        let old = kubeconfig
            .client_certificate()
            .ok_or_else(|| Error::failed(format!("{}: holds no client certificate", path.display())))?;
        let key = new_key(old.key_algorithm())?;
        let (certificate, by) =
            sign(cluster, record, old.common_name().unwrap_or_default(), old.organizations(), &key, wanted).await?;
        kubeconfig.set_client(&certificate, &key);
        signer = Some(by);
        keep_old(&path, record)?;
    }
    kubeconfig.set_ca_data(&record.certificates(trust));
    let yaml = kubeconfig.to_yaml().map_err(|error| Error::failed(format!("{}: {error}", path.display())))?;
    files::replace(&path, yaml.as_bytes(), files::SECRET).map_err(Error::from_display)?;
    Ok(signer)
}

fn open(path: &Path) -> Result<(PathBuf, Kubeconfig), Error> {
    let failed = |error: String| Error::failed(format!("cannot read your kubeconfig {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Ok((
        path.to_path_buf(),
        Kubeconfig::parse(&zeroize::Zeroizing::new(text)).map_err(|error| failed(error.to_string()))?,
    ))
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
    let pem = csr::sign(cluster, &request, csr::CLIENT, true, lifetime, SIGNED).await.map_err(Error::from_display)?;
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

/// `config` stays as `config.ca-1`, named after the CAVersion that it is of; an older copy is not overwritten.
fn keep_old(path: &Path, record: &Record) -> Result<(), Error> {
    let version = record.completed;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".ca-{version}"));
    let copy = PathBuf::from(name);
    if copy.exists() {
        return Ok(());
    }
    let bytes = zeroize::Zeroizing::new(
        std::fs::read(path).map_err(|error| Error::failed(format!("cannot read {}: {error}", path.display())))?,
    );
    files::replace(&copy, &bytes, files::SECRET).map_err(Error::from_display)
}
