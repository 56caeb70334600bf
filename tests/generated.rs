//! Completions, man pages, the reference and the published tables in the tree are those that this source makes.
#![expect(clippy::disallowed_methods, reason = "it reads the source tree")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use certctl::cli::command_tree;
use certctl::commands::generate;

/// Of the clone that runs the test: clones share one build folder, so the one that built it may be another.
fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo"))
}

#[test]
fn generated_files_are_up_to_date() -> io::Result<()> {
    let root = root();
    let files = generate::files(&command_tree(false))?;
    let stale: Vec<&str> = files
        .iter()
        .filter(|(path, content)| fs::read(root.join(path)).ok().as_deref() != Some(content.as_slice()))
        .map(|(path, _)| path.as_str())
        .collect();
    assert!(stale.is_empty(), "run `make completions`; these files differ: {}", stale.join(", "));
    Ok(())
}

#[test]
fn no_generated_file_is_left_over() -> io::Result<()> {
    let root = root();
    let made: BTreeSet<String> = generate::files(&command_tree(false))?.into_iter().map(|(path, _)| path).collect();
    for folder in ["completions", "docs/man", "docs/schemas"] {
        for file in names(&root.join(folder))? {
            let path = format!("{folder}/{file}");
            assert!(made.contains(&path), "{path} is made by nothing; remove it");
        }
    }
    Ok(())
}

/// Whoever prints a new document has to publish its schema: `Document` in `src/commands/schema.rs`, and `docs/schema.md`.
#[test]
fn every_document_has_a_schema() -> io::Result<()> {
    let files = generate::files(&command_tree(false))?;
    let published = |kind: &str| files.iter().any(|(path, _)| *path == format!("docs/schemas/{kind}.json"));
    let printed = printed_kinds(&root().join("src"))?;
    assert!(printed.contains("CertificateList") && printed.contains("RotationEvent"), "{printed:?}");
    let missing: Vec<&String> = printed.iter().filter(|kind| !published(kind)).collect();
    assert!(missing.is_empty(), "`certctl schema` does not know {missing:?}");
    let page = fs::read_to_string(root().join("docs/schema.md"))?;
    let unlisted: Vec<&String> =
        printed.iter().filter(|kind| !page.contains(&format!("(schemas/{kind}.json)"))).collect();
    assert!(unlisted.is_empty(), "docs/schema.md does not list {unlisted:?}");
    Ok(())
}

/// The kinds of all views and of the events, by their constants.
fn printed_kinds(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut kinds = BTreeSet::new();
    for name in names(folder)? {
        let path = folder.join(name);
        if path.is_dir() {
            kinds.extend(printed_kinds(&path)?);
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let code = text.split("#[cfg(test)]\npub(crate) mod tests").next().unwrap_or_default();
        for constant in ["const KIND: &'static str = \"", "const EVENT_KIND: &str = \""] {
            kinds.extend(code.split(constant).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    Ok(kinds)
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
