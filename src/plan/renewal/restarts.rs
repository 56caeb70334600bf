//! What is restarted after a renewal, and in which order.

use super::{Plan, name};
use crate::plan::{Component, Conf, ConfState, NodeState, Op, ProcessState};

impl Plan {
    pub(super) fn settle_restarts(&mut self) {
        self.restarts = in_order(self.items.iter().filter_map(|item| item.name.restart()).collect());
    }

    /// Adds the restarts that an earlier run did not come to: of processes that work with another certificate than the one that stands in
    /// their file now.
    pub fn add_stale(&mut self, state: &NodeState) {
        let stale = |process: &Option<ProcessState>, conf: Conf| {
            let (Some(process), Some(held)) = (process, state.disk.confs.get(&conf)) else { return false };
            let same = |loaded: &ConfState| (&loaded.issuer, loaded.not_after) == (&held.issuer, held.not_after);
            held.not_after != 0 && !process.conf.as_ref().is_some_and(same)
        };
        let mut all = std::mem::take(&mut self.restarts);
        if stale(&state.loaded.controller_manager, Conf::ControllerManager) {
            all.push(name::restart(Component::KubeControllerManager));
        }
        if stale(&state.loaded.scheduler, Conf::Scheduler) {
            all.push(name::restart(Component::KubeScheduler));
        }
        if state.loaded.kubelet.as_ref().is_some_and(|kubelet| kubelet_is_stale(kubelet, state)) {
            all.push(Op::RestartKubelet);
        }
        self.restarts = in_order(all);
    }
}

/// The kubelet renews its certificates by itself and its kubeconfig is edited now and then: only what is known to be another one counts.
fn kubelet_is_stale(kubelet: &ProcessState, state: &NodeState) -> bool {
    let disk = &state.disk;
    let own = (disk.kubelet_client_not_after != 0).then_some((&disk.kubelet_client, disk.kubelet_client_not_after));
    let embedded = || disk.confs.get(&Conf::Kubelet).map(|conf| (&conf.issuer, conf.not_after));
    let client = own.or_else(embedded).filter(|(_, not_after)| *not_after != 0);
    let loaded = kubelet.conf.as_ref().map(|conf| (&conf.issuer, conf.not_after));
    let serving = kubelet.serving.as_ref().zip(disk.kubelet_serving.as_ref());
    client.zip(loaded).is_some_and(|(held, loaded)| held != loaded)
        || serving.is_some_and(|(loaded, held)| (&loaded.issuer, loaded.not_after) != (&held.issuer, held.not_after))
}

/// The scheduler first, because least depends on it, and each once.
fn in_order(mut restarts: Vec<Op>) -> Vec<Op> {
    let rank = |op: &Op| match op {
        Op::RestartStaticPod { component: Component::KubeScheduler, .. } => 0,
        Op::RestartStaticPod { .. } => 1,
        _ => 2,
    };
    restarts.sort_by_key(rank);
    restarts.dedup();
    restarts
}
