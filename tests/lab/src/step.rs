//! One line per step on standard error, with the seconds it took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a step, names it in its error, and prints how long it took.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let result = work().with_context(|| format!("step failed: {name}"))?;
    report(name, started.elapsed());
    Ok(result)
}

pub fn report(name: &str, elapsed: Duration) {
    eprintln!("lab: {:>6.1} s  {name}", elapsed.as_secs_f64());
}

/// Asks again and again until the answer is yes. `what` reads as "what is waited for".
pub fn wait_until(what: &str, limit: Duration, mut answer: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !answer() {
        if started.elapsed() > limit {
            bail!("waited {} s in vain: {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Runs the same work for every item at the same time; the first error wins.
pub fn for_all<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(|| work(item))).collect();
        let mut first = Ok(());
        for thread in threads {
            let result = thread.join().unwrap_or_else(|_| bail!("a thread of the lab panicked"));
            first = first.and(result);
        }
        first
    })
}
