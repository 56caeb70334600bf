//! The CAs known on this node: certificates and crosses in memory, keys on disk until they are needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::atomic;
use super::error::NodeError;
use super::key_files;
use super::layout::{CA_CERT, CA_KEY, Layout};
use super::whole_file;
use crate::pki::{CaId, Certificate, CertificateAuthority, PkiError, PrivateKey, PublicHalf};

/// CA certificates and, on control-plane nodes, CA keys, kept in `/var/lib/certctl/authorities`: `ID.crt` and `ID.key` (0600 in a
/// folder of 0700). The CAs of `pki/ca.crt` are known too, and for this process what the node's object says.
#[derive(Clone, Debug)]
pub struct Authorities {
    layout: Layout,
    folder: PathBuf,
    certificates: BTreeMap<CaId, Certificate>,
    crosses: BTreeMap<(CaId, CaId), Certificate>,
    problems: Vec<String>,
}

impl Authorities {
    /// Reads the folder and `pki/ca.crt`. A broken file becomes a line in [`Self::problems`] and hides nothing else.
    #[must_use]
    pub fn open(layout: &Layout) -> Self {
        let mut all = Self {
            layout: layout.clone(),
            folder: layout.authorities(),
            certificates: BTreeMap::new(),
            crosses: BTreeMap::new(),
            problems: Vec::new(),
        };
        let mut files: Vec<PathBuf> = fs::read_dir(&all.folder)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "crt"));
        files.sort();
        files.push(layout.path(CA_CERT));
        for path in files {
            let Ok(pem) = whole_file::read(&path) else { continue };
            for certificate in Certificate::each_from_pem(&pem) {
                match certificate {
                    Ok(certificate) => all.know(certificate),
                    Err(error) => all.problems.push(format!("{}: {error}", layout.on_node(&path))),
                }
            }
        }
        all
    }

    /// The node's paths.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What could not be read.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Adds a CA certificate for this process only. A certificate that is no CA is ignored; the first one of a key stays, and
    /// a self-signed one replaces a cross-signed one.
    pub fn know(&mut self, certificate: Certificate) {
        if !certificate.is_ca() {
            return;
        }
        let id = certificate.ca_id();
        if self.certificates.get(&id).is_none_or(|old| !old.is_self_signed() && certificate.is_self_signed()) {
            self.certificates.insert(id, certificate);
        }
    }

    /// Adds a cross-signed CA certificate for this process only; its signer must be known already, else it is ignored.
    pub fn know_cross(&mut self, certificate: Certificate) {
        let signer = self.certificates.values().find(|ca| certificate.signed_by(ca)).map(Certificate::ca_id);
        if let Some(signer) = signer {
            self.crosses.insert((certificate.ca_id(), signer), certificate);
        }
    }

    /// Every CA certificate.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.values()
    }

    /// A CA's certificate.
    ///
    /// # Errors
    /// [`NodeError::UnknownAuthority`].
    pub fn certificate(&self, id: &CaId) -> Result<&Certificate, NodeError> {
        self.certificates.get(id).ok_or_else(|| NodeError::UnknownAuthority(id.clone()))
    }

    /// The certificate of `subject` signed by `signer`.
    ///
    /// # Errors
    /// [`NodeError::NoCross`].
    pub fn cross(&self, subject: &CaId, signer: &CaId) -> Result<&Certificate, NodeError> {
        let key = (subject.clone(), signer.clone());
        self.crosses.get(&key).ok_or(NodeError::NoCross { subject: key.0, signer: key.1 })
    }

    /// True when this folder has the key of the CA.
    #[must_use]
    pub fn has_key(&self, id: &CaId) -> bool {
        self.key_path(id).is_file()
    }

    /// The CAs whose certificate and key are kept here, in the order of their ids.
    #[must_use]
    pub fn kept(&self) -> Vec<CaId> {
        self.certificates.keys().filter(|id| self.has_key(id) && self.certificate_path(id).is_file()).cloned().collect()
    }

    /// Loads a CA's key from the disk; it is checked against the certificate.
    ///
    /// # Errors
    /// No certificate, no key, a broken key, or a key of another CA.
    pub fn authority(&self, id: &CaId) -> Result<CertificateAuthority, NodeError> {
        let certificate = self.certificate(id)?.clone();
        let path = self.key_path(id);
        let pem = match fs::read(&path) {
            Ok(pem) => zeroize::Zeroizing::new(pem),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(NodeError::NoKey(id.clone())),
            Err(error) => return Err(NodeError::io("read", &path)(error)),
        };
        let named = || path.display().to_string();
        let key = PrivateKey::from_pem(&pem).map_err(NodeError::pki(named()))?;
        CertificateAuthority::new(certificate, key).map_err(NodeError::pki(named()))
    }

    /// Writes a CA's certificate into the folder.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub fn keep_certificate(&mut self, certificate: &Certificate) -> Result<(), NodeError> {
        atomic::private_folder(&self.folder)?;
        let path = self.certificate_path(&certificate.ca_id());
        atomic::replace(&path, certificate.to_pem().as_bytes(), atomic::SECRET)?;
        self.know(certificate.clone());
        Ok(())
    }

    /// Writes a CA's certificate and key into the folder, the key first: a certificate alone would claim too much.
    ///
    /// # Errors
    /// The folder or a file cannot be written.
    pub fn keep(&mut self, authority: &CertificateAuthority) -> Result<CaId, NodeError> {
        atomic::private_folder(&self.folder)?;
        let id = authority.certificate().ca_id();
        atomic::replace(&self.key_path(&id), authority.key().to_pem().as_bytes(), atomic::SECRET)?;
        self.keep_certificate(authority.certificate())?;
        Ok(id)
    }

    /// The CA to which `pki/ca.key` belongs, found in `pki/ca.crt` or among the CAs known. `None`: there is no key (worker, or
    /// external CA).
    ///
    /// # Errors
    /// A broken key, or a key that belongs to no known CA.
    pub fn stock(&self) -> Result<Option<CertificateAuthority>, NodeError> {
        let Some(key) = read_key(&self.layout.path(CA_KEY), CA_KEY)? else { return Ok(None) };
        let certificate = self.certificate(&key.ca_id())?.clone();
        CertificateAuthority::new(certificate, key).map(Some).map_err(NodeError::pki(CA_KEY))
    }

    /// Keeps the CA to which `pki/ca.key` belongs, if there is one. To be done before `pki/ca.key` is replaced.
    ///
    /// # Errors
    /// As [`Self::stock`], or a file that cannot be written.
    pub fn import_stock(&mut self) -> Result<Option<CaId>, NodeError> {
        let Some(stock) = self.stock()? else { return Ok(None) };
        let id = stock.certificate().ca_id();
        if self.kept().contains(&id) { Ok(Some(id)) } else { self.keep(&stock).map(Some) }
    }

    /// Unlinks a CA's key and certificate, and every copy of the key in back-ups and in kube-controller-manager's signing
    /// file. The blocks are not overwritten: on copy-on-write file systems and flash that would promise more than it does.
    ///
    /// The copies go first: as long as one of them may be left, [`Self::kept`] still names the CA, also after a crash.
    ///
    /// # Errors
    /// [`NodeError::KeyInUse`] when something still signs with the key, and then nothing is removed; a file cannot be read or removed.
    pub fn remove(&mut self, id: &CaId) -> Result<(), NodeError> {
        key_files::purge(&self.layout, id)?;
        atomic::remove(&self.key_path(id))?;
        atomic::remove(&self.certificate_path(id))?;
        self.crosses.retain(|(subject, signer), _| subject != id && signer != id);
        self.certificates.remove(id);
        Ok(())
    }

    fn certificate_path(&self, id: &CaId) -> PathBuf {
        self.folder.join(format!("{id}.crt"))
    }

    fn key_path(&self, id: &CaId) -> PathBuf {
        self.folder.join(format!("{id}.key"))
    }
}

/// Reads a private key; `None` when there is no file.
pub(crate) fn read_key(path: &Path, named: &str) -> Result<Option<PrivateKey>, NodeError> {
    read_with(path, named, PrivateKey::from_pem)
}

/// Reads the public half of a private key; `None` when there is no file.
pub(super) fn read_public_half(path: &Path, named: &str) -> Result<Option<PublicHalf>, NodeError> {
    read_with(path, named, PublicHalf::from_pem)
}

fn read_with<T>(
    path: &Path,
    named: &str,
    from_pem: impl FnOnce(&[u8]) -> Result<T, PkiError>,
) -> Result<Option<T>, NodeError> {
    match whole_file::read(path) {
        Ok(pem) => from_pem(&pem).map(Some).map_err(NodeError::pki(named)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NodeError::io("read", path)(error)),
    }
}
