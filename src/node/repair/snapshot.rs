//! The state before a repair: a copy of every file that a repair may replace, with what else there is to know of it, so that it can be put
//! back byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::node::error::NodeError;
use crate::node::layout::Layout;
use crate::node::loaded::digest;
use crate::node::renewal::pair;
use crate::node::switch::{FileSet, NewFile, replace_all};
use crate::node::{atomic, backups};
use crate::plan::renewal::{AuthorityName, CertificateName, Place};

/// Names of snapshots start with this.
const MARK: &str = "repair-";
/// Written last: without it a snapshot is not complete, and nothing was changed yet.
const INDEX: &str = "index.json";
/// A repair that was cut off is gone on with for so long.
const GOES_ON: SignedDuration = SignedDuration::from_hours(24);
/// How many are kept: they hold private keys.
const KEPT: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Stage {
    /// Files may have been replaced, not all of them: the next run goes on, and this stays the state before.
    Begun,
    /// The repair has written everything.
    Done,
    /// It was put back.
    Undone,
}

/// What stood at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
enum Was {
    File {
        mode: u32,
    },
    Link {
        target: String,
    },
    Absent,
    /// Something that no repair touches.
    Other,
}

#[derive(Debug, Serialize, Deserialize)]
struct Index {
    stage: Stage,
    /// Counts up: the time in the folder's name is that of a clock that may have been wrong.
    #[serde(default)]
    number: u64,
    entries: BTreeMap<String, Was>,
    /// What the repair has put at a path: digest of the content, or the target of a link. Only that is ever put back: a renewal, a rotation or
    /// the kubelet may have written since. Several after a run that was cut off.
    #[serde(default)]
    wrote: BTreeMap<String, BTreeSet<String>>,
}

/// What an undo has done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PutBack {
    /// Paths on the node that are again as they were.
    pub changed: Vec<String>,
    /// Paths on the node that somebody else has written since the repair: they stay.
    pub kept: Vec<String>,
}

/// One snapshot.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    layout: &'a Layout,
    folder: PathBuf,
    index: Index,
}

impl<'a> Snapshot<'a> {
    /// The snapshot of the repair that was begun and not finished, else a new one. Covers what a repair may replace, and `also`.
    pub(super) fn take(layout: &'a Layout, also: &[String], now: Timestamp) -> Result<Self, NodeError> {
        let mut paths = covered(layout);
        paths.extend_from_slice(also);
        let name = |time: Timestamp| format!("{MARK}{}", time.strftime("%Y%m%dT%H%M%SZ"));
        // One that is older is not what this command goes on from: the node has had another life since.
        let recent = name(now.checked_sub(GOES_ON).unwrap_or(Timestamp::MIN));
        let goes_on = |newest: &Self| newest.index.stage == Stage::Begun && newest.name() >= recent;
        let newest = complete(layout)?.pop();
        let number = newest.as_ref().map_or(1, |newest| newest.index.number + 1);
        if let Some(mut begun) = newest.filter(goes_on) {
            begun.cover(&paths)?;
            return Ok(begun);
        }
        remove_unfinished(layout)?;
        let folder = layout.backup(&backups::free_name(layout, name(now)));
        atomic::private_folder(&folder)?;
        let index = Index { stage: Stage::Begun, number, entries: BTreeMap::new(), wrote: BTreeMap::new() };
        let mut snapshot = Self { layout, folder, index };
        snapshot.cover(&paths)?;
        Ok(snapshot)
    }

