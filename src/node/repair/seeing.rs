//! What a repair decides on: the files of a node, read without changing any.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::facts;
use crate::node::layout::{Layout, PKI_FILES};
use crate::node::loaded::changed;
use crate::node::renewal::{authority, inventory, kept_key, on_node, pair, small_file};
use crate::pki::{Certificate, KeyAlgorithm, Kubeconfig, PrivateKey};
use crate::plan::Conf;
use crate::plan::renewal::{AuthorityName, CertificateName, Held, Inventory, Place, made_for};
use crate::plan::repair::{Seen, ended};

/// kubeadm's lifetimes (`constants.CertificateValidityPeriod`, `CACertificateValidityPeriod`).
const YEAR: SignedDuration = SignedDuration::from_hours(8760);
const DECADE: SignedDuration = SignedDuration::from_hours(87600);
/// Written all the time while etcd is well.
const LIFE: &str = "/var/lib/etcd/member/wal";

/// Reads the node. A CA that is over at `now` and whose key is here gets a successor, of `ca_validity` or as long as it was made for, kubeadm's
/// ten years at most; or the one among `brought`, which another node has made: then every node has the same.
#[must_use]
pub fn see(layout: &Layout, brought: &[Certificate], ca_validity: Option<SignedDuration>, now: Timestamp) -> Seen {
    let mut inventory = inventory(layout);
    let keys = Keys::read(layout);
    for name in AuthorityName::ALL {
        if let Some(signer) = inventory.authorities.get_mut(&name)
            && let Some(problem) = &mut signer.problem
            && let Ok(key) = kept_key(layout, name.key())
            && let Some(owner) = keys.owner(&key)
        {
            problem.push_str(&format!(", but to {owner}"));
        }
    }
    let control_plane = layout.is_control_plane();
    Seen {
        successors: successors(layout, &inventory, brought, ca_validity, now),
        misplaced: misplaced(layout, &inventory, &keys),
        patterns: patterns(layout, &inventory, control_plane, now),
        trust: trust(layout),
        control_plane,
        last_life: last_life(layout),
        inventory,
    }
}

fn successors(
    layout: &Layout,
    inventory: &Inventory,
    brought: &[Certificate],
    validity: Option<SignedDuration>,
    now: Timestamp,
) -> BTreeMap<AuthorityName, Certificate> {
    let over = inventory.authorities.iter();
    let over = over.filter(|(_, signer)| ended(&signer.certificate, now));
    let prolonged = over.filter_map(|(&name, signer)| {
        let old = &signer.certificate;
        if let Some(new) = brought.iter().find(|new| succeeds(new, old, now)) {
            return Some((name, new.clone()));
        }
        if signer.problem.is_some() {
            return None;
        }
        let validity = validity.unwrap_or_else(|| made_for(old).min(DECADE));
        let made = authority(layout, name).ok()?.prolonged(validity, now).ok()?;
        Some((name, made.certificate().clone()))
    });
    prolonged.collect()
}

/// The same CA with another end. Whoever has made it has the CA's key: that is what makes it safe to take from anywhere.
fn succeeds(new: &Certificate, old: &Certificate, now: Timestamp) -> bool {
    new.is_ca() && new.ca_id() == old.ca_id() && new.signed_by(old) && new.is_valid_at(now)
}

/// Which file holds the certificate of which key.
struct Keys(Vec<(String, Certificate)>);

impl Keys {
    fn read(layout: &Layout) -> Self {
        let all = PKI_FILES.iter().filter_map(|(file, _)| {
            let on_node = format!("/etc/kubernetes/pki/{file}");
            let pem = small_file(layout, &on_node).ok()??;
            Some((on_node, Certificate::first_from_pem(&pem).ok()?))
        });
        Self(all.collect())
    }

    fn owner(&self, key: &PrivateKey) -> Option<&str> {
        self.0.iter().find(|(_, certificate)| key.matches(certificate)).map(|(file, _)| file.as_str())
    }
}

