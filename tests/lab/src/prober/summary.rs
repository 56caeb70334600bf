//! Adds a report up. Pure: lines go in, figures come out.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

use super::outcome::{Group, Key};
use super::refusal::{Refusal, analyse};
use super::report::{Line, Total, maybe_milliseconds, milliseconds};

/// What a report says.
#[derive(Debug, Serialize)]
pub struct Summary {
    #[serde(serialize_with = "milliseconds")]
    pub started: Timestamp,
    #[serde(serialize_with = "maybe_milliseconds")]
    pub ended: Option<Timestamp>,
    pub seconds: f64,
    /// Requests to API servers; `failed` are those that must not fail.
    pub requests: u64,
    pub failed: u64,
    pub throttled: u64,
    /// Requests that were due but never sent, because too many were under way: the machine or a server was slow.
    pub lost: u64,
    /// 401s of the starting client after the old CA was dropped. Not in `failed`.
    pub refused: u64,
    pub per_second: f64,
    /// Requests in the second that had fewest, of those the prober was at work in full.
    pub fewest_in_a_second: u64,
    pub via_kubelet: u64,
    pub via_kubelet_failed: u64,
    pub rows: Vec<Row>,
    pub refusals: Vec<Refusal>,
    pub reasons: Vec<Reason>,
    pub events: Vec<Note>,
}

/// One lane over the whole run.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub key: Option<Key>,
    pub requests: u64,
    pub failed: u64,
    pub throttled: u64,
    pub refused: u64,
    pub slowest_ms: u64,
}

/// Failures of one kind.
#[derive(Debug, Serialize)]
pub struct Reason {
    pub group: Group,
    pub client: String,
    pub target: String,
    pub reason: String,
    pub count: u64,
    #[serde(serialize_with = "milliseconds")]
    pub first: Timestamp,
    #[serde(serialize_with = "milliseconds")]
    pub last: Timestamp,
}

#[derive(Debug, Serialize)]
pub struct Note {
    #[serde(serialize_with = "milliseconds")]
    pub time: Timestamp,
    pub message: String,
}

/// The lines of a report. The last one may be torn, because the prober was killed while it wrote; no other may.
pub fn lines(text: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut rest = text.lines().enumerate().peekable();
    while let Some((number, line)) = rest.next() {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            Err(_) if rest.peek().is_none() && !text.ends_with('\n') => {}
            Err(error) => return Err(error).with_context(|| format!("line {} is no line of a report", number + 1)),
        }
    }
    Ok(lines)
}

impl Summary {
    pub fn of(lines: &[Line]) -> Result<Summary> {
        let started =
            lines.iter().find_map(|line| if let Line::Start { time, .. } = line { Some(*time) } else { None });
        let started = started.context("the report has no beginning")?;
        let end =
            lines.iter().find_map(|line| if let Line::End { time, lost } = line { Some((*time, *lost)) } else { None });
        let ended = end.map(|(time, _)| time);
        let totals: Vec<&Total> =
            lines.iter().filter_map(|line| if let Line::Total(total) = line { Some(total) } else { None }).collect();
        let last = ended.or_else(|| totals.iter().map(|total| total.time).max()).unwrap_or(started);
        let refusals = analyse(&totals);
        let rows = rows(lines, &totals, &refusals.premature);
        let sum = |group: Group, figure: fn(&Row) -> u64| {
            rows.iter().filter(|row| row.key.as_ref().is_some_and(|key| key.group == group)).map(figure).sum::<u64>()
        };
        let requests = sum(Group::Api, |row| row.requests);
        let seconds = last.duration_since(started).as_secs_f64();
        Ok(Summary {
            started,
            ended,
            seconds,
            requests,
            failed: sum(Group::Api, |row| row.failed),
            throttled: sum(Group::Api, |row| row.throttled),
            lost: end.map_or(0, |(_, lost)| lost),
            refused: sum(Group::Api, |row| row.refused),
            per_second: if seconds > 0.0 { requests as f64 / seconds } else { 0.0 },
            fewest_in_a_second: fewest_in_a_second(started, last, &totals),
            via_kubelet: sum(Group::ViaKubelet, |row| row.requests),
            via_kubelet_failed: sum(Group::ViaKubelet, |row| row.failed),
            rows,
            refusals: refusals.targets,
            reasons: reasons(lines),
            events: events(lines),
        })
    }
}

fn rows(lines: &[Line], totals: &[&Total], premature: &BTreeMap<Key, u64>) -> Vec<Row> {
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    for total in totals {
        let row = rows.entry(total.key.clone()).or_default();
        row.requests += total.requests;
        // A failure has a line of its own, written before the total; when the prober is killed in between, only that
        // line is left. So totals give the rest and the lines the failures.
        row.requests -= total.failed;
        row.throttled += total.throttled;
        row.refused += total.refused;
        row.slowest_ms = row.slowest_ms.max(total.slowest_ms);
    }
    for line in lines {
        if let Line::Failure { key, elapsed_ms, .. } = line {
            let row = rows.entry(key.clone()).or_default();
            row.requests += 1;
            row.failed += 1;
            row.slowest_ms = row.slowest_ms.max(*elapsed_ms);
        }
    }
    for (key, count) in premature {
        let row = rows.entry(key.clone()).or_default();
        row.refused -= count;
        row.failed += count;
    }
    rows.into_iter().map(|(key, row)| Row { key: Some(key), ..row }).collect()
}

