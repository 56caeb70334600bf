//! The whole node in one reading: files, what processes have loaded, running containers.

use jiff::Timestamp;

use super::atomic;
use super::cri::Cri;
use super::error::NodeError;
use super::layout::{CA_CERT, KUBELET_CLIENT, KUBELET_SERVER, Layout, PROGRAM, SNAPSHOTS, UNITS};
use super::loaded::{Client, History, Inputs, Instance, Served, changed};
use super::manifest;
use super::pki_dir::{DiskReading, read_disk};
use super::renewal::put_right;
use super::static_pods::StaticPods;
use super::systemd::{KUBELET, Systemd};
use crate::pki::Certificate;
use crate::plan::row::CertificateRow;
use crate::plan::{Component, Conf, LoadedState, NodeFacts, NodeState, ProcessState};

/// One machine: its files, its container runtime and its systemd.
#[derive(Clone, Debug)]
pub struct Node {
    layout: Layout,
    cri: Cri,
    systemd: Systemd,
}

/// What [`Node::observe`] saw.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// What decisions are made on. The endpoints are not filled: probing is not the node's business.
    pub state: NodeState,
    /// Every certificate of the node.
    pub rows: Vec<CertificateRow>,
    /// What else the files say.
    pub facts: NodeFacts,
    /// What could not be seen, in words. What is missing for it is `None` in the state.
    pub problems: Vec<String>,
}

impl Node {
    /// The node below `root`. Must be called within a tokio runtime; touches nothing.
    pub fn open(root: impl Into<std::path::PathBuf>) -> Self {
        let layout = Layout::new(root);
        let cri = Cri::new(&layout.cri_socket());
        let systemd = Systemd::new(&layout.bus_socket());
        Self { layout, cri, systemd }
    }

    /// Paths.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The container runtime.
    #[must_use]
    pub const fn cri(&self) -> &Cri {
        &self.cri
    }

    /// systemd.
    #[must_use]
    pub const fn systemd(&self) -> &Systemd {
        &self.systemd
    }

