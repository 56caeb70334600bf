//! The views of `certctl inspect` and `certctl check`: kubeadm's two tables (`kubeadm certs check-expiration`), with node, CAVersion and
//! state; requests, tokens, findings; who presents and who checks what.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::document::View;
use super::table::Table;
use crate::inspection::{
    BootstrapToken, Edge, Evidence, Finding, InspectRow, Presence, Request, RequestState, Severity,
};
use crate::plan::{CertificateKind, CertificateRow};

mod junit;
mod metrics;

pub(super) use junit::escaped;

/// Every certificate that was asked for, and what is wrong with them.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InspectReport {
    /// In the order of nodes and files.
    pub certificates: Vec<InspectRow>,
    /// Requests in the CSR API; none outside a cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Request>,
    /// Bootstrap tokens, without their secret half; none outside a cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bootstrap_tokens: Vec<BootstrapToken>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    #[serde(skip)]
    #[schemars(skip)]
    now: Timestamp,
}

/// What `certctl check` says: the findings, and how much was looked at.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// How many certificates were looked at.
    pub checked: usize,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    #[serde(skip)]
    #[schemars(skip)]
    looked_at: InspectReport,
}

/// Who presents and who checks each certificate.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MapReport {
    /// In the order of nodes.
    pub edges: Vec<Edge>,
}

impl InspectReport {
    /// A report as of `now`.
    #[must_use]
    pub fn new(evidence: Evidence, findings: Vec<Finding>, now: Timestamp) -> Self {
        let Evidence { rows, requests, tokens, .. } = evidence;
        Self { certificates: rows, requests, bootstrap_tokens: tokens, findings, now }
    }
}

impl CheckReport {
    /// The findings of a report.
    #[must_use]
    pub fn new(report: InspectReport) -> Self {
        Self { checked: report.certificates.len(), findings: report.findings.clone(), looked_at: report }
    }
}

impl View for CheckReport {
    const KIND: &'static str = "CertificateCheck";

    fn table(&self, wide: bool) -> Table {
        findings_table(&self.findings, wide)
    }

    fn text(&self, wide: bool) -> String {
        let shown = findings_text(&self.findings, wide);
        if shown.is_empty() { format!("{} certificates checked, no finding\n", self.checked) } else { shown }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.findings.iter().map(|finding| format!("{}/{}", finding.id, finding.object)).collect())
    }

    fn metrics(&self, now: Timestamp) -> Option<String> {
        self.looked_at.metrics(now)
    }

    fn junit(&self) -> Option<String> {
        self.looked_at.junit()
    }
}

impl View for MapReport {
    const KIND: &'static str = "CertificateMap";

    fn table(&self, _wide: bool) -> Table {
        let on_nodes = self.edges.iter().any(|edge| edge.node.is_some());
        let heads = ["NODE", "CERTIFICATE", "SIDE", "PRESENTED BY", "CHECKED BY", "AGAINST", "TRUSTED"];
        let first = usize::from(!on_nodes);
        let mut table = Table::new(heads.get(first..).unwrap_or_default());
        for edge in &self.edges {
            let trusted = edge.trusted.map_or("", |trusted| if trusted { "yes" } else { "NO" });
            let cells = [
                edge.node.clone().unwrap_or_default(),
                edge.certificate.clone(),
                edge.side.to_owned(),
                edge.presented_by.to_owned(),
                edge.checked_by.to_owned(),
                edge.against.to_owned(),
                trusted.to_owned(),
            ];
            table.row(cells.into_iter().skip(first));
        }
        table
    }
}

/// What is only worth knowing is shown when everything is.
fn shown(findings: &[Finding], wide: bool) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(move |finding| wide || finding.severity > Severity::Info)
}

fn findings_table(findings: &[Finding], wide: bool) -> Table {
    let mut table = Table::new(&["SEVERITY", "FINDING", "NODE", "OBJECT", "MESSAGE", "REMEDY"]);
    for finding in shown(findings, wide) {
        table.row([
            finding.severity.to_string(),
            finding.id.to_string(),
            finding.node.clone().unwrap_or_default(),
            finding.object.clone(),
            finding.message.clone(),
            finding.remedy.clone(),
        ]);
    }
    table
}

/// A remedy is too long for a column.
fn findings_text(findings: &[Finding], wide: bool) -> String {
    shown(findings, wide)
        .map(|finding| format!("{} [{}] {finding}\n    {}\n", finding.severity, finding.id, finding.remedy))
        .collect()
}

impl View for InspectReport {
    const KIND: &'static str = "CertificateList";

    fn table(&self, wide: bool) -> Table {
        // What is broken is always shown, whatever it was meant to be.
        let wanted = |row: &CertificateRow| is_leaf(row.kind) || wide || row.problem.is_some();
        self.part("CERTIFICATE", wide, |row| wanted(row) && !is_authority(row))
    }

    fn text(&self, wide: bool) -> String {
        let mut parts: Vec<String> = self.tables(wide).iter().map(ToString::to_string).collect();
        parts.extend(Some(findings_text(&self.findings, wide)).filter(|text| !text.is_empty()));
        parts.join("\n")
    }

    fn markdown(&self) -> String {
        let mut parts: Vec<String> = self.tables(false).iter().map(Table::markdown).collect();
        let findings = findings_table(&self.findings, false);
        parts.extend(Some(findings).filter(|table| !table.is_empty()).map(|table| table.markdown()));
        parts.join("\n")
    }

    fn names(&self) -> Option<Vec<String>> {
        let node = |row: &InspectRow| row.node.as_ref().map(|node| format!("{node}/")).unwrap_or_default();
        Some(self.certificates.iter().map(|row| format!("certificate/{}{}", node(row), row.name)).collect())
    }

