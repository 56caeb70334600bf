//! Prints a summary for people.

use std::fmt::Write as _;

use super::outcome::{Group, Key};
use super::refusal::Refusal;
use super::summary::{Reason, Row, Summary};

/// A report may hold thousands of failures of a few kinds; more kinds than this are for the JSON output.
const REASONS: usize = 20;

pub fn render(summary: &Summary) -> String {
    let mut text = String::new();
    let _ = rows(&mut text, &summary.rows);
    for refusal in &summary.refusals {
        let _ = writeln!(text, "{}", refusal_line(refusal));
    }
    for note in &summary.events {
        let _ = writeln!(text, "{:.3} {}", note.time, note.message);
    }
    for reason in summary.reasons.iter().take(REASONS) {
        let _ = writeln!(text, "{}", reason_line(reason));
    }
    if summary.reasons.len() > REASONS {
        let _ = writeln!(text, "… and {} more kinds of failure (-o json)", summary.reasons.len() - REASONS);
    }
    let cut = if summary.ended.is_none() { " (the prober was cut off)" } else { "" };
    let _ = writeln!(
        text,
        "{:.1} s{cut}: {:.1} API requests/s, {} in the second with fewest, {} never sent, {} told to come back (429)",
        summary.seconds, summary.per_second, summary.fewest_in_a_second, summary.lost, summary.throttled
    );
    let _ = writeln!(text, "{}", total_line(summary));
    text
}

/// The one line that everybody quotes.
pub fn total_line(summary: &Summary) -> String {
    format!(
        "API requests {}, failed {} (not counted: {} refused to clients that hold only CA 1 after the drop), via kubelet {}, failed {}",
        summary.requests, summary.failed, summary.refused, summary.via_kubelet, summary.via_kubelet_failed
    )
}

fn rows(text: &mut String, rows: &[Row]) -> std::fmt::Result {
    let pairs: Vec<(&Key, &Row)> = rows.iter().filter_map(|row| Some((row.key.as_ref()?, row))).collect();
    let client = pairs.iter().map(|(key, _)| key.client.len()).chain([6]).max().unwrap_or(6);
    let target = pairs.iter().map(|(key, _)| label(key).len()).chain([6]).max().unwrap_or(6);
    writeln!(
        text,
        "{:client$}  {:target$}  {:10}  {:>8}  {:>6}  {:>5}  {:>7}  {:>10}",
        "CLIENT", "TARGET", "MODE", "REQUESTS", "FAILED", "429", "REFUSED", "SLOWEST"
    )?;
    for (key, row) in pairs {
        writeln!(
            text,
            "{:client$}  {:target$}  {:10}  {:>8}  {:>6}  {:>5}  {:>7}  {:>7} ms",
            key.client,
            label(key),
            key.mode,
            row.requests,
            row.failed,
            row.throttled,
            row.refused,
            row.slowest_ms
        )?;
    }
    Ok(())
}

fn label(key: &Key) -> String {
    match key.group {
        Group::Api => key.target.clone(),
        Group::ViaKubelet => format!("kubelet {}", key.target),
    }
}

fn refusal_line(refusal: &Refusal) -> String {
    let mut line = match refusal.first {
        Some(first) => format!(
            "{}: CA 1 refused since {first:.3}, {} times up to {:.3}",
            refusal.target, refusal.due, refusal.last
        ),
        None => format!("{}: CA 1 not refused for good", refusal.target),
    };
    if let Some(ok) = refusal.last_ok {
        let _ = write!(line, ", last accepted {ok:.3}");
    }
    if refusal.premature > 0 {
        let _ = write!(line, "; {} earlier 401s count as FAILED", refusal.premature);
    }
    if refusal.accepted_again {
        line.push_str("; ACCEPTED AGAIN after its first 401");
    }
    line
}

fn reason_line(reason: &Reason) -> String {
    let group = if reason.group == Group::ViaKubelet { " via kubelet" } else { "" };
    format!(
        "{:.3} to {:.3}: {} × {}{group} {}: {}",
        reason.first, reason.last, reason.count, reason.client, reason.target, reason.reason
    )
}
