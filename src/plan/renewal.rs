//! Which leaf certificates of a node are renewed, and how: decided from what stands there, as a value that is shown and then carried out.
//!
//! **Guarantees.** Subject, subject alternative names and usages are those of the certificate that is replaced. Nothing outlives its
//! CA. A plan with a blocker is not carried out, not even in part.

mod fleet;
mod name;
mod restarts;
mod row;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use name::{AuthorityName, CertificateName, Place};
pub use row::{Action, Change, ProofRow, RenewalRow, rows};

use super::Op;
use crate::pki::{BACKDATE, Certificate, KeyAlgorithm};

/// kubeadm's lifetime of leaves (`constants.CertificateValidityPeriod`).
const ONE_YEAR: SignedDuration = SignedDuration::from_hours(8760);

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// These only; empty: every one that the kubelet does not look after by itself.
    pub names: Vec<CertificateName>,
    /// Only those that are due.
    pub due: Option<Due>,
    /// Kind of the new keys; `None`: as the key replaced.
    pub algorithm: Option<KeyAlgorithm>,
    /// Keep the keys.
    pub reuse_key: bool,
    /// Lifetime; `None`: as that of the certificate replaced.
    pub validity: Option<SignedDuration>,
    /// Another place signs: only requests are written here.
    pub signed_elsewhere: bool,
    /// The CSR API signs the kubelet's own two certificates where the CA cannot sign.
    pub csr_api: bool,
}

/// When a certificate is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At 80 % of its life.
    Late,
    /// When it ends within this time.
    Within(SignedDuration),
}

/// The leaf certificates and the authorities of one node.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// What stands at each place; a name is missing where there is no file.
    pub held: BTreeMap<CertificateName, Held>,
    /// The authorities whose certificate is there.
    pub authorities: BTreeMap<AuthorityName, Signer>,
}

/// What stands at the place of a certificate.
#[derive(Clone, Debug)]
pub enum Held {
    /// A certificate; `key` says why its private key cannot be kept, if it cannot.
    Certificate {
        /// The leaf.
        certificate: Certificate,
        /// Kind of the key beside it, or why there is none to be kept.
        key: Result<KeyAlgorithm, String>,
    },
    /// A kubeconfig without a client certificate in it.
    Elsewhere(String),
    /// Something that cannot be read, in words.
    Broken(String),
}

/// The CA that signs at this node.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Its certificate: of a bundle the one to which the key belongs, the first where there is no key.
    pub certificate: Certificate,
    /// Why it cannot sign here; `None` when it can.
    pub problem: Option<String>,
}

/// One certificate to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which.
    pub name: CertificateName,
    /// The certificate that is replaced.
    pub old: Certificate,
    /// Kind of its new key; `None` keeps the key.
    pub new_key: Option<KeyAlgorithm>,
    /// Its lifetime from now on.
    pub validity: SignedDuration,
    /// Its end: `validity` from now, or the CA's end.
    pub not_after: Timestamp,
    /// True when the CA's end cuts its lifetime short.
    pub cut_short: bool,
}

/// A certificate that is not renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub name: CertificateName,
    /// Its end, where it has one.
    pub not_after: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// True where the administrator may have expected otherwise.
    pub remarkable: bool,
}

/// Why a certificate that shall be renewed cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Which.
    pub name: CertificateName,
    /// Why.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

/// What is to be done on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is renewed, in order.
    pub items: Vec<Item>,
    /// What is not.
    pub kept: Vec<Kept>,
    /// What stands in the way.
    pub blockers: Vec<Blocker>,
    /// What is restarted afterwards, one after the other.
    pub restarts: Vec<Op>,
}

impl Plan {
    /// Decides for every certificate of the inventory.
    ///
    /// # Errors
    /// A sentence: a name is asked for that is not on this node.
    pub fn new(inventory: &Inventory, request: &Request, now: Timestamp) -> Result<Self, String> {
        if let Some(missing) = request.names.iter().find(|name| !inventory.held.contains_key(name)) {
            return Err(format!("{missing} is not on this node: there is no {}", missing.files().join(", ")));
        }
        let mut plan = Self::default();
        for (&name, held) in &inventory.held {
            let named = request.names.contains(&name);
            if named || (request.names.is_empty() && !name.is_the_kubelets_own()) {
                Judge { inventory, request, now, name, named }.decide(held, &mut plan);
            }
        }
        plan.settle_restarts();
        Ok(plan)
    }

    /// Leaves only these of what would be renewed.
    pub fn narrow_to(&mut self, names: &[CertificateName]) {
        self.items.retain(|item| names.contains(&item.name));
        self.settle_restarts();
    }
}

struct Judge<'a> {
    inventory: &'a Inventory,
    request: &'a Request,
    now: Timestamp,
    name: CertificateName,
    named: bool,
}

