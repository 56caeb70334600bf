//! The view of `certctl inspect`: kubeadm's two tables (`kubeadm certs check-expiration`), with node, CAVersion and state.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::document::View;
use super::table::Table;
use crate::pki::CaId;
use crate::plan::{CertificateKind, CertificateRow, ConfState, NodeState};

/// Where a certificate is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Presence {
    /// In a file.
    OnDisk,
    /// Read by a process that does not read it again.
    Loaded,
    /// Shown in a handshake.
    Served,
}

impl Presence {
    const fn word(self) -> &'static str {
        match self {
            Self::OnDisk => "on disk",
            Self::Loaded => "loaded",
            Self::Served => "served",
        }
    }
}

/// One certificate with what is known about it beyond its file.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InspectRow {
    /// The node; absent for files given by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// kubeadm's name of the certificate, or the file's path.
    pub name: String,
    /// Name of the CA that signed it, as kubeadm calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Generation of the CA that signed it, or of the CA itself; absent when the cluster does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_version: Option<u32>,
    /// Where it is seen.
    pub state: BTreeSet<Presence>,
    /// The certificate.
    #[serde(flatten)]
    pub certificate: CertificateRow,
}

/// Every certificate that was asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InspectReport {
    /// In the order of nodes and files.
    pub certificates: Vec<InspectRow>,
    #[serde(skip)]
    now: Timestamp,
}

impl InspectReport {
    /// A report as of `now`.
    #[must_use]
    pub const fn new(certificates: Vec<InspectRow>, now: Timestamp) -> Self {
        Self { certificates, now }
    }

    /// How many rows have a problem.
    #[must_use]
    pub fn problems(&self) -> usize {
        self.certificates.iter().filter(|row| row.certificate.problem.is_some()).count()
    }
}

/// The rows of one node. `state` is what its agent reports, `versions` the cluster's generations; both are absent offline.
#[must_use]
pub fn rows_of(
    node: Option<&str>,
    certificates: &[CertificateRow],
    state: Option<&NodeState>,
    versions: &BTreeMap<CaId, u32>,
) -> Vec<InspectRow> {
    let authorities: BTreeMap<&CaId, String> = certificates
        .iter()
        .filter(|row| row.kind == CertificateKind::Authority && kubeadm_name(&row.path) != row.path)
        .filter_map(|row| Some((row.ca_id.as_ref()?, kubeadm_name(&row.path))))
        .collect();
    let row = |certificate: &CertificateRow| InspectRow {
        node: node.map(str::to_owned),
        name: name_of(certificate),
        signed_by: certificate.issuer_id.as_ref().and_then(|ca| authorities.get(ca).cloned()),
        ca_version: generation(certificate, versions),
        state: presence(certificate, state),
        certificate: certificate.clone(),
    };
    certificates.iter().map(row).collect()
}

fn generation(row: &CertificateRow, versions: &BTreeMap<CaId, u32>) -> Option<u32> {
    versions.get(row.ca_id.as_ref().or(row.issuer_id.as_ref())?).copied()
}

fn name_of(row: &CertificateRow) -> String {
    let name = kubeadm_name(&row.path);
    if name == row.path && row.index > 0 {
        return format!("{name} [{}]", row.index);
    }
    match row.kind {
        CertificateKind::Chain => format!("{name} (chain)"),
        CertificateKind::KubeconfigAuthority => format!("{name} (trust)"),
        _ => name,
    }
}

/// The name in `cmd/kubeadm/app/phases/certs/renewal/manager.go` for a path of a node; other paths name themselves.
fn kubeadm_name(path: &str) -> String {
    if let Some(file) = path.strip_prefix("/etc/kubernetes/pki/") {
        return file.trim_end_matches(".crt").replace('/', "-");
    }
    if let Some(file) = path.strip_prefix("/var/lib/kubelet/pki/") {
        return file.trim_end_matches(".pem").trim_end_matches(".crt").trim_end_matches("-current").to_owned();
    }
    path.strip_prefix("/etc/kubernetes/").unwrap_or(path).to_owned()
}

fn presence(row: &CertificateRow, state: Option<&NodeState>) -> BTreeSet<Presence> {
    let mut seen = BTreeSet::from([Presence::OnDisk]);
    let Some(state) = state else { return seen };
    if is_loaded(row, state) {
        seen.insert(Presence::Loaded);
    }
    let serves = |serial: &str| !serial.is_empty() && serial == row.serial;
    if state.endpoints.values().any(|endpoint| serves(&endpoint.serial)) {
        seen.insert(Presence::Served);
    }
    seen
}

