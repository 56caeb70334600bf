//! The view of `certctl renew`: what is renewed, what is left, what stands in the way.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::document::View;
use super::table::Table;
use crate::plan::renewal::{Action, CertificateName, Change, Plan, ProofRow, RenewalRow, rows};

/// The plan of a renewal, or what has come of it.
#[derive(Debug, Serialize, JsonSchema)]
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
        table(&[("", &self.certificates)], wide)
    }
}

/// One node of a renewal through the agents.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetReportNode {
    /// The node.
    pub node: String,
    /// Every certificate that was asked for and stands there.
    pub certificates: Vec<RenewalRow>,
    /// Processes that are restarted, in order.
    pub restarts: Vec<String>,
    /// Folder of the files replaced, on the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// Who was asked whether the new certificates count, and what was seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<ProofRow>,
    /// Why it failed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// True when the node has come to its end and everybody asked works with the new certificates.
    pub proved: bool,
}

/// The plan of a renewal through the agents, or what has come of it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetReport {
    /// True when nothing was changed.
    pub dry_run: bool,
    /// Every node that was asked.
    pub nodes: Vec<FleetReportNode>,
}

impl View for FleetReport {
    const KIND: &'static str = "FleetRenewal";

    fn table(&self, wide: bool) -> Table {
        let nodes: Vec<(&str, &[RenewalRow])> =
            self.nodes.iter().map(|node| (node.node.as_str(), node.certificates.as_slice())).collect();
        table(&nodes, wide)
    }

    fn text(&self, wide: bool) -> String {
        let mut text = self.table(wide).to_string();
        for node in &self.nodes {
            let renewed = node.certificates.iter().filter(|row| row.action == Action::Renew);
            let files: Vec<&str> = renewed.flat_map(|row| row.files.iter().map(String::as_str)).collect();
            let (verbs, name) =
                (if self.dry_run { ["writes", "restarts"] } else { ["wrote", "restarted"] }, &node.node);
            // Of a run that stopped, only what is known to be done.
            let known = self.dry_run || node.backup.is_some() || node.proved;
            if known && !files.is_empty() {
                text.push_str(&format!("{name} {}: {}\n", verbs[0], files.join(" ")));
            }
            if known && !node.restarts.is_empty() {
                text.push_str(&format!("{name} {}: {}\n", verbs[1], node.restarts.join(", ")));
            }
        }
        text
    }
}

/// A row for each certificate; the column of nodes only where there are named ones.
fn table(nodes: &[(&str, &[RenewalRow])], wide: bool) -> Table {
    let all = || nodes.iter().flat_map(|(node, rows)| rows.iter().map(move |row| (*node, row)));
    let named = all().any(|(node, _)| !node.is_empty());
    let noted = all().any(|(_, row)| row.reason.is_some());
    let mut heads: Vec<&str> = named.then_some("NODE").into_iter().collect();
    heads.extend(["CERTIFICATE", "EXPIRES", "NEW-EXPIRY", "KEY", "CA", "RESTARTS"]);
    heads.extend(noted.then_some("NOTE"));
    heads.extend(wide.then_some(["SUBJECT", "SERIAL", "FILES"]).into_iter().flatten());
    let mut table = Table::new(&heads);
    for (node, row) in all() {
        let node = named.then(|| node.to_owned());
        table.row(node.into_iter().chain(cells(row, noted, wide)));
    }
    table
}

fn cells(row: &RenewalRow, noted: bool, wide: bool) -> Vec<String> {
    let change = row.change.as_ref();
    let text = |of: &dyn Fn(&Change) -> String| change.map(of).unwrap_or_default();
    let note = match row.action {
        Action::Blocked => format!("blocked: {}", row.reason.as_deref().unwrap_or_default()),
        _ => row.reason.clone().unwrap_or_default(),
    };
    let mut cells = vec![
        row.name.to_string(),
        row.old_not_after.map(day).unwrap_or_default(),
        text(&|change| change.not_after.map(day).unwrap_or_default() + if change.cut_short { " (CA)" } else { "" }),
        text(&|change| format!("{}{}", if change.new_key { "new " } else { "kept " }, change.key_algorithm)),
        row.authority.clone(),
        text(&|change| change.restarts.clone().unwrap_or_default()),
    ];
    cells.extend(noted.then_some(note));
    if wide {
        let serial = text(&|change| change.serial.clone().unwrap_or_default());
        cells.extend([text(&|change| change.subject.clone()), serial, row.files.join(" ")]);
    }
    cells
}

fn day(time: Timestamp) -> String {
    time.strftime("%b %d, %Y %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::fits;

    fn row(action: Action, change: Option<Change>) -> RenewalRow {
        let name = CertificateName::EtcdServer;
        RenewalRow {
            name,
            action,
            old_not_after: change.as_ref().map(|_| Timestamp::UNIX_EPOCH),
            reason: change.is_none().then(|| "not due".to_owned()),
            remarkable: change.is_none(),
            remedy: change.is_none().then(|| "name it".to_owned()),
            files: name.files(),
            authority: "etcd".into(),
            change,
        }
    }

    /// Every field is printed by one of them, and what may be absent is absent in the other.
    fn certificates() -> Vec<RenewalRow> {
        let change = Change {
            subject: "CN=cp-1".into(),
            old_serial: "1".into(),
            serial: Some("2".into()),
            not_after: Some(Timestamp::UNIX_EPOCH),
            cut_short: true,
            key_algorithm: "ECDSA-P256".into(),
            new_key: true,
            restarts: Some("kube-scheduler".into()),
        };
        vec![row(Action::Renew, Some(change)), row(Action::Keep, None)]
    }

    fn proofs() -> Vec<ProofRow> {
        vec![ProofRow { name: CertificateName::EtcdServer, address: "127.0.0.1:2379".into(), seen: "new".into() }]
    }

    #[test]
    fn what_is_printed_as_json_fits_the_schema() {
        let restarts = vec!["kube-scheduler".to_owned()];
        let backup = Some("/var/lib/certctl/backup/renew-1".to_owned());
        fits(&RenewalReport::new(&Plan::default(), false));
        fits(&RenewalReport {
            dry_run: false,
            certificates: certificates(),
            restarts: restarts.clone(),
            backup: backup.clone(),
            proofs: proofs(),
        });
        let node = FleetReportNode {
            node: "cp-1".into(),
            certificates: certificates(),
            restarts,
            backup,
            proofs: proofs(),
            problem: Some("disk full".into()),
            proved: false,
        };
        let planned = FleetReportNode { backup: None, proofs: Vec::new(), problem: None, ..node.clone() };
        fits(&FleetReport { dry_run: true, nodes: vec![node, planned] });
    }
}
