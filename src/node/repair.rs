//! Repair of a node whose certificates have expired, are lost or do not fit, on the node itself: files only, so also with nothing running.
//!
//! The order of writes: the snapshot, complete before anything changes; everything new beside the old, so that a full disk shows here; then
//! each certificate together with its key by one rename; the kubelet's two symlinks last. A crash leaves certificates that are old or new,
//! each with its key, and the same command goes on.

mod facts;
mod seeing;
mod snapshot;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::apply::{ONE_YEAR, remember};
use super::error::NodeError;
use super::layout::{KUBELET_CLIENT, Layout};
use super::loaded::digest;
use super::renewal::{
    Signed, authority, enough_space, on_node, read_signed_by, set, sign_with, small_file, unusable, write_requests,
};
use super::switch::{FileSet, NewFile, replace_all};
use super::{atomic, journal};
use crate::pki::{Certificate, CertificateAuthority, Kubeconfig};
use crate::plan::Conf;
use crate::plan::renewal::{AuthorityName, CertificateName, Item, Place, made_for};
use crate::plan::repair::{Plan, Prolonged};

pub use seeing::{last_life, see};
pub use snapshot::PutBack;
use snapshot::Snapshot;

/// What a repair has written.
#[derive(Debug)]
pub struct Written {
    /// The certificates in their places.
    pub signed: Vec<Signed>,
    /// Folder of the state before, on the node.
    pub snapshot: String,
}

/// Paths on the node of what the last repair has replaced and nobody has since: whoever had loaded it before works with the old.
///
/// # Errors
/// The snapshot cannot be read.
pub fn replaced(layout: &Layout) -> Result<Vec<String>, NodeError> {
    Ok(Snapshot::last(layout)?.map(|snapshot| snapshot.changed()).unwrap_or_default())
}

/// The Node's name, as far as the node's files tell it.
#[must_use]
pub fn node_name(layout: &Layout) -> Option<String> {
    facts::node_name(layout)
}

/// Writes what the plan says is made here, and `brought`, which was signed elsewhere.
///
/// # Errors
/// The failing call. Everything is then as it was, except where the error says that only tidying up failed.
pub fn write(layout: &Layout, plan: &Plan, brought: Vec<Signed>, now: Timestamp) -> Result<Written, NodeError> {
    let mut signed = sign(layout, plan, now)?;
    signed.extend(brought);
    let sets = sets(layout, plan, &signed)?;
    enough_space(layout, &sets)?;
    let pairs: Vec<KubeletPair> = signed.iter().filter_map(|signed| KubeletPair::of(layout, signed, now)).collect();
    let new: Vec<String> = pairs.iter().map(|pair| pair.on_node.clone()).collect();
    let mut snapshot = Snapshot::take(layout, &new, now)?;
    let run = snapshot.name();
    let operation = operation(plan, &signed);
    let note = |event, problem: Option<&str>| journal::note(layout, now, &run, event, &operation, problem);
    let noted = note("begin", None).and_then(|()| snapshot.will_write(contents(layout, &sets, &pairs)));
    let changed = noted.and_then(|()| change(layout, &sets, &pairs, &mut snapshot));
    if let Err(error) = changed {
        // The first error is the one to report: on a full disk the records fail too.
        let _ = note("failed", Some(&error.to_string()));
        if snapshot.changed().is_empty() {
            let _ = snapshot.give_up();
        }
        return Err(error);
    }
    // The certificates are in their places, whatever becomes of the records.
    if let Err(error) = snapshot.finish().and_then(|()| note("done", None)) {
        tracing::warn!(%error, "the records of the repair are not complete");
    }
    Ok(Written { signed, snapshot: snapshot.on_node() })
}

/// Puts back the state before the last repair, but for what was written by others since; the folder of the snapshot. `None` without one.
///
/// # Errors
/// The failing call; the same command then goes on.
pub fn undo(layout: &Layout, now: Timestamp) -> Result<Option<(String, PutBack)>, NodeError> {
    let Some(mut snapshot) = Snapshot::last(layout)? else { return Ok(None) };
    let run = snapshot.name();
    journal::note(layout, now, &run, "begin", "undo the repair", None)?;
    let back = snapshot.put_back()?;
    journal::note(layout, now, &run, "done", "undo the repair", None)?;
    Ok(Some((snapshot.on_node(), back)))
}

fn operation(plan: &Plan, signed: &[Signed]) -> String {
    let authorities = plan.authorities.iter().map(|authority| format!("the {} CA", authority.name));
    let all: Vec<String> = authorities.chain(signed.iter().map(|signed| signed.name.to_string())).collect();
    format!("repair {}", all.join(", "))
}

