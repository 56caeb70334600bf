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
    for folder in ["completions", "docs/man"] {
        for file in names(&root.join(folder))? {
            let path = format!("{folder}/{file}");
            assert!(made.contains(&path), "{path} is made by nothing; remove it");
        }
    }
    Ok(())
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
