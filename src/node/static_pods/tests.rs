//! Restarts against a container runtime played on a real socket: it runs the pods whose manifest stands in the folder.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hyper::body::Bytes;
use k8s_cri::v1 as api;
use prost::Message as _;
use tokio::net::{UnixListener, UnixStream};

use super::super::fixture::{Fixture, KCM_MANIFEST, keep_new, run, silent};
use super::super::{Authorities, Callbacks, Node};
use super::*;
use crate::plan::{Conf, Op};

const KCM: Component = Component::KubeControllerManager;
/// Number of the container of a refused manifest.
const OVERTAKEN: usize = 99;
/// UIDs of two other static pods: of one that runs all the time, and of one that is restarted too.
const SCHEDULER: &str = "0000000000000000000000000000beef";
const APISERVER: &str = "0000000000000000000000000000cafe";
const CGROUP: &str = "/sys/fs/cgroup/pids/kubepods.slice/kubepods-burstable.slice";

/// What kubelet and runtime would do, seen at each question.
#[derive(Default)]
struct Played {
    /// The manifest that runs, and how many containers there have been.
    running: Option<String>,
    containers: usize,
    /// How many questions an old container survives its manifest.
    lingers: usize,
    asked_since_gone: usize,
    /// How many manifests the kubelet refuses: it does not come back to them.
    refuses: usize,
    refused: Option<String>,
    /// How many questions a refused manifest runs after all, after another one has replaced it.
    overtaken: usize,
    /// How many questions the kubelet does not look at a new manifest.
    hesitates: usize,
    /// How many questions a new manifest waits for its container, and which pod has a mirror meanwhile.
    dawdles: usize,
    mirrored: usize,
    /// The kubelet does not act at all.
    deaf: bool,
    log: Vec<&'static str>,
}

struct Runtime {
    place: PathBuf,
    /// Of the pod that runs at the start.
    cgroup: PathBuf,
    played: Mutex<Played>,
}

/// The UID of a static pod is a hash.
fn uid(containers: usize) -> String {
    format!("{containers:032x}")
}

fn slice(uid: &str) -> String {
    format!("kubepods-burstable-pod{uid}.slice")
}

fn cgroup(fixture: &Fixture, uid: &str) -> PathBuf {
    fixture.layout.path(CGROUP).join(slice(uid))
}

impl Runtime {
    fn start(fixture: &Fixture, lingers: usize) -> Arc<Self> {
        let socket = fixture.layout.cri_socket();
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let played = Played { running: Some(KCM_MANIFEST.to_owned()), lingers, ..Played::default() };
        let runtime = Arc::new(Self {
            place: fixture.layout.manifest(KCM),
            cgroup: cgroup(fixture, &uid(0)),
            played: Mutex::new(played),
        });
        fs::create_dir_all(&runtime.cgroup).unwrap();
        fs::create_dir(cgroup(fixture, SCHEDULER)).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let serving = Arc::clone(&runtime);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        runtime
    }

