//! A node comes back to life after a repair of its files: what works with old files is stopped, the kubelet starts anew, and it is watched how
//! far the control plane has come. Nothing here needs an API server.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::node::{Addresses, ContainerState, EtcdAddresses, Layout, Node, NodeError, files_changed, repair};
use crate::pki::{Certificate, Kubeconfig};
use crate::plan::{Component, Conf, Verdict};
use crate::probe;

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(2);
/// What each static pod reads at its start only (facts of Kubernetes 1.31 to 1.37: `cmd/kube-controller-manager/app/certificates.go`,
/// client-go's rest config, etcd's `client/pkg/transport/listener.go`, `k8s.io/apiserver/pkg/storage/storagebackend/factory/etcd3.go`).
const READ_ONCE: [(Component, &[&str]); 4] = [
    (Component::Etcd, &["/etc/kubernetes/pki/etcd/ca.crt"]),
    (Component::KubeApiserver, &["/etc/kubernetes/pki/etcd/ca.crt"]),
    (Component::KubeControllerManager, &["/etc/kubernetes/controller-manager.conf", "/etc/kubernetes/pki/ca.crt"]),
    (Component::KubeScheduler, &["/etc/kubernetes/scheduler.conf"]),
];
const KUBELET_READS: [&str; 4] = [
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/pki/ca.crt",
    "/var/lib/kubelet/pki/kubelet-client-current.pem",
    "/var/lib/kubelet/pki/kubelet-server-current.pem",
];
const KUBELET: &str = "kubelet.service";

/// The running containers that have loaded what a repair has since replaced. The kubelet makes their successors.
///
/// # Errors
/// The container runtime does not answer; the snapshot of the repair cannot be read.
pub async fn outdated(node: &Node) -> Result<Vec<(Component, ContainerState)>, NodeError> {
    let replaced = repair::replaced(node.layout())?;
    let mut found = Vec::new();
    for (component, files) in READ_ONCE {
        let Some(since) = newest(node.layout(), &replaced, files) else { continue };
        // In the same second it may have read either.
        found.extend(
            node.cri().running(component).await?.filter(|running| running.created <= since).map(|c| (component, c)),
        );
    }
    Ok(found)
}

/// The running containers that read one of these files, paths on the node, at their start only.
///
/// # Errors
/// The container runtime does not answer.
pub async fn users_of(node: &Node, files: &[String]) -> Result<Vec<(Component, ContainerState)>, NodeError> {
    let mut found = Vec::new();
    for (component, inputs) in READ_ONCE {
        if inputs.iter().any(|input| files.iter().any(|file| file == input)) {
            found.extend(node.cri().running(component).await?.map(|running| (component, running)));
        }
    }
    Ok(found)
}

/// Whether the kubelet works with what a repair has since replaced, or does not run.
///
/// # Errors
/// systemd does not answer; the snapshot of the repair cannot be read.
pub async fn kubelet_is_outdated(node: &Node) -> Result<bool, NodeError> {
    let unit = node.systemd().unit(KUBELET).await?;
    let replaced = repair::replaced(node.layout())?;
    let since = newest(node.layout(), &replaced, &KUBELET_READS);
    Ok(unit.active != "active" || since.is_some_and(|since| unit.started <= since))
}

/// Starts the kubelet anew. That also ends the back-offs of pods that could not start, which grow to five minutes.
///
/// # Errors
/// systemd does not answer or the unit does not start.
pub async fn restart_kubelet(node: &Node) -> Result<(), NodeError> {
    node.systemd().restart(KUBELET).await.map(|_| ())
}

fn newest(layout: &Layout, replaced: &[String], files: &[&str]) -> Option<Timestamp> {
    let hit = files.iter().filter(|file| replaced.iter().any(|path| path == *file));
    hit.filter_map(|file| files_changed(&layout.path(file))).max()
}

/// How far the node's control plane has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// etcd does not answer.
    NoEtcd,
    /// etcd runs, but too few of its members do: the other control-plane nodes must come back too.
    NoQuorum,
    /// kube-apiserver does not answer.
    NoApiserver,
    /// kube-apiserver answers, and is not ready.
    Unready,
    /// It is ready, but shows an old certificate or does not let the new administrator in yet.
    NotReloaded,
    /// `kubectl` works.
    Up,
}

impl Life {
    /// What to tell the administrator.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoEtcd => "waiting for etcd",
            Self::NoQuorum => "etcd runs here, but has no quorum: it waits for the other control-plane nodes",
            Self::NoApiserver => "waiting for kube-apiserver",
            Self::Unready => "kube-apiserver answers and is not ready yet",
            Self::NotReloaded => "kube-apiserver is ready and has not read its new certificates yet",
            Self::Up => "kube-apiserver is ready and works with the new certificates",
        }
    }
}

