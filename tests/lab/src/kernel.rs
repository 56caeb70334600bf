//! Limits of the kernel that all nodes share, where the usual value is meant for one machine and not for five.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Every systemd, kubelet and containerd holds some inotify instances; a systemd that gets none stops at once and says
/// nothing. Only ever raised, and not put back: another lab may need it, and it does no harm.
const AT_LEAST: [(&str, u64); 2] = [("fs/inotify/max_user_instances", 8192), ("fs/inotify/max_user_watches", 524_288)];

pub fn raise_limits() -> Result<()> {
    for (name, wanted) in AT_LEAST {
        let path = Path::new("/proc/sys").join(name);
        let present: u64 = fs::read_to_string(&path)?.trim().parse().with_context(|| format!("{name} is no number"))?;
        if present < wanted {
            fs::write(&path, wanted.to_string()).with_context(|| format!("cannot raise {name}"))?;
        }
    }
    Ok(())
}
