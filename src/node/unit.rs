//! The agent as a unit of the host's systemd: for the time in which no pod can start because the kubelet's certificate is refused.
//!
//! The unit starts whenever the kubelet does, with a copy of the program that the pod runs. The copy brings its own loader and
//! libraries, so that it runs whatever C library the host has.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::atomic;
use super::error::NodeError;
use super::layout::{Layout, PROGRAM, UNITS};
use super::systemd::KUBELET;

/// The unit's name.
const UNIT: &str = "certctl-agent.service";
/// The program's name in [`PROGRAM`].
const NAME: &str = "certctl";
/// Mode of what is executed; its folder is 0700.
const EXECUTABLE: u32 = 0o755;
/// How much of two files is compared at a time.
const CHUNK: usize = 64 << 10;

/// A program on the disk with what the kernel maps beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    file: PathBuf,
    /// Shared libraries, the dynamic loader among them; none for a static program.
    libraries: Vec<PathBuf>,
}

impl Program {
    /// This process's own program, with the libraries that it runs with now.
    ///
    /// # Errors
    /// `/proc/self/maps` cannot be read.
    pub fn running() -> Result<Self, NodeError> {
        let maps = Path::new("/proc/self/maps");
        let text = fs::read_to_string(maps).map_err(NodeError::io("read", maps))?;
        Ok(Self { file: "/proc/self/exe".into(), libraries: mapped_libraries(&text) })
    }
}

/// The shared objects among the mapped files (proc_pid_maps(5): the path is the sixth field).
fn mapped_libraries(maps: &str) -> Vec<PathBuf> {
    let paths = maps.lines().filter_map(|line| line.find('/').and_then(|start| line.get(start..)));
    let files: BTreeSet<&Path> = paths.map(Path::new).filter(|path| file_name(path).contains(".so")).collect();
    files.into_iter().map(Path::to_path_buf).collect()
}

