//! A sealed environment: no variable, no kubeconfig and no clock of the machine gets in.

use std::io;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use tempfile::TempDir;

/// When every test takes place.
pub(crate) const NOW: &str = "2026-11-22T12:00:00Z";

/// A folder of one's own with the binary in it.
pub(crate) struct Sandbox {
    folder: TempDir,
}

/// What a run left behind.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { folder: TempDir::new()? })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.path(name);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// Runs certctl in the folder; nobody is at the terminal.
    pub(crate) fn run(&self, arguments: &[&str]) -> io::Result<Run> {
        self.run_as(Path::new(env!("CARGO_BIN_EXE_certctl")), arguments)
    }

    /// As [`Self::run`], with these variables.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> io::Result<Run> {
        self.run_in(Path::new(env!("CARGO_BIN_EXE_certctl")), variables, arguments)
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn write_private(
        &self,
        name: &str,
        content: impl AsRef<[u8]>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let path = self.write(name, content)?;
        Ok(std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?)
    }

    /// Runs certctl with something on standard input.
    pub(crate) fn run_reading(&self, arguments: &[&str], input: &[u8]) -> io::Result<Run> {
        self.run_command(Command::new(env!("CARGO_BIN_EXE_certctl")).write_stdin(input), &[], arguments)
    }

    /// Runs another name of the binary.
    pub(crate) fn run_as(&self, binary: &Path, arguments: &[&str]) -> io::Result<Run> {
        self.run_in(binary, &[], arguments)
    }

    fn run_in(&self, binary: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> io::Result<Run> {
        self.run_command(&mut Command::new(binary), variables, arguments)
    }

    fn run_command(&self, command: &mut Command, variables: &[(&str, &str)], arguments: &[&str]) -> io::Result<Run> {
        let output = command
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("CERTCTL_TEST_NOW", NOW)
            .envs(variables.iter().copied())
            .current_dir(self.folder.path())
            .output()?;
        // A path of this run would make every snapshot different.
        let text =
            |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&self.folder.path().display().to_string(), "DIR");
        Ok(Run { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }
}
