//! `certctl schema`: the JSON schemas of the documents that other programs read.

use schemars::Schema;

use super::get_credentials::Credential;
use crate::context::Context;
use crate::error::Error;
use crate::ui::inspect::{CheckReport, InspectReport, MapReport};
use crate::ui::renewal::{FleetReport, RenewalReport};
use crate::ui::repair::RepairReport;
use crate::ui::{DiagnosisReport, View, schema_of};

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
}

impl Document {
    pub(super) const ALL: [Self; 8] = [
        Self::List,
        Self::Check,
        Self::Map,
        Self::Diagnosis,
        Self::Renewal,
        Self::FleetRenewal,
        Self::Repair,
        Self::Credential,
    ];

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
