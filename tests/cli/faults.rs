//! `certctl renew` is cut off, or a call fails, at every write that strace sees: nothing is torn, and the same command puts it right.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, Output};

use crate::harness::NOW;
use crate::renew::Node;

type Outcome = Result<(), Box<dyn Error>>;

/// Every call that changes a file or a name.
const CALLS: &str = "write,pwrite64,writev,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,\
                     unlinkat,rmdir,mkdir,mkdirat,chmod,fchmod,fchmodat,chown,fchown,fchownat,openat";
/// A pair and a kubeconfig, in two folders.
const RENEW: [&str; 6] = ["renew", "--root", ".", "apiserver", "scheduler.conf", "--yes"];

/// Runs certctl below strace; what strace sees is in the file `trace` of the sandbox. Only the first thread is followed: all files are written
/// by it, and the others' writes are those of the runtime.
fn traced(node: &Node, options: &[&str]) -> std::io::Result<Output> {
    Command::new("strace")
        .args(["-y", "-qq", "-o", "trace", "-e", &format!("trace={CALLS}")])
        .args(options)
        .arg(env!("CARGO_BIN_EXE_certctl"))
        .args(RENEW)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("CERTCTL_TEST_NOW", NOW)
        .current_dir(node.sandbox.path("."))
        .output()
}

/// Name and number, counted from 1 by call as strace does, of each call that changes something below the sandbox.
fn changes(trace: &str) -> Vec<(String, usize)> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for line in trace.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let number = counted.entry(call.to_owned()).and_modify(|number| *number += 1).or_insert(1);
        let here = arguments.contains("etc/kubernetes") || arguments.contains("var/lib/certctl");
        if here && (call != "openat" || arguments.contains("O_CREAT")) {
            found.push((call.to_owned(), *number));
        }
    }
    found
}

/// Every such call of an undisturbed run.
fn points() -> Result<Vec<(String, usize)>, Box<dyn Error>> {
    let node = Node::new()?;
    let output = traced(&node, &[]).map_err(|error| format!("this test needs strace: {error}"))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let points = changes(&std::fs::read_to_string(node.sandbox.path("trace"))?);
    // Three files: staged, linked, switched, settled, backed up.
    assert!(points.len() > 60, "{points:?}");
    Ok(points)
}

/// Nothing but the files of kubeadm, all plain and in pairs.
fn is_whole(node: &Node, stock: &[String]) -> Outcome {
    assert_eq!(node.torn()?, None);
    let left: Vec<String> = node.picture()?.into_keys().collect();
    assert_eq!(left, stock);
    Ok(())
}

#[test]
fn killed_at_any_write_every_pair_still_matches_and_the_same_command_finishes() -> Outcome {
    for (call, number) in points()? {
        let node = Node::new()?;
        let (before, old) = (node.picture()?, node.serial("apiserver.crt")?);
        let stock: Vec<String> = before.keys().cloned().collect();
        let at = format!("{call} {number}");
        let output = traced(&node, &["-e", &format!("inject={call}:signal=SIGKILL:when={number}")])?;
        assert!(!output.status.success(), "{at} was not reached");
        assert_eq!(node.torn()?, None, "killed at {at}");
        let run = node.sandbox.run(&RENEW)?;
        assert_eq!(run.code, Some(0), "after {at}: {}", run.stderr);
        is_whole(&node, &stock)?;
        assert_ne!(node.serial("apiserver.crt")?, old, "after {at}");
        let state = std::fs::read_dir(node.sandbox.path("var/lib/certctl"))?;
        let left: Vec<_> = state.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        assert!(left.iter().all(|name| !name.starts_with('.')), "after {at}: {left:?}");
    }
    Ok(())
}

#[test]
fn a_full_disk_a_read_only_one_and_a_broken_one_leave_the_old_files_or_the_new_ones() -> Outcome {
    let points = points()?;
    for (index, (call, number)) in points.iter().enumerate() {
        let errno = ["ENOSPC", "EROFS", "EIO"][index % 3];
        let node = Node::new()?;
        let before = node.picture()?;
        let stock: Vec<String> = before.keys().cloned().collect();
        let at = format!("{errno} at {call} {number}");
        let output = traced(&node, &["-e", &format!("inject={call}:error={errno}:when={number}")])?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(node.torn()?, None, "{at}: {said}");
        match output.status.code() {
            Some(1) => {
                assert!(said.starts_with("error: "), "{at}: {said}");
                let replaced = said.contains("the files are replaced, but something is left to tidy up");
                assert!(replaced || node.picture()? == before, "{at}: {said}");
            }
            // A record that could not be written is no reason to take certificates back.
            Some(0) => assert_ne!(node.picture()?, before, "{at}"),
            other => return Err(format!("{at}: {other:?} {said}").into()),
        }
        let run = node.sandbox.run(&RENEW)?;
        assert_eq!(run.code, Some(0), "after {at}: {}", run.stderr);
        is_whole(&node, &stock)?;
    }
    Ok(())
}

#[test]
fn a_failure_that_stays_is_told_and_the_old_files_count() -> Outcome {
    for (call, errno) in [
        ("fsync", "EIO"),
        ("renameat2,renameat,rename", "EROFS"),
        ("linkat,link", "EIO"),
        ("symlinkat,symlink", "ENOSPC"),
    ] {
        let node = Node::new()?;
        let old = node.serial("apiserver.crt")?;
        let output = traced(&node, &["-e", &format!("inject={call}:error={errno}")])?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{call} {errno}: {said}");
        assert_eq!((node.torn()?, node.serial("apiserver.crt")?), (None, old), "{call} {errno}: {said}");
        let run = node.sandbox.run(&RENEW)?;
        assert_eq!((run.code, node.torn()?), (Some(0), None), "{}", run.stderr);
    }
    Ok(())
}
