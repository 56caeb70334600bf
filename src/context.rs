//! What every command gets: the terminal, the time, the global flags, and word of Ctrl-C. Built once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::cluster::Access;
use crate::error::{Error, ErrorKind};
use crate::ui::{Answer, ColourChoice, Format, FormatParser, Options, ProgressChoice, Ui};

/// The name under which kubectl finds the same binary as a plugin.
const PLUGIN: &str = "kubectl-certctl";

/// Flags that every command has; names and meaning as kubectl's.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<std::path::PathBuf>,
    /// Name of the kubeconfig context to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Name of the kubeconfig cluster to use
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Name of the kubeconfig user to use
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// How long to wait for one API request, for example 10s or 1m
    #[arg(long, global = true, value_name = "DURATION", value_parser = crate::config::parse_duration)]
    pub request_timeout: Option<SignedDuration>,
    /// Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense
    #[arg(short, long, global = true, value_name = "FORMAT", value_parser = FormatParser, hide_possible_values = true)]
    pub output: Option<Format>,
    /// When to use colour: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value_t, hide_possible_values = true)]
    pub color: ColourChoice,
    /// How to show progress: auto, plain, json or none
    #[arg(long, global = true, value_name = "HOW", default_value_t, hide_possible_values = true)]
    pub progress: ProgressChoice,
    /// Log more to stderr; repeat for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The surroundings of one command.
#[derive(Debug)]
pub struct Context {
    /// The only printer.
    pub ui: Ui,
    /// When the command started. Read once, so that one output speaks of one moment.
    pub now: Timestamp,
    /// When that was, for what has passed since.
    pub started: Instant,
    /// The flags every command has.
    pub global: GlobalArgs,
    /// Ctrl-C and SIGTERM.
    pub interrupt: Interrupt,
    /// The command line as it was typed, for "run this again".
    pub invocation: String,
}

impl Context {
    /// The format asked for with `-o`, or a command's own default.
    #[must_use]
    pub fn format_or(&self, default: Format) -> Format {
        self.global.output.clone().unwrap_or(default)
    }

    /// Where to find the cluster, by the global flags; `verb` names the command in the API server's audit log.
    #[must_use]
    pub fn access(&self, verb: &'static str) -> Access {
        let global = &self.global;
        Access {
            kubeconfig: global.kubeconfig.clone(),
            context: global.context.clone(),
            cluster: global.cluster.clone(),
            user: global.user.clone(),
            request_timeout: global.request_timeout.map(SignedDuration::unsigned_abs),
            verb,
        }
    }

    /// A command line that goes on from this one, as one would type it: on the same cluster, and with these flags where they have a value.
    #[must_use]
    pub fn follow_up(&self, verb: &str, flags: &[(&str, Option<String>)]) -> String {
        let plugin = self.invocation.starts_with("kubectl ");
        follow_up(if plugin { "kubectl certctl" } else { "certctl" }, verb, &self.global, flags)
    }

    /// A line about what is done, for humans; nothing with `--progress none`.
    pub fn say(&self, text: &str) {
        if self.global.progress != ProgressChoice::None {
            self.ui.note(text);
        }
    }

    /// Asks before something that cannot simply be taken back; `yes` is the command's `--yes`.
    ///
    /// # Errors
    /// Kind [`ErrorKind::Usage`] when the answer is no, or when nobody is there to answer.
    pub async fn confirm(&self, question: &str, yes: bool) -> Result<(), Error> {
        self.confirm_with(question, yes, "--yes").await
    }

    /// As [`Self::confirm`], for a command that calls its `--yes` something else.
    ///
    /// # Errors
    /// As [`Self::confirm`].
    pub async fn confirm_with(&self, question: &str, yes: bool, flag: &str) -> Result<(), Error> {
        if yes {
            return Ok(());
        }
        // The answer is read on a thread of its own, so that Ctrl-C ends the command while it waits for a human.
        let (ui, asked) = (self.ui.clone(), question.to_owned());
        let answer = tokio::task::spawn_blocking(move || ui.confirm(&asked));
        match answer.await.map_err(|e| Error::failed(format!("cannot ask for a confirmation: {e}")))?? {
            Answer::Yes => Ok(()),
            Answer::No => Err(Error::usage("not confirmed, so nothing was changed")),
            Answer::NobodyThere => Err(Error::usage(format!("this needs a confirmation: {question}"))
                .caused_by("stdin is not a terminal")
                .hint(format!("run `{} {flag}`", self.invocation))),
        }
    }
}

