//! `certctl status`: placeholder until the engine is there.

use crate::context::Context;
use crate::error::Error;

/// Arguments of `certctl status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {}

pub(crate) async fn run(_context: &Context, _args: &StatusArgs) -> Result<(), Error> {
    Err(Error::failed("`certctl status` is not there yet"))
}
