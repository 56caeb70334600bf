//! `certctl rotate-ca`: replaces the cluster CA of a running cluster; `continue`, `rollback` and `finalize` beside it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::sync::mpsc;

use super::config::load_for;
use super::events;
use crate::cluster::nodes::OldContainer;
use crate::config::{Config, MaxUnavailable, Waiver};
use crate::context::Context;
use crate::engine::{Begin, Driver, Outcome, PlanReport, Request, Settings, Start, dead, dry_run, holder};
use crate::error::Error;
use crate::rotation::{Event, EventKind, Phase};
use crate::ui::{Format, Table, View};

/// Arguments of `certctl rotate-ca`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certctl rotate-ca --dry-run                     show what would be done, and change nothing
  certctl rotate-ca --yes                         rotate; run the same command again after an interruption
  certctl rotate-ca --pause-before drop           stop while both CAs are trusted
  certctl rotate-ca continue --yes                go on from where it stopped
  certctl rotate-ca rollback --yes                return to the old CA, until the drop
  certctl rotate-ca finalize --yes                destroy the old CA's key")]
pub struct RotateCaArgs {
    #[command(subcommand)]
    command: Option<RotateCaCommand>,
    #[command(flatten)]
    options: RunArgs,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The CAVersion wanted; it must be the next one
    #[arg(long, value_name = "N")]
    ca_version: Option<u32>,
    /// Do not save a snapshot of etcd first
    #[arg(long)]
    no_etcd_snapshot: bool,
    /// Stop before this phase; `drop` is the point of no return
    #[arg(long, value_name = "PHASE")]
    pause_before: Option<Phase>,
}

/// What every form of the command takes.
#[derive(Args, Debug, Clone)]
pub struct RunArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Do not ask
    #[arg(short, long, global = true)]
    yes: bool,
    /// Leave this node out, by name: node/NAME (repeatable)
    #[arg(long, value_name = "node/NAME", global = true)]
    waive: Vec<Waiver>,
    /// Give up when nothing has moved for this long; 0 waits for ever
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_timeout, global = true)]
    timeout: Option<jiff::SignedDuration>,
    /// How many kubelets may restart at the same time, as a number or a percentage
    #[arg(long, value_name = "N", global = true)]
    max_unavailable: Option<MaxUnavailable>,
}

#[derive(Subcommand, Debug)]
enum RotateCaCommand {
    /// Go on with what is under way, past the pause before which it stands
    Continue {
        /// Stop before this later phase
        #[arg(long, value_name = "PHASE")]
        pause_before: Option<Phase>,
    },
    /// Return to the old CA, from any phase before the drop
    Rollback,
    /// Destroy the old CA's key and take the cross-signed certificate out of the served chains
    Finalize {
        /// Accept that containers started before both CAs were trusted, and nodes left out and not up to date, are cut off
        #[arg(long)]
        accept_cut_off: bool,
    },
}

pub(crate) async fn run(context: &Context, args: &RotateCaArgs) -> Result<(), Error> {
    let config = load_for(&context.access("rotate-ca"), args.options.config.as_deref())?;
    let job = Job { context, args: &args.options, config: &config, etcd_snapshot: !args.no_etcd_snapshot };
    let configured = config.pause_before.as_deref().map(str::parse).transpose();
    let configured = configured.map_err(|error| Error::usage(format!("pauseBefore: {error}")))?;
    match &args.command {
        Some(RotateCaCommand::Continue { pause_before }) => {
            job.rotate(Request::Continue, pause_before.or(configured)).await
        }
        Some(RotateCaCommand::Rollback) => job.rotate(Request::Rollback, None).await,
        Some(RotateCaCommand::Finalize { accept_cut_off }) => job.finalize(*accept_cut_off).await,
        None if args.dry_run => job.plan(args.ca_version).await,
        None => {
            let request = Request::Rotate { ca_version: args.ca_version };
            job.rotate(request, args.pause_before.or(configured)).await
        }
    }
}

struct Job<'a> {
    context: &'a Context,
    args: &'a RunArgs,
    config: &'a Config,
    etcd_snapshot: bool,
}

