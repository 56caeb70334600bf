//! Certificates of files given by name: a kubeconfig or PEM.
#![expect(clippy::disallowed_methods, reason = "it reads the files named on the command line")]

use std::path::{Path, PathBuf};

use crate::pki::{Certificate, Kubeconfig};
use crate::plan::row::issuer_of;
use crate::plan::{CertificateKind, CertificateRow};
use crate::ui::inspect::InspectRow;
use zeroize::Zeroizing;

/// Why a file gave nothing; also how such a row is found again.
const UNREADABLE: &str = "cannot be read: ";

/// The CAs in all of these files, against which issuers are looked for.
pub(super) fn authorities(files: &[PathBuf]) -> Vec<Certificate> {
    let certificates = files.iter().filter_map(|file| read(file).ok()).flat_map(|text| match kubeconfig(&text) {
        Some(conf) => conf.ca_data().unwrap_or_default(),
        None => Certificate::each_from_pem(&text).into_iter().flatten().collect(),
    });
    certificates.filter(Certificate::is_ca).collect()
}

/// The rows of one file; a file that cannot be read is one row with a problem.
pub(super) fn rows(file: &Path, known: &[Certificate]) -> Vec<CertificateRow> {
    let path = file.display().to_string();
    let text = match read(file) {
        Ok(text) => text,
        Err(error) => {
            return vec![CertificateRow::broken(&path, 0, CertificateKind::Leaf, format!("{UNREADABLE}{error}"))];
        }
    };
    match kubeconfig(&text) {
        Some(conf) => kubeconfig_rows(&path, &conf, known),
        None => pem_rows(&path, &text, known),
    }
}

/// True for the row of a named file that could not be opened.
pub(super) fn is_unreadable(row: &InspectRow, files: &[PathBuf]) -> bool {
    let problem = row.certificate.problem.as_deref().unwrap_or_default();
    problem.starts_with(UNREADABLE) && files.iter().any(|file| file.display().to_string() == row.certificate.path)
}

fn read(file: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    std::fs::read(file).map(Zeroizing::new)
}

fn kubeconfig(text: &[u8]) -> Option<Kubeconfig> {
    Kubeconfig::parse(std::str::from_utf8(text).ok()?).ok()
}

fn kubeconfig_rows(path: &str, conf: &Kubeconfig, known: &[Certificate]) -> Vec<CertificateRow> {
    let mut rows = Vec::new();
    if let Some(client) = conf.client_certificate() {
        let issuer = issuer_of(&client, known);
        rows.push(CertificateRow::new(path, 0, CertificateKind::KubeconfigClient, &client, issuer));
    } else {
        let why = conf.client_certificate_file().map_or_else(
            || "holds no client certificate".to_owned(),
            |file| format!("its client certificate is the file {file}"),
        );
        rows.push(CertificateRow::broken(path, 0, CertificateKind::KubeconfigClient, why));
    }
    match conf.ca_data() {
        Ok(trust) => rows.extend(trust.iter().enumerate().map(|(index, ca)| {
            CertificateRow::new(path, index, CertificateKind::KubeconfigAuthority, ca, issuer_of(ca, known))
        })),
        Err(error) => {
            rows.push(CertificateRow::broken(path, 0, CertificateKind::KubeconfigAuthority, error.to_string()))
        }
    }
    rows
}

fn pem_rows(path: &str, text: &[u8], known: &[Certificate]) -> Vec<CertificateRow> {
    let blocks = Certificate::each_from_pem(text);
    if blocks.is_empty() {
        let nothing = "holds neither a PEM certificate nor a kubeconfig".to_owned();
        return vec![CertificateRow::broken(path, 0, CertificateKind::Leaf, nothing)];
    }
    let row = |(index, block)| match block {
        Ok(certificate) => {
            let certificate: Certificate = certificate;
            let kind = if certificate.is_ca() { CertificateKind::Authority } else { CertificateKind::Leaf };
            CertificateRow::new(path, index, kind, &certificate, issuer_of(&certificate, known))
        }
        Err(error) => {
            let error: crate::pki::PkiError = error;
            CertificateRow::broken(path, index, CertificateKind::Leaf, error.to_string())
        }
    };
    blocks.into_iter().enumerate().map(row).collect()
}
