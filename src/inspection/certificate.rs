//! What is wrong with a certificate whatever it is used for: its validity, its key, its signature.

use jiff::{SignedDuration, Timestamp};

use super::finding::about;
use super::{Finding, FindingId, InspectRow, NodeView, Severity};
use crate::plan::{CertificateKind, CertificateRow, Fault};

/// A leaf should have a month left, for there may be nobody who looks every day.
const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Replacing a CA is planned work.
const QUARTER: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How validity is measured.
pub(super) struct Measure<'a> {
    pub(super) within: Option<SignedDuration>,
    pub(super) now: Timestamp,
    pub(super) view: Option<&'a NodeView>,
}

pub(super) fn judge(row: &InspectRow, measure: &Measure<'_>, found: &mut Vec<Finding>) {
    let mut add = |severity, id, message: String, remedy: &str| {
        found.push(about(row.place(), severity, id, message, remedy));
    };
    fault(row, &mut add);
    if row.certificate.not_after.is_empty() {
        return;
    }
    validity(row, measure, &mut add);
    open_key(&row.certificate, &mut add);
    crypto(&row.certificate, &mut add);
    let authority = matches!(
        row.certificate.kind,
        CertificateKind::Authority | CertificateKind::KubeconfigAuthority | CertificateKind::Trust
    );
    if authority && row.certificate.ca_id.is_none() {
        let severity =
            if row.certificate.kind == CertificateKind::Authority { Severity::Error } else { Severity::Warning };
        let message = "is trusted as a CA, but its basic constraints do not say that it is one".to_owned();
        add(severity, FindingId::CaWithoutCaBit, message, "replace it by the certificate of the CA itself");
    }
}

fn fault(row: &InspectRow, add: &mut impl FnMut(Severity, FindingId, String, &str)) {
    let certificate = &row.certificate;
    if certificate.fault.is_none() && certificate.problem.is_none() {
        return;
    }
    let problem = certificate.problem.clone().unwrap_or_default();
    let renew = renew(row);
    match certificate.fault {
        // An agent of an older version reports the problem alone.
        Some(Fault::NoCertificate) => {}
        None if problem.is_empty() => {}
        None | Some(Fault::Unreadable) if certificate.not_after.is_empty() => {
            let remedy = match certificate.kind {
                CertificateKind::Served => "see whether the address is right, and what listens there",
                _ => "put the file back from a back-up, or have it made anew",
            };
            add(Severity::Error, FindingId::Unreadable, problem, remedy);
        }
        Some(Fault::KeyMissing) => {
            let message = "has no private key beside it".to_owned();
            add(Severity::Error, FindingId::KeyMissing, message, &renew);
        }
        Some(Fault::KeyUnreadable) => add(Severity::Error, FindingId::KeyUnreadable, problem, &renew),
        _ => add(Severity::Error, FindingId::KeyMismatch, problem, &renew),
    }
}

fn validity(row: &InspectRow, measure: &Measure<'_>, add: &mut impl FnMut(Severity, FindingId, String, &str)) {
    let certificate = &row.certificate;
    let now = measure.now.as_second();
    let (left, what) = (certificate.not_after_seconds - now, what(certificate));
    let not_before = certificate.not_before.parse::<Timestamp>().map_or(i64::MIN, Timestamp::as_second);
    // A kubelet's own serving certificate, and the CA that it made for it and put behind it, are verified by nobody and never renewed.
    let idle = match certificate.kind {
        CertificateKind::KubeletServing => certificate.issuer_id.is_none(),
        CertificateKind::Chain => certificate.path == "/var/lib/kubelet/pki/kubelet.crt",
        _ => false,
    };
    if left < 0 {
        let severity = if idle { Severity::Info } else { Severity::Error };
        add(severity, FindingId::Expired, format!("{what} expired at {}", certificate.not_after), &revive(row));
    } else if not_before > now {
        let message = format!("{what} is valid only from {}", certificate.not_before);
        add(
            Severity::Error,
            FindingId::NotYetValid,
            message,
            "compare the clocks of this machine and of the one that issued it",
        );
    } else if !idle && left < limit(row, measure, not_before) {
        let message = format!("{what} expires at {}, in {}", certificate.not_after, short(left));
        add(Severity::Warning, FindingId::Expiring, message, &renew(row));
    }
}

/// How many seconds must be left.
fn limit(row: &InspectRow, measure: &Measure<'_>, not_before: i64) -> i64 {
    if let Some(within) = measure.within {
        return within.as_secs();
    }
    let certificate = &row.certificate;
    let life = certificate.not_after_seconds.saturating_sub(not_before).max(0);
    // client-go renews between 70 and 90 % of a certificate's life (`util/certificate/certificate_manager.go`, `nextRotationDeadline`).
    let renews = measure.view.and_then(|view| view.facts.kubelet.as_ref()).is_some_and(|kubelet| kubelet.rotates);
    match certificate.kind {
        CertificateKind::KubeletClient | CertificateKind::KubeletServing if renews => life / 10,
        _ if certificate.ca_id.is_some() => QUARTER.as_secs().min(life / 5),
        _ => MONTH.as_secs().min(life / 5),
    }
}

