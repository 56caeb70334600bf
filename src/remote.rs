//! ADAPTER: other nodes, through the system's `ssh`: the user's configuration, agent and known hosts count as they always do.
//!
//! **Guarantees.** Nothing secret is in an argument, and no private key travels at all: this program goes to the other node, makes its keys
//! there, and what comes back are certificate requests.

use std::path::PathBuf;
use std::process::Stdio;

use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Where this program stands on the other node while it works there, below a folder of mode 0700.
const FOLDER: &str = "/var/lib/certctl/remote";

/// A node and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The Node's name.
    pub node: String,
    /// A host name or an address, as `ssh` takes it.
    pub address: String,
    /// The user to log in as; `None`: what ssh's configuration says. Any other than root needs `sudo` without a password.
    pub user: Option<String>,
}

/// Why a node could not be worked on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// `ssh` could not be started here.
    #[error("ssh could not be run: {0}")]
    NoSsh(std::io::Error),
    /// This program could not be read.
    #[error("this program cannot be read: {0}")]
    Program(std::io::Error),
    /// `ssh` could not log in, or the connection broke (its exit code 255).
    #[error("{node}: no connection to {address}: {said}")]
    Connection {
        /// The Node.
        node: String,
        /// Where to.
        address: String,
        /// The last line that ssh wrote.
        said: String,
    },
    /// What was run there failed.
    #[error("{node}: {said}")]
    Failed {
        /// The Node.
        node: String,
        /// What it wrote on stderr.
        said: String,
    },
}

/// What a program has left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// What it wrote on stdout.
    pub stdout: String,
    /// What it wrote on stderr.
    pub stderr: String,
}

/// A node on which this program stands.
#[derive(Debug)]
pub struct Remote {
    host: Host,
    ssh: PathBuf,
}

impl Remote {
    /// Sends this program to the node.
    ///
    /// # Errors
    /// ssh or the node refuses.
    pub async fn open(host: Host) -> Result<Self, RemoteError> {
        Self::open_with(host, "ssh".into()).await
    }

    async fn open_with(host: Host, ssh: PathBuf) -> Result<Self, RemoteError> {
        let program = tokio::fs::read("/proc/self/exe").await.map_err(RemoteError::Program)?;
        let remote = Self { host, ssh };
        // Under a name of its own first: a program that runs cannot be written to.
        let script = format!(
            "umask 077 && mkdir -p {FOLDER} && cat > {FOLDER}/certctl.new && chmod 700 {FOLDER}/certctl.new && mv -f {FOLDER}/certctl.new {FOLDER}/certctl"
        );
        let output = remote.shell(&script, &program).await?;
        if output.code == 0 { Ok(remote) } else { Err(remote.failed(&output)) }
    }

    /// Runs this program there, with `input` on its stdin. The arguments are words without blanks or quotes.
    ///
    /// # Errors
    /// ssh fails; what the program itself says is in the output.
    pub async fn certctl(&self, arguments: &[&str], input: &[u8]) -> Result<Output, RemoteError> {
        self.shell(&format!("{FOLDER}/certctl {}", arguments.join(" ")), input).await
    }

    /// Removes the program again.
    ///
    /// # Errors
    /// ssh or the node refuses.
    pub async fn close(self) -> Result<(), RemoteError> {
        let output = self.shell(&format!("rm -rf {FOLDER}"), &[]).await?;
        if output.code == 0 { Ok(()) } else { Err(self.failed(&output)) }
    }

    async fn shell(&self, script: &str, input: &[u8]) -> Result<Output, RemoteError> {
        let mut command = Command::new(&self.ssh);
        command.args(arguments(&self.host, script));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(RemoteError::NoSsh)?;
        let stdin = child.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read to the end says why on stderr.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), write);
        let output = output.map_err(RemoteError::NoSsh)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        // No code: ssh was killed by a signal.
        match output.status.code() {
            None | Some(255) => Err(RemoteError::Connection {
                node: self.host.node.clone(),
                address: self.host.address.clone(),
                said: last_line(&stderr),
            }),
            Some(code) => Ok(Output { code, stdout, stderr }),
        }
    }

    fn failed(&self, output: &Output) -> RemoteError {
        RemoteError::Failed { node: self.host.node.clone(), said: last_line(&output.stderr) }
    }
}

