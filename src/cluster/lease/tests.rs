//! The driver's Lease against a played API server, in played time.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::super::played::{Answer, Call, cluster};
use super::*;

/// One Lease with optimistic locking, as the API server keeps it.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    /// Answers nothing any more.
    silent: bool,
    /// The holder renews as soon as somebody watches.
    alive: bool,
    /// Creates the Lease just before the next one who tries.
    quicker: Option<Value>,
}

impl Server {
    fn held_by(identity: &str, alive: bool) -> Arc<Mutex<Self>> {
        let mut lease = serde_json::to_value(fresh(&Holder::read(identity), Timestamp::UNIX_EPOCH)).unwrap();
        lease["metadata"]["resourceVersion"] = json!("1");
        Arc::new(Mutex::new(Self { lease: Some(lease), alive, ..Self::default() }))
    }

    fn answer(&mut self, call: &Call) -> Answer {
        if self.silent {
            return Answer::Silence;
        }
        if call.path.contains("watch=") {
            let renewed = self.alive.then(|| {
                let mut lease = self.lease.clone().unwrap();
                lease["metadata"]["resourceVersion"] = json!("2");
                json!({ "type": "MODIFIED", "object": lease })
            });
            return Answer::Watch(renewed.into_iter().collect());
        }
        if call.method == "POST" && self.quicker.is_some() {
            self.lease = self.quicker.take();
            return Answer::Failure(409, "AlreadyExists");
        }
        let current = self.lease.clone();
        match (call.method.as_str(), current) {
            ("GET", lease) if call.path.contains("fieldSelector") => Answer::Object(json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList",
                "metadata": { "resourceVersion": "1" }, "items": lease.into_iter().collect::<Vec<_>>(),
            })),
            ("GET", Some(lease)) => Answer::Object(lease),
            ("PUT", Some(lease))
                if call.body["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] =>
            {
                Answer::Failure(409, "Conflict")
            }
            ("PUT" | "POST", lease) => {
                let version = lease.map_or(0, |lease| version(&lease)) + 1;
                let mut written = call.body.clone();
                written["metadata"]["resourceVersion"] = json!(version.to_string());
                self.lease = Some(written.clone());
                Answer::Object(written)
            }
            _ => Answer::Failure(404, "NotFound"),
        }
    }
}

fn version(lease: &Value) -> u32 {
    lease["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn connect(server: &Arc<Mutex<Server>>) -> Cluster {
    let server = Arc::clone(server);
    cluster(move |call| server.lock().unwrap().answer(call))
}

fn us() -> Holder {
    Holder { name: "root@here:2".into(), place: "boot/ns".into() }
}

fn lost(lease: &DriverLease) -> bool {
    lease.renewal.borrow().lost()
}

fn holder_of(server: &Arc<Mutex<Server>>) -> String {
    server.lock().unwrap().lease.as_ref().unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_renews_keeps_the_lease_however_old_its_clock_says_it_is() {
    let server = Server::held_by("root@there:4711 boot/other", true);
    let refused = DriverLease::acquire(&connect(&server), &us(), |_| false).await.err().unwrap().to_string();
    assert_eq!(refused, "another certctl is at work: root@there:4711, since 1970-01-01T00:00:00Z");
    assert_eq!(holder_of(&server), "root@there:4711 boot/other");
}

#[tokio::test(start_paused = true)]
async fn of_two_that_create_the_lease_at_once_the_second_is_told_who_the_first_is() {
    let there = Server::held_by("root@there:4711 boot/other", true);
    let lease = there.lock().unwrap().lease.take();
    let server = Arc::new(Mutex::new(Server { quicker: lease, alive: true, ..Server::default() }));
    let refused = DriverLease::acquire(&connect(&server), &us(), |_| false).await.err().unwrap().to_string();
    assert_eq!(refused, "another certctl is at work: root@there:4711, since 1970-01-01T00:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_silent_holder_is_replaced_when_the_duration_has_passed_here() {
    let server = Server::held_by("root@there:4711 boot/other", false);
    let began = Instant::now();
    let lease = DriverLease::acquire(&connect(&server), &us(), |_| false).await.unwrap();
    assert!(began.elapsed() >= whole_duration(None) && !lost(&lease));
    assert_eq!(holder_of(&server), "root@here:2 boot/ns");
}

#[tokio::test(start_paused = true)]
async fn a_holder_known_to_be_dead_is_replaced_at_once() {
    for (identity, dead) in [("root@here:1 boot/ns", true), ("root@here:2 boot/ns", false)] {
        let server = Server::held_by(identity, false);
        let began = Instant::now();
        DriverLease::acquire(&connect(&server), &us(), |_| dead).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{identity}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_for_its_duration_is_lost_and_not_before() {
    let server = Arc::new(Mutex::new(Server::default()));
    let lease = DriverLease::acquire(&connect(&server), &us(), |_| false).await.unwrap();
    let mut watch = lease.watch();
    assert!(tokio::time::timeout(whole_duration(None) * 3, watch.lost()).await.is_err());
    assert!(!lost(&lease));
    server.lock().unwrap().silent = true;
    tokio::time::sleep(whole_duration(None) - RENEW - Duration::from_secs(1)).await;
    assert!(!lost(&lease));
    tokio::time::timeout(RENEW + Duration::from_secs(2), watch.lost()).await.unwrap();
    assert!(lost(&lease));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_went_to_somebody_else_is_lost() {
    let server = Arc::new(Mutex::new(Server::default()));
    let lease = DriverLease::acquire(&connect(&server), &us(), |_| false).await.unwrap();
    server.lock().unwrap().lease.as_mut().unwrap()["spec"]["holderIdentity"] = json!("root@there:1");
    tokio::time::sleep(RENEW * 2).await;
    assert!(lost(&lease));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_lease_ends_its_renewal() {
    let server = Arc::new(Mutex::new(Server::default()));
    drop(DriverLease::acquire(&connect(&server), &us(), |_| false).await.unwrap());
    let written = |server: &Arc<Mutex<Server>>| version(server.lock().unwrap().lease.as_ref().unwrap());
    let before = written(&server);
    tokio::time::sleep(RENEW * 5).await;
    assert_eq!(written(&server), before);
}
