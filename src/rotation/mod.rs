//! PURE: how a CA is replaced.
//!
//! A rotation is level-triggered: [`planner::next`] looks at an [`Inventory`] and a [`Goal`] and says what to do now. Nothing is remembered
//! between two calls, so any caller may ask at any time, after any crash.
//!
//! **Guarantees.** Verifiers are widened before any presenter changes and narrowed when no presenter needs the old CA. A node is never
//! asked to go back. A rollback is a rotation with the roles of the two CAs exchanged.
//!
//! **Assumptions.** The inventory is true: what an agent reports was read from files, handshakes and processes.

mod approval;
mod condition;
mod event;
mod inventory;
pub mod matrix;
mod objects;
mod pause;
mod phase;
mod planner;
mod preflight;
mod progress;
pub mod renewal;
pub mod simulate;
mod status;
mod targets;

pub use approval::{Refusal, ServingRequest, may_approve, strange_names};
pub use condition::{ConditionStatus, Reason, blocked};
pub use event::{Event, EventKind, RenewalPhase, RunPhase};
pub use inventory::{ClusterView, Goal, Inventory, NodeView, verdict};
pub use objects::{ClusterHealth, KubeadmRecord, warnings};
pub use pause::pause_left;
pub use phase::{Phase, UnknownPhase};
pub use planner::{Next, Step, maker, next};
pub use preflight::{Blocker, NodeHealth, Preflight, Topic, preflight, waiver_blockers};
pub use progress::{behind, drifted, left_over, missing, phase_of};
pub use status::{PlaneStatus, Sentence, describe};
pub use targets::target;
