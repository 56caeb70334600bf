//! Restarts of static pods in about two seconds: the manifest goes out of the folder, and comes back changed when the kubelet has
//! finished the old pod.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::apply::Mirror;
use super::atomic;
use super::cri::{ContainerState, Cri};
use super::error::NodeError;
use super::layout::{Layout, PARKED};
use super::manifest;
use crate::plan::Component;

/// How often the runtime is asked. A list over the socket costs it well under a millisecond.
const ASK: Duration = Duration::from_millis(40);

/// Longest wait for the API server's word on a mirror.
const ANSWER: Duration = Duration::from_secs(2);

/// Longest waits.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// For the old container: the kubelet's default grace is 30 s.
    stop: Duration,
    /// For the kubelet to finish the old pod. It is only a matter of speed, so going beyond is no error.
    finish: Duration,
    /// For the same where it cannot be seen: measured, one second is enough.
    settle: Duration,
    /// For the kubelet to begin with the new pod, before it counts as refused, where its cgroup shows that it has begun. Measured: 0.1 s, and
    /// on nodes without idle time 0.9 s, where stopping the old one took 0.3 s and 0.9 s. Too early costs a second start, as much as too late.
    begin: Duration,
    /// Not longer than this however long the old one took to stop: an API server ends its requests first.
    begin_at_most: Duration,
    /// The same where only the mirror shows it, more than 0.6 s later.
    acceptance: Duration,
    /// The same where it cannot be seen whether it has begun; twice as long after each refusal.
    patience: Duration,
    /// For the new container: the kubelet looks at a refused static pod again after 10 to 15 s.
    start: Duration,
}

