//! The first steps of a run: connect, take the Lease, look, refuse or begin.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;

use super::blockers::{blockers, wrong_version};
use super::caller;
use super::driver::{Driver, Settings};
use super::observe::{Knowledge, health, inventory, made};
use super::record::Record;
use super::survey::survey;
use crate::api::{AuthorityRecord, ClusterPkiSpec, RotationIntent};
use crate::cluster::{Access, Cluster, DriverLease, Holder, Live, trust};
use crate::error::Error;
use crate::pki::{CaId, Certificate};
use crate::rotation::{
    ClusterHealth, Event, EventKind, Goal, Inventory, NodeHealth, Phase, Preflight, pause_left, warnings,
};

/// Longest wait for the agents to answer the first ping.
pub(super) const ANSWERS: Duration = Duration::from_secs(10);

/// What is wanted of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Begin a rotation, or go on with the one under way.
    Rotate {
        /// The CAVersion asked for by number; `None`: the next one, or the one under way.
        ca_version: Option<u32>,
    },
    /// Go on with what is under way, past the pause before which it stands.
    Continue,
    /// Return to the CA that was in force.
    Rollback,
    /// Only look after what is there: no change of the intent.
    Finalize,
}

impl Request {
    /// True when it begins a rotation, and goes on with none.
    const fn begins(self, resumed: bool) -> bool {
        !resumed && matches!(self, Self::Rotate { .. })
    }
}

/// A run that has been looked at and may be carried out.
pub struct Begin {
    /// The driver, holding the Lease.
    pub driver: Driver,
    /// What was seen.
    pub look: Inventory,
    /// True when a rotation under way is taken up.
    pub resumed: bool,
}

/// Everything a run starts from.
pub struct Start<'a> {
    /// How to reach the cluster.
    pub access: &'a Access,
    /// What is wanted.
    pub request: Request,
    /// Who drives.
    pub holder: &'a Holder,
    /// Whether a holder's process is known to be gone.
    pub dead: &'a (dyn Fn(&Holder) -> bool + Sync),
    /// Nodes left out.
    pub waive: &'a [String],
}

impl Begin {
    /// Connects, takes the Lease, looks, and refuses what must not begin.
    ///
    /// # Errors
    /// No cluster, another driver, or every blocker of the preflight (kind Refused; nothing was changed).
    pub async fn new(start: &Start<'_>, settings: Settings, events: UnboundedSender<Event>) -> Result<Self, Error> {
        let cluster = Cluster::connect(start.access).await?;
        cluster.version().await?;
        refuse_other_version(&cluster, &read_record(&cluster).await?, start.request).await?;
        let lease = DriverLease::acquire(&cluster, start.holder, start.dead).await?;
        // Only now, and asked again: whoever held the Lease until a moment ago may have brought a rotation to its end.
        let mut record = read_record(&cluster).await?;
        refuse_other_version(&cluster, &record, start.request).await?;
        let live = Live::start_driving(&cluster).await?;
        let resumed = record.rotating();
        intend(&mut record, start, &live)?;
        let ping = Timestamp::now().to_string();
        let mut goal = record
            .goal((settings.max_unavailable)(live.nodes.state().len()))
            .ok_or_else(|| Error::failed("clusterpki/cluster records no CA in force"))?;
        goal.pause_before = settings.pause_before;
        goal.waived.extend(start.waive.iter().cloned());
        if start.request == Request::Finalize {
            // Looked at as a cluster at rest: the CA in force is the one that everything must accept.
            goal = record
                .current()
                .map(|current| Goal { from: current.clone(), to: None, ..goal.clone() })
                .unwrap_or(goal);
        }
        let mut knowledge = Knowledge { ping: Some(ping), ..Knowledge::default() };
        knowledge.caller = caller::read(&cluster, &record);
        let known: Vec<_> = record.versions.keys().cloned().collect();
        let bundles = cluster.ca_bundles(&known).await?;
        knowledge.ca_bundles = bundles.held;
        // Only a beginning depends on them: what is under way goes on, or back, without asking.
        let objects = if start.request.begins(resumed) {
            survey(&cluster, &live, bundles.broken).await?
        } else {
            ClusterHealth::default()
        };
        let now = Instant::now();
        let driver = Driver {
            cluster,
            live,
            lease,
            record,
            goal,
            knowledge,
            settings,
            events,
            targets: BTreeMap::new(),
            told: BTreeMap::new(),
            changing: BTreeMap::new(),
            entered: None,
            waiting: Vec::new(),
            progress: now,
            began: now,
            finished: false,
            closed: false,
            condition: None,
            generation: None,
            warned: Vec::new(),
        };
        driver.first_look(start, &objects, resumed).await
    }
}

