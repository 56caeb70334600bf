//! What kubectl tells an exec credential plugin (`k8s.io/client-go/plugin/pkg/client/auth/exec`), and a connection as the plugin makes it.

use std::path::PathBuf;
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use super::client::{Access, Cluster};
use super::error::ClusterError;
use crate::pki::{EXEC_API_VERSION, Login};

/// The variable in which the caller describes itself and the cluster.
const INFO: &str = "KUBERNETES_EXEC_INFO";
/// A plugin holds kubectl up: it waits no longer than this for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The body of the cluster's entry, as the caller of the plugin has it; `None` when nobody calls.
///
/// # Errors
/// Another version of the protocol, or no cluster (`provideClusterInfo: false`).
pub fn called_for() -> Result<Option<Value>, ClusterError> {
    #[expect(clippy::disallowed_methods, reason = "the protocol of credential plugins uses the environment")]
    let info = std::env::var(INFO).ok();
    info.map(|info| cluster_of(&info)).transpose()
}

fn cluster_of(info: &str) -> Result<Value, ClusterError> {
    let info: Value = serde_json::from_str(info).map_err(|error| ClusterError::content(INFO, error))?;
    let version = info["apiVersion"].as_str().unwrap_or_default();
    if version != EXEC_API_VERSION {
        return Err(ClusterError::content(INFO, format!("apiVersion `{version}`, but this is {EXEC_API_VERSION}")));
    }
    let mut cluster = info["spec"]["cluster"].clone();
    match cluster.as_object_mut() {
        Some(fields) if fields.get("server").is_some_and(Value::is_string) => {
            // The plugin's own settings, which certctl has none of.
            fields.remove("config");
            Ok(cluster)
        }
        _ => Err(ClusterError::content(
            INFO,
            "names no cluster: set `provideClusterInfo: true` in the kubeconfig's exec entry",
        )),
    }
}

/// The user's folder for what can be made anew (XDG Base Directory Specification): `$XDG_CACHE_HOME`, else `~/.cache`.
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the place of the cache is defined by the environment")]
    let (cache, home) = (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"));
    // A relative path is to be ignored.
    let cache = cache.map(PathBuf::from).filter(|path| path.is_absolute());
    cache.or_else(|| home.filter(|home| !home.is_empty()).map(|home| PathBuf::from(home).join(".cache")))
}

impl Cluster {
    /// Connects with a login that stands in no file.
    ///
    /// # Errors
    /// [`ClusterError::NoCluster`]: an address, CA or credential that cannot be used.
    pub async fn with_login(login: &Login, verb: &'static str) -> Result<Self, ClusterError> {
        // The parsers' own messages may quote what they read: only who it is about is passed on.
        let unusable = || ClusterError::NoCluster { tried: format!("the entries of `{}`", login.names().context) };
        let yaml = login.to_yaml().map_err(|_| unusable())?;
        let kubeconfig = Kubeconfig::from_yaml(&yaml).map_err(|_| unusable())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let access = Access { verb, request_timeout: Some(ANSWER), ..Access::default() };
        Self::with_config(config.map_err(|_| unusable())?, &access)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_cluster_is_that_of_the_caller() {
        let cluster = json!({ "server": "https://a:6443", "certificate-authority-data": "QUJD", "config": null });
        let info = json!({
            "apiVersion": EXEC_API_VERSION, "kind": "ExecCredential", "spec": { "interactive": false, "cluster": cluster },
        });
        let wanted = json!({ "server": "https://a:6443", "certificate-authority-data": "QUJD" });
        assert_eq!(cluster_of(&info.to_string()).unwrap(), wanted);
    }

    #[test]
    fn what_the_caller_did_not_say_is_named() {
        let told = |info: Value| cluster_of(&info.to_string()).unwrap_err().to_string();
        let old = told(json!({ "apiVersion": "client.authentication.k8s.io/v1beta1", "spec": {} }));
        assert!(old.contains("v1beta1") && old.ends_with("but this is client.authentication.k8s.io/v1"), "{old}");
        let silent = told(json!({ "apiVersion": EXEC_API_VERSION, "spec": { "interactive": false } }));
        assert!(silent.contains("provideClusterInfo: true"), "{silent}");
    }
}