fn sign(layout: &Layout, plan: &Plan, now: Timestamp) -> Result<Vec<Signed>, NodeError> {
    let items: Vec<Item> = plan.steps.iter().map(|step| step.item.clone()).collect();
    let mut authorities = BTreeMap::new();
    for name in AuthorityName::ALL.into_iter().filter(|name| items.iter().any(|item| item.name.authority() == *name)) {
        let stands = authority(layout, name)?;
        let successor = plan.authorities.iter().find(|authority| authority.name == name);
        let signer = match successor {
            Some(Prolonged { successor, .. }) => CertificateAuthority::new(successor.clone(), stands.key().clone())
                .map_err(NodeError::pki(name.key()))?,
            None => stands,
        };
        authorities.insert(name, signer);
    }
    sign_with(layout, &items, &authorities, now)
}

fn change(
    layout: &Layout,
    sets: &[FileSet],
    pairs: &[KubeletPair],
    snapshot: &mut Snapshot<'_>,
) -> Result<(), NodeError> {
    // Only whether a process has loaded a file is remembered here: not worth to fail for.
    if let Err(error) = remember_new(layout, sets, pairs) {
        tracing::warn!(%error, "the history of this node could not be kept");
    }
    let staged = pairs.iter().try_for_each(|pair| pair.stage(layout));
    if let Err(error) = staged.and_then(|()| replace_all(sets)) {
        if !matches!(error, NodeError::Callback { .. }) {
            pairs.iter().for_each(|pair| pair.unstage(layout));
        }
        return Err(error);
    }
    let Err(error) = pairs.iter().try_for_each(|pair| pair.switch(layout)) else { return Ok(()) };
    match snapshot.put_back() {
        Ok(_) => Err(error),
        Err(second) => Err(NodeError::Callback {
            what: format!("{error}; and the old files could not be put back: `certctl repair --undo` does it"),
            source: Box::new(second),
        }),
    }
}

/// Path on the node and content of everything that is about to be written; of a link, its target.
fn contents<'c>(
    layout: &'c Layout,
    sets: &'c [FileSet],
    pairs: &'c [KubeletPair],
) -> impl Iterator<Item = (String, &'c [u8])> {
    let named = |set: &'c FileSet| set.files.iter().map(move |file| (set.folder.join(&file.name), &file.content));
    let files = sets.iter().flat_map(named).map(|(path, content)| (layout.on_node(&path), content.as_slice()));
    let stored = pairs.iter().map(|pair| (pair.on_node.clone(), pair.content.as_slice()));
    let links = pairs.iter().map(|pair| (pair.link.to_owned(), pair.on_node.as_bytes()));
    files.chain(stored).chain(links)
}

fn remember_new(layout: &Layout, sets: &[FileSet], pairs: &[KubeletPair]) -> Result<(), NodeError> {
    let kubelet_conf = layout.conf(Conf::Kubelet);
    for set in sets {
        for file in set.files.iter().filter(|file| set.folder.join(&file.name) == kubelet_conf) {
            remember(digest(&file.content), layout)?;
        }
    }
    pairs.iter().try_for_each(|pair| remember(pair.fingerprint.clone(), layout))
}

/// Certificate and key of the kubelet in one file, under the kubelet's own naming.
struct KubeletPair {
    link: &'static str,
    on_node: String,
    content: Zeroizing<Vec<u8>>,
    fingerprint: String,
}

impl KubeletPair {
    fn of(layout: &Layout, signed: &Signed, now: Timestamp) -> Option<Self> {
        let Place::Linked(link) = signed.name.place() else { return None };
        let mut content = Zeroizing::new(signed.pem().into_bytes());
        content.extend_from_slice(signed.key.to_pem().as_bytes());
        let stem = link.trim_end_matches("-current.pem");
        let named = |time: Timestamp| format!("{stem}-{}.pem", time.strftime("%Y-%m-%d-%H-%M-%S"));
        // Never over a file that is there: it may be the one in use.
        let times = (0..).map(|seconds| now + jiff::SignedDuration::from_secs(seconds));
        let on_node = times.map(named).find(|name| !layout.path(name).exists())?;
        Some(Self { link, on_node, content, fingerprint: signed.certificate.fingerprint() })
    }

    fn stage(&self, layout: &Layout) -> Result<(), NodeError> {
        let path = layout.path(&self.on_node);
        if let Some(folder) = path.parent() {
            atomic::private_folder(folder)?;
        }
        atomic::replace(&path, &self.content, atomic::SECRET)
    }

