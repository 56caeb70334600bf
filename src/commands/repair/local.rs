//! This node: its files, then its processes, then what can be seen of its control plane.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Job, Plan, RepairReport, certificate_count, failed, renewal, repair};
use crate::agent::revive::{self, Life};
use crate::commands::on_node::{put_right, write_lock};
use crate::error::{Error, ErrorKind};
use crate::node::{NodeError, in_full};
use crate::pki::Certificate;
use crate::plan::renewal::CertificateName;
use crate::ui::repair::RequestRow;

/// Pause between two looks at the control plane.
const PAUSE: Duration = Duration::from_millis(300);
/// A line comes at least so often while nothing changes.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What has become of this node.
pub(super) struct Outcome {
    pub(super) report: RepairReport,
    /// What could not be made here.
    left: Option<Error>,
    /// Files were replaced by this run.
    wrote: bool,
}

impl Job<'_> {
    /// Writes the files.
    pub(super) async fn repair(&self, brought: &[Certificate]) -> Result<Outcome, Error> {
        let now = self.context.now;
        let _lock = write_lock(self.layout)?;
        put_right(self.context, self.layout, "change")?;
        // Once more, now that nobody else writes and nothing is half done.
        let plan = self.plan(brought)?;
        self.refuse(&plan)?;
        let mut report = self.report(&plan);
        report.dry_run = false;
        let answered = repair::answered(self.layout, &plan, brought, now).map_err(failed)?;
        let names: BTreeSet<_> = answered.iter().map(|signed| signed.name).collect();
        let wrote = !plan.changes_nothing() || !answered.is_empty();
        if wrote {
            let written = repair::write(self.layout, &plan, answered, now).map_err(failed)?;
            let count = written.signed.len() + plan.authorities.len() + plan.trust.len();
            self.context.say(&format!(
                "{} repaired; the state before is in {}",
                certificate_count(count),
                written.snapshot
            ));
            report.snapshot = Some(written.snapshot);
        }
        let mut open = plan.clone();
        open.requests.retain(|step| !names.contains(&step.item.name));
        self.forget_answered(&open);
        report.requests = self.requests(&open, wrote)?;
        Ok(Outcome { left: self.left(&open, &report), report, wrote })
    }

    /// Also after a run that was cut off when the certificates were in their places: the keys would stay here for ever.
    fn forget_answered(&self, open: &Plan) {
        let waiting = open.requests.iter().map(|step| step.item.name);
        let waiting: BTreeSet<_> = waiting.chain(open.blockers.iter().map(|blocker| blocker.name)).collect();
        let over: Vec<_> = CertificateName::ALL.into_iter().filter(|name| !waiting.contains(name)).collect();
        if let Err(error) = repair::forget_requests(self.layout, &over) {
            // The certificates count, whatever becomes of this.
            self.context.ui.warn(&format!("a request that is answered is left: {}", in_full(&error)));
        }
    }

    /// Writes the requests for what is to be signed elsewhere.
    fn requests(&self, open: &Plan, wrote: bool) -> Result<Vec<RequestRow>, Error> {
        if open.requests.is_empty() {
            return Ok(Vec::new());
        }
        let unwritten = |error: NodeError| {
            // Nobody shall be told that the certificates are as they were.
            let what = "the other certificates are repaired, but a request is not written: run the same command again";
            failed(if wrote { NodeError::Callback { what: what.to_owned(), source: Box::new(error) } } else { error })
        };
        let written = repair::request(self.layout, open).map_err(unwritten)?;
        let row =
            |(name, request): (CertificateName, String)| RequestRow { name, authority: name.authority(), request };
        Ok(written.into_iter().map(row).collect())
    }

    /// What is still to be done by somebody else, as an error that says how.
    fn left(&self, open: &Plan, report: &RepairReport) -> Option<Error> {
        if open.blockers.is_empty() && report.requests.is_empty() {
            return None;
        }
        let mut error = Error::failed("not every certificate of this node could be made here");
        for blocker in &open.blockers {
            error = error.caused_by(format!("{}: {}", blocker.name, blocker.problem)).hint(blocker.remedy);
        }
        let authorities: BTreeSet<_> = report.requests.iter().map(|row| row.authority).collect();
        for authority in authorities {
            let of_it = report.requests.iter().filter(|row| row.authority == authority);
            let names: Vec<&str> = of_it.map(|row| row.name.name()).collect();
            let why = open.unable.get(&authority).map_or("", String::as_str);
            error = error.caused_by(format!("the {authority} CA cannot sign here ({why}): {}", names.join(", ")));
        }
        if report.requests.is_empty() {
            return Some(error);
        }
        let folder = self.layout.on_node(&repair::requests_folder(self.layout));
        let kubelet_only = report.requests.iter().all(|row| row.name.is_the_kubelets_own());
        Some(if kubelet_only {
            error
                .hint(format!("on a control-plane node, run `certctl repair --sign - < request` with {folder}/kubelet-client.csr of this node"))
                .hint("then give what it prints to `certctl repair --import -` here")
        } else {
            error
                .hint(format!("have the requests {folder}/NAME.csr signed by their CA"))
                .hint("then run `certctl repair --import FILE` here, with a file of all certificates that came back")
        })
    }

    /// Processes, this node's control plane, and the other nodes.
    pub(super) async fn follow_up(&self, outcome: Outcome) -> Result<(), Error> {
        let Outcome { report, left, wrote } = outcome;
        if !self.own {
            if wrote {
                let root = self.args.root.display();
                self.context
                    .say(&format!("{root} is not this machine's root: only files were written, nothing was restarted"));
            }
            self.show(&report)?;
            return left.map_or(Ok(()), Err);
        }
        // Without its own certificate the kubelet only ends again.
        if !report.requests.iter().any(|row| row.name == CertificateName::KubeletClient) {
            self.revive(wrote).await?;
        }
        let others = if self.layout.is_control_plane() { self.others().await } else { Ok(()) };
        self.show(&report)?;
        left.map_or(others, Err)
    }

    /// Stops what works with old files and starts the kubelet anew.
    async fn revive(&self, wrote: bool) -> Result<(), Error> {
        match revive::outdated(self.node).await {
            Ok(outdated) => {
                for (component, container) in outdated {
                    self.context.say(&format!("restarting {}", component.name()));
                    if let Err(error) = self.node.cri().stop(&container.id).await {
                        self.context.ui.warn(&format!("{} was not stopped: {}", component.name(), in_full(&error)));
                    }
                }
            }
            Err(error) => self.context.ui.warn(&format!("static pods were not looked at: {}", in_full(&error))),
        }
        let kubelet = revive::kubelet_is_outdated(self.node).await;
        if wrote || kubelet.as_ref().is_ok_and(|outdated| *outdated) {
            self.context.say("restarting the kubelet");
            revive::restart_kubelet(self.node).await.map_err(|error| {
                failed(error).hint("the files are repaired: start the kubelet (`systemctl restart kubelet`)")
            })?;
        }
        Ok(())
    }

    pub(super) fn limit(&self) -> Option<Duration> {
        (!self.args.timeout.is_zero()).then(|| self.args.timeout.unsigned_abs())
    }

    /// Watches until `kubectl` works.
    pub(super) async fn wait_for_life(&self, begun: Instant) -> Result<(), Error> {
        let limit = self.limit();
        let mut said: Option<(Life, Instant)> = None;
        loop {
            let life = revive::life(self.layout).await;
            if said.is_none_or(|(last, at)| last != life || at.elapsed() > HEARTBEAT) {
                self.context.say(&format!("{} ({} s)", life.text(), begun.elapsed().as_secs()));
                said = Some((life, Instant::now()));
            }
            if life == Life::Up {
                return Ok(());
            }
            if limit.is_some_and(|limit| begun.elapsed() > limit) {
                let late = Error::new(ErrorKind::TimedOut, "the files are repaired, but the control plane is not back");
                return Err(match life {
                    Life::NoQuorum => late
                        .caused_by(life.text())
                        .hint("run `certctl repair` on every other control-plane node")
                        .hint("or name them under `nodes:` in a configuration and run it here with --config"),
                    _ => late
                        .caused_by(life.text())
                        .hint("see `journalctl -u kubelet` and `crictl logs`; the same command goes on waiting"),
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Puts back the state before the last repair, and lets the processes read it.
    pub(super) async fn undo(&self) -> Result<(), Error> {
        if let Some(why) = renewal::rotation_under_way(self.layout) {
            return Err(Error::refused(format!("a CA rotation is under way ({why}); nothing was changed"))
                .hint("see `certctl status`: the rotation has replaced what the repair had made"));
        }
        let question = "Put back the files as they were before the last repair?";
        self.context.confirm(question, self.args.yes).await?;
        let lock = write_lock(self.layout)?;
        put_right(self.context, self.layout, "change")?;
        let replaced = repair::replaced(self.layout).map_err(failed)?;
        let undone = repair::undo(self.layout, self.context.now).map_err(failed)?;
        drop(lock);
        let Some((snapshot, back)) = undone else {
            return Err(Error::failed("there is no repair to be undone on this node"));
        };
        self.context.say(&format!("{} files are as they were, from {snapshot}", back.changed.len()));
        if !back.kept.is_empty() {
            let kept = back.kept.join(", ");
            self.context.ui.warn(&format!("written by others since the repair, so left alone: {kept}"));
        }
        if self.own && !replaced.is_empty() {
            for (component, container) in revive::users_of(self.node, &replaced).await.map_err(failed)? {
                self.context.say(&format!("restarting {}", component.name()));
                self.node.cri().stop(&container.id).await.map_err(failed)?;
            }
            self.context.say("restarting the kubelet");
            revive::restart_kubelet(self.node).await.map_err(failed)?;
        }
        Ok(())
    }
}
