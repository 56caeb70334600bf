//! A rotation that is only looked at: the plan that would be carried out, verified to its end.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::begin::{Start, intend, read_record};
use super::blockers::{NOT_ASKED, blockers, wrong_version};
use super::caller;
use super::observe::{Knowledge, health, inventory};
use super::record::Record;
use super::survey::survey;
use crate::cluster::{Cluster, Live};
use crate::error::Error;
use crate::pki::CaId;
use crate::rotation::matrix::{Matrix, model};
use crate::rotation::simulate::{settle, take, whole_plan};
use crate::rotation::{Blocker, Goal, Inventory, NodeHealth, Phase, Preflight, Step, warnings};

/// The plan, for people and scripts.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// The CAVersion that the plan leads to.
    pub ca_version: u32,
    /// What would have to be mended first.
    pub blockers: Vec<Blocker>,
    /// What the administrator should know first, and what stops nothing.
    pub warnings: Vec<String>,
    /// What a run asks before it changes anything, and a dry run cannot.
    pub not_asked: Vec<&'static str>,
    /// Phases in order.
    pub phases: Vec<PlannedPhase>,
}

/// One phase of a plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedPhase {
    /// Name.
    pub phase: Phase,
    /// What happens in it.
    pub title: String,
    /// Changes, in order.
    pub changes: Vec<PlannedChange>,
    /// Who notices.
    pub cut_off: Vec<&'static str>,
}

/// One change of one node, or of the cluster's objects.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// `node/NAME` or `cluster`.
    pub object: String,
    /// What is done, in order.
    pub does: Vec<String>,
    /// Files written, relative to the node's root.
    pub files: Vec<String>,
    /// Processes restarted.
    pub restarts: Vec<String>,
}

/// Plans without writing anything.
///
/// # Errors
/// No cluster, or a plan that does not get to its end.
pub async fn dry_run(start: &Start<'_>, max_unavailable: impl Fn(usize) -> usize) -> Result<PlanReport, Error> {
    let cluster = Cluster::connect(start.access).await?;
    cluster.version().await?;
    let mut record = read_record(&cluster).await?;
    let wrong_version = wrong_version(&record, start.request);
    let resumed = record.rotating();
    let live = Live::start(&cluster).await?;
    intend(&mut record, start, &live)?;
    let mut goal = record.goal(1).ok_or_else(|| Error::failed("clusterpki/cluster records no CA in force"))?;
    goal.waived.extend(start.waive.iter().cloned());
    let caller = caller::read(&cluster, &record);
    let known: Vec<CaId> = record.versions.keys().cloned().collect();
    let bundles = cluster.ca_bundles(&known).await?;
    let objects = survey(&cluster, &live, bundles.broken).await?;
    let knowledge = Knowledge { caller, ca_bundles: bundles.held, ..Knowledge::default() };
    let look = inventory(&live, &record, &knowledge);
    goal.max_unavailable = max_unavailable(look.nodes.len());
    let now = Timestamp::now();
    let input = Preflight {
        inventory: &look,
        goal: &goal,
        health: &unasked(health(&live, now.as_millisecond(), now.as_millisecond())),
        cluster: &objects,
        version: env!("CARGO_PKG_VERSION"),
        now: now.as_second(),
    };
    let mut blockers = blockers(&input, caller::blocker(&cluster, &record), start.request, resumed);
    blockers.extend(wrong_version);
    let warnings = warnings(&input);
    let phases = if blockers.is_empty() { phases(&look, &goal, &record, now)? } else { Vec::new() };
    Ok(PlanReport { ca_version: record.wanted, blockers, warnings, not_asked: NOT_ASKED.to_vec(), phases })
}

/// Without what a node says only when it is asked: its last word on that may be from long ago.
fn unasked(mut health: BTreeMap<String, NodeHealth>) -> BTreeMap<String, NodeHealth> {
    for node in health.values_mut() {
        node.clock_skew = 0;
        node.etcd_healthy = None;
    }
    health
}

fn phases(look: &Inventory, goal: &Goal, record: &Record, now: Timestamp) -> Result<Vec<PlannedPhase>, Error> {
    let plan = whole_plan(look, goal).map_err(|(phase, missing)| {
        let error = Error::failed(format!("the plan does not get past {phase}"));
        missing.into_iter().take(5).fold(error, Error::caused_by)
    })?;
    verify(look, goal, record, &plan, now)?;
    let mut phases: Vec<PlannedPhase> = Vec::new();
    for (phase, steps) in &plan {
        if phases.last().is_none_or(|last| last.phase != *phase) {
            phases.push(PlannedPhase {
                phase: *phase,
                title: phase.title().into(),
                changes: Vec::new(),
                cut_off: cut_off(*phase),
            });
        }
        if let Some(last) = phases.last_mut() {
            last.changes.extend(steps.iter().map(change));
        }
    }
    Ok(phases)
}

