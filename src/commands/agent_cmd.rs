//! `certctl agent`: placeholder until the engine is there.

use crate::context::Context;
use crate::error::Error;

/// Arguments of `certctl agent`.
#[derive(Debug, clap::Args)]
pub struct AgentArgs {}

pub(crate) async fn run(_context: &Context, _args: &AgentArgs) -> Result<(), Error> {
    Err(Error::failed("`certctl agent` is not there yet"))
}
