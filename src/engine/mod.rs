//! Where plans meet adapters: the only such place. It prints nothing; it emits events.

mod begin;
mod caller;
mod desk;
mod driver;
mod dry_run;
mod finalize;
mod observe;
mod record;
mod report;

pub use begin::{Begin, Request, Start};
pub use driver::{Driver, Outcome, Settings};
pub use dry_run::{PlanReport, PlannedChange, PlannedPhase, dry_run};
pub use observe::{Knowledge, health, inventory};
pub use record::Record;
pub use report::{NodeReport, Report, report};
