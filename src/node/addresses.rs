//! Where the components of this node answer: as their manifests and the kubelet's configuration say, else kubeadm's ports
//! (`cmd/kubeadm/app/constants/constants.go`).

use std::net::IpAddr;

use hyper::Uri;

use super::layout::Layout;
use super::manifest::CommandLine;
use super::whole_file;
use crate::pki::read_yaml;
use crate::plan::Component;

const APISERVER_PORT: u16 = 6443;

/// `host:port` of each, as the node itself reaches them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// kube-apiserver.
    pub apiserver: String,
    /// kube-controller-manager.
    pub controller_manager: String,
    /// kube-scheduler.
    pub scheduler: String,
    /// The kubelet.
    pub kubelet: String,
}

impl Addresses {
    /// Reads them. What is absent or cannot be read is taken for kubeadm's default: nobody answers there, and that is seen.
    #[must_use]
    pub fn read(layout: &Layout) -> Self {
        Self {
            apiserver: component(layout, Component::KubeApiserver, APISERVER_PORT),
            controller_manager: component(layout, Component::KubeControllerManager, 10257),
            scheduler: component(layout, Component::KubeScheduler, 10259),
            kubelet: kubelet(layout),
        }
    }
}

/// `host:port` at which the node's etcd answers the node itself, loopback first: 127.0.0.1 or ::1 (`cmd/kubeadm/app/phases/etcd/local.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdAddresses {
    /// For clients.
    pub client: String,
    /// For health checks, without TLS.
    pub metrics: String,
    /// For the other members.
    pub peer: String,
}

impl EtcdAddresses {
    /// Reads them from the manifest.
    #[must_use]
    pub fn read(layout: &Layout) -> Self {
        let command = command(layout, Component::Etcd);
        let place = |name: &str, port: u16| {
            let urls = command.flag(name).unwrap_or_default();
            let all: Vec<Uri> = urls.split(',').filter_map(|url| url.parse().ok()).collect();
            let here = |url: &&Uri| ip(url).is_some_and(|ip| ip.is_loopback());
            let authority = all.iter().find(here).or(all.first()).and_then(Uri::authority);
            authority.map_or_else(|| address(None, port), ToString::to_string)
        };
        Self {
            client: place("--listen-client-urls", 2379),
            metrics: place("--listen-metrics-urls", 2381),
            peer: place("--listen-peer-urls", 2380),
        }
    }
}

/// The node's own kube-apiserver, as kubeconfigs name it.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnApiserver {
    port: u16,
    /// `--advertise-address`, under which the whole cluster knows this one.
    advertised: Option<IpAddr>,
    /// Whether it is what listens on the loopback interface: else that may be a balancer.
    on_loopback: bool,
}

impl OwnApiserver {
    /// Reads it from the manifest.
    pub(super) fn read(layout: &Layout) -> Self {
        let command = command(layout, Component::KubeApiserver);
        let advertised = command.flag("--advertise-address").and_then(|address| address.parse().ok());
        let bind = command.flag("--bind-address").and_then(|bind| bind.parse::<IpAddr>().ok());
        let on_loopback = bind.is_none_or(|bind| bind.is_unspecified() || bind.is_loopback());
        Self { port: port(&command, APISERVER_PORT), advertised, on_loopback }
    }

    /// Whether a kubeconfig's server is this one, and not a balancer in front of several.
    pub(super) fn is(&self, server: &str) -> bool {
        let Ok(uri) = server.parse::<Uri>() else { return false };
        let ip = ip(&uri);
        let loopback = uri.host() == Some("localhost") || ip.is_some_and(|ip| ip.is_loopback());
        let here = if loopback { self.on_loopback } else { ip.is_some() && ip == self.advertised };
        here && self.port == uri.port_u16().unwrap_or(443)
    }
}

/// The host of a URL, where it is an IP address.
fn ip(uri: &Uri) -> Option<IpAddr> {
    host(uri)?.parse().ok()
}

/// The host of a URL, without the brackets of an IPv6 address.
pub(super) fn host(uri: &Uri) -> Option<String> {
    uri.host().map(|host| host.trim_matches(['[', ']']).to_owned())
}

/// The command line in a component's manifest, wherever that stands now; empty without a readable one.
pub(super) fn command(layout: &Layout, component: Component) -> CommandLine {
    let places = [layout.manifest(component), layout.parked_edited(component), layout.parked(component)];
    let yaml = places.iter().find_map(|place| whole_file::read(place).ok()).unwrap_or_default();
    CommandLine::read(&String::from_utf8_lossy(&yaml)).unwrap_or_default()
}

fn port(command: &CommandLine, default: u16) -> u16 {
    command.flag("--secure-port").and_then(|port| port.parse().ok()).unwrap_or(default)
}

fn component(layout: &Layout, component: Component, default: u16) -> String {
    let command = command(layout, component);
    address(command.flag("--bind-address").as_deref(), port(&command, default))
}

/// `port` and `address` of `KubeletConfiguration` (`k8s.io/kubelet/config/v1beta1`).
fn kubelet(layout: &Layout) -> String {
    let yaml = whole_file::text(&layout.path("/var/lib/kubelet/config.yaml"));
    let config = read_yaml(&yaml).unwrap_or_default();
    // A port of 0 stands for the default in that API.
    let port = config["port"].as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    address(config["address"].as_str(), port.unwrap_or(10250))
}

