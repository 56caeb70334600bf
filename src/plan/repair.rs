//! How a node whose certificates have expired, are lost or do not fit is brought back: decided from its files and the time, as a value.
//!
//! **Guarantees.** A CA keeps its key, its subject and its key identifier: only its end changes. A certificate that is in order stays. What
//! cannot be signed here becomes a request, and what cannot be made at all is named; neither keeps the rest from being repaired. With a
//! clock that cannot be right, nothing is done.

mod clock;
mod pattern;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use clock::Clock;
pub use pattern::NodeFacts;

use super::renewal::{
    AuthorityName, Blocker, CertificateName, Due, Held, Inventory, Item, Kept, Plan as Renewal, Request,
};
use super::{Component, Conf, Op};
use crate::pki::Certificate;

/// What the files of a node say.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its certificates and authorities.
    pub inventory: Inventory,
    /// For each authority that is over and whose key is here: its certificate with a new end.
    pub successors: BTreeMap<AuthorityName, Certificate>,
    /// For each certificate beside which the key of another one stands: what is known of that key, in words.
    pub misplaced: BTreeMap<CertificateName, String>,
    /// For each certificate that this node needs and that cannot be read: one with the contents that kubeadm gives it, or why that is not known.
    pub patterns: BTreeMap<CertificateName, Result<Certificate, String>>,
    /// The CAs that each kubeconfig trusts.
    pub trust: BTreeMap<Conf, Vec<Certificate>>,
    /// True on a control-plane node.
    pub control_plane: bool,
    /// The last time that anything was written by what runs on this node only while it is healthy.
    pub last_life: Option<Timestamp>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// Lifetime of the new certificates; `None`: each as long as the one that it replaces.
    pub validity: Option<SignedDuration>,
    /// The administrator says that the clock is right.
    pub clock_is_right: bool,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has expired.
    Expired(Timestamp),
    /// It, or the kubeconfig that it stands in, cannot be read.
    Unreadable(String),
    /// There is none.
    Lost,
    /// Its key cannot be used.
    KeyLost(String),
    /// The key beside it is another one's.
    KeyMisplaced(String),
    /// It names this node's CA as its issuer, but another key has signed it.
    NotOfThisCa,
    /// It is at 80 % of its life, and is made anew with the others.
    EndsSoon(Timestamp),
}

/// A certificate that is made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is made.
    pub item: Item,
    /// Why.
    pub fault: Fault,
}

/// A CA that gets a new end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prolonged {
    /// Which.
    pub name: AuthorityName,
    /// Its old end.
    pub ended: Timestamp,
    /// Its certificate from now on.
    pub successor: Certificate,
}

/// A process that works with what it has read at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// A static pod.
    Pod(Component),
    /// The kubelet, last: its start ends every back-off.
    Kubelet,
}

impl Process {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pod(component) => component.name(),
            Self::Kubelet => "kubelet",
        }
    }
}

/// What is done on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Whether the time can be right.
    pub clock: Clock,
    /// CAs that get a new end, first of all.
    pub authorities: Vec<Prolonged>,
    /// Certificates that are signed here, in the order of [`CertificateName::ALL`].
    pub steps: Vec<Step>,
    /// Kubeconfigs that must trust the CA in force, besides those of `steps`.
    pub trust: Vec<Conf>,
    /// Certificates that must be signed where the CA's key is.
    pub requests: Vec<Step>,
    /// Why they are not signed here, by authority.
    pub unable: BTreeMap<AuthorityName, String>,
    /// What cannot be made.
    pub blockers: Vec<Blocker>,
    /// What stays although it is over.
    pub kept: Vec<Kept>,
    /// What is restarted, in order.
    pub restarts: Vec<Process>,
}

/// What a decision rests on.
#[derive(Clone, Copy)]
struct Case<'a> {
    seen: &'a Seen,
    wish: &'a Wish,
    now: Timestamp,
}

impl Plan {
    /// Decides for every certificate.
    #[must_use]
    pub fn new(seen: &Seen, wish: &Wish, now: Timestamp) -> Self {
        let case = Case { seen, wish, now };
        let mut plan = Self { clock: Clock::judge(seen, wish, now), ..Self::default() };
        let mut inventory = seen.inventory.clone();
        plan.prolong(seen, &mut inventory);
        plan.note_unable(&inventory, now);
        let mut faults = plan.faults(&mut inventory, case);
        plan.steps = plan.made_anew(&inventory, &mut faults, case);
        plan.trust = untrusting(seen, &inventory, &plan.steps);
        plan.restarts = plan.settle_restarts(seen.control_plane);
        plan
    }