impl Judge<'_> {
    fn decide(&self, held: &Held, plan: &mut Plan) {
        let (old, key) = match held {
            Held::Certificate { certificate, key } => (certificate, key),
            Held::Elsewhere(why) if self.named => {
                return plan.blockers.push(self.blocker(why.clone(), "renew what it refers to instead"));
            }
            Held::Elsewhere(why) => return plan.kept.push(self.kept(None, why.clone(), false)),
            Held::Broken(problem) => {
                let remedy = "put back a copy of the file, or make it anew with `kubeadm init phase certs` or `kubeadm init phase kubeconfig`";
                return plan.blockers.push(self.blocker(problem.clone(), remedy));
            }
        };
        let signer = self.inventory.authorities.get(&self.name.authority());
        if let Some(signer) = signer
            && !self.named
            && old.issuer_der() != signer.certificate.subject_der()
        {
            let why = format!("`{}` signed it, which is not this node's CA", old.issuer_subject());
            return plan.kept.push(self.kept(Some(old), format!("{why}; name it to have it signed here"), true));
        }
        let lifetime = self.lifetime(old);
        if self.request.due.is_some_and(|due| !self.is_due(old, lifetime, due)) {
            return plan.kept.push(self.kept(Some(old), "not due".to_owned(), false));
        }
        match self.item(old, key, signer, self.request.validity.unwrap_or(lifetime)) {
            Ok(item) => plan.items.push(item),
            Err(blocker) => plan.blockers.push(blocker),
        }
    }

    fn item(
        &self,
        old: &Certificate,
        key: &Result<KeyAlgorithm, String>,
        signer: Option<&Signer>,
        validity: SignedDuration,
    ) -> Result<Item, Blocker> {
        let new_key = match (self.request.reuse_key, key) {
            (true, Ok(_)) => None,
            (true, Err(problem)) => {
                return Err(self.blocker(format!("its key cannot be kept: {problem}"), "leave out --reuse-key"));
            }
            (false, _) => Some(self.request.algorithm.or(old.key_algorithm()).ok_or_else(|| {
                let problem = format!("certctl makes no keys of the kind {}", old.key_description());
                self.blocker(problem, "name another kind with --key-algorithm")
            })?),
        };
        // Whoever issued it had a later clock than this one.
        if old.not_before() > self.now {
            let problem = format!("it is not valid before {}, and now it is {}", old.not_before(), self.now);
            return Err(self.blocker(problem, "set the clock of this node right first"));
        }
        let mut item = Item {
            name: self.name,
            old: old.clone(),
            new_key,
            validity,
            not_after: self.now.checked_add(validity).unwrap_or(Timestamp::MAX),
            cut_short: false,
        };
        if self.request.signed_elsewhere {
            return Ok(item);
        }
        let ca = self.able_to_sign(signer)?;
        if ca.not_after() < item.not_after {
            item.not_after = ca.not_after();
            item.cut_short = true;
        }
        Ok(item)
    }

    fn able_to_sign<'a>(&self, signer: Option<&'a Signer>) -> Result<&'a Certificate, Blocker> {
        let authority = self.name.authority();
        let Some(signer) = signer else {
            let problem = format!("the {authority} CA is not on this node: there is no {}", authority.certificate());
            return Err(self.blocker(problem, "renew it on a control-plane node that has the CA"));
        };
        let csr_api = self.request.csr_api && self.name.is_the_kubelets_own();
        if let Some(problem) = signer.problem.as_ref().filter(|_| !csr_api) {
            let remedy = "have it signed where the CA is, with --csr-only and --import";
            return Err(self.blocker(problem.clone(), remedy));
        }
        let ca = &signer.certificate;
        if !ca.is_valid_at(self.now) {
            let (from, to) = (ca.not_before(), ca.not_after());
            let problem = format!("the {authority} CA is valid from {from} to {to} only, and now it is {}", self.now);
            return Err(self.blocker(problem, "check the clock; a CA that has expired must be replaced first"));
        }
        Ok(ca)
    }

    /// How long a certificate was made for, as the argument of a renewal. The five minutes by which notBefore lies back do not count, so that
    /// what is renewed over and over stays as long as it was.
    ///
    /// `kubeadm init` and `join` date the client certificates of kubeconfigs back to the CA's notBefore (`NewSignedCert` in
    /// `cmd/kubeadm/app/util/pkiutil/pki_helpers.go`): of those, only the end is known, and they were made for as long as the node's other
    /// certificates.
    fn lifetime(&self, old: &Certificate) -> SignedDuration {
        let lived = made_for(old);
        let ca = self.inventory.authorities.get(&AuthorityName::Cluster).map(|signer| &signer.certificate);
        if !is_conf(self.name) || ca.is_none_or(|ca| ca.not_before() != old.not_before()) {
            return lived;
        }
        let others = self.inventory.held.iter().filter(|(name, _)| !is_conf(**name) && !name.is_the_kubelets_own());
        let others = others.filter_map(|(_, held)| match held {
            Held::Certificate { certificate, .. } => Some(made_for(certificate)),
            _ => None,
        });
        lived.min(others.max().unwrap_or(ONE_YEAR))
    }

    fn is_due(&self, old: &Certificate, lifetime: SignedDuration, due: Due) -> bool {
        let left = old.not_after().duration_since(self.now);
        match due {
            Due::Late => left * 5 <= lifetime,
            Due::Within(window) => left <= window,
        }
    }

    fn kept(&self, held: Option<&Certificate>, reason: String, remarkable: bool) -> Kept {
        Kept { name: self.name, not_after: held.map(Certificate::not_after), reason, remarkable }
    }

    const fn blocker(&self, problem: String, remedy: &'static str) -> Blocker {
        Blocker { name: self.name, problem, remedy }
    }
}

const fn is_conf(name: CertificateName) -> bool {
    matches!(name, CertificateName::Conf(_))
}

/// Lifetime that a certificate was asked for with: issuers let it begin [`BACKDATE`] earlier.
#[must_use]
pub fn made_for(certificate: &Certificate) -> SignedDuration {
    let whole = certificate.not_after().duration_since(certificate.not_before());
    if whole > BACKDATE { whole - BACKDATE } else { whole }
}

#[cfg(test)]
mod tests;