/// The signal that ends a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// The outcome of a command that a signal ended.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Interrupt => ErrorKind::Interrupted,
            Self::Terminate => ErrorKind::Terminated,
        }
    }
}

/// Word of the first signal, for commands that want to stop at a good moment.
///
/// Unless a command takes over, the first signal drops it at its next await. A second signal leaves the process at once.
#[derive(Clone, Debug)]
pub struct Interrupt {
    taken_over: Arc<AtomicBool>,
    signal: watch::Receiver<Option<Signal>>,
}

impl Interrupt {
    /// Makes the first signal this command's business: it watches the channel and returns with [`Self::error`].
    #[must_use]
    pub fn take_over(&self) -> watch::Receiver<Option<Signal>> {
        self.taken_over.store(true, Ordering::SeqCst);
        self.signal.clone()
    }

    /// The error that a command returns after it has stopped because of a signal; `None` without one.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        let signal = *self.signal.borrow();
        signal.map(|signal| Error::new(signal.kind(), "interrupted").hint("the same command goes on from here"))
    }

    /// True when the command wants to stop by itself.
    #[must_use]
    pub fn is_taken_over(&self) -> bool {
        self.taken_over.load(Ordering::SeqCst)
    }
}

/// Builds the context and the sending end of its signal channel, which [`crate::cli::run`] serves.
#[must_use]
pub fn build(global: &GlobalArgs) -> (Context, watch::Sender<Option<Signal>>) {
    let (sender, signal) = watch::channel(None);
    let ui = Ui::new(Options { colour: global.color, progress: global.progress, format: global.output.clone() });
    let context = Context {
        ui,
        now: now(),
        started: Instant::now(),
        global: global.clone(),
        interrupt: Interrupt { taken_over: Arc::new(AtomicBool::new(false)), signal },
        invocation: invocation(std::env::args()),
    };
    (context, sender)
}

#[expect(clippy::disallowed_methods, reason = "the one reading of the clock for a command")]
/// The clock. Only a debug build can be told another time, because a PKI tool must have no public switch that moves it.
fn now() -> Timestamp {
    #[cfg(debug_assertions)]
    if let Some(fixed) = std::env::var("CERTCTL_TEST_NOW").ok().and_then(|text| text.parse().ok()) {
        return fixed;
    }
    // Output speaks of seconds.
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// True when kubectl started this process as its plugin.
pub(crate) fn called_as_plugin(argv0: Option<&str>) -> bool {
    argv0.and_then(|path| path.rsplit('/').next()) == Some(PLUGIN)
}

/// The command line as one would type it again.
fn invocation(mut argv: impl Iterator<Item = String>) -> String {
    let name = if called_as_plugin(argv.next().as_deref()) { "kubectl certctl" } else { "certctl" };
    let arguments = argv.map(|argument| shell_word(&argument));
    std::iter::once(name.to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn follow_up(name: &str, verb: &str, global: &GlobalArgs, flags: &[(&str, Option<String>)]) -> String {
    let place = [
        ("--kubeconfig", global.kubeconfig.as_ref().map(|path| path.display().to_string())),
        ("--context", global.context.clone()),
        ("--cluster", global.cluster.clone()),
        ("--user", global.user.clone()),
    ];
    let given = flags.iter().chain(&place).filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
    given.fold(format!("{name} {verb}"), |line, (flag, value)| format!("{line} {flag} {}", shell_word(value)))
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_go_on_with_names_the_same_cluster_and_configuration() {
        let global = GlobalArgs { context: Some("prod eu".into()), ..GlobalArgs::default() };
        let flags = [("--config", Some("certctl.yaml".into())), ("--waive", None)];
        let line = follow_up("certctl", "rotate-ca continue", &global, &flags);
        assert_eq!(line, "certctl rotate-ca continue --config certctl.yaml --context 'prod eu'");
    }

    #[test]
    fn the_invocation_can_be_pasted_into_a_shell() {
        let argv = ["/usr/bin/kubectl-certctl", "rotate-ca", "--config", "my file's.yaml"];
        let typed = invocation(argv.into_iter().map(String::from));
        assert_eq!(typed, r"kubectl certctl rotate-ca --config 'my file'\''s.yaml'");
    }
}
