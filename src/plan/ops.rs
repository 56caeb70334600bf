//! From a node's state to its target: which operations, in which order.

use super::op::Op;
use super::state::{Component, Conf, ConfState, Leaf, NodeState, ProcessState};
use super::target::{ControlPlaneTarget, Credential, NodeTarget};
use crate::pki::CaId;

/// The operations that bring `state` to `target`, in an order in which every prefix leaves a node that works.
///
/// Verifiers are widened first and narrowed last; a bundle never stands in the file that kube-controller-manager signs with
/// (`pkg/controller/certificates/signer/ca_provider.go` wants exactly one certificate), so the process is away while the file changes kind.
/// Empty means: nothing to do, the target is reached.
#[must_use]
pub fn node_ops(state: &NodeState, target: &NodeTarget) -> Vec<Op> {
    let mut ops = Vec::new();
    let widening = target.ca_bundle.iter().any(|ca| !state.disk.ca_bundle.contains(ca));
    match &target.control_plane {
        Some(control_plane) => control_plane_ops(state, target, control_plane, widening, &mut ops),
        None if widening && state.disk.ca_bundle != target.ca_bundle => {
            ops.push(Op::WriteBundle(target.ca_bundle.clone()))
        }
        None => {}
    }
    kubelet_ops(state, target, &mut ops);
    let written = ops.iter().any(writes_bundle);
    if state.disk.ca_bundle != target.ca_bundle && !written {
        ops.push(Op::WriteBundle(target.ca_bundle.clone()));
    }
    if target.control_plane.as_ref().is_some_and(|t| t.signer.is_none()) && state.disk.signer_file.is_some() {
        ops.push(Op::RemoveSigner);
    }
    ops
}

fn writes_bundle(op: &Op) -> bool {
    match op {
        Op::WriteBundle(_) => true,
        Op::RestartStaticPod { during, .. } => during.iter().any(writes_bundle),
        _ => false,
    }
}

fn control_plane_ops(
    state: &NodeState,
    target: &NodeTarget,
    wanted: &ControlPlaneTarget,
    widening: bool,
    ops: &mut Vec<Op>,
) {
    if let Some(signer) = &wanted.signer
        && state.disk.signer_file.as_ref() != Some(signer)
    {
        ops.push(Op::WriteSigner(signer.clone()));
    }
    let bundle_differs = state.disk.ca_bundle != target.ca_bundle;
    // While the manifest has stock flags the process signs with ca.crt: it must not see a bundle there.
    let changes_kind = state.disk.own_signer != wanted.signer.is_some();
    if bundle_differs && widening && !changes_kind {
        ops.push(Op::WriteBundle(target.ca_bundle.clone()));
    }
    let bundle_first = bundle_differs && widening && changes_kind;
    if bundle_first {
        // A node that was away for several phases: its API server must know the new CA before anything here presents it.
        controller_manager_op(state, target, wanted, true, ops);
    }
    leaf_ops(state, wanted, ops);
    for conf in [Conf::Admin, Conf::SuperAdmin] {
        conf_op(state, conf, &wanted.admin, ops);
    }
    scheduler_op(state, wanted, ops);
    if !bundle_first {
        controller_manager_op(state, target, wanted, bundle_differs && changes_kind, ops);
    }
    let active = target.ca_bundle.first();
    if state.disk.ca_key.is_some()
        && state.disk.ca_key.as_ref() != active
        && let Some(active) = active
    {
        ops.push(Op::WriteCaKey(active.clone()));
    }
}

fn leaf_ops(state: &NodeState, wanted: &ControlPlaneTarget, ops: &mut Vec<Op>) {
    for leaf in Leaf::ALL {
        let (issuer, vouched_by) = match leaf {
            Leaf::Apiserver => (&wanted.serving, wanted.vouched_by.clone()),
            Leaf::ApiserverKubeletClient => (&wanted.kubelet_client, Vec::new()),
        };
        let reached = state
            .disk
            .leaves
            .get(&leaf)
            .is_some_and(|held| held.issuer.as_ref() == Some(issuer) && held.vouched_by == vouched_by);
        if !reached {
            ops.push(Op::ReissueLeaf { leaf, issuer: issuer.clone(), vouched_by });
        }
    }
}

