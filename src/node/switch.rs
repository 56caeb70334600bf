//! Files that belong together are replaced together: at every instant, and after a crash at any instant, all of a set are the old ones or
//! all are the new ones.
//!
//! One rename changes one name, and kubeadm keeps a certificate and its key under two. So for the moment of the change both names become
//! symlinks that lead through one link, and it is the link that is moved on:
//!
//! ```text
//! apiserver.crt ─► .certctl-set.apiserver/apiserver.crt ─┐   .certctl-set.apiserver ─► .certctl-set.apiserver.old, then .new
//! apiserver.key ─► .certctl-set.apiserver/apiserver.key ─┘
//! ```
//!
//! 1. the new files are written into the `.new` folder, for every set, before any name changes: a full disk shows here;
//! 2. the `.old` folder gets hard links of the old files, and the link leads there;
//! 3. each name becomes a symlink through the link: to the file that it was;
//! 4. the link is moved on to `.new`: the one rename that changes all of them;
//! 5. each name becomes a plain file again, the one to which it led, and the rest is removed.
//!
//! The folder is synced after each step. Where a crash leaves it is seen from the link: [`recover`] completes step 5 for `.old` or `.new`.
//! The symlinks are relative and stay within the folder, so that a pod that has the folder mounted can follow them; its watch on the old file
//! (fsnotify in `k8s.io/apiserver/pkg/server/dynamiccertificates`) fires when the last of its links goes, in step 5.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::atomic;
use super::error::NodeError;

/// Names of links and folders start with this.
const MARK: &str = ".certctl-set.";
const OLD: &str = ".old";
const NEW: &str = ".new";

/// A file of a set.
pub(super) struct NewFile {
    /// Its name in the folder.
    pub(super) name: String,
    /// What it shall hold.
    pub(super) content: Zeroizing<Vec<u8>>,
    /// Its mode.
    pub(super) mode: u32,
}

/// Files of one folder that change together.
pub(super) struct FileSet {
    /// The folder.
    pub(super) folder: PathBuf,
    /// A name for the set, unique in the folder.
    pub(super) name: String,
    /// Its files.
    pub(super) files: Vec<NewFile>,
}

/// How a change that a crash cut off has been put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Path of the set: its folder and its name.
    pub path: PathBuf,
    /// True when its files are the new ones.
    pub renewed: bool,
}

/// Replaces the files of every set.
///
/// # Errors
/// The first failing call. Up to step 4 of the last set everything is then put back as it was; after it everything is new, and what could not
/// be tidied up is the business of [`recover`], as is what could not be put back: [`NodeError::Callback`] says that files may be new.
pub(super) fn replace_all(sets: &[FileSet]) -> Result<(), NodeError> {
    sets.iter().try_for_each(FileSet::check)?;
    let staged = sets.iter().try_for_each(FileSet::stage);
    let switched = staged.and_then(|()| sets.iter().try_for_each(FileSet::switch));
    if let Err(error) = switched {
        let mut cut_off = false;
        for set in sets {
            if let Err(second) = set.put_back() {
                tracing::warn!(set = set.name, error = %second, "could not be tidied up; the same command does it");
                // Without a link only folders are left beside the old files. With one, its side counts, and that may be the new one.
                cut_off |= !matches!(points_to(&set.link()), Ok(None));
            }
        }
        // The first error is the one to report.
        return Err(if cut_off {
            NodeError::Callback {
                what: "the change was cut off and could not be taken back: run the same command again".to_owned(),
                source: Box::new(error),
            }
        } else {
            error
        });
    }
    sets.iter().try_for_each(|set| settle(&set.folder, &set.name).map(|_| ())).map_err(|error| NodeError::Callback {
        what: "the files are replaced, but something is left to tidy up: run the same command again".to_owned(),
        source: Box::new(error),
    })
}

/// Puts right what a crash has left in `folder`. To be called before anything else is written there, and when nobody else writes there.
///
/// # Errors
/// The failing call; a folder that does not exist is fine.
pub(super) fn recover(folder: &Path) -> Result<Vec<Recovered>, NodeError> {
    let mut names = BTreeSet::new();
    for entry in entries(folder)? {
        if let Some(rest) = entry.strip_prefix(MARK) {
            names.insert(rest.strip_suffix(OLD).or(rest.strip_suffix(NEW)).unwrap_or(rest).to_owned());
        }
    }
    let settled = names.into_iter().map(|name| {
        let renewed = settle(folder, &name)?;
        Ok(renewed.map(|renewed| Recovered { path: folder.join(&name), renewed }))
    });
    settled.filter_map(Result::transpose).collect()
}

