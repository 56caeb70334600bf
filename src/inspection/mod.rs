//! PURE: what was seen of a PKI, judged: certificates with where they are seen, findings with their remedy, who checks what.

mod certificate;
mod expected;
mod finding;
mod map;
mod node;
mod objects;
mod row;

pub use expected::covers;
pub use finding::{Finding, FindingId, Severity};
pub use map::{Edge, edges};
pub use objects::{BootstrapToken, Request, RequestState, follows_the_cluster};
pub use row::{InspectRow, Presence, kubeadm_name, merged_trust, reads_once, rows_of};

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::pki::CaId;
use crate::plan::{CertificateRow, NodeFacts, NodeState};

/// What is known of one node besides its certificates.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// What its files say.
    pub facts: NodeFacts,
    /// What its processes have loaded and its endpoints serve; absent where only files were read.
    pub state: Option<NodeState>,
}

/// Everything that was seen, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Every certificate.
    pub rows: Vec<InspectRow>,
    /// By the name that stands in the rows; the empty name stands for a node whose files were read without a cluster.
    pub nodes: BTreeMap<String, NodeView>,
    /// Requests for certificates in the CSR API.
    pub requests: Vec<Request>,
    /// Bootstrap tokens.
    pub tokens: Vec<BootstrapToken>,
    /// A CA rotation is under way: two CAs side by side are no finding then.
    pub rotating: bool,
    /// What could not be looked at, in words.
    pub unread: Vec<String>,
}

impl Evidence {
    /// Takes in what was seen of one node. `name` is absent for files that were read without a cluster; `versions` are the cluster's
    /// generations.
    pub fn add_node(
        &mut self,
        name: Option<&str>,
        certificates: Vec<CertificateRow>,
        view: NodeView,
        versions: &BTreeMap<CaId, u32>,
    ) {
        let mut rows = rows_of(name, certificates, view.state.as_ref(), versions);
        if view.facts.control_plane {
            row::tell_external(&mut rows);
        }
        self.rows.extend(rows);
        self.nodes.insert(name.unwrap_or_default().to_owned(), view);
    }
}

/// Everything that is wrong, the worst first. `within` is how much life must be left; without it each kind of certificate has its own measure.
#[must_use]
pub fn findings(evidence: &Evidence, within: Option<SignedDuration>, now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    let index = expected::Index::new(&evidence.rows);
    for row in &evidence.rows {
        let view = evidence.nodes.get(row.node.as_deref().unwrap_or_default());
        certificate::judge(row, &certificate::Measure { within, now, view }, &mut found);
        expected::judge(row, &index, view.map(|view| &view.facts), &mut found);
        if let Some(view) = view {
            node::judge_row(row, view, now, &mut found);
        }
    }
    for (name, view) in &evidence.nodes {
        node::judge(name, view, &evidence.rows, &mut found);
    }
    objects::judge(evidence, now, &mut found);
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.object.cmp(&b.object)).then(a.id.cmp(&b.id)));
    found.dedup();
    found
}

#[cfg(test)]
pub(crate) mod tests;
