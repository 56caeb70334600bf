//! The report, drift and the condition, from made-up nodes.

use super::*;
use crate::api::{AuthorityRecord, RotationIntent};
use crate::plan::{ConfState, NodeState, ProcessState};
use crate::ui::fits;

fn ca(name: &str) -> CaId {
    CaId::planned(name)
}

fn node(held: &str) -> NodeView {
    let mut state = NodeState::default();
    state.disk.ca_bundle = vec![ca(held)];
    state.disk.kubelet_client = Some(ca(held));
    let conf = ConfState { issuer: Some(ca(held)), trust: vec![ca(held)], not_after: 1, own_server: false };
    state.loaded.kubelet = Some(ProcessState { conf: Some(conf), ..ProcessState::default() });
    NodeView { state, responding: true, ready: true, ..NodeView::default() }
}

/// CAVersion 2 is in force; `waived` were left out, and one that is no node any more.
fn record(waived: &[&str]) -> Record {
    let mut record = Record { wanted: 2, completed: 2, ..Record::default() };
    for (version, name) in [(1, "old"), (2, "new")] {
        record.add(
            version,
            &AuthorityRecord {
                id: ca(name),
                certificate: String::new(),
                crosses: Vec::new(),
                specimen_server: None,
                specimen_client: None,
            },
        );
    }
    record.waived = waived.iter().map(ToString::to_string).collect();
    record
}

fn look() -> Inventory {
    let nodes = [("w-1", node("new")), ("w-2", node("old"))];
    Inventory { nodes: nodes.into_iter().map(|(name, node)| (name.to_owned(), node)).collect(), ..Inventory::default() }
}

#[test]
fn a_waiver_ends_with_a_node_that_is_up_to_date_or_gone() {
    let mut record = record(&["w-1", "w-2", "gone"]);
    record.end_waivers(&look());
    assert_eq!(record.waived.iter().collect::<Vec<_>>(), ["w-2"]);
}

#[test]
fn a_node_that_is_left_out_and_late_is_named_by_its_own_line_and_is_no_drift() {
    let (look, record) = (look(), record(&["w-1", "w-2"]));
    let report = |name: &str| {
        let node = &look.nodes[name];
        node_report(name, node, late(name, node, &record), |ca| record.versions[ca])
    };
    let (back, away) = (report("w-1"), report("w-2"));
    assert_eq!((back.waived, back.problem), (false, None));
    assert!(away.waived);
    let problem = away.problem.unwrap();
    assert!(
        problem.starts_with("left out and not up to date: ca.crt does not hold the CA in force alone"),
        "{problem}"
    );
    assert!(!drift(&look, &record));
    assert!(drift(&look, &self::record(&[])), "the same node, not left out");
}

#[test]
fn an_older_client_ca_that_came_back_is_named_and_the_one_in_force_and_strangers_are_not() {
    let (mut look, record) = (look(), record(&[]));
    look.cluster.client_ca = vec![ca("new"), ca("stranger")];
    assert_eq!(brought_back(&look, &record), Vec::<String>::new());
    look.cluster.client_ca.push(ca("old"));
    let named = brought_back(&look, &record);
    assert!(matches!(named.as_slice(), [one] if one.contains("drop CA 1 again")), "{named:?}");
}

/// A rotation to CAVersion 3 has just begun.
fn begun(waived: &[&str]) -> Record {
    let rotation = RotationIntent {
        from: ca("new"),
        to: None,
        rollback: false,
        started_by: "me@here:1".into(),
        started_at: "2026-11-22T12:00:00Z".into(),
        trusted_at: None,
    };
    Record { wanted: 3, rotation: Some(rotation), ..record(waived) }
}

#[test]
fn while_a_rotation_is_under_way_a_waiver_lasts() {
    let record = begun(&["w-1"]);
    let node = node("new");
    let report = node_report("w-1", &node, late("w-1", &node, &record), |_| 2);
    assert_eq!((report.waived, report.problem), (true, None));
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

#[test]
fn the_time_of_the_condition_is_that_of_its_status() {
    let (began, later, done) = (at("2026-11-22T12:00:00Z"), at("2026-11-22T12:01:00Z"), at("2026-11-22T12:02:00Z"));
    let first = condition(None, Reason::Progressed, "a".into(), Some(2), began);
    let blocked = condition(Some(&first), Reason::Blocked, "b".into(), Some(3), later);
    assert_eq!((blocked.status.as_str(), blocked.reason.as_str()), ("False", "CARotationBlocked"));
    assert_eq!((blocked.message.as_str(), blocked.observed_generation), ("b", Some(3)));
    assert_eq!(blocked.last_transition_time.0, began);
    let completed = condition(Some(&blocked), Reason::Completed, "c".into(), Some(3), done);
    assert_eq!((completed.status.as_str(), completed.last_transition_time.0), ("True", done));
}

#[test]
fn what_is_printed_as_json_fits_the_schema() {
    let report = report_of(&look(), &record(&[])).unwrap();
    assert_eq!((report.reason, report.phase, report.started.as_deref()), (Reason::Drifted, Phase::Idle, None));
    fits(&report);

    let mut look = look();
    // Null on the others.
    let serving = NodeState { control_plane: true, ..node("new").state };
    let mut server = NodeView { state: serving, problem: Some("disk full".into()), ..node("new") };
    server.apiserver.issuer = Some(ca("new"));
    look.nodes.insert("cp-1".into(), server);
    look.nodes.insert("w-3".into(), NodeView::default());
    let report = report_of(&look, &begun(&["w-2"])).unwrap();
    assert_eq!((report.status, report.nodes[0].role), (ConditionStatus::False, Role::ControlPlane));
    assert!(report.started.is_some() && !report.blocking.is_empty() && report.nodes[0].served == Some(2));
    fits(&report);
}
