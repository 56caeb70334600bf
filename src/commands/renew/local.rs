//! On the node itself, with the API server up or down.

use std::path::Path;

use super::RenewArgs;
use crate::agent::alone::{self, Proof, Seen};
use crate::commands::on_node::{certificate_count, failed, plausible, put_right, write_lock};
use crate::context::Context;
use crate::error::Error;
use crate::node::renewal::{self, Signed};
use crate::node::repair::last_life;
use crate::node::{Layout, Node, in_full};
use crate::plan::NodeState;
use crate::plan::renewal::{Plan, Request};
use crate::plan::repair::Clock;
use crate::ui::Format;
use crate::ui::renewal::RenewalReport;

pub(super) async fn run(context: &Context, args: &RenewArgs, root: &Path) -> Result<(), Error> {
    let node = Node::open(root);
    let job = Job { context, args, node: &node, layout: node.layout(), root, own: alone::is_own_root(root) };
    if args.dry_run {
        return job.show_plan();
    }
    if let Some(folder) = &args.csr_only {
        return job.write_requests(folder);
    }
    // Seen before the files change: it is then known what the processes have loaded.
    let seen = if job.own { job.look().await } else { None };
    let shown = job.plan_with(seen.as_ref())?;
    job.refuse(&shown)?;
    if let Some(question) = job.question(&shown) {
        context.confirm(&question, args.yes).await?;
    }
    let _lock = write_lock(job.layout)?;
    put_right(context, job.layout, "renewal")?;
    job.renew(&shown, seen.as_ref()).await
}

struct Job<'a> {
    context: &'a Context,
    args: &'a RenewArgs,
    node: &'a Node,
    layout: &'a Layout,
    root: &'a Path,
    /// The files are those of this machine, and so are the processes.
    own: bool,
}

