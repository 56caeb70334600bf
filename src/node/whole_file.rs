//! Files of certificates read whole, and only files: a pipe would wait for ever, and no PEM file of a cluster has megabytes.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

/// Longest certificate file, kubeconfig or manifest of a node, bytes: kubeadm's have a few thousand.
pub(super) const LONGEST: u64 = 1 << 20;

/// Reads a regular file of at most `longest` bytes, and its mode. Symlinks are followed. The buffer wipes itself, for there may be a key in
/// it.
///
/// # Errors
/// As the system says; kind `InvalidInput` for what is no file, kind `FileTooLarge` for a longer one.
pub fn read_whole(path: &Path, longest: u64) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    // Without O_NONBLOCK, opening a pipe waits for a writer.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        let what = kind_of(data.file_type());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a file")));
    }
    // One allocation: a buffer that grows would leave copies of a key behind.
    let size = data.len().min(longest);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1));
    let read = (&file).take(size).read_to_end(&mut bytes)?;
    // All that it says it has; to ask for more costs as much again. The system's own files say nothing or too much.
    if size == 0 || size < data.len() || read as u64 != size {
        file.take(longest + 1 - read as u64).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > longest {
        let limit = format!("it has more than {longest} bytes, which no certificate file has");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, limit));
    }
    Ok((bytes, data.permissions().mode() & 0o7777))
}

/// A file of the node.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_whole(path, LONGEST).map(|(bytes, _)| bytes)
}

/// A text of the node; empty when it is absent or unreadable.
pub(super) fn text(path: &Path) -> Zeroizing<String> {
    let bytes = read(path).unwrap_or_default();
    Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
}

/// What else than a file something is, with its article.
pub(super) fn kind_of(kind: fs::FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_symlink() => "a symbolic link",
        _ => "a device",
    }
}
