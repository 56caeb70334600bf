//! The view of `certctl renew`: what is renewed, what is left, what stands in the way.

use jiff::Timestamp;
use serde::Serialize;

use super::document::View;
use super::table::Table;
use crate::plan::renewal::{Action, CertificateName, Change, Plan, ProofRow, RenewalRow, rows};

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

impl RenewalReport {
    /// The report of a plan; `elsewhere` when another place signs, and so decides how long.
    #[must_use]
    pub fn new(plan: &Plan, elsewhere: bool) -> Self {
        let certificates = rows(plan, elsewhere);
        let restarts = plan.restarts.iter().filter_map(|op| op.restarts()).map(str::to_owned).collect();
        Self { dry_run: true, certificates, restarts, backup: None, proofs: Vec::new() }
    }

    /// The change of this certificate.
    pub fn change(&mut self, name: CertificateName) -> Option<&mut Change> {
        self.certificates.iter_mut().find(|row| row.name == name).and_then(|row| row.change.as_mut())
    }
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
