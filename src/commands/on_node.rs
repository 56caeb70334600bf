//! What commands that change the files of their own node say.

use jiff::Timestamp;

use crate::context::Context;
use crate::error::Error;
use crate::node::{Layout, NodeError, StaticPods, WriteLock, renewal};
use crate::plan::repair::Clock;
use crate::ui::repair::clock_problem;

pub(super) fn certificate_count(count: usize) -> String {
    if count == 1 { "1 certificate".to_owned() } else { format!("{count} certificates") }
}

/// An error with its causes, and with a hint where the system's reason has one.
pub(super) fn failed(error: NodeError) -> Error {
    use std::io::ErrorKind;
    let kind = match &error {
        NodeError::Io { source, .. } => Some(source.kind()),
        _ => None,
    };
    let shown = Error::failed(error.to_string());
    let shown = std::error::Error::source(&error).map_or(shown.clone(), |source| shown.with_source(source));
    match kind {
        Some(ErrorKind::PermissionDenied) => shown.hint("run it as root"),
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            shown.hint("the certificates are as they were; free some space and run the same command again")
        }
        Some(ErrorKind::ReadOnlyFilesystem) => shown.hint(
            "the certificates are as they were; mount the file system for writing and run the same command again",
        ),
        _ => shown,
    }
}

/// The right to write the node's files.
///
/// # Errors
/// Kind Refused when another command or the agent writes; the lock file cannot be opened.
pub(super) fn write_lock(layout: &Layout) -> Result<WriteLock, Error> {
    WriteLock::try_take(layout).map_err(failed)?.ok_or_else(|| {
        Error::refused("another certctl is changing the files of this node")
            .hint("run the same command again when it has finished")
    })
}

/// Puts right what a run that was cut off has left, and says so; `change` is what such a run is called.
///
/// # Errors
/// The failing call.
pub(super) fn put_right(context: &Context, layout: &Layout, change: &str) -> Result<(), Error> {
    for recovered in renewal::put_right(layout).map_err(failed)? {
        let what = if recovered.renewed { "completed" } else { "taken back" };
        context.say(&format!("an earlier {change} of {} was cut off: {what}", layout.on_node(&recovered.path)));
    }
    for component in StaticPods::recover(layout).map_err(failed)? {
        context.say(&format!("the manifest of {} was parked by a run that was cut off: put back", component.name()));
    }
    Ok(())
}

/// With a wrong clock everything would be made worse: certificates that nobody accepts, or that seem to have expired.
///
/// # Errors
/// Kind Refused, with what speaks against the time `now`.
pub(super) fn plausible(clock: &Clock, now: Timestamp) -> Result<(), Error> {
    let Some(problem) = clock_problem(clock) else { return Ok(()) };
    let refused = Error::refused(format!("the clock of this node says {now}; nothing was changed"));
    let refused = refused.caused_by(problem).hint("set the clock right (`timedatectl`), then run the same command");
    Err(match clock {
        Clock::Behind { surely: true, .. } => refused,
        _ => refused.hint("if the clock is right, add --clock-is-right"),
    })
}
