//! `certctl inspect`: every certificate of a node's files, of files given by name, of an endpoint, or of the whole cluster, and what is wrong.

pub(super) mod cluster;
mod content;
pub(super) mod sources;

use std::mem::ManuallyDrop;

use crate::context::Context;
use crate::error::Error;
use crate::inspection::{edges, findings};
use crate::ui::Format;
use crate::ui::inspect::{InspectReport, MapReport};
use sources::SourceArgs;

/// Arguments of `certctl inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  certctl inspect                          every certificate of the cluster, through the agents
  certctl inspect --root /                 the certificates of this node, with the API server down too
  certctl inspect ~/.kube/config ca.crt    what stands in these files
  certctl inspect 10.0.0.1:6443            what a TLS server shows
  kubectl get cm kube-root-ca.crt -o jsonpath='{.data.ca\\.crt}' | certctl inspect -
  certctl inspect -o wide                  with CAVersion, usage, and on disk, loaded or served
  certctl inspect --map --root /           who presents and who checks each certificate")]
pub struct InspectArgs {
    #[command(flatten)]
    sources: SourceArgs,
    /// Show who presents and who checks each certificate, and whether the verifier's CAs include its signer
    #[arg(long)]
    map: bool,
}

pub(crate) async fn run(context: &Context, args: &InspectArgs) -> Result<(), Error> {
    let seen = args.sources.look(context, "inspect").await?;
    let format = context.format_or(Format::Table);
    if args.map {
        let edges = edges(&seen.evidence.rows);
        if edges.is_empty() {
            context.ui.note(
                "none of these certificates stands where kubeadm puts it: the map is for --root and for clusters",
            );
        }
        context.ui.show(&MapReport { edges }, format, context.now)?;
    } else {
        let findings = findings(&seen.evidence, None, context.now);
        // The process ends after this. To give the texts of ten thousand certificates back one by one is a sixteenth of the whole work.
        let report = ManuallyDrop::new(InspectReport::new(seen.evidence, findings, context.now));
        context.ui.show(&*report, format, context.now)?;
    }
    seen.unread.map_or(Ok(()), Err)
}
