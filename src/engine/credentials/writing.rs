//! A login put into the administrator's kubeconfigs, under kubectl's locks.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::node::{KubeconfigFiles, KubeconfigLock, in_full};
use crate::pki::{Conflict, Login, Merge, merge};

/// Longest wait for a kubectl that changes the same file.
const LOCKED: Duration = Duration::from_secs(10);
/// Pause between two tries: kubectl's lock is the existence of a file, which nothing waits for.
const TRY: Duration = Duration::from_millis(50);

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// The files that changed; none when everything was there already.
    pub files: Vec<PathBuf>,
    /// Those of them whose comments and order could not be kept.
    pub reformatted: Vec<PathBuf>,
    /// True when the login's context is the current one now.
    pub is_current: bool,
}

/// The entries that a login would overwrite. Its user need not have a credential yet.
///
/// # Errors
/// A file that cannot be read.
pub fn would_overwrite(files: &KubeconfigFiles, login: &Login) -> Result<Vec<Conflict>, Error> {
    merged(files, login, false).map(|merge| merge.conflicts)
}

/// Puts the login into the files. Only entries that `allowed` names are overwritten: what stands there may have changed since it was asked.
///
/// # Errors
/// A file that cannot be read, locked or written, or an entry that must not be overwritten.
pub async fn write(
    files: &KubeconfigFiles,
    login: &Login,
    make_current: bool,
    allowed: &[Conflict],
) -> Result<Written, Error> {
    let lock = locked(files).await?;
    let merge = merged(files, login, make_current)?;
    let known = |found: &Conflict| {
        allowed.iter().any(|one| (one.file, one.kind, &one.name) == (found.file, found.kind, &found.name))
    };
    if let Some(new) = merge.conflicts.iter().find(|found| !known(found)) {
        let path = files.path(new.file).display();
        return Err(Error::refused(format!(
            "{path}: {} `{}` was written by somebody else meanwhile",
            new.kind, new.name
        ))
        .hint("run the same command again"));
    }
    let mut written = Written { is_current: merge.is_current, ..Written::default() };
    for file in &merge.files {
        files.write(file.file, &file.text, &lock).map_err(|error| Error::failed(in_full(&error)))?;
        let path = files.path(file.file).to_path_buf();
        written.reformatted.extend(file.reformatted.then(|| path.clone()));
        written.files.push(path);
    }
    Ok(written)
}

fn merged(files: &KubeconfigFiles, login: &Login, make_current: bool) -> Result<Merge, Error> {
    let texts = files.read().map_err(|error| Error::failed(in_full(&error)))?;
    let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
    merge(&texts, files.default_file(), login, make_current)
        .map_err(|(file, error)| Error::failed(format!("{}: {error}", files.path(file).display())))
}

async fn locked(files: &KubeconfigFiles) -> Result<KubeconfigLock, Error> {
    let deadline = tokio::time::Instant::now() + LOCKED;
    loop {
        match files.try_lock().map_err(|error| Error::failed(in_full(&error)))? {
            Ok(lock) => return Ok(lock),
            Err(_) if tokio::time::Instant::now() < deadline => tokio::time::sleep(TRY).await,
            Err(held) => {
                return Err(Error::failed(format!("{} is there: another kubectl changes the file", held.display()))
                    .hint("when none is at work, it was left by one that was killed: remove it and run this again"));
            }
        }
    }
}
