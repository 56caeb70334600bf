//! What commands that change the files of their own node say.

use jiff::Timestamp;

use crate::error::Error;
use crate::node::NodeError;
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
