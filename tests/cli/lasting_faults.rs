//! A disk that is full, read-only or broken from some write on, and stays so while certctl puts back what it had begun.

use std::error::Error;
use std::process::Output;

use crate::faults::is_whole;
use crate::harness::NOW;
use crate::renew::{Node, Picture};
use crate::repair;
use crate::strace::{DISKS, Job, Point, stderr};

type Outcome = Result<(), Box<dyn Error>>;

/// A pair, a kubeconfig, and what stands behind a link.
const RENEW: Job = Job {
    arguments: &["renew", "--root", ".", "apiserver", "scheduler.conf", "kubelet-client", "--yes"],
    now: NOW,
    places: repair::JOB.places,
};

/// What a command says when the new files count, or some of them do.
const EXCUSES: [&str; 4] = [
    "the files are replaced, but something is left to tidy up: run the same command again",
    "the change was cut off and could not be taken back: run the same command again",
    "the old files could not be put back: `certctl repair --undo` does it",
    "the other certificates are renewed, but kubelet-client is not: run the same command again",
];

/// The first point and the last, some between, and the first at which names begin to change.
fn representative(points: &[Point], parts: usize) -> Vec<&Point> {
    let last = points.len() - 1;
    let first_switch = points.iter().position(|point| point.switching).unwrap_or(last);
    let mut chosen: Vec<usize> = (0..=parts).map(|part| part * last / parts).collect();
    // Half of them after the names have begun to change: there is most to be put back.
    chosen.extend((0..parts).map(|part| first_switch + part * (last - first_switch) / parts));
    chosen.sort_unstable();
    chosen.dedup();
    chosen.into_iter().map(|index| &points[index]).collect()
}

/// Every file that was there stands there as it was; what certctl could not remove on such a disk stands beside it.
fn old_files_count(before: &Picture, now: &Picture) -> bool {
    before.iter().all(|(path, old)| now.get(path) == Some(old))
        && now
            .keys()
            .all(|path| before.contains_key(path) || path.contains("/.certctl-") || path.contains("/kubelet-client-20"))
}

/// What the command says names a file and the system's reason, and what to do where anything can be done.
fn assert_told(said: &str, reason: &str, at: &str) {
    let places = ["/etc/kubernetes", "/var/lib/certctl", "/var/lib/kubelet"];
    assert!(said.contains("error: ") && places.iter().any(|place| said.contains(place)), "{at}: {said}");
    assert!(said.contains(reason), "{at}: {said}");
    let broken = reason == "Input/output error";
    assert!(
        broken || said.contains("run the same command again") || said.contains("`certctl repair --undo`"),
        "{at}: {said}"
    );
}

fn assert_old_or_whole(
    (point, reason, at): (&Point, &str, &str),
    output: &Output,
    (before, now): (&Picture, &Picture),
) {
    let said = stderr(output);
    let excused = point.switching && EXCUSES.iter().any(|excuse| said.contains(excuse));
    match output.status.code() {
        Some(1) => {
            assert_told(&said, reason, at);
            let old = old_files_count(before, now);
            assert!(old || excused, "{at}: {said}");
            assert!(!old || !said.contains(EXCUSES[0]), "{at}: nothing was replaced: {said}");
        }
        // With the certificates in their places, a record that cannot be written is no failure.
        Some(0) => assert!(point.switching && !old_files_count(before, now), "{at}: {said}"),
        other => panic!("{at}: {other:?} {said}"),
    }
}

fn sweep(
    job: &Job,
    points: &[&Point],
    node: fn() -> Result<Node, Box<dyn Error>>,
    finished: fn(&Node, &Picture, &str) -> Outcome,
) -> Outcome {
    for point in points {
        for (errno, reason) in DISKS {
            let node = node()?;
            let before = repair::picture(&node)?;
            let at = format!("{errno} from {point} on");
            let output = job.failing_from(&node, point, errno)?;
            assert_eq!(repair::torn(&node)?, None, "{at}: {}", stderr(&output));
            assert_old_or_whole((point, reason, &at), &output, (&before, &repair::picture(&node)?));
            let run = job.run(&node)?;
            assert!(run.status.success(), "after {at}: {}", stderr(&run));
            finished(&node, &before, &at)?;
        }
    }
    Ok(())
}

#[test]
fn a_renewal_on_a_disk_that_stays_bad_leaves_the_old_files_or_says_what_counts_and_goes_on_later() -> Outcome {
    let points = RENEW.points(&repair::node()?, 0)?;
    sweep(&RENEW, &representative(&points, 4), repair::node, |node, before, at| {
        let stock: Vec<String> = before.keys().filter(|path| path.contains("/etc/kubernetes/")).cloned().collect();
        is_whole(node, &stock).map_err(|error| format!("after {at}: {error}").into())
    })
}

#[test]
fn a_repair_on_a_disk_that_stays_bad_leaves_the_old_files_or_says_what_counts_and_goes_on_later() -> Outcome {
    let points = repair::points()?;
    sweep(&repair::JOB, &representative(&points, 4), repair::node, repair::assert_repaired)
}

#[test]
fn a_request_that_cannot_be_written_does_not_hide_that_the_rest_is_repaired() -> Outcome {
    let node = || -> Result<Node, Box<dyn Error>> {
        let node = repair::node()?;
        std::fs::remove_file(node.sandbox.path("etc/kubernetes/pki/etcd/ca.key"))?;
        Ok(node)
    };
    let job = Job { now: repair::LATER, places: &["/certctl/requests"], ..repair::JOB };
    let points = job.points(&node()?, 1)?;
    for point in representative(&points, 2) {
        let node = node()?;
        let old = node.serial("apiserver.crt")?;
        let output = job.failing_from(&node, point, "EROFS")?;
        let (said, at) = (stderr(&output), format!("EROFS from {point} on"));
        assert_eq!((output.status.code(), repair::torn(&node)?), (Some(1), None), "{at}: {said}");
        assert_ne!(node.serial("apiserver.crt")?, old, "{at}: {said}");
        assert_told(&said, "Read-only file system", &at);
        assert!(said.contains("the other certificates are repaired, but a request is not written"), "{at}: {said}");
        let run = job.run(&node)?;
        assert!(stderr(&run).contains("etcd-server") && run.status.code() == Some(1), "{at}: {}", stderr(&run));
        assert!(node.sandbox.path("var/lib/certctl/requests/etcd-server.csr").exists(), "{at}");
    }
    Ok(())
}
