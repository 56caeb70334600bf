//! What running processes read when they started and do not read again: decided from times, remembered in `history.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::atomic;
use super::error::NodeError;
use super::layout::{Layout, STATE};
use crate::pki::{CaId, hex};
use crate::plan::{ConfState, LeafState, ProcessState};

/// A file's times come from the kernel's coarse clock, up to one tick (at most 10 ms) behind that of the container runtime.
const COARSE: SignedDuration = SignedDuration::from_millis(20);

/// How many kubelet files written by certctl are remembered.
const WRITTEN: usize = 16;

/// How long a TLS bootstrap may take: kubeadm join waits 5 minutes for it.
const BOOTSTRAP: SignedDuration = SignedDuration::from_mins(5);

/// What each process had loaded at its start, by process name, and the kubelet's files that certctl wrote itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct History {
    /// `kube-controller-manager`, `kube-scheduler`, `kubelet`.
    processes: BTreeMap<String, ProcessState>,
    /// SHA-256 of the kubelet's client and serving certificates and of `kubelet.conf` as certctl wrote them, oldest first. A present one that is
    /// not among them was written by the kubelet itself (renewal, bootstrap), so it has it loaded.
    written: Vec<String>,
}

/// One running process and when it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) name: &'static str,
    pub(crate) id: String,
    pub(crate) started: Timestamp,
}

/// What a process would read if it started now, each with the time of its file's last change; `None`: there is no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    pub(crate) conf: Option<ConfState>,
    pub(crate) conf_changed: Option<Timestamp>,
    /// kubelet: SHA-256 of `kubelet.conf`, hex.
    pub(crate) conf_digest: Option<String>,
    pub(crate) root_ca: Vec<CaId>,
    pub(crate) root_ca_changed: Option<Timestamp>,
    pub(crate) own_signer: bool,
    pub(crate) own_signer_changed: Option<Timestamp>,
    /// kubelet: the signer and end of its client certificate; its own change time, and whether certctl wrote it.
    pub(crate) client: Option<Client>,
    /// kubelet: its serving certificate. With `serverTLSBootstrap` the certificate manager reads its store at the start only
    /// (`client-go/util/certificate/certificate_manager.go`, `NewManager`); what it renews by itself it has in memory.
    pub(crate) serving: Option<Served>,
}

/// The kubelet's client certificate file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) issuer: Option<CaId>,
    pub(crate) not_after: i64,
    pub(crate) changed: Option<Timestamp>,
    pub(crate) fingerprint: String,
}

/// The kubelet's serving certificate file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) leaf: LeafState,
    pub(crate) changed: Option<Timestamp>,
    pub(crate) fingerprint: String,
}

impl History {
    /// Reads the file; none is an empty history.
    ///
    /// # Errors
    /// The file cannot be read or is broken.
    pub fn open(layout: &Layout) -> Result<Self, NodeError> {
        let path = layout.history();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| NodeError::Record { path: layout.on_node(&path), problem: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(NodeError::io("read", &path)(error)),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, layout: &Layout) -> Result<(), NodeError> {
        let path = layout.history();
        atomic::private_folder(&layout.path(STATE))?;
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| NodeError::Record { path: layout.on_node(&path), problem: error.to_string() })?;
        atomic::replace(&path, &bytes, atomic::SECRET)
    }

    /// Remembers that certctl writes this file of the kubelet, before it is written.
    pub(crate) fn writes(&mut self, digest: String) {
        if !self.written.contains(&digest) {
            self.written.push(digest);
        }
        let surplus = self.written.len().saturating_sub(WRITTEN);
        self.written.drain(..surplus);
    }