    /// True when there is nothing to do and nothing to say.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes_nothing() && self.requests.is_empty() && self.blockers.is_empty()
    }

    /// True when no file of the node is to be replaced.
    #[must_use]
    pub const fn changes_nothing(&self) -> bool {
        self.authorities.is_empty() && self.steps.is_empty() && self.trust.is_empty()
    }

    fn prolong(&mut self, seen: &Seen, inventory: &mut Inventory) {
        for (&name, successor) in &seen.successors {
            let Some(signer) = inventory.authorities.get_mut(&name) else { continue };
            let ended = signer.certificate.not_after();
            self.authorities.push(Prolonged { name, ended, successor: successor.clone() });
            signer.certificate = successor.clone();
        }
    }

    fn note_unable(&mut self, inventory: &Inventory, now: Timestamp) {
        for name in AuthorityName::ALL {
            let problem = match inventory.authorities.get(&name) {
                None => Some(format!("there is no certificate that can be read in {}", name.certificate())),
                Some(signer) => signer.problem.clone().or_else(|| {
                    let ca = &signer.certificate;
                    (!ca.is_valid_at(now))
                        .then(|| format!("it is valid from {} to {}", ca.not_before(), ca.not_after()))
                }),
            };
            self.unable.extend(problem.map(|problem| (name, problem)));
        }
    }

    /// What is wrong with which certificate; the inventory then holds a certificate for each of these.
    fn faults(&mut self, inventory: &mut Inventory, case: Case<'_>) -> BTreeMap<CertificateName, Fault> {
        let seen = case.seen;
        let mut faults = BTreeMap::new();
        for name in CertificateName::ALL {
            let held = inventory.held.get(&name);
            let fault = match held {
                None if seen.patterns.contains_key(&name) => Some(Fault::Lost),
                None | Some(Held::Elsewhere(_)) => None,
                Some(Held::Broken(problem)) => Some(Fault::Unreadable(problem.clone())),
                Some(Held::Certificate { certificate, key }) => {
                    self.fault(name, certificate, key.as_ref().err(), inventory, case)
                }
            };
            let Some(fault) = fault else { continue };
            if !matches!(held, Some(Held::Certificate { .. })) {
                match seen.patterns.get(&name) {
                    Some(Ok(pattern)) => {
                        let (certificate, key) = (pattern.clone(), Err("it is lost".to_owned()));
                        inventory.held.insert(name, Held::Certificate { certificate, key });
                    }
                    other => {
                        let unknown = "what belongs in it is not known".to_owned();
                        let why = other.and_then(|known| known.as_ref().err().cloned()).unwrap_or(unknown);
                        self.blockers.push(blocker(name, &fault, &why));
                        continue;
                    }
                }
            }
            faults.insert(name, fault);
        }
        faults
    }

    fn fault(
        &mut self,
        name: CertificateName,
        certificate: &Certificate,
        key_problem: Option<&String>,
        inventory: &Inventory,
        Case { seen, now, .. }: Case<'_>,
    ) -> Option<Fault> {
        let over = ended(certificate, now);
        let ca = inventory.authorities.get(&name.authority()).map(|signer| &signer.certificate);
        if let Some(ca) = ca
            && ca.subject_der() != certificate.issuer_der()
        {
            if over {
                let reason = format!("`{}` signed it, which is not this node's CA", certificate.issuer_subject());
                let not_after = Some(certificate.not_after());
                self.kept.push(Kept { name, not_after, reason, remarkable: true });
            }
            return None;
        }
        if over {
            return Some(Fault::Expired(certificate.not_after()));
        }
        if let Some(other) = seen.misplaced.get(&name) {
            return Some(Fault::KeyMisplaced(other.clone()));
        }
        if let Some(problem) = key_problem {
            return Some(Fault::KeyLost(problem.clone()));
        }
        ca.is_some_and(|ca| !certificate.signed_by(ca)).then_some(Fault::NotOfThisCa)
    }

    /// The certificates with a fault, and, if there are any, those that would have one soon.
    fn made_anew(
        &mut self,
        inventory: &Inventory,
        faults: &mut BTreeMap<CertificateName, Fault>,
        case: Case<'_>,
    ) -> Vec<Step> {
        if faults.is_empty() && self.authorities.is_empty() {
            return Vec::new();
        }
        let late = Request { due: Some(Due::Late), ..Request::default() };
        for item in Renewal::new(inventory, &late, case.now).map(|plan| plan.items).unwrap_or_default() {
            faults.entry(item.name).or_insert(Fault::EndsSoon(item.old.not_after()));
        }
        let (elsewhere, here): (Vec<_>, Vec<_>) =
            faults.keys().copied().partition(|name| self.unable.contains_key(&name.authority()));
        self.requests = self.steps_for(inventory, faults, elsewhere, true, case);
        self.steps_for(inventory, faults, here, false, case)
    }

    fn steps_for(
        &mut self,
        inventory: &Inventory,
        faults: &BTreeMap<CertificateName, Fault>,
        names: Vec<CertificateName>,
        signed_elsewhere: bool,
        Case { wish, now, .. }: Case<'_>,
    ) -> Vec<Step> {
        if names.is_empty() {
            return Vec::new();
        }
        let request = Request { names, validity: wish.validity, signed_elsewhere, ..Request::default() };
        let Ok(plan) = Renewal::new(inventory, &request, now) else { return Vec::new() };
        self.blockers.extend(plan.blockers);
        let step = |item: Item| faults.get(&item.name).cloned().map(|fault| Step { item, fault });
        plan.items.into_iter().filter_map(step).collect()
    }

    /// Of static pods only those that do not read again what changes: data in kubeconfigs is read at the start, and so are the CAs of etcd and
    /// kube-controller-manager's root CA (etcd `client/pkg/transport/listener.go`; `cmd/kube-controller-manager/app/certificates.go`).
    fn settle_restarts(&self, control_plane: bool) -> Vec<Process> {
        let prolonged = |name: AuthorityName| self.authorities.iter().any(|authority| authority.name == name);
        let mut all = Vec::new();
        for op in self.steps.iter().filter_map(|step| step.item.name.restart()) {
            match op {
                Op::RestartStaticPod { component, .. } => all.push(Process::Pod(component)),
                _ => all.push(Process::Kubelet),
            }
        }
        for conf in &self.trust {
            match conf {
                Conf::ControllerManager => all.push(Process::Pod(Component::KubeControllerManager)),
                Conf::Scheduler => all.push(Process::Pod(Component::KubeScheduler)),
                Conf::Kubelet => all.push(Process::Kubelet),
                Conf::Admin | Conf::SuperAdmin => {}
            }
        }
        if prolonged(AuthorityName::Etcd) {
            all.extend([Process::Pod(Component::Etcd), Process::Pod(Component::KubeApiserver)]);
        }
        if prolonged(AuthorityName::Cluster) {
            all.extend([Process::Pod(Component::KubeControllerManager), Process::Kubelet]);
        }
        all.retain(|process| control_plane || *process == Process::Kubelet);
        all.sort();
        all.dedup();
        all
    }
}

