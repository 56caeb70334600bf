//! One certificate with what is known about it beyond its file: where it is seen, and which generation signed it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::pki::CaId;
use crate::plan::{CertificateKind, CertificateRow, ConfState, NodeState, ProcessState};

/// Where a certificate is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Presence {
    /// In a file.
    OnDisk,
    /// In an object of the API.
    InCluster,
    /// Read by a process that does not read it again.
    Loaded,
    /// Shown in a handshake.
    Served,
}

impl Presence {
    /// As people say it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::OnDisk => "on disk",
            Self::InCluster => "in cluster",
            Self::Loaded => "loaded",
            Self::Served => "served",
        }
    }
}

/// One certificate with what is known about it beyond its file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InspectRow {
    /// The node; absent for files given by name, objects and endpoints.
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
    /// True when the key of the CA that signed it, or of the CA itself, is not on this control-plane node: nobody can renew it here
    /// (`kubeadm certs check-expiration`). Absent for what the kubelet renews by itself, and outside control-plane nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub externally_managed: Option<bool>,
    /// Where it is seen.
    pub state: BTreeSet<Presence>,
    /// Other objects that hold the very same certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// The certificate.
    #[serde(flatten)]
    pub certificate: CertificateRow,
}

impl InspectRow {
    /// Node and file or object, as findings name it.
    #[must_use]
    pub fn place(&self) -> (Option<&str>, String) {
        let row = &self.certificate;
        let block = if row.index > 0 { format!(" [{}]", row.index) } else { String::new() };
        (self.node.as_deref(), format!("{}{block}", row.path))
    }

    /// The name after which `certctl renew` would ask.
    pub(super) fn is_kubeadms(&self) -> bool {
        self.certificate.path.starts_with("/etc/kubernetes/")
    }
}

/// The rows of one node. `state` is what its agent reports, `versions` the cluster's generations; both are absent offline.
#[must_use]
pub fn rows_of(
    node: Option<&str>,
    certificates: Vec<CertificateRow>,
    state: Option<&NodeState>,
    versions: &BTreeMap<CaId, u32>,
) -> Vec<InspectRow> {
    let authorities: BTreeMap<CaId, String> = certificates
        .iter()
        .filter(|row| row.kind == CertificateKind::Authority && kubeadm_name(&row.path) != row.path)
        .filter_map(|row| Some((row.ca_id.clone()?, kubeadm_name(&row.path).into_owned())))
        .collect();
    let row = |certificate: CertificateRow| InspectRow {
        node: node.map(str::to_owned),
        name: name_of(&certificate),
        signed_by: certificate.issuer_id.as_ref().and_then(|ca| authorities.get(ca).cloned()),
        ca_version: generation(&certificate, versions),
        externally_managed: None,
        state: presence(&certificate, state),
        also: Vec::new(),
        certificate,
    };
    certificates.into_iter().map(row).collect()
}

/// Says of the rows of one control-plane node which are managed elsewhere: those of a CA without its key
/// (`cmd/kubeadm/app/phases/certs/certs.go`, `UsingExternalCA`).
pub(super) fn tell_external(rows: &mut [InspectRow]) {
    let keys: BTreeMap<String, bool> = rows
        .iter()
        .filter(|row| row.certificate.kind == CertificateKind::Authority && row.certificate.index == 0)
        .map(|row| (row.name.clone(), row.certificate.key_mode.is_some()))
        .collect();
    for row in rows.iter_mut().filter(|row| row.is_kubeadms()) {
        let authority = match row.certificate.kind {
            CertificateKind::Authority => Some(kubeadm_name(&row.certificate.path).into_owned()),
            CertificateKind::Leaf | CertificateKind::KubeconfigClient => row.signed_by.clone(),
            _ => None,
        };
        row.externally_managed = authority.and_then(|name| keys.get(&name)).map(|has_key| !has_key);
    }
}

