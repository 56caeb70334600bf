//! One agent's life: look, do, report, wait.

mod renewing;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::changes::{follow_folders, follow_object, node_folders};
use super::host::Host;
use super::operations::callbacks;
use super::pace::{Outlook, pause};
use super::probing::{Answers, Prober};
use super::requests::Handout;
use super::vouching::Vouching;
use super::{Until, members, requests, snapshot, unit};
use crate::api::{Clock, Made, NodePKI, NodePkiSpec, NodePkiStatus, Snapshot};
use crate::cluster::{Cluster, ClusterError};
use crate::error::Error;
use crate::node::{ApplyContext, Authorities, Node, ONE_YEAR, Observation, apply, in_full};
use crate::pki::{CaId, Certificate, SealingKey};
use crate::plan::{NodeTarget, Op, node_ops};
use renewing::Renewing;

/// Several files change together: they are looked at once.
const GATHER: Duration = Duration::from_millis(50);
/// How often in a row asking the endpoints may be put off.
const PUT_OFF: u8 = 3;

/// Name of the back-ups when the driver gives none.
const UNNAMED: &str = "unnamed";

/// An agent at work.
pub struct Session {
    node: Node,
    cluster: Cluster,
    name: String,
    sealing: SealingKey,
    prober: Prober,
    made: Option<Made>,
    snapshot: Option<Snapshot>,
    handout: Handout,
    renewing: Renewing,
    /// The CAs of whose keys this process has looked for every copy.
    forgotten: BTreeSet<CaId>,
    vouching: Vouching,
    host: Host,
    reported: Option<NodePkiStatus>,
    /// An operation has written into the status past [`Self::report`]: what stands there is not what was reported last.
    written_past: bool,
    /// The API server refuses the credential.
    refused: bool,
    unsettled: u32,
    /// How often in a row the endpoints were not asked to the end.
    put_off: u8,
}

/// What to do before the node is looked at again: writes in a row, or several restarts of static pods at once, which have nothing to do with
/// each other, or the next operation.
fn next_ops(ops: Vec<Op>) -> Vec<Op> {
    let writes = ops.iter().take_while(|op| !op.takes_time()).count();
    let pods = ops.iter().take_while(|op| matches!(op, Op::RestartStaticPod { .. })).count();
    ops.into_iter().take(writes.max(pods).max(1)).collect()
}

/// Lifetime of what is issued, when the spec names one.
fn validity(spec: &NodePkiSpec) -> Option<SignedDuration> {
    spec.leaf_validity_seconds.map(SignedDuration::from_secs)
}

impl Session {
    /// Takes the node into hand.
    ///
    /// # Errors
    /// The sealing key cannot be read or made.
    pub(super) fn open(node: Node, cluster: Cluster, name: &str, host: Host) -> Result<Self, Error> {
        let sealing = requests::sealing_key(node.layout()).map_err(Error::failed)?;
        let name = name.to_owned();
        Ok(Self {
            node,
            cluster,
            name,
            sealing,
            prober: Prober::default(),
            made: None,
            snapshot: None,
            handout: Handout::default(),
            renewing: Renewing::default(),
            forgotten: BTreeSet::new(),
            vouching: Vouching::none(),
            host,
            reported: None,
            written_past: false,
            refused: false,
            unsettled: 0,
            put_off: 0,
        })
    }