/// Every step of the plan against every edge, among model certificates for a CA that does not exist yet.
fn verify(
    look: &Inventory,
    goal: &Goal,
    record: &Record,
    plan: &[(Phase, Vec<Step>)],
    now: Timestamp,
) -> Result<(), Error> {
    let new = goal.to.clone().unwrap_or_else(|| CaId::planned("new"));
    let real = record.materials();
    let complete =
        real.get(&goal.from).is_some_and(|material| material.specimen_server.is_some()) && real.contains_key(&new);
    let materials: BTreeMap<_, _> = if complete {
        real
    } else {
        model(&goal.from, &new, real.get(&goal.from), now).map_err(Error::from_display)?
    };
    let (mut world, mut goal) =
        (look.clone(), Goal { legacy: if complete { goal.legacy.clone() } else { Vec::new() }, ..goal.clone() });
    for (phase, steps) in plan {
        settle(&mut world, &goal);
        let violations = Matrix::new(&materials, now).check(&world, &goal, steps);
        if let Some(violation) = violations.first() {
            return Err(
                Error::refused(format!("the plan would cut somebody off in {phase}")).caused_by(violation.to_string())
            );
        }
        steps.iter().for_each(|step| take(&mut world, &mut goal, step));
    }
    Ok(())
}

fn change(step: &Step) -> PlannedChange {
    let plain = |object: String, does: String| PlannedChange {
        object,
        does: vec![does],
        files: Vec::new(),
        restarts: Vec::new(),
    };
    match step {
        Step::Make { node } => plain(format!("node/{node}"), "make the new CA, cross-sign old and new".into()),
        Step::Stage { node, .. } => {
            plain(format!("node/{node}"), "take in the CA keys it lacks, sealed to this node".into())
        }
        Step::Cluster(op) => plain("cluster".into(), op.to_string()),
        Step::Node { node, ops, .. } => PlannedChange {
            object: format!("node/{node}"),
            does: ops.iter().map(ToString::to_string).collect(),
            files: ops.iter().flat_map(crate::plan::Op::files).collect(),
            restarts: ops.iter().filter_map(crate::plan::Op::restarts).map(str::to_owned).collect(),
        },
    }
}

/// What stock components cannot avoid (facts file, section 15), and what the drop is there for.
fn cut_off(phase: Phase) -> Vec<&'static str> {
    match phase {
        Phase::CPReissued => vec!["exec, logs -f and port-forward sessions: once per API server"],
        Phase::DPReissued => vec!["exec, logs -f and port-forward sessions: once per node, with its kubelet"],
        Phase::CPUntrusted => vec!["clients that hold only a certificate of the old CA: 401 from now on"],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ClusterOp, Credential, NodeTarget, Op};
    use crate::rotation::Topic;
    use crate::ui::fits;

    fn planned(phase: Phase, steps: &[Step]) -> PlannedPhase {
        let changes = steps.iter().map(change).collect();
        PlannedPhase { phase, title: phase.title().into(), changes, cut_off: cut_off(phase) }
    }

    /// One step of each kind.
    fn phases_of_each_step() -> Vec<PlannedPhase> {
        let (node, new) = ("cp-1".to_owned(), CaId::planned("new"));
        let ops = vec![Op::WriteBundle(vec![new.clone()]), Op::RestartKubelet];
        let target = Box::new(NodeTarget {
            ca_bundle: vec![new.clone()],
            kubelet: Credential { issuer: new.clone(), trust: vec![new.clone()] },
            kubelet_serving: None,
            kubelet_loaded: true,
            control_plane: None,
        });
        let made = [Step::Make { node: node.clone() }, Step::Stage { node: "cp-2".into(), lacks: vec![new.clone()] }];
        vec![
            planned(Phase::Staged, &made),
            planned(Phase::DPReissued, &[Step::Node { node, target, ops }]),
            planned(Phase::DPUntrusted, &[Step::Cluster(ClusterOp::ClusterInfo(vec![new]))]),
        ]
    }

    #[test]
    fn what_is_printed_as_json_fits_the_schema() {
        let phases = phases_of_each_step();
        let change = &phases[1].changes[0];
        assert_eq!((change.files.len(), change.restarts.as_slice()), (1, ["kubelet".to_owned()].as_slice()));
        assert!(!phases[1].cut_off.is_empty());
        let plan = PlanReport {
            ca_version: 2,
            blockers: Vec::new(),
            warnings: vec!["a node joins".into()],
            not_asked: NOT_ASKED.to_vec(),
            phases,
        };
        fits(&plan);
        let blocker = Blocker {
            topic: Topic::Ready,
            object: "node/w-1".into(),
            problem: "not Ready".into(),
            remedy: "`kubectl describe node w-1`".into(),
        };
        fits(&PlanReport { blockers: vec![blocker], warnings: Vec::new(), phases: Vec::new(), ..plan });
    }
}
