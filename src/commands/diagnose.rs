//! `certctl diagnose`: everything that a healthy cluster must satisfy, item by item, with the remedy.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};

use super::check::FailOn;
use super::inspect::{cluster, sources};
use crate::context::Context;
use crate::diagnosis::{Group, Item, Sight, diagnose};
use crate::engine::examine;
use crate::error::Error;
use crate::inspection::{Evidence, Severity, findings};
use crate::ui::{DiagnosisReport, Format, Summary};

/// Arguments of `certctl diagnose`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 everything is satisfied, 3 warnings or items that are not known, 4 something failed, 1 nothing could be looked at.

Examples:
  certctl diagnose                                   the whole cluster, through the agents
  certctl diagnose --group trust,serving             two groups of it
  certctl diagnose --node w-1                        what concerns one node
  certctl diagnose --root / --probe                  this node by its files and endpoints, with the API server down too
  certctl diagnose -o wide                           each item on a line of its own, with what speaks for it
  certctl diagnose -o junit > cluster.xml            for a CI system's test report")]
pub struct DiagnoseArgs {
    /// Only these groups (repeat it, or put commas between names)
    #[arg(long = "group", value_name = "NAME", value_delimiter = ',', value_parser = group_parser(), hide_possible_values = true,
          long_help = group_help())]
    groups: Vec<Group>,
    /// Judge what the files of a node below this folder show (`/` on the node itself)
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// With --root /: ask the components of this node which certificate they serve
    #[arg(long, requires = "root")]
    probe: bool,
    /// In the cluster: only what concerns these nodes
    #[arg(long = "node", value_name = "NAME", conflicts_with = "root")]
    nodes: Vec<String>,
    /// Do not ask the agents to answer, which writes into their objects; what only an answer shows is not known then
    #[arg(long, conflicts_with = "root")]
    no_ask: bool,
    /// Fail from this severity on: info, warning, error or never; what is not known counts as a warning
    #[arg(long, value_name = "SEVERITY", default_value = "warning", hide_possible_values = true)]
    fail_on: FailOn,
}

/// A name that is none is answered with the nearest one.
fn group_parser() -> impl clap::builder::TypedValueParser<Value = Group> {
    let names = Group::ALL.iter().map(|group| PossibleValue::new(group.name()).help(group.meaning()));
    PossibleValuesParser::new(names).try_map(|name| Group::named(&name).ok_or("it is no group"))
}

fn group_help() -> String {
    let lines = Group::ALL.iter().map(|group| format!("\n  {:<13} {}", group.name(), group.meaning()));
    format!("Only these groups (repeat it, or put commas between names):{}", lines.collect::<String>())
}

pub(crate) async fn run(context: &Context, args: &DiagnoseArgs) -> Result<(), Error> {
    let items = match &args.root {
        Some(root) => offline(context, root, args).await?,
        None => online(context, args).await?,
    };
    let report = DiagnosisReport::new(items, &context.ui);
    let outcome = judge(report.summary, args.fail_on);
    context.ui.show(&report, context.format_or(Format::Table), context.now)?;
    outcome
}

async fn offline(context: &Context, root: &Path, args: &DiagnoseArgs) -> Result<Vec<Item>, Error> {
    if let Some(group) = args.groups.iter().find(|group| !group.in_files()) {
        return Err(Error::usage(format!("group {group} cannot be judged by the files of a node"))
            .hint("leave --root out to ask the cluster, or choose other groups"));
    }
    if args.groups.contains(&Group::Serving) && !args.probe {
        return Err(
            Error::usage("group serving cannot be judged by files alone").hint("add --probe on the node itself")
        );
    }
    let mut evidence = Evidence::default();
    sources::add_node(root, args.probe, &[], &mut evidence).await?;
    Ok(items(context, &evidence, None, args))
}

async fn online(context: &Context, args: &DiagnoseArgs) -> Result<Vec<Item>, Error> {
    let connection = cluster::connect(context, "diagnose").await?;
    // First: what the agents answer stands in the objects that are read then.
    let sight = examine(&connection, !args.no_ask).await.map_err(|error| error.sentence());
    let evidence = cluster::look_at(&connection, &[]).await?;
    if let Some(unknown) = args.nodes.iter().find(|name| !is_there(name, &evidence, &sight)) {
        return Err(Error::failed(format!("there is no node {unknown}")).hint("`kubectl get nodes` lists them"));
    }
    let mut items = items(context, &evidence, Some(&sight), args);
    let wanted = |item: &Item| item.node.as_ref().is_some_and(|node| args.nodes.contains(node));
    items.retain(|item| args.nodes.is_empty() || wanted(item));
    Ok(items)
}

fn is_there(name: &str, evidence: &Evidence, sight: &Result<Sight, String>) -> bool {
    evidence.nodes.contains_key(name) || sight.as_ref().is_ok_and(|sight| sight.inventory.nodes.contains_key(name))
}

fn items(
    context: &Context,
    evidence: &Evidence,
    sight: Option<&Result<Sight, String>>,
    args: &DiagnoseArgs,
) -> Vec<Item> {
    let groups = if args.groups.is_empty() { Group::ALL } else { &args.groups };
    diagnose(evidence, &findings(evidence, None, context.now), sight, groups, context.now)
}

/// As `certctl check` ends.
fn judge(summary: Summary, fail_on: FailOn) -> Result<(), Error> {
    fail_on.judge(&[
        (Severity::Error, summary.failed, "failed item"),
        (Severity::Warning, summary.warnings, "warning"),
        (Severity::Warning, summary.unknown, "unknown item"),
    ])
}
