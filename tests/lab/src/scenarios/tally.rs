//! Counts tests and prints a line for each.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

#[derive(Debug, Default)]
pub struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    /// Runs a test. Its value is for the tests after it, which cannot run without: then the error ends the story.
    pub fn test<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let outcome = work();
        match &outcome {
            Ok(_) => {
                self.passed += 1;
                println!("test {name} ... ok ({:.1} s)", began.elapsed().as_secs_f64());
            }
            Err(error) => self.fail(name, error),
        }
        outcome
    }

    pub fn fail(&mut self, name: &str, error: &anyhow::Error) {
        self.failed += 1;
        println!("test {name} ... FAILED");
        for line in format!("{error:#}").lines() {
            println!("    {line}");
        }
    }

    pub fn failed(&self) -> usize {
        self.failed
    }

    pub fn finish(&self) -> ExitCode {
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
