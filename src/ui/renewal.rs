//! The view of `certctl renew`: what is renewed, what is left, what stands in the way.

use jiff::Timestamp;
use serde::Serialize;

use super::document::View;
use super::table::Table;
use crate::plan::renewal::{Blocker, CertificateName, Item, Kept, Plan};

/// One certificate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalRow {
    /// Its name, as `kubeadm certs renew` has it.
    pub name: CertificateName,
    /// What becomes of it.
    pub action: Action,
    /// End of the certificate that stands there before; absent where none can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_not_after: Option<Timestamp>,
    /// Why it is kept, or what stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
    /// The files that it stands in.
    pub files: Vec<String>,
    /// Who signs it.
    pub authority: String,
    /// The change, where there is one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// What becomes of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
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

/// The plan of a renewal, or what has come of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalReport {
    /// True when nothing was changed.
    pub dry_run: bool,
    /// Every certificate that was asked for.
    pub certificates: Vec<RenewalRow>,
    /// Processes that are restarted, in order; empty where they do not belong to the files.
    pub restarts: Vec<String>,
    /// Folder of the files replaced, on the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// Who was asked whether the new certificates count, and what was seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<ProofRow>,
}

/// What was seen of one renewed certificate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProofRow {
    /// The certificate.
    pub name: CertificateName,
    /// `host:port` asked.
    pub address: String,
    /// `new`, `other`, `refused` or `unreachable`.
    pub seen: &'static str,
}

impl RenewalReport {
    /// The report of a plan; `elsewhere` when another place signs, and so decides how long.
    #[must_use]
    pub fn new(plan: &Plan, elsewhere: bool) -> Self {
        let items = plan.items.iter().map(|item| renewed(item, elsewhere));
        let rows = items.chain(plan.kept.iter().map(kept)).chain(plan.blockers.iter().map(blocked));
        let mut certificates: Vec<RenewalRow> = rows.collect();
        certificates.sort_by_key(|row| row.name);
        let restarts = plan.restarts.iter().filter_map(|op| op.restarts()).map(str::to_owned).collect();
        Self { dry_run: true, certificates, restarts, backup: None, proofs: Vec::new() }
    }

    /// The change of this certificate.
    pub fn change(&mut self, name: CertificateName) -> Option<&mut Change> {
        self.certificates.iter_mut().find(|row| row.name == name).and_then(|row| row.change.as_mut())
    }
}

fn row(name: CertificateName, action: Action) -> RenewalRow {
    let authority = name.authority().to_string();
    RenewalRow {
        name,
        action,
        old_not_after: None,
        reason: None,
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
        key_algorithm: item.new_key.map_or_else(|| old.key_description(), |algorithm| algorithm.to_string()),
        new_key: item.new_key.is_some(),
        restarts: item.name.restart().and_then(|op| op.restarts().map(str::to_owned)),
    };
    RenewalRow { change: Some(change), old_not_after: Some(old.not_after()), ..row(item.name, Action::Renew) }
}

fn kept(kept: &Kept) -> RenewalRow {
    RenewalRow { reason: Some(kept.reason.clone()), old_not_after: kept.not_after, ..row(kept.name, Action::Keep) }
}

fn blocked(blocker: &Blocker) -> RenewalRow {
    let (reason, remedy) = (Some(blocker.problem.clone()), Some(blocker.remedy));
    RenewalRow { reason, remedy, ..row(blocker.name, Action::Blocked) }
}

impl View for RenewalReport {
    const KIND: &'static str = "Renewal";

    fn table(&self, wide: bool) -> Table {
        let mut heads = vec!["CERTIFICATE", "EXPIRES", "NEW-EXPIRY", "KEY", "CA", "RESTARTS"];
        let noted = self.certificates.iter().any(|row| row.reason.is_some());
        heads.extend(noted.then_some("NOTE"));
        heads.extend(wide.then_some(["SUBJECT", "SERIAL", "FILES"]).into_iter().flatten());
        let mut table = Table::new(&heads);
        for row in &self.certificates {
            let change = row.change.as_ref();
            let text = |of: &dyn Fn(&Change) -> String| change.map(of).unwrap_or_default();
            let note = match row.action {
                Action::Blocked => format!("blocked: {}", row.reason.as_deref().unwrap_or_default()),
                _ => row.reason.clone().unwrap_or_default(),
            };
            let mut cells = vec![
                row.name.to_string(),
                row.old_not_after.map(day).unwrap_or_default(),
                text(&|change| {
                    change.not_after.map(day).unwrap_or_default() + if change.cut_short { " (CA)" } else { "" }
                }),
                text(&|change| format!("{}{}", if change.new_key { "new " } else { "kept " }, change.key_algorithm)),
                row.authority.clone(),
                text(&|change| change.restarts.clone().unwrap_or_default()),
            ];
            cells.extend(noted.then_some(note));
            if wide {
                let serial = text(&|change| change.serial.clone().unwrap_or_default());
                cells.extend([text(&|change| change.subject.clone()), serial, row.files.join(" ")]);
            }
            table.row(cells);
        }
        table
    }
}

fn day(time: Timestamp) -> String {
    time.strftime("%b %d, %Y %H:%M UTC").to_string()
}
