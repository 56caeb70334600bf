//! The binary as a user meets it: stdout, stderr and exit code, in a sealed environment.
#![expect(clippy::disallowed_methods, reason = "it writes files for the binary to read")]

mod broken_certificates;
mod check;
mod config;
#[path = "../../src/ui/conformance.rs"]
mod conformance;
#[path = "../../src/node/tests/damage.rs"]
mod damage;
mod diagnose;
mod faults;
mod frame;
mod get_credentials;
mod harness;
mod inspect;
mod kills;
mod lasting_faults;
mod malformed;
mod renew;
mod repair;
mod rights;
mod schema;
mod signals;
mod strace;
