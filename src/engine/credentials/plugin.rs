//! The exec credential plugin: gives what it keeps, and renews it in the last fifth of its life.
//!
//! Several kubectl processes may ask at once. One renews, the others get what is still valid. Nothing that goes wrong with a renewal keeps
//! a valid credential from being used; it is told, and tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Issued;
use super::signing::{REASON, vetted};
use crate::cluster::{Cluster, csr};
use crate::error::Error;
use crate::node::{CredentialCache, Pending, in_full};
use crate::pki::{Certificate, KeyAlgorithm, Login, PrivateKey, signing_request_like};

/// Longest wait for the signature of a request that is approved.
const SIGNED: Duration = Duration::from_secs(20);
/// Longest wait for somebody else's approval: a program may approve at once, a human does not. The next call looks again.
const APPROVED: Duration = Duration::from_secs(3);
/// How long a credential is given out at least when its renewal did not work: kubectl asks again after that.
const SHORTEST: SignedDuration = SignedDuration::from_mins(1);

/// A credential for kubectl.
#[derive(Debug)]
pub struct Given {
    /// Certificate and key.
    pub credential: Issued,
    /// When kubectl is to ask again: before the certificate ends, or it could not be renewed any more.
    pub until: Timestamp,
    /// Why it was not renewed, if it should have been.
    pub problem: Option<String>,
}

/// What the plugin works with.
pub struct Renewal<'a> {
    /// Where the credential is kept.
    pub cache: &'a CredentialCache,
    /// The cluster, without a credential.
    pub login: Login,
    /// Lifetime to ask for.
    pub lifetime: SignedDuration,
    /// The clock.
    pub now: Timestamp,
}

impl Renewal<'_> {
    /// The credential as it is to be used now.
    ///
    /// # Errors
    /// There is none, it has expired, or its file cannot be used.
    pub async fn give(self) -> Result<Given, Error> {
        self.give_over(async |login| Cluster::with_login(&login, "credential-plugin").await.map_err(Error::from)).await
    }

    /// As [`Self::give`], over a connection that is made from the login only when it is needed.
    pub(super) async fn give_over(
        self,
        connect: impl AsyncFnOnce(Login) -> Result<Cluster, Error>,
    ) -> Result<Given, Error> {
        let held = self.held()?;
        if self.is_fresh(&held.certificate) {
            return Ok(fresh(held));
        }
        let lock = if held.certificate.is_valid_at(self.now) {
            self.cache.try_lock().map_err(|error| Error::failed(in_full(&error)))?
        } else {
            // It cannot be used: whoever renews it just now is waited for.
            let cache = self.cache.clone();
            let lock = tokio::task::spawn_blocking(move || cache.lock()).await;
            let lock = lock.map_err(|error| Error::failed(format!("cannot wait for the lock: {error}")))?;
            Some(lock.map_err(|error| Error::failed(in_full(&error)))?)
        };
        let Some(_lock) = lock else { return Ok(self.still(held, None)) };
        let held = self.held()?;
        if self.is_fresh(&held.certificate) {
            return Ok(fresh(held));
        }
        if !held.certificate.is_valid_at(self.now) {
            return Err(self.expired(&held.certificate));
        }
        let (cache, lifetime) = (self.cache, self.lifetime);
        match renew(cache, lifetime, &held, self.login.again().with_client(&held.certificate, &held.key), connect).await
        {
            Ok(new) => Ok(fresh(new)),
            Err(error) => Ok(self.still(held, Some(error.sentence()))),
        }
    }

    fn held(&self) -> Result<Issued, Error> {
        let held = self.cache.read().map_err(|error| Error::failed(in_full(&error)))?;
        let (certificate, key) = held.ok_or_else(|| {
            Error::failed(format!("there is no credential at {}", self.cache.path().display())).hint(AGAIN)
        })?;
        Ok(Issued { certificate, key })
    }

    fn is_fresh(&self, certificate: &Certificate) -> bool {
        certificate.not_before() <= self.now && self.now < due(certificate)
    }

    fn expired(&self, certificate: &Certificate) -> Error {
        let (path, subject) = (self.cache.path(), certificate.subject());
        let (from, to) = (certificate.not_before(), certificate.not_after());
        let problem = format!("{}: `{subject}` is valid from {from} to {to} only", path.display());
        Error::failed(problem).hint(AGAIN)
    }

    /// What is held, for a while: it was due, and is not renewed yet.
    fn still(&self, credential: Issued, problem: Option<String>) -> Given {
        let end = credential.certificate.not_after();
        let pause = (end.duration_since(self.now) / 10).max(SHORTEST);
        let until = self.now.checked_add(pause).map_or(end, |until| until.min(end));
        Given { credential, until, problem }
    }
}

