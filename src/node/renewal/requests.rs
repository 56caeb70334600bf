//! Renewal where another place signs: requests out, certificates in. The keys stay on the node.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{Signed, key_of, small_file, unusable};
use crate::node::atomic;
use crate::node::authorities::read_key;
use crate::node::error::NodeError;
use crate::node::layout::Layout;
use crate::pki::{Certificate, PrivateKey, Usage, signing_request_like, verify};
use crate::plan::renewal::Item;

/// Writes `NAME.csr` for every item into `folder`, and `NAME.key` (0600) beside it unless the key is kept. A key that stands there already is
/// taken again: its request may be under way to be signed.
///
/// # Errors
/// A key there is of another kind than wanted; a file cannot be read or written.
pub fn write_requests(layout: &Layout, items: &[Item], folder: &Path) -> Result<Vec<PathBuf>, NodeError> {
    atomic::private_folder(folder)?;
    // Of a run that was cut off: there may be a key in it that nobody uses.
    atomic::remove_leftovers(folder)?;
    let mut written = Vec::new();
    for item in items {
        let key = requested_key(layout, item, folder)?;
        let request = signing_request_like(&item.old, &key).map_err(NodeError::issue(item.name.name()))?;
        let path = folder.join(format!("{}.csr", item.name));
        atomic::replace(&path, request.as_bytes(), atomic::PUBLIC)?;
        written.push(path);
    }
    Ok(written)
}

fn requested_key(layout: &Layout, item: &Item, folder: &Path) -> Result<PrivateKey, NodeError> {
    let Some(algorithm) = item.new_key else { return key_of(layout, item) };
    let path = folder.join(format!("{}.key", item.name));
    let named = path.display().to_string();
    if let Some(key) = read_key(&path, &named)? {
        if key.algorithm() == algorithm {
            return Ok(key);
        }
        let problem =
            format!("it is of kind {}, and {algorithm} is wanted; remove it to have another made", key.algorithm());
        return Err(unusable(&named, problem));
    }
    let key = key_of(layout, item)?;
    atomic::replace(&path, key.to_pem().as_bytes(), atomic::SECRET)?;
    Ok(key)
}

/// Reads `NAME.crt` of every item for which `folder` has one, and checks that it is what was asked for: subject, names, usages, key, and
/// signed by the CA that this node trusts for it.
///
/// # Errors
/// The first certificate that is not, with the reason.
pub fn read_signed(layout: &Layout, items: &[Item], folder: &Path, now: Timestamp) -> Result<Vec<Signed>, NodeError> {
    read_signed_by(layout, items, folder, &[], now)
}

/// As [`read_signed`], where these CAs are about to be trusted too.
pub(in crate::node) fn read_signed_by(
    layout: &Layout,
    items: &[Item],
    folder: &Path,
    successors: &[Certificate],
    now: Timestamp,
) -> Result<Vec<Signed>, NodeError> {
    let mut signed = Vec::new();
    for item in items {
        let path = folder.join(format!("{}.crt", item.name));
        let pem = match fs::read(&path).map(Zeroizing::new) {
            Ok(pem) => pem,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(NodeError::io("read", &path)(error)),
        };
        let named = path.display().to_string();
        let mut all = Certificate::all_from_pem(&pem).map_err(NodeError::pki(named.as_str()))?;
        let certificate = all.remove(0);
        let own = folder.join(format!("{}.key", item.name));
        let (key, new_key) = match read_key(&own, &own.display().to_string())? {
            Some(key) => (key, true),
            None => (key_of(layout, &Item { new_key: None, ..item.clone() })?, false),
        };
        if let Some(problem) = unfit(layout, item, (&certificate, &all), &key, successors, now) {
            return Err(unusable(&named, problem));
        }
        // The CA itself is what the reader trusts already.
        all.retain(|behind| !behind.is_self_signed());
        signed.push(Signed { name: item.name, certificate, chain: all, key, new_key });
    }
    Ok(signed)
}

/// Why a certificate, with what follows it, is not what was asked for, or would be refused.
pub(super) fn unfit(
    layout: &Layout,
    item: &Item,
    (new, behind): (&Certificate, &[Certificate]),
    key: &PrivateKey,
    successors: &[Certificate],
    now: Timestamp,
) -> Option<String> {
    mismatch(&item.old, new, key).or_else(|| refused(layout, item, (new, behind), successors, now))
}

/// In what the certificate differs from what was asked for.
fn mismatch(old: &Certificate, new: &Certificate, key: &PrivateKey) -> Option<String> {
    fn set<T: Ord + Clone>(names: &[T]) -> BTreeSet<T> {
        names.iter().cloned().collect()
    }
    if !key.matches(new) {
        return Some("it is for another key than that of the request".to_owned());
    }
    if new.subject_der() != old.subject_der() {
        return Some(format!("its subject is `{}` and not `{}`", new.subject(), old.subject()));
    }
    if set(new.dns_names()) != set(old.dns_names()) || set(&new.ip_addresses()) != set(&old.ip_addresses()) {
        return Some("its subject alternative names are not those of the certificate that it replaces".to_owned());
    }
    let lacks = |usage: &str| format!("it may not be used as a TLS {usage}, and the certificate that it replaces may");
    if old.server_auth() && !new.server_auth() {
        return Some(lacks("server"));
    }
    if old.client_auth() && !new.client_auth() {
        return Some(lacks("client"));
    }
    new.is_ca().then(|| "it is a CA certificate".to_owned())
}

/// Why those who check it would refuse it.
fn refused(
    layout: &Layout,
    item: &Item,
    (new, behind): (&Certificate, &[Certificate]),
    successors: &[Certificate],
    now: Timestamp,
) -> Option<String> {
    let trusted = item.name.authority().certificate();
    let pem = match small_file(layout, trusted) {
        Ok(pem) => pem.unwrap_or_default(),
        Err(problem) => return Some(problem),
    };
    let mut roots: Vec<Certificate> = Certificate::each_from_pem(&pem).into_iter().flatten().collect();
    for root in &mut roots {
        let same = |new: &&Certificate| new.ca_id() == root.ca_id();
        *root = successors.iter().find(same).unwrap_or(root).clone();
    }
    let chain: Vec<CertificateDer<'_>> = std::iter::once(new).chain(behind).map(Certificate::rustls_der).collect();
    let usages = [(new.server_auth(), Usage::Server), (new.client_auth(), Usage::Client)];
    let verdicts = usages.into_iter().filter(|(has, _)| *has).map(|(_, usage)| verify(&chain, &roots, usage, now));
    verdicts.filter_map(Result::err).next().map(|error| format!("against {trusted}: {error}"))
}
