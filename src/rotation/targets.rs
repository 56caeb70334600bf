//! What a phase asks of a node.

use crate::pki::CaId;
use crate::plan::{Conf, ControlPlaneTarget, Credential, Leaf, NodeTarget, Serving, same_set};

use super::inventory::{Goal, Inventory, NodeView};
use super::phase::Phase;

/// The target of `phase` for one node: what the phase asks for, or what the node already has when that is further.
///
/// It never asks a node to go back, so a node that `kubeadm` changed behind our back is healed forward, and a node that comes back
/// late is brought to where the others are.
#[must_use]
pub fn target(phase: Phase, node: &NodeView, inventory: &Inventory, goal: &Goal) -> Option<NodeTarget> {
    let to = goal.to.as_ref()?;
    let ask = Ask { phase, node, from: &goal.from, to };
    Some(NodeTarget {
        ca_bundle: ask.bundle(),
        kubelet: ask.kubelet(),
        kubelet_serving: ask.kubelet_serving(goal),
        kubelet_loaded: phase >= Phase::DPReissued || node.state.disk.kubelet_client.as_ref() == Some(to),
        control_plane: node.state.control_plane.then(|| ask.control_plane(inventory, goal)),
    })
}

struct Ask<'a> {
    phase: Phase,
    node: &'a NodeView,
    from: &'a CaId,
    to: &'a CaId,
}

