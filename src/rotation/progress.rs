//! Where a rotation stands: for every phase, what is still missing.

use crate::pki::CaId;
use crate::plan::{Conf, EndpointState, Leaf, Verdict, same_set};

use super::inventory::{Goal, Inventory, NodeView, verdict};
use super::phase::Phase;

/// One observation that a phase still lacks, in words, with the object's name first.
pub(super) type Missing = String;

/// The furthest phase whose conditions, and those of every phase before it, are observed.
///
/// Every condition of phases up to `DPReissued` speaks of the new CA only and every later one of the old CA only, so that none of
/// them becomes false again on the way forward; what makes one false is drift.
#[must_use]
pub fn phase_of(inventory: &Inventory, goal: &Goal) -> Phase {
    let mut reached = Phase::Planned;
    while reached != Phase::Completed && missing(reached.next(), inventory, goal).is_empty() {
        reached = reached.next();
    }
    reached
}

/// What `phase` itself still lacks, the phases before it left aside.
#[must_use]
pub fn missing(phase: Phase, inventory: &Inventory, goal: &Goal) -> Vec<Missing> {
    let Some(to) = &goal.to else {
        return if phase <= Phase::Planned { Vec::new() } else { vec!["the new CA has not been made yet".into()] };
    };
    let look = Look { inventory, goal, from: &goal.from, to };
    match phase {
        Phase::Idle | Phase::Planned => Vec::new(),
        Phase::Staged => look.staged(),
        Phase::CPTrusted => look.cp_trusted(),
        Phase::DPTrusted => look.dp_trusted(),
        Phase::CPReissued => look.cp_reissued(),
        Phase::SignerSwitched => look.signer_switched(),
        Phase::DPReissued => look.dp_reissued(),
        Phase::CPUntrusted => look.cp_untrusted(),
        Phase::DPUntrusted => look.dp_untrusted(),
        Phase::Completed => look.completed(),
    }
}

/// What a node lacks of being up to date with the CA in force, in words; empty for one that may count again after it was left out.
#[must_use]
pub fn behind(node: &NodeView, in_force: &CaId) -> Vec<String> {
    let mut lacks = Vec::new();
    let only = |cas: &[CaId]| same_set(cas, std::slice::from_ref(in_force));
    let disk = &node.state.disk;
    require(&mut lacks, node.responding, "its agent does not respond");
    require(&mut lacks, node.ready, "the node is not Ready");
    require(&mut lacks, only(&disk.ca_bundle), "ca.crt does not hold the CA in force alone");
    let conf = disk.confs.get(&Conf::Kubelet);
    require(&mut lacks, conf.is_none_or(|c| only(&c.trust)), "kubelet.conf does not hold the CA in force alone");
    let client = disk.kubelet_client.as_ref() == Some(in_force);
    require(&mut lacks, client, "the kubelet's certificate is not from the CA in force");
    let loaded = node.state.loaded.kubelet.as_ref().and_then(|process| process.conf.as_ref());
    let new = loaded.is_some_and(|conf| conf.issuer.as_ref() == Some(in_force));
    require(&mut lacks, new, "the kubelet has not loaded a certificate of the CA in force");
    if node.state.control_plane {
        let serving = disk.leaves.get(&Leaf::Apiserver).and_then(|leaf| leaf.issuer.as_ref());
        require(&mut lacks, serving == Some(in_force), "apiserver.crt is not from the CA in force");
        require(&mut lacks, disk.ca_key.as_ref() == Some(in_force), "ca.key is not that of the CA in force");
    }
    lacks
}

/// True for a node that holds another CA than the one in force, while no rotation is under way.
#[must_use]
pub fn drifted(node: &NodeView, in_force: &CaId) -> bool {
    let disk = &node.state.disk;
    !same_set(&disk.ca_bundle, std::slice::from_ref(in_force)) || disk.kubelet_client.as_ref() != Some(in_force)
}

/// What a control-plane node still has of a rotation and a stock node has not.
#[must_use]
pub fn left_over(node: &NodeView) -> Vec<&'static str> {
    let disk = &node.state.disk;
    let mut found = Vec::new();
    if disk.own_signer {
        found.push("kube-controller-manager still has its own signing file");
    }
    if disk.signer_file.is_some() {
        found.push("the own signing file is still there");
    }
    found
}

