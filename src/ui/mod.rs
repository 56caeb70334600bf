//! The only printer. Data goes to stdout, everything else to stderr; colour and progress are decided here once.

mod document;
pub mod inspect;
mod log;
mod printer;
mod progress;
pub mod renewal;
pub mod repair;
mod table;

pub use document::{API_VERSION, Format, View};
pub use log::start_log;
pub use printer::{Answer, ColourChoice, Options, Ui};
pub use progress::{Progress, ProgressChoice};
pub use table::Table;
