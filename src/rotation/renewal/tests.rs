use super::*;
use crate::plan::NodeState;

const VERSION: &str = "1.0.0";

fn member(control_plane: bool) -> Member {
    Member { control_plane, ready: true, etcd_healthy: control_plane.then_some(true), told: false, outcome: None }
}

fn fleet(control_planes: usize, workers: usize) -> BTreeMap<String, Member> {
    let nodes = |prefix: &'static str, count, role| (1..=count).map(move |n| (format!("{prefix}-{n}"), member(role)));
    nodes("cp", control_planes, true).chain(nodes("w", workers, false)).collect()
}

fn told(next: &Next) -> &[String] {
    match next {
        Next::Tell(nodes) => nodes,
        other => panic!("{other:?}"),
    }
}

fn begin(fleet: &mut BTreeMap<String, Member>, nodes: &[String]) {
    for node in nodes {
        fleet.get_mut(node).unwrap().told = true;
    }
}

fn end(fleet: &mut BTreeMap<String, Member>, node: &str) {
    fleet.get_mut(node).unwrap().outcome = Some(Ok(()));
}

#[test]
fn control_plane_nodes_are_changed_one_at_a_time_and_workers_after_them_a_few_at_a_time() {
    let mut fleet = fleet(3, 5);
    let mut order: Vec<Vec<String>> = Vec::new();
    loop {
        let now = next(&fleet, &BTreeMap::new(), 2);
        if now == Next::Done {
            break;
        }
        let nodes = told(&now).to_vec();
        begin(&mut fleet, &nodes);
        assert!(matches!(next(&fleet, &BTreeMap::new(), 2), Next::Wait(_)), "nobody else while {nodes:?} is at it");
        nodes.iter().for_each(|node| end(&mut fleet, node));
        order.push(nodes);
    }
    let order: Vec<String> = order.iter().map(|nodes| nodes.join(" ")).collect();
    assert_eq!(order, ["cp-1", "cp-2", "cp-3", "w-1 w-2", "w-3 w-4", "w-5"]);
}

#[test]
fn a_worker_that_is_done_makes_room_for_the_next_one() {
    let mut fleet = fleet(0, 3);
    let first = told(&next(&fleet, &BTreeMap::new(), 2)).to_vec();
    begin(&mut fleet, &first);
    end(&mut fleet, "w-2");
    assert_eq!(told(&next(&fleet, &BTreeMap::new(), 2)), ["w-3"]);
}

#[test]
fn the_next_node_waits_until_the_last_one_is_healthy_again() {
    let mut fleet = fleet(2, 1);
    begin(&mut fleet, &["cp-1".to_owned()]);
    end(&mut fleet, "cp-1");
    fleet.get_mut("cp-1").unwrap().etcd_healthy = Some(false);
    assert_eq!(next(&fleet, &BTreeMap::new(), 1), Next::Wait(vec!["node/cp-1: its etcd is not healthy".into()]));
    fleet.get_mut("cp-1").unwrap().etcd_healthy = Some(true);
    fleet.get_mut("cp-1").unwrap().ready = false;
    assert_eq!(next(&fleet, &BTreeMap::new(), 1), Next::Wait(vec!["node/cp-1: the node is not Ready".into()]));
    fleet.get_mut("cp-1").unwrap().ready = true;
    fleet.get_mut("cp-2").unwrap().etcd_healthy = Some(false);
    assert_eq!(
        next(&fleet, &BTreeMap::new(), 1),
        Next::Wait(vec!["node/cp-2: its etcd is not healthy".into()]),
        "nor is a sick one begun"
    );
    fleet.get_mut("cp-2").unwrap().etcd_healthy = Some(true);
    assert_eq!(told(&next(&fleet, &BTreeMap::new(), 1)), ["cp-2"]);
}

#[test]
fn at_the_end_everybody_must_be_ready() {
    let mut fleet = fleet(1, 1);
    for node in ["cp-1", "w-1"] {
        begin(&mut fleet, &[node.to_owned()]);
        end(&mut fleet, node);
    }
    fleet.get_mut("w-1").unwrap().ready = false;
    assert_eq!(next(&fleet, &BTreeMap::new(), 1), Next::Wait(vec!["node/w-1: the node is not Ready".into()]));
    fleet.get_mut("w-1").unwrap().ready = true;
    assert_eq!(next(&fleet, &BTreeMap::new(), 1), Next::Done);
}

