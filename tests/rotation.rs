//! The planner on a simulated cluster: it always gets to the end, from wherever it is stopped, and no step cuts anybody off.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};

use certctl::pki::{CaId, Material};
use certctl::plan::{
    ClusterOp, Component, Conf, ConfState, EndpointState, Leaf, LeafState, NodeState, Op, ProcessState, node_ops,
};
use certctl::rotation::matrix::{Matrix, model};
use certctl::rotation::simulate::{apply_op, settle, take, whole_plan};
use certctl::rotation::{
    ClusterView, Goal, Inventory, Next, NodeView, Phase, Reason, Step, behind, blocked, describe, missing, next,
    pause_left, phase_of, target,
};

fn ca(name: &str) -> CaId {
    CaId::planned(name)
}

fn conf(ca: &CaId) -> ConfState {
    ConfState { issuer: Some(ca.clone()), trust: vec![ca.clone()], not_after: 1, own_server: false }
}

fn node(control_plane: bool, old: &CaId) -> NodeView {
    let mut state = NodeState { control_plane, ..NodeState::default() };
    state.disk.ca_bundle = vec![old.clone()];
    state.disk.kubelet_client = Some(old.clone());
    state.disk.confs.insert(Conf::Kubelet, ConfState { issuer: None, ..conf(old) });
    state.loaded.kubelet = Some(ProcessState { conf: Some(conf(old)), ..ProcessState::default() });
    if control_plane {
        state.disk.ca_key = Some(old.clone());
        state.disk.kept = vec![old.clone()];
        for leaf in Leaf::ALL {
            state
                .disk
                .leaves
                .insert(leaf, LeafState { issuer: Some(old.clone()), vouched_by: Vec::new(), not_after: 1 });
        }
        for name in [Conf::Admin, Conf::SuperAdmin, Conf::ControllerManager, Conf::Scheduler] {
            state.disk.confs.insert(name, conf(old));
        }
        let process = ProcessState { conf: Some(conf(old)), root_ca: vec![old.clone()], ..ProcessState::default() };
        state.loaded.controller_manager = Some(process.clone());
        state.loaded.scheduler = Some(process);
    }
    NodeView { state, responding: true, ready: true, ..NodeView::default() }
}

/// Its components talk to its own API server, as kubeadm has it.
fn with_own_server(mut node: NodeView) -> NodeView {
    let NodeState { disk, loaded, .. } = &mut node.state;
    for conf in [Conf::ControllerManager, Conf::Scheduler] {
        disk.confs.get_mut(&conf).unwrap().own_server = true;
    }
    for process in [&mut loaded.controller_manager, &mut loaded.scheduler] {
        process.as_mut().unwrap().conf.as_mut().unwrap().own_server = true;
    }
    node
}

/// A kubelet with `serverTLSBootstrap`: it serves a certificate of the cluster CA.
fn with_serving(mut node: NodeView, issuer: &CaId) -> NodeView {
    let leaf = LeafState { issuer: Some(issuer.clone()), vouched_by: Vec::new(), not_after: 1 };
    node.state.disk.kubelet_serving = Some(leaf.clone());
    node.state.loaded.kubelet.as_mut().unwrap().serving = Some(leaf);
    node
}

fn cluster(control_planes: usize, workers: usize) -> (Inventory, Goal) {
    let old = ca("old");
    let mut nodes = BTreeMap::new();
    // Mixed on purpose: every second node has a serving certificate from the cluster, the others a self-signed one.
    let kubelet = |view: NodeView, number: usize| if number % 2 == 1 { with_serving(view, &old) } else { view };
    for number in 1..=control_planes {
        // The others' components ask a balancer in front of every API server.
        let view = if number % 2 == 1 { with_own_server(node(true, &old)) } else { node(true, &old) };
        nodes.insert(format!("cp-{number}"), kubelet(view, number));
    }
    for number in 1..=workers {
        nodes.insert(format!("w-{number}"), kubelet(node(false, &old), number));
    }
    let view = ClusterView {
        root_ca: BTreeMap::from([("default".into(), vec![old.clone()]), ("kube-system".into(), vec![old.clone()])]),
        cluster_info: Some(vec![old.clone()]),
        ca_bundles: BTreeMap::from([("validatingwebhookconfiguration/x".into(), vec![old.clone()])]),
        kubeadm_own_signer: Some(false),
        client_ca: vec![old.clone()],
        controller_manager_leader: Some("cp-1".into()),
        csr_signer: None,
        asks_for_csrs: true,
        caller: Some(conf(&old)),
    };
    let goal = Goal {
        from: old.clone(),
        to: None,
        legacy: Vec::new(),
        rollback: false,
        waived: BTreeSet::new(),
        max_unavailable: 2,
        pause_before: None,
    };
    let mut inventory = Inventory { nodes, cluster: view, recorded: BTreeSet::from([old]) };
    settle(&mut inventory, &goal);
    (inventory, goal)
}

