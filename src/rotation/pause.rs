//! Where a rotation that was paused goes on to.

use super::inventory::{Goal, Inventory};
use super::phase::Phase;
use super::progress::phase_of;

/// The pause that is left when the administrator says so: none when the rotation stands right before it, else the one of the goal.
#[must_use]
pub fn pause_left(inventory: &Inventory, goal: &Goal) -> Option<Phase> {
    // A rollback does not pause.
    let pause = goal.pause_before.filter(|_| !goal.rollback)?;
    let mut seen = inventory.clone();
    // Who signs CSRs is found out by a run that has begun, and another caller's kubeconfig is renewed by it: where the cluster stands
    // does not depend on either.
    seen.cluster.asks_for_csrs = false;
    seen.cluster.caller = None;
    (phase_of(&seen, goal).next() != pause).then_some(pause)
}
