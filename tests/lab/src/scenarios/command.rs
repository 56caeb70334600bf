//! Runs certctl: to its end, or step by step along its events.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::process::signal;

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    /// The exit code must be this one.
    pub fn expect(self, code: i32) -> Result<Done> {
        if self.code != Some(code) {
            bail!("exit code {:?} instead of {code}: {}{}", self.code, self.err, tail(&self.out));
        }
        Ok(self)
    }

    /// The words for the user must contain each of these, whatever the case.
    pub fn saying(self, words: &[&str]) -> Result<Done> {
        let said = self.err.to_lowercase();
        match words.iter().find(|word| !said.contains(&word.to_lowercase())) {
            Some(missing) => bail!("it does not say `{missing}`: {}", self.err),
            None => Ok(self),
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

pub fn finished(command: &mut Command) -> Result<Done> {
    let output = command.stdin(Stdio::null()).output().context("cannot start certctl")?;
    Ok(Done {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A rotation under way. Dropped, it is killed: no test leaves a driver behind.
pub struct Rotation {
    child: Child,
    events: Receiver<Value>,
    /// Every event so far; those before `looked_at` were matched or passed over.
    seen: Vec<Value>,
    looked_at: usize,
    words: Option<JoinHandle<String>>,
}

impl Rotation {
    pub fn start(command: &mut Command) -> Result<Rotation> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start certctl")?;
        let stdout = child.stdout.take().context("certctl has no output")?;
        let mut stderr = child.stderr.take().context("certctl has no output")?;
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let words = std::thread::spawn(move || {
            let mut text = String::new();
            // What was read before an error is worth as much.
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Ok(Rotation { child, events, seen: Vec::new(), looked_at: 0, words: Some(words) })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for an event that was not passed over yet.
    pub fn wait_for(&mut self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            while let Some(event) = self.seen.get(self.looked_at) {
                self.looked_at += 1;
                if wanted(event) {
                    return Ok(event.clone());
                }
            }
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => self.seen.push(event),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("waited {} s in vain for {what}; last events: {}", limit.as_secs(), self.last())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let done = self.end()?;
                    bail!(
                        "certctl ended with {:?} before {what}: {}; last events: {}",
                        done.code,
                        done.err,
                        self.last()
                    )
                }
            }
        }
    }

    /// Waits for an event that nothing has followed yet but what happens in the same phase: a late reader sees the past. False when
    /// certctl ends before. Every event is shown, in order.
    pub fn wait_live(&mut self, limit: Duration, mut wanted: impl FnMut(&Value) -> bool) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            self.seen.extend(self.events.try_iter());
            let last_phase = self.seen.iter().rposition(|event| event["type"] == "PhaseStarted");
            while let Some(event) = self.seen.get(self.looked_at) {
                self.looked_at += 1;
                if wanted(event) && last_phase.is_none_or(|last| last < self.looked_at) {
                    return Ok(true);
                }
            }
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => self.seen.push(event),
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("nothing has happened for {} s; last events: {}", limit.as_secs(), self.last())
                }
            }
        }
    }

    /// Waits until a phase is entered.
    pub fn wait_phase(&mut self, phase: &str, limit: Duration) -> Result<Value> {
        self.wait_for(&format!("phase {phase}"), limit, |event| {
            event["type"] == "PhaseStarted" && event["phase"] == phase
        })
    }

    /// The rotation must not have gone on meanwhile: events are read one after the other, and a late reader sees the past.
    pub fn still_in(&mut self, phase: &str) -> Result<()> {
        self.seen.extend(self.events.try_iter());
        let later = &self.seen[self.looked_at..];
        match later.iter().find(|event| event["type"] == "PhaseStarted" && event["phase"] != phase) {
            Some(event) => bail!("it is in {} already, not in {phase}", event["phase"]),
            None => Ok(()),
        }
    }

    /// Waits until a node is named among what is waited for, or in a warning.
    pub fn wait_named(&mut self, node: &str, limit: Duration) -> Result<Value> {
        let word = format!("node/{node}");
        self.wait_for(&format!("a word about {node}"), limit, |event| {
            let told = [&event["for"], &event["reasons"]];
            let lists = told.into_iter().filter_map(Value::as_array).flatten();
            let mut sentences = lists.chain([&event["message"]]).filter_map(Value::as_str);
            sentences.any(|text| text.contains(&word) && (text.contains("respond") || text.contains("Ready")))
        })
    }

    /// Ctrl-C.
    pub fn interrupt(&self) -> Result<()> {
        signal(&self.child, Signal::INT).context("cannot interrupt certctl")
    }

    /// kill -9.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("cannot kill certctl")?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for the end.
    pub fn finish(mut self, limit: Duration) -> Result<Done> {
        let deadline = Instant::now() + limit;
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => self.seen.push(event),
                Err(RecvTimeoutError::Disconnected) => return self.end(),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("certctl has not ended after {} s; last events: {}", limit.as_secs(), self.last())
                }
            }
        }
    }

    fn end(&mut self) -> Result<Done> {
        let code = self.child.wait()?.code();
        let err = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let out = self.seen.iter().map(|event| format!("{event}\n")).collect();
        Ok(Done { code, out, err })
    }

    fn last(&self) -> String {
        let from = self.seen.len().saturating_sub(4);
        self.seen[from..].iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Rotation {
    fn drop(&mut self) {
        // Already ended in the ordinary case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