impl Driver {
    async fn first_look(mut self, start: &Start<'_>, objects: &ClusterHealth, resumed: bool) -> Result<Begin, Error> {
        let asked = Timestamp::now().as_millisecond();
        let look = self.roll_call().await?;
        if start.request == Request::Continue {
            self.goal.pause_before = pause_left(&look, &self.goal);
        }
        let health = health(&self.live, asked, Timestamp::now().as_millisecond());
        if let Err(error) = self.may_begin(start.request, resumed, &look, &health, objects).await {
            self.lease.release().await;
            return Err(error);
        }
        if start.request != Request::Finalize {
            for node in self.record.waived.iter().filter(|node| !start.waive.contains(node)) {
                let message = format!("node/{node} is left out: it was waived on an earlier run");
                self.emit(EventKind::Warning { message });
            }
            self.write_spec().await?;
            let phase = if resumed { crate::rotation::phase_of(&look, &self.goal) } else { Phase::Planned };
            self.write_status(phase, &look).await?;
        }
        Ok(Begin { driver: self, look, resumed })
    }

    /// Refuses what must not begin, and has the way back saved for what may.
    async fn may_begin(
        &mut self,
        request: Request,
        resumed: bool,
        look: &Inventory,
        health: &BTreeMap<String, NodeHealth>,
        objects: &ClusterHealth,
    ) -> Result<(), Error> {
        let input = Preflight {
            inventory: look,
            goal: &self.goal,
            health,
            cluster: objects,
            version: env!("CARGO_PKG_VERSION"),
            now: Timestamp::now().as_second(),
        };
        let blockers = blockers(&input, caller::blocker(&self.cluster, &self.record), request, resumed);
        if !blockers.is_empty() {
            let verb = if resumed { "go on" } else { "begin" };
            let error = Error::refused(format!("the rotation cannot {verb}; nothing was changed"));
            return Err(blockers.iter().fold(error, |error, blocker| error.caused_by(blocker.to_string())));
        }
        if request.begins(resumed) {
            for message in warnings(&input) {
                self.emit(EventKind::Warning { message });
            }
            if self.settings.etcd_snapshot {
                self.save_etcd(look, health).await?;
            }
        }
        Ok(())
    }

    /// Pings every agent and waits for the answers of those that are there.
    async fn roll_call(&mut self) -> Result<Inventory, Error> {
        // An order to renew that a driver has left behind ends here.
        let ping = serde_json::json!({ "ping": self.knowledge.ping, "renewal": null });
        let names: Vec<String> =
            self.live.node_pkis.state().iter().filter_map(|object| object.metadata.name.clone()).collect();
        self.cluster.patch_node_specs(names.into_iter().map(|name| (name, ping.clone()))).await?;
        let look = || inventory(&self.live, &self.record, &self.knowledge);
        let all_there = async {
            while !look().counted(&self.goal).all(|(_, node)| node.responding) {
                self.live.changed.notified().await;
            }
        };
        // Who has not answered by then is named by the preflight.
        drop(tokio::time::timeout(ANSWERS, all_there).await);
        Ok(look())
    }
}

pub(super) async fn read_record(cluster: &Cluster) -> Result<Record, Error> {
    match cluster.cluster_pki().await? {
        Some(object) => Ok(Record::read(&object)),
        None => Ok(Record::default()),
    }
}

/// A second rotation while one runs: the API server itself refuses it (CEL rule of the CRD), so it is asked.
async fn refuse_other_version(cluster: &Cluster, record: &Record, request: Request) -> Result<(), Error> {
    let Request::Rotate { ca_version: Some(version) } = request else { return Ok(()) };
    let Some(wrong) = wrong_version(record, request) else { return Ok(()) };
    if record.rotating() {
        cluster.try_cluster_spec(&ClusterPkiSpec { ca_version: version, ..record.spec(&record.waived) }).await?;
    }
    Err(Error::refused(wrong.problem).hint(wrong.remedy))
}

