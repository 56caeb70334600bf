//! Restarts of static pods in under two seconds: the manifest goes out of the folder, and comes back changed when the kubelet has
//! finished the old pod.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::atomic;
use super::cri::{ContainerState, Cri};
use super::error::NodeError;
use super::layout::{Layout, PARKED};
use super::manifest;
use crate::plan::Component;

/// How often the runtime is asked. A list over the socket costs it well under a millisecond.
const ASK: Duration = Duration::from_millis(40);
/// Longest wait for the old container: the kubelet's default grace is 30 s.
const STOP: Duration = Duration::from_secs(60);
/// Longest wait for the kubelet to finish the old pod; it is only a matter of speed, so there is no error after it.
const FINISH: Duration = Duration::from_secs(5);
/// Longest wait for the new container. The kubelet looks at a refused static pod again after 10 to 15 s.
const START: Duration = Duration::from_secs(90);

/// The static pods of one control-plane node.
#[derive(Clone, Debug)]
pub struct StaticPods<'a> {
    layout: &'a Layout,
    cri: &'a Cri,
}

impl<'a> StaticPods<'a> {
    /// Manifests below the layout's root, containers through `cri`.
    #[must_use]
    pub const fn new(layout: &'a Layout, cri: &'a Cri) -> Self {
        Self { layout, cri }
    }

