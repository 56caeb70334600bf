//! One agent at a time: the pod's and the host's work on the same files.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;

use super::atomic;
use super::error::NodeError;
use super::layout::{Layout, STATE};

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
        let file = open(layout)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(NodeError::io("lock", &layout.agent_lock())(source)),
        }
    }

    /// Takes the lock as soon as no other agent has it. It blocks the thread.
    ///
    /// # Errors
    /// The lock file cannot be opened or locked.
    pub fn wait(layout: &Layout) -> Result<Self, NodeError> {
        let file = open(layout)?;
        file.lock().map_err(NodeError::io("lock", &layout.agent_lock()))?;
        Ok(Self { _file: file })
    }
}

fn open(layout: &Layout) -> Result<File, NodeError> {
    atomic::private_folder(&layout.path(STATE))?;
    let path = layout.agent_lock();
    let mut options = OpenOptions::new();
    // Never renamed over and never removed: a lock holds a file, not a name.
    options.write(true).create(true).truncate(false).mode(atomic::SECRET);
    options.open(&path).map_err(NodeError::io("open", &path))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

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