fn now() -> jiff::Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// Real certificates for the two CAs of the simulation, cross-signed both ways.
fn materials() -> BTreeMap<CaId, Material> {
    model(&ca("old"), &ca("new"), None, now()).unwrap()
}

/// Takes steps until the planner has none, or until `stop` operations are done (in the middle of a node's step); true when stopped so.
fn run(world: &mut Inventory, goal: &mut Goal, stop: usize) -> bool {
    let mut done = 0;
    for _ in 0..500 {
        settle(world, goal);
        let Next::Steps(_, steps) = next(world, goal) else { return false };
        for step in &steps {
            let Step::Node { node, ops, target } = step else {
                take(world, goal, step);
                continue;
            };
            world.nodes.get_mut(node).unwrap().target = Some((**target).clone());
            for op in ops {
                if done == stop {
                    return true;
                }
                apply_op(world, node, op);
                done += 1;
            }
        }
    }
    panic!("does not end: {:?}", next(world, goal));
}

/// An agent that comes back goes on with the target that its node was given.
fn carry_on(world: &mut Inventory) {
    let busy: Vec<String> =
        world.nodes.iter().filter(|(_, node)| node.responding && node.busy()).map(|(name, _)| name.clone()).collect();
    for name in busy {
        let node = &world.nodes[&name];
        for op in node_ops(&node.state, node.target.as_ref().unwrap()) {
            apply_op(world, &name, &op);
        }
    }
}

/// Takes steps until the planner only waits. `stuck` gets its targets and never follows them.
fn run_around(world: &mut Inventory, goal: &mut Goal, stuck: &str) -> Next {
    for _ in 0..500 {
        settle(world, goal);
        let steps = match next(world, goal) {
            Next::Steps(_, steps) => steps,
            other => return other,
        };
        for step in &steps {
            match step {
                Step::Node { node, target, .. } if node == stuck => {
                    world.nodes.get_mut(stuck).unwrap().target = Some((**target).clone());
                }
                step => take(world, goal, step),
            }
        }
    }
    panic!("does not end");
}

/// A rotation whose new CA is made.
fn begun(control_planes: usize, workers: usize) -> (Inventory, Goal) {
    let (mut world, mut goal) = cluster(control_planes, workers);
    goal.to = Some(ca("new"));
    world.recorded.insert(ca("new"));
    (world, goal)
}

/// To the end, every step checked by the trust matrix first.
fn run_to_end(world: &mut Inventory, goal: &mut Goal, materials: &BTreeMap<CaId, Material>) {
    for _ in 0..500 {
        carry_on(world);
        settle(world, goal);
        match next(world, goal) {
            Next::Done => return,
            Next::Steps(_, steps) => {
                let violations = Matrix::new(materials, now()).check(world, goal, &steps);
                assert_eq!(violations, Vec::new(), "in phase {}", phase_of(world, goal));
                steps.iter().for_each(|step| take(world, goal, step));
            }
            other => panic!("stuck in {}: {other:?}", phase_of(world, goal)),
        }
    }
    panic!("does not end");
}