    /// Says what is about to be put where; before it is done.
    pub(super) fn will_write<'c>(&mut self, new: impl Iterator<Item = (String, &'c [u8])>) -> Result<(), NodeError> {
        for (on_node, content) in new {
            self.index.wrote.entry(on_node).or_default().insert(digest(content));
        }
        self.save()
    }

    /// The newest that has not been put back yet; `None` without one.
    pub(super) fn last(layout: &'a Layout) -> Result<Option<Self>, NodeError> {
        let mut all = complete(layout)?;
        all.retain(|snapshot| snapshot.index.stage != Stage::Undone);
        Ok(all.pop())
    }

    /// Path on the node, for messages.
    pub(super) fn on_node(&self) -> String {
        self.layout.on_node(&self.folder)
    }

    /// Name of the folder.
    pub(super) fn name(&self) -> String {
        name_of(&self.folder)
    }

    /// Paths on the node that hold what the repair has put there.
    pub(super) fn changed(&self) -> Vec<String> {
        self.stands(true)
    }

    /// Paths that are not as they were: by this repair, or by somebody since.
    fn stands(&self, ours: bool) -> Vec<String> {
        let entries = self.index.entries.iter().filter(|(path, was)| !self.is_as_it_was(path, was));
        entries.map(|(path, _)| path.clone()).filter(|path| self.is_ours(path) == ours).collect()
    }

    fn is_ours(&self, on_node: &str) -> bool {
        let path = self.layout.path(on_node);
        let stands = match look(&path) {
            Ok(Was::Link { target }) => Some(digest(target.as_bytes())),
            Ok(Was::File { .. }) => fs::read(&path).ok().map(Zeroizing::new).map(|content| digest(&content)),
            _ => None,
        };
        let wrote = self.index.wrote.get(on_node);
        stands.is_some_and(|stands| wrote.is_some_and(|wrote| wrote.contains(&stands)))
    }

    /// Everything is written.
    pub(super) fn finish(&mut self) -> Result<(), NodeError> {
        self.index.stage = Stage::Done;
        self.save()?;
        let all = complete(self.layout)?;
        let surplus = all.len().saturating_sub(KEPT);
        for old in all.into_iter().take(surplus) {
            fs::remove_dir_all(&old.folder).map_err(NodeError::io("remove", &old.folder))?;
        }
        Ok(())
    }

    /// Nothing was changed after all: another repair begins with a snapshot of its own.
    pub(super) fn give_up(&mut self) -> Result<(), NodeError> {
        self.index.stage = Stage::Undone;
        self.save()
    }

    /// Puts back as it was what the repair has written. A certificate and its key change together; what was cut off is done again.
    pub(super) fn put_back(&mut self) -> Result<PutBack, NodeError> {
        let mut kept: BTreeSet<String> = self.stands(false).into_iter().collect();
        // Half of a pair would not fit the other half.
        for files in pairs() {
            if files.iter().any(|file| kept.contains(file)) {
                kept.extend(files);
            }
        }
        let mut changed = Vec::new();
        for set in self.sets(&kept)? {
            let names = set.files.iter().map(|file| self.layout.on_node(&set.folder.join(&file.name)));
            changed.extend(names);
            replace_all(&[set])?;
        }
        // What was not there goes last: until the kubelet's link is back, it leads to such a file.
        let (absent, present): (Vec<_>, Vec<_>) =
            self.index.entries.iter().partition(|(_, was)| matches!(was, Was::Absent));
        for (on_node, was) in present.into_iter().chain(absent) {
            let path = self.layout.path(on_node);
            if kept.contains(on_node) || self.is_as_it_was(on_node, was) {
                continue;
            }
            match was {
                Was::File { mode } => atomic::replace(&path, &self.content(on_node)?, *mode)?,
                Was::Link { target } => atomic::replace_symlink(&path, Path::new(target))?,
                Was::Absent => atomic::remove(&path)?,
                Was::Other => continue,
            }
            changed.push(on_node.clone());
        }
        self.index.stage = Stage::Undone;
        self.save()?;
        changed.sort();
        Ok(PutBack { changed, kept: kept.into_iter().collect() })
    }

    /// The pairs of which both files were there and are not as they were.
    fn sets(&self, kept: &BTreeSet<String>) -> Result<Vec<FileSet>, NodeError> {
        let mut sets = Vec::new();
        for files in pairs().filter(|files| !files.iter().any(|file| kept.contains(file))) {
            let modes = files.clone().map(|file| match self.index.entries.get(&file) {
                Some(Was::File { mode }) => Some(*mode),
                _ => None,
            });
            let [Some(cert), Some(key)] = modes else { continue };
            if files.iter().all(|file| self.index.entries.get(file).is_some_and(|was| self.is_as_it_was(file, was))) {
                continue;
            }
            let mut set = FileSet { folder: PathBuf::new(), name: name_of(Path::new(&files[0])), files: Vec::new() };
            for (file, mode) in files.iter().zip([cert, key]) {
                let path = self.layout.path(file);
                set.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
                set.files.push(NewFile { name: name_of(&path), content: self.content(file)?, mode });
            }
            sets.push(set);
        }
        Ok(sets)
    }

    fn is_as_it_was(&self, on_node: &str, was: &Was) -> bool {
        let path = self.layout.path(on_node);
        if look(&path).is_ok_and(|now| now != *was) {
            return false;
        }
        let same = || Some(*fs::read(&path).ok()? == **self.content(on_node).ok()?);
        !matches!(was, Was::File { .. }) || same().unwrap_or(false)
    }

    fn content(&self, on_node: &str) -> Result<Zeroizing<Vec<u8>>, NodeError> {
        let copy = self.copy(on_node);
        fs::read(&copy).map(Zeroizing::new).map_err(NodeError::io("read", &copy))
    }

    fn copy(&self, on_node: &str) -> PathBuf {
        self.folder.join(on_node.trim_start_matches('/'))
    }

    /// Copies what is not in it yet.
    fn cover(&mut self, paths: &[String]) -> Result<(), NodeError> {
        let mut new = false;
        for on_node in paths {
            if self.index.entries.contains_key(on_node) {
                continue;
            }
            new = true;
            let path = self.layout.path(on_node);
            let was = look(&path).map_err(NodeError::io("read", &path))?;
            if matches!(was, Was::File { .. }) {
                let copy = self.copy(on_node);
                if let Some(folder) = copy.parent() {
                    atomic::private_folder(folder)?;
                }
                atomic::copy(&path, &copy, atomic::SECRET)?;
            }
            self.index.entries.insert(on_node.clone(), was);
        }
        if new { self.save() } else { Ok(()) }
    }

    fn save(&self) -> Result<(), NodeError> {
        let path = self.folder.join(INDEX);
        let text = serde_json::to_string_pretty(&self.index).map_err(|error| record(self.layout, &path, &error))?;
        atomic::replace(&path, text.as_bytes(), atomic::SECRET)
    }
}

