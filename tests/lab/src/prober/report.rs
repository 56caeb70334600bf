//! The report: JSON lines, each written as soon as it is known, so that the file of a killed prober is still worth reading.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::outcome::{Attempt, Key, Verdict, judge};

/// One line of the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Line {
    Start {
        #[serde(serialize_with = "milliseconds")]
        time: Timestamp,
        rate: u32,
        targets: Vec<String>,
    },
    Total(Total),
    Failure {
        #[serde(serialize_with = "milliseconds")]
        time: Timestamp,
        #[serde(flatten)]
        key: Key,
        operation: String,
        reason: String,
        elapsed_ms: u64,
    },
    /// Something that a reader of the figures should know: a client that joined, a file that changed.
    Event {
        #[serde(serialize_with = "milliseconds")]
        time: Timestamp,
        message: String,
    },
    End {
        #[serde(serialize_with = "milliseconds")]
        time: Timestamp,
        /// Requests that were due and never sent, because every lane was waiting for an answer for a second or more.
        lost: u64,
    },
}

/// What one lane did in the second that ends at `time`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Total {
    #[serde(serialize_with = "milliseconds")]
    pub time: Timestamp,
    #[serde(flatten)]
    pub key: Key,
    pub requests: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub throttled: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    pub slowest_ms: u64,
    /// Start of the last request that succeeded, and when the first and the last refusal came.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "maybe_milliseconds")]
    pub last_ok: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "maybe_milliseconds")]
    pub first_refused: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "maybe_milliseconds")]
    pub last_refused: Option<Timestamp>,
}

impl Total {
    pub fn empty(time: Timestamp, key: Key) -> Total {
        Total {
            time,
            key,
            requests: 0,
            failed: 0,
            throttled: 0,
            refused: 0,
            slowest_ms: 0,
            last_ok: None,
            first_refused: None,
            last_refused: None,
        }
    }

    fn add(&mut self, attempt: &Attempt, verdict: &Verdict) {
        self.requests += 1;
        self.slowest_ms = self.slowest_ms.max(whole_milliseconds(attempt));
        match verdict {
            Verdict::Ok => self.last_ok = self.last_ok.max(Some(attempt.started)),
            Verdict::Throttled => self.throttled += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::Refused => {
                self.refused += 1;
                // The server had dropped the CA when it answered, not when a slow request set out: a success is held against
                // this time by its start.
                let answered = attempt.started + attempt.elapsed;
                self.last_refused = self.last_refused.max(Some(answered));
                let earlier = self.first_refused.is_none_or(|first| answered < first);
                self.first_refused = if earlier { Some(answered) } else { self.first_refused };
            }
        }
    }
}

/// Writes the report. It keeps at most one second of totals in memory.
pub struct Recorder {
    file: File,
    current: BTreeMap<Key, Total>,
}

impl Recorder {
    pub fn create(path: &Path) -> Result<Recorder> {
        let file = File::create(path).with_context(|| format!("cannot write the report {}", path.display()))?;
        Ok(Recorder { file, current: BTreeMap::new() })
    }

    pub fn record(&mut self, key: &Key, attempt: &Attempt) -> Result<()> {
        let verdict = judge(&key.client, &attempt.result);
        if !self.current.contains_key(key) {
            self.current.insert(key.clone(), Total::empty(attempt.started, key.clone()));
        }
        if let Some(total) = self.current.get_mut(key) {
            total.add(attempt, &verdict);
        }
        if let Verdict::Failed(reason) = verdict {
            self.write(&Line::Failure {
                time: attempt.started,
                key: key.clone(),
                operation: attempt.operation.clone(),
                reason,
                elapsed_ms: whole_milliseconds(attempt),
            })?;
        }
        Ok(())
    }

    pub fn event(&mut self, message: String) -> Result<()> {
        self.write(&Line::Event { time: Timestamp::now(), message })
    }

    /// Ends a second: its totals go to the file, in one write.
    pub fn flush(&mut self, now: Timestamp) -> Result<()> {
        let mut text = Vec::new();
        for mut total in std::mem::take(&mut self.current).into_values() {
            total.time = now;
            serde_json::to_writer(&mut text, &Line::Total(total))?;
            text.push(b'\n');
        }
        self.file.write_all(&text).context("cannot write the report")
    }

    pub fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text).context("cannot write the report")
    }
}

fn whole_milliseconds(attempt: &Attempt) -> u64 {
    u64::try_from(attempt.elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Always three digits, so that lines sort and columns align.
pub fn milliseconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

pub fn maybe_milliseconds<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => milliseconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::prober::outcome::{Answer, Failure, Group, Mode};

    fn key(client: &str) -> Key {
        Key { group: Group::Api, client: client.to_owned(), target: "cp-1".to_owned(), mode: Mode::Fresh }
    }

    fn attempt(second: i64, result: Result<Answer, Failure>) -> Attempt {
        let started = Timestamp::from_second(second).unwrap();
        Attempt { started, elapsed: Duration::from_millis(7), operation: "GET /x".to_owned(), result }
    }

    fn lines(path: &Path) -> Vec<Line> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_failure_is_in_the_file_before_the_second_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report");
        let mut recorder = Recorder::create(&path).unwrap();
        recorder.record(&key("both"), &attempt(5, Err(Failure::Connect("refused".to_owned())))).unwrap();
        let written = lines(&path);
        assert!(matches!(&written[..], [Line::Failure { reason, .. }] if reason == "connect: refused"));
    }

    #[test]
    fn totals_hold_the_first_and_the_last_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report");
        let mut recorder = Recorder::create(&path).unwrap();
        let refused = || Ok(Answer { status: 401, retry_after: false, message: String::new() });
        for second in [3, 2, 4] {
            recorder.record(&key("ca1"), &attempt(second, refused())).unwrap();
        }
        recorder.flush(Timestamp::from_second(5).unwrap()).unwrap();
        let written = lines(&path);
        let [Line::Total(total)] = &written[..] else { panic!("{written:?}") };
        assert_eq!((total.requests, total.refused, total.failed), (3, 3, 0));
        assert_eq!(total.first_refused, Some(Timestamp::from_millisecond(2_007).unwrap()));
        assert_eq!(total.last_refused, Some(Timestamp::from_millisecond(4_007).unwrap()));
    }
}
