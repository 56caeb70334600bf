//! Who drives: the name in the Lease.

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::cluster::Holder;

/// This process as a holder of the Lease.
#[must_use]
pub fn holder() -> Holder {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".into());
    let name = format!("{user}@{}:{}", host(), std::process::id()).replace(' ', "_");
    Holder { name, place: place().unwrap_or_default() }
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "unknown".into())
}

/// Where a pid means this very process: the machine since it booted, and the pid namespace there. Host names do not tell: containers and
/// virtual machines made from one image often share theirs.
fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

/// True for a holder whose process would have to be seen from here, and is gone.
#[must_use]
pub fn dead(holder: &Holder) -> bool {
    let pid = holder.name.rsplit_once(':').and_then(|(_, pid)| pid.parse().ok()).filter(|pid| *pid > 0);
    let Some(pid) = pid else { return false };
    // Asked of the kernel and not looked up in /proc, which may hide the processes of other users (mount option hidepid).
    place().is_some_and(|here| here == holder.place) && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_pid(pid: u32) -> Holder {
        Holder { name: format!("root@here:{pid}"), ..holder() }
    }

    /// A pid that was a process of this machine a moment ago.
    fn gone() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn a_process_that_ended_on_this_machine_is_dead_and_one_that_runs_is_not() {
        assert!(dead(&with_pid(gone())));
        assert!(!dead(&with_pid(std::process::id())));
    }

    #[test]
    fn nobody_speaks_for_a_process_of_another_machine_or_container_with_the_same_host_name() {
        let ended = with_pid(gone());
        let (boot, namespace) = ended.place.split_once('/').unwrap();
        for place in [format!("another-boot/{namespace}"), format!("{boot}/pid:[1]"), String::new()] {
            assert!(!dead(&Holder { place, ..ended.clone() }));
        }
        assert!(!dead(&Holder { name: "root@here:0".into(), ..ended }));
    }
}
