//! A lane: one client asking one target in one way, one request at a time.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::connection::{Ask, Connection, Sent, TIMEOUT};
use super::outcome::{Answer, Attempt, Failure, Key, Mode};
use super::request::Work;
use super::source::Source;

/// How long a failure of the newcomer is held back: see [`super::newcomer`].
const SECOND_THOUGHTS: Duration = Duration::from_secs(1);

/// Where a target is. A pod that is started anew gets another address, so it may change.
pub type Place = Rc<Cell<SocketAddr>>;

pub struct Lane {
    pub key: Rc<Key>,
    place: Place,
    source: Source,
    work: Work,
    connection: Option<Connection>,
    turn: u64,
}

impl Lane {
    pub fn new(key: Key, place: Place, source: Source, work: Work) -> Lane {
        Lane { key: Rc::new(key), place, source, work, connection: None, turn: 0 }
    }

    /// Asks once. None: the lane's client has left and nothing is to be counted.
    pub async fn take_turn(&mut self) -> Option<Attempt> {
        if self.retired() {
            return None;
        }
        let (started, clock) = (Timestamp::now(), Instant::now());
        let address = self.place.get();
        let (operation, request) = self.work.request(self.turn, address, self.key.mode);
        self.turn += 1;
        // On a time-out the exchange is dropped and its connection with it, so the next turn starts on a new one.
        let result = tokio::time::timeout(TIMEOUT, self.exchange(address, request)).await;
        let result = result.unwrap_or(Err(Failure::Timeout(TIMEOUT)));
        let elapsed = clock.elapsed();
        if matches!(self.source, Source::Newcomer(_)) && !result.as_ref().is_ok_and(|answer| answer.status < 400) {
            tokio::time::sleep(SECOND_THOUGHTS).await;
            if self.retired() {
                return None;
            }
        }
        Some(Attempt { started, elapsed, operation, result })
    }

    fn retired(&self) -> bool {
        matches!(&self.source, Source::Newcomer(newcomer) if newcomer.has_left())
    }

    async fn exchange(&mut self, address: SocketAddr, mut request: Ask) -> Result<Answer, Failure> {
        let credentials = self.source.current().map_err(Failure::Kubeconfig)?;
        let kept = self.connection.take().filter(|connection| connection.belongs_to(credentials.as_ref()));
        if let Some(mut connection) = kept {
            match connection.send(request).await {
                Sent::Done(reply) => return self.done(connection, reply.map(|reply| reply.answer)),
                // Closed while it was idle. A client opens another one and nobody notices.
                Sent::NotSent(unsent) => request = unsent,
            }
        }
        let mut connection = Connection::open(address, credentials, self.key.mode).await?;
        match connection.send(request).await {
            Sent::Done(reply) => self.done(connection, reply.map(|reply| reply.answer)),
            Sent::NotSent(_) => Err(Failure::Http("the connection closed at once".to_owned())),
        }
    }

    fn done(&mut self, connection: Connection, result: Result<Answer, Failure>) -> Result<Answer, Failure> {
        match (&result, self.key.mode) {
            (Ok(_), Mode::Fresh) => connection.finish(),
            (Ok(_), Mode::KeptAlive | Mode::Http2) => self.connection = Some(connection),
            (Err(_), _) => drop(connection),
        }
        result
    }
}
