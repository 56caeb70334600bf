//! What was begun, done or failed on this node, one JSON line each: for people after a crash. It decides nothing but into which folder
//! the next back-ups go.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::atomic;
use super::error::NodeError;
use super::layout::{Layout, STATE};

/// Beyond this the journal moves aside to `journal.1`.
const LIMIT: u64 = 1 << 20;

#[derive(Serialize)]
struct Line<'a> {
    at: Timestamp,
    rotation: &'a str,
    event: &'a str,
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

/// The part of a line that is read back.
#[derive(Deserialize)]
struct Written {
    rotation: String,
}

/// The attempt at a rotation that the next operation belongs to: the one that the last operation on this node belonged to, when that was at
/// the same rotation; else, after a rollback for example, a new one, `ROTATION.2` and so on, so that the back-ups of the finished one stay
/// as they are.
pub(crate) fn attempt(layout: &Layout, rotation: &str) -> String {
    let number = |attempt: &str| attempt.strip_prefix(rotation)?.strip_prefix('.')?.parse::<u32>().ok();
    if let Some(last) = last(layout).filter(|last| last == rotation || number(last).is_some()) {
        return last;
    }
    let mut name = rotation.to_owned();
    for number in 2_u32.. {
        if !layout.backup(&name).exists() {
            break;
        }
        name = format!("{rotation}.{number}");
    }
    name
}

/// The rotation of the last line; one that was cut off by a crash is passed over.
fn last(layout: &Layout) -> Option<String> {
    let path = layout.journal();
    let of = |path: &std::path::Path| {
        let text = fs::read_to_string(path).ok()?;
        text.lines().rev().find_map(|line| serde_json::from_str::<Written>(line).ok()).map(|line| line.rotation)
    };
    of(&path).or_else(|| of(&path.with_extension("1")))
}

/// Appends a line and syncs it.
pub(crate) fn note(
    layout: &Layout,
    at: Timestamp,
    rotation: &str,
    event: &str,
    operation: &str,
    problem: Option<&str>,
) -> Result<(), NodeError> {
    append(layout, &Line { at, rotation, event, operation, problem })
}

/// A certificate that was signed with the CA's key by hand: the API server's audit log does not know of it.
#[derive(Debug, Serialize)]
pub struct Issued<'a> {
    /// `true` for a member of `system:masters`.
    #[serde(rename = "breakGlass")]
    pub break_glass: bool,
    /// Subject as Go prints it.
    pub subject: &'a str,
    /// Lower-case hex.
    pub serial: &'a str,
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint: &'a str,
    /// End of its validity.
    #[serde(rename = "notAfter")]
    pub not_after: Timestamp,
    /// Who asked for it: user, host and process.
    pub by: &'a str,
}

/// Appends a line about a certificate, without a rotation: [`attempt`] passes it over.
///
/// # Errors
/// The journal cannot be written.
pub fn note_issued(layout: &Layout, at: Timestamp, issued: &Issued<'_>) -> Result<(), NodeError> {
    #[derive(Serialize)]
    struct Audit<'a> {
        at: Timestamp,
        event: &'a str,
        #[serde(flatten)]
        issued: &'a Issued<'a>,
    }
    append(layout, &Audit { at, event: "issued", issued })
}

fn append(layout: &Layout, line: &impl Serialize) -> Result<(), NodeError> {
    let path = layout.journal();
    atomic::private_folder(&layout.path(STATE))?;
    if fs::metadata(&path).is_ok_and(|data| data.len() > LIMIT) {
        atomic::rename(&path, &path.with_extension("1"))?;
    }
    let line = serde_json::to_string(line)
        .map_err(|error| NodeError::Record { path: layout.on_node(&path), problem: error.to_string() })?;
    let write = || {
        let mut file = OpenOptions::new().append(true).create(true).mode(atomic::SECRET).open(&path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    };
    write().map_err(NodeError::io("append to", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_issued_by_hand_in_the_middle_of_a_rotation_leaves_its_back_ups_together() {
        let root = tempfile::tempdir().unwrap();
        let (layout, now) = (Layout::new(root.path()), "2026-11-22T20:00:00Z".parse().unwrap());
        note(&layout, now, "ca-2", "begun", "replace ca.crt", None).unwrap();
        fs::create_dir_all(layout.backup("ca-2")).unwrap();
        let issued = Issued {
            break_glass: true,
            subject: "CN=jane",
            serial: "1",
            fingerprint: "2",
            not_after: now,
            by: "root@here:1",
        };
        note_issued(&layout, now, &issued).unwrap();
        assert_eq!(attempt(&layout, "ca-2"), "ca-2");
    }
}
