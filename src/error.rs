//! What a command that did not succeed tells its caller: an exit code for scripts, a sentence and a hint for people.

use std::process::ExitCode;

use crate::cluster::ClusterError;
use crate::ui::Ui;

/// The outcome of a failed command, which fixes the exit code. `docs/exit-codes.md` is made from this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Could not find out or could not do.
    Failed,
    /// Wrong usage, or a confirmation is missing.
    Usage,
    /// Findings at warning level.
    FindingsWarning,
    /// Findings at error level.
    FindingsError,
    /// Refused by a safety gate; nothing was changed.
    Refused,
    /// A gate was not passed in time; the same command goes on.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// The reader of stdout went away (`certctl inspect | head`), which is no failure.
    OutputClosed,
}

impl ErrorKind {
    /// Every kind, in the order of the published table.
    pub const ALL: [Self; 9] = [
        Self::OutputClosed,
        Self::Failed,
        Self::Usage,
        Self::FindingsWarning,
        Self::FindingsError,
        Self::Refused,
        Self::TimedOut,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The process's exit code. Scripts rely on it: a code is never given a second meaning.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::FindingsWarning => 3,
            Self::FindingsError => 4,
            Self::Refused => 5,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// What the code means, for the published table.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::OutputClosed => "done, or the reader of the output went away",
            Self::Failed => "failed: could not find out or could not do",
            Self::Usage => "wrong usage, or a confirmation is missing",
            Self::FindingsWarning => "findings at warning level (a certificate expires soon)",
            Self::FindingsError => "findings at error level (expired, broken chain, stuck rotation)",
            Self::Refused => "refused by a safety gate; nothing was changed",
            Self::TimedOut => "timed out; the same command goes on from there",
            Self::Interrupted => "interrupted (Ctrl-C); the same command goes on from there",
            Self::Terminated => "terminated (SIGTERM); the same command goes on from there",
        }
    }
}

/// An error as the user sees it: `error:`, then `caused by:` lines, then `hint:` lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    /// The API server could not answer just then: the same call may go through later.
    passing: bool,
}

impl Error {
    /// An error of a kind. The message is lower-case, has no final period and names the object.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hints: Vec::new(), passing: false }
    }

    /// Could not find out or could not do.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// An error of an adapter: its text is the whole sentence.
    #[must_use]
    pub fn from_display(error: impl std::fmt::Display) -> Self {
        Self::failed(error.to_string())
    }

    /// Wrong usage.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A safety gate said no and nothing was changed.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// Adds what lies behind it, outermost first.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds an error and its sources as causes; a source that its parent already quotes is left out.
    #[must_use]
    pub fn with_source(mut self, source: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(source);
        while let Some(error) = next {
            self.push_cause(error.to_string());
            next = error.source();
        }
        self
    }

    /// Adds what the user can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Keeps the text and changes the outcome.
    #[must_use]
    pub const fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// True when the API server could not answer just then, so that whoever can wait may try again.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        self.passing
    }

    /// The message and what lies behind it, as one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        std::iter::once(&self.message).chain(&self.causes).map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    /// The outcome.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    fn push_cause(&mut self, cause: String) {
        let parent = self.causes.last().unwrap_or(&self.message);
        if !parent.contains(&cause) {
            self.causes.push(cause);
        }
    }

    /// The lines for stderr, each with the word that a terminal shows in bold.
    fn lines(&self) -> impl Iterator<Item = (&'static str, &str)> {
        std::iter::once(("error:", self.message.as_str()))
            .chain(self.causes.iter().map(|cause| ("  caused by:", cause.as_str())))
            .chain(self.hints.iter().map(|hint| ("hint:", hint.as_str())))
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        let mut chain = error.chain().map(ToString::to_string);
        let mut out = Self::failed(chain.next().unwrap_or_default());
        if error.chain().filter_map(|e| e.downcast_ref::<std::io::Error>()).any(is_broken_pipe) {
            out.kind = ErrorKind::OutputClosed;
        }
        chain.for_each(|cause| out.push_cause(cause));
        out
    }
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Self {
        match &error {
            ClusterError::Held { .. } => Self::refused(error.to_string())
                .hint("wait until it has ended, or look at it with `certctl status --watch`"),
            ClusterError::NoCluster { .. } => {
                Self::failed(error.to_string()).hint("name a kubeconfig with --kubeconfig or KUBECONFIG")
            }
            ClusterError::Call { code: Some(404), object, .. }
                if object.contains("pki.certctl.dev") || object.contains("pki/") =>
            {
                Self::failed(error.to_string()).hint("run `certctl install` first")
            }
            ClusterError::Call { code: Some(422), .. } => Self::refused(error.to_string()),
            ClusterError::Several { failed, of } => {
                let several = Self::failed(format!("{} of {of} calls of the API server failed", failed.len()));
                let several = failed.iter().fold(several, |several, one| several.caused_by(one.to_string()));
                Self { passing: error.is_passing(), ..several }
            }
            _ => Self { passing: error.is_passing(), ..Self::failed(error.to_string()) },
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::Unsupported {
            return Self::usage(error.to_string()).hint("use table, wide, json, yaml or jsonpath=TEMPLATE");
        }
        let kind = if is_broken_pipe(&error) { ErrorKind::OutputClosed } else { ErrorKind::Failed };
        Self::new(kind, format!("cannot write the output: {error}"))
    }
}

fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

/// Prints an error and gives the process's exit code.
#[must_use]
pub fn report(ui: &Ui, outcome: Result<(), Error>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    if error.kind != ErrorKind::OutputClosed {
        for (label, text) in error.lines() {
            ui.labelled(label, text);
        }
    }
    ExitCode::from(error.kind.exit_code())
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn text(error: &Error) -> Vec<String> {
        error.lines().map(|(label, text)| format!("{label} {text}")).collect()
    }

    #[test]
    fn every_kind_has_its_own_exit_code() {
        let mut codes: Vec<u8> = ErrorKind::ALL.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 124, 130, 143]);
        codes.dedup();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn an_error_shows_message_causes_and_hints_in_this_order() {
        let error = Error::refused("node w-1 is not ready").hint("start it").caused_by("kubelet stopped");
        assert_eq!(text(&error), ["error: node w-1 is not ready", "  caused by: kubelet stopped", "hint: start it"]);
        assert_eq!(error.kind().exit_code(), 5);
    }

    #[test]
    fn a_source_that_its_parent_quotes_is_not_repeated() {
        let inner = std::io::Error::other("disk full");
        let error = anyhow::Error::new(inner).context("cannot write ca.crt: disk full").context("cannot rotate");
        assert_eq!(text(&Error::from(error)), ["error: cannot rotate", "  caused by: cannot write ca.crt: disk full"]);
    }

    #[test]
    fn a_closed_pipe_is_no_failure_even_below_context() {
        let pipe: Result<(), _> = Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let error = pipe.context("cannot print").map_err(Error::from);
        assert_eq!(error.map_err(|e| e.kind().exit_code()), Err(0));
    }
}
