//! `certctl inspect`: every certificate of a node, of files, of the cluster.

use crate::context::Context;
use crate::error::Error;

/// Arguments of `certctl inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {}

pub(crate) async fn run(_context: &Context, _args: &InspectArgs) -> Result<(), Error> {
    Err(Error::failed("`certctl inspect` is not there yet"))
}