impl Ask<'_> {
    /// `to` when the phase asks for it or the node has it, else `from`.
    fn issuer(&self, since: Phase, held: Option<&CaId>) -> CaId {
        if self.phase >= since || held == Some(self.to) { self.to.clone() } else { self.from.clone() }
    }

    fn only(ca: &CaId) -> Vec<CaId> {
        vec![ca.clone()]
    }

    fn both(&self, first: &CaId) -> Vec<CaId> {
        let second = if first == self.to { self.from } else { self.to };
        vec![first.clone(), second.clone()]
    }

    /// A trust set that is widened by phase `widen` and narrowed by phase `narrow`, the given CA first.
    fn trust(&self, widen: Phase, narrow: Phase, held: &[CaId], first: &CaId) -> Vec<CaId> {
        if self.phase >= narrow || same_set(held, &Self::only(self.to)) {
            Self::only(self.to)
        } else if self.phase >= widen || held.contains(self.to) {
            self.both(first)
        } else {
            Self::only(self.from)
        }
    }

    fn bundle(&self) -> Vec<CaId> {
        let held = &self.node.state.disk.ca_bundle;
        if self.node.state.control_plane {
            return self.trust(Phase::CPTrusted, Phase::CPUntrusted, held, &self.signer());
        }
        // Nobody signs on a worker, so the order does not matter there and stays.
        let wanted = self.trust(Phase::DPTrusted, Phase::DPUntrusted, held, self.from);
        if same_set(&wanted, held) { held.clone() } else { wanted }
    }

    /// The CA that signs CSRs on this node now, or the new one once it is time.
    fn signer(&self) -> CaId {
        let disk = &self.node.state.disk;
        let held = disk.signer();
        self.issuer(Phase::SignerSwitched, held)
    }

    fn kubelet(&self) -> Credential {
        let disk = &self.node.state.disk;
        let held = disk.confs.get(&Conf::Kubelet).map(|conf| conf.trust.clone()).unwrap_or_default();
        Credential {
            issuer: self.issuer(Phase::DPReissued, disk.kubelet_client.as_ref()),
            trust: self.trust(Phase::DPTrusted, Phase::DPReissued, &held, self.from),
        }
    }

    /// Issued together with the client certificate, so that one restart loads both.
    ///
    /// The cross-signed certificates go behind it: who verifies kubelets may have read the old CA once (kube-apiserver before 1.36 with
    /// `--kubelet-certificate-authority`, metrics-server with an older client-go). After a rollback nobody can hold the abandoned CA only,
    /// because everything trusted both.
    fn kubelet_serving(&self, goal: &Goal) -> Option<Serving> {
        let held = self.node.state.disk.kubelet_serving.as_ref()?;
        let issuer = self.issuer(Phase::DPReissued, held.issuer.as_ref());
        let from = (!goal.rollback).then_some(self.from);
        let vouched_by = if issuer == *self.to {
            from.into_iter().chain(&goal.legacy).cloned().collect()
        } else {
            held.vouched_by.clone()
        };
        Some(Serving { issuer, vouched_by })
    }

    fn control_plane(&self, inventory: &Inventory, goal: &Goal) -> ControlPlaneTarget {
        let disk = &self.node.state.disk;
        let leaf = |leaf| disk.leaves.get(&leaf).and_then(|held| held.issuer.as_ref());
        let serving = self.issuer(Phase::CPReissued, leaf(Leaf::Apiserver));
        let served = |node: &NodeView| node.apiserver.issuer.as_ref() == Some(self.to);
        let everywhere = inventory.control_plane(goal).all(|(_, node)| served(node));
        let controller_manager = self.controller_manager(everywhere);
        let scheduler = self.component(Conf::Scheduler, everywhere);
        ControlPlaneTarget {
            kept: self.both(self.from),
            signer: self.own_signer(&self.bundle()).then(|| self.signer()),
            vouched_by: self.vouched_by(&serving, goal),
            serving,
            kubelet_client: self.issuer(Phase::CPReissued, leaf(Leaf::ApiserverKubeletClient)),
            admin: self.admin(),
            controller_manager_loaded: controller_manager.issuer == *self.to,
            controller_manager,
            scheduler_loaded: scheduler.issuer == *self.to,
            scheduler,
        }
    }

    /// kube-controller-manager needs its own file while `ca.crt` holds two CAs; the restart that narrows `ca.crt` takes it away.
    ///
    /// That restart also narrows what the process publishes to pods: they verify servers, and none presents the old CA any more.
    fn own_signer(&self, bundle: &[CaId]) -> bool {
        bundle.len() > 1 || (self.node.state.disk.own_signer && self.phase < Phase::CPUntrusted)
    }

    /// The cross-signed certificates stay behind the leaf until `finalize`; after a rollback nobody can hold the abandoned CA.
    fn vouched_by(&self, serving: &CaId, goal: &Goal) -> Vec<CaId> {
        if serving != self.to {
            let held = self.node.state.disk.leaves.get(&Leaf::Apiserver);
            return held.map(|held| held.vouched_by.clone()).unwrap_or_default();
        }
        let from = (!goal.rollback || self.phase < Phase::Completed).then_some(self.from);
        from.into_iter().chain(&goal.legacy).cloned().collect()
    }

    fn admin(&self) -> Credential {
        let held = self.node.state.disk.confs.get(&Conf::Admin).cloned().unwrap_or_default();
        let issuer = self.issuer(Phase::CPReissued, held.issuer.as_ref());
        Credential { trust: self.trust(Phase::CPReissued, Phase::Completed, &held.trust, &issuer), issuer }
    }

    /// kube-controller-manager is restarted when the control plane learns the new CA, and again when it forgets the old one. Where nobody
    /// but this node's API server sees its certificate, the first of the two brings one of the new CA, and no restart is needed in between.
    /// Until the second it trusts both: its API server serves a certificate of either.
    fn controller_manager(&self, everywhere: bool) -> Credential {
        let held = self.node.state.disk.confs.get(&Conf::ControllerManager).cloned().unwrap_or_default();
        if !held.own_server {
            return self.component(Conf::ControllerManager, everywhere);
        }
        let issuer = self.issuer(Phase::CPTrusted, held.issuer.as_ref());
        Credential { trust: self.trust(Phase::CPTrusted, Phase::CPUntrusted, &held.trust, &issuer), issuer }
    }

    /// A component verifies one API server, its own or any; once that one serves the new chain, or every one does, it needs to trust the new
    /// CA only, and one restart is enough.
    fn component(&self, conf: Conf, everywhere: bool) -> Credential {
        let held = self.node.state.disk.confs.get(&conf).cloned().unwrap_or_default();
        let served = everywhere || held.own_server && self.node.apiserver.issuer.as_ref() == Some(self.to);
        let narrow = same_set(&held.trust, &Self::only(self.to));
        if (self.phase >= Phase::CPReissued && served) || (held.issuer.as_ref() == Some(self.to) && (served || narrow))
        {
            return Credential { issuer: self.to.clone(), trust: Self::only(self.to) };
        }
        let trust = if held.trust.is_empty() { Self::only(self.from) } else { held.trust };
        Credential { issuer: held.issuer.unwrap_or_else(|| self.from.clone()), trust }
    }
}
