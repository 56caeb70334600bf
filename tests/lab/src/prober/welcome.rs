//! Lets the newcomer in: waits for its file, then for each target's first answer, then starts its lanes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_local;

use super::connection::ask_once;
use super::lane::Lane;
use super::newcomer::{Newcomer, News};
use super::outcome::{Failure, Mode};
use super::report::Recorder;
use super::request::{build, get};
use super::source::Source;
use super::targets::{Target, api_lanes};

const CLIENT: &str = "ca2";
const PAUSE: Duration = Duration::from_millis(200);

pub struct Welcome {
    pub newcomer: Rc<Newcomer>,
    pub targets: Vec<Target>,
    pub lanes: UnboundedSender<Lane>,
    pub recorder: Rc<RefCell<Recorder>>,
    /// What each target said last, in the order of `targets`.
    pub answers: RefCell<Vec<Reception>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    Unknown,
    /// It does not serve, or does not accept, a certificate of the new CA yet.
    Rejected,
    /// Nobody is there, so there is nothing to wait for.
    Absent,
    Accepted,
}

/// Watches the files for as long as the prober runs.
pub async fn watch(welcome: Rc<Welcome>) {
    loop {
        match welcome.newcomer.look() {
            News::Arrived => {
                welcome.say(format!("{CLIENT} arrives: {} is signed by another CA", welcome.newcomer.file()));
                for index in 0..welcome.targets.len() {
                    spawn_local(knock(Rc::clone(&welcome), index));
                }
            }
            News::Left => return welcome.say(format!("{CLIENT} leaves: a kubeconfig is back on the starting CA")),
            News::Nothing => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks one target until it answers, then hands its lanes over. None of these requests is counted.
async fn knock(welcome: Rc<Welcome>, index: usize) {
    let target = &welcome.targets[index];
    let since = Timestamp::now();
    let (mut tries, mut last) = (0_u32, "nothing".to_owned());
    while !welcome.newcomer.has_left() {
        // Behind the balancer is any of the servers, so it is open to the newcomer when all of them are.
        if !target.balancer || welcome.every_server_has_spoken() {
            tries += 1;
            let (reception, reason) = welcome.ask(target).await;
            welcome.answers.borrow_mut()[index] = reception;
            if reception == Reception::Accepted {
                let waited = Timestamp::now().duration_since(since).as_millis();
                welcome.say(format!(
                    "{CLIENT} counts on {} after {waited} ms, {tries} requests; last obstacle: {last}",
                    target.name
                ));
                for lane in api_lanes(CLIENT, target, &Source::Newcomer(Rc::clone(&welcome.newcomer))) {
                    let _ = welcome.lanes.send(lane);
                }
                return;
            }
            last = reason;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Welcome {
    async fn ask(&self, target: &Target) -> (Reception, String) {
        let address = target.place.get();
        let request = build(address, Mode::Fresh, get("/api/v1/namespaces/kube-system"));
        let credentials = match self.newcomer.current() {
            Ok(credentials) => credentials,
            Err(reason) => return (Reception::Rejected, reason),
        };
        match ask_once(address, credentials, request).await {
            Ok(reply) if reply.answer.status < 400 => (Reception::Accepted, String::new()),
            Ok(reply) => (Reception::Rejected, format!("status {}", reply.answer.status)),
            Err(failure @ (Failure::Connect(_) | Failure::Timeout(_))) => (Reception::Absent, failure.to_string()),
            Err(failure) => (Reception::Rejected, failure.to_string()),
        }
    }

    fn every_server_has_spoken(&self) -> bool {
        let answers = self.answers.borrow();
        let servers = self.targets.iter().zip(answers.iter()).filter(|(target, _)| !target.balancer);
        servers.into_iter().all(|(_, answer)| matches!(answer, Reception::Absent | Reception::Accepted))
    }

    fn say(&self, message: String) {
        eprintln!("lab probe: {message}");
        // If the report cannot be written the dispatchers say so and end the run.
        let _ = self.recorder.borrow_mut().event(message);
    }
}