/// What helps without a credential that can be renewed.
const AGAIN: &str =
    "get a new one with `certctl get-credentials USER --exec --overwrite-existing`, as somebody who may approve it";

fn fresh(credential: Issued) -> Given {
    Given { until: due(&credential.certificate), credential, problem: None }
}

/// When four fifths of its life are over.
fn due(certificate: &Certificate) -> Timestamp {
    let (from, to) = (certificate.not_before(), certificate.not_after());
    from.checked_add(to.duration_since(from) * 4 / 5).map_or(to, |due| due.min(to))
}

/// A new certificate for a new key, asked for with the present one.
async fn renew(
    cache: &CredentialCache,
    lifetime: SignedDuration,
    held: &Issued,
    login: Login,
    connect: impl AsyncFnOnce(Login) -> Result<Cluster, Error>,
) -> Result<Issued, Error> {
    let failed = |error| Error::failed(in_full(&error));
    let cluster = connect(login).await?;
    let pending = match cache.pending().map_err(failed)? {
        Some(pending) => still_there(&cluster, cache, pending).await?,
        None => None,
    };
    let (pending, wait) = match pending {
        Some(pending) => (pending, APPROVED),
        None => ask(&cluster, cache, lifetime, &held.certificate).await?,
    };
    let csr = &pending.csr;
    let Ok(outcome) = tokio::time::timeout(wait, csr::signed(&cluster, csr)).await else {
        return Err(Error::failed(format!(
            "csr/{csr} waits for somebody who runs `kubectl certificate approve {csr}`; the credential ends at {}",
            held.certificate.not_after()
        )));
    };
    let pem = outcome?.map_err(|reason| Error::failed(format!("csr/{csr} is refused: {reason}")))?;
    let certificate = vetted(&pem, &pending.key).and_then(|new| like(&held.certificate, new));
    let certificate = certificate.map_err(|problem| Error::failed(format!("csr/{csr}: {problem}")));
    if certificate.is_err() {
        cache.forget_pending().map_err(failed)?;
    }
    let certificate = certificate?;
    cache.keep(&certificate, &pending.key).map_err(failed)?;
    csr::remove(&cluster, csr).await;
    Ok(Issued { certificate, key: pending.key })
}

/// The request that an earlier call has made. A refused one is kept in mind as long as it stands there: nobody is asked over and over.
async fn still_there(cluster: &Cluster, cache: &CredentialCache, pending: Pending) -> Result<Option<Pending>, Error> {
    match csr::outcome(cluster, &pending.csr).await {
        Ok(_) => Ok(Some(pending)),
        Err(error) if error.code() == Some(404) => {
            cache.forget_pending().map_err(|error| Error::failed(in_full(&error)))?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn ask(
    cluster: &Cluster,
    cache: &CredentialCache,
    lifetime: SignedDuration,
    old: &Certificate,
) -> Result<(Pending, Duration), Error> {
    let algorithm = old.key_algorithm().unwrap_or(KeyAlgorithm::EcdsaP256);
    let key = PrivateKey::generate(algorithm).map_err(Error::from_display)?;
    let request = signing_request_like(old, &key).map_err(Error::from_display)?;
    let submitted = csr::submit(cluster, &request, csr::CLIENT, Some(lifetime.as_secs())).await?;
    let pending = Pending { csr: submitted.metadata.name.clone().unwrap_or_default(), key };
    cache.keep_pending(&pending).map_err(|error| Error::failed(in_full(&error)))?;
    match csr::approve_for(cluster, submitted, REASON).await {
        Ok(()) => Ok((pending, SIGNED)),
        Err(error) if error.code() == Some(403) => Ok((pending, APPROVED)),
        Err(error) => Err(error.into()),
    }
}

/// The new certificate, when it is for the user and the groups of the old one.
fn like(old: &Certificate, new: Certificate) -> Result<Certificate, String> {
    if (new.common_name(), new.organizations()) == (old.common_name(), old.organizations()) {
        return Ok(new);
    }
    Err(format!("the certificate that came back is for `{}`, not for `{}`", new.subject(), old.subject()))
}
