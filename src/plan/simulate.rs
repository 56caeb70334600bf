//! What a node looks like after an operation: dry runs, the trust matrix and the tests run plans on this.

use super::op::Op;
use super::state::{Component, Conf, ConfState, Leaf, LeafState, NodeState, ProcessState};
use crate::pki::CaId;

/// The state that `op` leaves behind on a node that works. The certificates' ends are taken over from those they replace.
pub fn apply(state: &mut NodeState, op: &Op) {
    match op {
        Op::WriteBundle(cas) => state.disk.ca_bundle.clone_from(cas),
        Op::WriteSigner(ca) => state.disk.signer_file = Some(ca.clone()),
        Op::RemoveSigner => state.disk.signer_file = None,
        Op::WriteCaKey(ca) => state.disk.ca_key = Some(ca.clone()),
        Op::ReissueLeaf { leaf, issuer, vouched_by } => reissue(state, *leaf, issuer, vouched_by),
        Op::WriteConf { conf, issuer, trust } => write_conf(state, *conf, issuer.as_ref(), trust),
        Op::ReissueKubeletClient(ca) => state.disk.kubelet_client = Some(ca.clone()),
        Op::ReissueKubeletServing { issuer, vouched_by } => {
            let not_after = state.disk.kubelet_serving.as_ref().map_or(0, |held| held.not_after);
            let held = LeafState { issuer: Some(issuer.clone()), vouched_by: vouched_by.clone(), not_after };
            state.disk.kubelet_serving = Some(held);
        }
        Op::RestartKubelet => state.loaded.kubelet = Some(started_kubelet(state)),
        Op::RestartStaticPod { component, own_signer, during } => {
            for op in during {
                apply(state, op);
            }
            if let Some(own) = own_signer {
                state.disk.own_signer = *own;
            }
            restart(state, *component);
        }
    }
}

fn reissue(state: &mut NodeState, leaf: Leaf, issuer: &CaId, vouched_by: &[CaId]) {
    let not_after = state.disk.leaves.get(&leaf).map_or(0, |held| held.not_after);
    let held = LeafState { issuer: Some(issuer.clone()), vouched_by: vouched_by.to_vec(), not_after };
    state.disk.leaves.insert(leaf, held);
}

fn write_conf(state: &mut NodeState, conf: Conf, issuer: Option<&CaId>, trust: &[CaId]) {
    let held = state.disk.confs.entry(conf).or_default();
    trust.clone_into(&mut held.trust);
    if let Some(issuer) = issuer {
        held.issuer = Some(issuer.clone());
    }
}

fn started_kubelet(state: &NodeState) -> ProcessState {
    let trust = state.disk.confs.get(&Conf::Kubelet).map(|conf| conf.trust.clone()).unwrap_or_default();
    let conf = ConfState {
        issuer: state.disk.kubelet_client.clone(),
        trust,
        not_after: state.disk.kubelet_client_not_after,
        ..ConfState::default()
    };
    let serving = state.disk.kubelet_serving.clone();
    ProcessState { instance: "planned".into(), conf: Some(conf), serving, ..ProcessState::default() }
}

fn restart(state: &mut NodeState, component: Component) {
    let process = |conf| ProcessState { instance: "planned".into(), conf, ..ProcessState::default() };
    match component {
        Component::KubeControllerManager => {
            state.loaded.controller_manager = Some(ProcessState {
                root_ca: state.disk.ca_bundle.clone(),
                own_signer: state.disk.own_signer,
                ..process(state.disk.confs.get(&Conf::ControllerManager).cloned())
            });
        }
        Component::KubeScheduler => {
            state.loaded.scheduler = Some(process(state.disk.confs.get(&Conf::Scheduler).cloned()));
        }
        Component::Etcd | Component::KubeApiserver => {}
    }
}
