//! PEM (RFC 7468) in and out: block by block, so that one broken block hides no other.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem::Finder;
use rustls_pki_types::pem::{PemObject, SectionKind};

use super::PkiError;

const BEGIN: &[u8] = b"-----BEGIN ";
/// Columns of a line (RFC 7468 section 2).
const COLUMNS: usize = 64;
/// Made once: to make it costs as much as to find the end of one certificate.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n-----END CERTIFICATE-----"));

/// One `-----BEGIN` and what follows it up to the next.
pub(super) struct Block<'a> {
    /// Position in the file, from 1.
    pub(super) number: usize,
    /// What stands between `-----BEGIN ` and the dashes.
    pub(super) label: &'a str,
    text: &'a [u8],
}

impl Block<'_> {
    /// The bytes inside; `None` for a label that is of no interest here (EC PARAMETERS, text).
    ///
    /// # Errors
    /// Base64 or armour that cannot be read.
    pub(super) fn decode(&self) -> Result<Option<(SectionKind, Vec<u8>)>, PkiError> {
        if let Some(der) = self.plain_certificate() {
            return Ok(Some((SectionKind::Certificate, der)));
        }
        match <(SectionKind, Vec<u8>)>::pem_slice_iter(self.text).next() {
            None => Ok(None),
            Some(Ok(section)) => Ok(Some(section)),
            Some(Err(error)) => Err(PkiError::PemBlock { block: self.number, reason: describe(&error) }),
        }
    }

    /// A certificate as everybody writes it, at half the cost: there may be ten thousand. `None`: it has to be looked at more closely.
    fn plain_certificate(&self) -> Option<Vec<u8>> {
        let rest = self.text.strip_prefix(b"-----BEGIN CERTIFICATE-----\n")?;
        let lines = rest.get(..END.find(rest)?)?;
        let mut body = Vec::with_capacity(lines.len());
        for line in lines.chunks(COLUMNS + 1) {
            // A line that is shorter than the others and not the last leaves its line feed in the body, which is no base64.
            body.extend_from_slice(line.get(..COLUMNS).filter(|_| line.ends_with(b"\n")).unwrap_or(line));
        }
        STANDARD.decode(body).ok()
    }

    /// True for OpenSSL's old way to encrypt a key (RFC 1421 headers inside the block).
    pub(super) fn has_encryption_header(&self) -> bool {
        memchr::memmem::find(self.text, b"Proc-Type: 4,ENCRYPTED").is_some()
    }
}

/// Cuts a file where a block begins. The parser below would join an unfinished block with the next one.
pub(super) fn blocks(pem: &[u8]) -> Vec<Block<'_>> {
    let at_line_start = |&at: &usize| at == 0 || matches!(pem.get(at - 1), Some(b'\n' | b'\r'));
    let starts: Vec<usize> = memchr::memmem::find_iter(pem, BEGIN).filter(at_line_start).collect();
    let ends = starts.iter().skip(1).copied().chain([pem.len()]);
    let pieces = starts.iter().zip(ends).enumerate();
    pieces
        .filter_map(|(index, (&start, end))| {
            let text = pem.get(start..end)?;
            Some(Block { number: index + 1, label: label(text), text })
        })
        .collect()
}

fn label(text: &[u8]) -> &str {
    let rest = text.get(BEGIN.len()..).unwrap_or_default();
    let line = rest.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    std::str::from_utf8(line).unwrap_or_default().trim_end().trim_end_matches('-')
}

fn describe(error: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { .. } => "its END line is missing".into(),
        Error::IllegalSectionStart { .. } => "its BEGIN line is malformed".into(),
        Error::Base64Decode(_) => "its content is not base64".into(),
        _ => "it cannot be decoded".into(),
    }
}

/// Writes a block as Go's `encoding/pem` does: 64 columns, LF.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let body = zeroize::Zeroizing::new(STANDARD.encode(der));
    // One allocation of the final size: a String that grows would leave copies of a key behind.
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
