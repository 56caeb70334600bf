//! Renewal of a node's leaf certificates on the node itself: what stands there, new keys and certificates, and the change of the files.
//!
//! Works on files alone, so also with the API server down and on a root that is mounted elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::sys::statvfs::{FsFlags, statvfs};
use zeroize::Zeroizing;

use super::apply::kubelet::move_on;
use super::apply::{back_up, remember};
use super::error::NodeError;
use super::key_files::files_below;
use super::layout::{CA_CERT, Layout, MANIFESTS, PARKED, SIGNER, STATE};
use super::loaded::digest;
use super::repair::requests_folder;
use super::switch::{FileSet, NewFile, Recovered, recover, replace_all};
use super::{atomic, backups, journal};
use crate::pki::{Certificate, CertificateAuthority, Kubeconfig, PkiError, PrivateKey};
use crate::plan::Conf;
use crate::plan::renewal::{AuthorityName, CertificateName, Item, Place};

mod asked;
mod inventory;
mod requests;

pub use asked::{received, request, standing};
pub use inventory::inventory;
pub(super) use inventory::{kept_key, on_node, pair, signer, small_file};
pub(super) use requests::read_signed_by;
pub use requests::{read_signed, write_requests};

/// How many runs' back-ups are kept: they hold private keys of certificates that may still be valid.
const RUNS_KEPT: usize = 3;
/// Names of back-ups start with this.
const RUN: &str = "renew-";
/// What must stay free beside the new files, in bytes.
const SPARE: u64 = 256 * 1024;
/// The folders in which files are replaced.
const FOLDERS: [&str; 3] = ["/etc/kubernetes", "/etc/kubernetes/pki", "/etc/kubernetes/pki/etcd"];

/// A certificate that is ready to be put in its place.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Which.
    pub name: CertificateName,
    /// The new certificate.
    pub certificate: Certificate,
    /// What is sent behind it, as behind the old one.
    pub chain: Vec<Certificate>,
    /// Its key.
    pub key: PrivateKey,
    /// False when the key stays the one that is in its place already.
    pub new_key: bool,
}

/// Why nothing is renewed at this node by itself: a CA rotation decides here which CA signs what. `None` without one. A bundle on a node on
/// which certctl keeps no CA is the administrator's own.
#[must_use]
pub fn rotation_under_way(layout: &Layout) -> Option<String> {
    let trusted = Certificate::each_from_pem(&fs::read(layout.path(CA_CERT)).unwrap_or_default()).len();
    if trusted > 1 && layout.authorities().exists() {
        return Some(format!("{CA_CERT} holds {trusted} CAs"));
    }
    layout.path(SIGNER).exists().then(|| format!("kube-controller-manager has {SIGNER} as its signing file"))
}

/// Puts right what a renewal that was cut off has left: each certificate is then the old or the new one, with its key, and no temporary file is
/// left. To be called by whoever has the right to write.
///
/// # Errors
/// The failing call.
pub fn put_right(layout: &Layout) -> Result<Vec<Recovered>, NodeError> {
    let mut all = Vec::new();
    for folder in FOLDERS {
        all.extend(recover(&layout.path(folder))?);
    }
    for folder in FOLDERS.into_iter().chain(["/var/lib/kubelet/pki", MANIFESTS, PARKED, STATE]) {
        atomic::remove_leftovers(&layout.path(folder))?;
    }
    atomic::remove_leftovers(&requests_folder(layout))?;
    for path in files_below(&layout.backups())? {
        if atomic::is_leftover(&path) {
            atomic::remove(&path)?;
        }
    }
    Ok(all)
}

/// Makes the keys and the certificates. Nothing is written.
///
/// # Errors
/// A CA or a key that is to be kept cannot be read any more; a certificate cannot be made.
pub fn sign(layout: &Layout, items: &[Item], now: Timestamp) -> Result<Vec<Signed>, NodeError> {
    let mut authorities = BTreeMap::new();
    for name in items.iter().map(|item| item.name.authority()) {
        if let std::collections::btree_map::Entry::Vacant(slot) = authorities.entry(name) {
            slot.insert(authority(layout, name)?);
        }
    }
    sign_with(layout, items, &authorities, now)
}

/// As [`sign`], with authorities that may differ from those in the files.
pub(super) fn sign_with(
    layout: &Layout,
    items: &[Item],
    authorities: &BTreeMap<AuthorityName, CertificateAuthority>,
    now: Timestamp,
) -> Result<Vec<Signed>, NodeError> {
    let keys = keys(layout, items)?;
    let signed = items.iter().zip(keys).map(|(item, key)| {
        let authority = authorities.get(&item.name.authority()).ok_or_else(|| unusable("", "it is gone".into()))?;
        let issued = authority.reissue(&item.old, key.spki_der(), item.validity, now);
        let certificate = issued.map_err(NodeError::issue(item.name.name()))?;
        // Behind a certificate of another CA, the chain of the old one leads nowhere.
        let same = item.old.signed_by(authority.certificate());
        let chain = if same { chain_behind(layout, item.name) } else { Vec::new() };
        Ok(Signed { name: item.name, certificate, chain, key, new_key: item.new_key.is_some() })
    });
    signed.collect()
}