/// Asks etcd, the API server, and the API server as the administrator.
pub async fn life(layout: &Layout) -> Life {
    let address = Addresses::read(layout).apiserver;
    match probe::status(&address, probe::host(&address), "/readyz", ANSWER).await {
        Ok(200) if shows_own(layout, &address).await && lets_in(layout, &address).await => Life::Up,
        Ok(200) => Life::NotReloaded,
        Ok(_) => etcd(layout).await.unwrap_or(Life::Unready),
        Err(error) => {
            tracing::debug!(%error, "kube-apiserver");
            etcd(layout).await.unwrap_or(Life::NoApiserver)
        }
    }
}

/// What is wrong with etcd; `None` when nothing is, or when it does not run on this node.
async fn etcd(layout: &Layout) -> Option<Life> {
    if !layout.manifest(Component::Etcd).exists() {
        return None;
    }
    let address = EtcdAddresses::read(layout).metrics;
    let ask = async |path| probe::plain_status(&address, path, ANSWER).await;
    match ask("/health?serializable=true").await {
        Ok(200) => (!matches!(ask("/health").await, Ok(200))).then_some(Life::NoQuorum),
        _ => Some(Life::NoEtcd),
    }
}

async fn shows_own(layout: &Layout, address: &str) -> bool {
    let own = read(&layout.path("/etc/kubernetes/pki/apiserver.crt"));
    let own = own.and_then(|pem| Certificate::first_from_pem(&pem).ok());
    let served = probe::handshake(address, probe::host(address), ANSWER).await;
    served.is_ok_and(|served| own.is_none() || served.certificates.first() == own.as_ref())
}

async fn lets_in(layout: &Layout, address: &str) -> bool {
    let kubeconfig = read(&layout.conf(Conf::Admin)).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let kubeconfig = kubeconfig.map(zeroize::Zeroizing::new).and_then(|text| Kubeconfig::parse(&text).ok());
    let credential = kubeconfig.and_then(|conf| Some((conf.client_certificate()?, conf.client_key()?)));
    // A kubeconfig without a certificate is none of a repair's business.
    let Some((certificate, key)) = credential else { return true };
    let chain = vec![certificate.rustls_der()];
    let verdict = probe::client_verdict(address, probe::host(address), chain, key.rustls_der(), "/version", ANSWER);
    verdict.await == Verdict::Accepted
}

fn read(path: &Path) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    std::fs::read(path).ok().map(zeroize::Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A port on which nobody listens.
    async fn nobody() -> u16 {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
    }

    /// etcd's health in clear text: 200 for the member alone, `whole` for the whole cluster.
    async fn etcd(whole: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                let alone = String::from_utf8_lossy(&request[..read]).contains("serializable=true");
                let status = if alone { "200 OK" } else { whole };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        port
    }

    /// A node whose API server nobody has started; with etcd's health at this port, if it has an etcd.
    async fn node(metrics: Option<u16>) -> (tempfile::TempDir, Layout) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let manifest = |component: Component, flag: String| {
            let path = layout.manifest(component);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let name = component.name();
            let pod =
                format!("kind: Pod\nmetadata: {{}}\nspec:\n  containers:\n  - command:\n    - {name}\n    - {flag}\n");
            std::fs::write(path, pod).unwrap();
        };
        manifest(Component::KubeApiserver, format!("--secure-port={}", nobody().await));
        if let Some(port) = metrics {
            manifest(Component::Etcd, format!("--listen-metrics-urls=http://127.0.0.1:{port}"));
        }
        (root, layout)
    }

    #[tokio::test]
    async fn an_etcd_without_its_majority_is_told_from_one_that_is_down_and_one_that_is_well() {
        let (lonely, well, down) = (etcd("503 Service Unavailable").await, etcd("200 OK").await, nobody().await);
        for (metrics, wanted) in [
            (Some(lonely), Life::NoQuorum),
            (Some(well), Life::NoApiserver),
            (Some(down), Life::NoEtcd),
            (None, Life::NoApiserver),
        ] {
            let (_root, layout) = node(metrics).await;
            assert_eq!(life(&layout).await, wanted, "{metrics:?}");
        }
    }

    #[test]
    fn only_what_a_repair_has_replaced_makes_a_process_outdated() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        std::fs::create_dir_all(root.path().join("etc/kubernetes")).unwrap();
        std::fs::write(root.path().join("etc/kubernetes/scheduler.conf"), "").unwrap();
        let files = ["/etc/kubernetes/scheduler.conf"];
        assert_eq!(newest(&layout, &[], &files), None);
        assert_eq!(newest(&layout, &["/etc/kubernetes/admin.conf".into()], &files), None);
        let written = files_changed(&layout.path(files[0]));
        assert!(written.is_some());
        assert_eq!(newest(&layout, &[files[0].into()], &files), written);
    }
}
