//! Findings as test results, in the dialect of JUnit's XML that CI systems read: one case per certificate.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::inspection::{Finding, InspectRow, Severity};

/// One test case: its node or group, and its file or object.
type Case = (String, String);

pub(super) fn text(rows: &[InspectRow], findings: &[Finding]) -> String {
    let mut cases: BTreeMap<Case, Vec<&Finding>> = BTreeMap::new();
    for row in rows {
        let block = if row.certificate.index > 0 { format!(" [{}]", row.certificate.index) } else { String::new() };
        cases.entry((group(row.node.as_ref()), format!("{}{block}", row.certificate.path))).or_default();
    }
    for finding in findings {
        cases.entry((group(finding.node.as_ref()), finding.object.clone())).or_default().push(finding);
    }
    let failed = |found: &[&Finding]| found.iter().any(|finding| finding.severity > Severity::Info);
    let failures = cases.values().filter(|found| failed(found)).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = format!("tests=\"{}\" failures=\"{failures}\"", cases.len());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "<testsuites {counts}>\n<testsuite name=\"certctl\" {counts}>");
    for ((node, object), found) in &cases {
        let _ = write!(text, "<testcase classname=\"{}\" name=\"{}\"", escaped(node), escaped(object));
        if found.is_empty() {
            text.push_str("/>\n");
            continue;
        }
        text.push_str(">\n");
        found.iter().for_each(|finding| result(&mut text, finding));
        text.push_str("</testcase>\n");
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

fn result(text: &mut String, finding: &Finding) {
    let (message, remedy) = (escaped(&finding.message), escaped(&finding.remedy));
    let _ = match finding.severity {
        Severity::Info => writeln!(text, "<system-out>{}: {message}; {remedy}</system-out>", finding.id),
        severity => {
            writeln!(text, "<failure type=\"{}\" message=\"{severity}: {message}\">{remedy}</failure>", finding.id)
        }
    };
}

fn group(node: Option<&String>) -> String {
    node.cloned().unwrap_or_else(|| "certificates".to_owned())
}

/// XML 1.0 has no way to write most control characters.
pub(in crate::ui) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' => escaped.push(' '),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
