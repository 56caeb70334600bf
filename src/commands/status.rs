//! `certctl status`: where the cluster CA stands, in gkectl's words.

use clap::Args;

use crate::cluster::{Cluster, ClusterError, Live};
use crate::context::Context;
use crate::engine::{Report, report};
use crate::error::Error;
use crate::ui::{Format, Table, View};

/// Arguments of `certctl status`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certctl status                 the state, each node, what blocks, the next command
  certctl status -o json         the same for scripts
  certctl status --watch         print again at every change")]
pub struct StatusArgs {
    /// Print again at every change, until interrupted
    #[arg(short, long)]
    watch: bool,
}

pub(crate) async fn run(context: &Context, args: &StatusArgs) -> Result<(), Error> {
    let mut cluster = Cluster::connect(&context.access("status")).await?;
    cluster.version().await?;
    let mut live = Live::start(&cluster).await.map_err(refused)?;
    let mut shown: Option<String> = None;
    loop {
        let report = report(&live).ok_or_else(|| {
            Error::failed("no rotation was ever run on this cluster")
                .hint("`certctl rotate-ca --dry-run` shows the plan of one")
        })?;
        let key = serde_json::to_string(&report).unwrap_or_default();
        if shown.as_ref() != Some(&key) {
            #[expect(clippy::disallowed_methods, reason = "each print of a watch has a time of its own")]
            let now = jiff::Timestamp::now();
            context.ui.show(&report, context.format_or(Format::Table), now)?;
            shown = Some(key);
        }
        if !args.watch {
            return Ok(());
        }
        live.changed.notified().await;
        if live.unauthorized() {
            // The rotation that dropped the old CA has renewed its caller's kubeconfig before: it may be this very file.
            cluster = cluster.reconnect().await?;
            live = Live::start(&cluster).await.map_err(refused)?;
        }
    }
}

/// What to do when the kubeconfig as it is now is refused too.
fn refused(error: ClusterError) -> Error {
    match error.code() {
        Some(401) => Error::failed("the API server refuses your credential").caused_by(error.to_string()).hint(
            "the CA that signed it may have been dropped: name a kubeconfig of the new CA with --kubeconfig, \
             for example /etc/kubernetes/admin.conf of a control-plane node",
        ),
        _ => error.into(),
    }
}

impl View for Report {
    const KIND: &'static str = "CARotationStatus";

    fn table(&self, wide: bool) -> Table {
        let mut heads = vec!["NODE", "ROLE", "READY", "BUNDLE", "SERVED", "KUBELET"];
        if wide {
            heads.extend(["KUBELET LOADED", "WAIVED"]);
        }
        heads.push("PROBLEM");
        let mut table = Table::new(&heads);
        let number = |version: Option<u32>| version.map(|version| version.to_string()).unwrap_or_default();
        for node in &self.nodes {
            let bundle: Vec<String> = node.bundle.iter().map(ToString::to_string).collect();
            let mut cells = vec![
                node.node.clone(),
                node.role.name().to_owned(),
                if node.ready { "True" } else { "False" }.to_owned(),
                format!("[{}]", bundle.join(" ")),
                number(node.served),
                number(node.kubelet),
            ];
            if wide {
                cells.extend([number(node.kubelet_loaded), if node.waived { "yes" } else { "" }.to_owned()]);
            }
            cells.push(node.problem.clone().unwrap_or_default());
            table.row(cells);
        }
        table
    }

    /// The first four lines are gkectl's, to the letter.
    fn text(&self, wide: bool) -> String {
        let mut text = format!(
            "State of CARotation with CAVersion {} is -\nstatus: {},\nreason: {},\nmessage: {}\n\nphase: {}\n",
            self.ca_version,
            self.status.name(),
            self.reason.name(),
            self.planes.message,
            self.phase
        );
        if let Some(started) = &self.started {
            text.push_str(&format!("started: {started}\n"));
        }
        text.push_str(&format!("\n{}", self.table(wide)));
        for blocking in &self.blocking {
            text.push_str(&format!("\nwaiting for: {blocking}"));
        }
        if !self.next.is_empty() {
            text.push_str(&format!("\nnext: {}\n", self.next));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_credential_ends_with_what_to_do() {
        let call = |code| ClusterError::Call {
            verb: "list",
            object: "nodepkis".into(),
            reason: "Unauthorized".into(),
            code: Some(code),
        };
        assert!(format!("{:?}", refused(call(401))).contains("--kubeconfig"));
        assert!(!format!("{:?}", refused(call(503))).contains("--kubeconfig"));
    }
}
