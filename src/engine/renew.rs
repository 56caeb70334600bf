//! The driver of a renewal on many nodes: asks the agents what they would do, then has it done, one node after the other.
//!
//! **Guarantees.** It holds the Lease of the rotations' driver, so that neither runs while the other does. Nothing is changed before every
//! node's plan is known. What a node is told is which certificates must go, by serial number: an agent that reads it twice changes nothing
//! the second time. When the run is over, however it ends, no node is told anything any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::begin::read_record;
use super::observe::{Knowledge, health, inventory, reports};
use super::record::Record;
use crate::api::{NodeRenewal, RenewalOrder, RenewalOutcome, Replaced};
use crate::cluster::{Access, Cluster, DriverLease, Holder, Live, nodes};
use crate::error::Error;
use crate::node::renewal::run_name;
use crate::plan::renewal::Request;
use crate::rotation::renewal::{NodePlan, Selection, blocked, refusals};
use crate::rotation::{Event, EventKind, Inventory, RenewalPhase};

mod run;

/// Longest wait for the agents to answer the first ping with their plans.
const ANSWERS: Duration = Duration::from_secs(15);
/// Longest wait for the orders to be taken back.
const TAKE_BACK: Duration = Duration::from_secs(10);

/// What the administrator chose.
pub struct FleetSettings {
    /// What is renewed, and how.
    pub request: Request,
    /// Where.
    pub selection: Selection,
    /// Longest wait for something to move; zero: for ever.
    pub timeout: Duration,
    /// How many kubelets of workers may restart at the same time, out of so many nodes.
    pub max_unavailable: Box<dyn Fn(usize) -> usize + Send + Sync>,
}

/// What has become of one node.
#[derive(Clone, Debug, Default)]
pub struct FleetNode {
    /// What its agent has planned.
    pub plan: NodePlan,
    /// What has come of it, as far as that is known.
    pub outcome: Option<RenewalOutcome>,
    /// Why it failed there.
    pub problem: Option<String>,
}

/// A renewal at work.
pub struct Fleet {
    cluster: Cluster,
    live: Live,
    lease: DriverLease,
    settings: FleetSettings,
    events: UnboundedSender<Event>,
    run: String,
    record: Record,
    knowledge: Knowledge,
    /// Every node that was asked.
    asked: BTreeSet<String>,
    plans: BTreeMap<String, NodePlan>,
    /// Those that were told what to replace, and when.
    told: BTreeMap<String, Instant>,
    /// Some node may have been told.
    begun: bool,
    done: BTreeSet<String>,
    part: Option<(RenewalPhase, Instant)>,
    waiting: Vec<String>,
    warned: BTreeSet<String>,
    progress: Instant,
    began: Instant,
}

impl Fleet {
    /// Connects, takes the Lease and asks every agent for its plan.
    ///
    /// # Errors
    /// No cluster; kind Refused with every reason: another driver, a rotation, a node that does not take part, a certificate that cannot be
    /// renewed. Nothing was changed then.
    pub async fn begin(
        access: &Access,
        holder: &Holder,
        dead: &(dyn Fn(&Holder) -> bool + Sync),
        settings: FleetSettings,
        events: UnboundedSender<Event>,
    ) -> Result<Self, Error> {
        let cluster = Cluster::connect(access).await?;
        cluster.version().await?;
        Self::begin_on(cluster, holder, dead, settings, events).await
    }

    async fn begin_on(
        cluster: Cluster,
        holder: &Holder,
        dead: &(dyn Fn(&Holder) -> bool + Sync),
        settings: FleetSettings,
        events: UnboundedSender<Event>,
    ) -> Result<Self, Error> {
        refuse_in_rotation(&read_record(&cluster).await?)?;
        let lease = DriverLease::acquire(&cluster, holder, dead).await?;
        match Self::looking(&cluster).await {
            Ok((record, live)) => {
                let mut fleet = Self::new((cluster, live, lease), record, settings, events);
                match fleet.ask().await {
                    Ok(()) => Ok(fleet),
                    Err(error) => {
                        fleet.release().await;
                        Err(error)
                    }
                }
            }
            Err(error) => {
                lease.release().await;
                Err(error)
            }
        }
    }

    /// Asked again: whoever held the Lease until a moment ago may have begun a rotation.
    async fn looking(cluster: &Cluster) -> Result<(Record, Live), Error> {
        let record = read_record(cluster).await?;
        refuse_in_rotation(&record)?;
        Ok((record, Live::start_driving(cluster).await?))
    }

    fn new(
        (cluster, live, lease): (Cluster, Live, DriverLease),
        record: Record,
        settings: FleetSettings,
        events: UnboundedSender<Event>,
    ) -> Self {
        let (time, now) = (Timestamp::now(), Instant::now());
        Self {
            cluster,
            live,
            lease,
            settings,
            events,
            run: run_name(time),
            record,
            knowledge: Knowledge { ping: Some(time.to_string()), ..Knowledge::default() },
            asked: BTreeSet::new(),
            plans: BTreeMap::new(),
            told: BTreeMap::new(),
            begun: false,
            done: BTreeSet::new(),
            part: None,
            waiting: Vec::new(),
            warned: BTreeSet::new(),
            progress: now,
            began: now,
        }
    }