impl Job<'_> {
    async fn plan(&self, ca_version: Option<u32>) -> Result<(), Error> {
        let access = self.context.access("rotate-ca");
        let report = {
            let (holder, waive) = (holder(), self.waived());
            let start = Start {
                access: &access,
                request: Request::Rotate { ca_version },
                holder: &holder,
                dead: &dead,
                waive: &waive,
            };
            dry_run(&start, |nodes| self.max_unavailable().of(nodes)).await?
        };
        self.context.ui.show(&report, self.context.format_or(Format::Table), self.context.now)?;
        if report.blockers.is_empty() { Ok(()) } else { Err(Error::refused("the rotation could not begin")) }
    }

    async fn rotate(&self, request: Request, pause_before: Option<Phase>) -> Result<(), Error> {
        let question = match request {
            Request::Rollback => "Return to the old cluster CA?",
            Request::Continue => "Go on with the rotation of this cluster's CA, past the pause before which it stands?",
            _ => "Replace the cluster CA of this cluster? (`--dry-run` shows the plan)",
        };
        self.context.confirm(question, self.args.yes).await?;
        let (events, printer) = events::printer(self.context);
        let outcome = self.drive(request, pause_before, events).await;
        drop(printer.await);
        match outcome? {
            Outcome::Completed => Ok(()),
            Outcome::Paused(phase) => {
                let config = self.args.config.as_ref().map(|path| path.display().to_string());
                let go_on = self.context.follow_up("rotate-ca continue", &[("--config", config)]);
                self.context.ui.note(&format!("stopped before {phase}; to go on: {go_on} --yes"));
                Ok(())
            }
        }
    }

    async fn drive(
        &self,
        request: Request,
        pause_before: Option<Phase>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<Outcome, Error> {
        let Begin { mut driver, resumed, .. } = self.begin(request, pause_before, events.clone()).await?;
        if resumed {
            driver
                .note(EventKind::Warning { message: "a rotation is under way: going on from where it stands".into() });
        }
        let mut signal = self.context.interrupt.take_over();
        let outcome = tokio::select! {
            outcome = driver.run() => outcome,
            _ = signal.changed() => Err(self.context.interrupt.error().unwrap_or_else(|| Error::failed("interrupted"))),
        };
        driver.release().await;
        outcome
    }

    async fn begin(
        &self,
        request: Request,
        pause_before: Option<Phase>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<Begin, Error> {
        let access = self.context.access("rotate-ca");
        let (holder, waive) = (holder(), self.waived());
        let start = Start { access: &access, request, holder: &holder, dead: &dead, waive: &waive };
        let timeout = self.args.timeout.unwrap_or_else(|| self.config.timeout.get());
        let limit = self.max_unavailable();
        let settings = Settings {
            timeout: Duration::try_from(timeout).unwrap_or(Duration::ZERO),
            max_unavailable: Box::new(move |nodes| limit.of(nodes)),
            pause_before,
            etcd_snapshot: self.etcd_snapshot,
            leaf_validity_seconds: self.config.leaf_validity.map(|validity| validity.get().as_secs()),
            algorithm: self.config.key_algorithm.map(|algorithm| algorithm.to_string()),
            ca_validity_seconds: self.config.ca_validity.map(|validity| validity.get().as_secs()),
        };
        Begin::new(&start, settings, events).await
    }

    async fn finalize(&self, accept_cut_off: bool) -> Result<(), Error> {
        let (events, printer) = events::printer(self.context);
        let Begin { mut driver, .. } = self.begin(Request::Finalize, None, events).await?;
        let outcome = self.finalize_with(&mut driver, accept_cut_off).await;
        driver.release().await;
        drop(printer.await);
        outcome
    }

    async fn finalize_with(&self, driver: &mut Driver, accept_cut_off: bool) -> Result<(), Error> {
        if !accept_cut_off {
            refuse_left_behind(&driver.left_behind())?;
            refuse_old_containers(&driver.old_containers().await?)?;
        }
        self.context.confirm("Destroy the old cluster CA's key? This cannot be undone.", self.args.yes).await?;
        let gone = driver.finalize().await?;
        let names: Vec<&str> = gone.iter().map(crate::pki::CaId::short).collect();
        self.context.ui.note(&format!("destroyed the key of CA {} on every control-plane node", names.join(", ")));
        Ok(())
    }

    fn waived(&self) -> Vec<String> {
        self.config.waive.iter().chain(&self.args.waive).map(|waiver| waiver.node().to_owned()).collect()
    }

    fn max_unavailable(&self) -> MaxUnavailable {
        self.args.max_unavailable.unwrap_or(self.config.max_unavailable)
    }
}

fn refuse_left_behind(nodes: &[(String, Vec<String>)]) -> Result<(), Error> {
    if nodes.is_empty() {
        return Ok(());
    }
    let error =
        Error::refused(format!("{} nodes were left out and are not up to date; nothing was changed", nodes.len()));
    let error =
        nodes.iter().fold(error, |error, (name, lacks)| error.caused_by(format!("node/{name}: {}", lacks.join(", "))));
    Err(error.hint(
        "turn them on and wait until `certctl status` shows them up to date, take them out with `kubectl delete node`, \
         or accept with --accept-cut-off that they must be joined again",
    ))
}

fn refuse_old_containers(old: &[OldContainer]) -> Result<(), Error> {
    if old.is_empty() {
        return Ok(());
    }
    let mut error = Error::refused(format!("{} containers may hold only the old CA; nothing was changed", old.len()));
    for container in old {
        error = error.caused_by(format!(
            "{} ({}) on {}, running since {}",
            container.pod, container.container, container.node, container.started
        ));
    }
    Err(error.hint("restart them (`kubectl rollout restart …`), or accept that they are cut off with --accept-cut-off"))
}

impl View for PlanReport {
    const KIND: &'static str = "Plan";

    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(&["PHASE", "OBJECT", "RESTARTS", "DOES"]);
        for phase in &self.phases {
            for change in &phase.changes {
                let does = change.does.join("; ");
                table.row([phase.phase.to_string(), change.object.clone(), change.restarts.join(", "), does]);
            }
        }
        table
    }

    fn text(&self, wide: bool) -> String {
        let mut text = format!("Plan: the cluster CA goes to CAVersion {}\n\n{}", self.ca_version, self.table(wide));
        for phase in &self.phases {
            for who in &phase.cut_off {
                text.push_str(&format!("\n{}: cuts {who}", phase.phase));
            }
        }
        for warning in &self.warnings {
            text.push_str(&format!("\nwarning: {warning}"));
        }
        for blocker in &self.blockers {
            text.push_str(&format!("\nblocked: {blocker}"));
        }
        let asked = self.not_asked.join(", ");
        text.push_str(&format!(
            "\nnot asked, because nothing is written: {asked}; a run asks before it changes anything\n"
        ));
        text
    }
}