/// A kubeconfig given by name; a node's files are looked at one by one.
fn open_key(row: &CertificateRow, add: &mut impl FnMut(Severity, FindingId, String, &str)) {
    let mode = row.key_mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or_default();
    let by_name = row.kind == CertificateKind::KubeconfigClient && !row.path.starts_with("/etc/kubernetes/");
    if by_name && mode & 0o044 != 0 {
        let message = format!("it holds a private key and has mode {mode:04o}: others can read it");
        add(Severity::Warning, FindingId::KeyReadable, message, &format!("run `chmod 0600 {}`", row.path));
    }
}

fn what(row: &CertificateRow) -> &'static str {
    match row.kind {
        CertificateKind::KubeconfigClient => "the client certificate in it",
        CertificateKind::KubeconfigAuthority => "a CA in it",
        CertificateKind::Chain => "a CA behind the leaf",
        CertificateKind::Trust => "a CA in it",
        _ => "the certificate",
    }
}

/// What brings a new certificate.
fn renew(row: &InspectRow) -> String {
    let certificate = &row.certificate;
    match certificate.kind {
        CertificateKind::Authority if certificate.path == "/etc/kubernetes/pki/ca.crt" => {
            "replace the CA with `certctl rotate-ca`".to_owned()
        }
        CertificateKind::Authority | CertificateKind::KubeconfigAuthority | CertificateKind::Trust => {
            "replace the CA, and then everything that holds it".to_owned()
        }
        CertificateKind::Chain => "take it out of the chain, or put the CA's present certificate there".to_owned(),
        CertificateKind::KubeletClient => {
            "look for its requests with `certctl inspect`; a kubelet that may renew says in its log why it did not"
                .to_owned()
        }
        CertificateKind::KubeletServing => "remove it and restart the kubelet, which makes a new one".to_owned(),
        _ if row.is_kubeadms() => format!("run `certctl renew {}`", super::row::kubeadm_name(&certificate.path)),
        CertificateKind::KubeconfigClient => "get a new kubeconfig from whoever issued it".to_owned(),
        _ => "have it issued anew by its CA".to_owned(),
    }
}

/// What brings a new certificate where the old one serves nobody any more: the control plane may not answer, and no kubelet starts.
fn revive(row: &InspectRow) -> String {
    match row.certificate.kind {
        CertificateKind::KubeletClient => {
            "run `certctl repair` on a control-plane node, with `--config` or `--ssh` for the other nodes".to_owned()
        }
        _ if row.is_kubeadms() => "run `certctl repair` on the node".to_owned(),
        _ => renew(row),
    }
}

/// The largest unit, as in the table's RESIDUAL-TIME.
pub(super) fn short(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn crypto(row: &CertificateRow, add: &mut impl FnMut(Severity, FindingId, String, &str)) {
    let key = &row.key_algorithm;
    if let Some((severity, why)) = weakness(key) {
        add(
            severity,
            FindingId::WeakKey,
            format!("its key is {key}: {why}"),
            "renew it with a key of RSA-2048 or ECDSA-P256",
        );
    }
    let signature: &str = &row.signature_algorithm;
    if is_weak(signature) {
        // The signature of a trust anchor is verified by nobody (RFC 5280 section 6.1).
        let anchor = row.subject == row.issuer;
        let severity = if anchor { Severity::Info } else { Severity::Error };
        add(
            severity,
            FindingId::WeakSignature,
            format!("it is signed with {signature}"),
            "have it signed anew, with SHA-256",
        );
    }
}

/// Why a key of this kind should not be used; `None` for one that may.
pub(super) fn weakness(key: &str) -> Option<(Severity, &'static str)> {
    match key.strip_prefix("RSA-").and_then(|bits| bits.parse().ok()) {
        // crypto/rsa of Go 1.24 refuses keys below 1024 bits altogether.
        Some(..1024) => Some((Severity::Error, "clients refuse RSA keys below 1024 bits")),
        Some(1024..2048) => Some((Severity::Warning, "RSA keys below 2048 bits can be broken")),
        Some(_) => None,
        None if key.starts_with("EC ") => Some((Severity::Warning, "Go knows only the curves P-224 to P-521")),
        None if key == "DSA" => Some((Severity::Error, "DSA is supported by nobody any more")),
        None => None,
    }
}

/// True for a signature over a hash that can be forged, by Go's name.
pub(super) fn is_weak(signature: &str) -> bool {
    ["MD2", "MD5", "SHA1"].iter().any(|hash| signature.contains(hash))
}
