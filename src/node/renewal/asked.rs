//! Renewal where the CSR API signs, and what stands in its place afterwards.

use jiff::Timestamp;

use super::requests::unfit;
use super::{Signed, chain_behind, inventory, key_in_place, key_of, unusable};
use crate::node::error::NodeError;
use crate::node::layout::Layout;
use crate::pki::{Certificate, PrivateKey, signing_request_like};
use crate::plan::renewal::{CertificateName, Held, Item};

/// The key of a new certificate and the PEM request for it. Nothing is written.
///
/// # Errors
/// The key cannot be made, or the one that is to be kept cannot be read.
pub fn request(layout: &Layout, item: &Item) -> Result<(PrivateKey, String), NodeError> {
    let key = key_of(layout, item)?;
    let request = signing_request_like(&item.old, &key).map_err(NodeError::issue(item.name.name()))?;
    Ok((key, request))
}

/// The PEM certificate that came for such a request, if it is what was asked for and the CA that this node trusts has signed it.
///
/// # Errors
/// It cannot be read, or it is another one, with the reason.
pub fn received(layout: &Layout, item: &Item, pem: &str, key: PrivateKey, now: Timestamp) -> Result<Signed, NodeError> {
    let name = item.name;
    let named = format!("the answer to the request for {name}");
    let certificate = Certificate::first_from_pem(pem.as_bytes()).map_err(NodeError::pki(named.as_str()))?;
    // The CSR API returns the leaf alone. Behind a certificate of another CA, the chain of the old one leads nowhere.
    let same = certificate.issuer_der() == item.old.issuer_der()
        && certificate.authority_key_id() == item.old.authority_key_id();
    let chain = if same { chain_behind(layout, name) } else { Vec::new() };
    match unfit(layout, item, (&certificate, &chain), &key, &[], now) {
        Some(problem) => Err(unusable(&named, problem)),
        None => Ok(Signed { name, certificate, chain, key, new_key: item.new_key.is_some() }),
    }
}

/// The certificates that stand in these places now, with their keys.
///
/// # Errors
/// The first that is not there or cannot be read, or whose key does not belong to it.
pub fn standing(layout: &Layout, names: &[CertificateName]) -> Result<Vec<Signed>, NodeError> {
    let mut held = inventory(layout).held;
    let standing = names.iter().map(|name| {
        let file = || name.files().join(", ");
        let certificate = match held.remove(name) {
            Some(Held::Certificate { certificate, .. }) => certificate,
            Some(Held::Elsewhere(problem) | Held::Broken(problem)) => return Err(unusable(&file(), problem)),
            None => return Err(unusable(&file(), "it is not there".to_owned())),
        };
        let key = key_in_place(layout, *name)?;
        if !key.matches(&certificate) {
            return Err(unusable(&file(), "certificate and key do not belong together".to_owned()));
        }
        Ok(Signed { name: *name, certificate, chain: chain_behind(layout, *name), key, new_key: true })
    });
    standing.collect()
}
