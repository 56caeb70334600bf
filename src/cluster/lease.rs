//! The driver's Lease: one driver at a time.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::Cluster;
use super::error::ClusterError;
use crate::api::NAMESPACE;

const NAME: &str = "certctl-driver";
/// Seconds after which a driver that does not renew is taken for dead.
const DURATION: i32 = 10;
/// How often the holder renews.
const RENEW: Duration = Duration::from_secs(3);

/// The Lease while it is held. Dropping it stops the renewal; [`DriverLease::release`] gives it back at once.
pub struct DriverLease {
    api: watch::Sender<Api<Lease>>,
    holder: String,
    renewal: JoinHandle<()>,
    lost: watch::Receiver<bool>,
}

impl DriverLease {
    /// Takes the Lease if nobody holds it. A holder on this host whose process `dead` says is gone is replaced at once.
    ///
    /// # Errors
    /// [`ClusterError::Held`] with the holder; a failed call.
    pub async fn acquire(cluster: &Cluster, holder: &str, dead: impl Fn(&str) -> bool) -> Result<Self, ClusterError> {
        let api: Api<Lease> = Api::namespaced(cluster.client.clone(), NAMESPACE);
        let found = api.get_opt(NAME).await.map_err(ClusterError::call("read", object()))?;
        match found {
            None => {
                let lease = fresh(holder, Timestamp::now());
                api.create(&PostParams::default(), &lease).await.map_err(ClusterError::call("create", object()))?;
            }
            Some(lease) => take_over(&api, lease, holder, dead).await?,
        }
        let (send, lost) = watch::channel(false);
        let (api, current) = watch::channel(api);
        let renewal = tokio::spawn(renew(current, holder.to_owned(), send));
        Ok(Self { api, holder: holder.to_owned(), renewal, lost })
    }

    /// True once the Lease went to somebody else.
    #[must_use]
    pub fn lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Renews through another connection from now on: the old credential may end.
    pub fn use_client(&self, cluster: &Cluster) {
        self.api.send_replace(Api::namespaced(cluster.client.clone(), NAMESPACE));
    }

    /// Gives the Lease back, so that the next driver need not wait.
    pub async fn release(self) {
        self.renewal.abort();
        let api = self.api.borrow().clone();
        if let Ok(Some(lease)) = api.get_opt(NAME).await
            && held_by(&lease) == Some(self.holder.as_str())
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

fn object() -> String {
    format!("lease/{NAMESPACE}/{NAME}")
}

fn held_by(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

fn fresh(holder: &str, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta { name: Some(NAME.into()), namespace: Some(NAMESPACE.into()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(DURATION),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

async fn take_over(
    api: &Api<Lease>,
    mut lease: Lease,
    holder: &str,
    dead: impl Fn(&str) -> bool,
) -> Result<(), ClusterError> {
    let now = Timestamp::now();
    let spec = lease.spec.clone().unwrap_or_default();
    let other = spec.holder_identity.clone().unwrap_or_default();
    let age = spec.renew_time.as_ref().map_or(i64::MAX, |time| now.as_second() - time.0.as_second());
    if !other.is_empty() && age <= i64::from(DURATION) && !dead(&other) {
        let since = spec.acquire_time.map(|time| time.0.to_string()).unwrap_or_default();
        return Err(ClusterError::Held { holder: other, since });
    }
    lease.spec = fresh(holder, now).spec;
    // resourceVersion is sent back: of two that try, the API server lets one through.
    api.replace(NAME, &PostParams::default(), &lease).await.map_err(ClusterError::call("take over", object()))?;
    Ok(())
}

async fn renew(current: watch::Receiver<Api<Lease>>, holder: String, lost: watch::Sender<bool>) {
    let mut ticks = tokio::time::interval(RENEW);
    loop {
        ticks.tick().await;
        let api = current.borrow().clone();
        match api.get_opt(NAME).await {
            Ok(Some(mut lease)) if held_by(&lease) == Some(holder.as_str()) => {
                if let Some(spec) = &mut lease.spec {
                    spec.renew_time = Some(MicroTime(Timestamp::now()));
                }
                if let Err(error) = api.replace(NAME, &PostParams::default(), &lease).await {
                    tracing::debug!(%error, "renewal of the driver's lease");
                }
            }
            Ok(_) => {
                lost.send_replace(true);
                return;
            }
            Err(error) => tracing::debug!(%error, "renewal of the driver's lease"),
        }
    }
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
