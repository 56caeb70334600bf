//! The container runtime through the CRI (v1, containerd 1.6 and later) over its unix socket.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_cri::v1 as api;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::error::NodeError;
use crate::plan::Component;

const SYSTEM: &str = "kube-system";
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";
const CONTAINER: &str = "io.kubernetes.container.name";

/// Longest answer to wait for.
const ANSWER: Duration = Duration::from_secs(10);

/// Seconds that a container has to end by itself; less than [`ANSWER`].
const GRACE: i64 = 8;

/// One container of a control-plane component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerState {
    /// Container id.
    pub id: String,
    /// UID of its pod: the kubelet's hash of the manifest.
    pub pod_uid: String,
    /// True while its process runs.
    pub running: bool,
    /// When it was created: before its process started and before its mounts were resolved, so what is older was seen by it.
    pub created: Timestamp,
}

/// The sandbox of a static pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Name of the pod: the component's and the node's.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID: the kubelet's hash of the manifest.
    pub pod_uid: String,
    /// True while it is ready.
    pub ready: bool,
    /// The pod's annotations, as the manifest has them (`pkg/kubelet/kuberuntime/labels.go`, `newPodAnnotations`).
    pub annotations: HashMap<String, String>,
}

/// A connection that is made when it is first needed, and again after a restart of the runtime.
#[derive(Clone, Debug)]
pub struct Cri {
    socket: PathBuf,
    client: RuntimeServiceClient<Channel>,
}

impl Cri {
    /// For the socket at this path. Nothing is sent yet; must be called within a tokio runtime.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        let path = socket.to_path_buf();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address only fills the HTTP/2 authority; the connector decides where the bytes go.
        let channel = Endpoint::from_static("http://localhost").timeout(ANSWER).connect_with_connector_lazy(connector);
        Self { socket: socket.to_path_buf(), client: RuntimeServiceClient::new(channel) }
    }

    /// Containers of a static pod, newest first, those that have ended included.
    ///
    /// # Errors
    /// The runtime does not answer.
    pub async fn containers(&self, component: Component) -> Result<Vec<ContainerState>, NodeError> {
        let labels = HashMap::from([
            (NAMESPACE.to_owned(), SYSTEM.to_owned()),
            (CONTAINER.to_owned(), component.name().to_owned()),
        ]);
        let mut all: Vec<ContainerState> = self.list(labels).await?.iter().map(state_of).collect();
        all.sort_by_key(|container| std::cmp::Reverse(container.created));
        Ok(all)
    }

    /// The running container of a static pod.
    ///
    /// # Errors
    /// The runtime does not answer.
    pub async fn running(&self, component: Component) -> Result<Option<ContainerState>, NodeError> {
        Ok(self.containers(component).await?.into_iter().find(|container| container.running))
    }

    /// UIDs of the static pods of a component that have a ready sandbox.
    ///
    /// # Errors
    /// The runtime does not answer.
    pub async fn ready_pods(&self, component: Component) -> Result<Vec<String>, NodeError> {
        let ready = self.sandboxes().await?.into_iter().filter(|sandbox| sandbox.ready && sandbox.is_of(component));
        Ok(ready.map(|sandbox| sandbox.pod_uid).collect())
    }

    /// Every sandbox of a static pod, ready or not.
    ///
    /// # Errors
    /// The runtime does not answer.
    pub async fn sandboxes(&self) -> Result<Vec<Sandbox>, NodeError> {
        let request = api::ListPodSandboxRequest::default();
        let answer = self.client.clone().list_pod_sandbox(request).await.map_err(|status| self.failed(&status))?;
        let sandbox = |sandbox: api::PodSandbox| {
            let pod = sandbox.metadata?;
            // A static pod's UID is a hash without dashes; that of any other pod is a UUID.
            (!pod.uid.contains('-')).then_some(Sandbox {
                pod: pod.name,
                namespace: pod.namespace,
                pod_uid: pod.uid,
                ready: sandbox.state == api::PodSandboxState::SandboxReady as i32,
                annotations: sandbox.annotations,
            })
        };
        Ok(answer.into_inner().items.into_iter().filter_map(sandbox).collect())
    }

    /// Stops a container; one that has ended or is gone is fine. The kubelet starts another one in the same pod, and needs no API server for
    /// it; what is mounted as a single file is then looked up anew.
    ///
    /// # Errors
    /// The runtime does not answer.
    pub async fn stop(&self, id: &str) -> Result<(), NodeError> {
        let request = api::StopContainerRequest { container_id: id.to_owned(), timeout: GRACE };
        match self.client.clone().stop_container(request).await {
            Err(status) if status.code() != tonic::Code::NotFound => Err(self.failed(&status)),
            _ => Ok(()),
        }
    }

    async fn list(&self, label_selector: HashMap<String, String>) -> Result<Vec<api::Container>, NodeError> {
        let filter = api::ContainerFilter { label_selector, ..api::ContainerFilter::default() };
        let request = api::ListContainersRequest { filter: Some(filter) };
        let answer = self.client.clone().list_containers(request).await.map_err(|status| self.failed(&status))?;
        Ok(answer.into_inner().containers)
    }

    fn failed(&self, status: &tonic::Status) -> NodeError {
        let problem = format!("{} ({:?})", status.message(), status.code());
        NodeError::Cri { socket: self.socket.display().to_string(), problem }
    }
}

impl Sandbox {
    /// True for the static pod of a component of the control plane.
    #[must_use]
    pub fn is_of(&self, component: Component) -> bool {
        let node = self.pod.strip_prefix(component.name());
        self.namespace == SYSTEM && node.is_some_and(|node| node.starts_with('-'))
    }
}

fn state_of(container: &api::Container) -> ContainerState {
    ContainerState {
        id: container.id.clone(),
        pod_uid: container.labels.get(POD_UID).cloned().unwrap_or_default(),
        running: container.state == api::ContainerState::ContainerRunning as i32,
        created: Timestamp::from_nanosecond(i128::from(container.created_at)).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}
