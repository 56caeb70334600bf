//! One match from an operation of a plan to the calls that bring it about; each may be repeated after a crash.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use super::authorities::{Authorities, read_key};
use super::error::{BoxError, NodeError};
use super::layout::{CA_CERT, CA_KEY, Layout, SIGNER};
use super::loaded::{History, digest};
use super::observe::Node;
use super::systemd::KUBELET;
use super::{atomic, journal, key_files, manifest};
use crate::pki::{CaId, Certificate, CertificateAuthority, KeyAlgorithm, Kubeconfig, PrivateKey};
use crate::plan::row::issuer_of;
use crate::plan::{Component, Conf, Leaf, Op};

pub(super) mod kubelet;

/// kubeadm's lifetime of leaves (`constants.CertificateValidityPeriod`), and the longest that certctl gives by itself.
pub const ONE_YEAR: SignedDuration = SignedDuration::from_hours(8760);

/// The UID of a static pod that has a mirror, if any.
pub type Mirror = Result<Option<String>, BoxError>;

/// What an operation needs from the cluster, which this module must not know.
pub struct Callbacks {
    /// Called as soon as the old container of a component is gone: the place to release its leader Lease. It only makes things
    /// faster, so it returns nothing.
    pub component_gone: Box<dyn Fn(Component) -> BoxFuture<'static, ()> + Send + Sync>,
    /// Called when a component is about to present a certificate of this CA for the first time; returns when the node's API server admits
    /// clients of it.
    pub admitted: Box<dyn Fn(CaId) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>,
    /// The UID of the static pod of which the API server has a mirror for this component (annotation `kubernetes.io/config.hash`); `None`
    /// when it has none.
    pub mirror: Box<dyn Fn(Component) -> BoxFuture<'static, Mirror> + Send + Sync>,
    /// Called when the new container runs; returns when the component says that it is healthy.
    pub component_ready: Box<dyn Fn(Component) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>,
    /// Takes a PEM certificate request for the kubelet and returns the PEM certificate (CSR API, signer
    /// `kubernetes.io/kube-apiserver-client-kubelet`, asked with the kubelet's own certificate).
    pub sign_kubelet_client: Box<dyn Fn(String) -> BoxFuture<'static, Result<String, BoxError>> + Send + Sync>,
    /// The same for the kubelet's serving certificate (signer `kubernetes.io/kubelet-serving`): somebody must approve it.
    pub sign_kubelet_serving: Box<dyn Fn(String) -> BoxFuture<'static, Result<String, BoxError>> + Send + Sync>,
}

/// What operations work with.
pub struct ApplyContext<'a> {
    /// The machine.
    pub node: &'a Node,
    /// CA certificates, crosses and keys.
    pub authorities: &'a Authorities,
    /// Name of the rotation: the journal's column and the folder of back-ups, with a number behind it from the second attempt on.
    pub rotation: &'a str,
    /// Lifetime of what is issued; `None`: as long as the certificate that it replaces had, at most 8760 h.
    pub validity: Option<SignedDuration>,
    /// The present.
    pub now: Timestamp,
    /// The cluster's part.
    pub callbacks: &'a Callbacks,
}

/// Brings one operation about. A second time it changes nothing, except that restarts restart again.
///
/// # Errors
/// The first failing call. Files are then each in their old or new version, and the same call may be made again.
pub async fn apply(op: &Op, context: &ApplyContext<'_>) -> Result<(), NodeError> {
    let attempt = journal::attempt(context.node.layout(), context.rotation);
    let context = &ApplyContext { rotation: &attempt, ..*context };
    let text = op.to_string();
    let started = Instant::now();
    let note = |event: &str, problem: Option<&str>| {
        let now = SignedDuration::try_from(started.elapsed()).map_or(context.now, |elapsed| context.now + elapsed);
        journal::note(context.node.layout(), now, context.rotation, event, &text, problem)
    };
    note("begin", None)?;
    let result = match op {
        Op::RestartKubelet => context.node.systemd().restart(KUBELET).await.map(|_| ()),
        Op::RestartStaticPod { component, own_signer, during } => {
            restart(*component, *own_signer, during, context).await
        }
        Op::ReissueKubeletClient(issuer) => kubelet::client(issuer, context).await,
        Op::ReissueKubeletServing { issuer, vouched_by } => kubelet::serving(issuer, vouched_by, context).await,
        write => files(write, context),
    };
    match result {
        Ok(()) => note("done", None),
        Err(error) => {
            note("failed", Some(&error.to_string()))?;
            Err(error)
        }
    }
}

