//! `certctl install` and `certctl uninstall`: the objects and the agents.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::config::{load, load_for};
use crate::cluster::{Cluster, InstallOptions, manifests};
use crate::config::Config;
use crate::context::Context;
use crate::engine::Record;
use crate::error::Error;

/// Longest wait for the agents to leave their hosts.
const LEAVE: Duration = Duration::from_secs(30);

/// Arguments of `certctl install`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certctl install                         apply CRDs, roles and the agents' DaemonSet, and wait until they report
  certctl install --export > certctl.yaml the same as YAML, for GitOps")]
pub struct InstallArgs {
    /// The agent's image; default: the one in the configuration file, else this version's
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
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
    /// Take the record of the CAs out too while it is still needed: a rotation is under way, or older CAs are not finalized
    #[arg(long)]
    discard_record: bool,
}

impl InstallArgs {
    /// What was said on the command line counts before the file.
    fn options(&self, config: &Config) -> InstallOptions {
        InstallOptions { image: self.image.clone().or_else(|| config.image.clone()).unwrap_or_else(image) }
    }
}

fn image() -> String {
    format!("certctl.dev/agent:{}", env!("CARGO_PKG_VERSION"))
}

pub(crate) async fn install(context: &Context, args: &InstallArgs) -> Result<(), Error> {
    let access = context.access("install");
    let config = match &args.config {
        // Nobody is asked for anything, so it does not matter which cluster a kubeconfig names.
        Some(file) if args.export => load(file)?,
        file => load_for(&access, file.as_deref())?,
    };
    let options = args.options(&config);
    if args.export {
        for object in manifests(&options) {
            let yaml = serde_saphyr::to_string(&object).map_err(Error::from_display)?;
            context.ui.data(&format!("---\n{yaml}"))?;
        }
        return Ok(());
    }
    let cluster = Cluster::connect(&access).await?;
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
    let cluster = Cluster::connect(&context.access("uninstall")).await?;
    cluster.version().await?;
    if !args.discard_record
        && let Some(object) = cluster.cluster_pki().await?
    {
        refuse_while_needed(&Record::read(&object))?;
    }
    context.confirm("Take certctl's agents, objects and records out of the cluster?", args.yes).await?;
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

/// Nothing but the record tells which CA is which while there are several: without it no rotation can be finished or finalized.
fn refuse_while_needed(record: &Record) -> Result<(), Error> {
    let anyway = "--discard-record takes it out nevertheless, and then you finish by hand";
    if record.rotating() {
        let refused = format!("clusterpki/cluster: the rotation to CAVersion {} is not finished", record.wanted);
        return Err(Error::refused(refused)
            .hint("finish it with `certctl rotate-ca`, or undo it with `certctl rotate-ca rollback`")
            .hint(anyway));
    }
    if record.authorities.len() > 1 {
        let versions: Vec<String> = record.authorities.keys().map(ToString::to_string).collect();
        let refused =
            format!("clusterpki/cluster: CAVersions {} are recorded, only one is in force", versions.join(", "));
        return Err(Error::refused(refused)
            .hint(
                "end the older ones with `certctl rotate-ca finalize`: their keys still lie on the control-plane nodes",
            )
            .hint(anyway));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AuthorityRecord, RotationIntent};
    use crate::error::ErrorKind;
    use crate::pki::CaId;

    fn record(wanted: u32, completed: u32, recorded: &[u32]) -> Record {
        let rotation = (wanted != completed).then(|| RotationIntent {
            from: CaId::planned(&completed.to_string()),
            to: None,
            rollback: false,
            started_by: "root@here:1".into(),
            started_at: "2026-11-22T12:00:00Z".into(),
            trusted_at: None,
        });
        let mut record = Record { wanted, completed, rotation, ..Record::default() };
        for version in recorded {
            let ca = AuthorityRecord {
                id: CaId::planned(&version.to_string()),
                certificate: String::new(),
                crosses: Vec::new(),
                specimen_server: None,
                specimen_client: None,
            };
            record.add(*version, &ca);
        }
        record
    }

    fn refusal(record: &Record) -> Option<ErrorKind> {
        refuse_while_needed(record).err().map(|error| error.kind())
    }

    #[test]
    fn the_image_is_the_flags_then_the_configurations_then_this_versions() {
        let args = |image: Option<&str>| InstallArgs { image: image.map(str::to_owned), config: None, export: false };
        let (flag, none) = (args(Some("flag")), args(None));
        let config = Config { image: Some("file".into()), ..Config::default() };
        assert_eq!(flag.options(&config).image, "flag");
        assert_eq!(none.options(&config).image, "file");
        assert_eq!(none.options(&Config::default()).image, image());
    }

    #[test]
    fn the_record_is_kept_while_a_rotation_is_under_way_or_older_cas_are_recorded() {
        assert_eq!(refusal(&record(2, 1, &[1])), Some(ErrorKind::Refused));
        assert_eq!(refusal(&record(2, 2, &[1, 2])), Some(ErrorKind::Refused));
    }

    #[test]
    fn a_cluster_with_one_ca_and_no_rotation_lets_certctl_go() {
        assert_eq!(refusal(&record(1, 1, &[1])), None);
        assert_eq!(refusal(&record(3, 3, &[3])), None);
    }
}
