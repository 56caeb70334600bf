//! The exec credential plugin, minute by minute.

use super::*;
use crate::node::{CredentialCache, Pending};
use crate::pki::{Login, LoginNames};

/// A credential in a cache folder: valid for a day from [`now`], back-dated by five minutes, so due after 19 h 11 min.
struct World {
    _folder: tempfile::TempDir,
    cache: CredentialCache,
    held: Certificate,
}

const LATE: SignedDuration = SignedDuration::from_hours(20);

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = CredentialCache::new(folder.path().to_path_buf(), "jane").unwrap();
        let key = new_key().unwrap();
        let held = ca().issue_client("jane", &jane().groups, key.spki_der(), DAY, now()).unwrap();
        cache.keep(&held, &key).unwrap();
        Self { _folder: folder, cache, held }
    }

    fn at(&self, later: SignedDuration) -> Renewal<'_> {
        let names = LoginNames { context: "c".into(), cluster: "c".into(), user: "c".into() };
        let login = Login::new(names, json!({ "server": "https://a:6443" }));
        Renewal { cache: &self.cache, login, lifetime: DAY, now: now() + later }
    }

    async fn give(&self, later: SignedDuration, played: &Arc<Csrs>) -> Result<Given, Error> {
        let cluster = played.cluster();
        self.at(later).give_over(async |_| Ok(cluster)).await
    }
}

#[tokio::test(start_paused = true)]
async fn before_four_fifths_of_its_life_it_is_given_and_nobody_is_asked() {
    let world = World::new();
    let played = Csrs::new(Decision::Sign, true);
    for minutes in [0, 19 * 60 + 10] {
        let given = world.give(SignedDuration::from_mins(minutes), &played).await.unwrap();
        assert_eq!((given.credential.certificate, given.problem), (world.held.clone(), None));
        assert_eq!(given.until, now() + SignedDuration::from_mins(19 * 60 + 11), "kubectl asks again when it is due");
    }
    assert_eq!(played.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn then_it_is_renewed_with_itself_over_a_new_key() {
    let world = World::new();
    let played = Csrs::new(Decision::Sign, true);
    let given = world.give(LATE, &played).await.unwrap();
    let (new, key) = world.cache.read().unwrap().unwrap();
    assert_eq!((given.credential.certificate.clone(), given.problem), (new.clone(), None));
    assert!(key.matches(&new) && new.ca_id() != world.held.ca_id(), "the key is a new one");
    assert_eq!((new.common_name(), new.organizations()), (Some("jane"), &jane().groups[..]));
    assert!(world.cache.pending().unwrap().is_none());
    assert_eq!(played.calls().last().unwrap(), "DELETE /certctl-x");
}

#[tokio::test(start_paused = true)]
async fn while_nobody_approves_the_old_one_is_given_and_the_same_request_is_looked_at_again() {
    let world = World::new();
    let played = Csrs::new(Decision::Wait, false);
    for _ in 0..2 {
        let given = world.give(LATE, &played).await.unwrap();
        assert_eq!(given.credential.certificate, world.held);
        assert!(given.problem.unwrap().contains("kubectl certificate approve certctl-x"));
        assert!(given.until > now() + LATE && given.until <= world.held.not_after());
    }
    let posts = played.calls().iter().filter(|call| call.starts_with("POST")).count();
    assert_eq!(posts, 1, "one request, however often kubectl is called");
    // Somebody approves it: the key that was kept is the one that fits.
    let approved = Csrs {
        decision: Decision::Sign,
        ca: ca(),
        may_approve: false,
        calls: Mutex::default(),
        request: Mutex::default(),
    };
    approved.request.lock().unwrap().clone_from(&played.request.lock().unwrap());
    let given = world.give(LATE, &Arc::new(approved)).await.unwrap();
    assert!(given.problem.is_none() && given.credential.key.matches(&given.credential.certificate));
    assert_ne!(given.credential.certificate, world.held);
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_is_told_and_not_asked_for_again() {
    let world = World::new();
    let played = Csrs::new(Decision::Deny, false);
    for _ in 0..2 {
        let given = world.give(LATE, &played).await.unwrap();
        assert_eq!(given.problem.as_deref(), Some("csr/certctl-x is refused: Denied: not you"));
        assert_eq!(given.credential.certificate, world.held);
    }
    assert_eq!(played.calls().iter().filter(|call| call.starts_with("POST")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_cleaner_has_removed_is_made_anew() {
    let world = World::new();
    world.cache.keep_pending(&Pending { csr: "certctl-x".into(), key: new_key().unwrap() }).unwrap();
    let played = Csrs::new(Decision::Gone, true);
    let given = world.give(LATE, &played).await.unwrap();
    assert!(given.problem.is_some());
    let calls = played.calls();
    assert_eq!(calls[..2], ["GET /certctl-x", "POST "]);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_for_somebody_else_is_not_taken() {
    let world = World::new();
    let given = world.give(LATE, &Csrs::new(Decision::SignForAnother, true)).await.unwrap();
    assert!(given.problem.unwrap().contains("is for `CN=june,O=ops,O=dev`, not for `CN=jane,O=ops,O=dev`"));
    assert_eq!(given.credential.certificate, world.held);
    assert!(world.cache.pending().unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_down_does_not_take_a_valid_credential_away() {
    let world = World::new();
    let given = world.at(LATE).give_over(async |_| Err(Error::failed("nobody answers"))).await.unwrap();
    assert_eq!((given.credential.certificate, given.problem.as_deref()), (world.held.clone(), Some("nobody answers")));
}

#[tokio::test(start_paused = true)]
async fn while_another_process_renews_it_the_old_one_is_given_at_once() {
    let world = World::new();
    let _renewing = world.cache.try_lock().unwrap().unwrap();
    let played = Csrs::new(Decision::Sign, true);
    let given = world.give(LATE, &played).await.unwrap();
    assert_eq!((given.credential.certificate, given.problem), (world.held.clone(), None));
    assert!(played.calls().is_empty());
}

#[tokio::test]
async fn an_expired_one_waits_for_the_process_that_renews_it() {
    let world = World::new();
    let renewing = world.cache.try_lock().unwrap().unwrap();
    let later = DAY + SignedDuration::from_secs(1);
    let key = new_key().unwrap();
    let new = ca().issue_client("jane", &jane().groups, key.spki_der(), DAY, now() + later).unwrap();
    let played = Csrs::new(Decision::Sign, true);
    let other = async {
        world.cache.keep(&new, &key).unwrap();
        drop(renewing);
    };
    let (given, ()) = tokio::join!(world.give(later, &played), other);
    assert_eq!(given.unwrap().credential.certificate, new);
}

#[tokio::test(start_paused = true)]
async fn an_expired_or_missing_credential_is_an_error_with_the_way_out() {
    let world = World::new();
    let played = Csrs::new(Decision::Sign, true);
    let expired = format!("{:?}", world.give(DAY + SignedDuration::from_secs(1), &played).await.unwrap_err());
    assert!(
        expired.contains("jane.pem: `CN=jane,O=ops,O=dev` is valid from ") && expired.contains("--exec"),
        "{expired}"
    );
    let early = world.give(-SignedDuration::from_hours(1), &played).await;
    assert!(early.is_err(), "a clock that is behind");
    std::fs::remove_file(world.cache.path()).unwrap();
    let missing = format!("{:?}", world.give(LATE, &played).await.unwrap_err());
    assert!(missing.contains("there is no credential at ") && missing.contains("get-credentials"), "{missing}");
    assert!(played.calls().is_empty());
}
