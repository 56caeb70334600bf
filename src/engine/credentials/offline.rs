//! A credential from the CA's key on a control-plane node: no API server is asked, none need run.

use std::path::Path;

use jiff::Timestamp;

use super::{Issued, Place, Subject, new_key};
use crate::engine::holder;
use crate::error::Error;
use crate::node::layout::{CA_CERT, CA_KEY};
use crate::node::{self, Authorities, Layout, in_full, note_issued};
use crate::pki::{Certificate, CertificateAuthority, Kubeconfig, cluster_body};
use crate::plan::Conf;

/// The files of one control-plane node, read.
pub struct Offline {
    layout: Layout,
    /// The CA that signs now: `pki/ca.key` is moved to the new one when kube-controller-manager signs with that.
    signer: CertificateAuthority,
    place: Place,
}

impl Offline {
    /// Reads the CA and where the API server is from the files below `root`. `server` is an address that counts more.
    ///
    /// # Errors
    /// There is no CA key, it is none of a CA that the API server here trusts, or no kubeconfig says where that is.
    pub fn open(root: &Path, server: Option<&str>) -> Result<Self, Error> {
        let layout = Layout::new(root);
        let key = layout.path(CA_KEY);
        let signer = Authorities::open(&layout).stock().map_err(|error| Error::failed(in_full(&error)))?;
        let signer = signer.ok_or_else(|| {
            Error::failed(format!("there is no CA key at {}", key.display()))
                .hint("run it on a control-plane node; with an external CA, have a certificate signed there")
        })?;
        let path = layout.path(CA_CERT);
        let failed = |error: &dyn std::fmt::Display| Error::failed(format!("{}: {error}", path.display()));
        let pem = std::fs::read(&path).map_err(|error| failed(&error))?;
        let cas = Certificate::all_from_pem(&pem).map_err(|error| failed(&error))?;
        if !cas.iter().any(|ca| ca.ca_id() == signer.certificate().ca_id()) {
            let problem = format!(
                "{} is the key of a CA that is not in {}, which the API server trusts",
                key.display(),
                path.display()
            );
            return Err(Error::refused(problem).hint("`certctl inspect --root /` shows which key belongs to which CA"));
        }
        let held = kubeconfig(&layout);
        let address = server.or(held.as_ref().map(Kubeconfig::server)).filter(|server| !server.is_empty());
        let address = address.ok_or_else(|| {
            let folder = layout.path("/etc/kubernetes");
            Error::failed(format!(
                "no kubeconfig in {} says at which address the API server is reached",
                folder.display()
            ))
            .hint("name it with --server, for example https://10.0.0.10:6443")
        })?;
        let body = cluster_body(address, held.as_ref().map(Kubeconfig::cluster_entry), &cas);
        let cluster = held.as_ref().map_or("kubernetes", Kubeconfig::cluster_name).to_owned();
        Ok(Self { signer, place: Place { cluster, body, cas, ..Place::default() }, layout })
    }

    /// Where the credential is to be used.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Signs a credential with the CA's key. It is written into the node's journal before anybody gets it.
    ///
    /// # Errors
    /// The CA is not valid now, or the journal cannot be written.
    pub fn issue(&self, subject: &Subject, now: Timestamp) -> Result<Issued, Error> {
        let key = new_key()?;
        let Subject { user, groups, lifetime } = subject;
        let certificate = self.signer.issue_client(user, groups, key.spki_der(), *lifetime, now);
        let certificate = certificate.map_err(|error| Error::failed(error.to_string()))?;
        let line = node::Issued {
            break_glass: subject.is_master(),
            subject: &certificate.subject(),
            serial: &certificate.serial_hex(),
            fingerprint: &certificate.fingerprint(),
            not_after: certificate.not_after(),
            by: &by(),
        };
        note_issued(&self.layout, now, &line).map_err(|error| Error::failed(in_full(&error)))?;
        Ok(Issued { certificate, key })
    }
}

/// Who runs this, and who became that user to do it.
fn by() -> String {
    let name = holder().name;
    match std::env::var("SUDO_USER") {
        Ok(user) if !user.is_empty() => format!("{name} (sudo by {user})"),
        _ => name,
    }
}

/// The first of the node's kubeconfigs that can be read, the administrator's before those of the components, which may name the node itself.
fn kubeconfig(layout: &Layout) -> Option<Kubeconfig> {
    [Conf::Admin, Conf::SuperAdmin, Conf::Kubelet, Conf::ControllerManager].into_iter().find_map(|conf| {
        let text = zeroize::Zeroizing::new(std::fs::read_to_string(layout.conf(conf)).ok()?);
        Kubeconfig::parse(&text).ok()
    })
}
