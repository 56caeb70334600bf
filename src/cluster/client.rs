//! How the API server is reached.

use std::path::PathBuf;
use std::time::Duration;

use hyper::http::{HeaderValue, header};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::error::ClusterError;
use super::wire;
use crate::pki::Choice;

/// Longest wait for a connection: an API server that went down must not hold the driver for the client's default of 30 s.
const CONNECT: Duration = Duration::from_secs(3);

/// Longest silence within one request. An idle watch gets a bookmark each minute (`staging/src/k8s.io/apiserver/pkg/storage/cacher`,
/// `defaultBookmarkFrequency`). A machine without power is noticed by its sockets ([`wire`]); this is for a process that hangs while its
/// kernel answers for it.
const QUIET: Duration = Duration::from_secs(75);

/// Where to find the cluster; the names are kubectl's.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--cluster`.
    pub cluster: Option<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--request-timeout`: longest silence of the API server within one request.
    pub request_timeout: Option<Duration>,
    /// The verb, for the User-Agent in audit logs.
    pub verb: &'static str,
}

impl Access {
    /// The kubeconfigs that are read as one, in kubectl's order: `--kubeconfig` alone, else the files of `KUBECONFIG` that exist, else
    /// `~/.kube/config`. Empty in a pod.
    #[must_use]
    pub fn kubeconfigs(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.kubeconfig {
            return vec![path.clone()];
        }
        Self::listed_kubeconfigs().into_iter().filter(|path| path.is_file()).collect()
    }

    /// The files of `KUBECONFIG`, else `~/.kube/config`, whether they are there or not: what kubectl changes without `--kubeconfig`.
    #[must_use]
    pub fn listed_kubeconfigs() -> Vec<PathBuf> {
        #[expect(clippy::disallowed_methods, reason = "the place of the kubeconfig is defined by the environment")]
        let (listed, home) = (std::env::var_os("KUBECONFIG"), std::env::var_os("HOME").map(PathBuf::from));
        let listed: Vec<PathBuf> =
            listed.iter().flat_map(std::env::split_paths).filter(|path| !path.as_os_str().is_empty()).collect();
        if listed.is_empty() { home.map(|home| home.join(".kube/config")).into_iter().collect() } else { listed }
    }

    /// The entries of them that are meant.
    #[must_use]
    pub fn choice(&self) -> Choice {
        Choice { context: self.context.clone(), cluster: self.cluster.clone(), user: self.user.clone() }
    }

    /// Name of the kubeconfig's cluster that is meant; `None` where no kubeconfig says so, as in a pod.
    ///
    /// # Errors
    /// [`ClusterError::NoCluster`] when the kubeconfig of `--kubeconfig` cannot be read.
    pub fn cluster_name(&self) -> Result<Option<String>, ClusterError> {
        if self.cluster.is_some() {
            return Ok(self.cluster.clone());
        }
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)
                .map_err(|error| no_cluster(format!("--kubeconfig {}: {error}", path.display())))?,
            None => Kubeconfig::read().unwrap_or_default(),
        };
        let chosen = self.context.as_ref().or(kubeconfig.current_context.as_ref());
        let context = kubeconfig.contexts.iter().find(|named| Some(&named.name) == chosen);
        Ok(context.and_then(|named| named.context.as_ref()).map(|context| context.cluster.clone()))
    }
}

/// A connection to one cluster.
#[derive(Clone)]
pub struct Cluster {
    /// The client, for the modules of this adapter.
    pub(super) client: Client,
    access: Access,
    /// Address of the API server, for messages.
    server: String,
}

impl Cluster {
    /// Connects as kubectl would: `--kubeconfig`, then `KUBECONFIG`, then `~/.kube/config`, then the pod's service account.
    ///
    /// # Errors
    /// [`ClusterError::NoCluster`] with everything that was tried.
    pub async fn connect(access: &Access) -> Result<Self, ClusterError> {
        let config = Self::config(access).await?;
        Self::with_config(config, access)
    }

    /// Connects as the pod's service account, for the agent.
    ///
    /// # Errors
    /// [`ClusterError::NoCluster`] outside a pod.
    pub fn in_cluster(verb: &'static str) -> Result<Self, ClusterError> {
        let config = Config::incluster().map_err(|error| no_cluster(format!("the pod's service account: {error}")))?;
        Self::with_config(config, &Access { verb, ..Access::default() })
    }

    pub(super) fn with_config(mut config: Config, access: &Access) -> Result<Self, ClusterError> {
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = access.request_timeout.or(Some(QUIET));
        let agent = format!("certctl/{} ({})", env!("CARGO_PKG_VERSION"), access.verb);
        let agent = HeaderValue::from_str(&agent).map_err(|error| no_cluster(error.to_string()))?;
        config.headers.push((header::USER_AGENT, agent));
        let server = config.cluster_url.to_string();
        let client = wire::client(config).map_err(|error| no_cluster(error.to_string()))?;
        Ok(Self { client, access: access.clone(), server })
    }

    /// A connection to whatever answers in a test.
    #[cfg(test)]
    pub(super) fn played(client: Client) -> Self {
        Self { client, access: Access::default(), server: "a played API server".into() }
    }

    /// The same connection, as if it had been found by this kubeconfig.
    #[cfg(test)]
    pub(crate) fn with_kubeconfig(self, path: &std::path::Path) -> Self {
        let access = Access { kubeconfig: Some(path.to_path_buf()), ..self.access };
        Self { access, ..self }
    }

    async fn config(access: &Access) -> Result<Config, ClusterError> {
        let options = KubeConfigOptions {
            context: access.context.clone(),
            cluster: access.cluster.clone(),
            user: access.user.clone(),
        };
        let (from, kubeconfig) = match &access.kubeconfig {
            Some(path) => (format!("--kubeconfig {}", path.display()), Kubeconfig::read_from(path)),
            None => ("KUBECONFIG, then ~/.kube/config".to_owned(), read_all(&access.kubeconfigs())),
        };
        let failed = |error: String| no_cluster(format!("{from}: {error}"));
        match kubeconfig {
            Ok(kubeconfig) => {
                Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| failed(error.to_string()))
            }
            Err(error) if access.kubeconfig.is_some() => Err(failed(error.to_string())),
            Err(error) => {
                Config::incluster().map_err(|pod| failed(format!("{error}; then the pod's service account: {pod}")))
            }
        }
    }

    /// A fresh connection with what the kubeconfig holds now.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn reconnect(&self) -> Result<Self, ClusterError> {
        Self::connect(&self.access).await
    }

    /// How this connection was found.
    #[must_use]
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// The server's version, as a first call that shows whether there is a cluster.
    ///
    /// # Errors
    /// The call failed; the reason says what the transport or the server said.
    pub async fn version(&self) -> Result<String, ClusterError> {
        let paths: Vec<String> = self.access.kubeconfigs().iter().map(|path| path.display().to_string()).collect();
        let from = if paths.is_empty() { String::new() } else { format!(" (from {})", paths.join(", ")) };
        let server = format!("the API server at {}{from}", self.server);
        let version = self.client.apiserver_version().await.map_err(ClusterError::call("reach", server))?;
        Ok(version.git_version)
    }
}

/// As `Kubeconfig::read`, but a file of the list that is missing is passed over, as kubectl does (`clientcmd/loader.go`).
fn read_all(paths: &[PathBuf]) -> Result<Kubeconfig, KubeconfigError> {
    if paths.is_empty() {
        return Kubeconfig::read();
    }
    let add = |merged: Kubeconfig, path: &PathBuf| Kubeconfig::read_from(path).and_then(|next| merged.merge(next));
    paths.iter().try_fold(Kubeconfig::default(), add)
}

fn no_cluster(tried: String) -> ClusterError {
    ClusterError::NoCluster { tried }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: []\nusers: []\ncontexts:\n\
        - {name: a, context: {cluster: prod, user: x}}\n- {name: b, context: {cluster: dev, user: x}}\n";

    #[test]
    fn the_clusters_name_is_that_of_the_context_or_the_flag() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, TWO).unwrap();
        let access = Access { kubeconfig: Some(path), ..Access::default() };
        let name = |access: &Access| access.cluster_name().unwrap();
        assert_eq!(name(&access).as_deref(), Some("prod"));
        assert_eq!(name(&Access { context: Some("b".into()), ..access.clone() }).as_deref(), Some("dev"));
        assert_eq!(name(&Access { context: Some("c".into()), ..access.clone() }), None);
        assert_eq!(name(&Access { cluster: Some("flag".into()), ..access }).as_deref(), Some("flag"));
    }
}
