//! One look at the whole cluster for a diagnosis. The agents are asked to answer, which is the one thing that it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::begin::{ANSWERS, present_ca, read_record};
use super::caller;
use super::identity::{dead, holder};
use super::observe::{Knowledge, health, inventory, unheard};
use super::record::Record;
use super::report::{next_command, standing};
use crate::cluster::{Cluster, DriverLease, Live, kubeadm, nodes};
use crate::diagnosis::{Force, Sight, Standing};
use crate::error::Error;
use crate::pki::{CaId, Material};
use crate::rotation::matrix::model;
use crate::rotation::{ClusterHealth, Goal, Inventory, NodeHealth, Phase, behind, phase_of};

/// Longest wait for the first lists. A watch that is refused is tried again for ever.
const LISTS: Duration = Duration::from_secs(30);

/// Looks at nodes, objects and rotations. With `ask` every agent is pinged, under the driver's Lease, so that a rotation that begins at the
/// same time is not disturbed; where somebody holds that Lease nobody is asked.
///
/// # Errors
/// certctl is not installed, or its objects cannot be read.
pub async fn examine(cluster: &Cluster, ask: bool) -> Result<Sight, Error> {
    let mut record = read_record(cluster).await?;
    let live = lists(cluster).await?;
    let rotated = !record.authorities.is_empty();
    let no_force = if rotated { None } else { first_seen(&mut record, &live) };
    let asked = Timestamp::now().as_millisecond();
    let ping = match ask {
        true => ask_agents(cluster, &live, &record).await,
        false => Err("nobody was to be asked (--no-ask)".to_owned()),
    };
    let known: Vec<CaId> = record.versions.keys().cloned().collect();
    // What cannot be read here is named by whoever reads every caBundle.
    let bundles = cluster.ca_bundles(&known).await.unwrap_or_default();
    let knowledge = Knowledge {
        ping: ping.clone().ok(),
        silent: unheard(&live, Timestamp::now()),
        caller: caller::read(cluster, &record),
        ca_bundles: bundles.held,
        ..Knowledge::default()
    };
    let look = inventory(&live, &record, &knowledge);
    let health = health(&live, asked, Timestamp::now().as_millisecond());
    let goal = goal(&record);
    Ok(Sight {
        silent: silent(&look, &health, ping.is_ok()),
        standing: goal.as_ref().filter(|_| rotated).map(|goal| stands(&look, goal, &record)),
        force: goal.map(|goal| force(goal, &record, Timestamp::now())).transpose()?,
        no_force: no_force.unwrap_or_else(|| "clusterpki/cluster records no CA in force".to_owned()),
        inventory: look,
        health,
        objects: objects(cluster, &live, bundles.broken).await,
        version: env!("CARGO_PKG_VERSION").into(),
        unasked: ping.err(),
        namespaces: nodes::namespaces(cluster).await.map(sorted).unwrap_or_default(),
    })
}

async fn lists(cluster: &Cluster) -> Result<Live, Error> {
    let late = || format!("the cluster's objects could not be listed within {} s", LISTS.as_secs());
    let live = tokio::time::timeout(LISTS, Live::start(cluster)).await;
    Ok(live.map_err(|_| Error::failed(late()))??)
}

