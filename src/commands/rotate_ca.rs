//! `certctl rotate-ca`: placeholder until the engine is there.

use crate::context::Context;
use crate::error::Error;

/// Arguments of `certctl rotate-ca`.
#[derive(Debug, clap::Args)]
pub struct RotateCaArgs {}

pub(crate) async fn run(_context: &Context, _args: &RotateCaArgs) -> Result<(), Error> {
    Err(Error::failed("`certctl rotate-ca` is not there yet"))
}
