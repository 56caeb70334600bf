//! What manifests and kubeconfigs say about the names in a node's certificates.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use hyper::Uri;

use super::seeing::kubeconfig;
use crate::node::layout::{KUBELET_CLIENT, Layout};
use crate::node::manifest::{CommandLine, image};
use crate::node::renewal::small_file;
use crate::pki::Certificate;
use crate::plan::renewal::CertificateName;
use crate::plan::repair::NodeFacts;
use crate::plan::{Component, Conf};

/// The certificates that this node cannot do without: those to whose places its manifests and kubeconfigs refer.
pub(super) fn wanted(layout: &Layout, control_plane: bool) -> BTreeSet<CertificateName> {
    let mut wanted = BTreeSet::new();
    let refers = kubeconfig(layout, Conf::Kubelet)
        .is_none_or(|kubelet| kubelet.client_certificate_file().is_some_and(|file| file == KUBELET_CLIENT));
    if refers && (control_plane || layout.conf(Conf::Kubelet).exists()) {
        wanted.insert(CertificateName::KubeletClient);
    }
    let mut named = |component: Component, flags: &[(&str, CertificateName)]| {
        let command = command(layout, component);
        for (flag, name) in flags {
            if command.flag(flag).is_some_and(|file| name.files().contains(&file)) {
                wanted.insert(*name);
            }
        }
    };
    named(
        Component::KubeApiserver,
        &[
            ("--tls-cert-file", CertificateName::Apiserver),
            ("--kubelet-client-certificate", CertificateName::ApiserverKubeletClient),
            ("--proxy-client-cert-file", CertificateName::FrontProxyClient),
            ("--etcd-certfile", CertificateName::ApiserverEtcdClient),
        ],
    );
    named(
        Component::Etcd,
        &[("--cert-file", CertificateName::EtcdServer), ("--peer-cert-file", CertificateName::EtcdPeer)],
    );
    named(Component::KubeControllerManager, &[("--kubeconfig", CertificateName::Conf(Conf::ControllerManager))]);
    named(Component::KubeScheduler, &[("--kubeconfig", CertificateName::Conf(Conf::Scheduler))]);
    if control_plane {
        wanted.insert(CertificateName::Conf(Conf::Admin));
        wanted.insert(CertificateName::Conf(Conf::Kubelet));
    }
    if wanted.contains(&CertificateName::EtcdServer) {
        wanted.insert(CertificateName::EtcdHealthcheckClient);
    }
    wanted
}

/// Reads them; what is absent is `None`.
pub(super) fn read(layout: &Layout) -> NodeFacts {
    let apiserver = command(layout, Component::KubeApiserver);
    let ranges = apiserver.flag("--service-cluster-ip-range").unwrap_or_default();
    let issuer = apiserver.flag("--service-account-issuer").unwrap_or_default();
    let endpoint = [Conf::Admin, Conf::SuperAdmin, Conf::Kubelet].into_iter().find_map(|conf| host(layout, conf));
    NodeFacts {
        node: node_name(layout),
        advertised: apiserver.flag("--advertise-address").and_then(|address| address.parse().ok()),
        service_addresses: ranges.split(',').filter_map(first_address).collect(),
        domain: issuer.strip_prefix("https://kubernetes.default.svc.").map(str::to_owned),
        endpoint,
        minor: text(layout, Component::KubeApiserver).and_then(|yaml| image(&yaml)).and_then(|image| minor(&image)),
    }
}

/// The Node's name: the user of a kubelet's certificate, else what etcd's certificate or manifest, or the host, calls itself.
pub(super) fn node_name(layout: &Layout) -> Option<String> {
    let common_name = |file: &str| {
        let pem = small_file(layout, file).ok()??;
        Certificate::first_from_pem(&pem).ok()?.common_name().map(str::to_owned)
    };
    let user = |name: &str| name.strip_prefix("system:node:").map(str::to_owned);
    let kubelet = || common_name(KUBELET_CLIENT).and_then(|name| user(&name));
    let embedded = || kubeconfig(layout, Conf::Kubelet)?.client_certificate()?.common_name().and_then(user);
    let named = || user(kubeconfig(layout, Conf::Kubelet)?.user_name());
    let etcd = || common_name("/etc/kubernetes/pki/etcd/server.crt");
    let member = || command(layout, Component::Etcd).flag("--name");
    // The kubelet's own default (`pkg/util/node/node.go`, `GetHostname`).
    let host = || {
        let name = fs::read_to_string(layout.path("/etc/hostname")).ok()?.trim().to_lowercase();
        (!name.is_empty()).then_some(name)
    };
    kubelet().or_else(embedded).or_else(named).or_else(etcd).or_else(member).or_else(host)
}

/// The URL that kubeadm gives a kubeconfig: of the components on this node its own API server, of people and kubelets the control plane's
/// endpoint; from whichever kubeconfig still has it.
pub(super) fn server(layout: &Layout, conf: Conf) -> Option<String> {
    let local = [Conf::ControllerManager, Conf::Scheduler];
    let common = [Conf::Admin, Conf::SuperAdmin, Conf::Kubelet];
    let (first, then) = if local.contains(&conf) { (&local[..], &common[..]) } else { (&common[..], &local[..]) };
    first.iter().chain(then).find_map(|conf| {
        let server = kubeconfig(layout, *conf)?.server().to_owned();
        (!server.is_empty()).then_some(server)
    })
}

fn host(layout: &Layout, conf: Conf) -> Option<String> {
    let server: Uri = kubeconfig(layout, conf)?.server().parse().ok()?;
    server.host().map(|host| host.trim_matches(['[', ']']).to_owned())
}

fn text(layout: &Layout, component: Component) -> Option<String> {
    let places = [layout.manifest(component), layout.parked_edited(component), layout.parked(component)];
    places.iter().find_map(|place| fs::read_to_string(place).ok())
}

fn command(layout: &Layout, component: Component) -> CommandLine {
    text(layout, component).and_then(|yaml| CommandLine::read(&yaml).ok()).unwrap_or_default()
}

/// The first usable address of a range, which the API server takes for itself (`pkg/controlplane/services.go`).
fn first_address(range: &str) -> Option<IpAddr> {
    match range.trim().split_once('/')?.0.parse().ok()? {
        IpAddr::V4(net) => Some(IpAddr::V4((u32::from(net) | 1).into())),
        IpAddr::V6(net) => Some(IpAddr::V6((u128::from(net) | 1).into())),
    }
}

/// The minor version in an image's tag, `…:v1.37.1`.
fn minor(image: &str) -> Option<u32> {
    image.rsplit_once(":v1.")?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_and_the_version_are_read_as_kubeadm_writes_them() {
        let first = |range| first_address(range).unwrap().to_string();
        assert_eq!([first("10.96.0.0/12"), first(" fd00:1::/108")], ["10.96.0.1", "fd00:1::1"]);
        assert_eq!(first_address("nonsense"), None);
        assert_eq!(minor("registry:5000/kube-apiserver:v1.36.2-eks"), Some(36));
        assert_eq!(minor("registry:5000/kube-apiserver@sha256:aa"), None);
    }
}