fn conf_op(state: &NodeState, conf: Conf, wanted: &Credential, ops: &mut Vec<Op>) {
    if let Some(held) = state.disk.confs.get(&conf)
        && !holds(held, wanted)
    {
        ops.push(write_conf(conf, wanted));
    }
}

fn write_conf(conf: Conf, wanted: &Credential) -> Op {
    Op::WriteConf { conf, issuer: Some(wanted.issuer.clone()), trust: wanted.trust.clone() }
}

fn holds(held: &ConfState, wanted: &Credential) -> bool {
    held.issuer.as_ref() == Some(&wanted.issuer) && held.trust == wanted.trust
}

/// Whether the process has this credential in memory. One that does not run now will read the files when it starts.
fn loaded(process: Option<&ProcessState>, wanted: &Credential) -> bool {
    process.is_none_or(|process| process.conf.as_ref().is_some_and(|conf| holds(conf, wanted)))
}

fn scheduler_op(state: &NodeState, wanted: &ControlPlaneTarget, ops: &mut Vec<Op>) {
    let on_disk = state.disk.confs.get(&Conf::Scheduler).is_some_and(|held| holds(held, &wanted.scheduler));
    if on_disk && (!wanted.scheduler_loaded || loaded(state.loaded.scheduler.as_ref(), &wanted.scheduler)) {
        return;
    }
    let during = if on_disk { Vec::new() } else { vec![write_conf(Conf::Scheduler, &wanted.scheduler)] };
    ops.push(Op::RestartStaticPod { component: Component::KubeScheduler, own_signer: None, during });
}

fn controller_manager_op(
    state: &NodeState,
    target: &NodeTarget,
    wanted: &ControlPlaneTarget,
    write_bundle: bool,
    ops: &mut Vec<Op>,
) {
    let process = state.loaded.controller_manager.as_ref();
    let own = wanted.signer.is_some();
    let credential = &wanted.controller_manager;
    let on_disk = state.disk.confs.get(&Conf::ControllerManager).is_some_and(|held| holds(held, credential));
    let root_ca = process.is_none_or(|p| same_set(&p.root_ca, &target.ca_bundle));
    let flags = state.disk.own_signer == own && process.is_none_or(|p| p.own_signer == own);
    let in_memory = !wanted.controller_manager_loaded || loaded(process, credential);
    if on_disk && in_memory && root_ca && flags {
        return;
    }
    let mut during = Vec::new();
    let active = target.ca_bundle.first();
    if !own
        && state.disk.ca_key.as_ref() != active
        && let Some(active) = active
    {
        during.push(Op::WriteCaKey(active.clone()));
    }
    // Its API server must know a CA before the process presents a certificate of it.
    if write_bundle {
        during.push(Op::WriteBundle(target.ca_bundle.clone()));
    }
    if !on_disk {
        during.push(write_conf(Conf::ControllerManager, credential));
    }
    ops.push(Op::RestartStaticPod { component: Component::KubeControllerManager, own_signer: Some(own), during });
}

fn kubelet_ops(state: &NodeState, target: &NodeTarget, ops: &mut Vec<Op>) {
    let mut on_disk = true;
    if state.disk.confs.get(&Conf::Kubelet).is_some_and(|held| held.trust != target.kubelet.trust) {
        ops.push(Op::WriteConf { conf: Conf::Kubelet, issuer: None, trust: target.kubelet.trust.clone() });
        on_disk = false;
    }
    if state.disk.kubelet_client.as_ref() != Some(&target.kubelet.issuer) {
        ops.push(Op::ReissueKubeletClient(target.kubelet.issuer.clone()));
        on_disk = false;
    }
    if let (Some(held), Some(wanted)) = (&state.disk.kubelet_serving, &target.kubelet_serving)
        && held.issuer.as_ref() != Some(&wanted.issuer)
    {
        let (issuer, vouched_by) = (wanted.issuer.clone(), wanted.vouched_by.clone());
        ops.push(Op::ReissueKubeletServing { issuer, vouched_by });
        on_disk = false;
    }
    let in_memory = loaded(state.loaded.kubelet.as_ref(), &target.kubelet) && serving_loaded(state, target);
    if target.kubelet_loaded && !(on_disk && in_memory) {
        ops.push(Op::RestartKubelet);
    }
}