    /// Every node that was asked, with its plan and what has come of it.
    #[must_use]
    pub fn nodes(&self) -> BTreeMap<String, FleetNode> {
        let node = |(name, plan): (&String, &NodePlan)| {
            let answer = self.told.contains_key(name).then(|| self.answer(name)).flatten();
            let (outcome, problem) = answer.map(|answer| (answer.outcome, answer.problem)).unwrap_or_default();
            (name.clone(), FleetNode { plan: plan.clone(), outcome, problem })
        };
        self.plans.iter().map(node).collect()
    }

    /// The renewal's name: of its back-ups on the nodes, of its lines in their journals.
    #[must_use]
    pub fn run_name(&self) -> &str {
        &self.run
    }

    /// Takes every order back and gives the Lease away. A node that is at it comes to its end.
    pub async fn release(self) {
        let known = reports(&self.live);
        let told = self.asked.iter().filter(|name| known.contains_key(*name));
        let orders = told.map(|name| (name.clone(), json!({ "renewal": null })));
        let taken_back = self.cluster.patch_node_specs(orders.collect::<Vec<_>>());
        match tokio::time::timeout(TAKE_BACK, taken_back).await {
            Ok(Ok(())) => {}
            // What stands there asks for nothing that was not shown, and the next run of any driver replaces it.
            Ok(Err(error)) => tracing::warn!(%error, "orders to renew stay in the nodes' objects"),
            Err(_) => tracing::warn!("orders to renew stay in the nodes' objects"),
        }
        self.lease.release().await;
    }

    fn look(&self) -> Inventory {
        let mut look = inventory(&self.live, &self.record, &self.knowledge);
        // Also of a node without an agent, which would else not be missed where only control-plane nodes are asked.
        for object in self.live.nodes.state() {
            let node = object.metadata.name.as_ref().and_then(|name| look.nodes.get_mut(name));
            if let Some(node) = node {
                node.state.control_plane = nodes::is_control_plane(&object);
            }
        }
        look
    }

    /// The answer to this run's order that stands in the node's object.
    fn answer(&self, node: &str) -> Option<NodeRenewal> {
        let answer = reports(&self.live).get(node)?.status.as_ref()?.renewal.clone()?;
        (answer.run == self.run).then_some(answer)
    }

    async fn ask(&mut self) -> Result<(), Error> {
        let asked_at = Timestamp::now().as_millisecond();
        self.asked = self.settings.selection.of(&self.look(), &self.settings.request);
        let order = RenewalOrder::plan(&self.run, &self.settings.request);
        let order = json!({ "ping": self.knowledge.ping, "renewal": order });
        let known = reports(&self.live);
        let orders =
            self.asked.iter().filter(|name| known.contains_key(*name)).map(|name| (name.clone(), order.clone()));
        let orders: Vec<(String, Value)> = orders.collect();
        self.cluster.patch_node_specs(orders).await?;
        let answered = async {
            while !self.all_answered() {
                self.live.changed.notified().await;
            }
        };
        // Who has not answered by then is named.
        drop(tokio::time::timeout(ANSWERS, answered).await);
        let health = health(&self.live, asked_at, Timestamp::now().as_millisecond());
        let version = env!("CARGO_PKG_VERSION");
        let (look, selection) = (self.look(), &self.settings.selection);
        refuse(&refusals(&look, &health, selection, &self.asked, version))?;
        self.plans = self.asked.iter().map(|name| (name.clone(), self.plan_of(name))).collect();
        refuse(&blocked(&self.plans, &self.settings.request))
    }

    fn all_answered(&self) -> bool {
        let look = self.look();
        let there = |name: &String| look.nodes.get(name).is_some_and(|node| node.responding);
        self.asked.iter().all(|name| there(name) && self.answer(name).is_some())
    }

    fn plan_of(&self, node: &str) -> NodePlan {
        match self.answer(node) {
            Some(NodeRenewal { certificates, restarts, problem, .. }) => NodePlan { certificates, restarts, problem },
            None => {
                let problem = Some("its agent has not said what it would renew".to_owned());
                NodePlan { problem, ..NodePlan::default() }
            }
        }
    }

    /// What a node is told: the certificates of its plan must not stand there any more.
    fn order(&self, plan: &NodePlan) -> RenewalOrder {
        let gone = plan.renewed().filter_map(|row| {
            let serial = row.change.as_ref()?.old_serial.clone();
            Some(Replaced { name: row.name.to_string(), serial })
        });
        RenewalOrder { replace: Some(gone.collect()), ..RenewalOrder::plan(&self.run, &self.settings.request) }
    }

    fn emit(&self, kind: EventKind) {
        // Whoever listened may have gone; the renewal goes on.
        drop(self.events.send(Event { at: Timestamp::now(), rotation: self.run.clone(), kind }));
    }
}

fn refuse_in_rotation(record: &Record) -> Result<(), Error> {
    if !record.rotating() {
        return Ok(());
    }
    Err(Error::refused("a CA rotation is under way; nothing was changed")
        .hint("let it complete (`certctl status`), or roll it back: it decides which CA signs what"))
}

fn refuse(blockers: &[crate::rotation::Blocker]) -> Result<(), Error> {
    if blockers.is_empty() {
        return Ok(());
    }
    let error = Error::refused("the renewal cannot begin; nothing was changed");
    Err(blockers.iter().fold(error, |error, blocker| error.caused_by(blocker.to_string())))
}

#[cfg(test)]
mod tests;