/// Trust bundles with the same content become one: a cluster has one kube-root-ca.crt per namespace. `paths` are in the order wanted.
#[must_use]
pub fn merged_trust(bundles: Vec<Vec<InspectRow>>) -> Vec<InspectRow> {
    let mut merged: Vec<Vec<InspectRow>> = Vec::new();
    let mut known: BTreeMap<(String, Vec<String>), usize> = BTreeMap::new();
    for bundle in bundles {
        let Some(first) = bundle.first() else { continue };
        let kind = first.certificate.path.split('/').next().unwrap_or_default().to_owned();
        let path = first.certificate.path.clone();
        // What cannot be read is told from object to object.
        let content = bundle.iter().map(|row| match &row.certificate.problem {
            None => row.certificate.fingerprint.clone(),
            Some(_) => row.certificate.path.clone(),
        });
        let place = *known.entry((kind, content.collect())).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(same) => same.iter_mut().for_each(|row| row.also.push(path.clone())),
            None => merged.push(bundle),
        }
    }
    let mut rows: Vec<InspectRow> = merged.into_iter().flatten().collect();
    for row in &mut rows {
        if !row.also.is_empty() {
            row.name = format!("{} (+{} more)", row.name, row.also.len());
        }
    }
    rows
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
        _ => name.into_owned(),
    }
}

/// The name in `cmd/kubeadm/app/phases/certs/renewal/manager.go` for a path of a node; other paths name themselves.
#[must_use]
pub fn kubeadm_name(path: &str) -> Cow<'_, str> {
    if let Some(file) = path.strip_prefix("/etc/kubernetes/pki/") {
        return file.trim_end_matches(".crt").replace('/', "-").into();
    }
    if let Some(file) = path.strip_prefix("/var/lib/kubelet/pki/") {
        return file.trim_end_matches(".pem").trim_end_matches(".crt").trim_end_matches("-current").into();
    }
    path.strip_prefix("/etc/kubernetes/").unwrap_or(path).into()
}

fn presence(row: &CertificateRow, state: Option<&NodeState>) -> BTreeSet<Presence> {
    let mut seen = BTreeSet::from([match row.kind {
        CertificateKind::Trust => Presence::InCluster,
        CertificateKind::Served => Presence::Served,
        _ => Presence::OnDisk,
    }]);
    let Some(state) = state else { return seen };
    if has_loaded(row, state) == Some(true) {
        seen.insert(Presence::Loaded);
    }
    let serves = |serial: &str| !serial.is_empty() && serial == row.serial;
    if state.endpoints.values().any(|endpoint| serves(&endpoint.serial)) {
        seen.insert(Presence::Served);
    }
    seen
}

/// The process that reads this file once, at its start, and runs.
#[must_use]
pub fn reads_once(row: &CertificateRow, state: &NodeState) -> Option<&'static str> {
    reader(row, state).map(|(name, _)| name)
}

/// Who reads this file once, at its start.
pub(super) fn reader<'a>(row: &CertificateRow, state: &'a NodeState) -> Option<(&'static str, &'a ProcessState)> {
    let loaded = &state.loaded;
    let kubelet = matches!(row.kind, CertificateKind::KubeletClient | CertificateKind::KubeletServing);
    let (name, process) = match row.path.as_str() {
        "/etc/kubernetes/controller-manager.conf" | "/etc/kubernetes/pki/ca.crt" => {
            ("kube-controller-manager", &loaded.controller_manager)
        }
        "/etc/kubernetes/scheduler.conf" => ("kube-scheduler", &loaded.scheduler),
        "/etc/kubernetes/kubelet.conf" => ("kubelet", &loaded.kubelet),
        _ if kubelet => ("kubelet", &loaded.kubelet),
        _ => return None,
    };
    process.as_ref().map(|process| (name, process))
}

/// Whether the process that reads this file has this certificate; `None` where nobody knows. What is in memory is reported by CA and expiry,
/// which is enough to tell generations and renewals apart.
pub(super) fn has_loaded(row: &CertificateRow, state: &NodeState) -> Option<bool> {
    let (_, process) = reader(row, state)?;
    let client = |conf: &ConfState| conf.issuer == row.issuer_id && conf.not_after == row.not_after_seconds;
    let trusts = |trust: &[CaId]| row.ca_id.as_ref().is_some_and(|ca| trust.contains(ca));
    match row.kind {
        CertificateKind::Authority => (!process.root_ca.is_empty()).then(|| trusts(&process.root_ca)),
        CertificateKind::KubeconfigAuthority => process.conf.as_ref().map(|conf| trusts(&conf.trust)),
        CertificateKind::KubeconfigClient | CertificateKind::KubeletClient => process.conf.as_ref().map(client),
        CertificateKind::KubeletServing => {
            process.serving.as_ref().map(|held| held.issuer == row.issuer_id && held.not_after == row.not_after_seconds)
        }
        _ => None,
    }
}
