//! Containers that may hold the cluster CA as they read it long ago.

use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Volume};
use kube::Api;

use super::client::Cluster;
use super::error::ClusterError;
use super::pages::pages;

/// Where kubeadm keeps CAs and kubeconfigs on a node.
const KUBERNETES: &str = "/etc/kubernetes";
/// The ConfigMap that publishes the cluster CA to pods.
const ROOT_CA: &str = "kube-root-ca.crt";
/// kubeadm's own static pods (label `component`): a rotation itself observes what they have loaded.
const CONTROL_PLANE: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"];
/// The kubelet's mark on the API object of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A container that has been running since before a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct OldContainer {
    /// `namespace/pod`.
    pub pod: String,
    /// Container name.
    pub container: String,
    /// Node.
    pub node: String,
    /// RFC 3339.
    pub started: String,
}

impl Cluster {
    /// Running containers that were started before `time` and can read the cluster CA: their processes may have read it then.
    ///
    /// # Errors
    /// The list failed.
    pub async fn containers_older_than(&self, time: Timestamp) -> Result<Vec<OldContainer>, ClusterError> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let mut old = pages(&api, "pods", |pod| older_than(time, &pod)).await?;
        old.sort();
        Ok(old)
    }
}

fn older_than(time: Timestamp, pod: &Pod) -> Vec<OldContainer> {
    if !reads_the_ca(pod) || is_control_plane(pod) {
        return Vec::new();
    }
    let metadata = &pod.metadata;
    let name = |part: &Option<String>| part.clone().unwrap_or_default();
    let old = |status: &ContainerStatus| {
        let started = status.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0;
        (started < time).then(|| OldContainer {
            pod: format!("{}/{}", name(&metadata.namespace), name(&metadata.name)),
            container: status.name.clone(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            started: started.to_string(),
        })
    };
    let Some(status) = &pod.status else { return Vec::new() };
    // Sidecars run as init containers (restartPolicy Always), debuggers as ephemeral ones.
    [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(old)
        .collect()
}

/// A pod reads the cluster CA through a projected kube-root-ca.crt, any other mount of that ConfigMap, or the node's own files.
fn reads_the_ca(pod: &Pod) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    volumes.into_iter().flatten().any(|volume| mounts_root_ca(volume) || mounts_kubernetes(volume))
}

fn mounts_root_ca(volume: &Volume) -> bool {
    let projected = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
    let sources = projected.into_iter().flatten().filter_map(|source| source.config_map.as_ref());
    let mut names = sources.map(|map| map.name.as_str()).chain(volume.config_map.as_ref().map(|map| map.name.as_str()));
    names.any(|name| name == ROOT_CA)
}

/// The folder, or a file or folder in it, such as admin.conf or pki/ca.crt.
fn mounts_kubernetes(volume: &Volume) -> bool {
    volume.host_path.as_ref().is_some_and(|host| Path::new(&host.path).starts_with(KUBERNETES))
}

fn is_control_plane(pod: &Pod) -> bool {
    let component = pod.metadata.labels.as_ref().and_then(|labels| labels.get("component"));
    pod.metadata.namespace.as_deref() == Some("kube-system")
        && pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR))
        && component.is_some_and(|component| CONTROL_PLANE.contains(&component.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn root_ca() -> Value {
        json!({ "name": "token", "projected": { "sources": [{ "configMap": { "name": ROOT_CA } }] } })
    }

    fn host(path: &str) -> Value {
        json!({ "name": "host", "hostPath": { "path": path } })
    }

    /// A pod with these volumes and, in one list of its status, a container started at that hour.
    fn pod(volume: &Value, list: &str, hour: u32) -> Value {
        let running = json!({ "running": { "startedAt": format!("2026-11-22T{hour:02}:00:00Z") } });
        json!({
            "metadata": { "namespace": "kube-system", "name": "p" },
            "spec": { "containers": [], "nodeName": "w-1", "volumes": [volume] },
            "status": { list: [{ "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": running }] },
        })
    }

    fn is_old(pod: Value) -> bool {
        let noon = "2026-11-22T12:00:00Z".parse().unwrap();
        !older_than(noon, &serde_json::from_value(pod).unwrap()).is_empty()
    }

    #[test]
    fn containers_of_every_kind_are_named_when_they_are_old() {
        for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
            assert!(is_old(pod(&root_ca(), list, 11)) && !is_old(pod(&root_ca(), list, 13)), "{list}");
        }
    }

    #[test]
    fn an_init_container_that_has_ended_holds_nothing() {
        let mut ended = pod(&root_ca(), "initContainerStatuses", 11);
        ended["status"]["initContainerStatuses"][0]["state"] = json!({ "terminated": { "exitCode": 0 } });
        assert!(!is_old(ended));
    }

    #[test]
    fn the_nodes_own_kubernetes_files_count_and_others_do_not() {
        for (path, counts) in [
            ("/etc/kubernetes", true),
            ("/etc/kubernetes/", true),
            ("/etc/kubernetes/admin.conf", true),
            ("/etc/kubernetes/pki/ca.crt", true),
            ("/etc/kubernetes-old", false),
            ("/var/log", false),
        ] {
            assert_eq!(is_old(pod(&host(path), "containerStatuses", 11)), counts, "{path}");
        }
    }

    #[test]
    fn of_static_pods_only_kubeadms_own_are_left_to_the_rotation() {
        let named = |component: &str, mirror: bool| {
            let mut pod = pod(&host("/etc/kubernetes/pki"), "containerStatuses", 11);
            pod["metadata"]["labels"] = json!({ "component": component });
            if mirror {
                pod["metadata"]["annotations"] = json!({ MIRROR: "hash" });
            }
            pod
        };
        assert!(!is_old(named("kube-apiserver", true)));
        assert!(is_old(named("kube-apiserver", false)) && is_old(named("kube-vip", true)));
    }
}
