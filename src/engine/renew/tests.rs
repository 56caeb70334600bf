//! The driver against a played API server, with agents that answer at once, in played time.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::*;
use crate::api::{AuthorityRecord, ClusterPKI, ClusterPkiSpec, ClusterPkiStatus, NodePKI, NodePkiSpec, RotationIntent};
use crate::cluster::played::{Answer, Call, cluster};
use crate::error::ErrorKind;
use crate::pki::CaId;
use crate::plan::renewal::{Action, CertificateName, Change, RenewalRow};

/// Two control-plane nodes and three workers; each holds one certificate that is due.
#[derive(Default)]
struct World {
    objects: BTreeMap<String, Value>,
    not_ready: BTreeSet<String>,
    failing: BTreeSet<String>,
    blocked: BTreeSet<String>,
    /// No agent runs there.
    empty: BTreeSet<String>,
    rotating: bool,
    lease: Option<Value>,
    /// Who was told to replace what, in order.
    told: Vec<String>,
    /// Their agents are told that all is over.
    taken_back: BTreeSet<String>,
}

const NODES: [(&str, bool); 5] = [("cp-1", true), ("cp-2", true), ("w-1", false), ("w-2", false), ("w-3", false)];

impl World {
    fn new() -> Self {
        let object = |name: &str| serde_json::to_value(NodePKI::new(name, NodePkiSpec::default())).unwrap();
        Self { objects: NODES.iter().map(|(name, _)| ((*name).to_owned(), object(name))).collect(), ..Self::default() }
    }

    fn nodes(&self) -> Vec<Value> {
        let node = |(name, control_plane): &(&str, bool)| {
            let ready = if self.not_ready.contains(*name) { "False" } else { "True" };
            let mut labels = serde_json::Map::new();
            if *control_plane {
                labels.insert("node-role.kubernetes.io/control-plane".into(), json!(""));
            }
            json!({
                "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            })
        };
        NODES.iter().map(node).collect()
    }

    fn answer(&mut self, call: &Call) -> Answer {
        let list = |items: Vec<Value>| {
            Answer::Object(json!({
                "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "1" }, "items": items,
            }))
        };
        let path = call.path.split('?').next().unwrap_or_default();
        if call.path.contains("watch=") {
            // The reader lists anew, so that it sees what has changed meanwhile.
            let gone = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "" });
            return Answer::Watch(vec![json!({ "type": "ERROR", "object": gone })]);
        }
        if path.ends_with("/leases/certctl-driver") || (path.ends_with("/leases") && call.method == "POST") {
            return self.lease(call);
        }
        if path.ends_with("/clusterpkis/cluster") {
            return if self.rotating { Answer::Object(rotation()) } else { Answer::Failure(404, "NotFound") };
        }
        match (call.method.as_str(), path.rsplit('/').next().unwrap_or_default()) {
            ("PATCH", name) => Answer::Object(self.written(&name.to_owned(), &call.body["spec"])),
            ("GET", "nodepkis") => {
                let there = self.objects.iter().filter(|(name, _)| !self.empty.contains(*name));
                list(there.map(|(_, object)| object.clone()).collect())
            }
            ("GET", "nodes") => list(self.nodes()),
            _ => list(Vec::new()),
        }
    }

    fn lease(&mut self, call: &Call) -> Answer {
        match call.method.as_str() {
            "POST" | "PUT" => self.lease = Some(call.body.clone()),
            "DELETE" => self.lease = None,
            _ => {}
        }
        self.lease.clone().map_or(Answer::Failure(404, "NotFound"), Answer::Object)
    }

