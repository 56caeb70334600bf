//! `certctl check`: the findings alone, and an exit code for CI.

use jiff::SignedDuration;

use super::inspect::sources::SourceArgs;
use crate::context::Context;
use crate::error::{Error, ErrorKind};
use crate::inspection::{Finding, Severity, findings};
use crate::ui::Format;
use crate::ui::inspect::{CheckReport, InspectReport};

/// From which severity on the command fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum FailOn {
    /// Anything found
    Info,
    /// Warnings and errors
    Warning,
    /// Errors only
    Error,
    /// Nothing
    Never,
}

/// Arguments of `certctl check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 nothing found from --fail-on upwards, 3 warnings, 4 errors, 1 something could not be looked at.

Examples:
  certctl check                                    the whole cluster
  certctl check --root / --fail-on error           this node, errors only
  certctl check --expiring-within 14d ca.crt       one file; warn two weeks before its end
  certctl check -o junit > certificates.xml        for a CI system's test report")]
pub struct CheckArgs {
    #[command(flatten)]
    sources: SourceArgs,
    /// Warn of certificates with less life left than this, for example 30d (default: 30 days or a fifth of the certificate's life,
    /// whichever is less; 90 days for a CA; a tenth of its life for what a kubelet renews by itself)
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration)]
    expiring_within: Option<SignedDuration>,
    /// Fail from this severity on: info, warning, error or never
    #[arg(long, value_name = "SEVERITY", default_value = "warning", hide_possible_values = true)]
    fail_on: FailOn,
}

pub(crate) async fn run(context: &Context, args: &CheckArgs) -> Result<(), Error> {
    let seen = args.sources.look(context, "check").await?;
    let findings = findings(&seen.evidence, args.expiring_within, context.now);
    let outcome = judge(&findings, args.fail_on);
    let report = CheckReport::new(InspectReport::new(seen.evidence, findings, context.now));
    context.ui.show(&report, context.format_or(Format::Table), context.now)?;
    match (outcome, seen.unread) {
        // An error found is worse than a file not found.
        (Err(found), _) if found.kind() == ErrorKind::FindingsError => Err(found),
        (_, Some(unread)) => Err(unread),
        (outcome, None) => outcome,
    }
}

fn judge(findings: &[Finding], fail_on: FailOn) -> Result<(), Error> {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    fail_on.judge(&[
        (Severity::Error, count(Severity::Error), "error"),
        (Severity::Warning, count(Severity::Warning), "warning"),
        (Severity::Info, count(Severity::Info), "remark"),
    ])
}

impl FailOn {
    /// The outcome of what was found: severity, how many, and the word for one.
    ///
    /// # Errors
    /// Something at or above the threshold, of the kind that the worst has.
    pub(super) fn judge(self, found: &[(Severity, usize, &str)]) -> Result<(), Error> {
        let threshold = match self {
            Self::Info => Severity::Info,
            Self::Warning => Severity::Warning,
            Self::Error => Severity::Error,
            Self::Never => return Ok(()),
        };
        let there = found.iter().filter(|(_, count, _)| *count > 0);
        let worst = there.clone().map(|(severity, ..)| *severity).max().filter(|worst| *worst >= threshold);
        let Some(worst) = worst else { return Ok(()) };
        let kind = if worst == Severity::Error { ErrorKind::FindingsError } else { ErrorKind::FindingsWarning };
        let counted: Vec<String> =
            there.map(|(_, count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" })).collect();
        Err(Error::new(kind, format!("found {}", counted.join(", "))))
    }
}