/// The name of a renewal: of its back-ups and in the journal.
#[must_use]
pub fn run_name(now: Timestamp) -> String {
    format!("{RUN}{}", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// A name that no renewal of this node had before: two may begin in the same second.
#[must_use]
pub fn free_run_name(layout: &Layout, now: Timestamp) -> String {
    backups::free_name(layout, run_name(now))
}

/// Puts the certificates in their places, each together with its key; the files that they replace go into the back-ups of `run`.
///
/// # Errors
/// The failing call. Everything is then as it was, except where the error says that only tidying up failed or that it could not be taken back,
/// which [`put_right`] makes good, or that a kubelet's own certificate, the last to be replaced, is not renewed.
pub fn write(layout: &Layout, signed: &[Signed], run: &str, now: Timestamp) -> Result<(), NodeError> {
    let sets = signed.iter().filter_map(|signed| set(layout, signed).transpose()).collect::<Result<Vec<_>, _>>()?;
    enough_space(layout, &sets)?;
    let names: Vec<&str> = signed.iter().map(|signed| signed.name.name()).collect();
    let operation = format!("renew {}", names.join(", "));
    let note = |event, problem: Option<&str>| journal::note(layout, now, run, event, &operation, problem);
    note("begin", None)?;
    match change(layout, signed, &sets, run, now) {
        Ok(()) => {
            // The certificates are renewed, whatever becomes of the records.
            if let Err(error) = note("done", None).and_then(|()| forget_old_runs(layout)) {
                tracing::warn!(%error, "the records of the renewal are not complete");
            }
            Ok(())
        }
        Err(error) => {
            // The first error is the one to report: on a full disk the journal fails too.
            let _ = note("failed", Some(&error.to_string()));
            Err(error)
        }
    }
}

fn change(layout: &Layout, signed: &[Signed], sets: &[FileSet], run: &str, now: Timestamp) -> Result<(), NodeError> {
    for set in sets {
        for path in set.files.iter().map(|file| set.folder.join(&file.name)).filter(|path| path.exists()) {
            back_up(&path, layout, run)?;
        }
    }
    let kubelet_conf = layout.conf(Conf::Kubelet);
    for file in sets.iter().flat_map(|set| set.files.iter().filter(|file| set.folder.join(&file.name) == kubelet_conf))
    {
        remember(digest(&file.content), layout)?;
    }
    replace_all(sets)?;
    let mut replaced = !sets.is_empty();
    for signed in signed {
        let Place::Linked(link) = signed.name.place() else { continue };
        let backed_up = back_up(&layout.resolve(&layout.path(link)), layout, run);
        let moved =
            backed_up.and_then(|()| move_on(link, &signed.certificate, &signed.pem(), &signed.key, layout, now));
        moved.map_err(|error| if replaced { only_partly(signed.name, error) } else { error })?;
        replaced = true;
    }
    Ok(())
}

/// Certificates that are in their places already stay there: each has its key.
fn only_partly(name: CertificateName, error: NodeError) -> NodeError {
    let what = format!("the other certificates are renewed, but {name} is not: run the same command again");
    NodeError::Callback { what, source: Box::new(error) }
}

/// The files of a certificate; `None` for what stands in one file behind a symlink, which one rename moves on.
pub(super) fn set(layout: &Layout, signed: &Signed) -> Result<Option<FileSet>, NodeError> {
    let file = |path: &Path, content: Zeroizing<Vec<u8>>, mode| NewFile { name: name_of(path), content, mode };
    let (first, files) = match signed.name.place() {
        Place::Linked(_) => return Ok(None),
        Place::Pair(stem) => {
            let [cert, key] = pair(stem).map(|on_node| layout.path(&on_node));
            // A mode that the administrator has made narrower stays so.
            let mode = fs::metadata(&cert).map_or(atomic::PUBLIC, |data| data.permissions().mode() & atomic::PUBLIC);
            let new = file(&cert, Zeroizing::new(signed.pem().into_bytes()), mode);
            let pem = signed.new_key.then(|| Zeroizing::new(signed.key.to_pem().as_bytes().to_vec()));
            (cert, pem.map(|pem| file(&key, pem, atomic::SECRET)).into_iter().chain([new]).collect::<Vec<_>>())
        }
        Place::Kubeconfig(conf) => {
            let (path, named) = (layout.conf(conf), on_node(conf));
            let text = Zeroizing::new(fs::read_to_string(&path).map_err(NodeError::io("read", &path))?);
            let mut kubeconfig = Kubeconfig::parse(&text).map_err(NodeError::pki(named.as_str()))?;
            kubeconfig.set_client(&signed.certificate, &signed.key);
            let yaml = kubeconfig.to_yaml().map_err(NodeError::pki(named))?;
            let content = Zeroizing::new(yaml.as_bytes().to_vec());
            (path.clone(), vec![file(&path, content, atomic::SECRET)])
        }
    };
    let folder = first.parent().map_or_else(|| layout.root().to_path_buf(), Path::to_path_buf);
    Ok(Some(FileSet { folder, name: signed.name.name().to_owned(), files }))
}

impl Signed {
    /// The certificate with what follows it, PEM.
    pub(super) fn pem(&self) -> String {
        std::iter::once(&self.certificate).chain(&self.chain).map(Certificate::to_pem).collect()
    }
}

/// Before anything is written: a full or read-only disk is told of at once, and by name.
pub(super) fn enough_space(layout: &Layout, sets: &[FileSet]) -> Result<(), NodeError> {
    let files = sets.iter().flat_map(|set| &set.files);
    let needed = files.clone().map(|file| file.content.len() as u64 + 4096).sum::<u64>() * 2 + SPARE;
    let names = files.count() as u64 * 2 + 16;
    let mut folders: Vec<PathBuf> = sets.iter().map(|set| set.folder.clone()).collect();
    folders.push(existing(&layout.backups()));
    folders.dedup();
    for folder in folders {
        let system =
            statvfs(&folder).map_err(|errno| NodeError::io("ask for the free space of", &folder)(errno.into()))?;
        // Some file systems count no inodes: they have always enough.
        let full = system.blocks_available().saturating_mul(system.fragment_size()) < needed
            || (system.files() > 0 && system.files_available() < names);
        if system.flags().contains(FsFlags::ST_RDONLY) {
            return Err(NodeError::io("write below", &folder)(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        if full {
            return Err(NodeError::io("write below", &folder)(io::ErrorKind::StorageFull.into()));
        }
    }
    Ok(())
}

fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(path).to_path_buf()
}

/// The newest back-ups stay; the names begin with their time.
fn forget_old_runs(layout: &Layout) -> Result<(), NodeError> {
    let runs = backups::named(layout, RUN)?;
    let surplus = runs.len().saturating_sub(RUNS_KEPT);
    for run in runs.into_iter().take(surplus) {
        fs::remove_dir_all(&run).map_err(NodeError::io("remove", &run))?;
    }
    Ok(())
}

/// RSA keys take the time of a renewal, so every processor makes some.
fn keys(layout: &Layout, items: &[Item]) -> Result<Vec<PrivateKey>, NodeError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len()).max(1);
    let share = |first: usize| items.iter().skip(first).step_by(threads).map(|item| key_of(layout, item)).collect();
    let made: Vec<Vec<Result<PrivateKey, NodeError>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let mut made: Vec<_> = made.into_iter().map(Vec::into_iter).collect();
    let died = || Err(NodeError::issue("a key")(PkiError::Crypto("make a key")));
    (0..items.len()).map(|index| made[index % threads].next().unwrap_or_else(died)).collect()
}

fn key_of(layout: &Layout, item: &Item) -> Result<PrivateKey, NodeError> {
    if let Some(algorithm) = item.new_key {
        return PrivateKey::generate(algorithm).map_err(NodeError::issue(item.name.name()));
    }
    key_in_place(layout, item.name)
}

fn key_in_place(layout: &Layout, name: CertificateName) -> Result<PrivateKey, NodeError> {
    let (path, key) = match name.place() {
        Place::Pair(stem) => {
            let [_, key] = pair(stem);
            let found = kept_key(layout, &key);
            (key, found)
        }
        Place::Linked(link) => (link.to_owned(), kept_key(layout, link)),
        Place::Kubeconfig(conf) => {
            let path = layout.conf(conf);
            let text = Zeroizing::new(fs::read_to_string(&path).map_err(NodeError::io("read", &path))?);
            let key = Kubeconfig::parse(&text).ok().and_then(|kubeconfig| kubeconfig.client_key());
            (on_node(conf), key.ok_or_else(|| "it holds no key that can be read".to_owned()))
        }
    };
    key.map_err(|problem| unusable(&path, problem))
}

pub(super) fn authority(layout: &Layout, name: AuthorityName) -> Result<CertificateAuthority, NodeError> {
    let certificate = signer(layout, name).map(|signer| signer.certificate);
    let certificate = certificate.ok_or_else(|| unusable(name.certificate(), "it holds no certificate".into()))?;
    let key = kept_key(layout, name.key()).map_err(|problem| unusable(name.key(), problem))?;
    CertificateAuthority::new(certificate, key).map_err(NodeError::pki(name.key()))
}

/// The CA certificates behind the leaf in its file.
fn chain_behind(layout: &Layout, name: CertificateName) -> Vec<Certificate> {
    let file = match name.place() {
        Place::Pair(stem) => pair(stem)[0].clone(),
        Place::Linked(link) => link.to_owned(),
        Place::Kubeconfig(_) => return Vec::new(),
    };
    let pem = small_file(layout, &file).ok().flatten().unwrap_or_default();
    Certificate::each_from_pem(&pem).into_iter().skip(1).flatten().collect()
}

pub(super) fn unusable(path: &str, problem: String) -> NodeError {
    NodeError::Credential { path: path.to_owned(), problem }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