async fn restart(
    component: Component,
    own_signer: Option<bool>,
    during: &[Op],
    context: &ApplyContext<'_>,
) -> Result<(), NodeError> {
    let while_away = async || {
        let gone = (context.callbacks.component_gone)(component);
        let writes = async { during.iter().try_for_each(|op| files(op, context)) };
        let ((), written) = tokio::join!(gone, writes);
        written?;
        admission(component, context).await;
        Ok(())
    };
    let edit = |yaml: &str| own_signer.map_or_else(|| Ok(yaml.to_owned()), |own| manifest::with_kcm_signer(yaml, own));
    let place = context.node.layout().manifest(component);
    if place.exists() {
        back_up(&place, context.node.layout(), context.rotation)?;
    }
    // Two restarts within one second must differ too: the pod's UID is a hash of the content.
    let stamp = context.now.to_string();
    let mirror = async || (context.callbacks.mirror)(component).await;
    context.node.static_pods().restart(component, &stamp, while_away, edit, mirror).await?;
    (context.callbacks.component_ready)(component).await.map_err(|source| NodeError::Callback {
        what: format!("{} has started but is not healthy", component.name()),
        source,
    })
}

/// Waits until the node's API server admits clients of the CA whose certificate the component presents next: it reloads `ca.crt` by itself, and
/// a moment after it was written. Should it not, the component is put back all the same: beside what was written, only the new manifest works.
async fn admission(component: Component, context: &ApplyContext<'_>) {
    let conf = match component {
        Component::KubeControllerManager => Conf::ControllerManager,
        Component::KubeScheduler => Conf::Scheduler,
        Component::Etcd | Component::KubeApiserver => return,
    };
    let text = zeroize::Zeroizing::new(fs::read_to_string(context.node.layout().conf(conf)).unwrap_or_default());
    let client = Kubeconfig::parse(&text).ok().and_then(|kubeconfig| kubeconfig.client_certificate());
    let known: Vec<Certificate> = context.authorities.certificates().cloned().collect();
    let Some(ca) = client.and_then(|client| issuer_of(&client, &known)) else { return };
    if let Err(error) = (context.callbacks.admitted)(ca).await {
        tracing::warn!(component = component.name(), %error, "it starts although its API server is not seen to admit it");
    }
}

/// The operations that only write files.
fn files(op: &Op, context: &ApplyContext<'_>) -> Result<(), NodeError> {
    match op {
        Op::WriteBundle(cas) => {
            let certificates = all(cas, context)?;
            replace(CA_CERT, pem(certificates.into_iter()).as_bytes(), atomic::PUBLIC, context)
        }
        Op::WriteSigner(ca) => {
            let authority = context.authorities.authority(ca)?;
            let mut pair = zeroize::Zeroizing::new(authority.certificate().to_pem());
            pair.push_str(&authority.key().to_pem());
            replace(SIGNER, pair.as_bytes(), atomic::SECRET, context)
        }
        Op::RemoveSigner => remove_signer(context),
        Op::WriteCaKey(ca) => {
            // The key that is replaced must stand in certctl's folder first: it may be the only copy on this node.
            context.authorities.clone().import_stock()?;
            let authority = context.authorities.authority(ca)?;
            replace(CA_KEY, authority.key().to_pem().as_bytes(), atomic::SECRET, context)
        }
        Op::ReissueLeaf { leaf, issuer, vouched_by } => reissue_leaf(*leaf, issuer, vouched_by, context),
        Op::WriteConf { conf, issuer, trust } => write_conf(*conf, issuer.as_ref(), trust, context),
        Op::RestartKubelet
        | Op::RestartStaticPod { .. }
        | Op::ReissueKubeletClient(_)
        | Op::ReissueKubeletServing { .. } => Err(NodeError::Manifest {
            path: op.files().join(", "),
            problem: "a restart cannot take place while a static pod is out".to_owned(),
        }),
    }
}

fn remove_signer(context: &ApplyContext<'_>) -> Result<(), NodeError> {
    let layout = context.node.layout();
    if key_files::signer_in_use(layout) {
        let problem = "kube-controller-manager still signs with it".to_owned();
        return Err(NodeError::Manifest { path: SIGNER.to_owned(), problem });
    }
    key_files::remove_signer(layout)
}

fn reissue_leaf(leaf: Leaf, issuer: &CaId, vouched_by: &[CaId], context: &ApplyContext<'_>) -> Result<(), NodeError> {
    let layout = context.node.layout();
    let named = layout.on_node(&layout.leaf(leaf));
    let old = first_certificate(&layout.leaf(leaf), &named)?;
    let key_named = layout.on_node(&layout.leaf_key(leaf));
    let key = required_key(&layout.leaf_key(leaf), &key_named)?;
    let new = if issued_by(&old, issuer, context) && key.matches(&old) {
        old
    } else {
        let authority = context.authorities.authority(issuer)?;
        reissue(&authority, &old, key.spki_der(), context).map_err(NodeError::issue(leaf.name()))?
    };
    let chain = chain(&new, issuer, vouched_by, context)?;
    replace(&named, chain.as_bytes(), atomic::PUBLIC, context)
}

/// A leaf and the cross-signed certificates of its issuer behind it, PEM.
fn chain(
    leaf: &Certificate,
    issuer: &CaId,
    vouched_by: &[CaId],
    context: &ApplyContext<'_>,
) -> Result<String, NodeError> {
    let crosses: Result<Vec<&Certificate>, NodeError> =
        vouched_by.iter().map(|signer| context.authorities.cross(issuer, signer)).collect();
    Ok(pem(std::iter::once(leaf).chain(crosses?)))
}

