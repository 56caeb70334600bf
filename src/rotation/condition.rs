//! The condition `CARotation`: gkectl's reasons, and when each of them holds.

use schemars::JsonSchema;
use serde::Serialize;

use super::inventory::{Goal, Inventory, NodeView};
use super::planner::{Next, next};
use super::preflight::leave_out;
use super::progress::{Missing, missing};

/// Status of the condition `CARotation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum ConditionStatus {
    /// Every node holds the CA in force.
    True,
    /// A rotation is under way, or a node holds another CA than the one in force.
    False,
}

impl ConditionStatus {
    /// Kubernetes' word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
        }
    }
}

/// Reason of the condition `CARotation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Reason {
    /// A rotation is under way, and nothing but time and a driver is needed.
    #[serde(rename = "CARotationProgressed")]
    Progressed,
    /// What is awaited can only be mended by the administrator.
    #[serde(rename = "CARotationBlocked")]
    Blocked,
    /// No rotation is under way, and every node holds the CA in force.
    #[serde(rename = "CARotationCompleted")]
    Completed,
    /// No rotation is under way, and a node holds another CA than the one in force.
    #[serde(rename = "CARotationDrifted")]
    Drifted,
}

impl Reason {
    /// The reason while a rotation is under way.
    #[must_use]
    pub fn under_way(inventory: &Inventory, goal: &Goal) -> Self {
        Self::blocked_by(&blocked(inventory, goal))
    }

    /// The same, when it is known what blocks ([`blocked`]).
    #[must_use]
    pub fn blocked_by(troubles: &[Missing]) -> Self {
        if troubles.is_empty() { Self::Progressed } else { Self::Blocked }
    }

    /// gkectl's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Progressed => "CARotationProgressed",
            Self::Blocked => "CARotationBlocked",
            Self::Completed => "CARotationCompleted",
            Self::Drifted => "CARotationDrifted",
        }
    }

    /// The condition's status.
    #[must_use]
    pub const fn status(self) -> ConditionStatus {
        match self {
            Self::Completed => ConditionStatus::True,
            Self::Progressed | Self::Blocked | Self::Drifted => ConditionStatus::False,
        }
    }
}

/// What only the administrator can mend, one sentence each, when every step is taken and the rotation waits for just that; empty while
/// it goes on by itself. A node in trouble that nothing waits for blocks nothing.
#[must_use]
pub fn blocked(inventory: &Inventory, goal: &Goal) -> Vec<Missing> {
    let Next::Wait(phase, reasons) = next(inventory, goal) else { return Vec::new() };
    let missing = missing(phase, inventory, goal);
    let awaited = |name: &str, node: &NodeView| match goal.to {
        // Any control-plane node could make the CA, and none can.
        None => node.state.control_plane,
        Some(_) => node.busy() || missing.iter().any(|lack| lack.starts_with(&format!("node/{name}: "))),
    };
    let mut troubles = Vec::new();
    for (name, node) in inventory.counted(goal).filter(|(name, node)| awaited(name, node)) {
        let found = trouble(name, node, goal);
        if found.is_empty() && node.busy() {
            return Vec::new();
        }
        troubles.extend(found);
    }
    // Nodes that are well and cannot make the CA: they lack keys that only the administrator can bring.
    if goal.to.is_none() && troubles.is_empty() { reasons } else { troubles }
}

/// What is wrong with a node that no driver can put right.
fn trouble(name: &str, node: &NodeView, goal: &Goal) -> Vec<Missing> {
    let mut found = unheard(name, node);
    if !node.ready {
        found.push(format!("node/{name}: the node is not Ready"));
    }
    let foreign = node.state.disk.ca_bundle.iter().find(|ca| **ca != goal.from && Some(*ca) != goal.to.as_ref());
    if let Some(ca) = foreign {
        found.push(format!("node/{name}: ca.crt holds CA {}, which is no part of this rotation", ca.short()));
    }
    found
}

/// What its agent says, or that it says nothing.
pub(super) fn unheard(name: &str, node: &NodeView) -> Vec<Missing> {
    let mut found: Vec<Missing> = node.problem.iter().map(|problem| format!("node/{name}: {problem}")).collect();
    if !node.responding {
        found.push(format!("node/{name}: its agent does not respond ({})", leave_out(name, node)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The condition of the object is written by name, the report of `certctl status` through serde.
    #[test]
    fn the_names_in_the_object_are_those_in_the_report() {
        for reason in [Reason::Progressed, Reason::Blocked, Reason::Completed, Reason::Drifted] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
            assert_eq!(serde_json::to_value(reason.status()).unwrap(), reason.status().name());
        }
    }
}
