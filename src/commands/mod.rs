//! One file per command: its arguments and what it does. Load, decide, apply, render; anything longer lives below.

pub mod agent_cmd;
pub mod check;
pub mod completion;
pub mod config;
pub mod generate;
pub mod inspect;
pub mod install;
pub mod rotate_ca;
pub mod schema;
pub mod status;
pub mod version;