    /// What `instance` has loaded: an input whose file did not change since the start is what the file says; a changed one is what
    /// was recorded for this very instance, else not known. The answer is recorded.
    pub(crate) fn loaded(&mut self, instance: &Instance, inputs: &Inputs) -> ProcessState {
        let old = self.processes.get(instance.name).filter(|known| known.instance == instance.id);
        let unchanged = |changed: Option<Timestamp>| changed.is_none_or(|at| at + COARSE < instance.started);
        // A kubelet that bootstraps writes kubelet.conf itself shortly after its start, with the CA that it already trusts.
        let foreign = |digest: &String| !self.written.contains(digest);
        let bootstrapped = inputs.conf_digest.as_ref().is_some_and(foreign)
            && inputs.conf_changed.is_some_and(|at| at < instance.started + BOOTSTRAP);
        let mut conf = match (bootstrapped || unchanged(inputs.conf_changed), old) {
            (true, _) => inputs.conf.clone(),
            (false, Some(old)) => old.conf.clone(),
            (false, None) => None,
        };
        if let Some(client) = &inputs.client {
            let own_renewal = foreign(&client.fingerprint);
            let known = if unchanged(client.changed) || own_renewal {
                Some((client.issuer.clone(), client.not_after))
            } else {
                old.and_then(|old| old.conf.as_ref()).map(|conf| (conf.issuer.clone(), conf.not_after))
            };
            conf = conf.zip(known).map(|(conf, (issuer, not_after))| ConfState { issuer, not_after, ..conf });
        }
        let serving = inputs.serving.as_ref().and_then(|served| {
            if unchanged(served.changed) || foreign(&served.fingerprint) {
                Some(served.leaf.clone())
            } else {
                old.and_then(|old| old.serving.clone())
            }
        });
        let root_ca = match (unchanged(inputs.root_ca_changed), old) {
            (true, _) => inputs.root_ca.clone(),
            (false, Some(old)) => old.root_ca.clone(),
            (false, None) => Vec::new(),
        };
        let own_signer = match (unchanged(inputs.own_signer_changed), old) {
            (false, Some(old)) => old.own_signer,
            _ => inputs.own_signer,
        };
        let started = instance.started.as_second();
        let state = ProcessState { instance: instance.id.clone(), started, conf, root_ca, own_signer, serving };
        self.processes.insert(instance.name.to_owned(), state.clone());
        state
    }
}

/// When a file got its present content, as late as it can have been: the later of mtime and ctime (a rename sets ctime, and
/// keeps an mtime that may be older than the rename). `None`: no such file.
#[must_use]
pub fn changed(path: &Path) -> Option<Timestamp> {
    latest(&fs::metadata(path).ok()?)
}

/// As [`changed`], for a symlink itself.
pub(crate) fn link_changed(path: &Path) -> Option<Timestamp> {
    latest(&fs::symlink_metadata(path).ok()?)
}

/// SHA-256 in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

