//! A renewal of leaf certificates on many nodes: who may take part, and who is next.
//!
//! **Guarantees.** One control-plane node at a time, the next one when every one of them is healthy; workers after them, a few at a time. A
//! node that failed is the last one that was begun. Nothing is remembered: what the nodes say decides, so any number of looks may lie in
//! between.

use std::collections::{BTreeMap, BTreeSet};

use super::inventory::{Inventory, NodeView};
use super::preflight::{Blocker, Found, NodeHealth, agent};
use crate::plan::renewal::{Action, CertificateName, RenewalRow, Request};

/// Which nodes are meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// These; empty: every node.
    pub nodes: BTreeSet<String>,
    /// But not these.
    pub waived: BTreeSet<String>,
}

/// What a node's agent has planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePlan {
    /// Every certificate that was asked for and stands there.
    pub certificates: Vec<RenewalRow>,
    /// Processes that are restarted, in order.
    pub restarts: Vec<String>,
    /// Why there is no plan.
    pub problem: Option<String>,
}

impl NodePlan {
    /// What is renewed.
    pub fn renewed(&self) -> impl Iterator<Item = &RenewalRow> {
        self.certificates.iter().filter(|row| row.action == Action::Renew)
    }

    /// True when the node is as it shall be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.renewed().next().is_none() && self.restarts.is_empty()
    }

    /// What is done there, in words.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        let names: Vec<String> = self.renewed().map(|row| row.name.to_string()).collect();
        let renew = (!names.is_empty()).then(|| format!("renew {}", names.join(", ")));
        renew.into_iter().chain(self.restarts.iter().map(|process| format!("restart {process}"))).collect()
    }
}

impl Selection {
    /// The nodes that take part in a request.
    #[must_use]
    pub fn of(&self, look: &Inventory, request: &Request) -> BTreeSet<String> {
        let meant = |name: &String| self.nodes.is_empty() || self.nodes.contains(name);
        let takes_part = |(name, node): &(&String, &NodeView)| {
            meant(name) && !self.waived.contains(*name) && request.concerns(node.state.control_plane)
        };
        look.nodes.iter().filter(takes_part).map(|(name, _)| name.clone()).collect()
    }
}

/// Every reason not to ask these nodes; `version` is that of the driver, which the agents must have too.
#[must_use]
pub fn refusals(
    look: &Inventory,
    health: &BTreeMap<String, NodeHealth>,
    selection: &Selection,
    asked: &BTreeSet<String>,
    version: &str,
) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    for name in selection.nodes.iter().filter(|name| !look.nodes.contains_key(*name)) {
        let mut found = Found { object: format!("node/{name}"), blockers: &mut blockers };
        found.add("there is no such node", "`kubectl get nodes` shows the names");
    }
    for name in asked {
        let node = look.nodes.get(name).cloned().unwrap_or_default();
        let health = health.get(name).cloned().unwrap_or_default();
        let mut found = Found { object: format!("node/{name}"), blockers: &mut blockers };
        let leave_out = format!("bring it back, or go on without it: --waive node/{name}");
        if agent(version, &node, &health, &leave_out, &mut found) && health.etcd_healthy == Some(false) {
            found.add(
                "etcd is not healthy",
                "look at `etcdctl endpoint health --cluster`; a renewal needs every member",
            );
        }
    }
    blockers
}

/// What stands in the way of the plans, and of certificates that were named and stand on none of these nodes.
#[must_use]
pub fn blocked(plans: &BTreeMap<String, NodePlan>, request: &Request) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    for (node, plan) in plans {
        let mut found = Found { object: format!("node/{node}"), blockers: &mut blockers };
        if let Some(problem) = &plan.problem {
            found.add(
                problem,
                format!("look at the agent's log on that node, or go on without it: --waive node/{node}"),
            );
        }
        for row in plan.certificates.iter().filter(|row| row.action == Action::Blocked) {
            let problem = format!("{} cannot be renewed: {}", row.name, row.reason.as_deref().unwrap_or_default());
            found.add(problem, row.remedy.as_deref().unwrap_or("name the others to renew them"));
        }
    }
    if !blockers.is_empty() {
        return blockers;
    }
    let known = |name: CertificateName| plans.values().any(|plan| plan.certificates.iter().any(|row| row.name == name));
    for name in request.names.iter().filter(|name| !known(**name)) {
        let mut found = Found { object: format!("certificate {name}"), blockers: &mut blockers };
        found.add("it stands on none of these nodes", "`certctl inspect` shows what there is");
    }
    blockers
}

