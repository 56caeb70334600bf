//! Up to the drop of the old CA, and back.

use anyhow::{Result, bail};

use super::bench::Bench;
use super::evidence::{Before, completed};
use super::rotation::LIMIT;
use super::tally::Tally;
use super::watch::Watch;

const RATE: u32 = 150;

pub fn tell(bench: &Bench, tally: &mut Tally) -> Result<()> {
    let before = Before::look(bench)?;
    tally.test("a rollback before the new CA is made takes the intent back, and nothing else", || {
        bench.rotate(&["--pause-before", "Staged"])?.finish(LIMIT)?.expect(0)?;
        bench.rotate(&["rollback"])?.finish(LIMIT)?.expect(0)?;
        completed(bench, 1)?;
        before.returned(bench)
    })?;
    let watch = Watch::start(RATE)?;
    tally.test("rotate-ca --pause-before drop stops while both CAs are trusted", || {
        let done = bench.rotate(&["--pause-before", "drop"])?.finish(LIMIT)?.expect(0)?;
        if !done.out.contains(r#""type":"Paused""#) {
            bail!("no event says that it paused: {}", done.out);
        }
        let status = bench.status()?;
        if status["status"] != "False" || status["phase"] != "DPReissued" {
            bail!("status: {}, phase: {}", status["status"], status["phase"]);
        }
        Ok(())
    })?;
    tally.test("rollback returns to CAVersion 1", || {
        bench.rotate(&["rollback"])?.finish(LIMIT)?.expect(0)?;
        completed(bench, 1)
    })?;
    let figures = watch.end()?;
    eprintln!("lab: {}", figures.line());
    let _ = tally.test("rollback: no API request fails on the way there and back", || figures.none_failed());
    tally.test("rollback: every node has the files of before, and the old administrator is admitted", || {
        before.returned(bench)
    })
}