    async fn serve(self: Arc<Self>, stream: UnixStream) {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let message = if request.uri().path().ends_with("/ListContainers") {
                self.containers().encode_to_vec()
            } else {
                self.sandboxes().encode_to_vec()
            };
            // A gRPC frame: not compressed, four bytes of length.
            let mut frame = vec![0];
            frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            frame.extend(message);
            let head = hyper::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(Bytes::from(frame), false).unwrap();
            body.send_trailers([("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect()).unwrap();
        }
    }

    fn containers(&self) -> api::ListContainersResponse {
        let mut played = self.played.lock().unwrap();
        let manifest = fs::read_to_string(&self.place).ok();
        if !played.deaf && played.running.is_some() && manifest != played.running {
            played.asked_since_gone += 1;
            if played.asked_since_gone > played.lingers {
                played.running = None;
                played.log.push("stopped");
            }
        } else if !played.deaf && played.running.is_none() && manifest.is_some() && manifest != played.refused {
            if played.refused.is_some() && played.overtaken > 0 {
                played.overtaken -= 1;
                return api::ListContainersResponse { containers: vec![container(OVERTAKEN, true)] };
            }
            if played.hesitates > 0 {
                played.hesitates -= 1;
                return api::ListContainersResponse::default();
            }
            if played.refuses > 0 {
                played.refuses -= 1;
                played.refused = manifest;
                played.log.push("refused");
                return api::ListContainersResponse::default();
            }
            played.mirrored = played.containers + 1;
            if let Some(class) = self.cgroup.parent().filter(|class| class.exists()) {
                fs::create_dir_all(class.join(slice(&uid(played.mirrored)))).unwrap();
            }
            if played.dawdles > 0 {
                played.dawdles -= 1;
                return api::ListContainersResponse::default();
            }
            played.running = manifest;
            played.containers += 1;
            played.log.push("started");
        }
        api::ListContainersResponse { containers: vec![container(played.containers, played.running.is_some())] }
    }

    fn sandboxes(&self) -> api::ListPodSandboxResponse {
        let played = self.played.lock().unwrap();
        // Somebody else's pod, with a name that begins alike, and other static pods are always there.
        let mut items = vec![
            sandbox("kube-controller-manager-exporter", "12-ab".to_owned(), None),
            sandbox("kube-scheduler-cp-1", SCHEDULER.to_owned(), None),
            sandbox("kube-apiserver-cp-1", APISERVER.to_owned(), None),
        ];
        if played.refused.is_some() {
            let state = api::PodSandboxState::SandboxNotready as i32;
            let old = sandbox("kube-controller-manager-cp-1", uid(OVERTAKEN), played.refused.as_deref());
            items.push(api::PodSandbox { state, ..old });
        }
        if played.running.is_some() {
            items.push(sandbox("kube-controller-manager-cp-1", uid(played.containers), played.running.as_deref()));
        }
        api::ListPodSandboxResponse { items }
    }

    fn mirror(&self) -> String {
        uid(self.played.lock().unwrap().mirrored)
    }

    fn note(&self, event: &'static str) {
        self.played.lock().unwrap().log.push(event);
    }

    fn log(&self) -> Vec<&'static str> {
        self.played.lock().unwrap().log.clone()
    }
}

fn container(number: usize, running: bool) -> api::Container {
    api::Container {
        id: format!("c{number}"),
        created_at: 1_000_000_000 * i64::try_from(number + 1).unwrap(),
        state: i32::from(!running) + api::ContainerState::ContainerRunning as i32,
        labels: [("io.kubernetes.pod.uid".to_owned(), uid(number))].into(),
        ..api::Container::default()
    }
}

/// A ready one, with the annotations of the manifest.
fn sandbox(name: &str, uid: String, manifest: Option<&str>) -> api::PodSandbox {
    let stamp = manifest
        .and_then(|yaml| yaml.split("certctl.dev/restarted-at: ").nth(1)?.lines().next())
        .map(|stamp| stamp.trim_matches(['"', '\'']));
    api::PodSandbox {
        metadata: Some(api::PodSandboxMetadata {
            name: name.to_owned(),
            namespace: "kube-system".to_owned(),
            uid,
            ..api::PodSandboxMetadata::default()
        }),
        state: api::PodSandboxState::SandboxReady as i32,
        annotations: stamp.map(|stamp| ("certctl.dev/restarted-at".to_owned(), stamp.to_owned())).into_iter().collect(),
        ..api::PodSandbox::default()
    }
}

/// The API server does not answer.
async fn unseen() -> Mirror {
    Err("no answer".into())
}

/// A node whose kubelet finishes a pod as soon as its container is gone, after so many questions.
fn prompt(lingers: usize) -> (Fixture, Arc<Runtime>, Node) {
    let fixture = Fixture::new();
    let runtime = Runtime::start(&fixture, lingers);
    fs::remove_dir(&runtime.cgroup).unwrap();
    let node = Node::open(fixture.root.path());
    (fixture, runtime, node)
}

/// The same where no cgroups are mounted.
fn blind(lingers: usize) -> (Fixture, Arc<Runtime>, Node) {
    let (fixture, runtime, node) = prompt(lingers);
    fs::remove_dir_all(fixture.layout.path("/sys/fs/cgroup")).unwrap();
    (fixture, runtime, node)
}

/// Nothing happens while the manifest is away, and it comes back as it was but for the annotation.
async fn restart(pods: &StaticPods<'_>, mirror: impl AsyncFn() -> Mirror) -> Result<ContainerState, NodeError> {
    pods.restart(KCM, "now", async || Ok(()), |yaml| Ok(yaml.to_owned()), mirror).await
}

fn assert_offered_once(fixture: &Fixture) {
    let yaml = fs::read_to_string(fixture.layout.manifest(KCM)).unwrap();
    assert!(yaml.contains("restarted-at: now\n"), "it was offered again: {yaml}");
}

fn left_over(fixture: &Fixture) -> bool {
    fixture.layout.parked(KCM).exists() || fixture.layout.parked_edited(KCM).exists()
}

#[tokio::test]
async fn writes_happen_between_the_old_process_and_the_new_one() {
    let fixture = Fixture::new();
    let runtime = Runtime::start(&fixture, 3);
    let node = Node::open(fixture.root.path());
    let away = async || {
        runtime.note("away");
        // The pod is finished only now: until then the manifest must not go in.
        fs::remove_dir(&runtime.cgroup).unwrap();
        Ok(())
    };
    let new = node
        .static_pods()
        .restart(KCM, "now", away, |yaml| manifest::with_kcm_signer(yaml, true), unseen)
        .await
        .unwrap();
    assert_eq!((new.id.as_str(), new.running), ("c1", true));
    assert_eq!(runtime.log(), ["stopped", "away", "started"]);
    let yaml = fs::read_to_string(fixture.layout.manifest(KCM)).unwrap();
    assert!(manifest::has_own_signer(&yaml).unwrap() && yaml.contains("certctl.dev/restarted-at: now"), "{yaml}");
    assert!(!left_over(&fixture));
}

#[tokio::test]
async fn the_manifest_stays_out_while_the_pod_has_a_cgroup() {
    let fixture = Fixture::new();
    let runtime = Runtime::start(&fixture, 0);
    let node = Node::open(fixture.root.path());
    let away = async || {
        // A window in which it would go in several times over if it did not wait.
        tokio::time::sleep(ASK * 8).await;
        assert_eq!(runtime.log(), ["stopped"]);
        assert!(fixture.layout.parked(KCM).exists() && !fixture.layout.manifest(KCM).exists());
        fs::remove_dir(&runtime.cgroup).unwrap();
        Ok(())
    };
    node.static_pods().restart(KCM, "now", away, |yaml| Ok(yaml.to_owned()), unseen).await.unwrap();
    assert_eq!(runtime.log(), ["stopped", "started"]);
}

#[tokio::test]
async fn a_refused_pod_is_offered_again_under_another_uid() {
    let (fixture, runtime, node) = prompt(0);
    runtime.played.lock().unwrap().refuses = 2;
    let mut pods = node.static_pods();
    // The API server is not needed to see it.
    (pods.limits.begin, pods.limits.patience) = (ASK * 2, Duration::from_secs(3600));
    let edit = |yaml: &str| manifest::with_kcm_signer(yaml, true);
    pods.restart(KCM, "now", async || Ok(()), edit, unseen).await.unwrap();
    assert_eq!(runtime.log(), ["stopped", "refused", "refused", "started"]);
    let yaml = fs::read_to_string(fixture.layout.manifest(KCM)).unwrap();
    assert!(yaml.contains("restarted-at: now 3") && manifest::has_own_signer(&yaml).unwrap(), "{yaml}");
    assert!(!left_over(&fixture));
}

/// It was not refused, only late, and is ended when the kubelet sees its successor: to take it for the new one would be too early.
#[tokio::test]
async fn the_container_of_a_manifest_that_was_replaced_meanwhile_is_not_the_new_one() {
    let (_fixture, runtime, node) = prompt(0);
    {
        let mut played = runtime.played.lock().unwrap();
        (played.refuses, played.overtaken) = (1, 3);
    }
    let mut pods = node.static_pods();
    pods.limits.begin = ASK * 2;
    let new = restart(&pods, unseen).await.unwrap();
    assert_eq!((new.id.as_str(), runtime.played.lock().unwrap().overtaken), ("c1", 0));
    assert_eq!(runtime.log(), ["stopped", "refused", "started"]);
}

/// The kubelet has taken it and is slow: offered again, it would be started twice.
#[tokio::test]
async fn a_pod_with_a_new_cgroup_is_waited_for() {
    let (fixture, runtime, node) = prompt(0);
    runtime.played.lock().unwrap().dawdles = 30;
    let mut pods = node.static_pods();
    (pods.limits.begin, pods.limits.patience) = (ASK * 2, ASK * 4);
    restart(&pods, unseen).await.unwrap();
    assert_offered_once(&fixture);
}

#[tokio::test]
async fn a_kubelet_as_slow_to_begin_with_a_pod_as_to_stop_one_is_not_taken_for_refusing() {
    let (fixture, runtime, node) = prompt(20);
    runtime.played.lock().unwrap().hesitates = 20;
    let mut pods = node.static_pods();
    (pods.limits.begin, pods.limits.patience) = (ASK * 2, ASK * 4);
    restart(&pods, unseen).await.unwrap();
    assert_offered_once(&fixture);
}

/// Neither a static pod that has a cgroup all the time, nor another component's or somebody else's pod that gets one meanwhile, is the one
/// that is waited for.
#[tokio::test]
async fn the_cgroup_of_another_pod_does_not_hide_a_refusal() {
    let (fixture, runtime, node) = prompt(0);
    fs::create_dir(cgroup(&fixture, "00000000000000000000000000ffffff")).unwrap();
    runtime.played.lock().unwrap().refuses = 1;
    let mut pods = node.static_pods();
    (pods.limits.begin, pods.limits.patience) = (ASK * 8, Duration::from_secs(3600));
    pods.limits.start = Duration::from_secs(20);
    let strangers = async {
        while !runtime.log().contains(&"refused") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for uid in [APISERVER, "6a2f3d0e_1b1c_4a0e_9e57_0d6a5b1c2d3e"] {
            fs::create_dir(cgroup(&fixture, uid)).unwrap();
        }
    };
    let (new, ()) = tokio::join!(restart(&pods, unseen), strangers);
    new.unwrap();
    assert_eq!(runtime.log(), ["stopped", "refused", "started"]);
}

#[tokio::test]
async fn where_nothing_is_seen_a_refused_pod_is_offered_again_after_more_patience() {
    let (_fixture, runtime, node) = blind(0);
    runtime.played.lock().unwrap().refuses = 2;
    let mut pods = node.static_pods();
    (pods.limits.settle, pods.limits.acceptance, pods.limits.patience) = (ASK, ASK, ASK * 20);
    let begun = Instant::now();
    restart(&pods, unseen).await.unwrap();
    assert_eq!(runtime.log(), ["stopped", "refused", "refused", "started"]);
    // Twice as long after the first refusal.
    assert!(begun.elapsed() >= ASK * 60, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_pod_whose_mirror_stays_is_offered_again_soon() {
    let (_fixture, runtime, node) = blind(0);
    runtime.played.lock().unwrap().refuses = 1;
    let mut pods = node.static_pods();
    (pods.limits.acceptance, pods.limits.patience) = (ASK * 2, Duration::from_secs(3600));
    pods.limits.start = Duration::from_secs(20);
    let mirror = async || Ok(Some(runtime.mirror()));
    restart(&pods, mirror).await.unwrap();
    assert_eq!(runtime.log(), ["stopped", "refused", "started"]);
}

/// The kubelet has taken it and is slow: offered again, it would be started twice.
#[tokio::test]
async fn a_pod_with_a_new_mirror_is_waited_for() {
    let (fixture, runtime, node) = blind(0);
    runtime.played.lock().unwrap().dawdles = 30;
    let mut pods = node.static_pods();
    (pods.limits.acceptance, pods.limits.patience) = (ASK * 2, ASK * 4);
    let mirror = async || Ok(Some(runtime.mirror()));
    restart(&pods, mirror).await.unwrap();
    assert_offered_once(&fixture);
}

#[tokio::test]
async fn where_mirrors_are_not_seen_a_kubelet_as_slow_to_start_a_pod_as_to_stop_one_is_not_taken_for_refusing() {
    let (fixture, runtime, node) = blind(20);
    runtime.played.lock().unwrap().dawdles = 20;
    let mut pods = node.static_pods();
    (pods.limits.acceptance, pods.limits.patience) = (ASK * 2, ASK * 4);
    restart(&pods, unseen).await.unwrap();
    assert_offered_once(&fixture);
}

#[tokio::test]
async fn a_pod_that_is_never_finished_only_costs_time() {
    let fixture = Fixture::new();
    let runtime = Runtime::start(&fixture, 0);
    let node = Node::open(fixture.root.path());
    let mut pods = node.static_pods();
    pods.limits.finish = ASK * 3;
    restart(&pods, unseen).await.unwrap();
    assert!(runtime.cgroup.exists());
}

#[tokio::test]
async fn a_failure_while_away_puts_the_manifest_back_as_it_was() {
    let (fixture, _runtime, node) = prompt(0);
    let away = async || Err(NodeError::NoKey(crate::pki::CaId::planned("two")));
    let error = node.static_pods().restart(KCM, "now", away, |yaml| Ok(yaml.to_owned()), unseen).await.unwrap_err();
    assert!(matches!(error, NodeError::NoKey(_)));
    assert_eq!(fs::read_to_string(fixture.layout.manifest(KCM)).unwrap(), KCM_MANIFEST);
    let error = node
        .static_pods()
        .restart(KCM, "now", async || Ok(()), |_| Err("no such flag".to_owned()), unseen)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no such flag"), "{error}");
    assert_eq!(fs::read_to_string(fixture.layout.manifest(KCM)).unwrap(), KCM_MANIFEST);
    assert!(!left_over(&fixture));
}

#[tokio::test]
async fn a_dropped_restart_puts_the_manifest_back() {
    let fixture = Fixture::new();
    let runtime = Runtime::start(&fixture, usize::MAX);
    let node = Node::open(fixture.root.path());
    let pods = node.static_pods();
    let seen_out = async {
        while runtime.played.lock().unwrap().asked_since_gone == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        ended = restart(&pods, unseen) => panic!("{ended:?}"),
        () = seen_out => {}
    }
    assert_eq!(fs::read_to_string(fixture.layout.manifest(KCM)).unwrap(), KCM_MANIFEST);
    assert!(!left_over(&fixture));
}

#[tokio::test]
async fn a_kubelet_that_does_not_act_is_named_and_the_manifest_goes_back() {
    let fixture = Fixture::new();
    let runtime = Runtime::start(&fixture, 0);
    runtime.played.lock().unwrap().deaf = true;
    let node = Node::open(fixture.root.path());
    let mut pods = node.static_pods();
    pods.limits.stop = Duration::from_secs(1);
    let error = restart(&pods, unseen).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "kube-controller-manager has not stopped for 1 s: see journalctl -u kubelet on the node"
    );
    assert!(fixture.layout.manifest(KCM).exists() && !left_over(&fixture));
}

#[tokio::test]
async fn the_operation_writes_while_away_calls_back_and_keeps_the_first_manifest() {
    let fixture = Fixture::new();
    let runtime = Runtime::start(&fixture, 1);
    fs::remove_dir(&runtime.cgroup).unwrap();
    let (gone, admitted, ready) = (Arc::clone(&runtime), Arc::clone(&runtime), Arc::clone(&runtime));
    let presented = Arc::new(Mutex::new(None));
    let asked = Arc::clone(&presented);
    let bundle = fixture.layout.path("/etc/kubernetes/pki/ca.crt");
    let callbacks = Callbacks {
        admitted: Box::new(move |ca| {
            assert_eq!(fs::read_to_string(&bundle).unwrap().matches("BEGIN").count(), 2);
            assert_eq!(presented.lock().unwrap().replace(ca), None);
            admitted.note("asked");
            // An API server that says nothing: the pod comes back in any case.
            Box::pin(async { Err("no answer".into()) })
        }),
        component_gone: Box::new(move |_| {
            let gone = Arc::clone(&gone);
            Box::pin(async move { gone.note("gone") })
        }),
        component_ready: Box::new(move |_| {
            let ready = Arc::clone(&ready);
            Box::pin(async move {
                ready.note("ready");
                Ok(())
            })
        }),
        ..silent()
    };
    let mut authorities = Authorities::open(&fixture.layout);
    let ca = authorities.import_stock().unwrap().unwrap();
    let new = keep_new(&fixture, &mut authorities);
    let both = vec![ca.clone(), new.clone()];
    let conf = Op::WriteConf { conf: Conf::ControllerManager, issuer: Some(new.clone()), trust: both.clone() };
    let during = vec![Op::WriteSigner(ca.clone()), Op::WriteBundle(both), conf];
    let op = Op::RestartStaticPod { component: KCM, own_signer: Some(true), during };
    run(&fixture, &authorities, &callbacks, &op).await.unwrap();
    assert_eq!(runtime.log(), ["stopped", "gone", "asked", "started", "ready"]);
    let state = super::super::read_disk(&fixture.layout, &[]).state;
    assert_eq!((state.signer_file, state.own_signer), (Some(ca), true));
    assert_eq!(asked.lock().unwrap().clone(), Some(new));
    let backup = "/var/lib/certctl/backup/r1/etc/kubernetes/manifests/kube-controller-manager.yaml";
    assert_eq!(fixture.read(backup), KCM_MANIFEST);
    // What the new process has loaded is what stands there now.
    let observation = Node::open(fixture.root.path()).observe(&[]).await.unwrap();
    let loaded = observation.state.loaded.controller_manager.unwrap();
    assert_eq!(loaded.instance, "c1");
}

#[tokio::test]
async fn without_cgroups_the_manifest_stays_out_for_the_settling_time() {
    let fixture = Fixture::new();
    let runtime = Runtime::start(&fixture, 0);
    fs::remove_dir_all(fixture.layout.path("/sys")).unwrap();
    let node = Node::open(fixture.root.path());
    let mut pods = node.static_pods();
    pods.limits.settle = Duration::from_millis(300);
    let started = Instant::now();
    restart(&pods, unseen).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(runtime.log(), ["stopped", "started"]);
}

#[test]
fn cgroups_are_found_under_every_driver_and_version() {
    for path in [
        "/sys/fs/cgroup/memory/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice",
        "/sys/fs/cgroup/kubepods.slice/kubepods-podUID.slice",
        "/sys/fs/cgroup/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podUID.slice",
        "/sys/fs/cgroup/pids/kubepods/besteffort/podUID",
        "/sys/fs/cgroup/kubepods/podUID",
    ] {
        let (escaped, hash) = (if path.contains(".slice") { "12_ab" } else { "12-ab" }, uid(7));
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        for uid in [escaped, &hash] {
            fs::create_dir_all(layout.path(&path.replace("UID", uid))).unwrap();
        }
        let cgroups = pod_cgroups(&layout);
        assert!(has_cgroup(&cgroups, "12-ab"), "{path}");
        assert!(!has_cgroup(&cgroups, "34-cd"), "{path}");
        assert_eq!(static_pods_of(&cgroups), [hash], "{path}");
    }
}
