//! `certctl renew` is cut off, or a call fails, at every write that strace sees: nothing is torn, and the same command puts it right.

use std::error::Error;

use crate::harness::NOW;
use crate::renew::Node;
use crate::strace::{DISKS, Job, Point, stderr};

type Outcome = Result<(), Box<dyn Error>>;

/// A pair and a kubeconfig, in two folders.
pub(crate) const RENEW: Job = Job {
    arguments: &["renew", "--root", ".", "apiserver", "scheduler.conf", "--yes"],
    now: NOW,
    places: &["etc/kubernetes", "var/lib/certctl"],
};

/// Every call that changes something.
pub(crate) fn points() -> Result<Vec<Point>, Box<dyn Error>> {
    let points = RENEW.points(&Node::new()?, 0)?;
    // Three files: staged, linked, switched, settled, backed up.
    assert!(points.len() > 60, "{points:?}");
    Ok(points)
}

/// Nothing but the files of kubeadm, all plain and in pairs.
pub(crate) fn is_whole(node: &Node, stock: &[String]) -> Outcome {
    assert_eq!(node.torn()?, None);
    let left: Vec<String> = node.picture()?.into_keys().collect();
    assert_eq!(left, stock);
    Ok(())
}

#[test]
fn killed_at_any_write_every_pair_still_matches_and_the_same_command_finishes() -> Outcome {
    for at in points()? {
        let node = Node::new()?;
        let (before, old) = (node.picture()?, node.serial("apiserver.crt")?);
        let stock: Vec<String> = before.keys().cloned().collect();
        RENEW.killed_at(&node, &at)?;
        assert_eq!(node.torn()?, None, "killed at {at}");
        let run = RENEW.run(&node)?;
        assert!(run.status.success(), "after {at}: {}", stderr(&run));
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
    for (index, point) in points()?.iter().enumerate() {
        let (errno, _) = DISKS[index % 3];
        let node = Node::new()?;
        let before = node.picture()?;
        let stock: Vec<String> = before.keys().cloned().collect();
        let at = format!("{errno} at {point}");
        let output = RENEW.failing_at(&node, point, errno)?;
        let said = stderr(&output);
        assert_eq!(node.torn()?, None, "{at}: {said}");
        match output.status.code() {
            Some(1) => {
                assert!(said.starts_with("error: "), "{at}: {said}");
                let replaced =
                    point.switching && said.contains("the files are replaced, but something is left to tidy up");
                assert!(replaced || node.picture()? == before, "{at}: {said}");
            }
            // A record that could not be written is no reason to take certificates back.
            Some(0) => assert_ne!(node.picture()?, before, "{at}"),
            other => return Err(format!("{at}: {other:?} {said}").into()),
        }
        let run = RENEW.run(&node)?;
        assert!(run.status.success(), "after {at}: {}", stderr(&run));
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
        let output = RENEW.without(&node, call, errno)?;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{call} {errno}: {said}");
        assert_eq!((node.torn()?, node.serial("apiserver.crt")?), (None, old), "{call} {errno}: {said}");
        let run = RENEW.run(&node)?;
        assert_eq!((run.status.code(), node.torn()?), (Some(0), None), "{}", stderr(&run));
    }
    Ok(())
}
