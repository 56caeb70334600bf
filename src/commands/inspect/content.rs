//! What stands in something given by name: a kubeconfig or PEM file, a folder of them, standard input, a TLS endpoint.
#![expect(clippy::disallowed_methods, reason = "it reads the files named on the command line")]

use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::node::read_whole;
use crate::pki::{Certificate, Kubeconfig, PkiError, PublicHalf};
use crate::plan::row::issuer_of;
use crate::plan::{CertificateKind, CertificateRow, Fault};

/// Longest file read, bytes: ten thousand certificates have eight million.
const LONGEST: u64 = 32 << 20;
/// Longest file taken for a kubeconfig, bytes. YAML takes many times its size in memory, and a thousand clusters have four million bytes.
const LARGEST_KUBECONFIG: usize = 4 << 20;
/// Folders within folders.
const DEEPEST: u8 = 16;

/// One source of certificates, read once.
pub(super) struct Source {
    /// As it was named.
    pub(super) name: String,
    pub(super) content: Content,
}

pub(super) enum Content {
    Kubeconfig {
        conf: Box<Kubeconfig>,
        mode: Option<u32>,
    },
    Pem {
        certificates: Vec<Result<Certificate, PkiError>>,
        keys: Vec<PublicHalf>,
    },
    Served(Vec<Certificate>),
    /// Why it gave nothing.
    Unread(String),
    /// An endpoint that shows no certificate, and why.
    Silent(String),
}

impl Source {
    /// A file, or every file of a folder that holds a certificate.
    pub(super) fn of_path(path: &Path) -> Vec<Self> {
        if !path.is_dir() {
            return vec![Self::of_bytes(path, bytes(path))];
        }
        let mut files = Vec::new();
        files_below(path, DEEPEST, &mut files);
        let found: Vec<Self> =
            files.iter().map(|file| Self::of_bytes(file, regular(file))).filter(Self::is_something).collect();
        let nothing = || vec![Self::unread(path.display().to_string(), "no file in it holds a certificate".to_owned())];
        if found.is_empty() { nothing() } else { found }
    }

    /// Standard input.
    pub(super) fn of_stdin() -> Self {
        let mut bytes = Zeroizing::new(Vec::new());
        let name = "standard input".to_owned();
        match std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes) {
            Ok(length) if length as u64 > LONGEST => Self::unread(name, format!("it has more than {LONGEST} bytes")),
            Ok(_) => Self { name, content: Content::of(bytes, None) },
            Err(error) => Self::unread(name, error.to_string()),
        }
    }

    pub(super) const fn unread(name: String, why: String) -> Self {
        Self { name, content: Content::Unread(why) }
    }

    fn of_bytes(path: &Path, read: std::io::Result<Read>) -> Self {
        let name = path.display().to_string();
        match read {
            Ok((bytes, mode)) => Self { name, content: Content::of(bytes, mode) },
            Err(error) => Self::unread(name, error.to_string()),
        }
    }

    /// In a folder: what could not be read counts, what is no certificate does not.
    fn is_something(&self) -> bool {
        !matches!(&self.content, Content::Pem { certificates, .. } if certificates.is_empty())
    }

    /// The CAs in it, against which issuers are looked for.
    pub(super) fn authorities(&self) -> Vec<Certificate> {
        let all = match &self.content {
            Content::Kubeconfig { conf, .. } => conf.ca_data().unwrap_or_default(),
            Content::Pem { certificates, .. } => certificates.iter().flatten().cloned().collect(),
            Content::Served(chain) => chain.clone(),
            Content::Unread(_) | Content::Silent(_) => Vec::new(),
        };
        all.into_iter().filter(Certificate::is_ca).collect()
    }

    /// A row per certificate; what gives none is one row with a problem.
    pub(super) fn into_rows(self, known: &[Certificate]) -> Vec<CertificateRow> {
        let path = self.name.as_str();
        match self.content {
            Content::Kubeconfig { conf, mode } => kubeconfig_rows(path, &conf, mode, known),
            Content::Pem { certificates, keys } => pem_rows(path, certificates, &keys, known),
            Content::Served(chain) => (0..)
                .zip(chain)
                .map(|(index, certificate)| {
                    let issuer = issuer_of(&certificate, known);
                    CertificateRow::new(path, index, CertificateKind::Served, certificate, issuer)
                })
                .collect(),
            Content::Unread(why) => {
                vec![CertificateRow::broken(path, 0, CertificateKind::Leaf, format!("cannot be read: {why}"))]
            }
            Content::Silent(why) => vec![CertificateRow::broken(path, 0, CertificateKind::Served, why)],
        }
    }
}

impl Content {
    fn of(bytes: Zeroizing<Vec<u8>>, mode: Option<u32>) -> Self {
        let certificates = Certificate::each_from_pem(&bytes);
        if certificates.is_empty()
            && bytes.len() <= LARGEST_KUBECONFIG
            && let Ok(text) = std::str::from_utf8(&bytes)
            && let Ok(conf) = Kubeconfig::parse(text)
        {
            return Self::Kubeconfig { conf: Box::new(conf), mode };
        }
        if certificates.is_empty()
            && let Ok(certificate) = Certificate::from_der(&bytes)
        {
            return Self::Pem { certificates: vec![Ok(certificate)], keys: Vec::new() };
        }
        let keys = PublicHalf::each_from_pem(&bytes);
        if !certificates.is_empty() {
            let_go(bytes);
        }
        Self::Pem { certificates, keys }
    }
}

