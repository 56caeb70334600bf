//! Who drives: the name in the Lease.

use std::path::Path;

/// Who holds the Lease: user, host and process.
#[must_use]
pub fn holder() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".into());
    format!("{user}@{}:{}", host(), std::process::id())
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "unknown".into())
}

/// True for a holder on this host whose process is gone.
#[must_use]
pub fn dead(holder: &str) -> bool {
    let Some((name, pid)) = holder.rsplit_once(':') else { return false };
    name.ends_with(&format!("@{}", host())) && !Path::new("/proc").join(pid).exists()
}
