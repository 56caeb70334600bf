//! `certctl config`: show or check a configuration file.

use std::path::PathBuf;

use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, ErrorKind};
use crate::ui::Format;

/// Arguments of `certctl config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the configuration with every default filled in
    View(FileArgs),
    /// Say whether the configuration can be used
    Validate(FileArgs),
    /// Print the JSON schema of the configuration file
    Schema,
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// The configuration file
    #[arg(long = "config", value_name = "FILE", default_value = "certctl.yaml")]
    file: PathBuf,
}

pub(crate) fn run(context: &Context, args: &ConfigArgs) -> Result<(), Error> {
    match &args.action {
        Action::View(args) => view(context, &load(&args.file)?),
        Action::Validate(args) => {
            load(&args.file)?;
            context.ui.note(&format!("{} is valid", args.file.display()));
            Ok(())
        }
        Action::Schema => {
            let schema = serde_json::to_string_pretty(&schemars::schema_for!(Config)).map_err(std::io::Error::from)?;
            Ok(context.ui.data(&format!("{schema}\n"))?)
        }
    }
}

fn view(context: &Context, config: &Config) -> Result<(), Error> {
    let text = match context.format_or(Format::Yaml) {
        Format::Json => serde_json::to_string_pretty(config).map_err(std::io::Error::from)? + "\n",
        Format::Table | Format::Wide | Format::Yaml => {
            serde_saphyr::to_string(config).map_err(std::io::Error::other)?
        }
    };
    Ok(context.ui.data(&text)?)
}

/// Loads a configuration; what is wrong in it is wrong usage.
///
/// # Errors
/// Kind [`ErrorKind::Usage`], naming file, line and column.
pub(crate) fn load(file: &std::path::Path) -> Result<Config, Error> {
    Config::load(file).map_err(|error| Error::from(anyhow::Error::new(error)).of_kind(ErrorKind::Usage))
}