#[test]
fn a_whole_rotation_ends_in_the_stock_layout_with_the_restarts_that_are_promised() {
    let (inventory, goal) = cluster(3, 2);
    let plan = whole_plan(&inventory, &goal).unwrap();
    let mut restarts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for step in plan.iter().flat_map(|(_, steps)| steps) {
        if let Step::Node { node, ops, .. } = step {
            for process in ops.iter().filter_map(Op::restarts) {
                *restarts.entry((node.clone(), process)).or_default() += 1;
            }
        }
    }
    for ((node, process), count) in &restarts {
        let promised = match (*process, node.as_str()) {
            ("kube-controller-manager", "cp-2") => 3,
            ("kube-controller-manager", _) => 2,
            _ => 1,
        };
        assert_eq!(*count, promised, "{process} on {node}");
    }
    assert_eq!(
        restarts.len(),
        3 * 2 + 5,
        "KCM and scheduler per control-plane node, the kubelet per node: {restarts:?}"
    );

    let (mut world, mut goal) = cluster(3, 2);
    run_to_end(&mut world, &mut goal, &materials());
    let new = ca("new");
    for (name, node) in &world.nodes {
        assert_eq!(node.state.disk.ca_bundle, std::slice::from_ref(&new), "{name}");
        assert!(!node.state.disk.own_signer && node.state.disk.signer_file.is_none(), "{name}");
        assert_eq!(serving_of(node), serves(name).then(|| (new.clone(), vec![ca("old")])), "{name}");
    }
    let versions = BTreeMap::from([(ca("old"), 1), (new, 2)]);
    assert_eq!(
        describe(&world, &goal, &versions).message,
        "Control plane has CA bundle [2], certs from CA 2, CA 2 is CSR signer. Data plane has CA bundle [2], CA 2 was CSR signer at last restart."
    );
}

fn serves(name: &str) -> bool {
    !name.ends_with('2') && !name.ends_with('4')
}

/// Signer and chain of the serving certificate that a kubelet has loaded.
fn serving_of(node: &NodeView) -> Option<(CaId, Vec<CaId>)> {
    let serving = node.state.loaded.kubelet.as_ref()?.serving.clone()?;
    assert_eq!(node.state.disk.kubelet_serving.as_ref(), Some(&serving));
    Some((serving.issuer?, serving.vouched_by))
}

#[test]
fn the_sentences_of_phases_three_and_five_are_those_of_gkectl() {
    let (mut world, mut goal) = cluster(3, 2);
    let versions = BTreeMap::from([(ca("old"), 1), (ca("new"), 2)]);
    goal.pause_before = Some(Phase::DPTrusted);
    assert!(!run(&mut world, &mut goal, usize::MAX));
    assert_eq!(
        describe(&world, &goal, &versions).message,
        "Control plane has CA bundle [1 2], certs from CA 1, CA 1 is CSR signer. Data plane has CA bundle [1], CA 1 was CSR signer at last restart."
    );
    goal.pause_before = Some(Phase::SignerSwitched);
    assert!(!run(&mut world, &mut goal, usize::MAX));
    assert_eq!(next(&world, &goal), Next::Pause(Phase::SignerSwitched));
    let versions = BTreeMap::from([(ca("old"), 1), (ca("new"), 2)]);
    assert_eq!(
        describe(&world, &goal, &versions).message,
        "Control plane has CA bundle [1 2], certs from CA 2, CA 1 is CSR signer. Data plane has CA bundle [1 2], CA 1 was CSR signer at last restart."
    );
}

#[test]
fn it_finishes_from_wherever_it_is_stopped() {
    let materials = materials();
    for (control_planes, workers) in [(3, 2), (1, 1)] {
        for stop in 0.. {
            let (mut world, mut goal) = cluster(control_planes, workers);
            if !run(&mut world, &mut goal, stop) {
                assert!(stop > 20, "the sweep stopped at {stop} operations already");
                break;
            }
            // A new driver has not tried the CSR API yet.
            world.cluster.csr_signer = None;
            run_to_end(&mut world, &mut goal, &materials);
        }
    }
}

