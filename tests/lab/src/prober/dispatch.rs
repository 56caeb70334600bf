//! Hands out turns at a fixed rate to whichever lane has waited longest, so that a target that does not answer
//! holds up its own lanes and not the rate. Turns for which no lane was free are made up for within a second, or lost.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

use super::lane::Lane;
use super::outcome::Attempt;
use super::report::Recorder;

type Turn = (Lane, Option<Attempt>);

pub struct Dispatcher {
    pub rate: u32,
    pub lanes: VecDeque<Lane>,
    /// Lanes that begin later.
    pub arrivals: mpsc::UnboundedReceiver<Lane>,
    pub recorder: Rc<RefCell<Recorder>>,
    pub stop: watch::Receiver<bool>,
}

impl Dispatcher {
    /// Runs until told to stop and waits for the answers under way. Returns the turns that were lost.
    pub async fn run(mut self) -> Result<u64> {
        let (back, mut returned) = mpsc::unbounded_channel::<Turn>();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.rate.max(1));
        let (mut busy, mut due, mut lost) = (0_usize, 0_u32, 0_u64);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    due += 1;
                    if due > self.rate {
                        due = self.rate;
                        lost += 1;
                    }
                }
                Some(turn) = returned.recv() => {
                    busy -= 1;
                    self.settle(turn)?;
                }
                Some(lane) = self.arrivals.recv() => self.lanes.push_back(lane),
                _ = self.stop.changed() => break,
            }
            while due > 0
                && let Some(lane) = self.lanes.pop_front()
            {
                (busy, due) = (busy + 1, due - 1);
                spawn_local(take_turn(lane, back.clone()));
            }
        }
        while busy > 0 {
            let Some(turn) = returned.recv().await else { break };
            busy -= 1;
            self.settle(turn)?;
        }
        Ok(lost)
    }

    /// A lane without an attempt has ended and does not come back.
    fn settle(&mut self, (lane, attempt): Turn) -> Result<()> {
        if let Some(attempt) = attempt {
            self.recorder.borrow_mut().record(&lane.key, &attempt)?;
            self.lanes.push_back(lane);
        }
        Ok(())
    }
}

async fn take_turn(mut lane: Lane, back: mpsc::UnboundedSender<Turn>) {
    let attempt = lane.take_turn().await;
    // The dispatcher is gone only if the report cannot be written any more.
    let _ = back.send((lane, attempt));
}