/// The rotation under way, or standing still with the CA in force: the intent of the last rotation stays on record when it is over.
fn goal(record: &Record) -> Option<Goal> {
    let last = record.goal(1);
    if record.rotating() {
        return last;
    }
    let current = record.current()?.clone();
    // Only an older CA can be all that a process holds, and only one that vouches for the present one could be verified with. What was
    // rolled back has never been anybody's only CA.
    let older = |ca: &CaId| record.versions.get(ca).is_some_and(|version| *version < record.completed);
    let legacy = record.legacy(&current, Some(&current)).into_iter().filter(older).collect();
    last.map(|goal| Goal { from: current, to: None, legacy, rollback: false, ..goal })
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// Takes the CA that every namespace publishes for the one in force of a cluster that has never seen a rotation; says why it cannot.
fn first_seen(record: &mut Record, live: &Live) -> Option<String> {
    match present_ca(live) {
        Ok(present) => {
            record.add(1, &present);
            record.completed = 1;
            record.wanted = record.wanted.max(1);
            None
        }
        Err(error) => Some(error.sentence()),
    }
}

/// Pings every agent and waits for the answers of those that are there. Gives the ping, or why nobody was asked.
async fn ask_agents(cluster: &Cluster, live: &Live, record: &Record) -> Result<String, String> {
    let me = holder();
    let at_work = |name: &str| format!("the agents were not asked, for another certctl is at work: {name}");
    match cluster.driver().await {
        Ok(Some(other)) if other != me && !dead(&other) => return Err(at_work(&other.name)),
        Ok(_) => {}
        Err(error) => return Err(format!("the agents were not asked: {error}")),
    }
    let refused = |error| format!("the agents were not asked: {error}");
    let lease = DriverLease::acquire(cluster, &me, dead).await.map_err(refused)?;
    let outcome = ping(cluster, live, record).await;
    lease.release().await;
    outcome
}

async fn ping(cluster: &Cluster, live: &Live, record: &Record) -> Result<String, String> {
    let ping = Timestamp::now().to_string();
    let reporting = || -> BTreeSet<String> {
        let all = live.node_pkis.state();
        all.iter().filter(|object| object.status.is_some()).filter_map(|object| object.metadata.name.clone()).collect()
    };
    let asked = reporting();
    let spec = serde_json::json!({ "ping": ping });
    match cluster.patch_node_specs(asked.iter().map(|name| (name.clone(), spec.clone()))).await {
        Err(error) if matches!(error.code(), Some(401 | 403)) => {
            return Err(format!("the agents were not asked: {error}"));
        }
        // Who could not be asked does not answer, and is named for it.
        _ => {}
    }
    let knowledge = Knowledge { ping: Some(ping.clone()), ..Knowledge::default() };
    let all_there = async {
        let answered = || inventory(live, record, &knowledge).nodes;
        while !answered().iter().all(|(name, node)| node.responding || !asked.contains(name)) {
            live.changed.notified().await;
        }
    };
    drop(tokio::time::timeout(ANSWERS, all_there).await);
    Ok(ping)
}

/// Nodes of which at most the last report is known.
fn silent(look: &Inventory, health: &BTreeMap<String, NodeHealth>, asked: bool) -> BTreeMap<String, String> {
    let why = |name: &String| {
        let Some(node) = look.nodes.get(name) else {
            return Some("there is no Node of this name any more");
        };
        let reports = health.get(name).is_some_and(|health| health.agent_version.is_some());
        match (reports, node.responding) {
            (false, _) => Some("no agent has reported from this node"),
            (true, false) if asked => Some("its agent does not answer, and its last report may be old"),
            (true, false) => Some("its agent does not react to its object, and its last report may be old"),
            (true, true) if !asked && !node.ready => Some("the node is not Ready, and its last report may be old"),
            (true, true) => None,
        }
    };
    let names: BTreeSet<&String> = look.nodes.keys().chain(health.keys()).collect();
    names.into_iter().filter_map(|name| Some((name.clone(), why(name)?.to_owned()))).collect()
}

async fn objects(cluster: &Cluster, live: &Live, broken_bundles: BTreeMap<String, String>) -> ClusterHealth {
    let maps = live.kube_system.state();
    let map = maps.iter().find(|map| map.metadata.name.as_deref() == Some("kubeadm-config"));
    ClusterHealth {
        kubeadm: map.and_then(|map| kubeadm::record(map)),
        // Without one the item is not known.
        api_servers: cluster.api_server_tags().await.unwrap_or_default(),
        uploaded_age: None,
        broken_bundles,
    }
}

fn stands(look: &Inventory, goal: &Goal, record: &Record) -> Standing {
    let rotating = record.rotating();
    let phase = if rotating { phase_of(look, goal) } else { Phase::Idle };
    let (reason, blocking) = standing(look, goal, record, phase);
    let late = |name: &String| {
        let lacks = match (look.nodes.get(name), record.current()) {
            (Some(node), Some(in_force)) if !rotating => behind(node, in_force),
            _ => Vec::new(),
        };
        (name.clone(), lacks)
    };
    Standing {
        ca_version: record.wanted,
        rotating,
        phase,
        reason,
        blocking,
        next: next_command(record),
        older: record.authorities.keys().copied().filter(|version| *version != record.completed).collect(),
        waived: record.waived.iter().map(late).collect(),
    }
}

/// Real certificates where there are specimens of them that are valid; else models of the CAs, among which the same edges hold.
fn force(goal: Goal, record: &Record, now: Timestamp) -> Result<Force, Error> {
    let real = record.materials();
    let fresh = |ca: &CaId| {
        let material = real.get(ca);
        let specimens = material.map(|material| [&material.specimen_server, &material.specimen_client]);
        specimens.is_some_and(|both| both.iter().all(|leaf| leaf.as_ref().is_some_and(|leaf| leaf.not_after() > now)))
    };
    if fresh(&goal.from) && goal.to.as_ref().is_none_or(fresh) {
        return Ok(Force { goal, materials: real });
    }
    let other = goal.to.clone().or_else(|| goal.legacy.first().cloned()).unwrap_or_else(|| CaId::planned("new"));
    let like: Option<&Material> = real.get(&goal.from);
    let materials = model(&goal.from, &other, like, now).map_err(Error::from_display)?;
    let legacy = goal.legacy.iter().filter(|ca| **ca == other).cloned().collect();
    Ok(Force { goal: Goal { legacy, ..goal }, materials })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AuthorityRecord, CrossRecord, RotationIntent};

    fn record(completed: u32, wanted: u32) -> Record {
        let (one, two) = (CaId::planned("one"), CaId::planned("two"));
        let cross = |by: &CaId| vec![CrossRecord { by: by.clone(), certificate: String::new() }];
        let authority = |id: &CaId, crosses| AuthorityRecord {
            id: id.clone(),
            certificate: String::new(),
            crosses,
            specimen_server: None,
            specimen_client: None,
        };
        let intent = RotationIntent {
            from: one.clone(),
            to: Some(two.clone()),
            rollback: false,
            started_by: String::new(),
            started_at: String::new(),
            trusted_at: None,
        };
        Record {
            wanted,
            completed,
            rotation: Some(intent),
            versions: BTreeMap::from([(one.clone(), 1), (two.clone(), 2)]),
            authorities: BTreeMap::from([(1, authority(&one, cross(&two))), (2, authority(&two, cross(&one)))]),
            ..Record::default()
        }
    }

    /// From, to, and the older CAs.
    fn of(record: &Record) -> (CaId, Option<CaId>, Vec<CaId>) {
        let goal = goal(record).unwrap();
        (goal.from, goal.to, goal.legacy)
    }

    #[test]
    fn a_cluster_at_rest_is_measured_by_the_ca_in_force_and_not_by_the_last_rotation() {
        let (one, two) = (CaId::planned("one"), CaId::planned("two"));
        assert_eq!(of(&record(1, 2)), (one.clone(), Some(two.clone()), vec![]), "under way");
        assert_eq!(of(&record(2, 2)), (two, None, vec![one.clone()]), "complete, not finalized");
        let back = Record { rotation: None, ..record(1, 1) };
        assert_eq!(of(&back), (one, None, vec![]), "rolled back");
    }

    #[test]
    fn of_whom_only_the_last_report_is_known_is_silent() {
        let mut look = Inventory::default();
        let mut health = BTreeMap::new();
        for (name, responding, ready) in [("good", true, true), ("mute", false, true), ("down", true, false)] {
            let node = crate::rotation::NodeView { responding, ready, ..Default::default() };
            look.nodes.insert(name.into(), node);
            let reported = NodeHealth { agent_version: Some("1".into()), ..NodeHealth::default() };
            health.insert(name.into(), reported);
        }
        look.nodes.insert("new".into(), crate::rotation::NodeView::default());
        health.insert("gone".into(), NodeHealth::default());
        let names = |asked| silent(&look, &health, asked).into_keys().collect::<Vec<_>>();
        assert_eq!(names(true), ["gone", "mute", "new"], "who has answered speaks for itself");
        assert_eq!(names(false), ["down", "gone", "mute", "new"]);
    }
}