    /// Takes a merge patch, as the API server does, and answers as the node's agent.
    fn written(&mut self, name: &String, patch: &Value) -> Value {
        let object = self.objects.get_mut(name).unwrap();
        merge(&mut object["spec"], patch);
        let spec: NodePkiSpec = serde_json::from_value(object["spec"].clone()).unwrap();
        assert!(!self.empty.contains(name), "{name} has no object");
        let status = &mut object["status"];
        status["agentVersion"] = json!(env!("CARGO_PKG_VERSION"));
        status["clock"] = json!({ "ping": spec.ping, "unixMillis": Timestamp::now().as_millisecond() });
        let Some(order) = &spec.renewal else {
            status["renewal"] = Value::Null;
            self.taken_back.insert(name.clone());
            return object.clone();
        };
        let rows = vec![row(self.blocked.contains(name))];
        let mut answer = NodeRenewal { run: order.run.clone(), certificates: rows, ..NodeRenewal::default() };
        if let Some(replace) = &order.replace {
            assert_eq!(replace, &[Replaced { name: "kubelet-client".into(), serial: "1a".into() }]);
            self.told.push(name.clone());
            answer.outcome = Some(RenewalOutcome::default());
            answer.problem = self.failing.contains(name).then(|| "disk full".into());
        }
        status["renewal"] = serde_json::to_value(answer).unwrap();
        object.clone()
    }
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn row(blocked: bool) -> RenewalRow {
    let change = Change {
        subject: "CN=system:node:x".into(),
        old_serial: "1a".into(),
        serial: None,
        not_after: None,
        cut_short: false,
        key_algorithm: "ECDSA-P256".into(),
        new_key: true,
        restarts: Some("kubelet".into()),
    };
    RenewalRow {
        name: CertificateName::KubeletClient,
        action: if blocked { Action::Blocked } else { Action::Renew },
        old_not_after: None,
        reason: blocked.then(|| "its CA has expired".into()),
        remarkable: false,
        remedy: None,
        files: Vec::new(),
        authority: "cluster".into(),
        change: (!blocked).then_some(change),
    }
}

/// The object of a cluster in the middle of a rotation.
fn rotation() -> Value {
    let from = CaId::from_hash(&[1; 32]);
    let intent = RotationIntent {
        from: from.clone(),
        to: None,
        rollback: false,
        started_by: "root@here:1".into(),
        started_at: "2026-11-22T12:00:00Z".into(),
        trusted_at: None,
    };
    let mut object = ClusterPKI::new(
        "cluster",
        ClusterPkiSpec { ca_version: 2, rotation: Some(intent), waivers: Vec::new(), forget: Vec::new() },
    );
    let authority = AuthorityRecord {
        id: from,
        certificate: String::new(),
        crosses: Vec::new(),
        specimen_server: None,
        specimen_client: None,
    };
    let authorities = BTreeMap::from([("1".to_owned(), authority)]);
    object.status = Some(ClusterPkiStatus { ca_version: Some(1), authorities, ..ClusterPkiStatus::default() });
    serde_json::to_value(object).unwrap()
}

/// Begins, works to the end and releases; the outcome, and what happened.
async fn drive(world: World, selection: Selection) -> (Result<(), Error>, Arc<Mutex<World>>, Vec<EventKind>) {
    renew(CertificateName::KubeletClient, world, selection).await
}

async fn renew(
    name: CertificateName,
    world: World,
    selection: Selection,
) -> (Result<(), Error>, Arc<Mutex<World>>, Vec<EventKind>) {
    let world = Arc::new(Mutex::new(world));
    let played = Arc::clone(&world);
    let connection = cluster(move |call| played.lock().unwrap().answer(call));
    let settings = FleetSettings {
        request: Request { csr_api: true, names: vec![name], ..Request::default() },
        selection,
        timeout: Duration::from_secs(30),
        max_unavailable: Box::new(|_| 2),
    };
    let holder = Holder { name: "root@here:1".into(), place: String::new() };
    let (send, mut received) = mpsc::unbounded_channel();
    let outcome = match Fleet::begin_on(connection, &holder, &|_| false, settings, send).await {
        Ok(mut fleet) => {
            let outcome = fleet.run().await;
            let outcome = outcome.map_err(|error| fleet.how_to_go_on(error));
            fleet.release().await;
            outcome
        }
        Err(error) => Err(error),
    };
    let mut events = Vec::new();
    while let Ok(event) = received.try_recv() {
        events.push(event.kind);
    }
    (outcome, world, events)
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn every_node_is_told_what_its_plan_said_in_turn_and_at_the_end_no_node_is_told_anything() {
    let (outcome, world, events) = drive(World::new(), Selection::default()).await;
    outcome.unwrap();
    let world = world.lock().unwrap();
    assert_eq!(world.told, ["cp-1", "cp-2", "w-1", "w-2", "w-3"]);
    assert_eq!(world.taken_back.len(), 5);
    assert!(world.lease.is_none(), "the Lease is given back");
    let phases: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            EventKind::PhaseStarted { phase, .. } => Some(phase.name()),
            _ => None,
        })
        .collect();
    assert_eq!(phases, ["ControlPlane", "Workers"]);
    assert!(matches!(events.last(), Some(EventKind::Renewed { certificates: 5, nodes: 5, .. })), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_is_named_no_other_is_begun_and_the_way_to_go_on_names_those_that_are_left() {
    let world = World { failing: names(&["cp-2"]), ..World::new() };
    let (outcome, world, _) = drive(world, Selection::default()).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.sentence().contains("node/cp-2: disk full"), "{error:?}");
    let hints = format!("{error:?}");
    assert!(
        hints.contains("--node cp-2 --node w-1 --node w-2 --node w-3") && !hints.contains("--node cp-1"),
        "{hints}"
    );
    let world = world.lock().unwrap();
    assert_eq!(world.told, ["cp-1", "cp-2"]);
    assert!(world.taken_back.len() == 5 && world.lease.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_way_on_one_node_refuses_all_before_any_is_told() {
    for (world, reason) in [
        (World { not_ready: names(&["w-2"]), ..World::new() }, "node/w-2: the node is not Ready"),
        (World { blocked: names(&["w-3"]), ..World::new() }, "node/w-3: kubelet-client cannot be renewed"),
        (World { rotating: true, ..World::new() }, "a CA rotation is under way"),
    ] {
        let (outcome, world, _) = drive(world, Selection::default()).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.sentence().contains(reason), "{error:?}");
        let world = world.lock().unwrap();
        assert!(world.told.is_empty() && world.lease.is_none(), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_node_without_an_agent_is_missed_and_a_worker_only_where_it_is_needed() {
    let world = World { empty: names(&["cp-2", "w-1"]), ..World::new() };
    let (outcome, world, _) = renew(CertificateName::Apiserver, world, Selection::default()).await;
    let sentence = outcome.unwrap_err().sentence();
    assert!(sentence.contains("node/cp-2: no certctl agent has reported"), "{sentence}");
    assert!(!sentence.contains("w-1"), "{sentence}");
    assert!(world.lock().unwrap().told.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_is_left_out_or_not_meant_is_not_told() {
    let world = World { not_ready: names(&["w-2"]), ..World::new() };
    let selection = Selection { nodes: names(&["w-1", "w-2", "cp-1"]), waived: names(&["w-2"]) };
    let (outcome, world, _) = drive(world, selection).await;
    outcome.unwrap();
    assert_eq!(world.lock().unwrap().told, ["cp-1", "w-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_driver_is_refused() {
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "certctl-driver", "resourceVersion": "1" },
        "spec": { "holderIdentity": "ann@there:7 elsewhere", "leaseDurationSeconds": 15 },
    });
    lease["spec"]["renewTime"] = json!("2026-11-22T12:00:00.000000Z");
    let mut world = World::new();
    world.lease = Some(lease);
    let world = Arc::new(Mutex::new(world));
    let played = Arc::clone(&world);
    let connection = cluster(move |call| {
        let world = &mut played.lock().unwrap();
        if call.path.contains("/leases") && call.path.contains("watch=") {
            // The holder lives: it has renewed.
            let mut renewed = world.lease.clone().unwrap();
            renewed["metadata"]["resourceVersion"] = json!("2");
            return Answer::Watch(vec![json!({ "type": "MODIFIED", "object": renewed })]);
        }
        if call.path.contains("/leases") && call.path.contains("fieldSelector") {
            return Answer::Object(json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": { "resourceVersion": "1" },
                "items": [world.lease.clone().unwrap()],
            }));
        }
        world.answer(call)
    });
    let settings = FleetSettings {
        request: Request::default(),
        selection: Selection::default(),
        timeout: Duration::from_secs(30),
        max_unavailable: Box::new(|_| 1),
    };
    let holder = Holder { name: "root@here:1".into(), place: String::new() };
    let refused = Fleet::begin_on(connection, &holder, &|_| false, settings, mpsc::unbounded_channel().0).await;
    let error = refused.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.sentence().contains("ann@there:7"), "{error:?}");
    assert!(world.lock().unwrap().told.is_empty());
}
