//! `certctl config`: show or check a configuration file.

use std::path::{Path, PathBuf};

use crate::cluster::Access;
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
        Format::JsonPath(template) => {
            template.fill(&serde_json::to_value(config).map_err(std::io::Error::from)?) + "\n"
        }
        Format::Table | Format::Wide | Format::Yaml => {
            serde_saphyr::to_string(config).map_err(std::io::Error::other)?
        }
        other => return Err(Error::usage(format!("-o {} makes no sense for a configuration", other.word()))),
    };
    Ok(context.ui.data(&text)?)
}

/// The configuration of a command that works on a cluster: the file of `--config`, or the defaults.
///
/// # Errors
/// As [`load`]; kind [`ErrorKind::Refused`] when the file is meant for another cluster.
pub(crate) fn load_for(access: &Access, file: Option<&Path>) -> Result<Config, Error> {
    let Some(file) = file else { return Ok(Config::default()) };
    let config = load(file)?;
    if let Some(meant) = &config.cluster {
        refuse_other_cluster(file, meant, access.cluster_name()?.as_deref())?;
    }
    Ok(config)
}

fn refuse_other_cluster(file: &Path, meant: &str, used: Option<&str>) -> Result<(), Error> {
    if used == Some(meant) {
        return Ok(());
    }
    let used = used.map_or_else(|| "no kubeconfig names the one in use".into(), |used| format!("this is {used}"));
    Err(Error::refused(format!("{} is meant for cluster {meant}, and {used}", file.display()))
        .hint("choose the cluster with --context, or give the configuration that is meant for it"))
}

/// Loads a configuration; what is wrong in it is wrong usage.
///
/// # Errors
/// Kind [`ErrorKind::Usage`], naming file, line and column.
pub(crate) fn load(file: &Path) -> Result<Config, Error> {
    Config::load(file).map_err(|error| Error::from(anyhow::Error::new(error)).of_kind(ErrorKind::Usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_for_another_cluster_is_refused() {
        let refused = |used| refuse_other_cluster(Path::new("certctl.yaml"), "prod", used).err();
        assert_eq!(refused(Some("prod")), None);
        for used in [Some("dev"), None] {
            let error = refused(used).unwrap();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.sentence().contains("meant for cluster prod"), "{error:?}");
        }
    }
}