impl Job<'_> {
    fn request(&self) -> Request {
        Request { signed_elsewhere: self.elsewhere(), ..self.args.request() }
    }

    fn elsewhere(&self) -> bool {
        self.args.csr_only.is_some() || self.args.import.is_some()
    }

    fn plan(&self) -> Result<Plan, Error> {
        let inventory = renewal::inventory(self.layout);
        if inventory.held.is_empty() {
            return Err(Error::failed(format!("no certificate of a node below {}", self.root.display()))
                .hint("give the folder that holds etc/kubernetes; on the node itself that is `--root /`"));
        }
        Plan::new(&inventory, &self.request(), self.context.now).map_err(Error::usage)
    }

    /// With the restarts that an earlier run did not come to.
    fn plan_with(&self, seen: Option<&NodeState>) -> Result<Plan, Error> {
        let mut plan = self.plan()?;
        if let Some(state) = seen {
            plan.add_stale(state);
        }
        Ok(plan)
    }

    /// What is asked before anything changes; `None` when nothing does.
    fn question(&self, plan: &Plan) -> Option<String> {
        let names: Vec<&str> = plan.items.iter().map(|item| item.name.name()).collect();
        let restarts: Vec<&str> = plan.restarts.iter().filter_map(|op| op.restarts()).collect();
        let (names, restarts) = (names.join(", "), restarts.join(", "));
        match (names.is_empty(), restarts.is_empty() || !self.own) {
            (true, true) => None,
            (true, false) => {
                Some(format!("Restart {restarts}, which works with an older certificate than its file holds?"))
            }
            (false, true) => Some(format!("Renew {names}? (`--dry-run` shows the plan)")),
            (false, false) => Some(format!("Renew {names}, and restart {restarts}? (`--dry-run` shows the plan)")),
        }
    }

    fn show(&self, report: &RenewalReport) -> Result<(), Error> {
        Ok(self.context.ui.show(report, self.context.format_or(Format::Table), self.context.now)?)
    }

    fn show_plan(&self) -> Result<(), Error> {
        let plan = self.plan()?;
        self.show(&self.report(&plan))?;
        self.warn_of_what_stays(&plan);
        self.refuse(&plan)
    }

    fn warn_of_what_stays(&self, plan: &Plan) {
        for kept in plan.kept.iter().filter(|kept| kept.remarkable) {
            self.context.ui.warn(&format!("{} stays as it is: {}", kept.name, kept.reason));
        }
    }

    fn report(&self, plan: &Plan) -> RenewalReport {
        let mut report = RenewalReport::new(plan, self.elsewhere());
        if !self.own {
            report.restarts.clear();
        }
        report
    }

    /// Safety gates: nothing has been changed when one of them says no.
    fn refuse(&self, plan: &Plan) -> Result<(), Error> {
        if let Some(why) = renewal::rotation_under_way(self.layout) {
            return Err(Error::refused("a CA rotation is under way on this node; nothing was changed")
                .caused_by(why)
                .hint("let it complete (`certctl status`), or roll it back: it decides which CA signs what"));
        }
        if !self.args.clock_is_right {
            // By a clock that is years ahead everything is due, and what is made would not be valid yet.
            plausible(&Clock::after(last_life(self.layout), self.context.now), self.context.now)?;
        }
        let Some(first) = plan.blockers.first() else { return Ok(()) };
        let refused = Error::refused(format!(
            "{} cannot be renewed; nothing was changed",
            certificate_count(plan.blockers.len())
        ));
        let refused = plan
            .blockers
            .iter()
            .fold(refused, |error, blocker| error.caused_by(format!("{}: {}", blocker.name, blocker.problem)));
        Err(refused.hint(first.remedy).hint("to renew the others, name them"))
    }

    fn write_requests(&self, folder: &Path) -> Result<(), Error> {
        let plan = self.plan()?;
        self.refuse(&plan)?;
        let written = renewal::write_requests(self.layout, &plan.items, folder).map_err(failed)?;
        let mut report = self.report(&plan);
        report.restarts.clear();
        self.show(&report)?;
        let (count, folder, root) = (written.len(), folder.display(), self.root.display());
        self.context.say(&format!("{count} requests are in {folder} as NAME.csr: have them signed, put the certificates there as NAME.crt, and run `certctl renew --root {root} --import {folder}`"));
        Ok(())
    }

    async fn renew(&self, shown: &Plan, seen: Option<&NodeState>) -> Result<(), Error> {
        let mut plan = self.plan_with(seen)?;
        self.refuse(&plan)?;
        if plan != *shown {
            return Err(Error::refused("the node's certificates have changed meanwhile; nothing was changed")
                .hint("run the same command again"));
        }
        let signed = self.sign(&mut plan)?;
        if let Some(state) = seen {
            plan.add_stale(state);
        }
        let mut report = self.report(&plan);
        report.dry_run = false;
        let run = renewal::free_run_name(self.layout, self.context.now);
        if !signed.is_empty() {
            self.write(&signed, &run, &mut report)?;
        }
        let outcome = self.follow_up(&plan, &signed, &run, &mut report).await;
        self.show(&report)?;
        self.warn_of_what_stays(&plan);
        if report.certificates.iter().all(|row| row.change.is_none()) {
            self.context.say("nothing was renewed");
        }
        outcome
    }

    async fn look(&self) -> Option<NodeState> {
        let seen = self.node.observe(&[]).await.map(|seen| seen.state);
        seen.inspect_err(|error| {
            self.context.ui.warn(&format!("not known what the processes have loaded: {}", in_full(error)))
        })
        .ok()
    }

    fn sign(&self, plan: &mut Plan) -> Result<Vec<Signed>, Error> {
        let now = self.context.now;
        let Some(folder) = &self.args.import else {
            return renewal::sign(self.layout, &plan.items, now).map_err(failed);
        };
        let signed = renewal::read_signed(self.layout, &plan.items, folder, now).map_err(failed)?;
        if signed.is_empty() {
            let wanted: Vec<String> = plan.items.iter().map(|item| format!("{}.crt", item.name)).collect();
            return Err(Error::failed(format!("{} holds none of {}", folder.display(), wanted.join(", "))));
        }
        plan.narrow_to(&signed.iter().map(|signed| signed.name).collect::<Vec<_>>());
        Ok(signed)
    }

    fn write(&self, signed: &[Signed], run: &str, report: &mut RenewalReport) -> Result<(), Error> {
        renewal::write(self.layout, signed, run, self.context.now).map_err(failed)?;
        let backup = self.layout.on_node(&self.layout.backup(run));
        for signed in signed {
            if let Some(change) = report.change(signed.name) {
                change.serial = Some(signed.certificate.serial_hex());
                change.not_after = Some(signed.certificate.not_after());
                change.key_algorithm = signed.key.algorithm().to_string();
                change.new_key = signed.new_key;
            }
        }
        self.context.say(&format!("{} renewed; what was replaced is in {backup}", certificate_count(signed.len())));
        report.backup = Some(backup);
        if signed.iter().any(|signed| signed.name.name() == "admin.conf") {
            self.context.say("copies of admin.conf elsewhere (~/.kube/config) hold the old certificate: copy it anew");
        }
        Ok(())
    }

    /// Restarts, one after the other with health between, and proof.
    async fn follow_up(
        &self,
        plan: &Plan,
        signed: &[Signed],
        run: &str,
        report: &mut RenewalReport,
    ) -> Result<(), Error> {
        if !self.own {
            let needed: Vec<&str> = plan.restarts.iter().filter_map(|op| op.restarts()).collect();
            if !needed.is_empty() {
                let root = self.root.display();
                self.context
                    .ui
                    .warn(&format!("{root} is not this machine's root: restart {} on the node", needed.join(", ")));
            }
            return Ok(());
        }
        for op in &plan.restarts {
            self.context.say(&op.restarts().map(|process| format!("restarting {process}")).unwrap_or_default());
            alone::restart(self.node, op, run, self.context.now).await.map_err(|error| {
                failed(error)
                    .hint("the certificates are renewed; `certctl renew --root / --only-due` goes on with the restarts")
            })?;
        }
        let proofs = alone::prove(self.layout, signed).await;
        report.proofs = proofs.iter().map(Proof::row).collect();
        self.judge(&proofs)
    }

    fn judge(&self, proofs: &[Proof]) -> Result<(), Error> {
        let mut wrong = Vec::new();
        for Proof { name, address, seen } in proofs {
            match seen {
                Seen::New => self.context.say(&format!("{name}: {address} works with the new certificate")),
                Seen::Nobody => self.context.ui.warn(&format!("{name}: not proved, {address} does not answer")),
                Seen::Other(serial) => wrong.push(format!("{name}: {address} goes on showing serial {serial}")),
                Seen::Refused => wrong.push(format!("{name}: {address} refuses the new certificate")),
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let error = Error::failed("certificates are renewed in their files, but do not count yet");
        let error = wrong.into_iter().fold(error, Error::caused_by);
        Err(error.hint("see the logs of the process (`crictl logs`), and restart it"))
    }
}
