//! Certificates as metrics, under the names and labels of x509-certificate-exporter (`docs/metrics.md` and `pkg/registry/labels.go` of its
//! version 4), so that its dashboard and rules work unchanged. A label that it leaves empty is left out, which is the same to Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::inspection::{Finding, InspectRow};
use crate::plan::{CertificateKind, Fault};

/// Attributes of a name that become labels.
const ATTRIBUTES: [&str; 6] = ["C", "CN", "L", "O", "OU", "ST"];

/// Kinds of objects with caBundles: as an object is named here, and as the exporter names it.
const CA_BUNDLES: [(&str, &str); 4] = [
    ("apiservice", "APIService"),
    ("customresourcedefinition", "CustomResourceDefinition"),
    ("mutatingwebhookconfiguration", "MutatingWebhookConfiguration"),
    ("validatingwebhookconfiguration", "ValidatingWebhookConfiguration"),
];

/// Digits of a fingerprint that tell apart what has the same labels (`pkg/registry/registry.go`, `DiscriminatorLength`).
const TELLING: usize = 8;

type Labels = BTreeMap<String, String>;

/// Name, help, and the value for a row; `None` for a row without one.
type Metric = (&'static str, &'static str, fn(&InspectRow, Timestamp) -> Option<i64>);

const METRICS: [Metric; 4] = [
    ("x509_cert_not_before", "Start of the certificate's validity, seconds since the Unix epoch.", |row, _| {
        row.certificate.not_before.parse::<Timestamp>().ok().map(Timestamp::as_second)
    }),
    ("x509_cert_not_after", "End of the certificate's validity, seconds since the Unix epoch.", |row, _| {
        readable(row).then_some(row.certificate.not_after_seconds)
    }),
    ("x509_cert_expired", "1 when the certificate's validity is over.", |row, now| {
        readable(row).then(|| i64::from(row.certificate.not_after_seconds < now.as_second()))
    }),
    ("x509_cert_error", "1 for a certificate that cannot be read, 0 for the others.", |row, _| {
        // A kubeconfig with a token has nothing that could be read.
        let expected = row.certificate.fault != Some(Fault::NoCertificate);
        expected.then(|| i64::from(!readable(row)))
    }),
];

fn readable(row: &InspectRow) -> bool {
    !row.certificate.not_after.is_empty()
}

/// The whole exposition (Prometheus text format 0.0.4).
pub(super) fn text(rows: &[InspectRow], findings: &[Finding], now: Timestamp) -> String {
    let labelled = labelled(rows);
    let mut text = String::new();
    for (name, help, value) in METRICS {
        // A series may occur once: the same certificate twice in one file is one.
        let mut series = BTreeSet::new();
        for (labels, row) in &labelled {
            if let Some(value) = value(row, now) {
                series.insert(format!("{name}{{{}}} {value}", written(labels)));
            }
        }
        family(&mut text, name, help, &series);
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(format!("id=\"{}\",severity=\"{}\"", finding.id, finding.severity)).or_default() += 1;
    }
    let series = counts.iter().map(|(labels, count)| format!("certctl_findings{{{labels}}} {count}")).collect();
    family(&mut text, "certctl_findings", "Findings of certctl by kind.", &series);
    text
}

fn family(text: &mut String, name: &str, help: &str, series: &BTreeSet<String>) {
    if !series.is_empty() {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        text.extend(series.iter().map(|line| format!("{line}\n")));
    }
}

/// The labels of every row, once for each object that holds it. Different certificates with the same labels would be one series with two
/// values, which Prometheus refuses: a part of the fingerprint tells them apart.
fn labelled(rows: &[InspectRow]) -> Vec<(Labels, &InspectRow)> {
    let of_row = |row| places(row).into_iter().map(move |place| (labels(row, place), row));
    let mut labelled: Vec<(Labels, &InspectRow)> = rows.iter().flat_map(of_row).collect();
    let mut same: BTreeMap<Labels, BTreeSet<&str>> = BTreeMap::new();
    for (labels, row) in &labelled {
        same.entry(labels.clone()).or_default().insert(&row.certificate.fingerprint);
    }
    for (labels, row) in &mut labelled {
        if same.get(labels).is_some_and(|prints| prints.len() > 1) {
            let print: String = row.certificate.fingerprint.chars().take(TELLING).collect();
            labels.insert("discriminator".into(), print);
        }
    }
    labelled
}