fn latest(data: &fs::Metadata) -> Option<Timestamp> {
    use std::os::unix::fs::MetadataExt as _;
    let time = |seconds: i64, nanos: i64| Timestamp::new(seconds, i32::try_from(nanos).unwrap_or(0)).ok();
    time(data.mtime(), data.mtime_nsec()).max(time(data.ctime(), data.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ca(name: &str) -> CaId {
        digest(name.as_bytes()).parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn conf(issuer: &str) -> ConfState {
        ConfState { issuer: Some(ca(issuer)), trust: vec![ca(issuer)], not_after: 9, own_server: false }
    }

    fn kcm(id: &str, started: i64) -> Instance {
        Instance { name: "kube-controller-manager", id: id.to_owned(), started: at(started) }
    }

    fn inputs(issuer: &str, changed: i64) -> Inputs {
        Inputs {
            conf: Some(conf(issuer)),
            conf_changed: Some(at(changed)),
            conf_digest: None,
            root_ca: vec![ca(issuer)],
            root_ca_changed: Some(at(changed)),
            own_signer: issuer == "two",
            own_signer_changed: Some(at(changed)),
            ..Inputs::default()
        }
    }

    #[test]
    fn older_files_are_what_is_loaded_and_stay_so_after_a_change() {
        let mut history = History::default();
        let first = history.loaded(&kcm("a", 100), &inputs("one", 50));
        assert_eq!((first.conf.clone(), first.root_ca.len(), first.started), (Some(conf("one")), 1, 100));
        let later = history.loaded(&kcm("a", 100), &inputs("two", 150));
        assert_eq!(later, first, "the process still holds what it read");
        let restarted = history.loaded(&kcm("b", 200), &inputs("two", 150));
        assert_eq!(restarted.conf, Some(conf("two")));
        assert!(restarted.own_signer);
    }

    #[test]
    fn a_change_that_nobody_saw_is_unknown() {
        let mut history = History::default();
        let state = history.loaded(&kcm("a", 100), &inputs("two", 150));
        assert_eq!((state.conf, state.root_ca), (None, Vec::new()));
        // The record of another instance does not help.
        history.loaded(&kcm("b", 100), &inputs("one", 50));
        assert_eq!(history.loaded(&kcm("c", 100), &inputs("two", 150)).conf, None);
    }

    #[test]
    fn one_changed_file_does_not_make_the_others_unknown() {
        let mut history = History::default();
        let mut mixed = inputs("one", 50);
        mixed.root_ca_changed = Some(at(150));
        let state = history.loaded(&kcm("a", 100), &mixed);
        assert_eq!((state.conf, state.root_ca), (Some(conf("one")), Vec::new()));
    }

    #[test]
    fn within_the_coarseness_of_the_clock_nothing_is_assumed() {
        let mut history = History::default();
        let mut close = inputs("one", 0);
        close.conf_changed = Some(at(100) - SignedDuration::from_millis(15));
        assert_eq!(history.loaded(&kcm("a", 100), &close).conf, None);
    }

    #[test]
    fn the_kubelet_holds_its_own_renewal_but_not_what_certctl_wrote() {
        let kubelet = Instance { name: "kubelet", id: "i".to_owned(), started: at(100) };
        let client = |issuer: &str, changed: i64, print: &str| Inputs {
            conf: Some(ConfState { trust: vec![ca("one")], ..ConfState::default() }),
            conf_changed: Some(at(50)),
            client: Some(Client {
                issuer: Some(ca(issuer)),
                not_after: 7,
                changed: Some(at(changed)),
                fingerprint: print.to_owned(),
            }),
            ..Inputs::default()
        };
        let issuer = |state: ProcessState| state.conf.and_then(|conf| conf.issuer);
        let mut history = History::default();
        assert_eq!(issuer(history.loaded(&kubelet, &client("one", 50, "f1"))), Some(ca("one")));
        history.writes("f2".to_owned());
        let state = history.loaded(&kubelet, &client("two", 150, "f2"));
        assert_eq!(issuer(state), Some(ca("one")), "written by certctl, not loaded yet");
        assert_eq!(issuer(history.loaded(&kubelet, &client("two", 160, "f3"))), Some(ca("two")), "own renewal");
    }

    #[test]
    fn a_serving_certificate_that_certctl_wrote_is_loaded_by_the_next_start_only() {
        let kubelet = |id: &str, started| Instance { name: "kubelet", id: id.to_owned(), started: at(started) };
        let served = |issuer: &str, changed: i64, print: &str| Inputs {
            serving: Some(Served {
                leaf: LeafState { issuer: Some(ca(issuer)), vouched_by: Vec::new(), not_after: 7 },
                changed: Some(at(changed)),
                fingerprint: print.to_owned(),
            }),
            ..Inputs::default()
        };
        let issuer = |state: ProcessState| state.serving.and_then(|leaf| leaf.issuer);
        let mut history = History::default();
        history.writes("f2".to_owned());
        assert_eq!(
            issuer(history.loaded(&kubelet("i", 100), &served("two", 150, "f2"))),
            None,
            "nobody saw the old one"
        );
        assert_eq!(issuer(history.loaded(&kubelet("i", 100), &served("one", 50, "f1"))), Some(ca("one")));
        assert_eq!(issuer(history.loaded(&kubelet("i", 100), &served("two", 150, "f2"))), Some(ca("one")));
        assert_eq!(issuer(history.loaded(&kubelet("j", 200), &served("two", 150, "f2"))), Some(ca("two")));
        let renewed = history.loaded(&kubelet("j", 200), &served("three", 250, "f3"));
        assert_eq!(issuer(renewed), Some(ca("three")), "the kubelet's own renewal");
        assert_eq!(issuer(history.loaded(&kubelet("j", 200), &Inputs::default())), None, "there is no such file");
    }

    #[test]
    fn a_bootstrapped_kubelet_has_loaded_the_kubeconfig_that_it_wrote() {
        let kubelet = Instance { name: "kubelet", id: "i".to_owned(), started: at(100) };
        let inputs = |issuer: &str, changed: i64, digest: &str| Inputs {
            conf: Some(conf(issuer)),
            conf_changed: Some(at(changed)),
            conf_digest: Some(digest.to_owned()),
            ..Inputs::default()
        };
        let mut history = History::default();
        assert_eq!(
            history.loaded(&kubelet, &inputs("one", 500, "d0")).conf,
            None,
            "long after: somebody else wrote it"
        );
        assert_eq!(history.loaded(&kubelet, &inputs("one", 101, "d1")).conf, Some(conf("one")));
        history.writes("d2".to_owned());
        assert_eq!(history.loaded(&kubelet, &inputs("two", 102, "d2")).conf, Some(conf("one")), "certctl wrote it");
    }

    #[test]
    fn the_history_survives_the_disk_and_a_broken_one_is_named() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        assert_eq!(History::open(&layout).unwrap(), History::default());
        let mut history = History::default();
        history.loaded(&kcm("a", 100), &inputs("one", 50));
        for n in 0..40 {
            history.writes(n.to_string());
        }
        history.save(&layout).unwrap();
        let read = History::open(&layout).unwrap();
        assert_eq!((&read, read.written.len()), (&history, WRITTEN));
        fs::write(layout.history(), "{").unwrap();
        assert!(History::open(&layout).unwrap_err().to_string().contains("/var/lib/certctl/history.json"));
    }

    #[test]
    fn a_rename_counts_as_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.conf");
        fs::write(&path, "old").unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        assert!(changed(&path).unwrap() > at(1_000_000), "ctime counts");
        assert_eq!(changed(&folder.path().join("absent")), None);
    }
}
