//! Where `inspect` and `check` look, and what they saw there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;

use super::cluster;
use super::content::{Content, Source};
use crate::context::Context;
use crate::error::Error;
use crate::inspection::{Evidence, NodeView, rows_of};
use crate::node::{Addresses, EtcdAddresses, Layout, read_disk};
use crate::pki::Certificate;
use crate::plan::{EndpointState, NodeState};
use crate::probe;

/// Longest wait for an endpoint, without `--request-timeout`.
const LIMIT: Duration = Duration::from_secs(5);

/// Where to look.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// Kubeconfigs, PEM or DER files, folders of them, `-` for standard input, or a TLS endpoint `HOST:PORT`
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Look at a node's files below this folder (`/` on the node itself)
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// With --root /: ask the components of this node which certificate they serve
    #[arg(long, requires = "root")]
    probe: bool,
    /// In the cluster: only these nodes
    #[arg(long = "node", value_name = "NAME", conflicts_with_all = ["files", "root"])]
    nodes: Vec<String>,
}

/// What was seen, and the error that is due for what was named and could not be read.
pub(crate) struct Seen {
    pub(crate) evidence: Evidence,
    pub(crate) unread: Option<Error>,
}

impl SourceArgs {
    /// Looks everywhere.
    ///
    /// # Errors
    /// Nothing at all could be looked at.
    pub(crate) async fn look(&self, context: &Context, verb: &'static str) -> Result<Seen, Error> {
        if self.root.is_none() && self.files.is_empty() {
            let evidence = cluster::look(context, verb, &self.nodes).await?;
            return Ok(Seen { evidence, unread: None });
        }
        let mut sources = Vec::new();
        for file in &self.files {
            match (file.to_str(), endpoint(file)) {
                (Some("-"), _) => sources.push(Source::of_stdin()),
                (_, Some(address)) => sources.push(served(context, &address).await),
                _ => sources.extend(Source::of_path(file)),
            }
        }
        let known: Vec<Certificate> = sources.iter().flat_map(Source::authorities).collect();
        let mut evidence = Evidence::default();
        if let Some(root) = &self.root {
            add_node(root, self.probe, &known, &mut evidence).await?;
        }
        let unread = unread(&sources);
        let found = sources.into_iter().map(|source| source.into_rows(&known)).fold(Vec::new(), joined);
        let named = rows_of(None, found, None, &BTreeMap::new());
        evidence.rows = joined(std::mem::take(&mut evidence.rows), named);
        Ok(Seen { evidence, unread })
    }
}

/// Both; where there is no first, the second as it is.
fn joined<T>(mut first: Vec<T>, second: Vec<T>) -> Vec<T> {
    if first.is_empty() {
        return second;
    }
    first.extend(second);
    first
}

/// Reads the files of a node, and asks its components when they are to be asked.
///
/// # Errors
/// There is no certificate of a node below `root`.
pub(crate) async fn add_node(
    root: &Path,
    probe: bool,
    known: &[Certificate],
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let layout = Layout::new(root);
    let found = read_disk(&layout, known);
    if found.rows.is_empty() {
        return Err(Error::failed(format!("no certificate of a node below {}", root.display()))
            .hint("give the folder that holds etc/kubernetes; on the node itself that is `--root /`"));
    }
    let state = match probe {
        true => Some(NodeState { endpoints: endpoints(&layout).await, ..NodeState::default() }),
        false => None,
    };
    evidence.add_node(None, found.rows, NodeView { facts: found.facts, state }, &BTreeMap::new());
    Ok(())
}

fn unread(sources: &[Source]) -> Option<Error> {
    let count = |which: fn(&Content) -> bool| sources.iter().filter(|source| which(&source.content)).count();
    let silent = count(|content| matches!(content, Content::Silent(_)));
    let unread = count(|content| matches!(content, Content::Unread(_)));
    let all = sources.len();
    let (files, endpoints) = if all == 1 { ("file", "endpoint") } else { ("files", "endpoints") };
    match (unread, silent) {
        (0, 0) => None,
        (unread, 0) => Some(Error::failed(format!("{unread} of {all} {files} could not be read"))),
        (0, silent) => Some(Error::failed(format!("{silent} of {all} {endpoints} showed no certificate"))),
        (unread, silent) => Some(Error::failed(format!("{} of {all} gave no certificate", unread + silent))),
    }
}

/// `HOST:PORT`, also as the server of a kubeconfig is written. A file of that name comes first.
fn endpoint(file: &std::path::Path) -> Option<String> {
    let text = file.to_str().filter(|_| !file.exists())?;
    let text = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
    let (host, port) = text.rsplit_once(':')?;
    let plausible = !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok();
    plausible.then(|| text.to_owned())
}

async fn served(context: &Context, address: &str) -> Source {
    let limit = context.global.request_timeout.map_or(LIMIT, SignedDuration::unsigned_abs);
    match probe::handshake(address, probe::host(address), limit).await {
        Ok(chain) => Source { name: address.to_owned(), content: Content::Served(chain.certificates) },
        Err(error) => Source { name: address.to_owned(), content: Content::Silent(crate::node::in_full(&error)) },
    }
}

/// What the components of this node show. Whoever does not answer is left out: it may not run here.
async fn endpoints(layout: &Layout) -> BTreeMap<String, EndpointState> {
    let own = Addresses::read(layout);
    let all = [
        ("kube-apiserver", own.apiserver),
        ("kube-controller-manager", own.controller_manager),
        ("kube-scheduler", own.scheduler),
        ("kubelet", own.kubelet),
        ("etcd", EtcdAddresses::read(layout).client),
    ];
    let ask = all.map(|(name, address)| async move {
        let chain = probe::handshake(&address, probe::host(&address), LIMIT).await.ok()?;
        let serial = chain.certificates.first()?.serial_hex();
        Some((name.to_owned(), EndpointState { serial, ..EndpointState::default() }))
    });
    futures::future::join_all(ask).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_endpoint_is_told_from_a_file() {
        let endpoint = |text| endpoint(Path::new(text));
        for (text, address) in [
            ("10.0.0.1:6443", "10.0.0.1:6443"),
            ("[fd00::1]:6443", "[fd00::1]:6443"),
            ("https://api.example:6443/", "api.example:6443"),
        ] {
            assert_eq!(endpoint(text).as_deref(), Some(address));
        }
        for text in ["ca.crt", "C:\\ca.crt", "api.example", ":6443", "a/b:1", "api:70000", "-"] {
            assert_eq!(endpoint(text), None, "{text}");
        }
    }
}