#[test]
fn a_rollback_from_any_operation_before_the_drop_returns_to_the_old_ca() {
    let materials = materials();
    for stop in 0.. {
        let (mut world, mut goal) = cluster(3, 2);
        goal.pause_before = Some(Phase::DROP);
        let stopped = run(&mut world, &mut goal, stop);
        goal = Goal { from: ca("new"), to: Some(ca("old")), rollback: true, pause_before: None, ..goal };
        world.cluster.csr_signer = None;
        run_to_end(&mut world, &mut goal, &materials);
        for (name, node) in &world.nodes {
            assert_eq!(node.state.disk.ca_bundle, [ca("old")], "{name} after {stop} operations");
            assert_eq!(node.state.disk.kubelet_client, Some(ca("old")), "{name} after {stop} operations");
            let serving = serves(name).then(|| (ca("old"), Vec::new()));
            assert_eq!(serving_of(node), serving, "{name} after {stop} operations");
        }
        if !stopped {
            assert!(stop > 20, "the sweep stopped at {stop} operations already");
            break;
        }
    }
}

#[test]
fn the_leader_restarts_after_a_follower_and_kubelets_within_the_limit() {
    let (mut world, mut goal) = cluster(3, 6);
    let mut leader_last = 0;
    loop {
        settle(&mut world, &goal);
        let Next::Steps(_, steps) = next(&world, &goal) else { break };
        let leader = world.cluster.controller_manager_leader.clone().unwrap();
        let restarts = |step: &&Step, process: &str| matches!(step, Step::Node { ops, .. } if ops.iter().any(|op| op.restarts() == Some(process)));
        let managers: Vec<&Step> = steps.iter().filter(|step| restarts(step, "kube-controller-manager")).collect();
        if managers.iter().any(|step| matches!(step, Step::Node { node, .. } if *node == leader)) {
            assert_eq!(managers.len(), 1, "the leader restarts beside a follower");
            leader_last += 1;
        }
        assert!(steps.iter().filter(|step| restarts(step, "kubelet")).count() <= goal.max_unavailable);
        steps.iter().for_each(|step| take(&mut world, &mut goal, step));
    }
    assert_eq!(leader_last, 3);
}

#[test]
fn the_leader_restarts_as_soon_as_one_follower_can_take_over_and_not_before() {
    let (mut world, goal) = begun(3, 2);
    for node in world.nodes.values_mut().filter(|node| node.state.control_plane) {
        node.state.disk.kept.push(ca("new"));
    }
    world.cluster.kubeadm_own_signer = Some(true);
    settle(&mut world, &goal);
    let Next::Steps(Phase::CPTrusted, steps) = next(&world, &goal) else { panic!("{:?}", next(&world, &goal)) };
    let mut begun = BTreeMap::new();
    for step in steps {
        let Step::Node { node, target, ops } = step else { panic!("{step:?}") };
        world.nodes.get_mut(&node).unwrap().target = Some(*target);
        begun.insert(node, ops);
    }
    assert_eq!(begun.keys().collect::<Vec<_>>(), ["cp-2", "cp-3"]);
    assert!(matches!(next(&world, &goal), Next::Wait(Phase::CPTrusted, _)), "both are still at work");
    begun["cp-3"].iter().for_each(|op| apply_op(&mut world, "cp-3", op));
    settle(&mut world, &goal);
    let Next::Steps(Phase::CPTrusted, steps) = next(&world, &goal) else { panic!("{:?}", next(&world, &goal)) };
    assert!(matches!(steps.as_slice(), [Step::Node { node, .. }] if node == "cp-1"), "{steps:?}");
}

#[test]
fn a_silent_node_holds_the_rotation_until_it_is_waived_and_is_brought_up_to_date_when_it_is_back() {
    let materials = materials();
    let (mut world, mut goal) = begun(3, 2);
    world.nodes.get_mut("w-2").unwrap().responding = false;
    let blocked = run_around(&mut world, &mut goal, "w-2");
    let named = |reasons: &[String]| reasons.iter().any(|reason| reason.contains("--waive node/w-2"));
    assert!(matches!(&blocked, Next::Wait(Phase::DPTrusted, reasons) if named(reasons)), "{blocked:?}");

    goal.waived.insert("w-2".into());
    run_to_end(&mut world, &mut goal, &materials);
    assert_eq!(world.nodes["w-2"].state.disk.kubelet_client, Some(ca("old")));

    goal.waived.clear();
    world.nodes.get_mut("w-2").unwrap().responding = true;
    carry_on(&mut world);
    assert!(!run(&mut world, &mut goal, usize::MAX));
    assert_eq!(world.nodes["w-2"].state.disk.kubelet_client, Some(ca("new")));
}

