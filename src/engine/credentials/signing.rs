//! A credential through the CSR API: the key is made here, the request is approved by whoever may, and taken away in the end.

use std::time::Duration;

use super::{Issued, Subject, new_key};
use crate::cluster::{Cluster, ClusterError, csr};
use crate::error::{Error, ErrorKind};
use crate::pki::{Certificate, PrivateKey, certificate_request};

/// Pause before a watch that an API server ended is begun again.
const AGAIN: Duration = Duration::from_secs(1);
/// The one word of the approval's condition.
pub(super) const REASON: &str = "CertctlGetCredentials";

/// Who waits for a signature.
pub struct Desk<'a> {
    /// Longest wait for somebody's approval and the signature; `None` for ever.
    pub timeout: Option<Duration>,
    /// Told the request's name when somebody else has to approve it.
    pub waits_for_approval: &'a dyn Fn(&str),
}

/// Has a credential signed. The request is removed in any case, also when `stop` ends first.
///
/// # Errors
/// A failed call, a refusal, nobody's approval in time ([`ErrorKind::TimedOut`]), or `stop`'s own.
pub async fn sign(
    cluster: &Cluster,
    subject: &Subject,
    desk: &Desk<'_>,
    stop: impl Future<Output = Error>,
) -> Result<Issued, Error> {
    let key = new_key()?;
    let request = certificate_request(&subject.user, &subject.groups, &key).map_err(Error::from_display)?;
    let submitted = csr::submit(cluster, &request, csr::CLIENT, Some(subject.lifetime.as_secs())).await;
    let submitted = submitted.map_err(|error| not_submitted(error, subject))?;
    let name = submitted.metadata.name.clone().unwrap_or_default();
    let decided = async {
        match csr::approve_for(cluster, submitted, REASON).await {
            Ok(()) => {}
            Err(error) if error.code() == Some(403) => (desk.waits_for_approval)(&name),
            Err(error) => return Err(Error::from(error)),
        }
        signed(cluster, &name, desk.timeout).await
    };
    let outcome = tokio::select! {
        outcome = decided => outcome,
        error = stop => Err(error),
    };
    csr::remove(cluster, &name).await;
    let certificate = vetted(&outcome?, &key).map_err(|problem| Error::failed(format!("csr/{name}: {problem}")))?;
    Ok(Issued { certificate, key })
}

async fn signed(cluster: &Cluster, name: &str, timeout: Option<Duration>) -> Result<String, Error> {
    let decided = async {
        loop {
            match csr::signed(cluster, name).await {
                Ok(outcome) => break outcome,
                // The API server went away: the request has not.
                Err(error) => {
                    tracing::debug!(%error, "watched again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    };
    let outcome = match timeout {
        None => decided.await,
        Some(timeout) => tokio::time::timeout(timeout, decided).await.map_err(|_| {
            let late =
                format!("csr/{name} was not approved and signed within {} s, and is taken back", timeout.as_secs());
            Error::new(ErrorKind::TimedOut, late)
                .hint("run it again while somebody is there to approve it, or give it more time with --timeout")
        })?,
    };
    outcome.map_err(|reason| Error::failed(format!("csr/{name} is refused: {reason}")))
}

fn not_submitted(error: ClusterError, subject: &Subject) -> Error {
    if error.code() == Some(403) {
        let hint = format!(
            "you need the verb create on certificatesigningrequests; user `{}`, groups [{}] must be allowed for the signer {}",
            subject.user,
            subject.groups.join(" "),
            csr::CLIENT
        );
        return Error::from(error)
            .hint(hint)
            .hint("on a control-plane node `--root /` signs with the CA's key and needs no API server");
    }
    Error::from(error)
}

/// The certificate, when it is one for this key that a client may present. What the signer made of names and lifetime is the caller's to see.
pub(super) fn vetted(pem: &str, key: &PrivateKey) -> Result<Certificate, String> {
    let certificate = Certificate::first_from_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
    if !key.matches(&certificate) {
        return Err("the certificate that came back is for another key".to_owned());
    }
    if !certificate.client_auth() {
        return Err("the certificate that came back may not be used by clients".to_owned());
    }
    Ok(certificate)
}
