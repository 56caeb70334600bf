//! What happens in a rotation or a renewal, shown while it happens.

use tokio::sync::mpsc;

use crate::context::Context;
use crate::rotation::Event;

/// Events are shown by a thread of their own, so that a slow terminal, or a reader that does not read, holds no rotation and no renewal. It
/// ends with the last sender.
pub(super) fn printer(context: &Context) -> (mpsc::UnboundedSender<Event>, tokio::task::JoinHandle<()>) {
    let (events, mut received) = mpsc::unbounded_channel();
    let mut progress = context.ui.progress();
    let task = tokio::task::spawn_blocking(move || {
        while let Some(event) = received.blocking_recv() {
            progress.report(&event);
        }
    });
    (events, task)
}