#[test]
fn nodes_that_slept_through_a_rotation_are_up_to_date_when_they_have_carried_out_the_target_they_were_left() {
    let materials = materials();
    let (mut world, mut goal) = cluster(3, 2);
    goal.waived = BTreeSet::from(["cp-3".to_owned(), "w-2".to_owned()]);
    for name in ["cp-3", "w-2"] {
        world.nodes.get_mut(name).unwrap().responding = false;
    }
    run_to_end(&mut world, &mut goal, &materials);
    for name in ["cp-3", "w-2"] {
        let left = target(Phase::Completed, &world.nodes[name], &world, &goal);
        let node = world.nodes.get_mut(name).unwrap();
        assert!(!behind(node, &ca("new")).is_empty(), "{name} has done nothing yet");
        node.target = left;
        node.responding = true;
        assert!(node.busy(), "{name}");
    }
    // The key that was sealed to it while it was away.
    world.nodes.get_mut("cp-3").unwrap().state.disk.kept.push(ca("new"));
    carry_on(&mut world);
    settle(&mut world, &goal);
    for (name, node) in &world.nodes {
        assert_eq!(behind(node, &ca("new")), Vec::<String>::new(), "{name}");
    }
    // They count again, and nothing is left to do.
    goal.waived.clear();
    assert_eq!(next(&world, &goal), Next::Done);
}

#[test]
fn a_node_is_up_to_date_only_when_it_is_there_and_has_loaded_the_ca_in_force() {
    let (mut world, _) = cluster(1, 1);
    let node = world.nodes.get_mut("w-1").unwrap();
    assert_eq!(behind(node, &ca("old")), Vec::<String>::new());
    assert_eq!(behind(node, &ca("new")).len(), 4, "bundle, kubelet.conf, certificate, and what is loaded");
    node.ready = false;
    assert_eq!(behind(node, &ca("old")), ["the node is not Ready"]);
    node.ready = true;
    node.state.loaded.kubelet = None;
    assert_eq!(behind(node, &ca("old")), ["the kubelet has not loaded a certificate of the CA in force"]);
}

#[test]
fn the_matrix_names_the_edge_of_a_step_that_would_cut_somebody_off() {
    let (world, mut goal) = cluster(3, 2);
    goal.to = Some(ca("new"));
    // A kubelet that shows a certificate of the new CA before any API server knows that CA.
    let wanted = target(Phase::DPReissued, &world.nodes["w-1"], &world, &goal).unwrap();
    let ops = vec![Op::ReissueKubeletClient(ca("new")), Op::RestartKubelet];
    let steps = vec![Step::Node { node: "w-1".into(), target: Box::new(wanted), ops }];
    let violations = Matrix::new(&materials(), now()).check(&world, &goal, &steps);
    assert!(
        violations.iter().any(|v| v.presenter.contains("node/w-1") && v.verifier.contains("kube-apiserver")),
        "{violations:?}"
    );
}

#[test]
fn a_serving_certificate_without_the_cross_signed_chain_is_refused_by_processes_that_read_the_old_ca() {
    let (mut world, mut goal) = cluster(3, 2);
    goal.to = Some(ca("new"));
    world.recorded.insert(ca("new"));
    let step = |vouched_by| {
        let wanted = target(Phase::CPReissued, &world.nodes["cp-1"], &world, &goal).unwrap();
        let ops = vec![Op::ReissueLeaf { leaf: Leaf::Apiserver, issuer: ca("new"), vouched_by }];
        vec![Step::Node { node: "cp-1".into(), target: Box::new(wanted), ops }]
    };
    let materials = materials();
    let matrix = Matrix::new(&materials, now());
    let without = matrix.check(&world, &goal, &step(Vec::new()));
    assert!(without.iter().any(|v| v.verifier.contains("before the rotation")), "{without:?}");
    assert_eq!(matrix.check(&world, &goal, &step(vec![ca("old")])), Vec::new());
}

