//! The caller's kubeconfigs on disk: read as one, each written back to where it stands.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::HeldCluster;
use crate::engine::credentials::MASTERS;
use crate::engine::record::Record;
use crate::error::Error;
use crate::node::files;
use crate::pki::{CaId, Certificate, Choice, Kubeconfig, PrivateKey};
use crate::plan::ConfState;
use crate::rotation::{Blocker, Topic};

/// What helps when a credential cannot be renewed at all.
pub(super) const OTHER_ADMIN: &str =
    "use a kubeconfig of another admin, for example /etc/kubernetes/admin.conf of a control-plane node";

/// The kubeconfigs in kubectl's order, and what is chosen of them.
pub(super) struct CallerFiles {
    paths: Vec<PathBuf>,
    kubeconfig: Kubeconfig,
    /// Each file's content before any change, as it would be written.
    before: Vec<Zeroizing<String>>,
}

/// Where a credential stands that can be renewed.
pub(super) enum Held {
    /// Certificate and key in the kubeconfig: one rename switches both.
    Inline,
    /// Two files of their own. The key stays, so that one rename is enough here too.
    Files { certificate: PathBuf, key: PrivateKey },
}

impl CallerFiles {
    /// Reads every file. Errors name the file.
    pub(super) fn open(paths: Vec<PathBuf>, choice: &Choice) -> Result<Self, String> {
        let mut texts = Vec::new();
        for path in &paths {
            let text = std::fs::read_to_string(path).map(Zeroizing::new);
            texts.push(text.map_err(|error| format!("cannot read {}: {error}", path.display()))?);
        }
        let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
        let named = |error: crate::pki::PkiError| format!("{}: {error}", list(&paths));
        let kubeconfig = Kubeconfig::merged(&texts, choice).map_err(named)?;
        let before = (0..paths.len()).map(|file| kubeconfig.yaml_of(file)).collect::<Result<_, _>>().map_err(named)?;
        Ok(Self { paths, kubeconfig, before })
    }

    /// The caller's credential and trust. `None` when the certificate is of none of the cluster's CAs, or when there is none (a token, a
    /// plugin): then there is nothing to renew.
    pub(super) fn state(&self, record: &Record) -> Result<Option<ConfState>, String> {
        let Some(certificate) = self.certificate()? else { return Ok(None) };
        let signed = |ca: &&CaId| record.certificate(ca).is_some_and(|ca| certificate.signed_by(&ca));
        let Some(issuer) = record.versions.keys().find(signed).cloned() else { return Ok(None) };
        let trust = self.trusted()?.iter().map(Certificate::ca_id).collect();
        let not_after = certificate.not_after().as_second();
        Ok(Some(ConfState { issuer: Some(issuer), trust, not_after, ..ConfState::default() }))
    }

    /// Why the credential could not be renewed, if so.
    pub(super) fn blocker(&self, record: &Record) -> Option<Blocker> {
        let blocked = |problem: String, remedy: String| {
            Some(Blocker { topic: Topic::Rotation, object: self.object(), problem, remedy })
        };
        if self.kubeconfig.has_certctl_plugin() {
            let problem = "it is of `certctl get-credentials --exec`: its certificate is of the old CA, and is not renewed in time";
            return blocked(problem.to_owned(), OTHER_ADMIN.into());
        }
        let certificate = match self.state(record).and_then(|held| Ok(held.and(self.certificate()?))) {
            Ok(certificate) => certificate?,
            Err(problem) => return blocked(problem, OTHER_ADMIN.into()),
        };
        if certificate.organizations().iter().any(|group| group == MASTERS) {
            let problem = format!("its client certificate is in group {MASTERS}, which the CSR API signs for nobody");
            return blocked(problem, OTHER_ADMIN.into());
        }
        let remedy = format!(
            "put certificate and key into the kubeconfig: `kubectl config set-credentials {} --client-certificate=FILE \
             --client-key=FILE --embed-certs`",
            self.kubeconfig.user_name()
        );
        self.held().err().and_then(|problem| blocked(problem, remedy))
    }

    /// The credential's name in messages.
    fn object(&self) -> String {
        let file =
            self.kubeconfig.user_file().map_or_else(|| list(&self.paths), |file| self.path(file).display().to_string());
        format!("kubeconfig {file}, user `{}`", self.kubeconfig.user_name())
    }

    /// The client certificate, from the kubeconfig or the file that it names.
    pub(super) fn certificate(&self) -> Result<Option<Certificate>, String> {
        let (pem, named) = match (self.kubeconfig.client_certificate_pem(), self.certificate_file()) {
            (Some(pem), _) => (pem, "client-certificate-data".to_owned()),
            (None, Some(path)) => (read(&path)?.to_vec(), path.display().to_string()),
            (None, None) => return Ok(None),
        };
        Certificate::first_from_pem(&pem).map(Some).map_err(|error| format!("{named}: {error}"))
    }

    /// The CAs trusted, from the kubeconfig or the file that it names; none when the system's are.
    pub(super) fn trusted(&self) -> Result<Vec<Certificate>, String> {
        let data = self.kubeconfig.ca_data().map_err(|error| error.to_string())?;
        match self.kubeconfig.ca_file().filter(|_| data.is_empty()) {
            None => Ok(data),
            Some(path) => {
                let path = self.beside(self.kubeconfig.cluster_file(), &path);
                Certificate::all_from_pem(&read(&path)?).map_err(|error| format!("{}: {error}", path.display()))
            }
        }
    }