    fn metrics(&self, now: Timestamp) -> Option<String> {
        Some(metrics::text(&self.certificates, &self.findings, now))
    }

    fn junit(&self) -> Option<String> {
        Some(junit::text(&self.certificates, &self.findings))
    }
}

fn is_authority(row: &CertificateRow) -> bool {
    row.kind == CertificateKind::Authority
}

const fn is_leaf(kind: CertificateKind) -> bool {
    use CertificateKind::{Authority, Chain, KubeconfigAuthority, Trust};
    !matches!(kind, Authority | Chain | KubeconfigAuthority | Trust)
}

impl InspectReport {
    /// Those with a row.
    fn tables(&self, wide: bool) -> Vec<Table> {
        let authorities = self.part("CERTIFICATE AUTHORITY", wide, is_authority);
        let all = [self.table(wide), authorities, self.requests(wide), self.tokens(wide)];
        all.into_iter().filter(|table| !table.is_empty()).collect()
    }

    /// What was signed is of interest to those who want all.
    fn requests(&self, wide: bool) -> Table {
        let mut table = Table::new(&["REQUEST", "STATE", "CREATED", "SIGNER", "REQUESTER", "SUBJECT"]);
        for request in self.requests.iter().filter(|request| wide || request.state != RequestState::Issued) {
            table.row([
                request.name.clone(),
                format!("{:?}", request.state),
                request.created.clone(),
                request.signer.clone(),
                request.requester.clone(),
                request.subject.clone(),
            ]);
        }
        table
    }

    fn tokens(&self, wide: bool) -> Table {
        let mut table = Table::new(&["BOOTSTRAP TOKEN", "EXPIRES", "USAGES", "GROUPS"]);
        for token in self.bootstrap_tokens.iter().filter(|_| wide) {
            let expires = token.expires.clone().unwrap_or_else(|| "never".to_owned());
            table.row([token.id.clone(), expires, token.usages.join(","), token.groups.join(",")]);
        }
        table
    }

    fn part(&self, title: &'static str, wide: bool, wanted: impl Fn(&CertificateRow) -> bool) -> Table {
        let rows = || self.certificates.iter().filter(|row| wanted(&row.certificate));
        let on_nodes = self.certificates.iter().any(|row| row.node.is_some());
        let problems = rows().any(|row| row.certificate.problem.is_some());
        let columns: Vec<(&str, Cell)> = COLUMNS
            .iter()
            .filter(|(head, only_wide, _)| match *head {
                "NODE" => on_nodes,
                "PROBLEM" => problems,
                "EXTERNALLY-MANAGED" => wide && rows().any(|row| row.externally_managed.is_some()),
                // A file's name says little about what stands in it.
                "SUBJECT" => wide || rows().any(|row| row.name.starts_with(&row.certificate.path)),
                _ => wide || !only_wide,
            })
            .map(|(head, _, cell)| (if *head == "CERTIFICATE" { title } else { *head }, *cell))
            .collect();
        let mut table = Table::new(&columns.iter().map(|(head, _)| *head).collect::<Vec<_>>());
        for row in rows() {
            table.row(columns.iter().map(|(_, cell)| cell(row, self.now, wide)));
        }
        table
    }
}

type Cell = fn(&InspectRow, Timestamp, bool) -> String;

/// Head, whether only `-o wide` shows it, and how a cell is made.
const COLUMNS: [(&str, bool, Cell); 13] = [
    ("NODE", false, |row, _, _| row.node.clone().unwrap_or_default()),
    ("CERTIFICATE", false, |row, _, _| row.name.clone()),
    ("EXPIRES", false, expires),
    ("RESIDUAL-TIME", false, |row, now, _| residual(&row.certificate, now)),
    ("CA", false, |row, _, _| row.signed_by.clone().unwrap_or_else(|| row.certificate.issuer.clone())),
    ("CAVERSION", true, |row, _, _| row.ca_version.map(|version| version.to_string()).unwrap_or_default()),
    ("EXTERNALLY-MANAGED", true, |row, _, _| managed(row).to_owned()),
    ("STATE", true, |row, _, _| row.state.iter().copied().map(Presence::word).collect::<Vec<_>>().join(", ")),
    ("USAGE", true, |row, _, _| row.certificate.usages.join(", ")),
    ("SUBJECT", true, |row, _, _| row.certificate.subject.clone()),
    ("KEY", true, |row, _, _| row.certificate.key_algorithm.to_string()),
    ("PATH", true, |row, _, _| row.certificate.path.clone()),
    ("PROBLEM", false, |row, _, _| row.certificate.problem.clone().unwrap_or_default()),
];

const fn managed(row: &InspectRow) -> &'static str {
    match row.externally_managed {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    }
}

fn expires(row: &InspectRow, _now: Timestamp, wide: bool) -> String {
    if row.certificate.not_after.is_empty() || wide {
        return row.certificate.not_after.clone();
    }
    let time = Timestamp::from_second(row.certificate.not_after_seconds);
    time.map(|time| time.strftime("%b %d, %Y %H:%M UTC").to_string()).unwrap_or_default()
}

/// As `duration.ShortHumanDuration` in apimachinery, with a word for what is over.
fn residual(row: &CertificateRow, now: Timestamp) -> String {
    if row.not_after.is_empty() {
        return String::new();
    }
    let seconds = row.not_after_seconds - now.as_second();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..0 => "expired".to_owned(),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m"),
        _ if hours < 24 => format!("{hours}h"),
        _ if hours < 24 * 365 => format!("{}d", hours / 24),
        _ => format!("{}y", hours / (24 * 365)),
    }
}

#[cfg(test)]
mod tests;
