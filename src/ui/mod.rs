//! The only printer. Data goes to stdout, everything else to stderr; colour and progress are decided here once.

#[cfg(test)]
mod conformance;
mod diagnosis;
mod document;
mod format;
pub mod inspect;
mod jsonpath;
mod log;
mod printer;
mod progress;
pub mod renewal;
pub mod repair;
mod table;

pub use diagnosis::{DiagnosisReport, Summary};
#[cfg(test)]
pub(crate) use document::tests::fits;
pub use document::{API_VERSION, View, schema_of};
pub use format::{Format, FormatParser};
pub use log::start_log;
pub use printer::{Answer, ColourChoice, Options, Ui};
pub use progress::{EVENT_KIND, Progress, ProgressChoice, event_schema};
pub use table::Table;