/// To wipe ten thousand certificates takes longer than to decode them: a bundle too long for a kubeconfig is let go as it is if no key stands in
/// it.
fn let_go(mut bytes: Zeroizing<Vec<u8>>) {
    if bytes.len() > LARGEST_KUBECONFIG && memchr::memmem::find(&bytes, b"PRIVATE KEY").is_none() {
        drop(std::mem::take(&mut *bytes));
    }
}

/// The bytes of a file, and its mode when it is one.
type Read = (Zeroizing<Vec<u8>>, Option<u32>);

/// A named pipe would wait for ever for somebody who writes. The pipe of a shell's `<(…)` is a link to one that is open already.
fn bytes(path: &Path) -> std::io::Result<Read> {
    // Before it is opened for the first time: that would let its writer go, who then finds nobody.
    if leads_to_pipe(path) {
        let mut bytes = Zeroizing::new(Vec::new());
        std::fs::File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
        return Ok((bytes, None));
    }
    regular(path)
}

fn regular(path: &Path) -> std::io::Result<Read> {
    read_whole(path, LONGEST).map(|(bytes, mode)| (bytes, Some(mode)))
}

fn leads_to_pipe(link: &Path) -> bool {
    std::fs::symlink_metadata(link).is_ok_and(|data| data.is_symlink())
        && std::fs::metadata(link).is_ok_and(|data| data.file_type().is_fifo())
}

/// Every file below a folder in the order of names; links to folders are not followed.
fn files_below(folder: &Path, depth: u8, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => files_below(&entry.path(), depth - 1, files),
            Ok(kind) if kind.is_file() || (kind.is_symlink() && entry.path().is_file()) => files.push(entry.path()),
            _ => {}
        }
    }
}

fn kubeconfig_rows(path: &str, conf: &Kubeconfig, mode: Option<u32>, known: &[Certificate]) -> Vec<CertificateRow> {
    let mut rows = Vec::new();
    if let Some(client) = conf.client_certificate() {
        let issuer = issuer_of(&client, known);
        let mut row = CertificateRow::new(path, 0, CertificateKind::KubeconfigClient, client.clone(), issuer);
        if conf.client_key().is_some_and(|key| !key.matches(&client)) {
            row.fault = Some(Fault::KeyMismatch);
            row.problem = Some("its private key does not belong to the client certificate".to_owned());
        }
        row.key_mode = mode.filter(|_| conf.has_key_data()).map(|mode| format!("{mode:04o}"));
        rows.push(row);
    } else if conf.client_certificate_pem().is_some() {
        let why = "its client-certificate-data is no certificate".to_owned();
        rows.push(CertificateRow::broken(path, 0, CertificateKind::KubeconfigClient, why));
    } else {
        let why = conf.client_certificate_file().map_or_else(
            || "holds no client certificate".to_owned(),
            |file| format!("its client certificate is the file {file}"),
        );
        let mut row = CertificateRow::broken(path, 0, CertificateKind::KubeconfigClient, why);
        row.fault = Some(Fault::NoCertificate);
        rows.push(row);
    }
    match conf.ca_data() {
        Ok(trust) => rows.extend(trust.into_iter().enumerate().map(|(index, ca)| {
            let issuer = issuer_of(&ca, known);
            CertificateRow::new(path, index, CertificateKind::KubeconfigAuthority, ca, issuer)
        })),
        Err(error) => {
            rows.push(CertificateRow::broken(path, 0, CertificateKind::KubeconfigAuthority, error.to_string()))
        }
    }
    rows.iter_mut().for_each(|row| row.stands_in(conf));
    rows
}

fn pem_rows(
    path: &str,
    certificates: Vec<Result<Certificate, PkiError>>,
    keys: &[PublicHalf],
    known: &[Certificate],
) -> Vec<CertificateRow> {
    if certificates.is_empty() {
        let nothing = "holds neither a certificate nor a kubeconfig".to_owned();
        return vec![CertificateRow::broken(path, 0, CertificateKind::Leaf, nothing)];
    }
    let pairs = certificates.iter().flatten().any(|certificate| keys.iter().any(|key| key.matches(certificate)));
    let row = |(index, block): (usize, Result<Certificate, PkiError>)| match block {
        Ok(certificate) => {
            let kind = if certificate.is_ca() { CertificateKind::Authority } else { CertificateKind::Leaf };
            let issuer = issuer_of(&certificate, known);
            CertificateRow::new(path, index, kind, certificate, issuer)
        }
        Err(error) => CertificateRow::broken(path, index, CertificateKind::Leaf, error.to_string()),
    };
    let mut rows: Vec<CertificateRow> = certificates.into_iter().enumerate().map(row).collect();
    if let (Some(first), false, false) = (rows.first_mut(), keys.is_empty(), pairs) {
        first.fault.get_or_insert(Fault::KeyMismatch);
        first
            .problem
            .get_or_insert_with(|| "the private key in this file belongs to none of its certificates".to_owned());
    }
    rows
}
