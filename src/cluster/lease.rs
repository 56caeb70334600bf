//! The driver's Lease: one driver at a time.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::wait::await_condition;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::client::Cluster;
use super::error::ClusterError;
use crate::api::NAMESPACE;

const NAME: &str = "certctl-driver";
/// Seconds after which a driver that does not renew is taken for dead: client-go's default (`client-go/tools/leaderelection`), long
/// enough for a balancer to notice that an API server has lost power.
const DURATION: i32 = 15;
/// How often the holder renews; client-go's retry period.
const RENEW: Duration = Duration::from_secs(2);
/// Longest wait for one renewal, so that a connection that has died silently leaves time for others.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Who holds the Lease: a name for people, and where that process lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// `user@host:pid`.
    pub name: String,
    /// Boot id and pid namespace: where the pid can be looked up. Empty when not known, and then nobody says that the process is gone.
    pub place: String,
}

impl fmt::Display for Holder {
    /// As in the Lease's `holderIdentity`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.place.is_empty() { "" } else { " " };
        write!(f, "{}{space}{}", self.name, self.place)
    }
}

impl Holder {
    /// Reads a Lease's `holderIdentity`.
    #[must_use]
    pub fn read(identity: &str) -> Self {
        let (name, place) = identity.split_once(' ').unwrap_or((identity, ""));
        Self { name: name.to_owned(), place: place.to_owned() }
    }
}

/// The Lease while it is held. Dropping it stops the renewal; [`DriverLease::release`] gives it back at once.
pub struct DriverLease {
    api: watch::Sender<Api<Lease>>,
    holder: Holder,
    renewal: watch::Receiver<Renewal>,
    // A JoinSet, because it ends its tasks when it is dropped.
    task: JoinSet<()>,
}

/// How the renewal stands.
#[derive(Clone, Copy)]
struct Renewal {
    /// When the last attempt that succeeded began: others count from later on, when they see it.
    at: Instant,
    /// The Lease is somebody else's, or gone.
    taken: bool,
}

impl Renewal {
    fn lost(self) -> bool {
        self.taken || self.at.elapsed() >= whole_duration(None)
    }
}

impl DriverLease {
    /// Takes the Lease if nobody holds it. A holder whose process `dead` says is gone is replaced at once; any other one is watched, and
    /// replaced when it has not renewed for the Lease's duration. Only the time that passes here counts: clocks of other hosts may be off.
    ///
    /// # Errors
    /// [`ClusterError::Held`] with the holder, once it has renewed; a failed call.
    pub async fn acquire(
        cluster: &Cluster,
        holder: &Holder,
        dead: impl Fn(&Holder) -> bool,
    ) -> Result<Self, ClusterError> {
        let api: Api<Lease> = Api::namespaced(cluster.client.clone(), NAMESPACE);
        let began = loop {
            let found = api.get_opt(NAME).await.map_err(ClusterError::call("read", object()))?;
            if let Some(lease) = found {
                wait_for_silence(&api, &lease, holder, &dead).await?;
                break take_over(&api, lease, holder).await?;
            }
            let began = Instant::now();
            match api.create(&PostParams::default(), &fresh(holder, Timestamp::now())).await {
                Ok(_) => break began,
                // Somebody else was quicker: who, and whether that process lives, is seen on the next look.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(ClusterError::call("create", object())(error)),
            }
        };
        let (send, renewal) = watch::channel(Renewal { at: began, taken: false });
        let (api, current) = watch::channel(api);
        let mut task = JoinSet::new();
        task.spawn(renew(current, holder.clone(), send));
        Ok(Self { api, holder: holder.clone(), renewal, task })
    }

    /// For waiting until the Lease is lost while the driver is at work.
    #[must_use]
    pub fn watch(&self) -> LeaseWatch {
        LeaseWatch(self.renewal.clone())
    }

    /// Renews through another connection from now on: the old credential may end.
    pub fn use_client(&self, cluster: &Cluster) {
        self.api.send_replace(Api::namespaced(cluster.client.clone(), NAMESPACE));
    }

    /// Gives the Lease back, so that the next driver need not wait.
    pub async fn release(mut self) {
        self.task.shutdown().await;
        let api = self.api.borrow().clone();
        if let Ok(Some(lease)) = api.get_opt(NAME).await
            && held_by(&lease) == Some(self.holder.to_string().as_str())
        {
            let only_ours =
                Preconditions { resource_version: lease.metadata.resource_version, uid: lease.metadata.uid };
            let params = DeleteParams { preconditions: Some(only_ours), ..DeleteParams::default() };
            // Whoever cannot delete it now leaves a Lease that runs out by itself.
            if let Err(error) = api.delete(NAME, &params).await {
                tracing::debug!(%error, "release of the driver's lease");
            }
        }
    }
}

impl Cluster {
    /// Who holds the driver's Lease now, if somebody does.
    ///
    /// # Errors
    /// The call failed.
    pub async fn driver(&self) -> Result<Option<Holder>, ClusterError> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let found = api.get_opt(NAME).await.map_err(ClusterError::call("read", object()))?;
        Ok(found.as_ref().and_then(held_by).filter(|holder| !holder.is_empty()).map(Holder::read))
    }
}

/// Sees a Lease go.
pub struct LeaseWatch(watch::Receiver<Renewal>);

