//! Where plans meet adapters: the only such place. It prints nothing; it emits events.
#![expect(
    clippy::disallowed_methods,
    reason = "the driver stamps what it sees and opens the caller's kubeconfig; what is decided is decided in `rotation`, which has no clock"
)]

mod approve;
mod begin;
mod blockers;
mod caller;
mod close;
pub mod credentials;
mod desk;
mod driver;
mod dry_run;
mod examine;
mod finalize;
mod identity;
mod observe;
mod pace;
mod record;
mod renew;
mod report;
mod snapshot;
mod survey;
mod turns;

pub use begin::{Begin, Request, Start};
pub use driver::{Driver, Outcome, Settings};
pub use dry_run::{PlanReport, PlannedChange, PlannedPhase, dry_run};
pub use examine::examine;
pub use identity::{dead, holder};
pub use observe::{Knowledge, health, inventory};
pub use record::Record;
pub use renew::{Fleet, FleetNode, FleetSettings};
pub use report::{NodeReport, Report, Role, report};
