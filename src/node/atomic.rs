//! The only writer: a file is either its old self or its new self, and never readable by more than it should be.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::NodeError;

/// Mode of files with keys.
pub const SECRET: u32 = 0o600;
/// Mode of public files.
pub const PUBLIC: u32 = 0o644;

/// Temporary files start with this: a dot-file is skipped by the kubelet in its manifests folder.
const PREFIX: &str = ".certctl-tmp.";

/// O_NOFOLLOW of Linux on x86-64 and aarch64 is not the same number; nix names it.
const NOFOLLOW: i32 = nix::fcntl::OFlag::O_NOFOLLOW.bits();

/// Replaces `path` by `content` with one rename.
///
/// The temporary file stands in the same folder, is created exclusively with mode 0600 before it has content, gets mode and
/// the old file's owner, and is on disk before it is renamed; the folder is synced after. A symlink at `path` itself is
/// replaced, not followed: a caller that wants its target resolves it first ([`super::Layout::resolve`]).
///
/// # Errors
/// The failing system call with the path; the old file is then untouched.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), NodeError> {
    let (temporary, mut file) = temporary(path)?;
    let result = fill(&mut file, content, mode, path).and_then(|()| fs::rename(&temporary, path));
    if let Err(source) = result {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(NodeError::io("write", path)(source));
    }
    sync_folder(path)
}

/// Writes a file that does not exist yet: private from the first instant, with the owner of `like` where that exists, and on disk. Its name
/// counts only once its folder is synced too.
///
/// # Errors
/// The failing system call with the path.
pub(super) fn create(path: &Path, content: &[u8], mode: u32, like: &Path) -> Result<(), NodeError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(SECRET).custom_flags(NOFOLLOW);
    let written = options.open(path).and_then(|mut file| fill(&mut file, content, mode, like));
    written.map_err(NodeError::io("write", path))
}

/// A file that is written piece by piece, for what does not fit into memory: private from the first instant, in the place of the old
/// file only when it is finished, and gone when it is dropped before.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    temporary: Option<PathBuf>,
    file: File,
}

impl Draft {
    /// Begins a file with mode 0600 beside `path`.
    ///
    /// # Errors
    /// The failing system call with the path.
    pub(super) fn open(path: &Path) -> Result<Self, NodeError> {
        let (temporary, file) = temporary(path)?;
        Ok(Self { path: path.to_path_buf(), temporary: Some(temporary), file })
    }

    /// Appends.
    ///
    /// # Errors
    /// The failing system call with the path.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), NodeError> {
        self.file.write_all(piece).map_err(NodeError::io("write", &self.path))
    }

    /// Puts the file in its place with one rename, when it is on disk.
    ///
    /// # Errors
    /// The failing system call with the path; the old file is then untouched.
    pub(super) fn finish(mut self) -> Result<(), NodeError> {
        let temporary = self.temporary.as_ref().unwrap_or(&self.path);
        self.file.sync_all().map_err(NodeError::io("write", &self.path))?;
        fs::rename(temporary, &self.path).map_err(NodeError::io("write", &self.path))?;
        self.temporary = None;
        sync_folder(&self.path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What cannot be removed now is a leftover.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Replaces `to` by a copy of `from` as [`replace`] does, without holding the content in memory.
///
/// # Errors
/// The failing system call with the path; the old file is then untouched.
pub(super) fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), NodeError> {
    let mut source = File::open(from).map_err(NodeError::io("read", from))?;
    let (temporary, mut file) = temporary(to)?;
    let copied = io::copy(&mut source, &mut file).and_then(|_| finish(&file, mode, to));
    if let Err(source) = copied.and_then(|()| fs::rename(&temporary, to)) {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(NodeError::io("write", to)(source));
    }
    sync_folder(to)
}

/// Makes `link` point to `target` with one rename.
///
/// # Errors
/// The failing system call with the path.
pub(super) fn replace_symlink(link: &Path, target: &Path) -> Result<(), NodeError> {
    let temporary = temporary_name(link);
    // A leftover of the same name is our own.
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(target, &temporary).map_err(NodeError::io("make a symlink for", link))?;
    if let Err(source) = fs::rename(&temporary, link) {
        let _ = fs::remove_file(&temporary);
        return Err(NodeError::io("rename a symlink to", link)(source));
    }
    sync_folder(link)
}

/// Moves a file within one file system and syncs both folders.
///
/// # Errors
/// The failing system call with the path.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), NodeError> {
    fs::rename(from, to).map_err(NodeError::io("move", from))?;
    sync_folder(to)?;
    sync_folder(from)
}

/// Removes a file; a file that is not there is fine.
///
/// # Errors
/// Any other failure of the system call.
pub fn remove(path: &Path) -> Result<(), NodeError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(NodeError::io("remove", path)(error)),
    }
}