#[test]
fn a_node_that_fails_is_the_last_that_was_begun_and_those_beside_it_end_first() {
    let mut fleet = fleet(0, 4);
    begin(&mut fleet, &["w-1".to_owned(), "w-2".to_owned()]);
    fleet.get_mut("w-1").unwrap().outcome = Some(Err("disk full".into()));
    assert_eq!(next(&fleet, &BTreeMap::new(), 3), Next::Wait(vec!["node/w-2: its agent renews".into()]));
    end(&mut fleet, "w-2");
    assert_eq!(next(&fleet, &BTreeMap::new(), 3), Next::Failed(vec![("w-1".into(), "disk full".into())]));
}

#[test]
fn a_worker_that_is_not_ready_holds_up_no_other_and_is_not_forgotten() {
    let mut fleet = fleet(0, 2);
    fleet.get_mut("w-1").unwrap().ready = false;
    assert_eq!(told(&next(&fleet, &BTreeMap::new(), 1)), ["w-2"]);
    begin(&mut fleet, &["w-2".to_owned()]);
    end(&mut fleet, "w-2");
    assert_eq!(next(&fleet, &BTreeMap::new(), 1), Next::Wait(vec!["node/w-1: the node is not Ready".into()]));
}

fn look() -> Inventory {
    let view = |control_plane| NodeView {
        ready: true,
        responding: true,
        state: NodeState { control_plane, ..NodeState::default() },
        ..NodeView::default()
    };
    let nodes = [("cp-1", true), ("cp-2", true), ("w-1", false)];
    let nodes = nodes.into_iter().map(|(name, role)| (name.to_owned(), view(role))).collect();
    Inventory { nodes, ..Inventory::default() }
}

fn health() -> BTreeMap<String, NodeHealth> {
    let well = NodeHealth { agent_version: Some(VERSION.into()), ..NodeHealth::default() };
    ["cp-1", "cp-2", "w-1"].into_iter().map(|name| (name.to_owned(), well.clone())).collect()
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn only_nodes_that_are_meant_and_can_hold_what_is_named_take_part() {
    let (look, all) = (look(), Request::default());
    let apiserver = Request { names: vec![CertificateName::Apiserver], ..Request::default() };
    let kubelets = Request { names: vec![CertificateName::KubeletClient], ..Request::default() };
    let of = |nodes: &[&str], waived: &[&str], request: &Request| {
        Selection { nodes: names(nodes), waived: names(waived) }.of(&look, request)
    };
    assert_eq!(of(&[], &[], &all), names(&["cp-1", "cp-2", "w-1"]));
    assert_eq!(of(&[], &[], &apiserver), names(&["cp-1", "cp-2"]));
    assert_eq!(of(&[], &["cp-2"], &kubelets), names(&["cp-1", "w-1"]));
    assert_eq!(of(&["w-1", "cp-2"], &["cp-2"], &all), names(&["w-1"]));
}

#[test]
fn a_node_that_is_away_or_whose_agent_is_silent_or_old_is_refused_by_name() {
    let (mut look, mut health) = (look(), health());
    let selection = Selection::default();
    let said = |look: &Inventory, health: &BTreeMap<String, NodeHealth>, selection: &Selection| {
        let asked = selection.of(look, &Request::default());
        refusals(look, health, selection, &asked, VERSION).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(said(&look, &health, &selection), [""; 0]);
    look.nodes.get_mut("w-1").unwrap().ready = false;
    look.nodes.get_mut("cp-2").unwrap().responding = false;
    health.get_mut("cp-1").unwrap().etcd_healthy = Some(false);
    let all = said(&look, &health, &selection);
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].starts_with("node/cp-1: etcd is not healthy"), "{all:?}");
    assert!(all[1].starts_with("node/cp-2: its agent does not answer"), "{all:?}");
    assert_eq!(all[2], "node/w-1: the node is not Ready (bring it back, or go on without it: --waive node/w-1)");
    let waived = Selection { waived: names(&["w-1", "cp-1", "cp-2"]), ..Selection::default() };
    assert_eq!(said(&look, &health, &waived), [""; 0], "who is left out is not asked");
    let unknown = Selection { nodes: names(&["cp-9"]), ..Selection::default() };
    assert_eq!(
        said(&look, &health, &unknown),
        ["node/cp-9: there is no such node (`kubectl get nodes` shows the names)"]
    );
    health.insert("w-1".into(), NodeHealth::default());
    let worker = Selection { nodes: names(&["w-1"]), ..Selection::default() };
    assert!(said(&look, &health, &worker)[1].contains("no certctl agent has reported"));
}

