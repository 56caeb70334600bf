//! The binaries and images of one pair of versions, in the user's cache: built once, found again by every later run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lock::Lock;
use crate::paths;
use crate::process::{command, run};
use crate::step::step;
use crate::template::Template;
use crate::versions::Module;

pub struct Distribution {
    pub kubernetes: String,
    pub etcd: String,
    pub dir: PathBuf,
}

impl Distribution {
    pub fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }
}

/// Finds a distribution in the cache, or builds what is missing of it.
pub fn ensure(version: Option<&str>) -> Result<Distribution> {
    let cache = paths::cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let pinned = Module::pinned()?;
    let wanted = version.unwrap_or(&pinned.kubernetes).trim_start_matches('v').to_owned();
    let _lock = Lock::acquire(&cache.join(format!("{wanted}.lock")))?;
    let module = if wanted == pinned.kubernetes { pinned } else { Module::derived(&wanted, &cache)? };
    let distribution = Distribution {
        dir: cache.join(format!("{}-{}", module.kubernetes, module.etcd)),
        kubernetes: module.kubernetes.clone(),
        etcd: module.etcd.clone(),
    };
    if !distribution.bin().exists() {
        let what = format!("build Kubernetes {} and etcd {} (minutes, once)", module.kubernetes, module.etcd);
        step(&what, || build(&module, &distribution))?;
    }
    if !Template::of(&distribution.dir).exists() {
        step("import images into the template (once)", || Template::create(&distribution))?;
    }
    Ok(distribution)
}

/// Builds everything with one `go build`, beside its final place, and renames it there when it is whole.
fn build(module: &Module, distribution: &Distribution) -> Result<()> {
    let scratch = distribution.dir.join("build");
    let bin = scratch.join("bin");
    remove_if_there(&scratch)?;
    fs::create_dir_all(&bin)?;
    fs::write(scratch.join("go.mod"), &module.go_mod)?;
    if let Some(go_sum) = module.go_sum {
        fs::write(scratch.join("go.sum"), go_sum)?;
    }
    // A build that outlived the lab would write into the folder of the next one.
    let mut go = command("setpriv", ["--pdeathsig", "TERM", "go", "build", "-trimpath"]);
    // Without checksums of our own the module file may be completed; with them it must be right as it is.
    go.arg(if module.go_sum.is_some() { "-mod=readonly" } else { "-mod=mod" });
    go.args(["-ldflags", &linker_flags(&module.kubernetes), "-o"]).arg(&bin);
    go.args(module.tools()).env("CGO_ENABLED", "0").current_dir(&scratch);
    run(&mut go)?;
    // Go names a binary after the last folder of its package.
    fs::rename(bin.join("server"), bin.join("etcd")).context("the build made no etcd")?;
    fs::rename(&bin, distribution.bin())?;
    remove_if_there(&scratch)
}

/// Stamps the version: kubeadm and the version skew checks believe what is stamped.
fn linker_flags(version: &str) -> String {
    let mut numbers = version.split('.');
    let (major, minor) = (numbers.next().unwrap_or("1"), numbers.next().unwrap_or("0"));
    let stamps = [
        ("gitVersion", format!("v{version}")),
        ("gitMajor", major.to_owned()),
        ("gitMinor", minor.to_owned()),
        ("gitCommit", "0".repeat(40)),
        ("gitTreeState", "clean".to_owned()),
        ("buildDate", "1970-01-01T00:00:00Z".to_owned()),
    ];
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in &stamps {
            flags += &format!(" -X {package}.{name}={value}");
        }
    }
    flags
}

pub fn remove_if_there(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