struct Look<'a> {
    inventory: &'a Inventory,
    goal: &'a Goal,
    from: &'a CaId,
    to: &'a CaId,
}

impl Look<'_> {
    fn control_plane(&self, check: impl Fn(&NodeView, &mut Vec<String>)) -> Vec<Missing> {
        Self::each(self.inventory.control_plane(self.goal), check)
    }

    fn nodes(&self, check: impl Fn(&NodeView, &mut Vec<String>)) -> Vec<Missing> {
        Self::each(self.inventory.counted(self.goal), check)
    }

    fn each<'a>(
        nodes: impl Iterator<Item = (&'a str, &'a NodeView)>,
        check: impl Fn(&NodeView, &mut Vec<String>),
    ) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (name, node) in nodes {
            let mut lacks = Vec::new();
            check(node, &mut lacks);
            missing.extend(lacks.into_iter().map(|lack| format!("node/{name}: {lack}")));
        }
        missing
    }

    fn staged(&self) -> Vec<Missing> {
        let mut missing = self.control_plane(|node, lacks| {
            for ca in [self.from, self.to] {
                require(lacks, node.state.disk.kept.contains(ca), "a CA key is not staged yet");
            }
        });
        require(
            &mut missing,
            self.inventory.recorded.contains(self.to),
            "the new CA's certificates are not recorded yet",
        );
        missing
    }

    fn cp_trusted(&self) -> Vec<Missing> {
        let mut missing = self.control_plane(|node, lacks| {
            require(lacks, node.state.disk.ca_bundle.contains(self.to), "ca.crt does not hold the new CA");
            let bundle = &node.state.disk.ca_bundle;
            let leaf = node.state.disk.leaves.get(&Leaf::Apiserver);
            let later = leaf.is_some_and(|leaf| leaf.issuer.as_ref() == Some(self.to));
            self.accepts(lacks, "kube-apiserver", &node.apiserver, bundle, later);
            self.accepts(lacks, "kube-controller-manager", &node.controller_manager, bundle, later);
            let root_ca = node.state.loaded.controller_manager.as_ref().is_some_and(|p| p.root_ca.contains(self.to));
            require(lacks, root_ca, "kube-controller-manager has not loaded the new root CA");
        });
        self.in_every_namespace(&mut missing, "does not hold the new CA", |cas| cas.contains(self.to));
        missing
    }

    /// A verifier must accept clients of the new CA, and of the old one as long as that stands in its bundle.
    ///
    /// `later`: the node holds what only a later phase brings, so this was observed once; a process that does not answer because that
    /// phase restarts it takes nothing back. A refusal does.
    fn accepts(&self, lacks: &mut Vec<String>, name: &str, endpoint: &EndpointState, bundle: &[CaId], later: bool) {
        for ca in [self.to, self.from] {
            let enough = match verdict(endpoint, ca) {
                Verdict::Accepted => true,
                Verdict::Refused => false,
                Verdict::Unreachable => later,
            };
            if bundle.contains(ca) && !enough {
                lacks.push(format!("{name} does not accept clients of CA {} yet", ca.short()));
            }
        }
    }

    fn in_every_namespace(&self, missing: &mut Vec<Missing>, lack: &str, holds: impl Fn(&[CaId]) -> bool) {
        for (namespace, cas) in &self.inventory.cluster.root_ca {
            require_with(missing, holds(cas), || format!("configmap/{namespace}/kube-root-ca.crt {lack}"));
        }
    }

    fn dp_trusted(&self) -> Vec<Missing> {
        let mut missing = self.nodes(|node, lacks| {
            require(lacks, node.state.disk.ca_bundle.contains(self.to), "ca.crt does not hold the new CA");
            let conf = node.state.disk.confs.get(&Conf::Kubelet);
            require(lacks, conf.is_none_or(|c| c.trust.contains(self.to)), "kubelet.conf does not hold the new CA");
            let later = node.state.disk.kubelet_client.as_ref() == Some(self.to);
            self.accepts(lacks, "kubelet", &node.kubelet, &node.state.disk.ca_bundle, later);
        });
        let cluster = &self.inventory.cluster;
        if let Some(cas) = &cluster.cluster_info {
            require(&mut missing, cas.contains(self.to), "configmap/kube-public/cluster-info does not hold the new CA");
        }
        for (object, cas) in &cluster.ca_bundles {
            require_with(&mut missing, cas.contains(self.to), || format!("{object} does not hold the new CA"));
        }
        missing
    }

    fn cp_reissued(&self) -> Vec<Missing> {
        self.control_plane(|node, lacks| {
            require(lacks, self.serves(node), "kube-apiserver does not serve a certificate of the new CA");
            let leaf = node.state.disk.leaves.get(&Leaf::ApiserverKubeletClient);
            require(
                lacks,
                leaf.is_some_and(|l| l.issuer.as_ref() == Some(self.to)),
                "apiserver-kubelet-client is not from the new CA",
            );
            for conf in [Conf::Admin, Conf::SuperAdmin] {
                let held = node.state.disk.confs.get(&conf);
                require_with(lacks, held.is_none_or(|c| c.issuer.as_ref() == Some(self.to)), || {
                    format!("{} is not from the new CA", conf.file_name())
                });
            }
            let loaded = &node.state.loaded;
            for (name, process) in
                [("kube-controller-manager", &loaded.controller_manager), ("kube-scheduler", &loaded.scheduler)]
            {
                let conf = process.as_ref().and_then(|p| p.conf.as_ref());
                require_with(lacks, conf.is_some_and(|c| c.issuer.as_ref() == Some(self.to)), || {
                    format!("{name} has not loaded a certificate of the new CA")
                });
            }
        })
    }

    fn serves(&self, node: &NodeView) -> bool {
        let on_disk = node.state.disk.leaves.get(&Leaf::Apiserver).is_some_and(|l| l.issuer.as_ref() == Some(self.to));
        on_disk && node.apiserver.issuer.as_ref() == Some(self.to)
    }

    fn signer_switched(&self) -> Vec<Missing> {
        let mut missing = self.control_plane(|node, lacks| {
            let disk = &node.state.disk;
            let signer = disk.signer();
            require(lacks, signer == Some(self.to), "kube-controller-manager does not sign with the new CA");
            require(lacks, disk.ca_key.as_ref() == Some(self.to), "ca.key is not that of the new CA");
            require(lacks, disk.ca_bundle.first() == Some(self.to), "ca.crt does not begin with the new CA");
        });
        let cluster = &self.inventory.cluster;
        let signed = !cluster.asks_for_csrs || cluster.csr_signer.as_ref() == Some(self.to);
        require(&mut missing, signed, "a certificate of the new CA has not come back through the CSR API yet");
        if let Some(caller) = &self.inventory.cluster.caller {
            require(
                &mut missing,
                caller.issuer.as_ref() == Some(self.to),
                "your kubeconfig's client certificate is not from the new CA",
            );
        }
        missing
    }

    fn dp_reissued(&self) -> Vec<Missing> {
        self.nodes(|node, lacks| {
            require(
                lacks,
                node.state.disk.kubelet_client.as_ref() == Some(self.to),
                "the kubelet's certificate is not from the new CA",
            );
            let loaded = node.state.loaded.kubelet.as_ref().and_then(|p| p.conf.as_ref());
            let new = loaded.is_some_and(|c| c.issuer.as_ref() == Some(self.to));
            require(lacks, new, "the kubelet has not loaded a certificate of the new CA");
            self.kubelet_serves(node, lacks);
            require(lacks, node.ready, "the node is not Ready");
        })
    }

    /// A kubelet that had a serving certificate from the cluster has one from the new CA, and shows it.
    ///
    /// One that shows a certificate of an unknown CA serves another file (`serverTLSBootstrap` was turned off, and the old file is still
    /// there). One that does not answer takes nothing back once the old CA is out of `ca.crt`: by then this was observed.
    fn kubelet_serves(&self, node: &NodeView, lacks: &mut Vec<String>) {
        let Some(serving) = &node.state.disk.kubelet_serving else { return };
        let new = Some(self.to);
        require(lacks, serving.issuer.as_ref() == new, "the kubelet's serving certificate is not from the new CA");
        let (seen, dropped) = (&node.kubelet, !node.state.disk.ca_bundle.contains(self.from));
        let shown = match &seen.issuer {
            Some(issuer) => Some(issuer) == new,
            None => !seen.serial.is_empty() || dropped,
        };
        require(lacks, shown, "the kubelet does not serve a certificate of the new CA");
    }

    fn cp_untrusted(&self) -> Vec<Missing> {
        let mut missing = self.control_plane(|node, lacks| {
            require(lacks, !node.state.disk.ca_bundle.contains(self.from), "ca.crt still holds the old CA");
            self.refuses(lacks, "kube-apiserver", &node.apiserver);
            self.refuses(lacks, "kube-controller-manager", &node.controller_manager);
            self.refuses(lacks, "kube-scheduler", &node.scheduler);
            let process = node.state.loaded.controller_manager.as_ref();
            let only = process.is_some_and(|p| same_set(&p.root_ca, std::slice::from_ref(self.to)));
            require(lacks, only, "kube-controller-manager still publishes the old CA");
        });
        let gone = !self.inventory.cluster.client_ca.contains(self.from);
        require(&mut missing, gone, "configmap/kube-system/extension-apiserver-authentication still holds the old CA");
        missing
    }

    fn refuses(&self, lacks: &mut Vec<String>, name: &str, endpoint: &EndpointState) {
        require_with(lacks, verdict(endpoint, self.from) == Verdict::Refused, || {
            format!("{name} does not refuse clients of the old CA yet")
        });
        require_with(lacks, verdict(endpoint, self.to) == Verdict::Accepted, || {
            format!("{name} does not accept clients of the new CA")
        });
    }

    fn dp_untrusted(&self) -> Vec<Missing> {
        let only = |cas: &[CaId]| same_set(cas, std::slice::from_ref(self.to));
        let mut missing = self.nodes(|node, lacks| {
            require(lacks, only(&node.state.disk.ca_bundle), "ca.crt still holds the old CA");
            let conf = node.state.disk.confs.get(&Conf::Kubelet);
            require(lacks, conf.is_none_or(|c| only(&c.trust)), "kubelet.conf still holds the old CA");
            self.refuses(lacks, "kubelet", &node.kubelet);
        });
        self.in_every_namespace(&mut missing, "still holds the old CA", only);
        let cluster = &self.inventory.cluster;
        if let Some(cas) = &cluster.cluster_info {
            require(&mut missing, only(cas), "configmap/kube-public/cluster-info still holds the old CA");
        }
        for (object, cas) in &cluster.ca_bundles {
            require_with(&mut missing, !cas.contains(self.from), || format!("{object} still holds the old CA"));
        }
        missing
    }

    fn completed(&self) -> Vec<Missing> {
        let mut missing = self.control_plane(|node, lacks| {
            for conf in [Conf::Admin, Conf::SuperAdmin, Conf::ControllerManager, Conf::Scheduler] {
                let held = node.state.disk.confs.get(&conf);
                require_with(lacks, held.is_none_or(|c| !c.trust.contains(self.from)), || {
                    format!("{} still trusts the old CA", conf.file_name())
                });
            }
            let leaf = node.state.disk.leaves.get(&Leaf::Apiserver);
            let clean = !self.goal.rollback || leaf.is_none_or(|leaf| !leaf.vouched_by.contains(self.from));
            require(lacks, clean, "kube-apiserver still serves a chain of the abandoned CA");
            lacks.extend(left_over(node).into_iter().map(str::to_owned));
        });
        let cluster = &self.inventory.cluster;
        let stock = cluster.kubeadm_own_signer != Some(true);
        require(&mut missing, stock, "configmap/kube-system/kubeadm-config still names the own signing file");
        if let Some(caller) = &cluster.caller {
            require(&mut missing, !caller.trust.contains(self.from), "your kubeconfig still trusts the old CA");
        }
        missing
    }
}

fn require(missing: &mut Vec<String>, holds: bool, lack: &str) {
    require_with(missing, holds, || lack.to_owned());
}

fn require_with(missing: &mut Vec<String>, holds: bool, lack: impl FnOnce() -> String) {
    if !holds {
        missing.push(lack());
    }
}
