//! The terminal: who may write where, in which colour, and what is asked.

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};

use super::format::Format;
use super::progress::{Marks, Progress, ProgressChoice};

/// When to use colour (`--color`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColourChoice {
    /// On a terminal, unless NO_COLOR says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl fmt::Display for ColourChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

/// What the command line says about output.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--color`.
    pub colour: ColourChoice,
    /// `--progress`.
    pub progress: ProgressChoice,
    /// `-o`.
    pub format: Option<Format>,
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Yes,
    /// No, or nothing.
    No,
    /// Stdin or stderr is no terminal, so nothing was asked.
    NobodyThere,
}

/// The only object that writes to the terminal.
#[derive(Clone, Debug)]
pub struct Ui {
    colour: bool,
    terminal: bool,
    options: Options,
}

impl Ui {
    /// Looks at the environment once and decides.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let terminal = io::stderr().is_terminal();
        let colour = match options.colour {
            ColourChoice::Always => true,
            ColourChoice::Never => false,
            ColourChoice::Auto => wants_colour(terminal, variable),
        };
        // One decision for all three libraries that would each make their own (clap is done by now).
        anstream::ColorChoice::write_global(if colour {
            anstream::ColorChoice::Always
        } else {
            anstream::ColorChoice::Never
        });
        Self { colour, terminal, options }
    }

    /// Writes data to stdout.
    ///
    /// # Errors
    /// When stdout cannot be written, a closed pipe included.
    pub fn data(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes data to stdout while it is being made.
    ///
    /// # Errors
    /// What `make` returns; when stdout cannot be written, a closed pipe included.
    pub fn data_with(&self, make: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        make(&mut out)?;
        out.flush()
    }

    /// Writes data that is not text to stdout.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Tells the user something, on stderr.
    pub fn note(&self, text: &str) {
        self.error_line(text);
    }

    /// Warns the user, on stderr.
    pub fn warn(&self, text: &str) {
        self.labelled("warning:", text);
    }

    /// A line on stderr that starts with a label such as `error:`.
    pub fn labelled(&self, label: &str, text: &str) {
        // What nodes and servers say must not steer the terminal.
        let text = text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}");
        let style = match label.trim() {
            "error:" => AnsiColor::Red.on_default().bold(),
            "warning:" => AnsiColor::Yellow.on_default().bold(),
            "hint:" => AnsiColor::Cyan.on_default(),
            _ => Style::new(),
        };
        if self.colour {
            self.error_line(&format!("{style}{label}{style:#} {text}"));
        } else {
            self.error_line(&format!("{label} {text}"));
        }
    }

    /// The renderer for a run's events.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let json = self.options.format == Some(Format::Json);
        Progress::new(self.options.progress, json, self.terminal, self.marks())
    }

    /// Asks on the terminal; no answer means no.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub fn confirm(&self, question: &str) -> io::Result<Answer> {
        if !(self.terminal && io::stdin().is_terminal()) {
            return Ok(Answer::NobodyThere);
        }
        let mut err = io::stderr().lock();
        write!(err, "{question} [y/N] ")?;
        err.flush()?;
        drop(err);
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(if is_yes(&line) { Answer::Yes } else { Answer::No })
    }

    /// Marks that the terminal's character set can show.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        // POSIX order of precedence (locale(7)).
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Marks::UNICODE } else { Marks::ASCII }
    }

    fn error_line(&self, text: &str) {
        // Nobody is left to tell when stderr is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

#[expect(clippy::disallowed_methods, reason = "colour and character set are settled by the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The rules of no-color.org and bixense.com/clicolors: an empty variable counts as not set.
fn wants_colour(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return false;
    }
    if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    terminal && set("TERM").is_none_or(|term| term != "dumb")
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colour(terminal: bool, variables: &[(&str, &str)]) -> bool {
        wants_colour(terminal, |name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn no_color_wins_over_force_and_an_empty_variable_is_not_set() {
        assert!(colour(true, &[]));
        assert!(!colour(false, &[]));
        assert!(!colour(true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
        assert!(colour(true, &[("NO_COLOR", "")]));
        assert!(colour(false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!colour(true, &[("TERM", "dumb")]));
    }

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        assert!(is_yes("y\n") && is_yes("YES\n"));
        assert!(!is_yes("\n") && !is_yes("yep\n") && !is_yes(""));
    }
}
