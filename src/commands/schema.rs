//! `certctl schema`: the JSON schemas of the documents that other programs read.

use schemars::Schema;

use super::get_credentials::Credential;
use super::version::Version;
use crate::context::Context;
use crate::engine::{PlanReport, Report};
use crate::error::Error;
use crate::ui::inspect::{CheckReport, InspectReport, MapReport};
use crate::ui::renewal::{FleetReport, RenewalReport};
use crate::ui::repair::RepairReport;
use crate::ui::{DiagnosisReport, EVENT_KIND, View, event_schema, schema_of};

/// The documents, by their `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Document {
    /// `certctl inspect`
    #[value(name = "CertificateList")]
    List,
    /// `certctl check`
    #[value(name = "CertificateCheck")]
    Check,
    /// `certctl inspect --map`
    #[value(name = "CertificateMap")]
    Map,
    /// `certctl diagnose`
    #[value(name = "Diagnosis")]
    Diagnosis,
    /// `certctl renew --root`
    #[value(name = "Renewal")]
    Renewal,
    /// `certctl renew --dry-run`
    #[value(name = "FleetRenewal")]
    FleetRenewal,
    /// `certctl repair`
    #[value(name = "Repair")]
    Repair,
    /// `certctl get-credentials`
    #[value(name = "Credential")]
    Credential,
    /// `certctl rotate-ca --dry-run`
    #[value(name = "Plan")]
    Plan,
    /// `certctl rotate-ca` and `certctl renew`: one line
    #[value(name = "RotationEvent")]
    Event,
    /// `certctl status`
    #[value(name = "CARotationStatus")]
    Status,
    /// `certctl version`
    #[value(name = "Version")]
    Version,
}

impl Document {
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::List => InspectReport::KIND,
            Self::Check => CheckReport::KIND,
            Self::Map => MapReport::KIND,
            Self::Diagnosis => DiagnosisReport::KIND,
            Self::Renewal => RenewalReport::KIND,
            Self::FleetRenewal => FleetReport::KIND,
            Self::Repair => RepairReport::KIND,
            Self::Credential => Credential::KIND,
            Self::Plan => PlanReport::KIND,
            Self::Event => EVENT_KIND,
            Self::Status => Report::KIND,
            Self::Version => Version::KIND,
        }
    }

    /// Its schema as text.
    pub(super) fn schema(self) -> std::io::Result<String> {
        let schema: Schema = match self {
            Self::List => schema_of::<InspectReport>(),
            Self::Check => schema_of::<CheckReport>(),
            Self::Map => schema_of::<MapReport>(),
            Self::Diagnosis => schema_of::<DiagnosisReport>(),
            Self::Renewal => schema_of::<RenewalReport>(),
            Self::FleetRenewal => schema_of::<FleetReport>(),
            Self::Repair => schema_of::<RepairReport>(),
            Self::Credential => schema_of::<Credential>(),
            Self::Plan => schema_of::<PlanReport>(),
            Self::Event => event_schema(),
            Self::Status => schema_of::<Report>(),
            Self::Version => schema_of::<Version>(),
        };
        Ok(serde_json::to_string_pretty(&schema)? + "\n")
    }
}

/// Arguments of `certctl schema`.
#[derive(Debug, clap::Args)]
pub struct SchemaArgs {
    /// The document's kind
    #[arg(value_name = "KIND", default_value = "CertificateList")]
    document: Document,
}

pub(crate) fn run(context: &Context, args: &SchemaArgs) -> Result<(), Error> {
    Ok(context.ui.data(&args.document.schema()?)?)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn a_schema_is_asked_for_by_the_kind_that_it_demands() {
        for document in Document::value_variants() {
            let schema: serde_json::Value = serde_json::from_str(&document.schema().unwrap()).unwrap();
            let word = document.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(word, document.kind());
            assert_eq!(schema["properties"]["kind"]["const"], word);
            assert_eq!(schema["title"], word);
        }
    }
}
