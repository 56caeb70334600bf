//! The folders of back-ups, one for each rotation, renewal and repair: which there are, and a name for one more.

use std::io;
use std::path::PathBuf;

use super::error::NodeError;
use super::layout::Layout;

/// This name, numbered where there is one of it already: two runs may begin in the same second.
pub(super) fn free_name(layout: &Layout, name: String) -> String {
    let mut numbered = (2..).map(|number| format!("{name}.{number}"));
    if layout.backup(&name).exists() {
        numbered.find(|numbered| !layout.backup(numbered).exists()).unwrap_or(name)
    } else {
        name
    }
}

/// Those whose name begins with `mark`, sorted by name.
///
/// # Errors
/// The folder is there and cannot be read.
pub(super) fn named(layout: &Layout, mark: &str) -> Result<Vec<PathBuf>, NodeError> {
    let folder = layout.backups();
    let listed = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(NodeError::io("read the folder", &folder))?,
    };
    let mut all: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    all.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(mark)));
    all.sort();
    Ok(all)
}
