//! One lab command at a time may change the lab.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

/// Held until dropped; the kernel lets go of it when the process ends, however it ends.
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    pub fn acquire(path: &Path) -> Result<Lock> {
        loop {
            let file = open(path)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                eprintln!("lab: another lab command is at work, waiting for it");
                flock(&file, FlockOperation::LockExclusive).context("cannot lock the lab")?;
            }
            // The last holder may have removed the file between our open and our lock.
            if fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino())) {
                return Ok(Lock { path: path.to_owned(), _file: file });
            }
        }
    }

    /// Removes the file too, for the command that leaves nothing behind.
    pub fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {} (the lab needs root)", path.display()))
}