impl LeaseWatch {
    /// Returns when the Lease went to somebody else, and as soon as it has not been renewed for its duration: somebody else may take it then.
    pub async fn lost(&mut self) {
        loop {
            let renewal = *self.0.borrow_and_update();
            if renewal.lost() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(renewal.at + whole_duration(None)) => {}
                // Nobody renews any more.
                changed = self.0.changed() => if changed.is_err() { return },
            }
        }
    }
}

fn object() -> String {
    format!("lease/{NAMESPACE}/{NAME}")
}

fn held_by(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

/// The time without a renewal after which this Lease is anybody's.
fn whole_duration(lease: Option<&Lease>) -> Duration {
    let written = lease.and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds).unwrap_or(DURATION);
    Duration::from_secs(u64::try_from(written).unwrap_or_default().max(1))
}

fn fresh(holder: &Holder, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta { name: Some(NAME.into()), namespace: Some(NAMESPACE.into()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_string()),
            lease_duration_seconds: Some(DURATION),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

/// Returns when the Lease may be taken.
///
/// # Errors
/// [`ClusterError::Held`] as soon as the holder has written it again; a failed watch.
async fn wait_for_silence(
    api: &Api<Lease>,
    lease: &Lease,
    holder: &Holder,
    dead: impl Fn(&Holder) -> bool,
) -> Result<(), ClusterError> {
    let other = Holder::read(held_by(lease).unwrap_or_default());
    // A process that has our pid in our own pid namespace was there before us.
    if other.name.is_empty() || other == *holder || dead(&other) {
        return Ok(());
    }
    let seen = lease.metadata.resource_version.clone();
    let written = |now: Option<&Lease>| now.is_none_or(|now| now.metadata.resource_version != seen);
    match tokio::time::timeout(whole_duration(Some(lease)), await_condition(api.clone(), NAME, written)).await {
        Err(_silent) => Ok(()),
        Ok(Ok(_)) => {
            let since = lease.spec.as_ref().and_then(|spec| spec.acquire_time.as_ref());
            Err(ClusterError::Held {
                holder: other.name,
                since: since.map(|time| time.0.to_string()).unwrap_or_default(),
            })
        }
        Ok(Err(error)) => Err(ClusterError::content(object(), error)),
    }
}

/// Writes our name into the Lease as it was read. Returns when the writing began.
async fn take_over(api: &Api<Lease>, mut lease: Lease, holder: &Holder) -> Result<Instant, ClusterError> {
    let began = Instant::now();
    lease.spec = fresh(holder, Timestamp::now()).spec;
    // resourceVersion is sent back: of two that try, the API server lets one through, and a holder that renewed after all keeps it.
    api.replace(NAME, &PostParams::default(), &lease).await.map_err(ClusterError::call("take over", object()))?;
    Ok(began)
}

async fn renew(current: watch::Receiver<Api<Lease>>, holder: Holder, renewal: watch::Sender<Renewal>) {
    let mut ticks = tokio::time::interval(RENEW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let holder = holder.to_string();
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let api = current.borrow().clone();
        match tokio::time::timeout(ATTEMPT, renew_once(&api, &holder)).await {
            Ok(Ok(true)) => renewal.send_modify(|renewal| renewal.at = began),
            Ok(Ok(false)) => {
                renewal.send_modify(|renewal| renewal.taken = true);
                return;
            }
            Ok(Err(error)) => tracing::debug!(%error, "renewal of the driver's lease"),
            Err(_) => tracing::debug!("renewal of the driver's lease: no answer within {} s", ATTEMPT.as_secs()),
        }
    }
}

/// False when the Lease is not `holder`'s any more.
async fn renew_once(api: &Api<Lease>, holder: &str) -> kube::Result<bool> {
    let Some(mut lease) = api.get_opt(NAME).await?.filter(|lease| held_by(lease) == Some(holder)) else {
        return Ok(false);
    };
    if let Some(spec) = &mut lease.spec {
        spec.renew_time = Some(MicroTime(Timestamp::now()));
    }
    api.replace(NAME, &PostParams::default(), &lease).await.map(|_| true)
}

/// Deletes a component's leader Lease when its holder is the process on `node` that has just gone, so that a follower leads at once
/// instead of after the Lease ran out (facts file, section 17: 1.9 s instead of 15 to 31 s).
///
/// # Errors
/// A failed call. A Lease that somebody else holds by now is left alone, which is no error.
pub async fn release_leader(cluster: &Cluster, component: &str, node: &str) -> Result<bool, ClusterError> {
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-system");
    let name = || format!("lease/kube-system/{component}");
    let Some(lease) = api.get_opt(component).await.map_err(ClusterError::call("read", name()))? else {
        return Ok(false);
    };
    if held_by(&lease).and_then(leader_node) != Some(node) {
        return Ok(false);
    }
    let gone = Preconditions { resource_version: lease.metadata.resource_version, uid: lease.metadata.uid };
    let params = DeleteParams { preconditions: Some(gone), ..DeleteParams::default() };
    match api.delete(component, &params).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(false),
        Err(error) => Err(ClusterError::call("delete", name())(error)),
    }
}

/// The node in a leader's identity, `HOSTNAME_UUID` (`k8s.io/component-base` leader election).
#[must_use]
pub fn leader_node(identity: &str) -> Option<&str> {
    identity.rsplit_once('_').map(|(node, _)| node)
}

#[cfg(test)]
mod tests;