#[test]
fn a_client_that_only_meets_its_own_api_server_needs_no_other_to_trust_it() {
    let (world, goal) = begun(3, 2);
    let materials = materials();
    let refused_by = |node: &str, with_bundle: bool| {
        let both = vec![ca("old"), ca("new")];
        let conf = Op::WriteConf { conf: Conf::ControllerManager, issuer: Some(ca("new")), trust: both.clone() };
        let bundle = with_bundle.then_some(Op::WriteBundle(both));
        let during: Vec<Op> = bundle.into_iter().chain([conf]).collect();
        let ops =
            vec![Op::RestartStaticPod { component: Component::KubeControllerManager, own_signer: Some(true), during }];
        let wanted = target(Phase::CPTrusted, &world.nodes[node], &world, &goal).unwrap();
        let steps = [Step::Node { node: node.into(), target: Box::new(wanted), ops }];
        let violations = Matrix::new(&materials, now()).check(&world, &goal, &steps);
        violations.into_iter().map(|violation| violation.verifier).collect::<Vec<String>>()
    };
    assert_eq!(refused_by("cp-1", true), [""; 0]);
    assert_eq!(refused_by("cp-1", false), ["kube-apiserver of node/cp-1"]);
    assert!(!refused_by("cp-2", true).is_empty(), "it may meet any of them, through a balancer");
}

#[test]
fn a_component_of_the_new_ca_that_meets_another_api_server_now_keeps_both_until_every_one_serves_the_new_chain() {
    let (mut world, goal) = begun(3, 2);
    let both = vec![ca("new"), ca("old")];
    let disk = &mut world.nodes.get_mut("cp-2").unwrap().state.disk;
    let held = disk.confs.get_mut(&Conf::ControllerManager).unwrap();
    (held.issuer, held.trust) = (Some(ca("new")), both.clone());
    let trust = |world: &Inventory| {
        let wanted = target(Phase::DPTrusted, &world.nodes["cp-2"], world, &goal).unwrap();
        wanted.control_plane.unwrap().controller_manager.trust
    };
    assert_eq!(trust(&world), both);
    world.nodes.values_mut().for_each(|node| node.apiserver.issuer = Some(ca("new")));
    assert_eq!(trust(&world), [ca("new")]);
}

#[test]
fn an_edge_that_is_broken_already_is_named_and_does_not_stop_a_step_that_leaves_it_alone() {
    let (mut world, mut goal) = cluster(3, 2);
    goal.to = Some(ca("new"));
    world.recorded.insert(ca("new"));
    // A control-plane node that serves a leaf of the new CA without the chain, as one does that joined after a rotation.
    world.nodes.get_mut("cp-3").unwrap().apiserver.issuer = Some(ca("new"));
    let materials = materials();
    let matrix = Matrix::new(&materials, now());
    let broken = matrix.broken(&world, &goal);
    assert!(
        broken.iter().any(|v| v.presenter.contains("cp-3") && v.verifier.contains("before the rotation")),
        "{broken:?}"
    );
    assert_eq!(matrix.check(&world, &goal, &[]), Vec::new());
    let wanted = target(Phase::CPReissued, &world.nodes["cp-1"], &world, &goal).unwrap();
    let ops = vec![Op::ReissueLeaf { leaf: Leaf::Apiserver, issuer: ca("new"), vouched_by: vec![ca("old")] }];
    let steps = [Step::Node { node: "cp-1".into(), target: Box::new(wanted), ops }];
    assert_eq!(matrix.check(&world, &goal, &steps), Vec::new());
}

#[test]
fn a_rotation_is_blocked_when_only_nodes_in_trouble_are_awaited() {
    type Befall = fn(&mut NodeView);
    let trouble: [(&str, Befall); 4] = [
        ("its agent does not respond", |node| node.responding = false),
        ("disk full", |node| node.problem = Some("disk full".into())),
        ("the node is not Ready", |node| node.ready = false),
        ("which is no part of this rotation", |node| node.state.disk.ca_bundle = vec![ca("foreign")]),
    ];
    for (words, befall) in trouble {
        let (mut world, mut goal) = begun(3, 2);
        befall(world.nodes.get_mut("w-2").unwrap());
        // Nothing waits for the worker yet.
        assert_eq!(Reason::under_way(&world, &goal), Reason::Progressed, "{words}");
        assert!(matches!(run_around(&mut world, &mut goal, "w-2"), Next::Wait(Phase::DPTrusted, _)), "{words}");
        // In the simulation every node becomes Ready again.
        befall(world.nodes.get_mut("w-2").unwrap());
        assert_eq!(Reason::under_way(&world, &goal), Reason::Blocked, "{words}");
        let named = |lack: &String| lack.starts_with("node/w-2: ") && lack.contains(words);
        assert!(blocked(&world, &goal).iter().all(named), "{:?}", blocked(&world, &goal));
        goal.waived.insert("w-2".into());
        assert_eq!(Reason::under_way(&world, &goal), Reason::Progressed, "{words}");
    }
}

