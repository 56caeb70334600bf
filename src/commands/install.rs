//! `certctl install` and `certctl uninstall`: the objects and the agents.

use std::time::Duration;

use clap::Args;

use crate::cluster::{Cluster, InstallOptions, manifests};
use crate::context::Context;
use crate::error::Error;

/// Longest wait for the agents to leave their hosts.
const LEAVE: Duration = Duration::from_secs(30);

/// Arguments of `certctl install`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certctl install                         apply CRDs, roles and the agents' DaemonSet, and wait until they report
  certctl install --export > certctl.yaml the same as YAML, for GitOps")]
pub struct InstallArgs {
    /// The agent's image
    #[arg(long, value_name = "IMAGE", default_value_t = image())]
    image: String,
    /// Print the objects as YAML and apply nothing
    #[arg(long)]
    export: bool,
}

/// Arguments of `certctl uninstall`.
#[derive(Args, Debug)]
pub struct UninstallArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

fn image() -> String {
    format!("certctl.dev/agent:{}", env!("CARGO_PKG_VERSION"))
}

pub(crate) async fn install(context: &Context, args: &InstallArgs) -> Result<(), Error> {
    let options = InstallOptions { image: args.image.clone() };
    if args.export {
        for object in manifests(&options) {
            let yaml = serde_saphyr::to_string(&object).map_err(Error::from_display)?;
            context.ui.data(&format!("---\n{yaml}"))?;
        }
        return Ok(());
    }
    let cluster = Cluster::connect(&context.access("install")).await?;
    cluster.version().await?;
    cluster.install(&options).await?;
    // An uninstall that was broken off may have asked the agents to leave.
    cluster.ask_to_leave(false).await?;
    context.ui.note("applied the CRDs, roles and the agents' DaemonSet; waiting for the agents");
    let reported = cluster.agents_report(env!("CARGO_PKG_VERSION"), Duration::from_secs(120)).await?;
    context.ui.note(&format!("{reported} agents report"));
    Ok(())
}

pub(crate) async fn uninstall(context: &Context, args: &UninstallArgs) -> Result<(), Error> {
    context.confirm("Take certctl's agents, objects and records out of the cluster?", args.yes).await?;
    let cluster = Cluster::connect(&context.access("uninstall")).await?;
    cluster.version().await?;
    let remain = leave_hosts(&cluster).await?;
    cluster.uninstall(&InstallOptions { image: image() }).await?;
    for node in remain {
        context.ui.note(&format!(
            "node/{node}: its agent did not answer; remove certctl-agent.service in /etc/systemd/system and in its kubelet.service.wants, \
             and bin and agent in /var/lib/certctl"
        ));
    }
    context.ui.note("taken out; /var/lib/certctl stays on the nodes, with the keys of CAs that were not finalized");
    Ok(())
}

/// Has the agents take what they keep for the time without a pod off their hosts; the nodes on which it stays.
async fn leave_hosts(cluster: &Cluster) -> Result<Vec<String>, Error> {
    match cluster.ask_to_leave(true).await {
        Ok(()) => Ok(cluster.agents_left(LEAVE).await?),
        // The objects are gone already, by an uninstall that was broken off.
        Err(error) if error.code() == Some(404) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