impl FileSet {
    fn link(&self) -> PathBuf {
        self.folder.join(link_name(&self.name))
    }

    fn side(&self, side: &str) -> PathBuf {
        self.folder.join(side_name(&self.name, side))
    }

    /// Only plain files are replaced: what is something else was put there for a reason that is not known here.
    fn check(&self) -> Result<(), NodeError> {
        for file in &self.files {
            let path = self.folder.join(&file.name);
            match fs::symlink_metadata(&path) {
                Ok(data) if data.is_file() => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(_) => return Err(NodeError::io("replace", &path)(io::Error::other("it is not a regular file"))),
                Err(error) => return Err(NodeError::io("read", &path)(error)),
            }
        }
        Ok(())
    }

    fn stage(&self) -> Result<(), NodeError> {
        let folder = self.side(NEW);
        self.make(&folder)?;
        for file in &self.files {
            let like = self.folder.join(&file.name);
            atomic::create(&folder.join(&file.name), &file.content, file.mode, &like)?;
        }
        atomic::sync(&folder)
    }

    fn switch(&self) -> Result<(), NodeError> {
        let old = self.side(OLD);
        self.make(&old)?;
        for file in &self.files {
            let path = self.folder.join(&file.name);
            match fs::hard_link(&path, old.join(&file.name)) {
                Ok(()) => {}
                // A key that was lost: until the link is moved on, it stays so.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(NodeError::io("link", &path)(error)),
            }
        }
        atomic::sync(&old)?;
        atomic::replace_symlink(&self.link(), Path::new(&side_name(&self.name, OLD)))?;
        for file in &self.files {
            let through = Path::new(&link_name(&self.name)).join(&file.name);
            atomic::replace_symlink(&self.folder.join(&file.name), &through)?;
        }
        atomic::replace_symlink(&self.link(), Path::new(&side_name(&self.name, NEW)))
    }

    fn put_back(&self) -> Result<(), NodeError> {
        if points_to(&self.link())?.is_some() {
            atomic::replace_symlink(&self.link(), Path::new(&side_name(&self.name, OLD)))?;
        }
        settle(&self.folder, &self.name).map(|_| ())
    }

    /// With the mode of the folder that it stands in, whatever the umask is: a component that is not root must be able to go through it.
    fn make(&self, side: &Path) -> Result<(), NodeError> {
        let mode =
            fs::metadata(&self.folder).map_err(NodeError::io("read", &self.folder))?.permissions().mode() & 0o755;
        DirBuilder::new().mode(0o700).create(side).map_err(NodeError::io("make the folder", side))?;
        let permissions = fs::Permissions::from_mode(mode | 0o700);
        fs::set_permissions(side, permissions).map_err(NodeError::io("set the mode of", side))
    }
}

fn link_name(name: &str) -> String {
    format!("{MARK}{name}")
}

fn side_name(name: &str, side: &str) -> String {
    format!("{MARK}{name}{side}")
}

/// Step 5, for whichever side the link leads to: `Some(true)` for the new one. Without a link no name leads through it, and only folders go.
fn settle(folder: &Path, name: &str) -> Result<Option<bool>, NodeError> {
    let link = folder.join(link_name(name));
    let side = points_to(&link)?;
    if let Some(side) = &side {
        for entry in entries(folder)? {
            let path = folder.join(&entry);
            let target = fs::read_link(&path).ok().filter(|target| target.starts_with(link_name(name)));
            let Some(file) = target.as_deref().and_then(Path::file_name) else { continue };
            match fs::rename(folder.join(side).join(file), &path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => atomic::remove(&path)?,
                Err(error) => return Err(NodeError::io("write", &path)(error)),
            }
        }
        atomic::sync(folder)?;
        atomic::remove(&link)?;
    }
    for side in [OLD, NEW] {
        clear(&folder.join(side_name(name, side)))?;
    }
    atomic::sync(folder)?;
    Ok(side.map(|side| side == side_name(name, NEW)))
}

/// Where the link leads; `None` without a link.
fn points_to(link: &Path) -> Result<Option<String>, NodeError> {
    match fs::read_link(link) {
        Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NodeError::io("read", link)(error)),
    }
}

/// Removes one of the two folders with the files in it.
fn clear(side: &Path) -> Result<(), NodeError> {
    for entry in entries(side)? {
        let path = side.join(entry);
        fs::remove_file(&path).map_err(NodeError::io("remove", &path))?;
    }
    match fs::remove_dir(side) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(NodeError::io("remove", side)(error)),
        _ => Ok(()),
    }
}

