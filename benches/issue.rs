//! Issues many leaves in one process, as a program: `issue DIR COUNT [THREADS]`. Key and certificate of each are files, the key 0600, on
//! disk before it ends. What it costs is measured from outside (`benches/compare.sh`).

#![expect(clippy::disallowed_methods, reason = "a program at the edge: it reads the clock and flushes its files")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use certctl::pki::{CertificateAuthority, KeyAlgorithm, PrivateKey};
use jiff::{SignedDuration, Timestamp};

const YEAR: SignedDuration = SignedDuration::from_hours(8760);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, ..] = words.as_slice() else { anyhow::bail!("usage: issue DIR COUNT [THREADS]") };
    let count: usize = count.parse().context("COUNT is a number")?;
    let threads: usize = words.get(2).map_or(Ok(1), |threads| threads.parse()).context("THREADS is a number")?;
    let now = Timestamp::now();
    let authority = CertificateAuthority::generate("kubernetes", KeyAlgorithm::EcdsaP256, YEAR, now)?;
    let folder = Path::new(folder);
    fs::create_dir_all(folder)?;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let authority = &authority;
                scope.spawn(move || {
                    (first..count).step_by(threads).try_for_each(|number| issue(authority, number, folder, now))
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
    })?;
    // One flush for the batch: of every file (syncfs), and of the folder's entries.
    nix::unistd::syncfs(File::open(folder)?).context("cannot flush the folder")
}

fn issue(authority: &CertificateAuthority, number: usize, folder: &Path, now: Timestamp) -> Result<()> {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let user = format!("system:node:node-{number}");
    let certificate = authority.issue_client(&user, &["system:nodes".to_owned()], key.spki_der(), YEAR, now)?;
    let create = |name: String, mode| {
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(folder.join(name))
    };
    create(format!("{number}.key"), 0o600)?.write_all(key.to_pem().as_bytes())?;
    create(format!("{number}.crt"), 0o644)?.write_all(certificate.to_pem().as_bytes())?;
    Ok(())
}
