//! Through the agents of a running cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::RenewArgs;
use crate::agent::alone::Seen;
use crate::commands::config::load_for;
use crate::commands::events;
use crate::commands::on_node::certificate_count;
use crate::config::Config;
use crate::context::Context;
use crate::engine::{Fleet, FleetNode, FleetSettings, dead, holder};
use crate::error::{Error, ErrorKind};
use crate::plan::renewal::{CertificateName, RenewalRow, Request};
use crate::plan::{Conf, renewal::Action};
use crate::rotation::Event;
use crate::rotation::renewal::Selection;
use crate::ui::renewal::{FleetReport, FleetReportNode};
use crate::ui::{Format, ProgressChoice};

pub(super) async fn run(context: &Context, args: &RenewArgs) -> Result<(), Error> {
    let config = load_for(&context.access("renew"), args.fleet.config.as_deref())?;
    let job = Job { context, args, config: &config };
    let (events, printer) = events::printer(job.context);
    let worked = job.run(events).await;
    // Whoever shows the events has finished, so that the table does not come between them.
    drop(printer.await);
    let Worked { nodes, outcome } = worked?;
    job.tell(&nodes, outcome.is_ok())?;
    outcome
}

/// What was planned and done, and how it ended.
struct Worked {
    nodes: BTreeMap<String, FleetNode>,
    outcome: Result<(), Error>,
}

struct Job<'a> {
    context: &'a Context,
    args: &'a RenewArgs,
    config: &'a Config,
}

impl Job<'_> {
    /// An error of this function, and not of what it returns, means that nothing was changed and there is nothing to show.
    async fn run(&self, events: mpsc::UnboundedSender<Event>) -> Result<Worked, Error> {
        let access = self.context.access("renew");
        let mut fleet = Fleet::begin(&access, &holder(), &dead, self.settings(), events).await?;
        let mut signal = self.context.interrupt.take_over();
        let outcome = tokio::select! {
            outcome = self.work(&mut fleet) => outcome,
            _ = signal.changed() => Err(self.interrupted()),
        };
        let (nodes, begun) = (fleet.nodes(), fleet.has_begun());
        let outcome = outcome.map_err(|error| if begun { fleet.how_to_go_on(error) } else { error });
        fleet.release().await;
        match outcome {
            Err(error) if !begun => Err(error),
            outcome => Ok(Worked { nodes, outcome }),
        }
    }

    fn settings(&self) -> FleetSettings {
        let fleet = &self.args.fleet;
        let waived = self.config.waive.iter().chain(&fleet.waive).map(|waiver| waiver.node().to_owned());
        let limit = fleet.max_unavailable.unwrap_or(self.config.max_unavailable);
        let timeout = fleet.timeout.unwrap_or_else(|| self.config.timeout.get());
        FleetSettings {
            request: Request { csr_api: true, ..self.args.request() },
            selection: Selection { nodes: fleet.node.iter().cloned().collect(), waived: waived.collect() },
            timeout: Duration::try_from(timeout).unwrap_or(Duration::ZERO),
            max_unavailable: Box::new(move |nodes| limit.of(nodes)),
        }
    }

    /// Without the hint of a command that may simply be run again: what is renewed would be renewed once more.
    fn interrupted(&self) -> Error {
        let kind = self.context.interrupt.error().map_or(ErrorKind::Failed, |error| error.kind());
        Error::new(kind, "interrupted; a node that was at it comes to its end")
    }

    /// Asks and carries the plan out, unless only the plan is wanted, or nothing is to be done.
    async fn work(&self, fleet: &mut Fleet) -> Result<(), Error> {
        match question(&fleet.nodes()).filter(|_| !self.args.dry_run) {
            Some(question) => {
                self.context.confirm(&question, self.args.yes).await?;
                fleet.run().await
            }
            None => Ok(()),
        }
    }

    /// What was done is shown also when something failed.
    fn tell(&self, nodes: &BTreeMap<String, FleetNode>, good: bool) -> Result<(), Error> {
        let dry_run = self.args.dry_run;
        if dry_run || !self.as_events() {
            self.show(nodes, dry_run)?;
        }
        self.warn_of_what_stays(nodes);
        if !dry_run && question(nodes).is_none() {
            self.context.say("nothing was renewed");
        }
        if !dry_run && good && renewed(nodes).any(|row| row.name == CertificateName::Conf(Conf::Admin)) {
            self.context.say("copies of admin.conf elsewhere (~/.kube/config) hold the old certificate: copy it anew");
        }
        Ok(())
    }

    /// True when a run prints its events on stdout, as a rotation does: a document behind them could not be told from one.
    fn as_events(&self) -> bool {
        match self.context.global.progress {
            ProgressChoice::Json => true,
            ProgressChoice::Auto => self.context.global.output == Some(Format::Json),
            ProgressChoice::Plain | ProgressChoice::None => false,
        }
    }

    fn show(&self, nodes: &BTreeMap<String, FleetNode>, dry_run: bool) -> Result<(), Error> {
        let nodes = nodes.iter().map(|(name, node)| report(name, node)).collect();
        let report = FleetReport { dry_run, nodes };
        Ok(self.context.ui.show(&report, self.context.format_or(Format::Table), self.context.now)?)
    }

    fn warn_of_what_stays(&self, nodes: &BTreeMap<String, FleetNode>) {
        for (name, node) in nodes {
            for row in node.plan.certificates.iter().filter(|row| row.remarkable) {
                let reason = row.reason.as_deref().unwrap_or_default();
                self.context.ui.warn(&format!("node/{name}: {} stays as it is: {reason}", row.name));
            }
        }
    }
}

fn renewed(nodes: &BTreeMap<String, FleetNode>) -> impl Iterator<Item = &RenewalRow> {
    nodes.values().flat_map(|node| node.plan.renewed())
}