/// Totals are written once a second, counted from the start; a second without any line had no answer at all.
fn fewest_in_a_second(started: Timestamp, last: Timestamp, totals: &[&Total]) -> u64 {
    let full_seconds = last.duration_since(started).as_secs();
    let mut seconds = BTreeMap::new();
    for total in totals.iter().filter(|total| total.key.group == Group::Api) {
        let second = (total.time.duration_since(started).as_secs_f64()).round() as i64;
        *seconds.entry(second).or_insert(0) += total.requests;
    }
    // The first second is spent on opening every connection at once.
    (2..=full_seconds).map(|second| seconds.get(&second).copied().unwrap_or(0)).min().unwrap_or(0)
}

fn reasons(lines: &[Line]) -> Vec<Reason> {
    let mut reasons: BTreeMap<(Group, &str, &str, &str), Reason> = BTreeMap::new();
    for line in lines {
        let Line::Failure { time, key, reason, .. } = line else { continue };
        let found = reasons.entry((key.group, &key.client, &key.target, reason)).or_insert_with(|| Reason {
            group: key.group,
            client: key.client.clone(),
            target: key.target.clone(),
            reason: reason.clone(),
            count: 0,
            first: *time,
            last: *time,
        });
        found.count += 1;
        found.first = found.first.min(*time);
        found.last = found.last.max(*time);
    }
    reasons.into_values().collect()
}

fn events(lines: &[Line]) -> Vec<Note> {
    let event = |line: &Line| match line {
        Line::Event { time, message } => Some(Note { time: *time, message: message.clone() }),
        _ => None,
    };
    lines.iter().filter_map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Mode;
    use super::*;

    const REPORT: &str = r#"{"type":"start","time":"2026-11-22T21:00:00.000Z","rate":200,"targets":["balancer","cp-1"]}
{"type":"total","time":"2026-11-22T21:00:01.000Z","group":"api","client":"both","target":"cp-1","mode":"fresh","requests":150,"slowest_ms":9}
{"type":"failure","time":"2026-11-22T21:00:01.500Z","group":"api","client":"both","target":"cp-1","mode":"fresh","operation":"GET /","reason":"tls: x","elapsed_ms":3}
{"type":"total","time":"2026-11-22T21:00:02.000Z","group":"api","client":"both","target":"cp-1","mode":"fresh","requests":200,"failed":1,"throttled":2,"slowest_ms":20}
{"type":"total","time":"2026-11-22T21:00:02.000Z","group":"via-kubelet","client":"both","target":"w-1","mode":"fresh","requests":4,"slowest_ms":20}
"#;

    fn summary(text: &str) -> Summary {
        Summary::of(&lines(text).unwrap()).unwrap()
    }

    #[test]
    fn api_requests_and_calls_through_kubelets_are_counted_apart() {
        let summary = summary(REPORT);
        assert_eq!((summary.requests, summary.failed, summary.throttled, summary.via_kubelet), (350, 1, 2, 4));
        assert_eq!(summary.fewest_in_a_second, 200);
        assert_eq!(summary.rows[0].slowest_ms, 20);
    }

    #[test]
    fn the_report_of_a_killed_prober_counts_its_last_failure() {
        let late = r#"{"type":"failure","time":"2026-11-22T21:00:02.500Z","group":"api","client":"both","target":"cp-1","mode":"fresh","operation":"GET /","reason":"tls: x","elapsed_ms":3}"#;
        let summary = summary(&format!("{REPORT}{late}\n{{\"type\":\"tot"));
        assert_eq!((summary.requests, summary.failed), (351, 2));
        assert_eq!((summary.reasons.len(), summary.reasons[0].count), (1, 2));
        assert_eq!(summary.ended, None);
    }

    #[test]
    fn a_torn_line_in_the_middle_is_no_report() {
        assert!(lines(&REPORT.replace("\"rate\":200", "\"rate")).is_err());
    }

    #[test]
    fn a_refusal_that_was_not_due_is_a_failure() {
        let refused = r#"{"type":"total","time":"2026-11-22T21:00:03.000Z","group":"api","client":"ca1","target":"cp-1","mode":"http2","requests":2,"refused":2,"slowest_ms":1,"first_refused":"2026-11-22T21:00:02.100Z","last_refused":"2026-11-22T21:00:02.200Z"}"#;
        let accepted = r#"{"type":"total","time":"2026-11-22T21:00:09.000Z","group":"api","client":"ca1","target":"cp-1","mode":"fresh","requests":1,"slowest_ms":1,"last_ok":"2026-11-22T21:00:08.000Z"}"#;
        let due = summary(&format!("{REPORT}{refused}\n"));
        assert_eq!((due.failed, due.refused), (1, 2));
        let premature = summary(&format!("{REPORT}{refused}\n{accepted}\n"));
        assert_eq!((premature.failed, premature.refused), (3, 0));
        assert!(
            premature
                .rows
                .iter()
                .any(|row| row.key.as_ref().is_some_and(|key| key.mode == Mode::Http2) && row.failed == 2)
        );
    }
}