/// What a process holds in memory is reported by CA and expiry, which is enough to tell generations apart.
fn is_loaded(row: &CertificateRow, state: &NodeState) -> bool {
    let loaded = &state.loaded;
    let process = match row.path.as_str() {
        "/etc/kubernetes/controller-manager.conf" | "/etc/kubernetes/pki/ca.crt" => &loaded.controller_manager,
        "/etc/kubernetes/scheduler.conf" => &loaded.scheduler,
        "/etc/kubernetes/kubelet.conf" => &loaded.kubelet,
        _ if matches!(row.kind, CertificateKind::KubeletClient | CertificateKind::KubeletServing) => &loaded.kubelet,
        _ => return false,
    };
    let Some(process) = process else { return false };
    let client = |conf: &ConfState| conf.issuer == row.issuer_id && conf.not_after == row.not_after_seconds;
    let trusts = |trust: &[CaId]| row.ca_id.as_ref().is_some_and(|ca| trust.contains(ca));
    match row.kind {
        CertificateKind::Authority => trusts(&process.root_ca),
        CertificateKind::KubeconfigAuthority => process.conf.as_ref().is_some_and(|conf| trusts(&conf.trust)),
        CertificateKind::KubeconfigClient | CertificateKind::KubeletClient => process.conf.as_ref().is_some_and(client),
        CertificateKind::KubeletServing => process
            .serving
            .as_ref()
            .is_some_and(|held| held.issuer == row.issuer_id && held.not_after == row.not_after_seconds),
        CertificateKind::Chain | CertificateKind::Leaf => false,
    }
}

impl View for InspectReport {
    const KIND: &'static str = "CertificateList";

    fn table(&self, wide: bool) -> Table {
        // What is broken is always shown, whatever it was meant to be.
        let wanted = |row: &CertificateRow| is_leaf(row.kind) || wide || row.problem.is_some();
        self.part("CERTIFICATE", wide, |row| wanted(row) && !is_authority(row))
    }

    fn text(&self, wide: bool) -> String {
        let authorities = self.part("CERTIFICATE AUTHORITY", wide, is_authority);
        [self.table(wide), authorities]
            .iter()
            .filter(|part| !part.is_empty())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn is_authority(row: &CertificateRow) -> bool {
    row.kind == CertificateKind::Authority
}

const fn is_leaf(kind: CertificateKind) -> bool {
    !matches!(kind, CertificateKind::Authority | CertificateKind::Chain | CertificateKind::KubeconfigAuthority)
}

impl InspectReport {
    fn part(&self, title: &'static str, wide: bool, wanted: impl Fn(&CertificateRow) -> bool) -> Table {
        let rows = || self.certificates.iter().filter(|row| wanted(&row.certificate));
        let on_nodes = self.certificates.iter().any(|row| row.node.is_some());
        let problems = rows().any(|row| row.certificate.problem.is_some());
        let columns: Vec<(&str, Cell)> = COLUMNS
            .iter()
            .filter(|(head, only_wide, _)| match *head {
                "NODE" => on_nodes,
                "PROBLEM" => problems,
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
const COLUMNS: [(&str, bool, Cell); 11] = [
    ("NODE", false, |row, _, _| row.node.clone().unwrap_or_default()),
    ("CERTIFICATE", false, |row, _, _| row.name.clone()),
    ("EXPIRES", false, expires),
    ("RESIDUAL-TIME", false, |row, now, _| residual(&row.certificate, now)),
    ("CA", false, |row, _, _| row.signed_by.clone().unwrap_or_else(|| row.certificate.issuer.clone())),
    ("CAVERSION", true, |row, _, _| row.ca_version.map(|version| version.to_string()).unwrap_or_default()),
    ("STATE", true, |row, _, _| row.state.iter().map(|seen| seen.word()).collect::<Vec<_>>().join(", ")),
    ("SUBJECT", true, |row, _, _| row.certificate.subject.clone()),
    ("KEY", true, |row, _, _| row.certificate.key_algorithm.clone()),
    ("PATH", true, |row, _, _| row.certificate.path.clone()),
    ("PROBLEM", false, |row, _, _| row.certificate.problem.clone().unwrap_or_default()),
];

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
