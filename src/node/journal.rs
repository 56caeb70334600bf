//! What was begun, done or failed on this node, one JSON line each: for people after a crash. No decision rests on it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use jiff::Timestamp;
use serde::Serialize;

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

/// Appends a line and syncs it.
pub(crate) fn note(
    layout: &Layout,
    at: Timestamp,
    rotation: &str,
    event: &str,
    operation: &str,
    problem: Option<&str>,
) -> Result<(), NodeError> {
    let path = layout.journal();
    atomic::private_folder(&layout.path(STATE))?;
    if fs::metadata(&path).is_ok_and(|data| data.len() > LIMIT) {
        atomic::rename(&path, &path.with_extension("1"))?;
    }
    let line = serde_json::to_string(&Line { at, rotation, event, operation, problem })
        .map_err(|error| NodeError::Record { path: layout.on_node(&path), problem: error.to_string() })?;
    let write = || {
        let mut file = OpenOptions::new().append(true).create(true).mode(atomic::SECRET).open(&path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    };
    write().map_err(NodeError::io("append to", &path))
}
