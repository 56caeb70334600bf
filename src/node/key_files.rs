//! Copies of CA keys outside certctl's own folder of authorities: found by what a file holds, not by its name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::authorities::read_public_half;
use super::error::NodeError;
use super::layout::{CA_KEY, Layout, SIGNER};
use super::{atomic, manifest};
use crate::pki::{CaId, PublicHalf};
use crate::plan::Component;

/// Removes every copy of the CA's private key from the back-ups and from the folder of kube-controller-manager's signing file.
///
/// # Errors
/// [`NodeError::KeyInUse`] before anything is removed; a file cannot be read or removed.
pub(super) fn purge(layout: &Layout, ca: &CaId) -> Result<(), NodeError> {
    let in_use = |user, path| NodeError::KeyInUse { ca: ca.clone(), user, path };
    // A key that cannot be read here is no reason: it is not this CA's as far as anybody can tell.
    if read_public_half(&layout.path(CA_KEY), CA_KEY).is_ok_and(|key| key.is_some_and(|key| key.ca_id() == *ca)) {
        return Err(in_use("kubeadm", CA_KEY));
    }
    let signer = layout.path(SIGNER);
    let folders = [Some(layout.backups()), signer.parent().map(Path::to_path_buf)];
    let files: Result<Vec<_>, NodeError> = folders.iter().flatten().map(|folder| holding(folder, ca)).collect();
    let files: Vec<PathBuf> = files?.into_iter().flatten().collect();
    if files.contains(&signer) && signer_in_use(layout) {
        return Err(in_use(Component::KubeControllerManager.name(), SIGNER));
    }
    files.iter().try_for_each(|path| if *path == signer { remove_signer(layout) } else { atomic::remove(path) })
}

/// True when kube-controller-manager's manifest points at its own signing file, or cannot be read as a manifest.
pub(super) fn signer_in_use(layout: &Layout) -> bool {
    let place = layout.manifest(Component::KubeControllerManager);
    fs::read_to_string(place).is_ok_and(|yaml| manifest::has_own_signer(&yaml).unwrap_or(true))
}

/// Removes the signing file and its folder, when that is empty then.
///
/// # Errors
/// The file cannot be removed.
pub(super) fn remove_signer(layout: &Layout) -> Result<(), NodeError> {
    let path = layout.path(SIGNER);
    atomic::remove(&path)?;
    if let Some(folder) = path.parent() {
        // Only an empty folder goes; a missing one is fine.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// Every regular file below `folder`, symlinks not followed. A folder that is not there holds none.
///
/// # Errors
/// A folder cannot be read.
pub(super) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, NodeError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(NodeError::io("read the folder", folder)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(NodeError::io("read the folder", folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(NodeError::io("read", &path))?;
        if kind.is_dir() {
            files.extend(files_below(&path)?);
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn holding(folder: &Path, ca: &CaId) -> Result<Vec<PathBuf>, NodeError> {
    let mut found = Vec::new();
    for path in files_below(folder)? {
        let bytes = zeroize::Zeroizing::new(fs::read(&path).map_err(NodeError::io("read", &path))?);
        if PublicHalf::each_from_pem(&bytes).iter().any(|key| key.ca_id() == *ca) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, authority};
    use super::super::{Authorities, manifest};
    use super::*;

    const BACKUP: &str = "/var/lib/certctl/backup/ca-2/etc/kubernetes/pki";
    const KCM: &str = "/etc/kubernetes/manifests/kube-controller-manager.yaml";

    /// CA 1 in the authorities, in two back-ups and in the signing file; CA 2 in force.
    fn replaced() -> (Fixture, CaId) {
        let fixture = Fixture::new();
        let old = fixture.ca_id();
        Authorities::open(&fixture.layout).import_stock().unwrap();
        let key = fixture.ca.key().to_pem();
        let pair = format!("{}{}", fixture.ca.certificate().to_pem(), &*key);
        fixture.write(&format!("{BACKUP}/ca.key"), &key, 0o600);
        // Behind another key: the whole file is looked at.
        let other = authority("other", fixture.now).key().to_pem();
        fixture.write(&format!("{BACKUP}/certctl/signer.pem"), &format!("{}{pair}", &*other), 0o600);
        fixture.write(&format!("{BACKUP}/ca.crt"), &fixture.ca.certificate().to_pem(), 0o600);
        fixture.write(SIGNER, &pair, 0o600);
        let new = authority("kubernetes", fixture.now);
        fixture.write(CA_KEY, &new.key().to_pem(), 0o600);
        (fixture, old)
    }

    fn copies(fixture: &Fixture, ca: &CaId) -> Vec<PathBuf> {
        holding(fixture.root.path(), ca).unwrap()
    }

    #[test]
    fn a_removed_ca_leaves_no_copy_of_its_key_on_the_node() {
        let (fixture, old) = replaced();
        assert_eq!(copies(&fixture, &old).len(), 4);
        Authorities::open(&fixture.layout).remove(&old).unwrap();
        assert_eq!(copies(&fixture, &old), Vec::<PathBuf>::new());
        assert!(!fixture.layout.path(SIGNER).exists());
        assert!(fixture.layout.path(&format!("{BACKUP}/ca.crt")).exists(), "what is no key stays");
        assert!(fixture.layout.path(CA_KEY).exists());
    }

    #[test]
    fn a_key_that_is_only_in_a_back_up_goes_too() {
        let (fixture, old) = replaced();
        fs::remove_file(fixture.layout.authorities().join(format!("{old}.key"))).unwrap();
        Authorities::open(&fixture.layout).remove(&old).unwrap();
        assert_eq!(copies(&fixture, &old), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_key_in_force_is_never_destroyed() {
        let (fixture, old) = replaced();
        fixture.write(CA_KEY, &fixture.ca.key().to_pem(), 0o600);
        let error = Authorities::open(&fixture.layout).remove(&old).unwrap_err();
        assert!(matches!(error, NodeError::KeyInUse { path: CA_KEY, .. }), "{error}");
        assert_eq!(copies(&fixture, &old).len(), 5, "nothing was removed");
    }

    #[test]
    fn a_signing_file_in_use_keeps_every_copy() {
        let (fixture, old) = replaced();
        fixture.write(KCM, &manifest::with_kcm_signer(&fixture.read(KCM), true).unwrap(), 0o600);
        let mut authorities = Authorities::open(&fixture.layout);
        let error = authorities.remove(&old).unwrap_err();
        assert!(matches!(error, NodeError::KeyInUse { path: SIGNER, .. }), "{error}");
        assert_eq!(copies(&fixture, &old).len(), 4);
        assert_eq!(authorities.kept(), [old], "so that whoever waits for its end goes on waiting");
    }
}
