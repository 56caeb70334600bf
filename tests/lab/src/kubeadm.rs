//! Makes a cluster out of empty nodes: the real `kubeadm init` and `kubeadm join`, inside the nodes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

use crate::container;
use crate::node::{GATEWAY, Node};
use crate::process::{output, run};
use crate::record::Record;
use crate::rootfs::fill;
use crate::{balancer, images};

/// Both open nothing but a cluster that lives in a network nobody can reach.
const TOKEN: &str = "lablab.0123456789abcdef";
const CERTIFICATE_KEY: &str = "6c616220636572746966696361746573206b6579206f66206120746573742021";

const INIT: &str = include_str!("../files/kubeadm-init.yaml");
const JOIN: &str = include_str!("../files/kubeadm-join.yaml");
const JOIN_CONTROL_PLANE: &str = include_str!("../files/kubeadm-join-control-plane.yaml");

/// The checks are about machines: this one may lack modules, swap rules and so on that do not matter here.
const QUIET_CHECKS: &str = "--ignore-preflight-errors=all";

/// What the cluster's certificates look like.
#[derive(Args, Clone, Debug)]
pub struct PkiOptions {
    /// Key algorithm of every certificate: RSA-2048, RSA-3072, RSA-4096, ECDSA-P256 or ECDSA-P384
    #[arg(long, default_value = "RSA-2048")]
    pub key_algorithm: String,
    /// Lifetime of leaf certificates, kubelet certificates included
    #[arg(long, default_value = "8760h")]
    pub leaf_validity: String,
    /// Lifetime of the certificate authorities
    #[arg(long, default_value = "87600h")]
    pub ca_validity: String,
}

pub fn init(node: &Node, record: &Record, pki: &PkiOptions) -> Result<()> {
    let config = fill(
        &common(INIT, node),
        &[
            ("@VERSION@", &record.kubernetes),
            ("@REPOSITORY@", images::REPOSITORY),
            ("@KEY_ALGORITHM@", &pki.key_algorithm),
            ("@LEAF_VALIDITY@", &pki.leaf_validity),
            ("@CA_VALIDITY@", &pki.ca_validity),
        ],
    );
    let config = place(node, &config)?;
    // Without a name service the addon would only keep pods pending.
    let words =
        ["kubeadm", "init", "--config", &config, "--upload-certs", "--skip-phases", "addon/coredns", QUIET_CHECKS];
    run(&mut container::inside(node, words))
}

pub fn join(node: &Node) -> Result<()> {
    let mut config = JOIN.to_owned();
    if node.is_control_plane() {
        config += JOIN_CONTROL_PLANE;
    }
    let config = place(node, &common(&config, node))?;
    run(&mut container::inside(node, ["kubeadm", "join", "--config", &config, QUIET_CHECKS]))
}

/// Joins as an administrator does: with the command that kubeadm on another node prints.
pub fn join_by_printed_command(node: &Node, record: &Record) -> Result<()> {
    let first = record.first_control_plane()?;
    let printed = output(&mut container::inside(first, ["kubeadm", "token", "create", "--print-join-command"]))?;
    let mut words: Vec<String> = printed.split_whitespace().map(str::to_owned).collect();
    if node.is_control_plane() {
        words.extend(["--control-plane".into(), "--certificate-key".into(), uploaded_certificate_key(first)?]);
        words.extend(["--apiserver-advertise-address".into(), node.ip()]);
    }
    words.extend(["--node-name".into(), node.name.clone(), QUIET_CHECKS.into()]);
    // The command line has no word for the kubelet's address; the packages have this file for it.
    let extra = format!("KUBELET_EXTRA_ARGS=--node-ip={}\n", node.ip());
    fs::write(node.root().join("etc/default/kubelet"), extra)?;
    run(&mut container::exec(node, &words))
}

fn uploaded_certificate_key(node: &Node) -> Result<String> {
    let words = ["kubeadm", "init", "phase", "upload-certs", "--upload-certs"];
    let said = output(&mut container::inside(node, words))?;
    said.split_whitespace()
        .find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_owned)
        .context("kubeadm printed no certificate key")
}

fn common(config: &str, node: &Node) -> String {
    fill(
        config,
        &[
            ("@TOKEN@", TOKEN),
            ("@CERTIFICATE_KEY@", CERTIFICATE_KEY),
            ("@IP@", &node.ip()),
            ("@NAME@", &node.name),
            ("@ENDPOINT@", &format!("{GATEWAY}:{}", balancer::PORT)),
        ],
    )
}

/// Not under /etc/kubernetes, which is to look as kubeadm leaves it.
fn place(node: &Node, config: &str) -> Result<String> {
    let inside = "/root/kubeadm.yaml";
    let path = node.root().join(inside.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(inside.to_owned())
}
