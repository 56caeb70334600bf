//! What can go wrong with the API server, in words.

/// A call that failed, with its object.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No kubeconfig could be read or used.
    #[error("no cluster to talk to: {tried}")]
    NoCluster {
        /// What was tried, in order.
        tried: String,
    },
    /// The API server refused, or could not be reached.
    #[error("cannot {verb} {object}: {reason}")]
    Call {
        /// What was asked, for example `read`.
        verb: &'static str,
        /// The object.
        object: String,
        /// The API server's message or the transport's.
        reason: String,
        /// HTTP status code, when the API server answered.
        code: Option<u16>,
    },
    /// An object's content is not what it should be.
    #[error("{object}: {problem}")]
    Content {
        /// The object.
        object: String,
        /// What is wrong.
        problem: String,
    },
    /// Some of many calls failed; the others were made.
    #[error("{} of {of} calls failed: {}", failed.len(), failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several {
        /// Each failure, at least one.
        failed: Vec<Self>,
        /// How many calls were made.
        of: usize,
    },
    /// Another driver holds the Lease.
    #[error("another certctl is at work: {holder}, since {since}")]
    Held {
        /// User, host and process.
        holder: String,
        /// RFC 3339.
        since: String,
    },
}

impl ClusterError {
    /// Translates an error of the client once, with the object's name (kube's own text repeats its source).
    pub fn call(verb: &'static str, object: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let object = object.into();
        move |error| {
            let (reason, code) = match &error {
                kube::Error::Api(status) => (status.message.clone(), Some(status.code)),
                other => (transport(other), None),
            };
            Self::Call { verb, object, reason, code }
        }
    }

    /// No answer, whatever it was asked by.
    pub fn unanswered(verb: &'static str, object: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Call { verb, object: object.into(), reason: reason.to_string(), code: None }
    }

    /// A problem with what stands in an object.
    pub fn content(object: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self::Content { object: object.into(), problem: problem.to_string() }
    }

    /// True when nobody answered, or an API server that could not do it just then (a write that met another one, too many requests, an
    /// etcd without a leader): a power cut looks like this to those who stay.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Several { failed, .. } => failed.iter().all(Self::is_passing),
            other => matches!(other, Self::Call { code: None | Some(408 | 409 | 429 | 500..=599), .. }),
        }
    }

    /// The HTTP status code, when the API server answered; of several failures, the one that they share.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Call { code, .. } => *code,
            Self::Several { failed, .. } => {
                let (first, rest) = failed.split_first()?;
                first.code().filter(|code| rest.iter().all(|error| error.code() == Some(*code)))
            }
            _ => None,
        }
    }
}

/// The innermost cause says what happened ("certificate has expired", "connection refused").
fn transport(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
