//! Certificates as metrics, under the names and labels of x509-certificate-exporter, so that its dashboard and rules work unchanged.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::inspection::{Finding, InspectRow};
use crate::plan::CertificateKind;

/// Attributes of a name that become labels.
const ATTRIBUTES: [&str; 6] = ["C", "CN", "L", "O", "OU", "ST"];

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
    ("x509_cert_error", "1 for a certificate that cannot be read.", |row, _| (!readable(row)).then_some(1)),
];

fn readable(row: &InspectRow) -> bool {
    !row.certificate.not_after.is_empty()
}

/// The whole exposition (Prometheus text format 0.0.4).
pub(super) fn text(rows: &[InspectRow], findings: &[Finding], now: Timestamp) -> String {
    let mut text = String::new();
    for (name, help, value) in METRICS {
        // A series may occur once: the same certificate twice in one file is one.
        let mut series = BTreeSet::new();
        for row in rows {
            if let Some(value) = value(row, now) {
                series.insert(format!("{name}{{{}}} {value}", labels(row)));
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

fn labels(row: &InspectRow) -> String {
    let certificate = &row.certificate;
    let mut labels: Vec<(String, String)> = place(row);
    for (side, name) in [("issuer", &certificate.issuer), ("subject", &certificate.subject)] {
        let attributes = attributes(name);
        labels
            .extend(ATTRIBUTES.iter().filter_map(|key| Some((format!("{side}_{key}"), attributes.get(*key)?.clone()))));
    }
    if readable(row) {
        labels.push(("serial_number".into(), decimal(&certificate.serial)));
    }
    labels.extend(row.node.iter().map(|node| ("node".to_owned(), node.clone())));
    labels.sort();
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    labels.join(",")
}

/// Where it stands: a file, a Secret, a ConfigMap, or inside a kubeconfig.
fn place(row: &InspectRow) -> Vec<(String, String)> {
    let path = row.certificate.path.as_str();
    let parts: Vec<&str> = path.split('/').collect();
    if let ([kind @ ("secret" | "configmap"), namespace, name, ..], CertificateKind::Trust) =
        (parts.as_slice(), row.certificate.kind)
    {
        return vec![
            (format!("{kind}_namespace"), (*namespace).to_owned()),
            (format!("{kind}_name"), (*name).to_owned()),
            (format!("{kind}_key"), parts.get(3).copied().unwrap_or("ca.crt").to_owned()),
        ];
    }
    let mut labels = vec![
        ("filename".into(), parts.last().copied().unwrap_or(path).to_owned()),
        ("filepath".into(), path.to_owned()),
    ];
    let embedded = match row.certificate.kind {
        CertificateKind::KubeconfigClient => Some("user"),
        CertificateKind::KubeconfigAuthority => Some("cluster"),
        _ => None,
    };
    labels.extend(embedded.map(|kind| ("embedded_kind".to_owned(), kind.to_owned())));
    labels
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
