//! Who may read what certctl writes, whatever the umask, and whose it is; and a file that has a second name.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::{Command, Output};

use crate::harness::NOW;
use crate::renew::{Node, Picture, walk};
use crate::repair::{self, MUCH_LATER, certctl};
use crate::strace::stderr;

type Outcome = Result<(), Box<dyn Error>>;

const KIND: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
/// A user and a group that no machine has.
const STRANGER: (u32, u32) = (54_321, 54_322);

/// The widest mode that something may have.
fn widest(path: &str, mode: u32, content: &[u8]) -> u32 {
    let own = path.contains("/var/lib/certctl");
    let secret = content.windows(11).any(|word| word == b"PRIVATE KEY");
    // Requests and the certificates that answer them are for others to read, if they get through to the folder.
    let sent = path.contains("/var/lib/certctl/requests/") && [".csr", ".crt"].iter().any(|end| path.contains(end));
    match (mode & KIND == FOLDER, own) {
        (true, true) => 0o700,
        (true, false) => 0o755,
        (false, _) if secret || own && !sent => 0o600,
        (false, _) => 0o644,
    }
}

/// Nothing in the sandbox is open to more than it must be. Only strace's own file is passed over.
pub(crate) fn assert_private(node: &Node, at: &str) -> Outcome {
    let mut all = Picture::new();
    walk(&node.sandbox.path("."), &mut all)?;
    for (path, (mode, content)) in all {
        if mode & KIND == SYMLINK || path.ends_with("/trace") {
            continue;
        }
        let (mode, widest) = (mode & 0o7777, widest(&path, mode, &content));
        assert_eq!(mode & !widest, 0, "{at}: {path} has mode {mode:04o} and may have {widest:04o}");
    }
    Ok(())
}

/// A run without a umask: what is not asked for is given to everybody.
fn unmasked(node: &Node, now: &str, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("/bin/sh")
        .args(["-c", "umask 000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_certctl")])
        .args(arguments)
        .env_clear()
        .env("CERTCTL_TEST_NOW", now)
        .current_dir(node.sandbox.path("."))
        .output()
}

fn assert_backed_up(node: &Node, mark: &str) -> Outcome {
    let names = fs::read_dir(node.sandbox.path("var/lib/certctl/backup"))?.flatten().map(|entry| entry.file_name());
    let kept = names.filter(|name| name.to_string_lossy().starts_with(mark)).count();
    assert_eq!(kept, 1, "there are back-ups whose modes are looked at");
    Ok(())
}

#[test]
fn without_a_umask_a_renewal_makes_nothing_that_is_open_to_others() -> Outcome {
    let node = repair::node()?;
    for arguments in [
        &["renew", "--root", ".", "--all", "--csr-only", "out"][..],
        &["renew", "--root", ".", "apiserver", "scheduler.conf", "etcd-server", "kubelet-client", "--yes"],
    ] {
        let run = unmasked(&node, NOW, arguments)?;
        assert!(run.status.success(), "{}", stderr(&run));
        assert_private(&node, &arguments.join(" "))?;
    }
    assert!(node.sandbox.path("out/apiserver.key").exists());
    assert_backed_up(&node, "renew-")
}

#[test]
fn without_a_umask_a_repair_and_what_takes_it_back_make_nothing_that_is_open_to_others() -> Outcome {
    let node = repair::node()?;
    fs::remove_file(node.sandbox.path("etc/kubernetes/pki/etcd/ca.key"))?;
    // What is lost is made with kubeadm's modes, not with those of the umask.
    fs::remove_file(node.sandbox.path("etc/kubernetes/pki/apiserver.key"))?;
    for (arguments, code) in [
        (&["repair", "--root", ".", "--yes"][..], 1),
        (&["repair", "--root", ".", "--yes", "--undo"], 0),
        (&["repair", "--root", ".", "--yes"], 1),
    ] {
        let run = unmasked(&node, MUCH_LATER, arguments)?;
        assert_eq!(run.status.code(), Some(code), "{}", stderr(&run));
        assert_private(&node, &arguments.join(" "))?;
    }
    assert!(node.sandbox.path("etc/kubernetes/pki/apiserver.key").exists());
    assert!(node.sandbox.path("var/lib/certctl/requests/etcd-server.key").exists());
    Ok(())
}

