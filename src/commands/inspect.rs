//! `certctl inspect`: every certificate of a node's files, of kubeconfigs and PEM files, or of the whole cluster.

mod files;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::context::Context;
use crate::error::Error;
use crate::node::{Layout, read_disk};
use crate::ui::Format;
use crate::ui::inspect::{InspectReport, InspectRow, rows_of};

/// Arguments of `certctl inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  certctl inspect                          every certificate of the cluster, through the agents
  certctl inspect --root /                 the certificates of this node, with the API server down too
  certctl inspect ~/.kube/config ca.crt    what stands in these files
  certctl inspect -o wide                  with CAVersion, and on disk, loaded or served")]
pub struct InspectArgs {
    /// Kubeconfigs and PEM files to look into
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Look at a node's files below this folder (`/` on the node itself)
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// In the cluster: only these nodes
    #[arg(long = "node", value_name = "NAME", conflicts_with_all = ["files", "root"])]
    nodes: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: &InspectArgs) -> Result<(), Error> {
    let offline = args.root.is_some() || !args.files.is_empty();
    let rows = if offline { offline_rows(args)? } else { cluster_rows(context, args).await? };
    let report = InspectReport::new(rows, context.now);
    context.ui.show(&report, context.format_or(Format::Table), context.now)?;
    let unreadable = report.certificates.iter().filter(|row| files::is_unreadable(row, &args.files)).count();
    match unreadable {
        0 => Ok(()),
        count => Err(Error::failed(format!("{count} of {} files could not be read", args.files.len()))),
    }
}

fn offline_rows(args: &InspectArgs) -> Result<Vec<InspectRow>, Error> {
    let known = files::authorities(&args.files);
    let mut rows = Vec::new();
    if let Some(root) = &args.root {
        let found = read_disk(&Layout::new(root), &known).rows;
        if found.is_empty() {
            return Err(Error::failed(format!("no certificate of a node below {}", root.display()))
                .hint("give the folder that holds etc/kubernetes; on the node itself that is `--root /`"));
        }
        rows.extend(rows_of(None, &found, None, &BTreeMap::new()));
    }
    let found: Vec<_> = args.files.iter().flat_map(|file| files::rows(file, &known)).collect();
    rows.extend(rows_of(None, &found, None, &BTreeMap::new()));
    Ok(rows)
}

async fn cluster_rows(context: &Context, args: &InspectArgs) -> Result<Vec<InspectRow>, Error> {
    let cluster =
        Cluster::connect(&context.access("inspect")).await.map_err(|e| offline_hint(Error::from_display(e)))?;
    let nodes = cluster.node_pkis().await.map_err(|e| match e.code() {
        Some(404) => Error::failed("certctl is not installed in this cluster").hint("run `certctl install` first"),
        _ => offline_hint(Error::from_display(e)),
    })?;
    let status = cluster.cluster_pki().await.map_err(Error::from_display)?.and_then(|object| object.status);
    let authorities = status.map(|status| status.authorities).unwrap_or_default();
    let versions = authorities.into_iter().filter_map(|(number, ca)| Some((ca.id, number.parse().ok()?))).collect();
    let mut rows = Vec::new();
    for node in &nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        if !args.nodes.is_empty() && !args.nodes.iter().any(|wanted| wanted == name) {
            continue;
        }
        match &node.status {
            Some(status) => rows.extend(rows_of(Some(name), &status.certificates, Some(&status.state), &versions)),
            None => context.ui.warn(&format!("node {name}: its agent has not reported yet")),
        }
    }
    if let Some(missing) =
        args.nodes.iter().find(|name| !nodes.iter().any(|node| node.metadata.name.as_ref() == Some(*name)))
    {
        return Err(Error::failed(format!("node {missing} has no agent that reports")).hint("see `certctl status`"));
    }
    Ok(rows)
}

fn offline_hint(error: Error) -> Error {
    error.hint("on a node, `certctl inspect --root /` needs no API server")
}
