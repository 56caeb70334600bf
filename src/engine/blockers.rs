//! The reasons not to begin: one list, for a run and for a dry run.

use super::begin::Request;
use super::record::Record;
use crate::rotation::{Blocker, Preflight, Topic, preflight, waiver_blockers};

/// What only a run can ask, because the question is written into the nodes' objects.
pub(super) const NOT_ASKED: [&str; 3] =
    ["whether every agent answers now", "whether the nodes' clocks agree", "whether every member of etcd is healthy"];

/// Every reason not to begin or to go on. `caller`: why the caller's credential could not be renewed on the way.
pub(super) fn blockers(
    input: &Preflight<'_>,
    caller: Option<Blocker>,
    request: Request,
    resumed: bool,
) -> Vec<Blocker> {
    // A rotation under way may have nodes that are down: the planner names them and waits. Nobody may leave out a node that serves.
    let mut blockers = if resumed { Vec::new() } else { preflight(input) };
    // finalize renews nothing.
    blockers.extend(caller.filter(|_| !resumed && request != Request::Finalize));
    if request != Request::Finalize {
        blockers.extend(waiver_blockers(input.inventory, input.goal));
    }
    blockers
}

/// A CAVersion that cannot come next.
pub(super) fn wrong_version(record: &Record, request: Request) -> Option<Blocker> {
    let Request::Rotate { ca_version: Some(version) } = request else { return None };
    let next = if record.rotating() { record.wanted } else { record.completed.max(1) + 1 };
    (version != next).then(|| Blocker {
        topic: Topic::Rotation,
        object: "clusterpki/cluster".into(),
        problem: format!("CAVersion {version} cannot come next: the next is {next}"),
        remedy: format!("leave --ca-version out, or give --ca-version {next}"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::pki::CaId;
    use crate::rotation::{ClusterHealth, Goal, Inventory};

    const ROTATE: Request = Request::Rotate { ca_version: None };

    fn caller() -> Option<Blocker> {
        Some(Blocker {
            topic: Topic::Rotation,
            object: "kubeconfig".into(),
            problem: "system:masters".into(),
            remedy: "another one".into(),
        })
    }

    /// What blocks a cluster without any node.
    fn objects(resumed: bool) -> Vec<String> {
        let (inventory, health) = (Inventory::default(), BTreeMap::new());
        let goal = Goal::at_rest(CaId::planned("old"));
        let cluster = ClusterHealth::default();
        let input =
            Preflight { inventory: &inventory, goal: &goal, health: &health, cluster: &cluster, version: "1", now: 0 };
        blockers(&input, caller(), ROTATE, resumed).into_iter().map(|blocker| blocker.object).collect()
    }

    #[test]
    fn the_callers_credential_is_a_reason_like_any_other_and_none_when_a_rotation_goes_on() {
        assert_eq!(objects(false), ["cluster", "kubeconfig"]);
        assert!(objects(true).is_empty());
    }

    #[test]
    fn a_version_that_cannot_come_next_is_a_reason() {
        let record = Record { wanted: 1, completed: 1, ..Record::default() };
        let blocked = |version| wrong_version(&record, Request::Rotate { ca_version: version });
        assert!(blocked(Some(2)).is_none() && blocked(None).is_none());
        for wrong in [1, 3] {
            let blocker = blocked(Some(wrong)).unwrap();
            assert_eq!(blocker.problem, format!("CAVersion {wrong} cannot come next: the next is 2"));
        }
    }
}
