//! `certctl generate` (hidden): the files of the source tree that are made from the command tree and the error table.
#![expect(clippy::disallowed_methods, reason = "it writes into the source tree")]

mod reference;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum as _;
use clap_complete::Shell;

use super::schema::Document;
use crate::config::Config;
use crate::context::Context;
use crate::diagnosis::{Check, Group};
use crate::error::{Error, ErrorKind};
use crate::inspection::FindingId;

/// Arguments of `certctl generate`.
#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// The folder that gets `completions/` and `docs/`
    folder: PathBuf,
}

pub(crate) fn run(context: &Context, args: &GenerateArgs, tree: &clap::Command) -> Result<(), Error> {
    for (path, content) in files(tree).context("cannot make the generated files")? {
        let file = args.folder.join(&path);
        write(&file, &content).with_context(|| format!("cannot write {}", file.display()))?;
        context.ui.note(&path);
    }
    Ok(())
}

fn write(file: &Path, content: &[u8]) -> std::io::Result<()> {
    file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::write(file, content)
}

/// Every generated file: path below the source tree, and content.
///
/// # Errors
/// When a page cannot be rendered, which is a bug.
pub fn files(tree: &clap::Command) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = vec![
        ("completions/certctl.bash".into(), super::completion::script(Shell::Bash, tree.clone())),
        ("completions/_certctl".into(), super::completion::script(Shell::Zsh, tree.clone())),
        ("completions/certctl.fish".into(), super::completion::script(Shell::Fish, tree.clone())),
        ("completions/certctl.ps1".into(), super::completion::script(Shell::PowerShell, tree.clone())),
        ("docs/cli-reference.md".into(), reference::page(tree.clone()).into_bytes()),
        ("docs/exit-codes.md".into(), exit_codes().into_bytes()),
        ("docs/config.schema.json".into(), schema()?.into_bytes()),
    ];
    for document in Document::value_variants() {
        files.push((format!("docs/schemas/{}.json", document.kind()), document.schema()?.into_bytes()));
    }
    files.push(("docs/findings.md".into(), findings().into_bytes()));
    files.push(("docs/diagnose-items.md".into(), items().into_bytes()));
    man_pages(tree.clone(), &mut files)?;
    Ok(files)
}

fn man_pages(mut tree: clap::Command, files: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    tree.build();
    let mut todo = vec![("certctl".to_owned(), tree)];
    while let Some((name, command)) = todo.pop() {
        for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
            todo.push((format!("{name}-{}", child.get_name()), child.clone()));
        }
        let mut page = Vec::new();
        // No date: the page must be the same whenever it is made.
        clap_mangen::Man::new(command).title(name.to_uppercase()).date("").manual("certctl").render(&mut page)?;
        files.push((format!("docs/man/{name}.1"), page));
    }
    Ok(())
}

fn schema() -> std::io::Result<String> {
    Ok(serde_json::to_string_pretty(&schemars::schema_for!(Config))? + "\n")
}

fn findings() -> String {
    let rows = FindingId::ALL.iter().map(|id| format!("| `{id}` | {} |\n", id.meaning()));
    format!(
        "# Findings\n\nMade by `certctl generate` from `src/inspection/finding.rs`. `certctl inspect` and `certctl check` report them. An id \
         keeps its meaning.\n\n| id | meaning |\n| --- | --- |\n{}",
        rows.collect::<String>()
    )
}

fn items() -> String {
    let groups = Group::ALL.iter().map(|group| format!("| `{group}` | {} |\n", group.meaning()));
    let checks = Check::ALL.iter().map(|check| format!("| `{check}` | {} |\n", check.meaning()));
    format!(
        "# Items of a diagnosis\n\nMade by `certctl generate` from `src/diagnosis/check.rs`. `certctl diagnose` shows them. A name keeps its \
         meaning.\n\n| group | demands |\n| --- | --- |\n{}\n| check | demands |\n| --- | --- |\n{}",
        groups.collect::<String>(),
        checks.collect::<String>()
    )
}

fn exit_codes() -> String {
    let rows = ErrorKind::ALL.iter().map(|kind| format!("| {} | {} |\n", kind.exit_code(), kind.meaning()));
    format!(
        "# Exit codes\n\nMade by `certctl generate` from `src/error.rs`. Scripts may rely on them: a code never gets a second \
         meaning.\n\n| code | meaning |\n| --- | --- |\n{}",
        rows.collect::<String>()
    )
}
