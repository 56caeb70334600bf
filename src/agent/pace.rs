//! How an agent waits: for a change, or a moment.

use std::time::Duration;

/// Pause before an endpoint that does not yet answer as its files promise is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(150);
/// The same, when it has not for a while (a node that is down).
const ASK_AGAIN_LATER: Duration = Duration::from_secs(2);
/// Questions after which the longer pause is taken.
const OFTEN: u32 = 40;
/// Pause before an operation that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Waits before the next look, unless something wakes the agent before; for ever when all is settled.
pub(super) async fn pause(outlook: Outlook, unsettled: u32) {
    match outlook {
        Outlook::Settled => std::future::pending().await,
        Outlook::AskAgain if unsettled < OFTEN => tokio::time::sleep(ASK_AGAIN).await,
        Outlook::AskAgain => tokio::time::sleep(ASK_AGAIN_LATER).await,
        Outlook::TryAgain => tokio::time::sleep(TRY_AGAIN).await,
    }
}

/// What to wait for after a look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// All is as the files promise: wait for a change.
    Settled,
    /// An endpoint has not caught up.
    AskAgain,
    /// An operation or the report failed.
    TryAgain,
}
