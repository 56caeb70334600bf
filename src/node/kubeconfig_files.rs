//! The kubeconfigs of whoever runs this: read as kubectl reads them, locked against kubectl, written whole
//! (`k8s.io/client-go/tools/clientcmd/loader.go` and `config.go`).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::atomic;
use super::error::NodeError;
use super::layout::Layout;

/// A list of kubeconfigs, and the one of them that takes new entries.
#[derive(Clone, Debug)]
pub struct KubeconfigFiles {
    paths: Vec<PathBuf>,
    default: usize,
}

impl KubeconfigFiles {
    /// The files of a list. A new entry goes to the first that exists, else to the last (`PathOptions.GetDefaultFilename`).
    #[must_use]
    pub fn listed(paths: Vec<PathBuf>) -> Self {
        let default = paths.iter().position(|path| path.exists()).unwrap_or(paths.len().saturating_sub(1));
        Self { paths, default }
    }

    /// Position of the file that takes new entries.
    #[must_use]
    pub fn default_file(&self) -> usize {
        self.default
    }

    /// Path of a file, as it was named.
    #[must_use]
    pub fn path(&self, file: usize) -> &Path {
        self.paths.get(file).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The files' texts; one that is not there is empty.
    ///
    /// # Errors
    /// A file that is there and cannot be read as text.
    pub fn read(&self) -> Result<Vec<Zeroizing<String>>, NodeError> {
        let read = |path: &PathBuf| match fs::read_to_string(path) {
            Ok(text) => Ok(Zeroizing::new(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Zeroizing::new(String::new())),
            Err(error) => Err(NodeError::io("read", path)(error)),
        };
        self.paths.iter().map(read).collect()
    }

    /// Takes kubectl's lock of every file of the list: `FILE.lock`, made by whoever changes one of them. `Err` in the inner result names
    /// one that somebody else holds; none is held then.
    ///
    /// # Errors
    /// A folder or lock file cannot be made.
    pub fn try_lock(&self) -> Result<Result<KubeconfigLock, PathBuf>, NodeError> {
        // Always in the same order, as client-go: two who take the same locks never wait for each other.
        let mut paths = self.paths.clone();
        paths.sort();
        paths.dedup();
        let mut lock = KubeconfigLock { held: Vec::new() };
        for path in paths {
            let mut name = path.into_os_string();
            name.push(".lock");
            let name = PathBuf::from(name);
            if let Some(folder) = name.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                atomic::private_folder(folder)?;
            }
            match OpenOptions::new().write(true).create_new(true).mode(0o000).open(&name) {
                Ok(_) => lock.held.push(name),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Err(name)),
                Err(error) => return Err(NodeError::io("make the lock file", &name)(error)),
            }
        }
        Ok(Ok(lock))
    }

    /// Replaces a file with one rename, readable by its owner only. A symlink stays one: its target is replaced.
    ///
    /// # Errors
    /// The failing system call; the old file is then untouched.
    pub fn write(&self, file: usize, text: &str, _lock: &KubeconfigLock) -> Result<(), NodeError> {
        let target = Layout::new("/").resolve(self.path(file));
        atomic::replace(&in_folder(target), text.as_bytes(), atomic::SECRET)
    }
}

/// A bare file name has no folder that could be synced.
fn in_folder(path: PathBuf) -> PathBuf {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new(".").join(path),
        _ => path,
    }
}

/// The right to change the files, by client-go's rule; given back when it is dropped. A process that is killed leaves the lock files, as
/// kubectl does.
#[derive(Debug)]
pub struct KubeconfigLock {
    held: Vec<PathBuf>,
}

impl Drop for KubeconfigLock {
    fn drop(&mut self) {
        for path in &self.held {
            // What cannot be removed now is named by the next one who wants it.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(folder: &Path, names: &[&str]) -> KubeconfigFiles {
        KubeconfigFiles::listed(names.iter().map(|name| folder.join(name)).collect())
    }

    #[test]
    fn a_new_entry_goes_to_the_first_file_that_exists_else_to_the_last() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(files(folder.path(), &["a", "b"]).default_file(), 1);
        fs::write(folder.path().join("b"), "").unwrap();
        fs::write(folder.path().join("c"), "").unwrap();
        assert_eq!(files(folder.path(), &["a", "b", "c"]).default_file(), 1);
        assert_eq!(files(folder.path(), &["new"]).default_file(), 0);
    }

    #[test]
    fn kubectls_lock_keeps_us_out_and_ours_goes_with_us() {
        let folder = tempfile::tempdir().unwrap();
        let list = files(folder.path(), &["b", "a"]);
        let held = folder.path().join("b.lock");
        fs::write(&held, "").unwrap();
        assert_eq!(list.try_lock().unwrap().unwrap_err(), held);
        assert!(!folder.path().join("a.lock").exists(), "the ones already taken are given back");
        fs::remove_file(&held).unwrap();
        let lock = list.try_lock().unwrap().unwrap();
        assert!(held.exists() && folder.path().join("a.lock").exists());
        assert!(list.try_lock().unwrap().is_err());
        drop(lock);
        assert!(list.try_lock().unwrap().is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_stays_one_also_to_a_file_that_is_not_there_yet_and_the_mode_is_the_owners() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("config")).unwrap();
        let list = files(folder.path(), &["config"]);
        assert_eq!(list.read().unwrap()[0].as_str(), "");
        for text in ["one", "two"] {
            let lock = list.try_lock().unwrap().unwrap();
            list.write(0, text, &lock).unwrap();
            assert_eq!(list.read().unwrap()[0].as_str(), text);
            let mode = fs::metadata(folder.path().join("real")).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600);
            fs::set_permissions(folder.path().join("real"), fs::Permissions::from_mode(0o644)).unwrap();
        }
        assert!(fs::symlink_metadata(folder.path().join("config")).unwrap().is_symlink());
    }
}