/// True from the certificate's last second on: Go refuses it in the course of that second (`crypto/x509`, `Certificate.Verify`), and who is
/// refused must find something to repair.
#[must_use]
pub fn ended(certificate: &Certificate, now: Timestamp) -> bool {
    now.as_second() >= certificate.not_after().as_second()
}

/// Kubeconfigs that do not trust the cluster CA as it is from now on, and are not made anew anyway.
fn untrusting(seen: &Seen, inventory: &Inventory, steps: &[Step]) -> Vec<Conf> {
    let Some(ca) = inventory.authorities.get(&AuthorityName::Cluster).map(|signer| &signer.certificate) else {
        return Vec::new();
    };
    let anew = |conf: Conf| steps.iter().any(|step| step.item.name == CertificateName::Conf(conf));
    // Only older certificates of the same CA: who trusts another one does so for a reason that is not known here.
    let older = |trusted: &Vec<Certificate>| trusted.iter().any(|held| held.ca_id() == ca.ca_id() && held != ca);
    let missing = seen.trust.iter().filter(|(_, trusted)| !trusted.contains(ca) && older(trusted));
    missing.map(|(conf, _)| *conf).filter(|conf| !anew(*conf)).collect()
}

fn blocker(name: CertificateName, fault: &Fault, why: &str) -> Blocker {
    let state = match fault {
        Fault::Unreadable(problem) => problem.clone(),
        _ => format!("there is no {}", name.files().join(", ")),
    };
    let problem = format!("{state}, and it cannot be made anew: {why}");
    Blocker { name, problem, remedy: "put back a copy of the file, then run the same command again" }
}

#[cfg(test)]
mod tests;
