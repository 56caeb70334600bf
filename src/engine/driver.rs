//! The driver: looks, asks the planner, writes what the agents shall do, waits for what they report.
//!
//! **Guarantees.** Nothing is remembered that decides: after a crash at any point a new driver goes on from what it sees. Every step is
//! checked by the trust matrix against what is loaded, before it is taken. **It waits for observations**, never for time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tokio::sync::mpsc::UnboundedSender;

use super::caller;
use super::desk::{Common, changed_specs};
use super::observe::{Knowledge, inventory, made};
use super::record::Record;
use super::turns::Turn;
use crate::api::{MakeAuthority, NodePkiSpec};
use crate::cluster::{Cluster, DriverLease, Live};
use crate::error::Error;
use crate::node::layout::SIGNER;
use crate::pki::CaId;
use crate::plan::{ClusterOp, NodeTarget, same_set};
use crate::rotation::matrix::Matrix;
use crate::rotation::{Event, EventKind, Goal, Inventory, Next, Phase, Step, maker, next};

/// A node that has not taken note of its object for this long is called silent.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

/// What the administrator chose.
pub struct Settings {
    /// Longest wait for one phase to make progress; zero: for ever.
    pub timeout: Duration,
    /// How many kubelets may restart at the same time, out of so many nodes.
    pub max_unavailable: Box<dyn Fn(usize) -> usize + Send + Sync>,
    /// The phase before which to stop.
    pub pause_before: Option<Phase>,
    /// Whether a snapshot of etcd is saved before a rotation begins.
    pub etcd_snapshot: bool,
    /// Lifetime of new leaves, seconds.
    pub leaf_validity_seconds: Option<i64>,
    /// kubeadm's name of the new CA's key algorithm.
    pub algorithm: Option<String>,
    /// Validity of the new CA, seconds.
    pub ca_validity_seconds: Option<i64>,
}

/// How a run ended without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The goal is reached.
    Completed,
    /// Stopped before this phase.
    Paused(Phase),
}

/// One driver at work.
pub struct Driver {
    pub(super) cluster: Cluster,
    pub(super) live: Live,
    pub(super) lease: DriverLease,
    pub(super) record: Record,
    pub(super) goal: Goal,
    pub(super) knowledge: Knowledge,
    pub(super) settings: Settings,
    pub(super) events: UnboundedSender<Event>,
    pub(super) targets: BTreeMap<String, NodeTarget>,
    /// When each node was last told something that it has not taken note of.
    pub(super) told: BTreeMap<String, Instant>,
    pub(super) changing: BTreeMap<String, Instant>,
    pub(super) entered: Option<(Phase, Instant)>,
    pub(super) waiting: Vec<String>,
    pub(super) progress: Instant,
    pub(super) began: Instant,
    pub(super) finished: bool,
    /// The end is on record.
    pub(super) closed: bool,
    /// The condition as this driver wrote it last.
    pub(super) condition: Option<Condition>,
    /// `metadata.generation` of the intent as this driver wrote it last.
    pub(super) generation: Option<i64>,
    /// What was said to be broken already, so that it is said once.
    pub(super) warned: Vec<String>,
}

impl Driver {
    /// Works until the goal is reached, a pause, or an error. Dropping the future at any await leaves a cluster that works.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] with what was missing; [`ErrorKind::Refused`] when a step would cut somebody off; a failed call.
    pub async fn run(&mut self) -> Result<Outcome, Error> {
        // A rollback of what was not begun in earnest: only what was prepared is taken back.
        self.finished = !self.record.rotating();
        self.repeat(async |driver| driver.turn().await).await
    }

    async fn turn(&mut self) -> Result<Turn<Outcome>, Error> {
        self.note_silence();
        if self.finished {
            let look = self.look();
            return Ok(self.close(&look).await?.map_or(Turn::Wait, Turn::End));
        }
        self.read_record();
        self.take_made().await?;
        let look = self.look();
        self.note_done(&look);
        self.approve_serving(&look).await;
        match next(&look, &self.goal) {
            Next::Done => {
                self.finish(&look).await?;
                Ok(Turn::Again)
            }
            Next::Pause(phase) => Ok(Turn::End(self.pause(phase))),
            Next::Wait(phase, reasons) => {
                self.enter(phase, &look).await?;
                self.note_reason(&look).await?;
                self.wait_for(reasons)?;
                self.write_specs(&look).await?;
                Ok(Turn::Wait)
            }
            Next::Steps(phase, steps) => {
                self.enter(phase, &look).await?;
                self.note_reason(&look).await?;
                self.check(&look, &steps)?;
                Ok(if self.take(&look, steps).await? { Turn::Again } else { Turn::Wait })
            }
        }
    }

