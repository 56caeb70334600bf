//! Where a lane's credentials come from, request by request.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::kubeconfig::{Credentials, Trust};
use super::newcomer::Newcomer;

/// The credentials of a client, asked for before each request.
#[derive(Clone)]
pub enum Source {
    /// Copied once, never looked at again: a user who was away during the rotation.
    Fixed(Rc<Credentials>),
    /// The file as it is now: a user who runs kubectl.
    File(Rc<KubeconfigFile>),
    Newcomer(Rc<Newcomer>),
    /// A pod on the cluster's network, asked without TLS; its own connection to the API server is what is tested.
    Plain,
}

impl Source {
    pub fn current(&self) -> Result<Option<Rc<Credentials>>, String> {
        match self {
            Source::Fixed(credentials) => Ok(Some(Rc::clone(credentials))),
            Source::File(file) => file.current().map(Some),
            Source::Newcomer(newcomer) => newcomer.current().map(Some),
            Source::Plain => Ok(None),
        }
    }
}

/// A kubeconfig that is read again whenever it has changed.
pub struct KubeconfigFile {
    path: PathBuf,
    trust: Trust,
    read: RefCell<Option<(Stamp, Reading)>>,
}

/// The credentials, or why there are none.
type Reading = Result<Rc<Credentials>, String>;

/// Inode, size, and time of the last change: a renamed-in file has another inode, a rewritten one another time.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

impl KubeconfigFile {
    pub fn new(path: PathBuf, trust: Trust) -> KubeconfigFile {
        KubeconfigFile { path, trust, read: RefCell::new(None) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file that cannot be read or is half-written is an error for as long as it is so: kubectl would fail too.
    pub fn current(&self) -> Reading {
        let found = std::fs::metadata(&self.path).map_err(|error| format!("{}: {error}", self.path.display()))?;
        let stamp = Stamp(found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        if let Some((seen, credentials)) = &*self.read.borrow()
            && *seen == stamp
        {
            return credentials.clone();
        }
        let credentials = Credentials::read(&self.path, self.trust).map(Rc::new).map_err(|error| format!("{error:#}"));
        *self.read.borrow_mut() = Some((stamp, credentials.clone()));
        credentials
    }
}

#[cfg(test)]
mod tests {
    use super::super::kubeconfig::tests::{authority, kubeconfig};
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_changed_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.conf");
        let (first, second) = (authority(), authority());
        std::fs::write(&path, kubeconfig(&first, &[&first])).unwrap();
        let file = KubeconfigFile::new(path.clone(), Trust::Bundle);
        let before = file.current().unwrap();
        assert!(Rc::ptr_eq(&before, &file.current().unwrap()));

        let renewed = dir.path().join("renewed");
        std::fs::write(&renewed, kubeconfig(&second, &[&first, &second])).unwrap();
        std::fs::rename(&renewed, &path).unwrap();
        assert_ne!(before.issuer, file.current().unwrap().issuer);

        std::fs::remove_file(&path).unwrap();
        assert!(file.current().is_err());
    }
}
