//! The reference page of the command line, in Markdown.

use std::fmt::Write as _;

/// The page: one section per command, its help text as the terminal shows it.
pub(super) fn page(mut tree: clap::Command) -> String {
    tree = tree.term_width(100);
    tree.build();
    let mut page = String::from("# Command line reference\n\nMade by `certctl generate` from the command tree.\n");
    section(&mut tree, "certctl", &mut page);
    page
}

fn section(command: &mut clap::Command, name: &str, page: &mut String) {
    let help = command.render_long_help().to_string();
    let trimmed: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", trimmed.trim_end());
    for child in command.get_subcommands_mut().filter(|child| !child.is_hide_set()) {
        let name = format!("{name} {}", child.get_name());
        // Global flags are said once, at the top.
        *child = child.clone().mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
        section(child, &name, page);
    }
}