/// `ld-linux-x86-64.so.2`, `ld-musl-aarch64.so.1`, `ld64.so.2`, `ld-2.31.so`.
fn is_loader(name: &str) -> bool {
    name.starts_with("ld")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Every name under which programs ask for a library: its own and those of links beside it (`libc.so.6` of `libc-2.31.so`).
fn names_of(library: &Path) -> BTreeSet<String> {
    let folder = library.parent().and_then(|folder| fs::read_dir(folder).ok());
    let links = folder.into_iter().flatten().flatten().filter(|entry| {
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        link && file_name(&entry.path()).contains(".so")
            && fs::canonicalize(entry.path()).is_ok_and(|target| target == library)
    });
    links.map(|entry| file_name(&entry.path())).chain([file_name(library)]).collect()
}

/// Puts the program, the unit and its link to the kubelet on the host. True when systemd has to read its units again.
///
/// # Errors
/// A file cannot be read or written.
pub fn install_unit(layout: &Layout, node: &str, program: &Program) -> Result<bool, NodeError> {
    let folder = layout.path(PROGRAM);
    atomic::private_folder(&folder)?;
    let mut loader = None;
    for library in &program.libraries {
        for name in names_of(library) {
            copy_changed(library, &folder.join(&name))?;
        }
        loader = loader.or_else(|| Some(file_name(library)).filter(|name| is_loader(name)));
    }
    copy_changed(&program.file, &folder.join(NAME))?;
    let (unit, link) = (layout.path(UNITS).join(UNIT), wanted_by_kubelet(layout));
    let text = unit_text(node, loader.as_deref());
    let written = fs::read(&unit).is_ok_and(|old| old == text.as_bytes());
    let place = format!("{UNITS}/{UNIT}");
    let linked = fs::read_link(&link).is_ok_and(|target| target == Path::new(&place));
    if written && linked {
        return Ok(false);
    }
    if let Some(wants) = link.parent() {
        // Readable for everybody, like the folders that systemctl makes.
        fs::create_dir_all(wants).map_err(NodeError::io("make the folder", wants))?;
    }
    atomic::replace(&unit, text.as_bytes(), atomic::PUBLIC)?;
    atomic::replace_symlink(&link, Path::new(&place))?;
    Ok(true)
}

/// Takes off the host what [`install_unit`] and [`keep_token`] put there; the link first, so that nothing starts what is half gone.
///
/// # Errors
/// A file cannot be removed.
pub fn remove_unit(layout: &Layout) -> Result<(), NodeError> {
    let link = wanted_by_kubelet(layout);
    atomic::remove(&link)?;
    if let Some(wants) = link.parent() {
        // Only an empty folder goes; a missing one is fine.
        let _ = fs::remove_dir(wants);
    }
    atomic::remove(&layout.path(UNITS).join(UNIT))?;
    let token = layout.agent_token();
    atomic::remove(&token)?;
    for folder in token.parent().into_iter().chain([layout.path(PROGRAM).as_path()]) {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(NodeError::io("remove", folder)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Keeps the agent's service-account token on the host, for the unit.
///
/// # Errors
/// The file cannot be written.
pub fn keep_token(layout: &Layout, token: &[u8]) -> Result<(), NodeError> {
    let path = layout.agent_token();
    if let Some(folder) = path.parent() {
        atomic::private_folder(folder)?;
    }
    atomic::replace(&path, token, atomic::SECRET)
}

/// A link here is what `systemctl add-wants kubelet.service` makes: it counts at whatever target the host boots to.
fn wanted_by_kubelet(layout: &Layout) -> PathBuf {
    layout.path(UNITS).join(format!("{KUBELET}.wants")).join(UNIT)
}

/// The unit. A refused token is tried a few times only (API servers that start may refuse every token), and the lock is free between
/// the tries; no order towards the kubelet, which the agent restarts.
fn unit_text(node: &str, loader: Option<&str>) -> String {
    let loader = loader.map(|loader| format!("{PROGRAM}/{loader} --library-path {PROGRAM} ")).unwrap_or_default();
    format!(
        "# Written by certctl's agent; `certctl uninstall` takes it away.\n\
         [Unit]\n\
         Description=certctl agent, for the time in which the kubelet cannot start its pod\n\
         Wants=network-online.target\n\
         After=network-online.target dbus.service containerd.service\n\
         StartLimitIntervalSec=300\n\
         StartLimitBurst=6\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={loader}{PROGRAM}/{NAME} agent --root / --node {node} --until-settled\n\
         Restart=on-failure\n\
         RestartSec=20\n\
         UMask=0077\n"
    )
}

fn copy_changed(from: &Path, to: &Path) -> Result<(), NodeError> {
    if same_content(from, to).unwrap_or(false) { Ok(()) } else { atomic::copy(from, to, EXECUTABLE) }
}

fn same_content(left: &Path, right: &Path) -> io::Result<bool> {
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    if left.metadata()?.len() != right.metadata()?.len() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    loop {
        ours.clear();
        theirs.clear();
        let read = left.by_ref().take(CHUNK as u64).read_to_end(&mut ours)?;
        right.by_ref().take(CHUNK as u64).read_to_end(&mut theirs)?;
        if ours != theirs || read == 0 {
            return Ok(ours == theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// A program with a loader and a library that is asked for by another name than its file has.
    fn image(root: &Path) -> Program {
        fs::create_dir_all(root.join("lib")).unwrap();
        let file = |name: &str, content: &str| {
            fs::write(root.join(name), content).unwrap();
            fs::canonicalize(root.join(name)).unwrap()
        };
        let libraries = vec![file("lib/ld-linux-x86-64.so.2", "loader"), file("lib/libc-2.31.so", "libc")];
        std::os::unix::fs::symlink("libc-2.31.so", root.join("lib/libc.so.6")).unwrap();
        std::os::unix::fs::symlink("ld-linux-x86-64.so.2", root.join("lib/ld-2.31.so")).unwrap();
        Program { file: file("certctl", "program"), libraries }
    }

    #[test]
    fn libraries_are_found_among_the_mapped_files() {
        let maps = "55e0c000-55e0d000 r--p 00000000 00:2f 131 /usr/bin/certctl\n\
                    7f10a000-7f10b000 r-xp 00002000 00:2f 140 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f10b000-7f10c000 rw-p 00003000 00:2f 140 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f20a000-7f20b000 r--p 00000000 00:2f 141 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\n\
                    7ffd1000-7ffd2000 rw-p 00000000 00:00 0   [stack]\n\
                    7ffd3000-7ffd4000 r-xp 00000000 00:00 0   [vdso]\n";
        let found: Vec<String> = mapped_libraries(maps).iter().map(|path| file_name(path)).collect();
        assert_eq!(found, ["ld-linux-x86-64.so.2", "libc.so.6"]);
        assert!(is_loader(&found[0]) && !is_loader(&found[1]));
        assert!(Program::running().unwrap().libraries.iter().all(|path| path.is_file()));
    }

    #[test]
    fn the_unit_runs_the_copied_loader_and_starts_with_the_kubelet() {
        let (root, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (program, layout) = (image(root.path()), Layout::new(host.path()));
        assert!(install_unit(&layout, "w-1", &program).unwrap());
        let unit = fs::read_to_string(layout.path("/etc/systemd/system/certctl-agent.service")).unwrap();
        let started = "ExecStart=/var/lib/certctl/bin/ld-linux-x86-64.so.2 --library-path /var/lib/certctl/bin \
                       /var/lib/certctl/bin/certctl agent --root / --node w-1 --until-settled\n";
        assert!(unit.contains(started), "{unit}");
        assert!(unit.contains("Type=exec\n") && unit.contains("StartLimitBurst=6\n"), "{unit}");
        assert!(!unit.contains("kubelet.service"), "an order towards the kubelet would hold up its restart: {unit}");
        let link = layout.path("/etc/systemd/system/kubelet.service.wants/certctl-agent.service");
        assert_eq!(fs::read_link(link).unwrap(), Path::new("/etc/systemd/system/certctl-agent.service"));
        let bin = layout.path(PROGRAM);
        assert_eq!(fs::read_to_string(bin.join("libc.so.6")).unwrap(), "libc", "under the name that is asked for");
        assert_eq!((mode(&bin), mode(&bin.join("certctl"))), (0o700, 0o755));
    }

    #[test]
    fn the_copy_of_this_very_program_runs_with_nothing_but_its_folder() {
        let host = tempfile::tempdir().unwrap();
        let (layout, program) = (Layout::new(host.path()), Program::running().unwrap());
        install_unit(&layout, "w-1", &program).unwrap();
        let bin = layout.path(PROGRAM);
        let loader = program.libraries.iter().map(|library| file_name(library)).find(|name| is_loader(name));
        let mut command = match &loader {
            Some(loader) => std::process::Command::new(bin.join(loader)),
            None => std::process::Command::new(bin.join(NAME)),
        };
        if loader.is_some() {
            command.arg("--library-path").arg(&bin).arg(bin.join(NAME));
        }
        // A test binary's own flag.
        let output = command.arg("--list").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("the_copy_of_this_very_program_runs"));
    }

    #[test]
    fn a_static_program_needs_no_loader() {
        assert!(unit_text("w-1", None).contains("ExecStart=/var/lib/certctl/bin/certctl agent --root / --node w-1"));
    }

    #[test]
    fn a_new_program_is_copied_and_systemd_is_asked_only_for_a_new_unit() {
        let (root, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (program, layout) = (image(root.path()), Layout::new(host.path()));
        install_unit(&layout, "w-1", &program).unwrap();
        assert!(!install_unit(&layout, "w-1", &program).unwrap());
        // Of the same length: only the content tells.
        fs::write(&program.file, "PROGRAM").unwrap();
        assert!(!install_unit(&layout, "w-1", &program).unwrap());
        assert_eq!(fs::read_to_string(layout.path(PROGRAM).join("certctl")).unwrap(), "PROGRAM");
        assert!(install_unit(&layout, "w-2", &program).unwrap(), "another text");
        fs::remove_file(wanted_by_kubelet(&layout)).unwrap();
        assert!(install_unit(&layout, "w-2", &program).unwrap(), "a link that was lost comes back");
    }

    #[test]
    fn the_token_is_private_and_everything_goes_again() {
        let (root, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (program, layout) = (image(root.path()), Layout::new(host.path()));
        let strange = layout.path("/etc/systemd/system/kubelet.service.wants/other.service");
        install_unit(&layout, "w-1", &program).unwrap();
        fs::write(&strange, "").unwrap();
        keep_token(&layout, b"secret").unwrap();
        keep_token(&layout, b"newer").unwrap();
        let token = layout.agent_token();
        assert_eq!((mode(&token), mode(token.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read(&token).unwrap(), b"newer");
        remove_unit(&layout).unwrap();
        remove_unit(&layout).unwrap();
        assert!(strange.exists(), "what others want with the kubelet stays");
        for gone in [token, layout.path(PROGRAM), layout.path(UNITS).join(UNIT), wanted_by_kubelet(&layout)] {
            assert!(fs::symlink_metadata(&gone).is_err(), "{}", gone.display());
        }
    }
}