/// Sets what is wanted; a rotation under way is taken as it is.
pub(super) fn intend(record: &mut Record, start: &Start<'_>, live: &Live) -> Result<(), Error> {
    if record.authorities.is_empty() {
        record.add(1, &present_ca(live)?);
        record.completed = 1;
        // A driver that died between its first two writes has left an intent already.
        record.wanted = record.wanted.max(1);
    }
    let rotating = record.rotating();
    if !rotating {
        record.end_waivers(&inventory(live, record, &Knowledge::default()));
    }
    let rolling_back = record.rotation.as_ref().is_some_and(|rotation| rotation.rollback);
    match start.request {
        Request::Rotate { .. } if rotating && rolling_back => {
            Err(Error::refused("a rollback is under way").hint("finish it with `certctl rotate-ca rollback`"))
        }
        Request::Rotate { .. } if rotating => Ok(()),
        Request::Rotate { .. } => {
            let from =
                record.current().cloned().ok_or_else(|| Error::failed("clusterpki/cluster records no CA in force"))?;
            record.wanted = record.completed + 1;
            record.rotation = Some(intent(from, None, false, start));
            Ok(())
        }
        Request::Continue if rotating => Ok(()),
        Request::Continue => Err(Error::refused("no rotation is under way, so there is nothing to go on with")
            .hint("`certctl rotate-ca` begins one")),
        Request::Rollback if rotating && rolling_back => Ok(()),
        Request::Rollback if rotating => roll_back(record, start, live),
        Request::Finalize if rotating => {
            Err(Error::refused("a rotation is under way").hint("finish it with `certctl rotate-ca` first"))
        }
        Request::Finalize => Ok(()),
        Request::Rollback => Err(Error::refused("no rotation is under way, so there is nothing to roll back")),
    }
}

fn roll_back(record: &mut Record, start: &Start<'_>, live: &Live) -> Result<(), Error> {
    let rotation = record.rotation.clone().ok_or_else(|| Error::failed("clusterpki/cluster names no rotation"))?;
    record.wanted = record.completed;
    let Some(made) = rotation.to else {
        // Nothing refers to a CA that was not recorded yet: what some node may have made of it is destroyed, and that is all.
        record.rotation = None;
        record.retire(&unrecorded(record, live));
        return Ok(());
    };
    if let Some(node) = dropped(&rotation.from, record, live) {
        return Err(Error::refused(format!("node/{node} does not trust the old CA any more, so there is no way back"))
            .hint("finish the rotation with `certctl rotate-ca`"));
    }
    record.rotation = Some(intent(made, Some(rotation.from), true, start));
    Ok(())
}

/// CAs that nodes were asked for and have made, and that are not recorded.
fn unrecorded(record: &Record, live: &Live) -> Vec<CaId> {
    let look = inventory(live, record, &Knowledge::default());
    let answers = made(live, &look).into_iter().map(|(_, made)| made.authority.id);
    answers.filter(|ca| !record.versions.contains_key(ca)).collect()
}

/// A node on which the drop of this CA has begun.
fn dropped(ca: &CaId, record: &Record, live: &Live) -> Option<String> {
    let look = inventory(live, record, &Knowledge::default());
    let counted = look.nodes.into_iter().filter(|(name, _)| !record.waived.contains(name));
    let mut without = counted.filter(|(_, node)| {
        let bundle = &node.state.disk.ca_bundle;
        !bundle.is_empty() && !bundle.contains(ca)
    });
    without.next().map(|(name, _)| name)
}

fn intent(from: CaId, to: Option<CaId>, rollback: bool, start: &Start<'_>) -> RotationIntent {
    RotationIntent {
        from,
        to,
        rollback,
        started_by: start.holder.name.clone(),
        started_at: Timestamp::now().to_string(),
        trusted_at: None,
    }
}

/// The CA in force in a cluster that certctl sees for the first time: the one that every namespace publishes.
pub(super) fn present_ca(live: &Live) -> Result<AuthorityRecord, Error> {
    let maps = live.root_cas.state();
    let map = maps.iter().find(|map| map.metadata.namespace.as_deref() == Some("kube-system"));
    let pem = map
        .and_then(|map| map.data.as_ref()?.get("ca.crt"))
        .ok_or_else(|| Error::failed("configmap/kube-system/kube-root-ca.crt holds no CA"))?;
    let found = trust::ca_ids(pem);
    if found.len() != 1 {
        return Err(Error::refused(format!("configmap/kube-system/kube-root-ca.crt holds {} CAs, so it is not known which is in force", found.len()))
            .hint("finish or undo the rotation that somebody began, until pki/ca.crt holds one CA on every control-plane node"));
    }
    let certificate = Certificate::first_from_pem(pem.as_bytes()).map_err(Error::from_display)?;
    Ok(AuthorityRecord {
        id: certificate.ca_id(),
        certificate: certificate.to_pem(),
        crosses: Vec::new(),
        specimen_server: None,
        specimen_client: None,
    })
}