#[test]
fn a_node_at_work_is_waited_for_beside_one_in_trouble() {
    let (mut world, mut goal) = begun(3, 2);
    world.nodes.get_mut("w-2").unwrap().responding = false;
    run_around(&mut world, &mut goal, "w-2");
    assert_eq!(Reason::under_way(&world, &goal), Reason::Blocked);
    // The other worker is as far back as the one in trouble, and its agent is at it.
    let other = world.nodes["w-2"].clone();
    world.nodes.insert("w-1".into(), NodeView { responding: true, ..other });
    assert_eq!(Reason::under_way(&world, &goal), Reason::Progressed);
}

#[test]
fn without_a_node_that_can_make_the_ca_a_rotation_is_blocked() {
    let (mut world, goal) = cluster(1, 1);
    assert_eq!(Reason::under_way(&world, &goal), Reason::Progressed);
    world.nodes.get_mut("cp-1").unwrap().responding = false;
    assert_eq!(Reason::under_way(&world, &goal), Reason::Blocked);
}

#[test]
fn a_follower_in_trouble_blocks_although_the_leader_waits_for_it() {
    let (mut world, mut goal) = begun(3, 2);
    world.nodes.get_mut("cp-2").unwrap().problem = Some("disk full".into());
    assert!(matches!(run_around(&mut world, &mut goal, "cp-2"), Next::Wait(Phase::CPTrusted, _)));
    assert_eq!(blocked(&world, &goal), ["node/cp-2: disk full"]);
}

#[test]
fn the_drop_waits_until_every_kubelet_shows_a_serving_certificate_of_the_new_ca() {
    let (mut world, mut goal) = cluster(1, 1);
    goal.pause_before = Some(Phase::DROP);
    assert!(!run(&mut world, &mut goal, usize::MAX));
    assert_eq!(phase_of(&world, &goal), Phase::DPReissued);
    let waits = |world: &Inventory| missing(Phase::DPReissued, world, &goal).join("; ");
    let with = |change: &dyn Fn(&mut NodeView)| {
        let mut world = world.clone();
        change(world.nodes.get_mut("w-1").unwrap());
        waits(&world)
    };
    let not_shown = "node/w-1: the kubelet does not serve a certificate of the new CA";
    let seen = |issuer: Option<&str>, serial: &str| EndpointState {
        issuer: issuer.map(ca),
        serial: serial.to_owned(),
        ..EndpointState::default()
    };
    assert_eq!(with(&|node| node.kubelet = seen(Some("old"), "1")), not_shown);
    assert_eq!(with(&|node| node.kubelet = seen(None, "")), not_shown, "nobody has seen it");
    assert_eq!(with(&|node| node.kubelet = seen(None, "1")), "", "it serves another file, of another CA");
    let dropped = |node: &mut NodeView| {
        node.state.disk.ca_bundle = vec![ca("new")];
        node.kubelet = seen(None, "");
    };
    assert_eq!(with(&dropped), "", "a node that is away after the drop takes nothing back");
    let held = with(&|node| node.state.disk.kubelet_serving.as_mut().unwrap().issuer = Some(ca("old")));
    assert_eq!(held, "node/w-1: the kubelet's serving certificate is not from the new CA");
}

#[test]
fn a_kubelet_that_renews_its_serving_certificate_early_is_not_asked_to_go_back() {
    let (mut world, mut goal) = cluster(1, 1);
    goal.pause_before = Some(Phase::DPReissued);
    assert!(!run(&mut world, &mut goal, usize::MAX));
    let node = with_serving(world.nodes["w-1"].clone(), &ca("new"));
    let wanted = target(Phase::SignerSwitched, &node, &world, &goal).unwrap();
    assert_eq!(node_ops(&node.state, &wanted), []);
}

