//! The turns of a renewal: look, tell the next node, look again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Fleet;
use crate::cluster::{csr, nodes};
use crate::engine::approve::decide;
use crate::engine::observe::reports;
use crate::engine::turns::lost;
use crate::error::{Error, ErrorKind};
use crate::plan::renewal::CertificateName;
use crate::rotation::renewal::{Member, Next, next};
use crate::rotation::{EventKind, Inventory, NodeView, Refusal, RenewalPhase, RunPhase};

/// How often the driver looks although nothing happened.
const LOOK: Duration = Duration::from_millis(500);

impl Fleet {
    /// Works until every node is renewed and healthy. Dropping the future at any await leaves a cluster that works.
    ///
    /// # Errors
    /// A node that failed, or [`ErrorKind::TimedOut`] with what was missing: named, with what to do next; a failed call; a lost Lease.
    pub async fn run(&mut self) -> Result<(), Error> {
        let mut lease = self.lease.watch();
        loop {
            let turned = tokio::select! {
                biased;
                () = lease.lost() => return Err(lost()),
                turned = self.turn() => turned,
            };
            match turned {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.is_passing() => self.wait_for(vec![error.sentence()])?,
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = self.live.changed.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// True when it was the last one.
    async fn turn(&mut self) -> Result<bool, Error> {
        let look = self.look();
        let (members, bystanders) = self.members(&look);
        self.note_done(&members);
        self.approve_serving(&members).await;
        let at_once = (self.settings.max_unavailable)(look.nodes.len());
        match next(&members, &bystanders, at_once) {
            Next::Tell(names) => {
                self.enter(&names, &members, at_once);
                for name in names {
                    self.tell(name).await?;
                }
                Ok(false)
            }
            Next::Wait(reasons) => self.wait_for(reasons).map(|()| false),
            Next::Failed(failed) => Err(self.failed(&failed)),
            Next::Done => {
                self.leave();
                let certificates = self.plans.values().flat_map(|plan| plan.renewed()).count();
                let seconds = self.began.elapsed().as_secs_f64();
                self.emit(EventKind::Renewed { certificates, nodes: members.len(), seconds });
                Ok(true)
            }
        }
    }

    /// The nodes with something to do, as they are seen now; and the other control-plane nodes, which must hold out meanwhile.
    fn members(&self, look: &Inventory) -> (BTreeMap<String, Member>, BTreeMap<String, Member>) {
        let reports = reports(&self.live);
        let member = |name: &String, node: Option<&NodeView>| {
            let told = self.told.contains_key(name);
            let answer = self.answer(name).filter(|answer| told && answer.outcome.is_some());
            let status = reports.get(name).and_then(|report| report.status.as_ref());
            Member {
                control_plane: node.is_some_and(|node| node.state.control_plane),
                ready: node.is_some_and(|node| node.ready),
                etcd_healthy: status.and_then(|status| status.etcd_healthy),
                told,
                outcome: answer.map(|answer| answer.problem.map_or(Ok(()), Err)),
            }
        };
        let busy = self.plans.iter().filter(|(_, plan)| !plan.is_empty());
        let members: BTreeMap<_, _> =
            busy.map(|(name, _)| (name.clone(), member(name, look.nodes.get(name)))).collect();
        let stands_by = |(name, node): &(&String, &NodeView)| {
            node.state.control_plane && !members.contains_key(*name) && !self.settings.selection.waived.contains(*name)
        };
        let bystanders = look.nodes.iter().filter(stands_by);
        let bystanders = bystanders.map(|(name, node)| (name.clone(), member(name, Some(node)))).collect();
        (members, bystanders)
    }

    async fn tell(&mut self, name: String) -> Result<(), Error> {
        let Some(plan) = self.plans.get(&name) else { return Ok(()) };
        let (order, ops) = (self.order(plan), plan.steps());
        // Before the call: one that is cut off may have arrived.
        self.begun = true;
        self.cluster.patch_node_spec(&name, json!({ "renewal": order })).await?;
        self.emit(EventKind::NodeChanging { node: name.clone(), ops });
        self.told.insert(name, Instant::now());
        self.progress = Instant::now();
        Ok(())
    }

    fn note_done(&mut self, members: &BTreeMap<String, Member>) {
        for (name, since) in &self.told {
            let done = members.get(name).is_some_and(|member| member.outcome == Some(Ok(())));
            if done && self.done.insert(name.clone()) {
                self.progress = Instant::now();
                self.emit(EventKind::NodeDone { node: name.clone(), seconds: since.elapsed().as_secs_f64() });
            }
        }
    }

    /// Control plane, then workers.
    fn enter(&mut self, names: &[String], members: &BTreeMap<String, Member>, at_once: usize) {
        let is = |role: bool| members.values().any(|member| member.control_plane == role);
        let control_plane = names.iter().any(|name| members.get(name).is_some_and(|member| member.control_plane));
        let (phase, title) = if control_plane {
            (RenewalPhase::ControlPlane, "renew on control-plane nodes, one after the other".to_owned())
        } else {
            (RenewalPhase::Workers, format!("renew on workers, {at_once} at a time"))
        };
        if self.part.is_some_and(|(entered, _)| entered == phase) {
            return;
        }
        self.leave();
        self.part = Some((phase, Instant::now()));
        let of = usize::from(is(true)) + usize::from(is(false));
        let number = if control_plane { 1 } else { of };
        self.emit(EventKind::PhaseStarted { phase: RunPhase::Renewal(phase), number, of, title });
    }

    fn leave(&mut self) {
        if let Some((phase, since)) = self.part.take() {
            let phase = RunPhase::Renewal(phase);
            self.emit(EventKind::PhaseDone { phase, seconds: since.elapsed().as_secs_f64() });
        }
    }

    fn wait_for(&mut self, reasons: Vec<String>) -> Result<(), Error> {
        if reasons != self.waiting {
            self.emit(EventKind::Waiting { waiting_for: reasons.clone() });
            self.waiting = reasons;
        }
        let timeout = self.settings.timeout;
        if timeout.is_zero() || self.progress.elapsed() < timeout {
            return Ok(());
        }
        let error = Error::new(ErrorKind::TimedOut, format!("no progress for {} s", timeout.as_secs()));
        let error = self.waiting.iter().take(8).fold(error, |error, reason| error.caused_by(reason.clone()));
        Err(error.hint("look at the agent's log on that node (`kubectl -n certctl-system get pods -o wide`)"))
    }

    fn failed(&self, failed: &[(String, String)]) -> Error {
        let names: Vec<String> = failed.iter().map(|(name, _)| format!("node/{name}")).collect();
        let message = format!("the renewal failed on {}, so no other node was begun", names.join(", "));
        let error = failed
            .iter()
            .fold(Error::failed(message), |error, (name, problem)| error.caused_by(format!("node/{name}: {problem}")));
        error.hint(
            "`certctl inspect` shows what stands there now; what was replaced is in the node's \
                                /var/lib/certctl/backup",
        )
    }

    /// True when some node was told to change something, or may have been.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Names the nodes that are left, as one would type them.
    #[must_use]
    pub fn how_to_go_on(&self, error: Error) -> Error {
        let left = self.plans.iter().filter(|(name, plan)| !plan.is_empty() && !self.done.contains(*name));
        let flags: Vec<String> = left.map(|(name, _)| format!("--node {name}")).collect();
        if flags.is_empty() {
            return error.hint("every node is renewed");
        }
        error.hint(format!("to go on, when that is mended: the same command with {}", flags.join(" ")))
    }

    /// Approves the requests for kubelets' serving certificates that this renewal has brought about, and no others.
    async fn approve_serving(&mut self, members: &BTreeMap<String, Member>) {
        let waits = |name: &String| {
            let asks = self
                .plans
                .get(name)
                .is_some_and(|plan| plan.renewed().any(|row| row.name == CertificateName::KubeletServer));
            asks && members.get(name).is_some_and(|member| member.told && member.outcome.is_none())
        };
        let objects = self.live.nodes.state();
        let named = objects.iter().filter_map(|node| Some((node.metadata.name.clone()?, node)));
        let changing: BTreeMap<String, Vec<String>> =
            named.filter(|(name, _)| waits(name)).map(|(name, node)| (name, nodes::addresses(node))).collect();
        let Some(requests) = self.live.serving_requests.as_ref().filter(|_| !changing.is_empty()) else { return };
        for request in requests.state().iter().filter(|request| csr::is_pending(request)) {
            let name = request.metadata.name.clone().unwrap_or_default();
            let problem = match decide(request, &changing) {
                Ok(_) => match csr::approve(&self.cluster, (**request).clone()).await {
                    Ok(()) => continue,
                    // Gone, or somebody else was first: the watch will say.
                    Err(error) if matches!(error.code(), Some(404 | 409)) => continue,
                    Err(error) => error.to_string(),
                },
                Err(Refusal::NotChanging(_)) => continue,
                Err(reason) => format!("csr/{name} is not approved: {reason}"),
            };
            if self.warned.insert(problem.clone()) {
                self.emit(EventKind::Warning { message: problem });
            }
        }
    }
}
