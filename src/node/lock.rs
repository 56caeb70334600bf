//! One agent at a time, and one writer at a time: the pod's and the host's agent and a command on the node work on the same files.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::atomic;
use super::error::NodeError;
use super::layout::Layout;

/// The right to change this node, until it is dropped or the process ends (flock(2): the kernel lets go of it, whatever happens).
#[derive(Debug)]
pub struct AgentLock {
    _file: File,
}

impl AgentLock {
    /// Takes the lock, or says at once that another agent has it (`None`).
    ///
    /// # Errors
    /// The lock file cannot be opened or locked.
    pub fn try_take(layout: &Layout) -> Result<Option<Self>, NodeError> {
        Ok(try_lock(&layout.agent_lock())?.map(|file| Self { _file: file }))
    }

    /// Takes the lock as soon as no other agent has it. It blocks the thread.
    ///
    /// # Errors
    /// The lock file cannot be opened or locked.
    pub fn wait(layout: &Layout) -> Result<Self, NodeError> {
        lock(&layout.agent_lock()).map(|file| Self { _file: file })
    }
}

/// The right to write this node's files, for as long as one change takes. The agent has the other lock for its whole life, and a command on
/// the node must be able to work beside it: while the API server is down, the agent can do nothing.
#[derive(Debug)]
pub struct WriteLock {
    _file: File,
}

impl WriteLock {
    /// Takes the lock, or says at once that another process is writing (`None`).
    ///
    /// # Errors
    /// The lock file cannot be opened or locked.
    pub fn try_take(layout: &Layout) -> Result<Option<Self>, NodeError> {
        Ok(try_lock(&layout.write_lock())?.map(|file| Self { _file: file }))
    }

    /// Takes the lock as soon as no other process writes. It blocks the thread.
    ///
    /// # Errors
    /// The lock file cannot be opened or locked.
    pub fn wait(layout: &Layout) -> Result<Self, NodeError> {
        lock(&layout.write_lock()).map(|file| Self { _file: file })
    }
}

/// Locks a file, or says at once that another process has it (`None`). Held until the file is dropped.
pub(super) fn try_lock(path: &Path) -> Result<Option<File>, NodeError> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(NodeError::io("lock", path)(source)),
    }
}

/// As [`try_lock`], as soon as no other process has it. It blocks the thread.
pub(super) fn lock(path: &Path) -> Result<File, NodeError> {
    let file = open(path)?;
    file.lock().map_err(NodeError::io("lock", path))?;
    Ok(file)
}

fn open(path: &Path) -> Result<File, NodeError> {
    if let Some(folder) = path.parent() {
        atomic::private_folder(folder)?;
    }
    let mut options = OpenOptions::new();
    // Never renamed over and never removed: a lock holds a file, not a name.
    options.write(true).create(true).truncate(false).mode(atomic::SECRET);
    options.open(path).map_err(NodeError::io("open", path))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_writer_is_in_nobodys_way_but_another_writers() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let _agent = AgentLock::try_take(&layout).unwrap().unwrap();
        let writer = WriteLock::try_take(&layout).unwrap().unwrap();
        assert!(WriteLock::try_take(&layout).unwrap().is_none());
        drop(writer);
        WriteLock::wait(&layout).unwrap();
    }

    #[test]
    fn the_second_agent_is_told_and_the_one_that_waits_comes_next() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let first = AgentLock::try_take(&layout).unwrap().unwrap();
        assert!(AgentLock::try_take(&layout).unwrap().is_none());
        let (send, receive) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let lock = AgentLock::wait(&layout).unwrap();
            send.send(()).unwrap();
            assert!(AgentLock::try_take(&layout).unwrap().is_none());
            drop(lock);
            assert!(AgentLock::try_take(&layout).unwrap().is_some());
        });
        assert_eq!(receive.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(first);
        receive.recv().unwrap();
        waiting.join().unwrap();
    }
}
