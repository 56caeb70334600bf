//! A run is a number of turns: look, do something, look again. Here is what comes between two of them.

use std::time::Duration;

use super::driver::Driver;
use crate::error::{Error, ErrorKind};

/// How often the driver looks although nothing happened, to notice silence and the end of patience.
const LOOK: Duration = Duration::from_millis(500);

/// What comes after one look.
pub(super) enum Turn<T> {
    /// Look again at once.
    Again,
    /// Look again when something happens.
    Wait,
    /// The run is over.
    End(T),
}

impl Driver {
    /// Takes turns until one says that it was the last, fails for good, or the Lease is lost. An API server or an etcd member that went
    /// down is waited for: the others take over, and everything is looked at anew. A turn may be dropped at any of its awaits.
    pub(super) async fn repeat<T>(
        &mut self,
        mut turn: impl AsyncFnMut(&mut Self) -> Result<Turn<T>, Error>,
    ) -> Result<T, Error> {
        let mut lease = self.lease.watch();
        loop {
            // Not only between two turns: a call that hangs must not go through after somebody else has begun to drive.
            let turned = tokio::select! {
                biased;
                () = lease.lost() => return Err(lost()),
                turned = turn(self) => turned,
            };
            match turned {
                Ok(Turn::End(outcome)) => return Ok(outcome),
                Ok(Turn::Again) => {}
                Ok(Turn::Wait) => self.wake().await,
                Err(error) if error.is_passing() => {
                    self.wait_for(vec![error.sentence()])?;
                    self.wake().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn wake(&self) {
        tokio::select! {
            () = self.live.changed.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

pub(super) fn lost() -> Error {
    let lost = "the driver's Lease is lost: it could not be renewed in time, or another certctl took it over";
    Error::new(ErrorKind::Failed, lost).hint("look with `certctl status`; run the same command again to go on")
}