fn write_conf(conf: Conf, issuer: Option<&CaId>, trust: &[CaId], context: &ApplyContext<'_>) -> Result<(), NodeError> {
    let layout = context.node.layout();
    let path = layout.conf(conf);
    let named = layout.on_node(&path);
    let text = zeroize::Zeroizing::new(fs::read_to_string(&path).map_err(NodeError::io("read", &path))?);
    let broken = || NodeError::pki(named.clone());
    let mut kubeconfig = Kubeconfig::parse(&text).map_err(broken())?;
    let trusted: Vec<Certificate> = all(trust, context)?.into_iter().cloned().collect();
    kubeconfig.set_ca_data(&trusted);
    let client = kubeconfig.client_certificate();
    if let (Some(issuer), Some(old)) = (issuer, client)
        && !issued_by(&old, issuer, context)
    {
        let authority = context.authorities.authority(issuer)?;
        // A new key: the file is one, so that certificate and key switch together.
        let algorithm = old.key_algorithm().unwrap_or(KeyAlgorithm::Rsa2048);
        let key = PrivateKey::generate(algorithm).map_err(NodeError::issue(named.as_str()))?;
        let new = reissue(&authority, &old, key.spki_der(), context).map_err(NodeError::issue(named.as_str()))?;
        kubeconfig.set_client(&new, &key);
    }
    let yaml = kubeconfig.to_yaml().map_err(broken())?;
    if conf == Conf::Kubelet && *yaml != *text {
        remember(digest(yaml.as_bytes()), layout)?;
    }
    replace(&named, yaml.as_bytes(), atomic::SECRET, context)
}

/// Notes a file of the kubelet as written by certctl, before it is: only then is a file that is not noted the kubelet's own.
pub(super) fn remember(digest: String, layout: &Layout) -> Result<(), NodeError> {
    let mut history = History::open(layout)?;
    history.writes(digest);
    history.save(layout)
}

fn reissue(
    authority: &CertificateAuthority,
    old: &Certificate,
    public_spki: &[u8],
    context: &ApplyContext<'_>,
) -> Result<Certificate, crate::pki::PkiError> {
    // kubeadm init dates client certificates of kubeconfigs back to the CA's notBefore, so a long life is no promise.
    let lived = old.not_after().duration_since(old.not_before());
    let validity = context.validity.unwrap_or_else(|| lived.min(ONE_YEAR));
    authority.reissue(old, public_spki, validity, context.now)
}

fn issued_by(certificate: &Certificate, issuer: &CaId, context: &ApplyContext<'_>) -> bool {
    let expired = certificate.not_after() <= context.now;
    let known: Vec<Certificate> = context.authorities.certificate(issuer).into_iter().cloned().collect();
    !expired && issuer_of(certificate, &known).as_ref() == Some(issuer)
}

fn all<'a>(cas: &[CaId], context: &ApplyContext<'a>) -> Result<Vec<&'a Certificate>, NodeError> {
    cas.iter().map(|ca| context.authorities.certificate(ca)).collect()
}

fn pem<'a>(certificates: impl Iterator<Item = &'a Certificate>) -> String {
    certificates.map(Certificate::to_pem).collect()
}

fn first_certificate(path: &Path, named: &str) -> Result<Certificate, NodeError> {
    let pem = zeroize::Zeroizing::new(fs::read(path).map_err(NodeError::io("read", path))?);
    Certificate::first_from_pem(&pem).map_err(NodeError::pki(named))
}

fn required_key(path: &Path, named: &str) -> Result<PrivateKey, NodeError> {
    let missing = || NodeError::io("read", path)(std::io::ErrorKind::NotFound.into());
    read_key(path, named)?.ok_or_else(missing)
}

/// Writes a file of the node unless it already has this content; its first version is kept.
fn replace(named: &str, content: &[u8], mode: u32, context: &ApplyContext<'_>) -> Result<(), NodeError> {
    let path = context.node.layout().path(named);
    match fs::read(&path).map(zeroize::Zeroizing::new) {
        Ok(old) if old.as_slice() == content => return Ok(()),
        Ok(_) => back_up(&path, context.node.layout(), context.rotation)?,
        Err(_) => {
            if let Some(folder) = path.parent() {
                atomic::private_folder(folder)?;
            }
        }
    }
    atomic::replace(&path, content, mode)
}

/// Copies the first version of a file to `backup/NAME/PATH`, private whatever its mode was: keys are among them.
pub(super) fn back_up(path: &Path, layout: &Layout, name: &str) -> Result<(), NodeError> {
    let on_node = layout.on_node(path);
    let copy: PathBuf = layout.backup(name).join(on_node.trim_start_matches('/'));
    if copy.exists() {
        return Ok(());
    }
    if let Some(folder) = copy.parent() {
        atomic::private_folder(folder)?;
    }
    let content = zeroize::Zeroizing::new(fs::read(path).map_err(NodeError::io("read", path))?);
    atomic::replace(&copy, &content, atomic::SECRET)
}