#[test]
fn a_serving_certificate_of_a_kubelet_needs_an_api_server_that_trusts_it_and_the_chain_for_those_that_read_the_ca_once()
{
    let (mut world, mut goal) = cluster(1, 1);
    goal.to = Some(ca("new"));
    world.recorded.insert(ca("new"));
    let materials = materials();
    let matrix = Matrix::new(&materials, now());
    let broken = |world: &Inventory, vouched_by: Vec<CaId>| {
        let wanted = target(Phase::DPReissued, &world.nodes["w-1"], world, &goal).unwrap();
        let ops = vec![Op::ReissueKubeletServing { issuer: ca("new"), vouched_by }, Op::RestartKubelet];
        let steps = [Step::Node { node: "w-1".into(), target: Box::new(wanted), ops }];
        let violations = matrix.check(world, &goal, &steps);
        assert!(violations.iter().all(|v| v.presenter == "the kubelet of node/w-1, as a server,"), "{violations:?}");
        violations.into_iter().map(|violation| violation.verifier).collect::<Vec<String>>().join("; ")
    };
    let alone = broken(&world, Vec::new());
    assert!(
        alone.contains("kube-apiserver of node/cp-1, of kubelets,") && alone.contains("before the rotation"),
        "{alone}"
    );
    assert_eq!(broken(&world, vec![ca("old")]), "", "the cross-signed certificate leads everybody to the old CA");
    world.nodes.get_mut("cp-1").unwrap().state.disk.ca_bundle.push(ca("new"));
    let once = broken(&world, Vec::new());
    assert!(!once.contains("kube-apiserver") && once.contains("before the rotation"), "{once}");
}

#[test]
fn narrowing_what_joiners_and_pods_trust_is_refused_while_an_api_server_serves_the_old_chain() {
    let (mut world, mut goal) = cluster(3, 2);
    goal.to = Some(ca("new"));
    world.recorded.insert(ca("new"));
    let materials = materials();
    let matrix = Matrix::new(&materials, now());
    let narrow = [Step::Cluster(ClusterOp::ClusterInfo(vec![ca("new")]))];
    let violations = matrix.check(&world, &goal, &narrow);
    assert!(violations.iter().any(|v| v.verifier.contains("cluster-info")), "{violations:?}");

    // A kube-controller-manager that starts with the new CA alone would tell every pod to trust no other.
    world.nodes.get_mut("cp-1").unwrap().state.disk.ca_bundle = vec![ca("new")];
    let restart =
        Op::RestartStaticPod { component: Component::KubeControllerManager, own_signer: None, during: Vec::new() };
    let wanted = target(Phase::CPTrusted, &world.nodes["cp-1"], &world, &goal).unwrap();
    let steps = [Step::Node { node: "cp-1".into(), target: Box::new(wanted), ops: vec![restart] }];
    let violations = matrix.check(&world, &goal, &steps);
    assert!(violations.iter().any(|v| v.verifier.contains("pods in namespace")), "{violations:?}");
}

#[test]
fn going_on_passes_the_pause_that_the_rotation_stands_before_and_no_later_one() {
    for phase in [Phase::CPTrusted, Phase::CPReissued, Phase::DROP] {
        let (mut world, mut goal) = cluster(1, 1);
        goal.pause_before = Some(phase);
        assert_eq!(pause_left(&world, &goal), Some(phase), "not begun");
        run(&mut world, &mut goal, usize::MAX);
        assert_eq!(next(&world, &goal), Next::Pause(phase));
        // A run that begins has not asked for a CSR yet, and another admin's kubeconfig may be of the old CA.
        world.cluster.csr_signer = None;
        world.cluster.caller = Some(conf(&goal.from));
        assert_eq!(pause_left(&world, &goal), None);
        let later = Goal { pause_before: Some(phase.next()), ..goal.clone() };
        assert_eq!(pause_left(&world, &later), Some(phase.next()));
    }
}
