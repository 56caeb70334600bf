//! `certctl install`: placeholder until the engine is there.

use crate::context::Context;
use crate::error::Error;

/// Arguments of `certctl install`.
#[derive(Debug, clap::Args)]
pub struct InstallArgs {}

pub(crate) async fn run(_context: &Context, _args: &InstallArgs) -> Result<(), Error> {
    Err(Error::failed("`certctl install` is not there yet"))
}

/// Arguments of `certctl uninstall`.
#[derive(Debug, clap::Args)]
pub struct UninstallArgs {}

pub(crate) async fn uninstall(_context: &Context, _args: &UninstallArgs) -> Result<(), Error> {
    Err(Error::failed("`certctl uninstall` is not there yet"))
}
