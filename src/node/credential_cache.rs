//! Where the exec credential plugin keeps a certificate and its key, and a request that nobody has approved yet.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::NodeError;
use super::{atomic, lock};
use crate::pki::{Certificate, PkiError, PrivateKey};

/// What stands in front of the request's name in its file (RFC 7468 section 2 lets text stand before a block).
const NAME: &str = "csr/";

/// One credential's files in the user's cache folder: `NAME.pem` holds certificate and key, so that one rename switches both.
#[derive(Clone, Debug)]
pub struct CredentialCache {
    folder: PathBuf,
    name: String,
}

/// A request that is under way, and the key that it is for.
#[derive(Debug)]
pub struct Pending {
    /// Name of the CertificateSigningRequest.
    pub csr: String,
    /// The key.
    pub key: PrivateKey,
}

impl CredentialCache {
    /// The credential of this name. Nothing is read or made yet.
    ///
    /// # Errors
    /// A sentence about a name that is no plain file name.
    pub fn new(folder: PathBuf, name: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if name.is_empty() || name.starts_with('.') || name.len() > 200 || !name.chars().all(plain) {
            return Err(format!("`{name}` is no name of a credential: use letters, digits and -_.@ only"));
        }
        Ok(Self { folder, name: name.to_owned() })
    }

    /// Path of the file with certificate and key.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.file("pem")
    }

    /// The certificate and its key; `None` when there is none yet.
    ///
    /// # Errors
    /// The file cannot be read, or holds no pair.
    pub fn read(&self) -> Result<Option<(Certificate, PrivateKey)>, NodeError> {
        let path = self.path();
        let Some(pem) = secret(&path)? else { return Ok(None) };
        let broken = |source| NodeError::Pki { path: path.display().to_string(), source };
        let certificate = Certificate::first_from_pem(&pem).map_err(broken)?;
        let key = PrivateKey::from_pem(&pem).map_err(broken)?;
        if key.matches(&certificate) {
            Ok(Some((certificate, key)))
        } else {
            Err(broken(PkiError::KeyMismatch { subject: certificate.subject() }))
        }
    }

    /// Keeps a pair in place of the old one, and forgets the request that led to it.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub fn keep(&self, certificate: &Certificate, key: &PrivateKey) -> Result<(), NodeError> {
        let pem = Zeroizing::new([certificate.to_pem().as_str(), key.to_pem().as_str()].concat());
        atomic::private_folder(&self.folder)?;
        atomic::replace(&self.path(), pem.as_bytes(), atomic::SECRET)?;
        self.forget_pending()
    }

    /// The request under way. A file that cannot be used is none: the next one replaces it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn pending(&self) -> Result<Option<Pending>, NodeError> {
        let Some(text) = secret(&self.file("pending"))? else { return Ok(None) };
        let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let csr = std::str::from_utf8(first).ok().and_then(|line| line.strip_prefix(NAME)).map(str::to_owned);
        Ok(csr.zip(PrivateKey::from_pem(&text).ok()).map(|(csr, key)| Pending { csr, key }))
    }

    /// Remembers a request, so that the next process takes its certificate.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub fn keep_pending(&self, pending: &Pending) -> Result<(), NodeError> {
        let text = Zeroizing::new([NAME, &pending.csr, "\n", pending.key.to_pem().as_str()].concat());
        atomic::private_folder(&self.folder)?;
        atomic::replace(&self.file("pending"), text.as_bytes(), atomic::SECRET)
    }

    /// Forgets the request under way.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget_pending(&self) -> Result<(), NodeError> {
        atomic::remove(&self.file("pending"))
    }

    /// The right to renew, until it is dropped or the process ends; `None` while another process has it (flock(2)).
    ///
    /// # Errors
    /// The lock file cannot be opened or locked.
    pub fn try_lock(&self) -> Result<Option<File>, NodeError> {
        lock::try_lock(&self.file("lock"))
    }

    /// As [`Self::try_lock`], as soon as no other process has it. It blocks the thread.
    ///
    /// # Errors
    /// The lock file cannot be opened or locked.
    pub fn lock(&self) -> Result<File, NodeError> {
        lock::lock(&self.file("lock"))
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.name))
    }
}

/// A file's bytes; `None` when there is none.
fn secret(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, NodeError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NodeError::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::fixture::{ALGORITHM, Fixture, YEAR};
    use super::*;

    fn pair(fixture: &Fixture) -> (Certificate, PrivateKey) {
        let key = PrivateKey::generate(ALGORITHM).unwrap();
        (fixture.ca.issue_client("jane", &[], key.spki_der(), YEAR, fixture.now).unwrap(), key)
    }

    #[test]
    fn a_pair_is_kept_for_its_owner_only_and_ends_the_request_that_led_to_it() {
        let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
        let cache = CredentialCache::new(folder.path().join("certctl/credentials"), "jane@k-1").unwrap();
        assert!(cache.read().unwrap().is_none() && cache.pending().unwrap().is_none());
        let (certificate, key) = pair(&fixture);
        cache.keep_pending(&Pending { csr: "certctl-x7".into(), key: key.clone() }).unwrap();
        let pending = cache.pending().unwrap().unwrap();
        assert_eq!((pending.csr.as_str(), pending.key.ca_id()), ("certctl-x7", key.ca_id()));
        cache.keep(&certificate, &key).unwrap();
        assert!(cache.pending().unwrap().is_none());
        let (held, held_key) = cache.read().unwrap().unwrap();
        assert_eq!((held, held_key.ca_id()), (certificate, key.ca_id()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&cache.path()), mode(&folder.path().join("certctl"))), (0o600, 0o700));
    }

    #[test]
    fn a_certificate_with_another_key_is_not_handed_out() {
        let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
        let cache = CredentialCache::new(folder.path().to_path_buf(), "jane").unwrap();
        let ((certificate, _), (_, other)) = (pair(&fixture), pair(&fixture));
        cache.keep(&certificate, &other).unwrap();
        let error = super::super::in_full(&cache.read().unwrap_err());
        assert!(error.contains("jane.pem") && error.contains("does not belong"), "{error}");
    }

    #[test]
    fn one_process_renews_and_the_others_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CredentialCache::new(folder.path().to_path_buf(), "jane").unwrap();
        let first = cache.try_lock().unwrap().unwrap();
        assert!(cache.try_lock().unwrap().is_none());
        drop(first);
        assert!(cache.try_lock().unwrap().is_some());
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for name in ["", ".", "../x", "a/b", ".hidden", "a\nb"] {
            assert!(CredentialCache::new(PathBuf::new(), name).is_err(), "{name}");
        }
    }
}
