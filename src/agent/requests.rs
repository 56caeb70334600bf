//! Requests of the driver besides the target: make a CA, seal keys, take sealed keys in, forget keys.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::api::{AuthorityRecord, CrossRecord, Made, MakeAuthority, NodePkiSpec, SealFor, SealedKey};
use crate::node::{Authorities, Layout, files};
use crate::pki::{CaId, Certificate, CertificateAuthority, KeyAlgorithm, Material, PrivateKey, SealingKey};

type Result<T> = std::result::Result<T, String>;

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What HPKE binds a sealed key to, so that it opens for nothing else: the receiving node and the CA.
fn seal_info(node: &str, ca: &CaId) -> String {
    format!("certctl ca key {ca} for node {node}")
}

/// The node's sealing key, made at first use.
pub(super) fn sealing_key(layout: &Layout) -> Result<SealingKey> {
    let path = layout.sealing_key();
    match std::fs::read(&path) {
        Ok(bytes) => SealingKey::from_bytes(&zeroize::Zeroizing::new(bytes)).map_err(words),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SealingKey::generate().map_err(words)?;
            if let Some(folder) = path.parent() {
                files::private_folder(folder).map_err(words)?;
            }
            files::replace(&path, &key.to_bytes(), files::SECRET).map_err(words)?;
            Ok(key)
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Takes in the public certificates of the spec for this process. An entry that cannot be used is named and hides no other.
pub(super) fn know(spec: &NodePkiSpec, authorities: &mut Authorities) -> Vec<String> {
    let mut problems = Vec::new();
    let mut read = |pem: &str, ca: &CaId, what: &str| match Certificate::first_from_pem(pem.as_bytes()) {
        Ok(certificate) if certificate.ca_id() == *ca => Some(certificate),
        Ok(_) => refused(&mut problems, ca, what, "it is that of another CA"),
        Err(error) => refused(&mut problems, ca, what, &error.to_string()),
    };
    for record in &spec.authorities {
        read(&record.certificate, &record.id, "certificate").into_iter().for_each(|ca| authorities.know(ca));
    }
    for record in &spec.authorities {
        for cross in &record.crosses {
            let found = read(&cross.certificate, &record.id, "cross-signed certificate");
            found.into_iter().for_each(|cross| authorities.know_cross(cross));
        }
    }
    problems
}

fn refused<T>(problems: &mut Vec<String>, ca: &CaId, what: &str, problem: &str) -> Option<T> {
    problems.push(format!("the {what} of CA {} in the node's object is not taken in: {problem}", ca.short()));
    None
}

/// Destroys the keys of these CAs wherever they lie on the node, and says what stands in the way. `done` are those whose copies were
/// looked for before: a copy may be left where the key itself is gone, so that each is looked for once by every process.
pub(super) fn forget(cas: &[CaId], authorities: &mut Authorities, done: &mut BTreeSet<CaId>) -> Vec<String> {
    done.retain(|ca| cas.contains(ca));
    let mut problems = Vec::new();
    for ca in cas {
        if done.contains(ca) && !authorities.has_key(ca) {
            continue;
        }
        match authorities.remove(ca) {
            Ok(()) => drop(done.insert(ca.clone())),
            Err(error) => problems.push(words(error)),
        }
    }
    problems
}

/// Opens the keys that were sealed to this node and keeps those it lacks, unless they are to be destroyed. A key that cannot be taken in
/// is named and hides no other. Without the manifest of a kube-apiserver none is: a Node's label alone makes no control-plane node.
pub(super) fn take_in(
    spec: &NodePkiSpec,
    node: &str,
    key: &SealingKey,
    layout: &Layout,
    authorities: &mut Authorities,
) -> Vec<String> {
    let mut problems = Vec::new();
    for sealed in spec.sealed_keys.iter().filter(|sealed| sealed.node == node) {
        if authorities.has_key(&sealed.ca) || spec.forget.contains(&sealed.ca) {
            continue;
        }
        let taken = if layout.is_control_plane() {
            open(sealed, node, key, authorities)
        } else {
            Err("this node runs no kube-apiserver; take the control-plane label off it".to_owned())
        };
        if let Err(problem) = taken {
            refused::<()>(&mut problems, &sealed.ca, "sealed key", &problem);
        }
    }
    problems
}

fn open(sealed: &SealedKey, node: &str, key: &SealingKey, authorities: &mut Authorities) -> Result<()> {
    let certificate = authorities.certificate(&sealed.ca).map_err(words)?.clone();
    let pem = key.open(&seal_info(node, &sealed.ca), &sealed.sealed).map_err(words)?;
    let private = PrivateKey::from_pem(&pem).map_err(words)?;
    authorities.keep(&CertificateAuthority::new(certificate, private).map_err(words)?).map_err(words)?;
    Ok(())
}

/// What other nodes get, and what was asked for: sealing twice would give two different ciphertexts of the same key.
#[derive(Default)]
pub(super) struct Handout {
    asked: Vec<SealFor>,
    /// The keys, sealed.
    pub(super) keys: Vec<SealedKey>,
    problems: Vec<String>,
}

impl Handout {
    /// Seals CA keys to other nodes when something else is asked for than before, and says what could not be sealed.
    pub(super) fn answer(&mut self, requests: &[SealFor], authorities: &Authorities) -> Vec<String> {
        if self.asked != requests {
            *self = Self { asked: requests.to_vec(), ..Self::default() };
            for request in requests {
                for ca in request.cas.iter().filter(|ca| authorities.has_key(ca)) {
                    match seal(request, ca, authorities) {
                        Ok(key) => self.keys.push(key),
                        Err(problem) => self.problems.push(format!(
                            "the key of CA {} is not sealed to {}: {problem}",
                            ca.short(),
                            request.node
                        )),
                    }
                }
            }
        }
        self.problems.clone()
    }
}

fn seal(request: &SealFor, ca: &CaId, authorities: &Authorities) -> Result<SealedKey> {
    let authority = authorities.authority(ca).map_err(words)?;
    let info = seal_info(&request.node, ca);
    let sealed = request.public_key.seal(&info, authority.key().to_pem().as_bytes()).map_err(words)?;
    Ok(SealedKey { ca: ca.clone(), node: request.node.clone(), sealed })
}

/// Makes the CA asked for and cross-signs old and new with each other. The same request is answered with the same CA, also after a
/// crash between the making and the report: the request's name is noted beside the key.
pub(super) fn make(
    request: &MakeAuthority,
    layout: &Layout,
    authorities: &mut Authorities,
    now: Timestamp,
) -> Result<Made> {
    let note = layout.authorities().join(format!("made-{}", safe(&request.request)));
    let noted = std::fs::read_to_string(&note).ok().and_then(|text| text.parse::<CaId>().ok());
    let id = match noted.clone().filter(|ca| authorities.kept().contains(ca)) {
        Some(id) => id,
        None => {
            // What a crash left of it: half of a CA is nobody's.
            noted.map_or(Ok(()), |ca| authorities.remove(&ca)).map_err(words)?;
            keep_new(request, &note, authorities, now)?
        }
    };
    // Every older CA whose key is still here vouches too: processes started before the last rotation may trust only that.
    let others: Vec<CaId> = authorities.kept().into_iter().filter(|ca| *ca != id).collect();
    let others: Vec<CertificateAuthority> =
        others.iter().map(|ca| authorities.authority(ca).map_err(words)).collect::<Result<_>>()?;
    let new = authorities.authority(&id).map_err(words)?;
    let like = authorities.authority(&request.like).map_err(words)?;
    Ok(Made {
        request: request.request.clone(),
        authority: record(&new, &others, now)?,
        old: record(&like, &[new], now)?,
    })
}

/// The note comes before the key, so that no key is ever there of which nobody knows.
fn keep_new(request: &MakeAuthority, note: &Path, authorities: &mut Authorities, now: Timestamp) -> Result<CaId> {
    let old = authorities.certificate(&request.like).map_err(words)?;
    let algorithm = request.algorithm.as_deref().map(str::parse::<KeyAlgorithm>).transpose().map_err(words)?;
    let as_old = old.not_after().duration_since(old.not_before());
    let validity = request.validity_seconds.map_or(as_old, SignedDuration::from_secs);
    let new = CertificateAuthority::generate_like(old, algorithm, validity, now).map_err(words)?;
    if let Some(folder) = note.parent() {
        files::private_folder(folder).map_err(words)?;
    }
    files::replace(note, new.certificate().ca_id().as_str().as_bytes(), files::SECRET).map_err(words)?;
    authorities.keep(&new).map_err(words)
}

/// The public side of a CA, vouched for by others.
fn record(authority: &CertificateAuthority, by: &[CertificateAuthority], now: Timestamp) -> Result<AuthorityRecord> {
    let crosses = by.iter().map(|signer| {
        let cross = signer.cross_sign(authority.certificate(), now).map_err(words)?;
        Ok(CrossRecord { by: signer.certificate().ca_id(), certificate: cross.to_pem() })
    });
    let material = Material::from_authority(authority, Vec::new(), now).map_err(words)?;
    Ok(AuthorityRecord {
        id: authority.certificate().ca_id(),
        certificate: authority.certificate().to_pem(),
        crosses: crosses.collect::<Result<_>>()?,
        specimen_server: material.specimen_server.as_ref().map(Certificate::to_pem),
        specimen_client: material.specimen_client.as_ref().map(Certificate::to_pem),
    })
}

/// A file name of a request's name.
fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests;
