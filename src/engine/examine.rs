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
    let live = match tokio::time::timeout(LISTS, Live::start(cluster)).await {
        Ok(live) => live?,
        Err(_) => {
            return Err(Error::failed(format!(
                "the cluster's objects could not be listed within {} s",
                LISTS.as_secs()
            )));
        }
    };
    let rotated = !record.authorities.is_empty();
    let no_force = if rotated { None } else { first_seen(&mut record, &live) };
    let asked = Timestamp::now().as_millisecond();
    let ping = if ask {
        ask_agents(cluster, &live, &record).await
    } else {
        Err("nobody was to be asked (--no-ask)".to_owned())
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
    let goal = record.goal(1);
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