/// What is signed there would be valid later than everybody else's time, or end earlier.
#[test]
fn a_node_whose_clock_is_ten_minutes_off_is_refused_by_name() {
    let (look, selection) = (look(), Selection::default());
    let said = |skew: i64| {
        let mut health = health();
        health.get_mut("w-1").unwrap().clock_skew = skew;
        let asked = selection.of(&look, &Request::default());
        refusals(&look, &health, &selection, &asked, VERSION).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for skew in [600, -600] {
        let told = said(skew);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&format!("node/w-1: its clock is {skew} s off")), "{told:?}");
    }
    assert_eq!(said(60), [""; 0]);
}

fn row(name: CertificateName, action: Action) -> RenewalRow {
    RenewalRow {
        name,
        action,
        old_not_after: None,
        reason: Some("its CA has expired".into()),
        remarkable: false,
        remedy: None,
        files: Vec::new(),
        authority: "cluster".into(),
        change: None,
    }
}

fn plan(rows: &[(CertificateName, Action)], restarts: &[&str]) -> NodePlan {
    NodePlan {
        certificates: rows.iter().map(|(name, action)| row(*name, *action)).collect(),
        restarts: restarts.iter().map(|process| (*process).to_owned()).collect(),
        problem: None,
    }
}

#[test]
fn one_certificate_that_cannot_be_renewed_refuses_all_and_names_its_node() {
    let good = plan(&[(CertificateName::Apiserver, Action::Renew)], &[]);
    let bad = plan(&[(CertificateName::Apiserver, Action::Blocked)], &[]);
    let late = NodePlan { problem: Some("its agent has not answered".into()), ..NodePlan::default() };
    let said = |plans: &[(&str, &NodePlan)], request: &Request| {
        let plans = plans.iter().map(|(name, plan)| ((*name).to_owned(), (*plan).clone())).collect();
        blocked(&plans, request).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let all = Request::default();
    assert_eq!(said(&[("cp-1", &good)], &all), [""; 0]);
    let refused = said(&[("cp-1", &good), ("cp-2", &bad), ("w-1", &late)], &all);
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].starts_with("node/cp-2: apiserver cannot be renewed: its CA has expired"), "{refused:?}");
    assert!(refused[1].starts_with("node/w-1: its agent has not answered"), "{refused:?}");
    let named =
        Request { names: vec![CertificateName::Apiserver, CertificateName::KubeletServer], ..Request::default() };
    assert_eq!(
        said(&[("cp-1", &good)], &named),
        ["certificate kubelet-server: it stands on none of these nodes (`certctl inspect` shows what there is)"]
    );
}

#[test]
fn a_plan_is_said_in_words_and_a_restart_alone_is_something_to_do() {
    let both =
        plan(&[(CertificateName::Apiserver, Action::Renew), (CertificateName::EtcdPeer, Action::Keep)], &["kubelet"]);
    assert_eq!(both.steps(), ["renew apiserver", "restart kubelet"]);
    assert!(!plan(&[], &["kubelet"]).is_empty());
    assert!(plan(&[(CertificateName::EtcdPeer, Action::Keep)], &[]).is_empty());
}

#[test]
fn a_control_plane_node_outside_the_run_that_is_down_holds_up_the_others() {
    let members = fleet(1, 1);
    let mut bystanders = BTreeMap::from([("cp-2".to_owned(), member(true))]);
    assert_eq!(told(&next(&members, &bystanders, 1)), ["cp-1"]);
    bystanders.get_mut("cp-2").unwrap().etcd_healthy = Some(false);
    assert_eq!(next(&members, &bystanders, 1), Next::Wait(vec!["node/cp-2: its etcd is not healthy".into()]));
}
