//! PURE: everything that a healthy cluster must satisfy, item by item, with the verdict and the remedy.
//!
//! Nothing is judged here a second time. What is wrong with certificates, files and objects is what [`crate::inspection::findings`] says; with
//! nodes what [`crate::rotation::preflight`] says; with trust what the trust matrix says. This module knows what there **should** be, asks each
//! of them, and names also what is right.
//!
//! **Guarantees.** A finding above a remark is never lost: one that no item has asked for becomes an item. A node that does not answer gets
//! no tick; what its last report shows to be wrong stays wrong.

mod check;
mod cluster;
mod files;
mod ledger;
mod objects;
mod serving;
mod sight;
mod trust;

pub use check::{Check, Group};
pub use sight::{Force, Sight, Standing};

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::inspection::{Evidence, Finding, FindingId};
use ledger::Ledger;

/// How an item stands, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It holds.
    Satisfied,
    /// Nobody could look, or the answer is old.
    Unknown,
    /// It will break, or weakens the cluster.
    Warning,
    /// It is broken, or will be refused by somebody.
    Failed,
}

impl Verdict {
    /// As people say it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::Unknown => "not known",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The group that it is chosen with.
    pub group: Group,
    /// What is demanded.
    pub check: Check,
    /// The node; absent for objects of the cluster and for files read without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Component, file or object.
    pub object: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// What speaks for it, or against it; may be empty where there is nothing to add.
    pub message: String,
    /// What to do about it; absent for what is satisfied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Every item of these groups, in the order of groups, nodes and objects. `findings` are those of the same evidence; `sight` is what the
/// cluster shows beyond it, or why that could not be seen; `None` for files read without a cluster.
#[must_use]
pub fn diagnose(
    evidence: &Evidence,
    findings: &[Finding],
    sight: Option<&Result<Sight, String>>,
    groups: &[Group],
    now: Timestamp,
) -> Vec<Item> {
    let nobody = BTreeMap::new();
    let silent = match sight {
        Some(Ok(sight)) => &sight.silent,
        _ => &nobody,
    };
    let mut ledger = Ledger::new(findings, silent);
    let blockers =
        sight.and_then(|sight| sight.as_ref().ok()).map(|sight| cluster::blockers(sight, now)).unwrap_or_default();
    files::judge(evidence, &blockers, &mut ledger);
    serving::judge(evidence, sight, &mut ledger);
    trust::judge(evidence, sight, now, &mut ledger);
    if let Some(sight) = sight {
        objects::judge(evidence, sight, &blockers, now, &mut ledger);
        cluster::judge(sight, &blockers, &mut ledger);
    }
    let mut items = ledger.close(group_of);
    items.retain(|item| groups.contains(&item.group));
    items
}

/// The group of a finding that no item has asked for.
fn group_of(finding: &Finding) -> Group {
    let object = finding.object.as_str();
    let begins = |names: &[&str]| names.iter().any(|name| object.starts_with(name));
    match finding.id {
        FindingId::RequestPending | FindingId::RequestFailed | FindingId::TokenExpired | FindingId::TokenForever => {
            Group::Requests
        }
        FindingId::NotServed => Group::Serving,
        FindingId::NoBootstrap | FindingId::EmbeddedCredential | FindingId::NoRotation => Group::Kubelets,
        FindingId::NotSeen if begins(&["certificatesigningrequests", "bootstrap tokens"]) => Group::Requests,
        FindingId::NotSeen if begins(&["node"]) => Group::Nodes,
        _ if object.ends_with("ca.crt") && finding.node.is_some() => Group::Authorities,
        _ if begins(&["/etc/kubernetes/"]) && object.contains(".conf") => Group::Kubeconfigs,
        _ if begins(&["/var/lib/kubelet/"]) => Group::Kubelets,
        _ if begins(&["/"]) => Group::Certificates,
        _ => Group::Objects,
    }
}

#[cfg(test)]
mod tests;
