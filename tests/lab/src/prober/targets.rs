//! Who is asked: each API server, the balancer, the proxies in the cluster, and pods whose logs pass through kubelets.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::connection::fetch;
use super::kubeconfig::Credentials;
use super::lane::{Lane, Place};
use super::outcome::{Group, Key, Mode};
use super::request::{Work, build, get};
use super::source::Source;

/// The pods of `lab deploy-clients`.
const CLIENTS_NAMESPACE: &str = "lab";
const PROXY_APP: &str = "proxy";
const LOGGER_APP: &str = "logger";
const PROXY_PORT: u16 = 8001;
const API_SERVER_PORT: u16 = 6443;

/// Lanes of one kind. A lane waits for its answer, so this bounds the requests that can be under way: on a busy machine, or
/// with a server that does not answer, a single lane of each kind would not keep up the rate.
const COPIES: usize = 4;

/// A real user runs kubectl for a log: a connection for each.
const LOG_CLIENT: &str = "both";

/// An API server, or the balancer before them.
#[derive(Clone)]
pub struct Target {
    pub name: String,
    pub balancer: bool,
    pub place: Place,
}

impl Target {
    pub fn balancer(address: SocketAddr) -> Target {
        Target { name: "balancer".to_owned(), balancer: true, place: Rc::new(Cell::new(address)) }
    }

    pub fn server(name: &str, ip: &str) -> Result<Target> {
        let ip = ip.parse().with_context(|| format!("`{ip}` is no address"))?;
        let place = Rc::new(Cell::new(SocketAddr::new(ip, API_SERVER_PORT)));
        Ok(Target { name: name.to_owned(), balancer: false, place })
    }
}

/// One client's lanes to one target, in every way to connect.
pub fn api_lanes(client: &str, target: &Target, source: &Source) -> Vec<Lane> {
    // Each copy begins with another mode. Otherwise a balancer that takes as many servers in turn as there are modes would
    // give all lanes of one mode to the same server.
    let modes = |copy: usize| Mode::ALL.into_iter().cycle().skip(copy).take(Mode::ALL.len());
    let kinds = (0..COPIES).flat_map(|copy| modes(copy).map(move |mode| (copy, mode)));
    let lanes = kinds.map(|(copy, mode)| {
        let key = Key { group: Group::Api, client: client.to_owned(), target: target.name.clone(), mode };
        let work = Work::ReadsAndWrites(format!("{client}-{}-{mode}-{copy}", target.name));
        Lane::new(key, Rc::clone(&target.place), source.clone(), work)
    });
    lanes.collect()
}

/// A pod of the lab's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub app: String,
    pub node: String,
    pub address: Option<SocketAddr>,
}

/// The two `kubectl proxy` pods: clients inside the cluster that never rest. They may read only, and speak no TLS to us.
pub struct Proxies {
    proxies: Vec<(String, Place)>,
}

impl Proxies {
    pub fn of(pods: &[Pod]) -> Proxies {
        let proxies = pods.iter().filter(|pod| pod.app == PROXY_APP);
        let proxies = proxies.filter_map(|pod| Some((pod.name.clone(), Rc::new(Cell::new(pod.address?)))));
        Proxies { proxies: proxies.collect() }
    }

    pub fn lanes(&self) -> Vec<Lane> {
        let kinds = (0..COPIES).flat_map(|_| [Mode::Fresh, Mode::KeptAlive]);
        let kinds = kinds.flat_map(|mode| self.proxies.iter().map(move |proxy| (mode, proxy)));
        let lanes = kinds.map(|(mode, (name, place))| {
            let key = Key { group: Group::Api, client: name.clone(), target: "in-cluster".to_owned(), mode };
            Lane::new(key, Rc::clone(place), Source::Plain, Work::Reads)
        });
        lanes.collect()
    }

    /// A pod whose node was off comes back with another address.
    pub fn follow(&self, pods: &[Pod]) {
        for (name, place) in &self.proxies {
            let now = pods.iter().find(|pod| pod.name == *name).and_then(|pod| pod.address);
            if let Some(address) = now {
                place.set(address);
            }
        }
    }

    pub fn count(&self) -> usize {
        self.proxies.len()
    }
}

/// A lane for the log of one pod on each node, through the balancer.
pub fn log_lanes(pods: &[Pod], balancer: &Target, source: &Source) -> Vec<Lane> {
    let loggers = pods.iter().filter(|pod| pod.app == LOGGER_APP && !pod.node.is_empty());
    let lane = |pod: &Pod| {
        let key = Key {
            group: Group::ViaKubelet,
            client: LOG_CLIENT.to_owned(),
            target: pod.node.clone(),
            mode: Mode::Fresh,
        };
        let work = Work::Log { namespace: CLIENTS_NAMESPACE.to_owned(), pod: pod.name.clone() };
        Lane::new(key, Rc::clone(&balancer.place), source.clone(), work)
    };
    loggers.map(lane).collect()
}

pub async fn pods(balancer: SocketAddr, credentials: Rc<Credentials>) -> Result<Vec<Pod>> {
    let path = format!("/api/v1/namespaces/{CLIENTS_NAMESPACE}/pods");
    let body = fetch(balancer, credentials, build(balancer, Mode::Fresh, get(&path))).await?;
    parse(&body)
}

fn parse(body: &[u8]) -> Result<Vec<Pod>> {
    let list: PodList = serde_json::from_slice(body).context("not a list of pods")?;
    let pods = list.items.into_iter().map(|item| {
        let address =
            item.status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()).map(|ip| SocketAddr::new(ip, PROXY_PORT));
        let app = item.metadata.labels.and_then(|labels| labels.app).unwrap_or_default();
        Pod { name: item.metadata.name, app, node: item.spec.node_name.unwrap_or_default(), address }
    });
    Ok(pods.collect())
}

#[derive(Deserialize)]
struct PodList {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    labels: Option<Labels>,
}

#[derive(Deserialize)]
struct Labels {
    app: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: &str = r#"{"items":[
        {"metadata":{"name":"proxy-reads-ca-once","labels":{"app":"proxy"}},"spec":{"nodeName":"w-1"},"status":{"podIP":"10.244.101.2"}},
        {"metadata":{"name":"logger-x","labels":{"app":"logger"}},"spec":{"nodeName":"cp-1"},"status":{}},
        {"metadata":{"name":"logger-y","labels":{"app":"logger"}},"spec":{},"status":{}}]}"#;

    #[test]
    fn proxies_are_asked_themselves_and_loggers_through_the_balancer() {
        let pods = parse(PODS.as_bytes()).unwrap();
        assert_eq!(Proxies::of(&pods).lanes().len(), 2 * COPIES);
        let balancer = Target::balancer("172.30.0.1:6443".parse().unwrap());
        let targets: Vec<_> =
            log_lanes(&pods, &balancer, &Source::Plain).iter().map(|lane| lane.key.target.clone()).collect();
        assert_eq!(targets, ["cp-1"]);
    }

    #[test]
    fn a_pod_that_came_back_elsewhere_is_followed() {
        let before = parse(PODS.as_bytes()).unwrap();
        let proxies = Proxies::of(&before);
        let after = parse(PODS.replace("10.244.101.2", "10.244.101.9").as_bytes()).unwrap();
        proxies.follow(&after);
        assert_eq!(proxies.proxies[0].1.get(), "10.244.101.9:8001".parse().unwrap());
    }
}