/// A process that listens everywhere is asked over the loopback interface: the address that it tells others may lie behind a NAT.
fn address(bind: Option<&str>, port: u16) -> String {
    let bind = bind.and_then(|bind| bind.parse::<IpAddr>().ok()).filter(|bind| !bind.is_unspecified());
    match bind {
        Some(IpAddr::V6(bind)) => format!("[{bind}]:{port}"),
        Some(IpAddr::V4(bind)) => format!("{bind}:{port}"),
        None => format!("127.0.0.1:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::fixture::Fixture;
    use super::*;

    fn with_flags(fixture: &Fixture, name: &str, flags: &[&str]) {
        let place = format!("/etc/kubernetes/manifests/{name}.yaml");
        let stock = fixture.read("/etc/kubernetes/manifests/kube-apiserver.yaml");
        let flags: String = flags.iter().map(|flag| format!("    - {flag}\n")).collect();
        fixture.write(&place, &stock.replace("    image:", &format!("{flags}    image:")), 0o600);
    }

    #[test]
    fn a_stock_node_answers_where_kubeadm_puts_it() {
        let fixture = Fixture::new();
        let addresses = Addresses::read(&fixture.layout);
        let all = [&addresses.apiserver, &addresses.controller_manager, &addresses.scheduler, &addresses.kubelet];
        assert_eq!(all, ["127.0.0.1:6443", "127.0.0.1:10257", "127.0.0.1:10259", "127.0.0.1:10250"]);
    }

    #[test]
    fn ports_and_addresses_are_those_of_the_flags() {
        let fixture = Fixture::new();
        with_flags(&fixture, "kube-scheduler", &["--bind-address=0.0.0.0", "--secure-port=20259"]);
        with_flags(&fixture, "kube-controller-manager", &["--bind-address=fd00::7"]);
        with_flags(
            &fixture,
            "kube-apiserver",
            &["--advertise-address=192.0.2.1", "--secure-port=8443", "--bind-address=10.0.0.7"],
        );
        fixture.write(
            "/var/lib/kubelet/config.yaml",
            "kind: KubeletConfiguration\naddress: 10.0.0.7\nport: 10350\n",
            0o644,
        );
        let addresses = Addresses::read(&fixture.layout);
        let all = [&addresses.apiserver, &addresses.controller_manager, &addresses.scheduler, &addresses.kubelet];
        assert_eq!(all, ["10.0.0.7:8443", "[fd00::7]:10257", "127.0.0.1:20259", "10.0.0.7:10350"]);
    }

    #[test]
    fn a_server_is_the_nodes_own_by_address_and_port() {
        let fixture = Fixture::new();
        with_flags(&fixture, "kube-apiserver", &["--advertise-address=fd00::7", "--secure-port=8443"]);
        let apiserver = OwnApiserver::read(&fixture.layout);
        for own in ["https://[fd00::7]:8443", "https://127.0.0.1:8443", "https://localhost:8443/"] {
            assert!(apiserver.is(own), "{own}");
        }
        for other in
            ["https://[fd00::8]:8443", "https://[fd00::7]:6443", "https://[fd00::7]", "https://api.example:8443", ""]
        {
            assert!(!apiserver.is(other), "{other}");
        }
        let fixture = Fixture::new();
        with_flags(&fixture, "kube-apiserver", &["--secure-port=443"]);
        assert!(OwnApiserver::read(&fixture.layout).is("https://localhost"));
        let fixture = Fixture::new();
        with_flags(&fixture, "kube-apiserver", &["--bind-address=10.0.0.7", "--advertise-address=10.0.0.7"]);
        let apiserver = OwnApiserver::read(&fixture.layout);
        assert!(apiserver.is("https://10.0.0.7:6443") && !apiserver.is("https://127.0.0.1:6443"));
    }

    #[test]
    fn etcd_is_asked_on_the_loopback_interface_that_it_listens_on() {
        let fixture = Fixture::new();
        let of = |fixture: &Fixture| {
            let EtcdAddresses { client, metrics, peer } = EtcdAddresses::read(&fixture.layout);
            [client, metrics, peer]
        };
        assert_eq!(of(&fixture), ["127.0.0.1:2379", "127.0.0.1:2381", "127.0.0.1:2380"]);
        let urls = [
            "--listen-client-urls=https://[fd00::7]:2379,https://[::1]:2379",
            "--listen-metrics-urls=http://[::1]:2381",
            "--listen-peer-urls=https://[fd00::7]:2380",
        ];
        with_flags(&fixture, "etcd", &urls);
        assert_eq!(of(&fixture), ["[::1]:2379", "[::1]:2381", "[fd00::7]:2380"]);
    }

    #[test]
    fn a_manifest_that_is_out_still_says_where() {
        let fixture = Fixture::new();
        with_flags(&fixture, "kube-apiserver", &["--secure-port=8443"]);
        fs::create_dir_all(fixture.layout.path(super::super::layout::PARKED)).unwrap();
        let api = Component::KubeApiserver;
        fs::rename(fixture.layout.manifest(api), fixture.layout.parked(api)).unwrap();
        assert_eq!(Addresses::read(&fixture.layout).apiserver, "127.0.0.1:8443");
    }
}
