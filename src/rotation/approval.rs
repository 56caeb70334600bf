//! Which requests for kubelets' serving certificates a rotation approves.
//!
//! kube-controller-manager signs for `kubernetes.io/kubelet-serving` but approves nothing, because only the cluster's owner knows which names
//! a node may have (`pkg/controller/certificates/approver`). The rotation approves what it has itself brought about, and no more.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::pki::{CertificateRequest, PkiError};

/// User names of nodes begin with this (`pkg/auth/nodeidentifier`).
const NODE: &str = "system:node:";
/// The group of nodes.
const NODES: &str = "system:nodes";
/// What a kubelet asks for: with the first for an RSA key, without it for others (`pkg/apis/certificates/helpers.go`,
/// `ValidateKubeletServingCSR`).
const USAGES: [&str; 3] = ["key encipherment", "digital signature", "server auth"];

/// A request as the API server recorded it; who asked is the API server's word.
#[derive(Clone, Copy, Debug)]
pub struct ServingRequest<'a> {
    /// `spec.username`.
    pub username: &'a str,
    /// `spec.groups`.
    pub groups: &'a [String],
    /// `spec.usages`.
    pub usages: &'a [String],
    /// `spec.request`, PEM.
    pub request: &'a [u8],
}

/// Why a request is left alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a node.
    #[error("its requester `{0}` is no node")]
    Requester(String),
    /// A node that this rotation does not change now.
    #[error("this rotation is not changing the serving certificate of node/{0} now")]
    NotChanging(String),
    /// The requester lacks the nodes' group.
    #[error("its requester is not in group {NODES}")]
    Group,
    /// The request cannot be read.
    #[error("{0}")]
    Unreadable(#[from] PkiError),
    /// The request is signed by another key than the one in it.
    #[error("its signature is not from the key in it")]
    Signature,
    /// Another subject than the requester.
    #[error("its subject is `{found}`, not `{wanted}`")]
    Subject {
        /// What it asks for.
        found: String,
        /// What the requester may have.
        wanted: String,
    },
    /// Other usages than a kubelet's.
    #[error("its usages are [{0}], not those of a kubelet's serving certificate")]
    Usages(String),
    /// No DNS name and no address.
    #[error("it asks for no name")]
    NoName,
    /// An email address, a URI, or something that cannot be read.
    #[error("it asks for a name that is neither a DNS name nor an address")]
    OtherName,
    /// A name of somebody else.
    #[error("it asks for {name}, which is no address of node/{node}")]
    Name {
        /// The name.
        name: String,
        /// The requester.
        node: String,
    },
}

/// The node whose request may be approved. `changing`: the nodes that wait for such a certificate now, each with the addresses in its
/// Node's status (host name, addresses, DNS names).
///
/// # Errors
/// The first reason not to approve it.
pub fn may_approve(asked: &ServingRequest<'_>, changing: &BTreeMap<String, Vec<String>>) -> Result<String, Refusal> {
    let node = asked.username.strip_prefix(NODE).filter(|node| !node.is_empty());
    let node = node.ok_or_else(|| Refusal::Requester(asked.username.to_owned()))?;
    let addresses = changing.get(node).ok_or_else(|| Refusal::NotChanging(node.to_owned()))?;
    if !asked.groups.iter().any(|group| group == NODES) {
        return Err(Refusal::Group);
    }
    let request = CertificateRequest::from_pem(asked.request)?;
    if !request.is_proven() {
        return Err(Refusal::Signature);
    }
    let wanted = format!("CN={NODE}{node},O={NODES}");
    if request.subject() != wanted {
        return Err(Refusal::Subject { found: request.subject().to_owned(), wanted });
    }
    usages(asked.usages)?;
    names(&request, node, addresses)?;
    Ok(node.to_owned())
}

fn usages(asked: &[String]) -> Result<(), Refusal> {
    let set: BTreeSet<&str> = asked.iter().map(String::as_str).collect();
    let allowed = [BTreeSet::from(USAGES), USAGES.into_iter().skip(1).collect()];
    if allowed.contains(&set) { Ok(()) } else { Err(Refusal::Usages(asked.join(", "))) }
}

fn names(request: &CertificateRequest, node: &str, addresses: &[String]) -> Result<(), Refusal> {
    if request.has_other_names() {
        return Err(Refusal::OtherName);
    }
    let mut names = request.dns_names().to_vec();
    names.extend(request.ip_addresses().iter().map(ToString::to_string));
    if names.is_empty() {
        return Err(Refusal::NoName);
    }
    match strange_names(&names, addresses).into_iter().next() {
        None => Ok(()),
        Some(name) => Err(Refusal::Name { name, node: node.to_owned() }),
    }
}

/// Those of `names` that are not among a Node's `addresses`. IP addresses are compared as numbers, DNS names without regard to case.
#[must_use]
pub fn strange_names(names: &[String], addresses: &[String]) -> Vec<String> {
    let same = |name: &String, address: &String| match (name.parse::<IpAddr>(), address.parse::<IpAddr>()) {
        (Ok(name), Ok(address)) => name == address,
        _ => name.eq_ignore_ascii_case(address),
    };
    names.iter().filter(|name| !addresses.iter().any(|address| same(name, address))).cloned().collect()
}

#[cfg(test)]
mod tests;