    fn unstage(&self, layout: &Layout) {
        if let Err(error) = atomic::remove(&layout.path(&self.on_node)) {
            tracing::warn!(path = self.on_node, %error, "a file that nothing uses is left");
        }
    }

    fn switch(&self, layout: &Layout) -> Result<(), NodeError> {
        atomic::replace_symlink(&layout.path(self.link), Path::new(&self.on_node))
    }
}

/// Every file that is replaced: CAs, pairs, kubeconfigs.
fn sets(layout: &Layout, plan: &Plan, signed: &[Signed]) -> Result<Vec<FileSet>, NodeError> {
    let mut sets = Vec::new();
    for Prolonged { name, successor, .. } in &plan.authorities {
        let mut bundle = bundle(layout, *name);
        let own = bundle.iter_mut().find(|certificate| certificate.ca_id() == successor.ca_id());
        *own.ok_or_else(|| unusable(name.certificate(), "it has changed meanwhile".to_owned()))? = successor.clone();
        let pem: String = bundle.iter().map(Certificate::to_pem).collect();
        sets.push(one_file(&layout.path(name.certificate()), Zeroizing::new(pem.into_bytes()), atomic::PUBLIC));
    }
    let new = plan.authorities.iter().find(|authority| authority.name == AuthorityName::Cluster);
    let trusted = Trusted { layout, successor: new.map(|authority| &authority.successor) };
    for signed in signed {
        match signed.name {
            CertificateName::Conf(conf) => sets.push(trusted.conf(conf, Some(signed))?),
            _ => sets.extend(set(layout, signed)?),
        }
    }
    for conf in &plan.trust {
        sets.push(trusted.conf(*conf, None)?);
    }
    Ok(sets)
}

fn one_file(path: &Path, content: Zeroizing<Vec<u8>>, mode: u32) -> FileSet {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    FileSet { folder, name: name.clone(), files: vec![NewFile { name, content, mode }] }
}

fn bundle(layout: &Layout, name: AuthorityName) -> Vec<Certificate> {
    let pem = small_file(layout, name.certificate()).ok().flatten().unwrap_or_default();
    Certificate::each_from_pem(&pem).into_iter().flatten().collect()
}

/// What kubeconfigs trust from now on.
struct Trusted<'a> {
    layout: &'a Layout,
    successor: Option<&'a Certificate>,
}

impl Trusted<'_> {
    fn conf(&self, conf: Conf, signed: Option<&Signed>) -> Result<FileSet, NodeError> {
        let named = on_node(conf);
        let mut kubeconfig = match seeing::kubeconfig(self.layout, conf) {
            Some(kubeconfig) => kubeconfig,
            None => self.stock(conf, signed)?,
        };
        let trusted = kubeconfig.ca_data().unwrap_or_default();
        if trusted.is_empty() && kubeconfig.ca_file().is_none() {
            kubeconfig.set_ca_data(&self.in_force());
        } else if trusted.iter().any(|ca| *ca != self.current(ca)) {
            kubeconfig.set_ca_data(&trusted.iter().map(|ca| self.current(ca)).collect::<Vec<_>>());
        }
        if let Some(signed) = signed {
            kubeconfig.set_client(&signed.certificate, &signed.key);
        }
        let yaml = kubeconfig.to_yaml().map_err(NodeError::pki(named))?;
        let content = Zeroizing::new(yaml.as_bytes().to_vec());
        Ok(one_file(&self.layout.conf(conf), content, atomic::SECRET))
    }

    /// `pki/ca.crt`, as it is from now on.
    fn in_force(&self) -> Vec<Certificate> {
        let mut bundle = bundle(self.layout, AuthorityName::Cluster);
        if let Some(successor) = self.successor
            && let Some(own) = bundle.iter_mut().find(|ca| ca.ca_id() == successor.ca_id())
        {
            *own = successor.clone();
        }
        bundle
    }

    /// The CA's certificate from now on, for one that may be an old certificate of the same key.
    fn current(&self, ca: &Certificate) -> Certificate {
        self.in_force().into_iter().find(|new| new.ca_id() == ca.ca_id()).unwrap_or_else(|| ca.clone())
    }

    /// As kubeadm writes one (`cmd/kubeadm/app/util/kubeconfig/kubeconfig.go`, `CreateBasic`).
    fn stock(&self, conf: Conf, signed: Option<&Signed>) -> Result<Kubeconfig, NodeError> {
        let named = on_node(conf);
        let lost = |problem: &str| unusable(&named, problem.to_owned());
        let user = signed.and_then(|signed| signed.certificate.common_name().map(str::to_owned));
        let user = user.ok_or_else(|| lost("it cannot be read, and no certificate is made for it"))?;
        let server = facts::server(self.layout, conf)
            .ok_or_else(|| lost("no kubeconfig is left that says where the API server is"))?;
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (user, server, context) = (quoted(&user), quoted(&server), quoted(&format!("{user}@kubernetes")));
        let text = format!(
            "apiVersion: v1\nkind: Config\npreferences: {{}}\ncurrent-context: {context}\n\
             clusters:\n- name: kubernetes\n  cluster:\n    server: {server}\n\
             contexts:\n- name: {context}\n  context:\n    cluster: kubernetes\n    user: {user}\n\
             users:\n- name: {user}\n  user: {{}}\n"
        );
        Kubeconfig::parse(&text).map_err(NodeError::pki(named))
    }
}