#[test]
fn a_file_keeps_its_owner_through_a_renewal_a_repair_and_what_takes_it_back() -> Outcome {
    assert!(nix::unistd::geteuid().is_root(), "this test gives files to another user: run it as root");
    let node = repair::node()?;
    let files = ["pki/apiserver.crt", "pki/apiserver.key", "pki/etcd/server.key", "pki/ca.crt", "scheduler.conf"];
    let paths = files.map(|file| node.sandbox.path("etc/kubernetes").join(file));
    for path in &paths {
        chown(path, Some(STRANGER.0), Some(STRANGER.1))?;
    }
    for (now, arguments) in [
        (NOW, &["renew", "--root", ".", "apiserver", "etcd-server", "scheduler.conf", "--yes"][..]),
        (MUCH_LATER, &["repair", "--root", ".", "--yes"]),
        (MUCH_LATER, &["repair", "--root", ".", "--yes", "--undo"]),
    ] {
        let old: Vec<Vec<u8>> = paths.iter().map(fs::read).collect::<Result<_, _>>()?;
        let run = certctl(&node, now, arguments)?;
        assert!(run.status.success(), "{}", stderr(&run));
        let replaced = paths.iter().zip(old).filter(|(path, old)| fs::read(path).is_ok_and(|new| new != *old)).count();
        // A renewal leaves the CA as it is.
        assert!(replaced >= 4, "{arguments:?} replaced {replaced}");
        for path in &paths {
            let data = fs::symlink_metadata(path)?;
            assert_eq!((data.uid(), data.gid()), STRANGER, "{arguments:?}: {}", path.display());
        }
    }
    Ok(())
}

#[test]
fn a_key_with_a_second_name_is_named_and_only_the_name_of_kubeadm_gets_the_new_one() -> Outcome {
    let node = repair::node()?;
    let key = node.sandbox.path("etc/kubernetes/pki/apiserver.key");
    let second = node.sandbox.path("etc/kubernetes/pki/copy.key");
    fs::hard_link(&key, &second)?;
    let old = fs::read(&key)?;
    let found = certctl(&node, NOW, &["check", "--root", ".", "-o", "json"])?;
    let report: serde_json::Value = serde_json::from_slice(&found.stdout)?;
    let named = |finding: &&serde_json::Value| finding["id"] == "hard-link";
    let objects: Vec<_> = report["findings"].as_array().ok_or("no list")?.iter().filter(named).collect();
    let wanted = ["/etc/kubernetes/pki/apiserver.key", "/etc/kubernetes/pki/copy.key"];
    assert_eq!(objects.iter().map(|finding| finding["object"].as_str()).collect::<Vec<_>>(), wanted.map(Some));

    for (now, arguments) in [
        (NOW, &["renew", "--root", ".", "apiserver", "--yes"][..]),
        (MUCH_LATER, &["repair", "--root", ".", "--yes"]),
        (MUCH_LATER, &["repair", "--root", ".", "--yes", "--undo"]),
    ] {
        let before = fs::read(&key)?;
        let run = certctl(&node, now, arguments)?;
        assert!(run.status.success(), "{}", stderr(&run));
        assert_ne!(fs::read(&key)?, before, "{arguments:?}");
        assert_eq!(repair::torn(&node)?, None, "{arguments:?}");
        assert_eq!(fs::read(&second)?, old, "{arguments:?}: the other name keeps the old key");
        assert_eq!((fs::metadata(&key)?.nlink(), fs::metadata(&second)?.nlink()), (1, 1), "{arguments:?}");
    }
    Ok(())
}