fn misplaced(layout: &Layout, inventory: &Inventory, keys: &Keys) -> BTreeMap<CertificateName, String> {
    let mut found = BTreeMap::new();
    for (&name, held) in &inventory.held {
        let Held::Certificate { certificate, key: Ok(_) } = held else { continue };
        let (file, key) = match name.place() {
            Place::Pair(stem) => {
                let [_, file] = pair(stem);
                let key = kept_key(layout, &file).ok();
                (file, key)
            }
            Place::Kubeconfig(conf) => {
                (on_node(conf), kubeconfig(layout, conf).and_then(|kubeconfig| kubeconfig.client_key()))
            }
            Place::Linked(link) => (link.to_owned(), kept_key(layout, link).ok()),
        };
        let Some(key) = key.filter(|key| !key.matches(certificate)) else { continue };
        let owner = keys.owner(&key).map_or_else(|| "no certificate here".to_owned(), str::to_owned);
        found.insert(name, format!("the key in {file} belongs to {owner}"));
    }
    found
}

/// For what the manifests and kubeconfigs of this node refer to, and what cannot be read.
fn patterns(
    layout: &Layout,
    inventory: &Inventory,
    control_plane: bool,
    now: Timestamp,
) -> BTreeMap<CertificateName, Result<Certificate, String>> {
    let unreadable = |name: &CertificateName| {
        !matches!(inventory.held.get(name), Some(Held::Certificate { .. } | Held::Elsewhere(_)))
    };
    let broken = |name: &CertificateName| matches!(inventory.held.get(name), Some(Held::Broken(_)));
    let wanted = facts::wanted(layout, control_plane);
    let missing = |name: &CertificateName| unreadable(name) && (broken(name) || wanted.contains(name));
    let missing: Vec<CertificateName> = CertificateName::ALL.into_iter().filter(missing).collect();
    if missing.is_empty() {
        return BTreeMap::new();
    }
    let (facts, validity) = (facts::read(layout), usual_validity(inventory));
    let pattern = |name: CertificateName| {
        let ca = inventory.authorities.get(&name.authority());
        let algorithm = match name.place() {
            // As the kubelet makes its keys.
            Place::Linked(_) => KeyAlgorithm::EcdsaP256,
            _ => ca.and_then(|signer| signer.certificate.key_algorithm()).unwrap_or(KeyAlgorithm::Rsa2048),
        };
        (name, facts.pattern(name, algorithm, validity, now))
    };
    missing.into_iter().map(pattern).collect()
}

/// How long the other pairs of this node were made for.
fn usual_validity(inventory: &Inventory) -> SignedDuration {
    let pairs = inventory.held.iter().filter(|(name, _)| matches!(name.place(), Place::Pair(_)));
    let lived = pairs.filter_map(|(_, held)| match held {
        Held::Certificate { certificate, .. } => Some(made_for(certificate)),
        _ => None,
    });
    lived.filter(SignedDuration::is_positive).max().unwrap_or(YEAR)
}

fn trust(layout: &Layout) -> BTreeMap<Conf, Vec<Certificate>> {
    let trusted = |conf| Some((conf, kubeconfig(layout, conf)?.ca_data().ok()?));
    Conf::ALL.into_iter().filter_map(trusted).collect()
}

pub(super) fn kubeconfig(layout: &Layout, conf: Conf) -> Option<Kubeconfig> {
    let bytes = small_file(layout, &on_node(conf)).ok()??;
    let text = Zeroizing::new(String::from_utf8(bytes.to_vec()).ok()?);
    Kubeconfig::parse(&text).ok()
}

/// When etcd last wrote on this node; `None` on a node without one.
#[must_use]
pub fn last_life(layout: &Layout) -> Option<Timestamp> {
    newest(&layout.path(LIFE))
}

fn newest(folder: &Path) -> Option<Timestamp> {
    fs::read_dir(folder).ok()?.flatten().filter_map(|entry| changed(&entry.path())).max()
}
