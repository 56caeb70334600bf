//! The kubelet's own two certificates: pairs in one file behind a symlink, as its certificate manager keeps them
//! (`client-go/util/certificate/certificate_store.go`).

use std::path::Path;

use jiff::Timestamp;

use super::{ApplyContext, back_up, chain, first_certificate, issued_by, reissue, remember};
use crate::node::atomic;
use crate::node::error::NodeError;
use crate::node::layout::{KUBELET_CLIENT, KUBELET_SERVER, Layout};
use crate::pki::{CaId, Certificate, KeyAlgorithm, PrivateKey, certificate_request, signing_request_like};

/// `kubelet-client-current.pem` from `issuer`; nothing is done when it is from there already.
pub(super) async fn client(issuer: &CaId, context: &ApplyContext<'_>) -> Result<(), NodeError> {
    let Some(old) = to_replace(KUBELET_CLIENT, issuer, context)? else { return Ok(()) };
    let key = new_key(KUBELET_CLIENT)?;
    let new = match signed_here(KUBELET_CLIENT, issuer, &old, &key, context)? {
        Some(new) => new,
        None => {
            let name = old.common_name().unwrap_or_default();
            let request =
                certificate_request(name, old.organizations(), &key).map_err(NodeError::issue(KUBELET_CLIENT))?;
            let signed =
                (context.callbacks.sign_kubelet_client)(request).await.map_err(|source| NodeError::Callback {
                    what: format!("the cluster did not sign a client certificate for {name}"),
                    source,
                })?;
            received(KUBELET_CLIENT, &signed, issuer, &key, context)?
        }
    };
    switch(KUBELET_CLIENT, &new, &new.to_pem(), &key, context)
}

/// `kubelet-server-current.pem` from `issuer`, with the names that it has; nothing is done when it is from there already.
///
/// What follows the leaf is served as its chain: the kubelet loads the file with `tls.LoadX509KeyPair`.
pub(super) async fn serving(issuer: &CaId, vouched_by: &[CaId], context: &ApplyContext<'_>) -> Result<(), NodeError> {
    let Some(old) = to_replace(KUBELET_SERVER, issuer, context)? else { return Ok(()) };
    let key = new_key(KUBELET_SERVER)?;
    let new = match signed_here(KUBELET_SERVER, issuer, &old, &key, context)? {
        Some(new) => new,
        None => {
            let request = signing_request_like(&old, &key).map_err(NodeError::issue(KUBELET_SERVER))?;
            let signed = (context.callbacks.sign_kubelet_serving)(request).await.map_err(|source| {
                let name = old.common_name().unwrap_or_default();
                NodeError::Callback {
                    what: format!("the cluster did not sign a serving certificate for {name}"),
                    source,
                }
            })?;
            received(KUBELET_SERVER, &signed, issuer, &key, context)?
        }
    };
    let chain = chain(&new, issuer, vouched_by, context)?;
    switch(KUBELET_SERVER, &new, &chain, &key, context)
}

/// The certificate that stands there, unless it is from `issuer` and valid.
fn to_replace(link: &str, issuer: &CaId, context: &ApplyContext<'_>) -> Result<Option<Certificate>, NodeError> {
    let layout = context.node.layout();
    let old = first_certificate(&layout.resolve(&layout.path(link)), link)?;
    Ok((!issued_by(&old, issuer, context)).then_some(old))
}

/// P-256, as the kubelet makes its keys.
fn new_key(link: &str) -> Result<PrivateKey, NodeError> {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(NodeError::issue(link))
}

/// Signs on a node that has the CA's key; `None` elsewhere.
fn signed_here(
    link: &str,
    issuer: &CaId,
    old: &Certificate,
    key: &PrivateKey,
    context: &ApplyContext<'_>,
) -> Result<Option<Certificate>, NodeError> {
    if !context.authorities.has_key(issuer) {
        return Ok(None);
    }
    let authority = context.authorities.authority(issuer)?;
    reissue(&authority, old, key.spki_der(), context).map(Some).map_err(NodeError::issue(link))
}

/// What the cluster sent, if it is what was asked for.
fn received(
    link: &str,
    signed: &str,
    issuer: &CaId,
    key: &PrivateKey,
    context: &ApplyContext<'_>,
) -> Result<Certificate, NodeError> {
    let new = Certificate::first_from_pem(signed.as_bytes()).map_err(NodeError::pki(link))?;
    if key.matches(&new) && issued_by(&new, issuer, context) {
        return Ok(new);
    }
    let problem = format!("the certificate received is not from CA {} over this node's key", issuer.short());
    Err(NodeError::Callback { what: format!("cannot renew {link}"), source: problem.into() })
}

/// Writes the pair under the kubelet's own naming and moves the symlink on, last.
fn switch(
    link: &str,
    new: &Certificate,
    chain: &str,
    key: &PrivateKey,
    context: &ApplyContext<'_>,
) -> Result<(), NodeError> {
    let layout = context.node.layout();
    back_up(&layout.resolve(&layout.path(link)), layout, context.rotation)?;
    move_on(link, new, chain, key, layout, context.now)
}

/// Writes the pair, of which `chain` is the certificate with what follows it, and moves the symlink on.
pub(crate) fn move_on(
    link: &str,
    new: &Certificate,
    chain: &str,
    key: &PrivateKey,
    layout: &Layout,
    now: Timestamp,
) -> Result<(), NodeError> {
    let path = layout.path(link);
    let mut pair = zeroize::Zeroizing::new(chain.to_owned());
    pair.push_str(&key.to_pem());
    let time = now.strftime("%Y-%m-%d-%H-%M-%S");
    let on_node = format!("{}-{time}.pem", link.trim_end_matches("-current.pem"));
    remember(new.fingerprint(), layout)?;
    atomic::replace(&layout.path(&on_node), pair.as_bytes(), atomic::SECRET)?;
    atomic::replace_symlink(&path, Path::new(&on_node))
}
