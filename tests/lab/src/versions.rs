//! Which Kubernetes and which etcd: read from `kubernetes/go.mod`, the only file that says so.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::{command, output};

const GO_MOD: &str = include_str!("../kubernetes/go.mod");
const GO_SUM: &str = include_str!("../kubernetes/go.sum");

const KUBERNETES: &str = "k8s.io/kubernetes";
const ETCD_SERVER: &str = "go.etcd.io/etcd/server/v3";
const ETCDCTL: &str = "go.etcd.io/etcd/etcdctl/v3";

/// A Go module whose tools are the binaries of a cluster.
pub struct Module {
    pub kubernetes: String,
    pub etcd: String,
    pub go_mod: String,
    /// None: the checksums are fetched with the modules, as for any module that is built for the first time.
    pub go_sum: Option<&'static str>,
}

impl Module {
    pub fn pinned() -> Result<Module> {
        Ok(Module {
            kubernetes: required(GO_MOD, KUBERNETES)?,
            etcd: required(GO_MOD, ETCD_SERVER)?,
            go_mod: GO_MOD.to_owned(),
            go_sum: Some(GO_SUM),
        })
    }

    /// The same tools of another Kubernetes, with the etcd and the staging modules which that Kubernetes asks for itself.
    pub fn derived(kubernetes: &str, scratch: &Path) -> Result<Module> {
        let theirs = published_go_mod(kubernetes, scratch)?;
        let etcd = required(&theirs, "go.etcd.io/etcd/client/v3")?;
        let mut go_mod = format!("module certctl.lab/kubernetes\n\n{}\n\ntool (\n", go_directive(&theirs)?);
        for tool in tools(GO_MOD) {
            go_mod += &format!("\t{tool}\n");
        }
        go_mod += &format!(
            ")\n\nrequire (\n\t{KUBERNETES} v{kubernetes}\n\t{ETCD_SERVER} v{etcd}\n\t{ETCDCTL} v{etcd}\n)\n\nreplace (\n"
        );
        // A staging module of Kubernetes 1.X.Y is published as 0.X.Y.
        let staging = kubernetes.replacen("1.", "0.", 1);
        for name in staging_modules(&theirs) {
            go_mod += &format!("\t{name} => {name} v{staging}\n");
        }
        go_mod += ")\n";
        Ok(Module { kubernetes: kubernetes.to_owned(), etcd, go_mod, go_sum: None })
    }

    pub fn tools(&self) -> impl Iterator<Item = &str> {
        tools(&self.go_mod)
    }
}

fn published_go_mod(kubernetes: &str, scratch: &Path) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Downloaded {
        go_mod: String,
    }
    let module = format!("{KUBERNETES}@v{kubernetes}");
    let json = output(command("go", ["mod", "download", "-json", &module]).current_dir(scratch))?;
    let downloaded: Downloaded = serde_json::from_str(&json).context("`go mod download` names no go.mod")?;
    std::fs::read_to_string(downloaded.go_mod).context("cannot read the go.mod of Kubernetes")
}

fn required(go_mod: &str, module: &str) -> Result<String> {
    go_mod
        .lines()
        .find_map(|line| line.trim().strip_prefix(module)?.strip_prefix(" v"))
        .and_then(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .with_context(|| format!("go.mod does not require {module}"))
}

fn go_directive(go_mod: &str) -> Result<&str> {
    go_mod.lines().find(|line| line.starts_with("go ")).context("go.mod names no Go version")
}

fn tools(go_mod: &str) -> impl Iterator<Item = &str> {
    let block = go_mod.lines().skip_while(|line| *line != "tool (").skip(1);
    block.take_while(|line| *line != ")").map(str::trim)
}

fn staging_modules(go_mod: &str) -> impl Iterator<Item = &str> {
    go_mod.lines().filter_map(|line| line.trim().split_once(" => ./staging/")).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_module_names_its_versions_and_nine_tools() {
        let module = Module::pinned().unwrap();
        assert!(module.kubernetes.starts_with("1."));
        assert!(module.etcd.starts_with("3."));
        assert_eq!(module.tools().count(), 9);
    }

    #[test]
    fn staging_modules_are_read_from_replace_lines() {
        let go_mod =
            "replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/kms => ./staging/src/k8s.io/kms\n)\n";
        assert_eq!(staging_modules(go_mod).collect::<Vec<_>>(), ["k8s.io/api", "k8s.io/kms"]);
    }
}