/// Whether the running kubelet has the serving certificate in memory. A node without such a file has nothing to load.
fn serving_loaded(state: &NodeState, target: &NodeTarget) -> bool {
    let (Some(process), Some(_), Some(wanted)) =
        (&state.loaded.kubelet, &state.disk.kubelet_serving, &target.kubelet_serving)
    else {
        return true;
    };
    process.serving.as_ref().is_some_and(|serving| serving.issuer.as_ref() == Some(&wanted.issuer))
}

/// Equal as sets: the order of a bundle matters to signers, not to verifiers.
#[must_use]
pub fn same_set(left: &[CaId], right: &[CaId]) -> bool {
    left.iter().all(|ca| right.contains(ca)) && right.iter().all(|ca| left.contains(ca))
}

#[cfg(test)]
mod tests {
    use super::super::simulate::apply;
    use super::super::state::LeafState;
    use super::super::target::Serving;
    use super::*;

    fn ca(name: &str) -> CaId {
        CaId::planned(name)
    }

    fn leaf(name: &str) -> LeafState {
        LeafState { issuer: Some(ca(name)), vouched_by: Vec::new(), not_after: 7 }
    }

    /// A worker of the old CA whose kubelet has `serverTLSBootstrap`.
    fn worker() -> NodeState {
        let mut state = NodeState::default();
        state.disk.ca_bundle = vec![ca("old"), ca("new")];
        state.disk.kubelet_client = Some(ca("old"));
        state.disk.kubelet_serving = Some(leaf("old"));
        state.disk.confs.insert(Conf::Kubelet, ConfState { trust: vec![ca("old"), ca("new")], ..ConfState::default() });
        apply(&mut state, &Op::RestartKubelet);
        state
    }

    fn wanted() -> NodeTarget {
        NodeTarget {
            ca_bundle: vec![ca("old"), ca("new")],
            kubelet: Credential { issuer: ca("new"), trust: vec![ca("new")] },
            kubelet_serving: Some(Serving { issuer: ca("new"), vouched_by: vec![ca("old")] }),
            kubelet_loaded: true,
            control_plane: None,
        }
    }

    fn reissue() -> Op {
        Op::ReissueKubeletServing { issuer: ca("new"), vouched_by: vec![ca("old")] }
    }

    #[test]
    fn both_certificates_of_a_kubelet_are_there_before_its_one_restart() {
        let ops = node_ops(&worker(), &wanted());
        let conf = Op::WriteConf { conf: Conf::Kubelet, issuer: None, trust: vec![ca("new")] };
        assert_eq!(ops, [conf, Op::ReissueKubeletClient(ca("new")), reissue(), Op::RestartKubelet]);
        let mut state = worker();
        ops.iter().for_each(|op| apply(&mut state, op));
        assert_eq!(node_ops(&state, &wanted()), []);
    }

    #[test]
    fn a_kubelet_that_has_renewed_its_client_certificate_still_restarts_for_the_serving_one() {
        let mut state = worker();
        state.disk.confs.get_mut(&Conf::Kubelet).unwrap().trust = vec![ca("new")];
        state.disk.kubelet_client = Some(ca("new"));
        apply(&mut state, &Op::RestartKubelet);
        assert_eq!(node_ops(&state, &wanted()), [reissue(), Op::RestartKubelet]);
        // The agent is cut off between the two: what the kubelet has in memory says that the restart is still to come.
        apply(&mut state, &reissue());
        assert_eq!(node_ops(&state, &wanted()), [Op::RestartKubelet]);
        state.loaded.kubelet.as_mut().unwrap().serving = None;
        assert_eq!(node_ops(&state, &wanted()), [Op::RestartKubelet], "what is not known is not loaded");
    }

    #[test]
    fn a_node_without_such_a_file_gets_none_and_a_chain_alone_is_not_worth_a_restart() {
        let mut state = worker();
        state.disk.kubelet_serving = None;
        state.loaded.kubelet.as_mut().unwrap().serving = None;
        assert!(!node_ops(&state, &wanted()).contains(&reissue()));
        let mut renewed_by_itself = worker();
        for op in node_ops(&worker(), &wanted()) {
            apply(&mut renewed_by_itself, &op);
        }
        renewed_by_itself.disk.kubelet_serving = Some(leaf("new"));
        apply(&mut renewed_by_itself, &Op::RestartKubelet);
        assert_eq!(node_ops(&renewed_by_itself, &wanted()), []);
    }
}
