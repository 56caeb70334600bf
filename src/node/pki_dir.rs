//! Everything that a node's certificate files say, in one reading.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::addresses::OwnApiserver;
use super::error::in_full;
use super::layout::{CA_KEY, KUBELET_CLIENT, KUBELET_SERVER, Layout, PKI_FILES, SIGNER};
use super::whole_file;
use super::{Authorities, authorities::read_key, facts, manifest};
use crate::pki::{CaId, Certificate, Kubeconfig, PrivateKey};
use crate::plan::row::{CertificateKind, CertificateRow, Fault, issuer_of};
use crate::plan::{Component, Conf, ConfState, DiskState, Leaf, LeafState, NodeFacts};

/// What stands in the files of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskReading {
    /// What decisions are made on.
    pub state: DiskState,
    /// Every certificate, for people.
    pub rows: Vec<CertificateRow>,
    /// What else the files say.
    pub facts: NodeFacts,
}

/// Reads every certificate file below the layout's root. `known` are CAs besides those on the node, for finding issuers.
/// A file that is absent is left out; a broken one is a row with a problem and hides nothing else.
#[must_use]
pub fn read_disk(layout: &Layout, known: &[Certificate]) -> DiskReading {
    let authorities = Authorities::open(layout);
    let mut cas: Vec<Certificate> = authorities.certificates().cloned().collect();
    cas.extend(known.iter().cloned());
    for other in ["etcd/ca.crt", "front-proxy-ca.crt"] {
        let path = layout.path("/etc/kubernetes/pki").join(other);
        cas.extend(Certificate::each_from_pem(&whole_file::read(&path).unwrap_or_default()).into_iter().flatten());
    }
    let apiserver = OwnApiserver::read(layout);
    let reading = DiskReading { facts: facts::read(layout), ..DiskReading::default() };
    let mut reader = Reader { layout, apiserver, cas, issuers: HashMap::new(), reading };
    reader.pki();
    reader.authority_state(&authorities);
    Conf::ALL.into_iter().for_each(|conf| reader.conf(conf));
    reader.kubelet();
    reader.reading
}

struct Reader<'a> {
    layout: &'a Layout,
    apiserver: OwnApiserver,
    cas: Vec<Certificate>,
    /// Who signed what: a check of a signature costs more than all the rest that is done with a certificate.
    issuers: HashMap<Certificate, Option<CaId>>,
    reading: DiskReading,
}

