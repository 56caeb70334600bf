//! What becomes of each certificate, for people and programs: in a command's document, and in what an agent reports of its node.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Blocker, CertificateName, Item, Kept, Plan};

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewalRow {
    /// Its name, as `kubeadm certs renew` has it.
    pub name: CertificateName,
    /// What becomes of it.
    pub action: Action,
    /// End of the certificate that stands there before; absent where none can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub old_not_after: Option<Timestamp>,
    /// Why it is kept, or what stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// True for what stays where the administrator may have expected otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remarkable: bool,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The files that it stands in.
    pub files: Vec<String>,
    /// Who signs it.
    pub authority: String,
    /// The change, where there is one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// What becomes of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// It is renewed.
    Renew,
    /// It stays.
    Keep,
    /// It should be renewed and cannot be.
    Blocked,
}

/// From the old certificate to the new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Subject, which stays.
    pub subject: String,
    /// Serial number that is replaced, hex.
    pub old_serial: String,
    /// Serial number of the new one, hex; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its end; absent where another place decides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub not_after: Option<Timestamp>,
    /// True when its CA's end cuts its lifetime short.
    pub cut_short: bool,
    /// Kind of the key.
    pub key_algorithm: String,
    /// True for a new key.
    pub new_key: bool,
    /// The process that is restarted for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<String>,
}

/// What was seen of one renewed certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProofRow {
    /// The certificate.
    pub name: CertificateName,
    /// `host:port` asked.
    pub address: String,
    /// `new`, `other`, `refused` or `unreachable`.
    pub seen: String,
}

/// A row for every certificate of a plan; `elsewhere` when another place signs, and so decides how long.
#[must_use]
pub fn rows(plan: &Plan, elsewhere: bool) -> Vec<RenewalRow> {
    let items = plan.items.iter().map(|item| renewed(item, elsewhere));
    let rows = items.chain(plan.kept.iter().map(kept)).chain(plan.blockers.iter().map(blocked));
    let mut rows: Vec<RenewalRow> = rows.collect();
    rows.sort_by_key(|row| row.name);
    rows
}

fn row(name: CertificateName, action: Action) -> RenewalRow {
    let authority = name.authority().to_string();
    RenewalRow {
        name,
        action,
        old_not_after: None,
        reason: None,
        remarkable: false,
        remedy: None,
        files: name.files(),
        authority,
        change: None,
    }
}

fn renewed(item: &Item, elsewhere: bool) -> RenewalRow {
    let old = &item.old;
    let change = Change {
        subject: old.subject(),
        old_serial: old.serial_hex(),
        serial: None,
        not_after: (!elsewhere).then_some(item.not_after),
        cut_short: item.cut_short,
        key_algorithm: item
            .new_key
            .map_or_else(|| old.key_description().into_owned(), |algorithm| algorithm.to_string()),
        new_key: item.new_key.is_some(),
        restarts: item.name.restart().and_then(|op| op.restarts().map(str::to_owned)),
    };
    RenewalRow { change: Some(change), old_not_after: Some(old.not_after()), ..row(item.name, Action::Renew) }
}

fn kept(kept: &Kept) -> RenewalRow {
    RenewalRow {
        reason: Some(kept.reason.clone()),
        remarkable: kept.remarkable,
        old_not_after: kept.not_after,
        ..row(kept.name, Action::Keep)
    }
}

fn blocked(blocker: &Blocker) -> RenewalRow {
    let (reason, remedy) = (Some(blocker.problem.clone()), Some(blocker.remedy.to_owned()));
    RenewalRow { reason, remedy, ..row(blocker.name, Action::Blocked) }
}