/// Makes a folder and its parents with mode 0700; folders that exist keep their mode.
///
/// # Errors
/// The failing system call with the path.
pub fn private_folder(path: &Path) -> Result<(), NodeError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(NodeError::io("make the folder", path))
}

/// Removes temporary files that a crash left in `folder`. To be called at start, when nothing else writes.
///
/// # Errors
/// The folder cannot be read (one that does not exist is fine) or a leftover cannot be removed.
pub(super) fn remove_leftovers(folder: &Path) -> Result<usize, NodeError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(NodeError::io("read the folder", folder)(error)),
    };
    let mut removed = 0;
    for entry in entries.flatten() {
        if is_leftover(&entry.path()) {
            remove(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// True for the name of a temporary file.
pub(super) fn is_leftover(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
}

/// A name beside `path` that no other write of this process uses.
fn temporary_name(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{PREFIX}{name}.{}.{number}", std::process::id()))
}

fn temporary(path: &Path) -> Result<(PathBuf, File), NodeError> {
    let name = temporary_name(path);
    let create = || OpenOptions::new().write(true).create_new(true).mode(SECRET).custom_flags(NOFOLLOW).open(&name);
    let file = create().or_else(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error);
        }
        // Left by a crash of a process with our number, or planted: unlinking takes the name away, never its target.
        fs::remove_file(&name)?;
        create()
    });
    match file {
        Ok(file) => Ok((name, file)),
        Err(source) => Err(NodeError::io("write", path)(source)),
    }
}

fn fill(file: &mut File, content: &[u8], mode: u32, path: &Path) -> io::Result<()> {
    // By pwrite(2): a disk that fails can then be played without failing what the runtime writes to its own descriptors.
    file.write_all_at(content, 0)?;
    finish(file, mode, path)
}

/// Owner, mode, and everything on the disk.
fn finish(file: &File, mode: u32, path: &Path) -> io::Result<()> {
    if let Ok(old) = fs::symlink_metadata(path) {
        let new = file.metadata()?;
        if old.is_file() && (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    // fchmod does not look at the umask; after fchown, which may clear bits.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> Result<(), NodeError> {
    path.parent().map_or(Ok(()), sync)
}

/// Puts the names in a folder on the disk.
///
/// # Errors
/// The failing system call with the path.
pub(super) fn sync(folder: &Path) -> Result<(), NodeError> {
    File::open(folder).and_then(|opened| opened.sync_all()).map_err(NodeError::io("sync the folder", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_mode_does_not_depend_on_the_umask_and_content_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.key");
        for umask in [0o000, 0o077] {
            let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
            let secret = replace(&path, b"one", SECRET);
            let public = replace(&folder.path().join("ca.crt"), b"two", PUBLIC);
            nix::sys::stat::umask(old);
            secret.unwrap();
            public.unwrap();
            assert_eq!(mode(&path), 0o600);
            assert_eq!(mode(&folder.path().join("ca.crt")), 0o644);
        }
        replace(&path, b"three", SECRET).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn the_temporary_file_is_private_before_it_has_content() {
        let folder = tempfile::tempdir().unwrap();
        let old = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        let made = temporary(&folder.path().join("x.key"));
        nix::sys::stat::umask(old);
        let (name, file) = made.unwrap();
        assert_eq!(mode(&name), 0o600);
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn a_planted_symlink_is_neither_followed_as_target_nor_as_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let path = folder.path().join("ca.crt");
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        replace(&path, b"new", PUBLIC).unwrap();
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");

        // Every temporary name that the next writes could take.
        let next = temporary_name(&path).to_string_lossy().into_owned();
        let (stem, number) = next.rsplit_once('.').unwrap();
        let number: u64 = number.parse().unwrap();
        for n in number..number + 64 {
            std::os::unix::fs::symlink(&victim, format!("{stem}.{n}")).unwrap();
        }
        replace(&path, b"again", PUBLIC).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"again");
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("is-a-folder");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("x"), "").unwrap();
        let error = replace(&target, b"new", PUBLIC).unwrap_err();
        assert!(error.to_string().contains("is-a-folder"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_of_a_crash_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".certctl-tmp.ca.crt.1.0"), "half").unwrap();
        fs::write(folder.path().join("ca.crt"), "whole").unwrap();
        assert_eq!(remove_leftovers(folder.path()).unwrap(), 1);
        assert_eq!(remove_leftovers(&folder.path().join("absent")).unwrap(), 0);
        assert!(folder.path().join("ca.crt").exists());
    }

    #[test]
    fn a_symlink_moves_on_with_one_rename() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("current");
        replace_symlink(&link, Path::new("a")).unwrap();
        replace_symlink(&link, Path::new("b")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("b"));
    }

    #[test]
    fn private_folders_are_0700() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        private_folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        private_folder(&path).unwrap();
    }
}