    /// The entry of the cluster.
    pub(super) fn cluster(&self) -> Result<HeldCluster, String> {
        let (name, body) = (self.kubeconfig.cluster_name().to_owned(), self.kubeconfig.cluster_entry().clone());
        Ok(HeldCluster { name, body, trusted: self.trusted()? })
    }

    /// Where the credential stands, or why it cannot be renewed there.
    pub(super) fn held(&self) -> Result<Held, String> {
        let inline = self.kubeconfig.client_certificate_pem().is_some();
        match (inline, self.kubeconfig.has_key_data(), self.certificate_file(), self.key_file()) {
            (true, true, _, _) => Ok(Held::Inline),
            (false, false, Some(certificate), Some(key)) if certificate != key => {
                let private =
                    PrivateKey::from_pem(&read(&key)?).map_err(|error| format!("{}: {error}", key.display()))?;
                match self.certificate()? {
                    Some(old) if private.matches(&old) => Ok(Held::Files { certificate, key: private }),
                    _ => Err(format!("{} is not the key of {}", key.display(), certificate.display())),
                }
            }
            (false, false, Some(both), Some(_)) => {
                Err(format!("certificate and key are in one file, {}, which something else may renew", both.display()))
            }
            _ => Err("its client certificate and its key are not both in the kubeconfig, nor both in files".to_owned()),
        }
    }

    /// Puts a new certificate where the old one stands; an own file is written at once, the kubeconfig by [`Self::write`].
    pub(super) fn put(
        &mut self,
        place: &Held,
        certificate: &Certificate,
        key: &PrivateKey,
        record: &Record,
    ) -> Result<(), Error> {
        match place {
            Held::Inline => {
                self.kubeconfig.set_client(certificate, key);
                Ok(())
            }
            Held::Files { certificate: path, .. } => {
                let mode = std::fs::metadata(path).map_or(files::SECRET, |data| data.permissions().mode() & 0o777);
                replace(path, certificate.to_pem().as_bytes(), mode, record)
            }
        }
    }

    /// Trusts these CAs in place of the cluster's that it trusts now. CAs of others stay, and a kubeconfig that trusts none of the cluster's
    /// (the system's CAs, a proxy's, `insecure-skip-tls-verify`) is left alone. They go into the kubeconfig, also when it names a file that
    /// lacks one of them: that file may be somebody else's.
    pub(super) fn trust(&mut self, cas: &[CaId], record: &Record) -> Result<(), String> {
        let held = self.trusted()?;
        let known = |ca: &Certificate| record.versions.contains_key(&ca.ca_id());
        if !held.iter().any(known) {
            return Ok(());
        }
        let mut wanted = record.certificates(cas);
        wanted.extend(held.iter().filter(|ca| !known(ca)).cloned());
        // The order of a bundle matters to signers only.
        if held.len() != wanted.len() || !wanted.iter().all(|ca| held.contains(ca)) {
            self.kubeconfig.set_ca_data(&wanted);
        }
        Ok(())
    }

    /// Writes the kubeconfigs that have changed; the old ones stay beside them.
    pub(super) fn write(&self, record: &Record) -> Result<(), Error> {
        // Should they stand in two files: the trust first, as everywhere.
        let cluster = self.kubeconfig.cluster_file();
        let user = self.kubeconfig.user_file().filter(|user| *user != cluster);
        for file in std::iter::once(cluster).chain(user) {
            let path = self.path(file);
            let failed = |error: crate::pki::PkiError| Error::failed(format!("{}: {error}", path.display()));
            let yaml = self.kubeconfig.yaml_of(file).map_err(failed)?;
            if self.before.get(file) != Some(&yaml) {
                replace(path, yaml.as_bytes(), files::SECRET, record)?;
            }
        }
        Ok(())
    }

    fn certificate_file(&self) -> Option<PathBuf> {
        Some(self.beside(self.kubeconfig.user_file()?, &self.kubeconfig.client_certificate_file()?))
    }

    fn key_file(&self) -> Option<PathBuf> {
        Some(self.beside(self.kubeconfig.user_file()?, &self.kubeconfig.client_key_file()?))
    }

    fn path(&self, file: usize) -> &Path {
        self.paths.get(file).map_or(Path::new(""), PathBuf::as_path)
    }

    /// A path in a kubeconfig is relative to that file's folder (`clientcmd/loader.go`, `ResolveLocalPaths`).
    fn beside(&self, file: usize, path: &str) -> PathBuf {
        self.path(file).parent().map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    std::fs::read(path).map(Zeroizing::new).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Writes a file and keeps the old one beside it: `config` stays as `config.ca-1`, named after the CAVersion that it is of. An older copy is
/// not overwritten. A link is followed: it stays a link.
fn replace(path: &Path, content: &[u8], mode: u32, record: &Record) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".ca-{}", record.completed));
    let copy = PathBuf::from(name);
    if !copy.exists() {
        let old = read(path).map_err(Error::failed)?;
        files::replace(&copy, &old, mode).map_err(Error::from_display)?;
    }
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    files::replace(&target, content, mode).map_err(Error::from_display)
}

#[cfg(test)]
mod tests;
