//! Which starts were restarts. Pure.
//!
//! A start is *new* if that pod had never been started before, *at boot* if it is the first since the node's power was
//! turned on, and else a restart. Static pods keep their names, so taking a manifest out and in again is a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::starts::History;

/// The control-plane components, in the order in which people think of them.
pub const COMPONENTS: [&str; 4] = ["kube-apiserver", "etcd", "kube-scheduler", "kube-controller-manager"];
pub const KUBELET: &str = "kubelet";
/// All other containers together.
pub const PODS: &str = "other pods";

/// What can be started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thing {
    Kubelet,
    Container { namespace: String, pod: String, container: String },
}

impl Thing {
    fn component(&self) -> &'static str {
        match self {
            Thing::Kubelet => KUBELET,
            Thing::Container { namespace, container, .. } if namespace == "kube-system" => {
                COMPONENTS.into_iter().find(|component| component == container).unwrap_or(PODS)
            }
            Thing::Container { .. } => PODS,
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::Kubelet => f.write_str(KUBELET),
            Thing::Container { namespace, pod, container } => write!(f, "{namespace}/{pod} {container}"),
        }
    }
}

/// A thing on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Unit {
    pub node: String,
    pub thing: Thing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Restart,
    AtBoot,
    New,
}

/// One start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Start {
    pub time: Timestamp,
    pub node: String,
    pub component: &'static str,
    pub name: String,
    pub kind: Kind,
}

/// Starts of one component on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub component: &'static str,
    pub node: String,
    pub restarts: u64,
    pub at_boot: u64,
    pub new: u64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub since: Timestamp,
    pub until: Timestamp,
    pub rows: Vec<Row>,
    /// When each node's power was turned on.
    pub boots: Vec<Boot>,
    /// Every start, oldest first.
    pub starts: Vec<Start>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Boot {
    pub node: String,
    pub time: Timestamp,
}

pub fn count(nodes: &[(String, History)], known: &BTreeSet<Unit>, since: Timestamp, until: Timestamp) -> Report {
    let (mut starts, mut boots) = (Vec::new(), Vec::new());
    let within = |time: Timestamp| since <= time && time <= until;
    for (node, history) in nodes {
        boots.extend(
            history.boots.iter().filter(|time| within(**time)).map(|time| Boot { node: node.clone(), time: *time }),
        );
        starts.extend(judge(node, history, known).into_iter().filter(|start| within(start.time)));
    }
    boots.sort_by_key(|boot| boot.time);
    starts.sort_by_key(|start| start.time);
    Report { since, until, rows: rows(nodes, known, &starts), boots, starts }
}

/// Says of each start in the journal what it was.
fn judge(node: &str, history: &History, known: &BTreeSet<Unit>) -> Vec<Start> {
    let mut last: BTreeMap<&Thing, Timestamp> = BTreeMap::new();
    let mut judged = Vec::new();
    for (time, thing) in &history.starts {
        let boot = history.boots.iter().filter(|boot| *boot <= time).max();
        let since_boot = |before: Timestamp| boot.is_none_or(|boot| *boot <= before);
        let kind = match last.insert(thing, *time) {
            Some(before) if since_boot(before) => Kind::Restart,
            Some(_) => Kind::AtBoot,
            None if !known.contains(&Unit { node: node.to_owned(), thing: thing.clone() }) => Kind::New,
            // Known from before the journal begins.
            None if boot.is_some() => Kind::AtBoot,
            None => Kind::Restart,
        };
        judged.push(Start {
            time: *time,
            node: node.to_owned(),
            component: thing.component(),
            name: thing.to_string(),
            kind,
        });
    }
    judged
}

/// A row for each component that a node has, also for those that did nothing: a zero is what one wants to read.
fn rows(nodes: &[(String, History)], known: &BTreeSet<Unit>, starts: &[Start]) -> Vec<Row> {
    let mut rows = Vec::new();
    for component in COMPONENTS.into_iter().chain([KUBELET, PODS]) {
        for (node, history) in nodes {
            let had = known.iter().any(|unit| unit.node == *node && unit.thing.component() == component);
            let has = had || history.starts.iter().any(|(_, thing)| thing.component() == component);
            if has {
                rows.push(row(component, node, starts));
            }
        }
    }
    rows
}

fn row(component: &'static str, node: &str, starts: &[Start]) -> Row {
    let ours = || starts.iter().filter(|start| start.component == component && start.node == node);
    let of = |kind: Kind| ours().filter(|start| start.kind == kind).count() as u64;
    Row { component, node: node.to_owned(), restarts: of(Kind::Restart), at_boot: of(Kind::AtBoot), new: of(Kind::New) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn container(pod: &str, name: &str) -> Thing {
        Thing::Container { namespace: "kube-system".to_owned(), pod: pod.to_owned(), container: name.to_owned() }
    }

    fn scheduler() -> Thing {
        container("kube-scheduler-cp-1", "kube-scheduler")
    }

    fn report(boots: &[i64], starts: Vec<(i64, Thing)>) -> Report {
        let starts = starts.into_iter().map(|(second, thing)| (at(second), thing)).collect();
        let history = History { boots: boots.iter().map(|second| at(*second)).collect(), starts };
        count(&[("cp-1".to_owned(), history)], &BTreeSet::new(), at(100), at(200))
    }

    fn figures(report: &Report, component: &str) -> (u64, u64, u64) {
        let row = report.rows.iter().find(|row| row.component == component).unwrap();
        (row.restarts, row.at_boot, row.new)
    }

    #[test]
    fn what_happened_before_is_not_counted_but_remembered() {
        let report = report(&[1], vec![(5, scheduler()), (6, Thing::Kubelet), (150, scheduler())]);
        assert_eq!(figures(&report, "kube-scheduler"), (1, 0, 0));
        assert_eq!(figures(&report, KUBELET), (0, 0, 0));
        assert_eq!(report.starts.len(), 1);
    }

    #[test]
    fn the_first_start_after_a_boot_is_listed_apart() {
        let report = report(
            &[1, 120],
            vec![(5, scheduler()), (6, Thing::Kubelet), (122, Thing::Kubelet), (125, scheduler()), (150, scheduler())],
        );
        assert_eq!(figures(&report, "kube-scheduler"), (1, 1, 0));
        assert_eq!(figures(&report, KUBELET), (0, 1, 0));
        assert_eq!(report.boots, [Boot { node: "cp-1".to_owned(), time: at(120) }]);
    }

    #[test]
    fn a_pod_never_seen_before_is_new_once() {
        let agent = || container("certctl-agent-x7", "agent");
        let report = report(&[1], vec![(110, agent()), (120, agent())]);
        assert_eq!(figures(&report, PODS), (1, 0, 1));
    }

    #[test]
    fn a_journal_that_lost_its_beginning_makes_nothing_new() {
        let known = BTreeSet::from([Unit { node: "cp-1".to_owned(), thing: scheduler() }]);
        let history = History { boots: vec![], starts: vec![(at(150), scheduler())] };
        let report = count(&[("cp-1".to_owned(), history)], &known, at(100), at(200));
        assert_eq!(figures(&report, "kube-scheduler"), (1, 0, 0));
    }
}