    /// Works for as long as it is told to.
    ///
    /// # Errors
    /// The folders cannot be watched, or, on the host, the token is refused.
    pub async fn run(&mut self, until: Until) -> Result<(), Error> {
        let layout = self.node.layout().clone();
        let mut object = follow_object(self.cluster.clone(), self.name.clone(), until);
        let mut folders = follow_folders(&node_folders(layout.root(), &layout.agent_lock(), until))
            .map_err(|error| Error::failed(format!("cannot watch the node's folders: {error}")))?;
        loop {
            let current = object.borrow_and_update().clone();
            let mut outlook = self.look_and_do(current.as_ref(), &object).await;
            if until == Until::Settled {
                if self.refused {
                    return Err(unit::refused(&layout));
                }
                match self.may_go(current.as_ref(), outlook).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%error, "not known whether the kubelet is accepted");
                        outlook = Outlook::TryAgain;
                    }
                }
            }
            tokio::select! {
                changed = object.changed() => if changed.is_err() {
                    return Err(if until == Until::Settled { unit::refused(&layout) } else { Error::failed("the watch of the node's object ended") });
                },
                event = folders.next() => {
                    if event.is_none() { return Err(Error::failed("the watch of the node's folders ended")) }
                    self.prober.forget_answers();
                    tokio::time::sleep(GATHER).await;
                }
                () = self.vouching.changed() => {}
                () = pause(outlook, self.unsettled) => {}
            }
            while futures::FutureExt::now_or_never(folders.next()).is_some() {}
        }
    }

    /// On the host: true when nothing is left to do and the kubelet can start the pod that goes on.
    async fn may_go(&self, object: Option<&NodePKI>, outlook: Outlook) -> Result<bool, ClusterError> {
        let (Some(object), Some(status)) = (object, &self.reported) else { return Ok(false) };
        let reached = object.spec.target.as_ref().is_none_or(|target| node_ops(&status.state, target).is_empty());
        if outlook == Outlook::TryAgain || !reached {
            return Ok(false);
        }
        unit::kubelet_is_accepted(self.node.layout(), &self.name).await
    }

    async fn look_and_do(&mut self, object: Option<&NodePKI>, newer: &watch::Receiver<Option<NodePKI>>) -> Outlook {
        let spec = object.map(|object| object.spec.clone()).unwrap_or_default();
        let generation = object.and_then(|object| object.metadata.generation).unwrap_or_default();
        let mut authorities = Authorities::open(self.node.layout());
        self.answer_snapshot(&spec).await;
        // What a request stumbles over is no reason to leave the node where it is.
        let mut problems = self.answer_requests(&spec, &mut authorities);
        if object.is_some() {
            problems.extend(self.host.obey(&self.node, spec.leave).await.err());
        }
        if let Some(target) = &spec.target {
            problems.extend(self.reach(target, &spec, &authorities, generation, newer).await.err());
        }
        self.renew((&spec, object.and_then(|object| object.status.as_ref())), generation, &authorities).await;
        // Last: a node that comes back late signs with the old key until it has reached its target.
        problems.extend(requests::forget(&spec.forget, &mut authorities, &mut self.forgotten));
        let failed = !problems.is_empty();
        let (status, settled) = self.look(&spec, generation, &authorities, problems, newer).await;
        self.unsettled = if settled { 0 } else { self.unsettled.saturating_add(1) };
        let reported = self.report(status).await;
        match (failed || !reported, settled) {
            (true, _) => Outlook::TryAgain,
            (false, true) => Outlook::Settled,
            (false, false) => Outlook::AskAgain,
        }
    }

    fn answer_requests(&mut self, spec: &NodePkiSpec, authorities: &mut Authorities) -> Vec<String> {
        let mut problems = requests::know(spec, authorities);
        let layout = self.node.layout().clone();
        let mut in_force = None;
        if layout.is_control_plane() && !spec.authorities.is_empty() {
            match authorities.import_stock() {
                Ok(stock) => in_force = stock,
                Err(error) => problems.push(in_full(&error)),
            }
        }
        self.vouching.look_at(&self.cluster, &spec.vouch_for);
        self.vouching.answer(authorities, in_force.as_ref(), validity(spec).unwrap_or(ONE_YEAR), Timestamp::now());
        problems.extend(requests::take_in(spec, &self.name, &self.sealing, &layout, authorities));
        match &spec.make {
            Some(request) if self.made.as_ref().is_none_or(|made| made.request != request.request) => {
                match requests::make(request, &layout, authorities, Timestamp::now()) {
                    Ok(made) => self.made = Some(made),
                    Err(problem) => problems.push(problem),
                }
            }
            Some(_) => {}
            None => self.made = None,
        }
        problems.extend(self.handout.answer(&spec.seal_for, authorities));
        problems
    }

    /// A request is answered once, whatever comes of it: a snapshot that failed is not tried again and again.
    async fn answer_snapshot(&mut self, spec: &NodePkiSpec) {
        if self.snapshot.as_ref().map(|answer| &answer.request) == spec.snapshot.as_ref() {
            return;
        }
        let rotation = spec.rotation.as_deref().unwrap_or(UNNAMED);
        self.snapshot = match &spec.snapshot {
            Some(request) => Some(snapshot::save(request, rotation, self.node.layout()).await),
            None => None,
        };
    }

    /// Applies operations until the target is reached, a newer object arrives, or one fails.
    async fn reach(
        &mut self,
        target: &NodeTarget,
        spec: &NodePkiSpec,
        authorities: &Authorities,
        generation: i64,
        newer: &watch::Receiver<Option<NodePKI>>,
    ) -> Result<(), String> {
        let mut last: Vec<Op> = Vec::new();
        while !newer.has_changed().unwrap_or(true) {
            let known: Vec<Certificate> = authorities.certificates().cloned().collect();
            let observed = self.node.observe(&known).await.map_err(|error| error.to_string())?;
            let ops = next_ops(node_ops(&observed.state, target));
            let Some(op) = ops.first() else { return Ok(()) };
            if last == ops {
                let problems = observed.problems.join("; ");
                return Err(format!("`{op}` was done, but the node does not show it: {problems}"));
            }
            let at_once = op.takes_time();
            if at_once {
                let mut status = self.reported.clone().unwrap_or_default();
                status.observed_generation = generation;
                status.doing = Some(ops.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
                self.report(status).await;
            }
            let _writing = super::writing(self.node.layout()).await.map_err(|error| error.sentence())?;
            self.written_past |= ops.iter().any(|op| matches!(op, Op::ReissueKubeletClient(_)));
            self.prober.forget_answers();
            if at_once {
                let work = ops.iter().map(|op| self.apply(op, spec, authorities));
                futures::future::join_all(work).await.into_iter().collect::<Result<Vec<()>, String>>()?;
            } else {
                for op in &ops {
                    self.apply(op, spec, authorities).await?;
                }
            }
            last = ops;
        }
        Ok(())
    }

    async fn apply(&self, op: &Op, spec: &NodePkiSpec, authorities: &Authorities) -> Result<(), String> {
        let callbacks = callbacks(self.asker(spec), authorities, spec.leaf_validity_seconds);
        let rotation = spec.rotation.as_deref().unwrap_or(UNNAMED);
        let context = ApplyContext {
            node: &self.node,
            authorities,
            rotation,
            validity: validity(spec),
            now: Timestamp::now(),
            callbacks: &callbacks,
        };
        tracing::info!(%op, "begin");
        apply(op, &context).await.map_err(|error| format!("{op}: {}", in_full(&error)))?;
        tracing::info!(%op, "done");
        Ok(())
    }

    /// Looks at everything: files, processes, endpoints. The flag says whether the endpoints answer as the files promise.
    async fn look(
        &mut self,
        spec: &NodePkiSpec,
        generation: i64,
        authorities: &Authorities,
        mut problems: Vec<String>,
        newer: &watch::Receiver<Option<NodePKI>>,
    ) -> (NodePkiStatus, bool) {
        let known: Vec<Certificate> = authorities.certificates().cloned().collect();
        let observed = match self.node.observe(&known).await {
            Ok(observed) => observed,
            Err(error) => {
                problems.push(error.to_string());
                // What was seen last stands until something else is seen: a node that cannot look has not changed.
                let last = self.reported.clone().unwrap_or_default();
                Observation { state: last.state, rows: last.certificates, facts: last.facts, problems: Vec::new() }
            }
        };
        problems.extend(observed.problems.iter().chain(authorities.problems()).cloned());
        let mut status = NodePkiStatus {
            observed_generation: generation,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            clock: spec.ping.clone().map(|ping| self.clock(ping)),
            sealing_key: Some(self.sealing.public()),
            key_mismatch: observed.state.disk.ca_key.is_some()
                && observed.state.disk.ca_key.as_ref() != observed.state.disk.ca_bundle.first(),
            state: observed.state,
            certificates: observed.rows,
            facts: observed.facts,
            made: self.made.clone(),
            snapshot: self.snapshot.clone(),
            renewal: self.renewing.answer.clone(),
            sealed_keys: self.handout.keys.clone(),
            doing: None,
            problem: (!problems.is_empty()).then(|| problems.join("; ")),
            etcd_healthy: None,
            etcd_learners: None,
            kubelet_request: None,
            vouched: self.vouching.answers(),
            left: self.host.left(),
            signer_problem: self.node.signer_problem(),
        };
        // The files first, so that nobody waits for endpoints that have nothing to do with them. What the endpoints said last is older
        // than the files, never newer, so it can only make a gate wait.
        if let Some(last) = &self.reported {
            let mut files = status.clone();
            files.state.endpoints.clone_from(&last.state.endpoints);
            files.etcd_healthy = last.etcd_healthy;
            files.etcd_learners.clone_from(&last.etcd_learners);
            // A ping is answered by a whole look: whoever asks wants to know what the endpoints say now.
            files.clock.clone_from(&last.clock);
            self.report(files).await;
        }
        if let Some(answers) = self.ask_endpoints(&status, spec, authorities, newer.clone()).await {
            status.state.endpoints = answers.endpoints;
            self.ask_etcd(&mut status).await;
            return (status, answers.settled);
        }
        (self.reported.clone().unwrap_or(status), false)
    }

    /// `None` when a newer object arrives meanwhile: what it asks for must not wait for slow endpoints, and changes what they are asked. They
    /// are put off a few times in a row at most.
    async fn ask_endpoints(
        &mut self,
        status: &NodePkiStatus,
        spec: &NodePkiSpec,
        authorities: &Authorities,
        mut newer: watch::Receiver<Option<NodePKI>>,
    ) -> Option<Answers> {
        let may_put_off = self.reported.is_some() && self.put_off < PUT_OFF;
        tokio::select! {
            biased;
            answers = self.prober.ask(&status.state, authorities, spec) => {
                self.put_off = 0;
                Some(answers)
            }
            Ok(()) = newer.changed(), if may_put_off => {
                self.put_off += 1;
                None
            }
        }
    }

    /// What etcd says of itself. Who votes is asked once for each ping: it takes a connection of its own.
    async fn ask_etcd(&self, status: &mut NodePkiStatus) {
        status.etcd_healthy = members::healthy(self.node.layout()).await;
        let last = self.reported.as_ref().filter(|last| last.clock == status.clock);
        status.etcd_learners = match (status.etcd_healthy, last) {
            (Some(true), None) => members::learners(self.node.layout()).await,
            (Some(true), Some(last)) => last.etcd_learners.clone(),
            _ => None,
        };
    }

    /// A ping is answered once: the same ping keeps its first answer.
    fn clock(&self, ping: String) -> Clock {
        let answered =
            self.reported.as_ref().and_then(|status| status.clock.clone()).filter(|clock| clock.ping == ping);
        answered.unwrap_or_else(|| Clock { ping, unix_millis: Timestamp::now().as_millisecond() })
    }

    /// Reports when something changed; true when the API server has the newest status.
    async fn report(&mut self, status: NodePkiStatus) -> bool {
        if self.reported.as_ref() == Some(&status) && !self.written_past {
            return true;
        }
        match self.cluster.report(&self.name, &status).await {
            Ok(_) => {
                self.reported = Some(status);
                self.written_past = false;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "report");
                self.refused = error.code() == Some(401);
                false
            }
        }
    }
}