/// What is asked before anything changes; `None` when nothing does.
fn question(nodes: &BTreeMap<String, FleetNode>) -> Option<String> {
    let busy: Vec<&FleetNode> = nodes.values().filter(|node| !node.plan.is_empty()).collect();
    if busy.is_empty() {
        return None;
    }
    let mut processes: Vec<&str> = Vec::new();
    for process in busy.iter().flat_map(|node| &node.plan.restarts) {
        if !processes.contains(&process.as_str()) {
            processes.push(process);
        }
    }
    let count = renewed(nodes).count();
    let renew = (count > 0).then(|| format!("renew {}", certificate_count(count)));
    let restart = (!processes.is_empty()).then(|| format!("restart {}", processes.join(", ")));
    let what: Vec<String> = renew.into_iter().chain(restart).collect();
    let on = if busy.len() == 1 { "1 node".to_owned() } else { format!("{} nodes, one after the other", busy.len()) };
    let mut question = format!("{} on {on}? (`--dry-run` shows the plan)", what.join(" and "));
    question[..1].make_ascii_uppercase();
    Some(question)
}

/// One node with what is known of it now.
fn report(name: &str, node: &FleetNode) -> FleetReportNode {
    let outcome = node.outcome.clone();
    let mut certificates = node.plan.certificates.clone();
    for new in outcome.iter().flat_map(|outcome| &outcome.renewed) {
        let row = certificates.iter_mut().find(|row| row.name == new.name && row.action == Action::Renew);
        if let Some(change) = row.and_then(|row| row.change.as_mut()) {
            change.serial = Some(new.serial.clone());
            change.not_after = Some(new.not_after);
            change.key_algorithm.clone_from(&new.key_algorithm);
        }
    }
    let problem = node.problem.clone();
    let done = outcome.is_some() && problem.is_none();
    let (backup, proofs) = outcome.map(|outcome| (outcome.backup, outcome.proofs)).unwrap_or_default();
    let proved = done && proofs.iter().all(|proof| proof.seen == Seen::New.word());
    FleetReportNode {
        node: name.to_owned(),
        certificates,
        restarts: node.plan.restarts.clone(),
        backup,
        proofs,
        problem,
        proved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{RenewalOutcome, Renewed};
    use crate::plan::renewal::{Change, ProofRow};
    use crate::rotation::renewal::NodePlan;

    fn row() -> RenewalRow {
        let change = Change {
            subject: "CN=kube-apiserver".into(),
            old_serial: "1".into(),
            serial: None,
            not_after: None,
            cut_short: false,
            key_algorithm: "RSA-2048".into(),
            new_key: true,
            restarts: None,
        };
        RenewalRow {
            name: CertificateName::Apiserver,
            action: Action::Renew,
            old_not_after: None,
            reason: None,
            remarkable: false,
            remedy: None,
            files: CertificateName::Apiserver.files(),
            authority: "cluster".into(),
            change: Some(change),
        }
    }

    fn node(rows: Vec<RenewalRow>, restarts: &[&str]) -> FleetNode {
        let restarts = restarts.iter().map(|process| (*process).to_owned()).collect();
        FleetNode { plan: NodePlan { certificates: rows, restarts, problem: None }, outcome: None, problem: None }
    }

    fn nodes(all: &[(&str, FleetNode)]) -> BTreeMap<String, FleetNode> {
        all.iter().map(|(name, node)| ((*name).to_owned(), node.clone())).collect()
    }

    #[test]
    fn the_question_counts_certificates_and_nodes_and_names_each_process_once() {
        let idle = node(Vec::new(), &[]);
        assert_eq!(question(&nodes(&[("w-1", idle.clone())])), None);
        let busy = node(vec![row()], &["kube-scheduler"]);
        assert_eq!(
            question(&nodes(&[("cp-1", busy.clone()), ("cp-2", busy), ("w-1", idle)])).unwrap(),
            "Renew 2 certificates and restart kube-scheduler on 2 nodes, one after the other? (`--dry-run` shows the plan)"
        );
        let stale = node(Vec::new(), &["kubelet"]);
        assert_eq!(
            question(&nodes(&[("w-1", stale)])).unwrap(),
            "Restart kubelet on 1 node? (`--dry-run` shows the plan)"
        );
    }

    #[test]
    fn a_node_is_proved_only_when_everybody_works_with_what_stands_there_now() {
        let planned = node(vec![row()], &[]);
        assert!(!report("cp-1", &planned).proved, "it has not come to its end");
        let renewed = Renewed {
            name: CertificateName::Apiserver,
            serial: "2".into(),
            not_after: jiff::Timestamp::UNIX_EPOCH,
            key_algorithm: "ECDSA-P256".into(),
        };
        let seen = |seen: &Seen| {
            let name = CertificateName::Apiserver;
            let proofs = vec![ProofRow { name, address: "10.0.0.1:6443".into(), seen: seen.word().into() }];
            let outcome = RenewalOutcome { renewed: vec![renewed.clone()], backup: None, proofs };
            report("cp-1", &FleetNode { outcome: Some(outcome), ..planned.clone() })
        };
        assert!(!seen(&Seen::Other("1".into())).proved);
        let failed = FleetNode {
            outcome: Some(RenewalOutcome::default()),
            problem: Some("disk full".into()),
            ..planned.clone()
        };
        assert!(!report("cp-1", &failed).proved, "whom it asked nobody is no proof");
        let proved = seen(&Seen::New);
        assert!(proved.proved);
        let change = proved.certificates[0].change.as_ref().unwrap();
        assert_eq!((change.serial.as_deref(), change.key_algorithm.as_str()), (Some("2"), "ECDSA-P256"));
    }
}