/// Certificate and key of those that are files of their own.
fn pairs() -> impl Iterator<Item = [String; 2]> {
    CertificateName::ALL.into_iter().filter_map(|name| match name.place() {
        Place::Pair(stem) => Some(pair(stem)),
        _ => None,
    })
}

/// Everything that a repair may replace. CA keys are not among it: they stay.
fn covered(layout: &Layout) -> Vec<String> {
    let mut paths: Vec<String> = AuthorityName::ALL.iter().map(|name| name.certificate().to_owned()).collect();
    for name in CertificateName::ALL {
        paths.extend(name.files());
        if let Place::Linked(link) = name.place() {
            let target = layout.on_node(&layout.resolve(&layout.path(link)));
            if target != link {
                paths.push(target);
            }
        }
    }
    paths
}

fn look(path: &Path) -> io::Result<Was> {
    let data = match fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Was::Absent),
        Err(error) => return Err(error),
    };
    Ok(if data.is_symlink() {
        Was::Link { target: fs::read_link(path)?.to_string_lossy().into_owned() }
    } else if data.is_file() {
        Was::File { mode: data.permissions().mode() & 0o7777 }
    } else {
        Was::Other
    })
}

/// Those with an index, oldest first.
fn complete(layout: &Layout) -> Result<Vec<Snapshot<'_>>, NodeError> {
    let mut all: Vec<Snapshot<'_>> = Vec::new();
    for folder in backups::named(layout, MARK)? {
        let path = folder.join(INDEX);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(NodeError::io("read", &path)(error)),
        };
        let index = serde_json::from_str(&text).map_err(|error| record(layout, &path, &error))?;
        all.push(Snapshot { layout, folder, index });
    }
    all.sort_by_key(|snapshot| snapshot.index.number);
    Ok(all)
}

/// What a crash has left of a snapshot before anything was changed.
fn remove_unfinished(layout: &Layout) -> Result<(), NodeError> {
    for folder in backups::named(layout, MARK)?.into_iter().filter(|folder| !folder.join(INDEX).exists()) {
        fs::remove_dir_all(&folder).map_err(NodeError::io("remove", &folder))?;
    }
    Ok(())
}

fn record(layout: &Layout, path: &Path, error: &serde_json::Error) -> NodeError {
    NodeError::Record { path: layout.on_node(path), problem: error.to_string() }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