impl Reader<'_> {
    /// The pairs under `pki/`.
    fn pki(&mut self) {
        for (file, key) in PKI_FILES {
            let named = format!("/etc/kubernetes/pki/{file}");
            let is_authority = file.ends_with("ca.crt");
            let kind = if is_authority { CertificateKind::Authority } else { CertificateKind::Leaf };
            let Some(pem) = self.bytes(&named, kind) else { continue };
            let certificates = self.rows_of(&named, &pem, kind);
            let key = self.check_key(&named, &certificates, &format!("/etc/kubernetes/pki/{key}"));
            if file == "ca.crt" {
                self.reading.state.ca_key = key;
                self.reading.state.ca_bundle = certificates.iter().map(Certificate::ca_id).collect();
            }
            let leaf = Leaf::ALL.into_iter().find(|leaf| file.strip_suffix(".crt") == Some(leaf.name()));
            if let (Some(leaf), Some(state)) = (leaf, self.leaf_state(&certificates)) {
                self.reading.state.leaves.insert(leaf, state);
            }
        }
    }

    /// Which CA keys are where, and what kube-controller-manager signs with.
    fn authority_state(&mut self, authorities: &Authorities) {
        self.reading.state.kept = authorities.kept();
        // A key without its ca.crt was not looked at above.
        if self.reading.state.ca_key.is_none() {
            self.reading.state.ca_key = self.key_id(CA_KEY);
        }
        if let Ok(pem) = whole_file::read(&self.layout.path(SIGNER)) {
            let certificate = Certificate::first_from_pem(&pem).ok();
            // The pair counts only when both halves are of one CA.
            self.reading.state.signer_file =
                certificate.map(|ca| ca.ca_id()).filter(|id| self.key_id(SIGNER).as_ref() == Some(id));
        }
        let manifest = self.layout.manifest(Component::KubeControllerManager);
        let yaml = whole_file::text(&manifest);
        self.reading.state.own_signer = manifest::has_own_signer(&yaml).unwrap_or(false);
    }

    fn conf(&mut self, conf: Conf) {
        let named = format!("/etc/kubernetes/{}", conf.file_name());
        let kind = CertificateKind::KubeconfigClient;
        let Some(text) = self.bytes(&named, kind) else { return };
        let parsed = match Kubeconfig::parse(&String::from_utf8_lossy(&text)) {
            Ok(parsed) => parsed,
            Err(error) => return self.broken(&named, 0, kind, error.to_string()),
        };
        let own_server = self.apiserver.is(parsed.server());
        if let Some(host) = facts::server_host(&parsed) {
            self.reading.facts.servers.insert(conf.file_name().to_owned(), host);
        }
        let mut state = ConfState { own_server, ..ConfState::default() };
        if let Some(client) = parsed.client_certificate() {
            state.issuer = self.issuer(&client);
            state.not_after = client.not_after().as_second();
            self.row(&named, 0, kind, &client);
            self.last_key_mode(&named);
            if parsed.client_key().is_none_or(|key| !key.matches(&client)) {
                self.problem(Fault::KeyMismatch, "its private key does not belong to the client certificate");
            }
        } else if parsed.client_certificate_pem().is_some() {
            self.broken(&named, 0, kind, "its client-certificate-data is no certificate".to_owned());
        }
        match parsed.ca_data() {
            Ok(trust) => {
                for (index, ca) in trust.iter().enumerate() {
                    self.row(&named, index, CertificateKind::KubeconfigAuthority, ca);
                }
                state.trust = trust.iter().map(Certificate::ca_id).collect();
            }
            Err(error) => self.broken(&named, 0, CertificateKind::KubeconfigAuthority, error.to_string()),
        }
        self.reading.rows.iter_mut().filter(|row| row.path == named).for_each(|row| row.stands_in(&parsed));
        self.reading.state.confs.insert(conf, state);
    }

    /// `/var/lib/kubelet/pki`.
    fn kubelet(&mut self) {
        if let Some(pem) = self.bytes(KUBELET_CLIENT, CertificateKind::KubeletClient) {
            let certificates = self.rows_of(KUBELET_CLIENT, &pem, CertificateKind::KubeletClient);
            self.check_key(KUBELET_CLIENT, &certificates, KUBELET_CLIENT);
            if let Some(client) = certificates.first() {
                self.reading.state.kubelet_client = self.issuer(client);
                self.reading.state.kubelet_client_not_after = client.not_after().as_second();
            }
        }
        let own = ("/var/lib/kubelet/pki/kubelet.crt", "/var/lib/kubelet/pki/kubelet.key");
        for (named, key) in [own, (KUBELET_SERVER, KUBELET_SERVER)] {
            if let Some(pem) = self.bytes(named, CertificateKind::KubeletServing) {
                let certificates = self.rows_of(named, &pem, CertificateKind::KubeletServing);
                self.check_key(named, &certificates, key);
                if named == KUBELET_SERVER {
                    self.reading.state.kubelet_serving =
                        self.leaf_state(&certificates).filter(|leaf| leaf.issuer.is_some());
                }
            }
        }
    }

    /// The first certificate of a file and those that follow it.
    fn leaf_state(&mut self, certificates: &[Certificate]) -> Option<LeafState> {
        let (first, rest) = certificates.split_first()?;
        Some(LeafState {
            issuer: self.issuer(first),
            vouched_by: rest.iter().filter_map(|ca| self.issuer(ca)).collect(),
            not_after: first.not_after().as_second(),
        })
    }

    fn issuer(&mut self, certificate: &Certificate) -> Option<CaId> {
        let find = || issuer_of(certificate, &self.cas);
        self.issuers.entry(certificate.clone()).or_insert_with(find).clone()
    }

    /// The bytes of a file; `None` without a row when it is absent, with one when it cannot be read.
    fn bytes(&mut self, named: &str, kind: CertificateKind) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        let path = self.layout.resolve(&self.layout.path(named));
        match whole_file::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.broken(named, 0, kind, format!("cannot be read: {error}"));
                None
            }
        }
    }

    /// One row per certificate; a CA behind a leaf is part of its chain.
    fn rows_of(&mut self, named: &str, pem: &[u8], kind: CertificateKind) -> Vec<Certificate> {
        let mut good = Vec::new();
        let all = Certificate::each_from_pem(pem);
        if all.is_empty() {
            self.broken(named, 0, kind, "holds no certificate".to_owned());
        }
        for (index, certificate) in all.into_iter().enumerate() {
            let behind = index > 0 && kind != CertificateKind::Authority;
            let kind = if behind { CertificateKind::Chain } else { kind };
            match certificate {
                Ok(certificate) => {
                    self.row(named, index, kind, &certificate);
                    good.push(certificate);
                }
                Err(error) => self.broken(named, index, kind, error.to_string()),
            }
        }
        good
    }

    fn row(&mut self, named: &str, index: usize, kind: CertificateKind, certificate: &Certificate) {
        let issuer = self.issuer(certificate);
        self.reading.rows.push(CertificateRow::new(named, index, kind, certificate.clone(), issuer));
    }

    fn broken(&mut self, named: &str, index: usize, kind: CertificateKind, problem: String) {
        self.reading.rows.push(CertificateRow::broken(named, index, kind, problem));
    }

    /// Notes the key's mode and whether it belongs to a certificate of `named` (in a bundle: to any of them). Returns whose key it is
    /// when it stands there itself: nobody works with a CA's key behind a link.
    fn check_key(&mut self, named: &str, certificates: &[Certificate], key: &str) -> Option<CaId> {
        let place = self.layout.path(key);
        let path = self.layout.resolve(&place);
        if !path.exists() {
            let lacks =
                |row: &&mut CertificateRow| row.path == named && row.index == 0 && row.kind == CertificateKind::Leaf;
            if let Some(row) = self.reading.rows.iter_mut().find(lacks) {
                row.fault.get_or_insert(Fault::KeyMissing);
            }
            return None;
        }
        let mode = octal_mode(&path);
        let key = read_key(&path, key);
        let fits = |key: &PrivateKey| certificates.iter().any(|certificate| key.matches(certificate));
        let problem = match &key {
            Ok(Some(key)) if fits(key) => None,
            Ok(_) => Some((Fault::KeyMismatch, "its private key belongs to another certificate".to_owned())),
            Err(error) => Some((Fault::KeyUnreadable, in_full(error))),
        };
        if let Some(row) = self.reading.rows.iter_mut().find(|row| row.path == named && row.index == 0) {
            row.key_mode = mode;
            if let (None, Some((fault, problem))) = (&row.problem, problem) {
                (row.fault, row.problem) = (Some(fault), Some(problem));
            }
        }
        key.ok().flatten().filter(|_| path == place).map(|key| key.ca_id())
    }

    fn last_key_mode(&mut self, named: &str) {
        let mode = octal_mode(&self.layout.path(named));
        if let Some(row) = self.reading.rows.last_mut() {
            row.key_mode = mode;
        }
    }

    fn problem(&mut self, fault: Fault, text: &str) {
        if let Some(row) = self.reading.rows.last_mut() {
            row.fault.get_or_insert(fault);
            row.problem.get_or_insert_with(|| text.to_owned());
        }
    }

    fn key_id(&self, named: &str) -> Option<CaId> {
        read_key(&self.layout.path(named), named).ok().flatten().map(|key| key.ca_id())
    }
}

fn octal_mode(path: &Path) -> Option<String> {
    fs::metadata(path).ok().map(|data| format!("{:04o}", data.permissions().mode() & 0o7777))
}
