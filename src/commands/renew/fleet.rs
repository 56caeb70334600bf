//! Through the agents of a running cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::RenewArgs;
use super::local::certificates;
use crate::agent::alone::Seen;
use crate::commands::config::load_for;
use crate::config::Config;
use crate::context::Context;
use crate::engine::{Fleet, FleetNode, FleetSettings, dead, holder};
use crate::error::{Error, ErrorKind};
use crate::plan::Event;
use crate::plan::renewal::{CertificateName, RenewalRow, Request};
use crate::plan::{Conf, renewal::Action};
use crate::rotation::renewal::Selection;
use crate::ui::Format;
use crate::ui::renewal::{FleetReport, FleetReportNode};

pub(super) async fn run(context: &Context, args: &RenewArgs) -> Result<(), Error> {
    let config = load_for(&context.access("renew"), args.fleet.config.as_deref())?;
    let job = Job { context, args, config: &config };
    let (events, printer) = job.printer();
    let outcome = job.run(events).await;
    drop(printer.await);
    outcome
}

struct Job<'a> {
    context: &'a Context,
    args: &'a RenewArgs,
    config: &'a Config,
}

impl Job<'_> {
    async fn run(&self, events: mpsc::UnboundedSender<Event>) -> Result<(), Error> {
        let access = self.context.access("renew");
        let mut fleet = Fleet::begin(&access, &holder(), &dead, self.settings(), events).await?;
        let mut signal = self.context.interrupt.take_over();
        let outcome = tokio::select! {
            outcome = self.work(&mut fleet) => outcome,
            _ = signal.changed() => Err(self.interrupted()),
        };
        let outcome = match outcome {
            Err(error) if fleet.has_begun() => Err(fleet.how_to_go_on(error)),
            outcome => outcome,
        };
        fleet.release().await;
        outcome
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

    /// Shows the plan, or asks and carries it out. What was done is shown also when something failed.
    async fn work(&self, fleet: &mut Fleet) -> Result<(), Error> {
        let nodes = fleet.nodes();
        if self.args.dry_run {
            self.show(&nodes, true)?;
            self.warn_of_what_stays(&nodes);
            return Ok(());
        }
        let Some(question) = question(&nodes) else {
            self.warn_of_what_stays(&nodes);
            self.context.ui.note("nothing is to be renewed");
            return if self.as_events() { Ok(()) } else { self.show(&nodes, false) };
        };
        self.context.confirm(&question, self.args.yes).await?;
        let outcome = fleet.run().await;
        let nodes = fleet.nodes();
        if !self.as_events() {
            self.show(&nodes, false)?;
        }
        self.warn_of_what_stays(&nodes);
        if renewed(&nodes).any(|row| row.name == CertificateName::Conf(Conf::Admin)) && outcome.is_ok() {
            self.context
                .ui
                .note("copies of admin.conf elsewhere (~/.kube/config) hold the old certificate: copy it anew");
        }
        outcome
    }

    /// With `-o json` a run prints its events, as a rotation does: a document behind them could not be told from one.
    fn as_events(&self) -> bool {
        self.context.global.output == Some(Format::Json)
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

    /// Events are shown by a task of their own, so that a slow terminal does not hold the renewal.
    fn printer(&self) -> (mpsc::UnboundedSender<Event>, tokio::task::JoinHandle<()>) {
        let (events, mut received) = mpsc::unbounded_channel();
        let mut progress = self.context.ui.progress();
        let task = tokio::spawn(async move {
            while let Some(event) = received.recv().await {
                progress.report(&event);
            }
        });
        (events, task)
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
    let renew = (count > 0).then(|| format!("renew {}", certificates(count)));
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
    let done = outcome.is_some();
    let (backup, proofs) = outcome.map(|outcome| (outcome.backup, outcome.proofs)).unwrap_or_default();
    let proved = done && proofs.iter().all(|proof| proof.seen == Seen::New.word());
    FleetReportNode {
        node: name.to_owned(),
        certificates,
        restarts: node.plan.restarts.clone(),
        backup,
        proofs,
        proved,
    }
}
