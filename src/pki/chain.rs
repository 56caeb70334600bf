//! Does this chain verify against these roots at this time? X.509 path validation by rustls-webpki, and what it leaves out.

use std::cell::Cell;
use std::fmt;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::Certificate;

/// What the presenter shows its certificate as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS server (id-kp-serverAuth).
    Server,
    /// TLS client (id-kp-clientAuth).
    Client,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// Why a chain is refused. Names are subjects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Nothing was presented.
    #[error("no certificate was presented")]
    Empty,
    /// The verifier trusts nothing.
    #[error("`{leaf}` is refused: the verifier trusts no CA")]
    NoRoots {
        /// Subject of the leaf.
        leaf: String,
    },
    /// No root signed it, directly or through the certificates behind the leaf.
    #[error("`{leaf}` (issuer `{issuer}`) is not signed by a trusted CA")]
    UnknownIssuer {
        /// Subject of the leaf.
        leaf: String,
        /// Its issuer.
        issuer: String,
    },
    /// A certificate of the chain is over.
    #[error("`{leaf}` is refused: a certificate of its chain expired at {not_after}")]
    Expired {
        /// Subject of the leaf.
        leaf: String,
        /// End of its validity.
        not_after: Timestamp,
    },
    /// A certificate of the chain is not valid yet.
    #[error("`{leaf}` is refused: a certificate of its chain is valid only from {not_before}; check the clocks")]
    NotYetValid {
        /// Subject of the leaf.
        leaf: String,
        /// Start of its validity.
        not_before: Timestamp,
    },
    /// The trusted CA itself is out of its validity. webpki accepts that, Go and OpenSSL do not.
    #[error("`{leaf}` is refused: the trusted CA `{root}` is valid from {not_before} to {not_after} only")]
    RootNotValid {
        /// Subject of the leaf.
        leaf: String,
        /// Subject of the root.
        root: String,
        /// Start of its validity.
        not_before: Timestamp,
        /// End of its validity.
        not_after: Timestamp,
    },
    /// The trusted CA allows fewer CAs below it than the chain has. webpki does not ask the root, Go does.
    #[error(
        "`{leaf}` is refused: the trusted CA `{root}` allows {limit} CA certificates below it, the chain has {found}"
    )]
    PathTooLong {
        /// Subject of the leaf.
        leaf: String,
        /// Subject of the root.
        root: String,
        /// Its path length.
        limit: u32,
        /// CA certificates between it and the leaf.
        found: u32,
    },
    /// Extended key usage forbids this use.
    #[error("`{leaf}` may not be used as a TLS {usage}")]
    WrongUsage {
        /// Subject of the leaf.
        leaf: String,
        /// The use wanted.
        usage: Usage,
    },
    /// Anything else, in webpki's words.
    #[error("`{leaf}` is refused: {reason}")]
    Invalid {
        /// Subject of the leaf.
        leaf: String,
        /// The rule that was broken.
        reason: String,
    },
}

/// Verifies `chain` (leaf first, then what the presenter sends with it, in any order) against `roots` at `now`.
///
/// # Errors
/// The most telling reason found; see [`ChainError`].
pub fn verify(
    chain: &[CertificateDer<'_>],
    roots: &[Certificate],
    usage: Usage,
    now: Timestamp,
) -> Result<(), ChainError> {
    let (leaf, rest) = chain.split_first().ok_or(ChainError::Empty)?;
    let named = Named::of(leaf);
    if roots.is_empty() {
        return Err(ChainError::NoRoots { leaf: named.leaf });
    }
    let ders: Vec<CertificateDer<'static>> = roots.iter().map(Certificate::rustls_der).collect();
    // A root that webpki cannot read (version 1) is one it does not trust; the others still count.
    let anchors: Vec<TrustAnchor<'_>> =
        ders.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect();
    let root_refused = Cell::new(None);
    let check_root = |path: &VerifiedPath<'_>| {
        named.check_root(path, roots, now).map_err(|refusal| {
            root_refused.set(Some(refusal));
            webpki::Error::UnknownIssuer
        })
    };
    let key_usage = match usage {
        Usage::Server => KeyUsage::server_auth(),
        Usage::Client => KeyUsage::client_auth(),
    };
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let end_entity = EndEntityCert::try_from(leaf).map_err(|error| named.refused(&error, usage))?;
    let verdict = end_entity.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        rest,
        time,
        key_usage,
        None,
        Some(&check_root),
    );
    match (verdict, root_refused.take()) {
        (Ok(_), _) => Ok(()),
        (Err(_), Some(refusal)) => Err(refusal),
        (Err(error), None) => Err(named.refused(&error, usage)),
    }
}

#[derive(Clone)]
struct Named {
    leaf: String,
    issuer: String,
}

impl Named {
    fn of(leaf: &CertificateDer<'_>) -> Self {
        match Certificate::from_der(leaf) {
            Ok(certificate) => Self { leaf: certificate.subject(), issuer: certificate.issuer_subject() },
            Err(_) => Self { leaf: "unreadable certificate".into(), issuer: String::new() },
        }
    }

    /// What webpki does not ask of the root. A CA may stand among the roots twice (renewed with the same key): one must do.
    fn check_root(&self, path: &VerifiedPath<'_>, roots: &[Certificate], now: Timestamp) -> Result<(), ChainError> {
        let spki = webpki::spki_for_anchor(path.anchor());
        let found = u32::try_from(path.intermediate_certificates().count()).unwrap_or(u32::MAX);
        let mut refusal = None;
        for root in roots.iter().filter(|root| root.spki_der() == spki.as_ref()) {
            match self.judge(root, found, now) {
                None => return Ok(()),
                Some(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    fn judge(&self, root: &Certificate, found: u32, now: Timestamp) -> Option<ChainError> {
        let (leaf, name) = (self.leaf.clone(), root.subject());
        if !root.is_valid_at(now) {
            let (not_before, not_after) = (root.not_before(), root.not_after());
            return Some(ChainError::RootNotValid { leaf, root: name, not_before, not_after });
        }
        let limit = root.path_length().filter(|&limit| limit < found)?;
        Some(ChainError::PathTooLong { leaf, root: name, limit, found })
    }

    fn refused(&self, error: &webpki::Error, usage: Usage) -> ChainError {
        use webpki::Error;
        let Self { leaf, issuer } = self.clone();
        match error {
            // The latter two: a CA of the right name, but of the wrong generation, perhaps with another kind of key.
            Error::UnknownIssuer
            | Error::InvalidSignatureForPublicKey
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => ChainError::UnknownIssuer { leaf, issuer },
            Error::CertExpired { not_after, .. } => ChainError::Expired { leaf, not_after: timestamp(*not_after) },
            Error::CertNotValidYet { not_before, .. } => {
                ChainError::NotYetValid { leaf, not_before: timestamp(*not_before) }
            }
            Error::RequiredEkuNotFoundContext(_) => ChainError::WrongUsage { leaf, usage },
            Error::CaUsedAsEndEntity => {
                ChainError::Invalid { leaf, reason: "it is a CA certificate, not a leaf".into() }
            }
            Error::EndEntityUsedAsCa => ChainError::Invalid { leaf, reason: "its issuer is no CA".into() },
            other => ChainError::Invalid { leaf, reason: other.to_string() },
        }
    }
}

fn timestamp(time: UnixTime) -> Timestamp {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}
