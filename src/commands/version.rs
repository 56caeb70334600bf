//! `certctl version`: what this binary is.

use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::Error;
use crate::ui::{Format, Table, View};

/// Arguments of `certctl version`.
#[derive(Debug, clap::Args)]
pub struct VersionArgs {}

/// What this binary is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    /// The version of certctl.
    version: &'static str,
    /// The one library of cryptography in it.
    crypto_library: &'static str,
    /// The oldest Rust that it can be built with.
    minimum_rust_version: &'static str,
    /// Operating system and processor that it was built for, for example `linux/x86_64`.
    platform: String,
}

impl View for Version {
    const KIND: &'static str = "Version";

    fn table(&self, wide: bool) -> Table {
        let mut table =
            Table::new(if wide { &["VERSION", "PLATFORM", "CRYPTO", "RUST"] } else { &["VERSION", "PLATFORM"] });
        let cells = [self.version, &self.platform, self.crypto_library, self.minimum_rust_version];
        table.row(cells.into_iter().take(if wide { 4 } else { 2 }).map(str::to_owned));
        table
    }
}

pub(crate) fn run(context: &Context, _args: &VersionArgs) -> Result<(), Error> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        crypto_library: "aws-lc-rs",
        minimum_rust_version: env!("CARGO_PKG_RUST_VERSION"),
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    };
    Ok(context.ui.show(&version, context.format_or(Format::Table), context.now)?)
}
