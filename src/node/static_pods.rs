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

/// Longest waits.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// For the old container: the kubelet's default grace is 30 s.
    stop: Duration,
    /// For the kubelet to finish the old pod. It is only a matter of speed, so going beyond is no error.
    finish: Duration,
    /// For the same where it cannot be seen: measured, one second is enough.
    settle: Duration,
    /// For the new container: the kubelet looks at a refused static pod again after 10 to 15 s.
    start: Duration,
}

const LIMITS: Limits = Limits {
    stop: Duration::from_secs(60),
    finish: Duration::from_secs(5),
    settle: Duration::from_millis(1500),
    start: Duration::from_secs(90),
};

/// The static pods of one control-plane node.
#[derive(Clone, Debug)]
pub struct StaticPods<'a> {
    layout: &'a Layout,
    cri: &'a Cri,
    limits: Limits,
}

impl<'a> StaticPods<'a> {
    /// Manifests below the layout's root, containers through `cri`.
    #[must_use]
    pub const fn new(layout: &'a Layout, cri: &'a Cri) -> Self {
        Self { layout, cri, limits: LIMITS }
    }

    /// Restarts one static pod: manifest out; when the container is gone, `while_away`; the manifest, changed by `edit` and by a
    /// new restart annotation with the text `stamp`, back in; done when a new container runs.
    ///
    /// When `while_away` or `edit` fails, or the future is dropped, the manifest goes back as it was and the pod starts again.
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
        let out = Out::take(self.layout, component)?;
        self.while_out(component, &before, stamp, while_away, edit).await?;
        out.put_in()?;
        self.wait(self.limits.start, format!("{} has not started", component.name()), async || {
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
        for component in
            [Component::Etcd, Component::KubeApiserver, Component::KubeControllerManager, Component::KubeScheduler]
        {
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
        self.wait(self.limits.stop, format!("{} has not stopped", component.name()), async || {
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
        let edited = edit(&yaml)
            .and_then(|yaml| manifest::with_annotation(&yaml, manifest::RESTARTED_AT, stamp))
            .map_err(refuse)?;
        atomic::replace(&self.layout.parked_edited(component), edited.as_bytes(), atomic::SECRET)
    }

    /// Waits until the kubelet has finished the pods of these containers. Until then it refuses a changed static pod of the same
    /// name and looks again only 10 to 15 s later (`pkg/kubelet/pod_workers.go`, `allowPodStart`). The last thing that
    /// `SyncTerminatedPod` does is to remove the pod's cgroup. The pod's folder says nothing: housekeeping may remove it earlier.
    async fn finished(&self, before: &[ContainerState]) -> Result<(), NodeError> {
        let mut uids: Vec<&str> = before.iter().map(|container| container.pod_uid.as_str()).collect();
        uids.dedup();
        // Where the cgroups are not mounted, only time is left: the kubelet sees the end of a container at its next relist, once
        // a second.
        let blind = pod_cgroups(self.layout).is_empty();
        let settled = Instant::now() + if blind { self.limits.settle } else { Duration::ZERO };
        let mut seen = 0;
        let done = self.wait(self.limits.finish, String::new(), async || {
            let cgroups = pod_cgroups(self.layout);
            let mut left = Instant::now() < settled || uids.iter().any(|uid| has_cgroup(&cgroups, uid));
            for uid in &uids {
                left = left || self.cri.sandbox_ready(uid).await?;
            }
            // Seen twice: the pod worker has a few statements left after the cgroup is gone.
            seen = if left { 0 } else { seen + 1 };
            Ok((seen == 2).then_some(()))
        });
        match done.await {
            Err(NodeError::Timeout { .. }) => Ok(()),
            other => other,
        }
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

/// A manifest that is out of the folder. However this ends, it goes back in: a control plane must not stay without it because a
/// future was dropped.
struct Out<'a> {
    layout: &'a Layout,
    component: Component,
}

impl<'a> Out<'a> {
    fn take(layout: &'a Layout, component: Component) -> Result<Self, NodeError> {
        let place = layout.manifest(component);
        atomic::private_folder(&layout.path(PARKED))?;
        if place.exists() {
            atomic::rename(&place, &layout.parked(component))?;
        }
        Ok(Self { layout, component })
    }

    /// The edited manifest goes in; after that, dropping finds nothing to do.
    fn put_in(self) -> Result<(), NodeError> {
        atomic::rename(&self.layout.parked_edited(self.component), &self.layout.manifest(self.component))?;
        atomic::remove(&self.layout.parked(self.component))
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        let (parked, place) = (self.layout.parked(self.component), self.layout.manifest(self.component));
        if place.exists() || !parked.exists() {
            return;
        }
        let back =
            atomic::rename(&parked, &place).and_then(|()| atomic::remove(&self.layout.parked_edited(self.component)));
        if let Err(error) = back {
            tracing::error!(component = self.component.name(), %error, "the manifest could not be put back");
        }
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

/// True when one of these cgroups is the pod's; systemd's names have no dash.
fn has_cgroup(cgroups: &[PathBuf], pod_uid: &str) -> bool {
    let names = [format!("pod{pod_uid}"), format!("pod{}", pod_uid.replace('-', "_"))];
    cgroups.iter().any(|path| names.iter().any(|name| name_of(path).contains(name)))
}

/// The cgroups of pods and of their classes: `[CONTROLLER/]kubepods*/[CLASS/]*podUID*` (systemd or cgroupfs driver, cgroup
/// version 1 or 2).
fn pod_cgroups(layout: &Layout) -> Vec<PathBuf> {
    let top = layout.path("/sys/fs/cgroup");
    let pods = |path: &Path| name_of(path).starts_with("kubepods");
    let mut parents: Vec<PathBuf> = folders(&top).into_iter().filter(|path| !pods(path)).collect();
    parents.push(top);
    let roots = parents.iter().flat_map(|parent| folders(parent)).filter(|path| pods(path));
    let classes: Vec<PathBuf> = roots.flat_map(|kubepods| folders(&kubepods)).collect();
    let inner: Vec<PathBuf> = classes.iter().flat_map(|class| folders(class)).collect();
    [classes, inner].concat()
}

#[cfg(test)]
mod tests;