fn labels(row: &InspectRow, place: Labels) -> Labels {
    let certificate = &row.certificate;
    let mut labels = place;
    for (side, name) in [("issuer", &certificate.issuer), ("subject", &certificate.subject)] {
        let attributes = attributes(name);
        labels
            .extend(ATTRIBUTES.iter().filter_map(|key| Some((format!("{side}_{key}"), attributes.get(*key)?.clone()))));
    }
    if readable(row) {
        labels.insert("serial_number".into(), decimal(&certificate.serial));
    }
    labels.extend(row.node.iter().map(|node| ("node".to_owned(), node.clone())));
    labels
}

fn written(labels: &Labels) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    labels.join(",")
}

/// Where it stands: in a file, or in objects of the API.
fn places(row: &InspectRow) -> Vec<Labels> {
    let certificate = &row.certificate;
    if certificate.kind == CertificateKind::Trust {
        return std::iter::once(&certificate.path).chain(&row.also).map(|path| object(path)).collect();
    }
    let path = certificate.path.as_str();
    let mut place = named([("filename", path.rsplit('/').next().unwrap_or(path)), ("filepath", path)]);
    let embedded = match certificate.kind {
        CertificateKind::KubeconfigClient => Some("user"),
        CertificateKind::KubeconfigAuthority => Some("cluster"),
        _ => None,
    };
    place.extend(embedded.map(|kind| ("embedded_kind".to_owned(), kind.to_owned())));
    place.extend(certificate.entry.iter().map(|name| ("embedded_key".to_owned(), name.clone())));
    vec![place]
}

/// A Secret, a ConfigMap, or a caBundle of an object.
fn object(path: &str) -> Labels {
    let parts: Vec<&str> = path.split('/').collect();
    let key = |name: &str| if name == "cluster-info" { "kubeconfig" } else { "ca.crt" };
    match parts.as_slice() {
        [kind @ ("secret" | "configmap"), namespace, name, rest @ ..] => {
            let key = rest.first().copied().unwrap_or_else(|| key(name));
            let labels = [("namespace", *namespace), ("name", *name), ("key", key)];
            labels.into_iter().map(|(label, value)| (format!("{kind}_{label}"), value.to_owned())).collect()
        }
        [kind, name, rest @ ..] => {
            let known = CA_BUNDLES.iter().find(|(ours, _)| ours == kind).map_or(*kind, |(_, theirs)| *theirs);
            let mut labels = named([("cabundle_resource_kind", known), ("cabundle_resource_name", *name)]);
            labels.extend(rest.first().map(|entry| ("cabundle_entry".to_owned(), (*entry).to_owned())));
            labels
        }
        _ => named([("filename", path), ("filepath", path)]),
    }
}

fn named<const N: usize>(labels: [(&str, &str); N]) -> Labels {
    labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The first value of each attribute of a name as Go prints it (RFC 4514), as the exporter takes them.
fn attributes(name: &str) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    let (mut part, mut escaped) = (String::new(), false);
    let mut parts = Vec::new();
    for character in name.chars() {
        match character {
            _ if escaped => {
                part.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            ',' | '+' => parts.push(std::mem::take(&mut part)),
            _ => part.push(character),
        }
    }
    parts.push(part);
    for part in parts {
        if let Some((key, value)) = part.split_once('=') {
            attributes.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    attributes
}

/// The exporter writes serial numbers as Go's `big.Int` does.
fn decimal(hex: &str) -> String {
    // Digits of base 10, the last one first.
    let mut digits = vec![0_u32];
    for nibble in hex.chars().filter_map(|digit| digit.to_digit(16)) {
        let mut carry = nibble;
        for digit in &mut digits {
            let value = *digit * 16 + carry;
            (*digit, carry) = (value % 10, value / 10);
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    digits.iter().rev().filter_map(|digit| char::from_digit(*digit, 10)).collect()
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_decimal_at_any_length() {
        assert_eq!(decimal("0"), "0");
        assert_eq!(decimal("ff"), "255");
        assert_eq!(decimal("7fffffffffffffff"), "9223372036854775807");
        assert_eq!(decimal("0100000000000000000000000000000000"), "340282366920938463463374607431768211456");
    }

    #[test]
    fn names_are_taken_apart_where_they_are_not_escaped() {
        let found = attributes(r"CN=system:node:w\,1,O=a\+b+OU=x,O=second");
        let wanted = [("CN", "system:node:w,1"), ("O", "a+b"), ("OU", "x")];
        assert_eq!(found, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        assert_eq!(escaped("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
    }
}
