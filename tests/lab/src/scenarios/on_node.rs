//! The program under test as an administrator uses it on a node itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result};

use super::bench::Bench;
use super::command::{Done, finished};
use crate::container;
use crate::node::Node;

pub const PROGRAM: &str = "/usr/local/bin/certctl";

/// Puts the program on a node.
pub fn furnish(bench: &Bench, node: &Node) -> Result<()> {
    let program = node.root().join(PROGRAM.trim_start_matches('/'));
    fs::create_dir_all(program.parent().context("no folder")?)?;
    // Not over the file of a program that may run.
    let beside = program.with_extension("new");
    fs::copy(&bench.certctl, &beside)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755))?;
    Ok(fs::rename(beside, program)?)
}

pub fn certctl(node: &Node, words: &[&str]) -> Command {
    let mut exec = container::inside(node, [PROGRAM]);
    exec.args(words);
    exec
}

/// Runs it to its end.
pub fn on(node: &Node, words: &[&str]) -> Result<Done> {
    finished(&mut certctl(node, words))
}

pub fn on_first(bench: &Bench, words: &[&str]) -> Result<Done> {
    on(bench.record.first_control_plane()?, words)
}