    /// Restarts one static pod: manifest out; when the container is gone, `while_away`; the manifest, changed by `edit` and by a
    /// new restart annotation with the text `stamp`, back in; done when a new container runs.
    ///
    /// When `while_away` or `edit` fails, the manifest goes back as it was and the pod starts again.
    ///
    /// # Errors
    /// A broken manifest, a failed write, a runtime that does not answer, or a kubelet that does not act in time.
    pub async fn restart(
        &self,
        component: Component,
        stamp: &str,
        while_away: impl AsyncFnOnce() -> Result<(), NodeError>,
        edit: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<ContainerState, NodeError> {
        let before = self.cri.containers(component).await?;
        self.take_out(component)?;
        let result = self.while_out(component, &before, stamp, while_away, edit).await;
        if let Err(error) = result {
            self.put_back(component)?;
            return Err(error);
        }
        self.put_in(component)?;
        self.wait(START, format!("{} has not started", component.name()), async || {
            let running = self.cri.running(component).await?;
            Ok(running.filter(|new| before.iter().all(|old| old.id != new.id)))
        })
        .await
    }

    /// After a crash: whatever is only parked goes back in, the edited manifest if it was complete, else the original. To be
    /// called at start, before anything else. Returns the pods that were put back.
    ///
    /// # Errors
    /// A file cannot be moved.
    pub fn recover(layout: &Layout) -> Result<Vec<Component>, NodeError> {
        let mut back = Vec::new();
        for component in [Component::Etcd, Component::KubeApiserver, Component::KubeControllerManager, Component::KubeScheduler] {
            let (parked, edited) = (layout.parked(component), layout.parked_edited(component));
            let place = layout.manifest(component);
            if !place.exists() {
                if edited.exists() {
                    // Written in one rename after everything that belongs to it.
                    atomic::rename(&edited, &place)?;
                    back.push(component);
                } else if parked.exists() {
                    atomic::rename(&parked, &place)?;
                    back.push(component);
                }
            }
            for leftover in [parked, edited] {
                if leftover.exists() {
                    atomic::remove(&leftover)?;
                }
            }
        }
        Ok(back)
    }

    async fn while_out(
        &self,
        component: Component,
        before: &[ContainerState],
        stamp: &str,
        while_away: impl AsyncFnOnce() -> Result<(), NodeError>,
        edit: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<(), NodeError> {
        let started = Instant::now();
        self.wait(STOP, format!("{} has not stopped", component.name()), async || {
            Ok(self.cri.running(component).await?.is_none().then_some(()))
        })
        .await?;
        let stopped = started.elapsed();
        let (away, finished) = tokio::join!(while_away(), self.finished(before));
        finished?;
        away?;
        tracing::debug!(component = component.name(), ?stopped, finished = ?started.elapsed(), "static pod is out");
        let parked = self.layout.parked(component);
        let refuse = |problem| NodeError::Manifest { path: self.layout.on_node(&parked), problem };
        let yaml = read(&parked)?;
        let edited =
            edit(&yaml).and_then(|yaml| manifest::with_annotation(&yaml, manifest::RESTARTED_AT, stamp)).map_err(refuse)?;
        atomic::replace(&self.layout.parked_edited(component), edited.as_bytes(), atomic::SECRET)
    }

    /// Waits until the kubelet has finished the pods of these containers. Until then it refuses a changed static pod of the same
    /// name and looks again only 10 to 15 s later (`pkg/kubelet/pod_workers.go`, `allowPodStart`). The last thing that
    /// `SyncTerminatedPod` does is to remove the pod's cgroup.
    async fn finished(&self, before: &[ContainerState]) -> Result<(), NodeError> {
        let mut uids: Vec<&str> = before.iter().map(|container| container.pod_uid.as_str()).collect();
        uids.dedup();
        let done = self.wait(FINISH, String::new(), async || {
            for uid in &uids {
                if self.cri.sandbox_ready(uid).await? || self.has_cgroup(uid) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        });
        match done.await {
            Err(NodeError::Timeout { .. }) => Ok(()),
            other => other,
        }
    }

    /// True while a pod has a cgroup (`…/kubepods*/…/*podUID*`, systemd or cgroupfs driver, version 1 or 2).
    fn has_cgroup(&self, pod_uid: &str) -> bool {
        let top = self.layout.path("/sys/fs/cgroup");
        // systemd's names have no dash.
        let uid = pod_uid.replace('-', "_");
        let wanted = |name: &str| name.contains(&format!("pod{uid}")) || name.contains(&format!("pod{pod_uid}"));
        let pods = |path: &Path| name_of(path).starts_with("kubepods");
        let controllers = folders(&top).into_iter().filter(|path| !pods(path)).chain([top.clone()]);
        controllers
            .flat_map(|controller| folders(&controller))
            .filter(|path| pods(path))
            .flat_map(|kubepods| folders(&kubepods).into_iter().flat_map(|class| [vec![class.clone()], folders(&class)].concat()))
            .any(|path| wanted(&name_of(&path)))
    }

    fn take_out(&self, component: Component) -> Result<(), NodeError> {
        let (place, parked) = (self.layout.manifest(component), self.layout.parked(component));
        atomic::private_folder(&self.layout.path(PARKED))?;
        if place.exists() { atomic::rename(&place, &parked) } else { Ok(()) }
    }

    fn put_in(&self, component: Component) -> Result<(), NodeError> {
        atomic::rename(&self.layout.parked_edited(component), &self.layout.manifest(component))?;
        atomic::remove(&self.layout.parked(component))
    }

    fn put_back(&self, component: Component) -> Result<(), NodeError> {
        atomic::remove(&self.layout.parked_edited(component))?;
        let parked = self.layout.parked(component);
        if parked.exists() { atomic::rename(&parked, &self.layout.manifest(component)) } else { Ok(()) }
    }

    async fn wait<T>(
        &self,
        limit: Duration,
        what: String,
        mut ask: impl AsyncFnMut() -> Result<Option<T>, NodeError>,
    ) -> Result<T, NodeError> {
        let end = Instant::now() + limit;
        let mut ticks = interval(ASK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < end {
            ticks.tick().await;
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
        }
        Err(NodeError::Timeout { what, seconds: limit.as_secs(), hint: "see journalctl -u kubelet on the node" })
    }
}

fn read(path: &Path) -> Result<String, NodeError> {
    fs::read_to_string(path).map_err(NodeError::io("read", path))
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