/// A node with something to do, as it is seen now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its role.
    pub control_plane: bool,
    /// The Node object's Ready condition.
    pub ready: bool,
    /// Its member of etcd; `None` without one.
    pub etcd_healthy: Option<bool>,
    /// It was told what to replace.
    pub told: bool,
    /// What has come of it, once that is known.
    pub outcome: Option<Result<(), String>>,
}

impl Member {
    /// Why nobody else may be changed now.
    fn ails(&self) -> Option<&'static str> {
        match (self.ready, self.etcd_healthy) {
            (false, _) => Some("the node is not Ready"),
            (true, Some(false)) => Some("its etcd is not healthy"),
            (true, _) => None,
        }
    }

    /// What is awaited of it before others may follow.
    fn pending(&self) -> Option<&'static str> {
        if !self.told {
            return None;
        }
        if self.outcome.is_none() { Some("its agent renews") } else { self.ails() }
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Tell these nodes to begin.
    Tell(Vec<String>),
    /// Wait for these observations.
    Wait(Vec<String>),
    /// These nodes failed: no other is begun.
    Failed(Vec<(String, String)>),
    /// Everything is renewed, and healthy.
    Done,
}

/// Decides from what is seen; at most `at_once` workers are changed at the same time. `bystanders` are control-plane nodes without anything to
/// do: while one of them is down, no other is changed.
#[must_use]
pub fn next(members: &BTreeMap<String, Member>, bystanders: &BTreeMap<String, Member>, at_once: usize) -> Next {
    let running = |member: &Member| member.told && member.outcome.is_none();
    let failed = members.iter().filter_map(|(name, member)| match &member.outcome {
        Some(Err(problem)) => Some((name.clone(), problem.clone())),
        _ => None,
    });
    let failed: Vec<(String, String)> = failed.collect();
    if !failed.is_empty() {
        // Those that had begun beside it come to their end first: what they say then is the whole story.
        let late: Vec<String> = reasons(members, |member| running(member).then_some("its agent renews"));
        return if late.is_empty() { Next::Failed(failed) } else { Next::Wait(late) };
    }
    let (control_plane, workers): (BTreeMap<_, _>, BTreeMap<_, _>) = members
        .iter()
        .map(|(name, member)| (name.clone(), member.clone()))
        .partition(|(_, member)| member.control_plane);
    let waiting = reasons(&control_plane, Member::pending);
    if !waiting.is_empty() {
        return Next::Wait(waiting);
    }
    if let Some((first, _)) = control_plane.iter().find(|(_, member)| !member.told) {
        let mut sick = reasons(&control_plane, Member::ails);
        sick.extend(reasons(bystanders, Member::ails));
        return if sick.is_empty() { Next::Tell(vec![first.clone()]) } else { Next::Wait(sick) };
    }
    next_workers(&workers, at_once)
}

fn next_workers(workers: &BTreeMap<String, Member>, at_once: usize) -> Next {
    let waiting = reasons(workers, Member::pending);
    let free = at_once.max(1).saturating_sub(waiting.len());
    let (fit, unfit): (Vec<_>, Vec<_>) =
        workers.iter().filter(|(_, member)| !member.told).partition(|(_, member)| member.ails().is_none());
    let begun: Vec<String> = fit.into_iter().take(free).map(|(name, _)| name.clone()).collect();
    if !begun.is_empty() {
        return Next::Tell(begun);
    }
    let unfit = unfit.into_iter().filter_map(|(name, member)| Some(format!("node/{name}: {}", member.ails()?)));
    let waiting: Vec<String> = waiting.into_iter().chain(unfit).collect();
    if waiting.is_empty() { Next::Done } else { Next::Wait(waiting) }
}

fn reasons(members: &BTreeMap<String, Member>, why: impl Fn(&Member) -> Option<&'static str>) -> Vec<String> {
    members.iter().filter_map(|(name, member)| Some(format!("node/{name}: {}", why(member)?))).collect()
}

#[cfg(test)]
mod tests;