    /// What is observed, with the targets as this driver has set them: the watch may be behind its own writes.
    pub(super) fn look(&self) -> Inventory {
        let mut look = inventory(&self.live, &self.record, &self.knowledge);
        for (name, target) in &self.targets {
            if let Some(node) = look.nodes.get_mut(name) {
                node.target = Some(target.clone());
            }
        }
        look
    }

    /// Gives the Lease back.
    pub async fn release(self) {
        self.lease.release().await;
    }

    fn read_record(&mut self) {
        if let Some(object) = self.live.cluster_pki() {
            let seen = Record::read(&object);
            // The watch may be behind what this driver itself has written.
            if seen.versions.len() >= self.record.versions.len() {
                self.goal.waived.clone_from(&seen.waived);
                self.record = seen;
            }
        }
    }

    /// A node that was told something and does not take note of it is silent; it is heard again as soon as it does.
    fn note_silence(&mut self) {
        let mut silent = BTreeSet::new();
        for object in self.live.node_pkis.state() {
            let Some(name) = object.metadata.name.clone() else { continue };
            let observed = object.status.as_ref().map_or(0, |status| status.observed_generation);
            if observed >= object.metadata.generation.unwrap_or_default() {
                self.told.remove(&name);
            } else if self.told.entry(name.clone()).or_insert_with(Instant::now).elapsed() > SILENCE
                && object.status.as_ref().is_none_or(|status| status.doing.is_none())
            {
                silent.insert(name);
            }
        }
        self.knowledge.silent = silent;
    }

    /// Takes the new CA's public certificates into the record, from the node that was asked for them.
    async fn take_made(&mut self) -> Result<(), Error> {
        if self.goal.to.is_some() {
            return Ok(());
        }
        let request = self.make_request().request;
        let answers = made(&self.live, &self.look());
        let Some((node, made)) = answers.iter().find(|(_, made)| made.request == request) else { return Ok(()) };
        self.record.vet(made, &self.goal.from).map_err(|problem| {
            Error::refused(format!("the CA that node/{node} has made was not taken: {problem}"))
                .hint("look at that node; `certctl rotate-ca rollback` takes the attempt back")
        })?;
        let old = self.record.versions.get(&made.old.id).copied().unwrap_or(self.record.completed);
        self.record.add(old, &made.old);
        self.record.add(self.record.wanted, &made.authority);
        if let Some(rotation) = &mut self.record.rotation {
            rotation.to = Some(made.authority.id.clone());
        }
        // The certificates first: a goal without certificates could not be followed by another driver.
        let look = self.look();
        self.write_status(Phase::Planned, &look).await?;
        self.write_spec().await?;
        self.goal.to = Some(made.authority.id.clone());
        self.goal.legacy = self.record.legacy(&self.goal.from, self.goal.to.as_ref());
        Ok(())
    }

    /// Named after the CA that is replaced, so that it is answered once, whoever asks again.
    fn make_request(&self) -> MakeAuthority {
        MakeAuthority {
            request: format!("ca-{}-after-{}", self.record.wanted, self.goal.from.short()),
            like: self.goal.from.clone(),
            algorithm: self.settings.algorithm.clone(),
            validity_seconds: self.settings.ca_validity_seconds,
        }
    }

    fn check(&mut self, look: &Inventory, steps: &[Step]) -> Result<(), Error> {
        let Some(to) = &self.goal.to else { return Ok(()) };
        let materials = self.record.materials();
        if !materials.contains_key(to) {
            return Err(Error::failed(format!("clusterpki/cluster has no certificate of CA {}", to.short()))
                .hint("`certctl rotate-ca rollback` returns to the old CA"));
        }
        let matrix = Matrix::new(&materials, Timestamp::now());
        self.warn_of_broken(&matrix.broken(look, &self.goal));
        let violations = matrix.check(look, &self.goal, steps);
        if violations.is_empty() {
            return Ok(());
        }
        let mut error = Error::refused("the next step would cut somebody off, so it was not taken");
        for violation in violations.iter().take(5) {
            error = error.caused_by(violation.to_string());
        }
        self.emit(EventKind::Blocked { reasons: violations.iter().map(ToString::to_string).collect() });
        Err(error.hint(
            "`certctl status -o wide` shows what every node trusts; `certctl rotate-ca rollback` returns to the old CA",
        ))
    }