/// `BatchMode`: a question for a password on the terminal would stand still among those of other nodes. `ServerAlive…`: a node that loses
/// its power in the middle is noticed within 15 seconds.
const OPTIONS: [&str; 9] = [
    "-T",
    "-o",
    "BatchMode=yes",
    "-o",
    "ConnectTimeout=10",
    "-o",
    "ServerAliveInterval=5",
    "-o",
    "ServerAliveCountMax=3",
];

fn arguments(host: &Host, script: &str) -> Vec<String> {
    let mut arguments = OPTIONS.map(str::to_owned).to_vec();
    if let Some(user) = &host.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    let root = host.user.as_deref().is_none_or(|user| user == "root");
    let script = if root { format!("sh -c '{script}'") } else { format!("sudo -n sh -c '{script}'") };
    arguments.extend(["--".to_owned(), host.address.clone(), script]);
    arguments
}

fn last_line(text: &str) -> String {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(user: Option<&str>) -> Host {
        Host { node: "w-1".into(), address: "10.0.0.9".into(), user: user.map(Into::into) }
    }

    #[test]
    fn an_address_is_never_taken_for_an_option_and_another_user_becomes_root() {
        let all = arguments(&Host { address: "-oProxyCommand=x".into(), ..host(Some("ops")) }, "true");
        let place = all.iter().position(|argument| argument == "--").unwrap();
        assert_eq!(all[place + 1..], ["-oProxyCommand=x", "sudo -n sh -c 'true'"]);
        assert_eq!(all[place - 2..place], ["-l", "ops"]);
        assert_eq!(arguments(&host(None), "true").last().unwrap(), "sh -c 'true'");
        assert_eq!(arguments(&host(Some("root")), "true").last().unwrap(), "sh -c 'true'");
    }

    /// A script in the place of ssh that runs what it is told on this machine, with the folder below `place`.
    fn played_ssh(place: &std::path::Path, exit: &str) -> PathBuf {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let (path, remote) = (place.join("ssh"), place.join("remote"));
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\n{exit}\neval \"$(printf %s \"$last\" | sed 's#{FOLDER}#{}#g')\"\n",
            remote.display()
        );
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o700).open(&path).unwrap();
        file.write_all(script.as_bytes()).unwrap();
        path
    }

    #[tokio::test]
    async fn the_program_goes_there_whole_runs_with_its_input_and_is_gone_afterwards() {
        let place = tempfile::tempdir().unwrap();
        let remote = Remote::open_with(host(None), played_ssh(place.path(), "")).await.unwrap();
        let there = place.path().join("remote/certctl");
        let size = |path: &std::path::Path| std::fs::metadata(path).unwrap().len();
        assert_eq!(size(&there), size(std::path::Path::new("/proc/self/exe")));
        // The tests' own program, which can at least list its tests.
        let output = remote.certctl(&["--list", "remote::tests::the_last_line"], b"").await.unwrap();
        assert_eq!(output.code, 0);
        assert!(output.stdout.contains("remote::tests::the_last_line_is_what_ssh_says_at_the_end: test"), "{output:?}");
        let echoed = remote.shell("cat; echo bad >&2; exit 3", b"on stdin").await.unwrap();
        assert_eq!(echoed, Output { code: 3, stdout: "on stdin".into(), stderr: "bad\n".into() });
        remote.close().await.unwrap();
        assert!(!there.exists());
    }

    #[tokio::test]
    async fn a_node_that_cannot_be_reached_is_named_with_what_ssh_says() {
        let place = tempfile::tempdir().unwrap();
        let ssh = played_ssh(place.path(), "echo 'Permission denied (publickey).' >&2; exit 255");
        let error = Remote::open_with(host(None), ssh).await.unwrap_err();
        assert_eq!(error.to_string(), "w-1: no connection to 10.0.0.9: Permission denied (publickey).");
    }

    #[test]
    fn the_last_line_is_what_ssh_says_at_the_end() {
        assert_eq!(last_line("Warning: added\nPermission denied (publickey).\n\n"), "Permission denied (publickey).");
        assert_eq!(last_line("\n"), "it said nothing");
    }
}
