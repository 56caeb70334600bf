//! One file per command: its arguments and what it does. Load, decide, apply, render; anything longer lives below.

pub mod agent_cmd;
pub mod check;
pub mod completion;
pub mod config;
pub mod credential_plugin;
pub mod diagnose;
mod events;
pub mod generate;
pub mod get_credentials;
pub mod inspect;
pub mod install;
mod on_node;
pub mod renew;
pub mod repair;
pub mod rotate_ca;
pub mod schema;
pub mod status;
pub mod version;