    /// Takes steps; true when the picture has changed by itself and should be looked at again at once.
    async fn take(&mut self, look: &Inventory, steps: Vec<Step>) -> Result<bool, Error> {
        let mut again = false;
        for step in steps {
            match step {
                // The specs ask for these, whoever drives (`desk`).
                Step::Make { .. } | Step::Stage { .. } => {}
                Step::Node { node, target, ops } => {
                    self.changing.insert(node.clone(), Instant::now());
                    self.emit(EventKind::NodeChanging {
                        node: node.clone(),
                        ops: ops.iter().map(ToString::to_string).collect(),
                    });
                    self.targets.insert(node, *target);
                    self.progress = Instant::now();
                }
                Step::Cluster(op) => {
                    self.cluster_op(&op).await?;
                    self.progress = Instant::now();
                    again = true;
                }
            }
        }
        self.write_specs(look).await?;
        self.patience(&[])?;
        Ok(again)
    }

    async fn cluster_op(&mut self, op: &ClusterOp) -> Result<(), Error> {
        let known: Vec<CaId> = self.record.versions.keys().cloned().collect();
        match op {
            ClusterOp::ClusterInfo(cas) => self.cluster.write_cluster_info(&self.record.certificates(cas)).await?,
            ClusterOp::CaBundles(cas) => {
                self.cluster.write_ca_bundles(&known, &self.record.certificates(cas)).await?;
                self.knowledge.ca_bundles = self.cluster.ca_bundles(&known).await?.held;
            }
            ClusterOp::KubeadmConfig { own_signer } => {
                self.cluster.write_kubeadm_config(own_signer.then_some(SIGNER)).await?
            }
            ClusterOp::ClientCa(cas) => self.cluster.write_client_ca(&self.record.certificates(cas)).await?,
            ClusterOp::CallerCredential { issuer, trust } => {
                let wanted = caller::Wanted { issuer, lifetime: self.settings.leaf_validity_seconds };
                let signer = caller::renew(&self.cluster, &self.record, wanted, trust).await?;
                self.knowledge.csr_signer = signer.or_else(|| Some(issuer.clone()));
                self.reconnect().await?;
            }
        }
        self.seen(op).await;
        Ok(())
    }

    /// From now on with the credential that the kubeconfig holds now: the old one ends with the old CA.
    async fn reconnect(&mut self) -> Result<(), Error> {
        self.cluster = self.cluster.reconnect().await?;
        self.live = Live::start_driving(&self.cluster).await?;
        self.lease.use_client(&self.cluster);
        self.knowledge.caller = caller::read(&self.cluster, &self.record);
        Ok(())
    }

    /// Waits until the watch shows what was just written, so that it is not written twice.
    async fn seen(&self, op: &ClusterOp) {
        let shows = || {
            let look = inventory(&self.live, &self.record, &self.knowledge).cluster;
            match op {
                ClusterOp::ClusterInfo(cas) => look.cluster_info.is_none_or(|held| same_set(&held, cas)),
                ClusterOp::ClientCa(cas) => same_set(&look.client_ca, cas),
                ClusterOp::KubeadmConfig { own_signer } => look.kubeadm_own_signer == Some(*own_signer),
                ClusterOp::CaBundles(_) | ClusterOp::CallerCredential { .. } => true,
            }
        };
        let watched = async {
            while !shows() {
                self.live.changed.notified().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(5), watched).await.is_err() {
            tracing::debug!(%op, "not seen yet");
        }
    }

    pub(super) async fn write_specs(&mut self, look: &Inventory) -> Result<(), Error> {
        // Only a rotation that has begun and has no CA yet asks for one.
        let wanted = self.record.rotation.as_ref().is_some_and(|rotation| rotation.to.is_none() && !self.finished);
        let maker = maker(look, &self.goal).filter(|_| wanted);
        let rotation = self.record.rotation_name();
        let make = self.make_request();
        let common = Common {
            ping: self.knowledge.ping.as_deref().unwrap_or_default(),
            rotation: &rotation,
            leaf_validity_seconds: self.settings.leaf_validity_seconds,
            record: &self.record,
            goal: &self.goal,
            make: maker.map(|maker| (maker, &make)),
            forget: &self.record.forget,
            targets: &self.targets,
            finished: self.finished,
        };
        let changed: Vec<(String, NodePkiSpec)> = changed_specs(&common, &self.live, look);
        let to_json = |(node, spec): (String, NodePkiSpec)| match serde_json::to_value(spec) {
            Ok(value) => Ok((node, value)),
            Err(error) => Err(Error::failed(format!("nodepki/{node}: {error}"))),
        };
        let specs = changed.into_iter().map(to_json).collect::<Result<Vec<_>, Error>>()?;
        self.cluster.patch_node_specs(specs).await?;
        Ok(())
    }
}
