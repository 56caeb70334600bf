//! Reads what matters here out of a node's journal, on the machine's side.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::Deserialize;

/// systemd's own names for its messages; their texts may change.
const UNIT_STARTED: &str = "39f53479d3a045ac8e11786248231fbf";
const JOURNAL_STARTED: &str = "f77379a8490b408bbe5f6940505a777b";

/// One thing that happened on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The node's power was turned on.
    Boot(Timestamp),
    KubeletStarted(Timestamp),
    /// A line of containerd, not looked into yet.
    Containerd(Timestamp, String),
}

/// The entries of a journal, oldest first. A node that was never on has none.
pub fn read(folder: &Path) -> Result<Vec<Entry>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut command = Command::new("journalctl");
    command.arg("--directory").arg(folder);
    command.args(["--no-pager", "--quiet", "--output=json", "--output-fields=MESSAGE,MESSAGE_ID,INVOCATION_ID"]);
    command.args(["_SYSTEMD_UNIT=containerd.service", "+", "_PID=1", "UNIT=kubelet.service"]);
    command.args([format!("MESSAGE_ID={UNIT_STARTED}"), "+".to_owned(), format!("MESSAGE_ID={JOURNAL_STARTED}")]);
    let done = command.output().context("cannot start journalctl")?;
    if !done.status.success() {
        bail!("journalctl cannot read {}: {}", folder.display(), String::from_utf8_lossy(&done.stderr).trim());
    }
    let mut entries = Vec::new();
    for line in String::from_utf8_lossy(&done.stdout).lines() {
        let raw: Raw =
            serde_json::from_str(line).with_context(|| format!("journalctl of {} said {line}", folder.display()))?;
        entries.extend(raw.entry()?);
    }
    Ok(entries)
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    microseconds: String,
    /// Null or a list of numbers where it is no text.
    #[serde(rename = "MESSAGE", default)]
    message: serde_json::Value,
    #[serde(rename = "MESSAGE_ID", default)]
    message_id: String,
    #[serde(rename = "INVOCATION_ID", default)]
    invocation_id: String,
}

impl Raw {
    fn entry(self) -> Result<Option<Entry>> {
        let time = Timestamp::from_microsecond(self.microseconds.parse().context("no time in a journal entry")?)?;
        Ok(match self.message_id.as_str() {
            JOURNAL_STARTED => Some(Entry::Boot(time)),
            // A start that a condition of the unit prevents has the same message id, but nothing was invoked.
            UNIT_STARTED if self.invocation_id.is_empty() => None,
            UNIT_STARTED => Some(Entry::KubeletStarted(time)),
            _ => self.message.as_str().map(|message| Entry::Containerd(time, message.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Option<Entry> {
        serde_json::from_str::<Raw>(json).unwrap().entry().unwrap()
    }

    #[test]
    fn a_kubelet_that_was_not_started_is_not_counted() {
        let skipped = r#"{"__REALTIME_TIMESTAMP":"1795383182144796","MESSAGE":"kubelet.service was skipped","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf","INVOCATION_ID":""}"#;
        assert_eq!(entry(skipped), None);
        let started = skipped.replace(r#""INVOCATION_ID":"""#, r#""INVOCATION_ID":"7522""#);
        assert!(matches!(entry(&started), Some(Entry::KubeletStarted(_))));
    }

    #[test]
    fn a_message_that_is_no_text_is_passed_over() {
        assert_eq!(entry(r#"{"__REALTIME_TIMESTAMP":"1795383182144796","MESSAGE":[1,2]}"#), None);
        assert_eq!(entry(r#"{"__REALTIME_TIMESTAMP":"1795383182144796","MESSAGE":null}"#), None);
    }
}