/// The names in a folder; none when it does not exist.
fn entries(folder: &Path) -> Result<Vec<String>, NodeError> {
    let listed = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect()
    });
    match listed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(NodeError::io("read the folder", folder)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn set(folder: &Path, word: &str) -> FileSet {
        let file = |name: &str, mode| NewFile {
            name: name.to_owned(),
            content: Zeroizing::new(format!("{word} {name}").into_bytes()),
            mode,
        };
        FileSet {
            folder: folder.to_path_buf(),
            name: "apiserver".into(),
            files: vec![file("apiserver.key", 0o600), file("apiserver.crt", 0o644)],
        }
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in set(folder.path(), "old").files {
            fs::write(folder.path().join(&file.name), &*file.content).unwrap();
            fs::set_permissions(folder.path().join(&file.name), fs::Permissions::from_mode(file.mode)).unwrap();
        }
        folder
    }

    fn content(folder: &Path) -> [String; 2] {
        ["apiserver.key", "apiserver.crt"].map(|name| fs::read_to_string(folder.join(name)).unwrap())
    }

    fn is_stock(folder: &Path) -> bool {
        let names: BTreeSet<String> = entries(folder).unwrap().into_iter().collect();
        let plain = |name: &String| fs::symlink_metadata(folder.join(name)).unwrap().is_file();
        names == BTreeSet::from(["apiserver.crt".to_owned(), "apiserver.key".to_owned()]) && names.iter().all(plain)
    }

    const OLD_PAIR: [&str; 2] = ["old apiserver.key", "old apiserver.crt"];
    const NEW_PAIR: [&str; 2] = ["new apiserver.key", "new apiserver.crt"];

    #[test]
    fn both_files_are_new_and_plain_with_their_modes() {
        let folder = folder();
        replace_all(&[set(folder.path(), "new")]).unwrap();
        assert_eq!(content(folder.path()), NEW_PAIR);
        assert!(is_stock(folder.path()));
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("apiserver.key"), mode("apiserver.crt")), (0o600, 0o644));
    }

    #[test]
    fn a_crash_before_the_link_moves_leaves_the_old_pair_and_one_after_it_the_new() {
        for (moved, wanted) in [(false, OLD_PAIR), (true, NEW_PAIR)] {
            let folder = folder();
            let set = set(folder.path(), "new");
            set.stage().unwrap();
            set.switch().unwrap();
            if !moved {
                atomic::replace_symlink(&set.link(), Path::new(&side_name(&set.name, OLD))).unwrap();
            }
            assert_eq!(content(folder.path()), wanted, "while it stands so");
            let recovered = recover(folder.path()).unwrap();
            assert_eq!(recovered, [Recovered { path: folder.path().join("apiserver"), renewed: moved }]);
            assert_eq!(content(folder.path()), wanted);
            assert!(is_stock(folder.path()));
            assert_eq!(recover(folder.path()).unwrap(), []);
        }
    }

    #[test]
    fn a_set_that_fails_puts_back_the_sets_before_it() {
        let (one, two) = (folder(), folder());
        // Its old side cannot be made.
        fs::create_dir(two.path().join(side_name("apiserver", OLD))).unwrap();
        let error = replace_all(&[set(one.path(), "new"), set(two.path(), "new")]).unwrap_err();
        assert!(error.to_string().contains("apiserver.old"), "{error}");
        for folder in [one, two] {
            assert_eq!(content(folder.path()), OLD_PAIR);
            assert!(is_stock(folder.path()));
        }
    }

    #[test]
    fn a_lost_key_comes_back_and_stays_lost_when_the_change_does() {
        let folder = folder();
        fs::remove_file(folder.path().join("apiserver.key")).unwrap();
        let set = set(folder.path(), "new");
        set.stage().unwrap();
        set.switch().unwrap();
        set.put_back().unwrap();
        assert_eq!(entries(folder.path()).unwrap(), ["apiserver.crt"]);
        replace_all(&[set]).unwrap();
        assert_eq!(content(folder.path()), NEW_PAIR);
    }

    #[test]
    fn what_is_no_plain_file_is_refused_before_anything_changes() {
        let folder = folder();
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(folder.path().join("apiserver.key"), &elsewhere).unwrap();
        std::os::unix::fs::symlink("elsewhere", folder.path().join("apiserver.key")).unwrap();
        let error = replace_all(&[set(folder.path(), "new")]).unwrap_err();
        assert!(crate::node::in_full(&error).ends_with("apiserver.key: it is not a regular file"), "{error}");
        assert_eq!(content(folder.path()), OLD_PAIR);
        assert_eq!(entries(folder.path()).unwrap().len(), 3);
    }
}