const LIMITS: Limits = Limits {
    stop: Duration::from_secs(60),
    finish: Duration::from_secs(5),
    settle: Duration::from_millis(1500),
    begin: Duration::from_millis(1500),
    begin_at_most: Duration::from_secs(6),
    acceptance: Duration::from_secs(4),
    patience: Duration::from_secs(6),
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
    /// new restart annotation with the text `stamp`, back in; done when a new container runs. `mirror` tells the UID of the static pod of
    /// which the API server has a mirror now.
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
        mirror: impl AsyncFn() -> Mirror,
    ) -> Result<ContainerState, NodeError> {
        let before = self.cri.containers(component).await?;
        let out = Out::take(self.layout, component)?;
        let stopped = self.while_out(component, &before, stamp, while_away, edit).await?;
        let began = Began::before(self.layout, &mirror).await;
        out.put_in()?;
        // A machine on which the kubelet took long to stop a pod is as slow to start one: taken for refused too early, it starts twice.
        let limits = Limits {
            begin: (stopped * 3).min(self.limits.begin_at_most).max(self.limits.begin),
            acceptance: self.limits.acceptance.max(stopped * 2),
            patience: self.limits.patience.max(stopped * 4),
            ..self.limits
        };
        Self { limits, ..self.clone() }.started(component, &before, stamp, &began, mirror).await
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

    /// Returns how long the old container took to stop.
    async fn while_out(
        &self,
        component: Component,
        before: &[ContainerState],
        stamp: &str,
        while_away: impl AsyncFnOnce() -> Result<(), NodeError>,
        edit: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<Duration, NodeError> {
        let started = Instant::now();
        self.wait(self.limits.stop, format!("{} has not stopped", component.name()), async || {
            Ok(self.cri.running(component).await?.is_none().then_some(()))
        })
        .await?;
        let stopped = started.elapsed();
        let (away, finished) = tokio::join!(while_away(), self.finished(component, before));
        finished?;
        away?;
        tracing::debug!(component = component.name(), ?stopped, finished = ?started.elapsed(), "static pod is out");
        self.write_edited(component, &self.layout.parked(component), stamp, edit)?;
        Ok(stopped)
    }

    /// Waits until the kubelet has finished the pods of these containers, as far as that can be seen: sandbox and cgroup gone.
    ///
    /// Until it has finished, it refuses a changed static pod of the same name and looks again only 10 to 15 s later
    /// (`pkg/kubelet/pod_workers.go`, `allowPodStart`). Its pod worker waits for the next relist of containers, up to one second,
    /// and then removes the cgroup (`SyncTerminatedPod`); but housekeeping may remove it a little earlier, so that the new pod
    /// may still be refused: see [`Self::started`].
    async fn finished(&self, component: Component, before: &[ContainerState]) -> Result<(), NodeError> {
        // Where the cgroups are not mounted, only time is left.
        let blind = pod_cgroups(self.layout).is_empty();
        let settled = Instant::now() + if blind { self.limits.settle } else { Duration::ZERO };
        let done = self.wait(self.limits.finish, String::new(), async || {
            let cgroups = pod_cgroups(self.layout);
            let cgroup = before.iter().any(|container| has_cgroup(&cgroups, &container.pod_uid));
            let waiting = cgroup || Instant::now() < settled || !self.cri.ready_pods(component).await?.is_empty();
            Ok((!waiting).then_some(()))
        });
        match done.await {
            Err(NodeError::Timeout { .. }) => Ok(()),
            other => other,
        }
    }

    /// Waits for the new container. A pod that the kubelet has refused, it would come back to after 10 to 15 s; but it looks at once at one
    /// with another UID, so the manifest gets another annotation.
    async fn started(
        &self,
        component: Component,
        before: &[ContainerState],
        stamp: &str,
        began: &Began,
        mirror: impl AsyncFn() -> Mirror,
    ) -> Result<ContainerState, NodeError> {
        let begun = Instant::now();
        let end = begun + self.limits.start;
        let (mut tried, mut asked, mut attempt, mut accepted) = (begun, begun, 1, false);
        self.wait(self.limits.start, format!("{} has not started", component.name()), async || {
            let running = self.cri.running(component).await?;
            let new = running.filter(|new| before.iter().all(|old| old.id != new.id));
            if let Some(new) = new
                && self.has_stamp(&new, &stamped(stamp, attempt)).await?
            {
                tracing::debug!(component = component.name(), attempt, after = ?begun.elapsed(), "static pod runs");
                return Ok(Some(new));
            }
            if accepted || asked.elapsed() < began.limit(&self.limits) * attempt {
                return Ok(None);
            }
            asked = Instant::now();
            let seen = match began {
                Began::Cgroups(before) => Some(self.has_begun(component, before).await?),
                Began::Mirror(first) => {
                    let mirrored = first.clone().zip(ask(&mirror).await).map(|(first, now)| first != now);
                    accepted = mirrored == Some(true);
                    mirrored
                }
            };
            let patient = seen.is_none() && tried.elapsed() < self.limits.patience * 2u32.pow(attempt - 1);
            let refused = seen != Some(true) && !patient && Instant::now() < end;
            if refused && self.cri.ready_pods(component).await?.is_empty() {
                attempt += 1;
                tracing::debug!(component = component.name(), attempt, "static pod was refused");
                self.restamp(component, &stamped(stamp, attempt))?;
                (tried, asked) = (Instant::now(), Instant::now());
            }
            Ok(None)
        })
        .await
    }

    /// True when a static pod has a cgroup that had none, and is not seen to be another component's, restarted at the same time.
    async fn has_begun(&self, component: Component, before: &[String]) -> Result<bool, NodeError> {
        let mut fresh = static_pods_of(&pod_cgroups(self.layout));
        fresh.retain(|pod| !before.contains(pod));
        if fresh.is_empty() {
            return Ok(false);
        }
        let sandboxes = self.cri.sandboxes().await?;
        let others: Vec<&String> =
            sandboxes.iter().filter(|sandbox| !sandbox.is_of(component)).map(|sandbox| &sandbox.pod_uid).collect();
        Ok(fresh.iter().any(|pod| !others.contains(&pod)))
    }

    /// False for a container of a manifest that another one has replaced meanwhile: the kubelet began with it after all, and is about to end
    /// it.
    async fn has_stamp(&self, container: &ContainerState, stamp: &str) -> Result<bool, NodeError> {
        let sandboxes = self.cri.sandboxes().await?;
        let of_it = sandboxes.iter().find(|sandbox| sandbox.pod_uid == container.pod_uid);
        Ok(of_it.and_then(|sandbox| sandbox.annotations.get(manifest::RESTARTED_AT)).is_none_or(|has| has == stamp))
    }

    /// Gives the manifest in the folder another restart annotation.
    fn restamp(&self, component: Component, stamp: &str) -> Result<(), NodeError> {
        let place = self.layout.manifest(component);
        self.write_edited(component, &place, stamp, |yaml| Ok(yaml.to_owned()))?;
        atomic::rename(&self.layout.parked_edited(component), &place)
    }

    /// Writes the edited form of the manifest at `from` beside the parked one.
    fn write_edited(
        &self,
        component: Component,
        from: &Path,
        stamp: &str,
        edit: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<(), NodeError> {
        let refuse = |problem| NodeError::Manifest { path: self.layout.on_node(from), problem };
        let yaml = fs::read_to_string(from).map_err(NodeError::io("read", from))?;
        let edited = edit(&yaml).and_then(|yaml| manifest::with_annotation(&yaml, manifest::RESTARTED_AT, stamp));
        atomic::replace(&self.layout.parked_edited(component), edited.map_err(refuse)?.as_bytes(), atomic::SECRET)
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

/// How it is seen that the kubelet has accepted a manifest, from before that was put in. Of what it does with a pod that it has accepted, the
/// first to be seen is a cgroup, and then another mirror (`SyncPod` in `pkg/kubelet/kubelet.go`), however long the rest takes.
enum Began {
    /// The static pods that had a cgroup.
    Cgroups(Vec<String>),
    /// Where none had one: the pod that had a mirror, as far as the API server says so.
    Mirror(Option<Option<String>>),
}

impl Began {
    async fn before(layout: &Layout, mirror: &impl AsyncFn() -> Mirror) -> Self {
        let pods = static_pods_of(&pod_cgroups(layout));
        // The others of a control plane run. Without a cgroup for any, this kubelet makes none (`cgroupsPerQOS`), or nothing runs.
        if pods.is_empty() { Self::Mirror(ask(mirror).await) } else { Self::Cgroups(pods) }
    }

    const fn limit(&self, limits: &Limits) -> Duration {
        match self {
            Self::Cgroups(_) => limits.begin,
            Self::Mirror(_) => limits.acceptance,
        }
    }
}

/// The text of the annotation for this attempt.
fn stamped(stamp: &str, attempt: u32) -> String {
    if attempt == 1 { stamp.to_owned() } else { format!("{stamp} {attempt}") }
}

/// What the API server has a mirror of; `None` when it does not say so in time.
async fn ask(mirror: &impl AsyncFn() -> Mirror) -> Option<Option<String>> {
    tokio::time::timeout(ANSWER, mirror()).await.ok()?.ok()
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

/// The UIDs of static pods among these cgroups: hashes of 32 digits, where the UID of any other pod has dashes.
fn static_pods_of(cgroups: &[PathBuf]) -> Vec<String> {
    let uid_of = |path: &PathBuf| {
        let name = name_of(path);
        let uid = name.rsplit_once("pod")?.1.trim_end_matches(".slice").to_owned();
        (uid.len() == 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(uid)
    };
    cgroups.iter().filter_map(uid_of).collect()
}

/// The cgroups of pods and of their classes: `[CONTROLLER/]kubepods*/[CLASS/]*podUID*` (systemd or cgroupfs driver, cgroup
/// version 1 or 2).
fn pod_cgroups(layout: &Layout) -> Vec<PathBuf> {
    let top = layout.path("/sys/fs/cgroup");
    // With `cgroupRoot`, systemd's names begin with that of the root.
    let pods = |path: &Path| name_of(path).contains("kubepods");
    let mut parents: Vec<PathBuf> = folders(&top).into_iter().filter(|path| !pods(path)).collect();
    parents.push(top);
    let roots = parents.iter().flat_map(|parent| folders(parent)).filter(|path| pods(path));
    let classes: Vec<PathBuf> = roots.flat_map(|kubepods| folders(&kubepods)).collect();
    let inner: Vec<PathBuf> = classes.iter().flat_map(|class| folders(class)).collect();
    [classes, inner].concat()
}

#[cfg(test)]
mod tests;
