//! What a cluster shows beyond its certificates.

use std::collections::{BTreeMap, BTreeSet};

use crate::pki::{CaId, Material};
use crate::rotation::{ClusterHealth, Goal, Inventory, NodeHealth, Phase, Reason};

/// One look at the cluster.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Nodes and objects.
    pub inventory: Inventory,
    /// What agents say of their nodes' health. Clock and etcd count only from nodes that have answered.
    pub health: BTreeMap<String, NodeHealth>,
    /// Versions, and caBundles that cannot be read.
    pub objects: ClusterHealth,
    /// Version of this program, which the agents must have too.
    pub version: String,
    /// Why the agents could not be asked to answer; `None` when they were.
    pub unasked: Option<String>,
    /// Nodes of which only the last report is known, or nothing, with the reason.
    pub silent: BTreeMap<String, String>,
    /// The CA in force; `None` when it is not known which one that is.
    pub force: Option<Force>,
    /// Why it is not known.
    pub no_force: String,
    /// Where rotations stand; `None` in a cluster that has never seen one.
    pub standing: Option<Standing>,
    /// Namespaces that are there to stay, in order.
    pub namespaces: Vec<String>,
}

/// The CA in force, and what stands for each CA when trust is verified.
#[derive(Clone, Debug)]
pub struct Force {
    /// Standing still with the CA in force, or the rotation under way.
    pub goal: Goal,
    /// Certificates and specimen leaves of every CA that may occur.
    pub materials: BTreeMap<CaId, Material>,
}

/// Where rotations stand.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The CAVersion wanted.
    pub ca_version: u32,
    /// A rotation or a rollback is under way.
    pub rotating: bool,
    /// The phase that it has reached.
    pub phase: Phase,
    /// As `certctl status` says it.
    pub reason: Reason,
    /// What is awaited.
    pub blocking: Vec<String>,
    /// The command to go on with; empty when there is nothing to go on with.
    pub next: &'static str,
    /// CAVersions besides the one in force, which `finalize` ends.
    pub older: Vec<u32>,
    /// Nodes left out, and what they lack.
    pub waived: BTreeMap<String, Vec<String>>,
}

impl Sight {
    /// Names of control-plane nodes.
    pub(super) fn control_plane(&self) -> BTreeSet<&str> {
        let all = self.inventory.nodes.iter().filter(|(_, node)| node.state.control_plane);
        all.map(|(name, _)| name.as_str()).collect()
    }
}
