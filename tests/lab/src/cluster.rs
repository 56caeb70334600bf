//! Asks the cluster how it is: through its API server, and each etcd member itself.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::node::Node;
use crate::process::{output, succeeds};
use crate::record::Record;
use crate::step::wait_until;
use crate::{container, network, paths};

pub struct ReadyNode {
    pub name: String,
    pub ready: bool,
    /// When the kubelet last said so; a node without power keeps its last word for some time.
    pub heartbeat: String,
}

/// A command in the lab's outer network with the administrator's kubeconfig and the lab's programs.
pub fn outside(record: &Record, program: &str) -> Command {
    let mut search = record.bin().into_os_string();
    if let Some(path) = std::env::var_os("PATH") {
        search.push(":");
        search.push(path);
    }
    let mut command = network::inside(paths::name(), program);
    command.env("PATH", search).env("KUBECONFIG", paths::kubeconfig());
    command
}

pub fn kubectl<const N: usize>(record: &Record, words: [&str; N]) -> Command {
    let mut kubectl = outside(record, "kubectl");
    kubectl.arg("--request-timeout=5s").args(words);
    kubectl
}

pub fn nodes(record: &Record) -> Result<Vec<ReadyNode>> {
    let list: Value = serde_json::from_str(&output(&mut kubectl(record, ["get", "nodes", "-o", "json"]))?)?;
    let items = list["items"].as_array().context("kubectl printed no list of nodes")?;
    Ok(items.iter().map(ready_node).collect())
}

fn ready_node(node: &Value) -> ReadyNode {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"));
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    ReadyNode {
        name: text(node["metadata"].get("name")),
        ready: ready.is_some_and(|condition| condition["status"] == "True"),
        heartbeat: text(ready.and_then(|condition| condition.get("lastHeartbeatTime"))),
    }
}

/// Waits until every node is Ready and has said so itself after `since` (RFC 3339 in UTC, as the API writes it).
pub fn wait_ready(record: &Record, since: &str, limit: Duration) -> Result<()> {
    wait_until("all nodes are Ready", limit, || {
        nodes(record).is_ok_and(|seen| {
            record.nodes.iter().all(|node| {
                seen.iter().any(|seen| seen.name == node.name && seen.ready && seen.heartbeat.as_str() >= since)
            })
        })
    })
}

/// Waits until every container of every pod is ready.
pub fn wait_pods(record: &Record, limit: Duration) -> Result<()> {
    wait_containers(record, limit, |_, container| container["ready"] == true)
}

/// Waits until every container of every pod was started after `since` and is ready: after a power cut the API server shows
/// what ran before it for some time. Static pods need not be ready: their kubelets ask them every 10 s only, and
/// [`wait_serving`] asks them itself.
pub fn wait_restarted_pods(record: &Record, since: &str, limit: Duration) -> Result<()> {
    wait_containers(record, limit, |pod, container| {
        let is_static = pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string();
        let started = container["state"]["running"]["startedAt"].as_str();
        (is_static || container["ready"] == true) && started.is_some_and(|started| started >= since)
    })
}

/// `good` is asked about every pod that is to run, with each of its containers.
fn wait_containers(record: &Record, limit: Duration, good: impl Fn(&Value, &Value) -> bool) -> Result<()> {
    let runs = |pod: &Value| {
        let containers = pod["status"]["containerStatuses"].as_array();
        pod["status"]["phase"] == "Succeeded"
            || containers.is_some_and(|all| all.iter().all(|container| good(pod, container)))
    };
    wait_until("all pods run", limit, || {
        let list = output(&mut kubectl(record, ["get", "pods", "--all-namespaces", "-o", "json"]));
        let list = list.ok().and_then(|list| serde_json::from_str::<Value>(&list).ok());
        list.is_some_and(|list| list["items"].as_array().is_some_and(|pods| pods.iter().all(runs)))
    })
}

/// Waits until the components of every control-plane node answer on their own ports.
pub fn wait_serving(record: &Record, limit: Duration) -> Result<()> {
    for node in record.nodes.iter().filter(|node| node.is_control_plane()) {
        let what = format!("API server, controller manager, scheduler and etcd serve on {}", node.name);
        wait_until(&what, limit, || serves(node))?;
    }
    Ok(())
}

/// True if all four components of a control-plane node answer their health checks.
pub fn serves(node: &Node) -> bool {
    let probe = |url: &str| succeeds(&mut container::inside(node, ["curl", "-skf", "-m", "3", "-o", "/dev/null", url]));
    [
        format!("https://{}:6443/readyz", node.ip()),
        "https://127.0.0.1:10257/healthz".to_owned(),
        "https://127.0.0.1:10259/healthz".to_owned(),
        "http://127.0.0.1:2381/readyz".to_owned(),
    ]
    .iter()
    .all(|url| probe(url))
}

/// Asks one etcd member with the certificates of its own node, whatever CA they are of.
pub fn etcd_healthy(record: &Record, node: &Node) -> bool {
    let pki = node.root().join("etc/kubernetes/pki/etcd");
    let mut etcdctl = outside(record, "etcdctl");
    etcdctl.arg("--endpoints").arg(format!("https://{}:2379", node.ip()));
    etcdctl.arg("--cacert").arg(pki.join("ca.crt"));
    etcdctl.arg("--cert").arg(pki.join("healthcheck-client.crt"));
    etcdctl.arg("--key").arg(pki.join("healthcheck-client.key"));
    succeeds(etcdctl.args(["--command-timeout=3s", "endpoint", "health"]))
}

/// This moment as the API server writes it.
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
