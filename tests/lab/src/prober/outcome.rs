//! What became of a request, and what that means. Pure: decides, does nothing.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The client whose credentials are those of the start. Its 401s are what a rotation is for, once the old CA is dropped.
pub const STARTING_CLIENT: &str = "ca1";

/// Whether the answer comes from an API server alone or passes through a kubelet, which may cut calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    Api,
    ViaKubelet,
}

/// How a lane connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Fresh,
    KeptAlive,
    Http2,
}

impl Mode {
    pub const ALL: [Mode; 3] = [Mode::Fresh, Mode::KeptAlive, Mode::Http2];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Fresh => "fresh",
            Mode::KeptAlive => "kept-alive",
            Mode::Http2 => "http2",
        })
    }
}

/// Who asks whom, and how: the unit in which everything is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub group: Group,
    pub client: String,
    pub target: String,
    pub mode: Mode,
}

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub retry_after: bool,
    /// The beginning of an error's text, empty for a success.
    pub message: String,
}

/// Why there is no complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Kubeconfig(String),
    Connect(String),
    Tls(String),
    Http(String),
    Timeout(Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Kubeconfig(reason) => write!(f, "kubeconfig: {reason}"),
            Failure::Connect(reason) => write!(f, "connect: {reason}"),
            Failure::Tls(reason) => write!(f, "tls: {reason}"),
            Failure::Http(reason) => write!(f, "http: {reason}"),
            Failure::Timeout(limit) => write!(f, "no complete answer within {} s", limit.as_secs()),
        }
    }
}

/// One request, from the moment it was due to its answer.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub started: Timestamp,
    pub elapsed: Duration,
    pub operation: String,
    pub result: Result<Answer, Failure>,
}

/// What an attempt counts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// 429 with Retry-After: client-go asks again by itself.
    Throttled,
    /// The starting client is told 401. Whether that was due is for the summary, which sees the whole run.
    Refused,
    Failed(String),
}

pub fn judge(client: &str, result: &Result<Answer, Failure>) -> Verdict {
    match result {
        Ok(answer) if answer.status < 400 => Verdict::Ok,
        Ok(answer) if answer.status == 429 && answer.retry_after => Verdict::Throttled,
        Ok(answer) if answer.status == 401 && client == STARTING_CLIENT => Verdict::Refused,
        Ok(answer) if answer.message.is_empty() => Verdict::Failed(format!("status {}", answer.status)),
        Ok(answer) => Verdict::Failed(format!("status {}: {}", answer.status, answer.message)),
        Err(failure) => Verdict::Failed(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: bool) -> Result<Answer, Failure> {
        Ok(Answer { status, retry_after, message: String::new() })
    }

    #[test]
    fn a_success_is_ok_for_everybody() {
        for client in [STARTING_CLIENT, "both", "ca2"] {
            assert_eq!(judge(client, &answer(200, false)), Verdict::Ok);
            assert_eq!(judge(client, &answer(201, false)), Verdict::Ok);
        }
    }

    #[test]
    fn only_a_429_that_says_when_to_come_back_is_throttling() {
        assert_eq!(judge("both", &answer(429, true)), Verdict::Throttled);
        assert_eq!(judge("both", &answer(429, false)), Verdict::Failed("status 429".to_owned()));
        assert_eq!(judge("both", &answer(503, true)), Verdict::Failed("status 503".to_owned()));
    }

    #[test]
    fn only_the_starting_client_may_be_refused() {
        assert_eq!(judge(STARTING_CLIENT, &answer(401, false)), Verdict::Refused);
        assert_eq!(judge("both", &answer(401, false)), Verdict::Failed("status 401".to_owned()));
        assert_eq!(judge("ca2", &answer(401, false)), Verdict::Failed("status 401".to_owned()));
    }

    #[test]
    fn the_starting_client_fails_on_tls_and_on_403_like_everybody() {
        let tls = Err(Failure::Tls("unknown issuer".to_owned()));
        assert_eq!(judge(STARTING_CLIENT, &tls), Verdict::Failed("tls: unknown issuer".to_owned()));
        assert_eq!(judge(STARTING_CLIENT, &answer(403, false)), Verdict::Failed("status 403".to_owned()));
    }
}
