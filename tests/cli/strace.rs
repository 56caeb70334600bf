//! certctl below strace: which of its calls change something, and runs in which it is killed at one of them or in which the disk fails there.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::process::{Command, Output};

use crate::renew::Node;

/// Every call that changes a file or a name.
const CALLS: [&str; 25] = [
    "write",
    "pwrite64",
    "writev",
    "ftruncate",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "fchownat",
    "openat",
];
/// What goes on working on a full disk: nothing new is needed for it.
const NEED_NO_SPACE: [&str; 9] =
    ["unlink", "unlinkat", "rmdir", "chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat"];

/// How a disk fails: the name of the error, and what the system says of it.
pub(crate) const DISKS: [(&str, &str); 3] =
    [("ENOSPC", "No space left on device"), ("EROFS", "Read-only file system"), ("EIO", "Input/output error")];

/// A command, and when it is run.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) arguments: &'static [&'static str],
    pub(crate) now: &'static str,
    /// Parts of paths: only what is changed there is looked at.
    pub(crate) places: &'static [&'static str],
}

/// A call that changes something.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    call: String,
    /// How many calls of each name there are up to this one, counted as strace does.
    counted: BTreeMap<String, usize>,
    /// Names have begun to lead through links: from here on the new files may count.
    pub(crate) switching: bool,
}

impl Point {
    fn number(&self, call: &str) -> usize {
        self.counted.get(call).copied().unwrap_or_default()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.call, self.number(&self.call))
    }
}

impl Job {
    /// Without strace.
    pub(crate) fn run(&self, node: &Node) -> io::Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certctl"));
        command.args(self.arguments).env_clear().env("CERTCTL_TEST_NOW", self.now);
        command.current_dir(node.sandbox.path(".")).output()
    }

    /// What strace sees is in the file `trace` of the sandbox. Only the first thread is followed: all files are written by it, and the others'
    /// writes are those of the runtime. Without a umask, so that every mode is certctl's own doing.
    fn traced(&self, node: &Node, options: &[String]) -> io::Result<Output> {
        Command::new("/bin/sh")
            .args(["-c", "umask 000; exec strace \"$@\"", "sh", "-y", "-qq", "-o", "trace"])
            .args(["-e", &format!("trace={}", CALLS.join(","))])
            .args(options)
            .arg(env!("CARGO_BIN_EXE_certctl"))
            .args(self.arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("CERTCTL_TEST_NOW", self.now)
            .current_dir(node.sandbox.path("."))
            .output()
    }

    /// Every call of an undisturbed run that changes something in the places; the run ends with `code`.
    pub(crate) fn points(&self, node: &Node, code: i32) -> Result<Vec<Point>, Box<dyn Error>> {
        let output = self.traced(node, &[])?;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "(this test needs strace) {:?}: {said}", self.arguments);
        let mut counted: BTreeMap<String, usize> = BTreeMap::new();
        let (mut found, mut switching) = (Vec::new(), false);
        for line in std::fs::read_to_string(node.sandbox.path("trace"))?.lines() {
            let Some((call, arguments)) = line.split_once('(') else { continue };
            *counted.entry(call.to_owned()).or_default() += 1;
            // The runtime wakes its threads by `write`, now and then by this one: what is counted of it is nothing to go by. Files are written by
            // `pwrite64`; the journal's line is the exception, and has its `openat` and `fsync`.
            let here = call != "write" && self.places.iter().any(|place| arguments.contains(place));
            if here && (call != "openat" || arguments.contains("O_CREAT")) {
                switching |= call.starts_with("symlink");
                found.push(Point { call: call.to_owned(), counted: counted.clone(), switching });
            }
        }
        Ok(found)
    }

    /// A run that is killed at the call.
    pub(crate) fn killed_at(&self, node: &Node, point: &Point) -> io::Result<Output> {
        let output =
            self.traced(node, &[format!("--inject={}:signal=SIGKILL:when={}", point.call, point.number(&point.call))])?;
        assert!(!output.status.success(), "{point} was not reached");
        Ok(output)
    }

    /// A run in which this call fails, and no other.
    pub(crate) fn failing_at(&self, node: &Node, point: &Point, errno: &str) -> io::Result<Output> {
        self.traced(node, &[format!("--inject={}:error={errno}:when={}", point.call, point.number(&point.call))])
    }

    /// A run in which this call fails, and from then on every one that such a disk refuses.
    pub(crate) fn failing_from(&self, node: &Node, point: &Point, errno: &str) -> io::Result<Output> {
        let mut options = Vec::new();
        for call in CALLS {
            let (here, before) = (call == point.call, point.number(call));
            let (first, last) = match call {
                // What is said goes through the same call: only this one fails.
                "write" => (before, ""),
                // Files can be read on a full disk and on a read-only one.
                "openat" if errno != "EIO" => (before, ""),
                _ if errno == "ENOSPC" && NEED_NO_SPACE.contains(&call) => (before, ""),
                _ if here => (before, "+"),
                _ => (before + 1, "+"),
            };
            if here || last == "+" {
                options.push(format!("--inject={call}:error={errno}:when={first}{last}"));
            }
        }
        self.traced(node, &options)
    }

    /// A run in which these calls never succeed.
    pub(crate) fn without(&self, node: &Node, calls: &str, errno: &str) -> io::Result<Output> {
        self.traced(node, &[format!("--inject={calls}:error={errno}")])
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