    /// The static pods.
    #[must_use]
    pub const fn static_pods(&self) -> StaticPods<'_> {
        StaticPods::new(&self.layout, &self.cri)
    }

    /// Clears up after a crash, before anything else is done: leftovers of unfinished writes go, a manifest that is only parked
    /// goes back in. Returns the static pods that were put back.
    ///
    /// # Errors
    /// A file cannot be moved or removed.
    pub fn recover(&self) -> Result<Vec<Component>, NodeError> {
        for recovered in put_right(&self.layout)? {
            tracing::warn!(path = %recovered.path.display(), renewed = recovered.renewed, "a renewal was cut off: put right");
        }
        let folders = [
            "/etc/kubernetes/pki/certctl",
            "/var/lib/certctl/authorities",
            "/var/lib/certctl/agent",
            SNAPSHOTS,
            PROGRAM,
            UNITS,
        ];
        for folder in folders {
            atomic::remove_leftovers(&self.layout.path(folder))?;
        }
        StaticPods::recover(&self.layout)
    }

    /// Reads everything and remembers what the processes have loaded. To be called before files are changed: what has been
    /// seen once stays known although its file changes. `known` are CAs besides those on the node.
    ///
    /// # Errors
    /// `history.json` cannot be read or written; all else is a line in [`Observation::problems`].
    pub async fn observe(&self, known: &[Certificate]) -> Result<Observation, NodeError> {
        let DiskReading { state: disk, rows, facts } = read_disk(&self.layout, known);
        let mut observation = Observation {
            state: NodeState { control_plane: self.layout.is_control_plane(), disk, ..NodeState::default() },
            rows,
            facts,
            problems: Vec::new(),
        };
        let mut history = History::open(&self.layout)?;
        let before = history.clone();
        let mut loaded = LoadedState::default();
        if observation.state.control_plane {
            let kcm = self.component(Component::KubeControllerManager, &mut observation).await;
            loaded.controller_manager = kcm.map(|kcm| history.loaded(&kcm, &self.controller_manager(&observation)));
            let scheduler = self.component(Component::KubeScheduler, &mut observation).await;
            loaded.scheduler =
                scheduler.map(|process| history.loaded(&process, &self.conf(Conf::Scheduler, &observation)));
        }
        loaded.kubelet = self.kubelet(&mut history, &mut observation).await;
        observation.state.loaded = loaded;
        if history != before {
            history.save(&self.layout)?;
        }
        Ok(observation)
    }

    /// Why kube-controller-manager's manifest could not be pointed at a signing file of its own; tried, nothing is written. `None` where
    /// it could, and on a node without one.
    #[must_use]
    pub fn signer_problem(&self) -> Option<String> {
        let yaml = std::fs::read_to_string(self.layout.manifest(Component::KubeControllerManager)).ok()?;
        manifest::with_kcm_signer(&yaml, true).err()
    }

    async fn component(&self, component: Component, observation: &mut Observation) -> Option<Instance> {
        match self.cri.running(component).await {
            Ok(running) => running.map(|container| Instance {
                name: component.name(),
                id: container.id,
                started: container.created,
            }),
            Err(error) => {
                observation.problems.push(error.to_string());
                None
            }
        }
    }

    async fn kubelet(&self, history: &mut History, observation: &mut Observation) -> Option<ProcessState> {
        match self.systemd.unit(KUBELET).await {
            Ok(unit) if unit.active == "active" => {
                let instance = Instance { name: "kubelet", id: unit.invocation, started: unit.started };
                Some(history.loaded(&instance, &self.kubelet_inputs(observation)))
            }
            Ok(_) => None,
            Err(error) => {
                observation.problems.push(error.to_string());
                None
            }
        }
    }

    fn kubelet_conf_digest(&self) -> Option<String> {
        std::fs::read(self.layout.conf(Conf::Kubelet)).ok().map(|bytes| super::loaded::digest(&bytes))
    }

    fn kubelet_inputs(&self, observation: &Observation) -> Inputs {
        let first = |path: &str| observation.rows.iter().find(|row| row.path == path && row.index == 0);
        let disk = &observation.state.disk;
        let client = first(KUBELET_CLIENT).map(|row| Client {
            issuer: disk.kubelet_client.clone(),
            not_after: disk.kubelet_client_not_after,
            changed: self.linked_changed(KUBELET_CLIENT),
            fingerprint: row.fingerprint.clone(),
        });
        let serving = first(KUBELET_SERVER).zip(disk.kubelet_serving.as_ref()).map(|(row, leaf)| Served {
            leaf: leaf.clone(),
            changed: self.linked_changed(KUBELET_SERVER),
            fingerprint: row.fingerprint.clone(),
        });
        Inputs { client, serving, conf_digest: self.kubelet_conf_digest(), ..self.conf(Conf::Kubelet, observation) }
    }

    /// The later of a link's and its target's change: either gives the file another content.
    fn linked_changed(&self, link: &str) -> Option<Timestamp> {
        let link = self.layout.path(link);
        let target = self.layout.resolve(&link);
        super::loaded::link_changed(&link).max(changed(&target))
    }

    fn controller_manager(&self, observation: &Observation) -> Inputs {
        Inputs {
            root_ca: observation.state.disk.ca_bundle.clone(),
            root_ca_changed: changed(&self.layout.path(CA_CERT)),
            own_signer: observation.state.disk.own_signer,
            own_signer_changed: changed(&self.layout.manifest(Component::KubeControllerManager)),
            ..self.conf(Conf::ControllerManager, observation)
        }
    }

    fn conf(&self, conf: Conf, observation: &Observation) -> Inputs {
        Inputs {
            conf: observation.state.disk.confs.get(&conf).cloned(),
            conf_changed: changed(&self.layout.conf(conf)),
            ..Inputs::default()
        }
    }
}