/// Where requests wait for their certificates.
#[must_use]
pub fn requests_folder(layout: &Layout) -> PathBuf {
    layout.path(super::layout::STATE).join("requests")
}

/// The certificates of every CA on this node: what another node may need, and nothing secret.
#[must_use]
pub fn authorities(layout: &Layout) -> Vec<Certificate> {
    AuthorityName::ALL.into_iter().flat_map(|name| bundle(layout, name)).collect()
}

/// Those of `certificates` that answer a request of the plan: they are for the key that was made for it.
///
/// # Errors
/// A certificate is for the right key and yet not what was asked for; a file cannot be read or written.
pub fn answered(
    layout: &Layout,
    plan: &Plan,
    certificates: &[Certificate],
    now: Timestamp,
) -> Result<Vec<Signed>, NodeError> {
    let folder = requests_folder(layout);
    let mut items = Vec::new();
    for item in plan.requests.iter().map(|step| &step.item) {
        let key = folder.join(format!("{}.key", item.name));
        let Some(key) = super::authorities::read_key(&key, &key.display().to_string())? else { continue };
        if let Some(certificate) = certificates.iter().find(|certificate| key.matches(certificate)) {
            let path = folder.join(format!("{}.crt", item.name));
            atomic::replace(&path, certificate.to_pem().as_bytes(), atomic::PUBLIC)?;
            items.push(item.clone());
        }
    }
    let successors: Vec<Certificate> = plan.authorities.iter().map(|authority| authority.successor.clone()).collect();
    read_signed_by(layout, &items, &folder, &successors, now)
}

/// Writes a request for each certificate that is to be signed elsewhere; what stands in the files, PEM, by certificate. A key that was made for
/// an earlier request is taken again.
///
/// # Errors
/// A file cannot be read or written.
pub fn request(layout: &Layout, plan: &Plan) -> Result<Vec<(CertificateName, String)>, NodeError> {
    let items: Vec<Item> = plan.requests.iter().map(|step| step.item.clone()).collect();
    let paths = write_requests(layout, &items, &requests_folder(layout))?;
    let read = |path: PathBuf| std::fs::read_to_string(&path).map_err(NodeError::io("read", &path));
    items.iter().zip(paths).map(|(item, path)| Ok((item.name, read(path)?))).collect()
}

/// A client certificate of the cluster CA for somebody else's key: of `validity`, or as long as the certificate of this node's own kubelet.
///
/// # Errors
/// The CA cannot sign here, or not at this time.
pub fn sign_client(
    layout: &Layout,
    (user, groups): (&str, &[String]),
    public_spki: &[u8],
    validity: Option<SignedDuration>,
    now: Timestamp,
) -> Result<Certificate, NodeError> {
    let ca = authority(layout, AuthorityName::Cluster)?;
    let own = small_file(layout, KUBELET_CLIENT).ok().flatten();
    let own = own.and_then(|pem| Certificate::first_from_pem(&pem).ok());
    let validity = validity.or(own.as_ref().map(made_for)).unwrap_or(ONE_YEAR);
    ca.issue_client(user, groups, public_spki, validity, now)
        .map_err(NodeError::issue(format!("a certificate for {user}")))
}

/// Removes what was kept for requests that are answered: the keys are in their places now.
///
/// # Errors
/// A file cannot be removed.
pub fn forget_requests(layout: &Layout, answered: &[CertificateName]) -> Result<(), NodeError> {
    let folder = requests_folder(layout);
    let files = answered.iter().flat_map(|name| ["csr", "crt", "key"].map(|end| folder.join(format!("{name}.{end}"))));
    files.filter(|path| path.exists()).try_for_each(|path| atomic::remove(&path))
}

#[cfg(test)]
mod tests;
