//! `lab up`: from a machine in any state to a cluster whose nodes are all Ready. And single nodes, later.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::kubeadm::{self, PkiOptions};
use crate::node::{Node, Role};
use crate::record::Record;
use crate::step::{for_all, report, step};
use crate::{balancer, cleanup, cluster, distribution, kernel, machines, network, packages, paths, rootfs, ssh};

const READY_LIMIT: Duration = Duration::from_secs(180);

#[derive(Args, Clone, Debug)]
pub struct UpOptions {
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub control_planes: u8,
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=20))]
    pub workers: u8,
    #[command(flatten)]
    pub pki: PkiOptions,
    /// Another Kubernetes than the one that go.mod names, for example 1.36.3
    #[arg(long)]
    pub kubernetes_version: Option<String>,
}

pub fn up(options: &UpOptions) -> Result<()> {
    let started = Instant::now();
    step("clean the machine of an earlier lab", cleanup::everything)?;
    packages::install_missing()?;
    let distribution = distribution::ensure(options.kubernetes_version.as_deref())?;
    let record = Record {
        kubernetes: distribution.kubernetes,
        etcd: distribution.etcd,
        distribution: distribution.dir,
        nodes: planned_nodes(options)?,
    };
    kernel::raise_limits()?;
    step("network and balancer", || {
        rootfs::prepare_folders()?;
        record.save()?;
        ssh::make_keys()?;
        network::create_outer()?;
        balancer::start()
    })?;
    step(&format!("turn {} nodes on", record.nodes.len()), || machines::create(&record.nodes, &record))?;
    make_cluster(&record, &options.pki)?;
    report("in all", started.elapsed());
    Ok(())
}

fn make_cluster(record: &Record, pki: &PkiOptions) -> Result<()> {
    let since = cluster::now();
    let first = record.first_control_plane()?;
    step(&format!("kubeadm init on {}", first.name), || kubeadm::init(first, record, pki))?;
    fs::copy(first.root().join("etc/kubernetes/admin.conf"), paths::kubeconfig())
        .context("kubeadm left no admin.conf")?;
    let (others, workers) = (&record.with_role(Role::ControlPlane)[1..], record.with_role(Role::Worker));
    std::thread::scope(|scope| {
        let workers = scope.spawn(|| for_all(&workers, join));
        // etcd takes one new member at a time.
        let result = others.iter().try_for_each(join);
        let workers = workers.join().unwrap_or_else(|_| bail!("a thread of the lab panicked"));
        result.and(workers)
    })?;
    step("all nodes Ready", || cluster::wait_ready(record, &since, READY_LIMIT))?;
    step("all control-plane components serve", || cluster::wait_serving(record, READY_LIMIT))
}

fn join(node: &Node) -> Result<()> {
    step(&format!("kubeadm join on {}", node.name), || kubeadm::join(node))
}

fn planned_nodes(options: &UpOptions) -> Result<Vec<Node>> {
    let control_planes = (1..=options.control_planes).map(|number| (format!("cp-{number}"), Role::ControlPlane));
    let workers = (1..=options.workers).map(|number| (format!("w-{number}"), Role::Worker));
    let mut nodes = Vec::new();
    for (name, role) in control_planes.chain(workers) {
        nodes.push(Node::allocate(&name, role, &nodes)?);
    }
    Ok(nodes)
}

/// Adds an empty machine that runs and has not joined.
pub fn add_node(name: &str, role: Role) -> Result<Node> {
    let mut record = Record::load()?;
    let node = Node::allocate(name, role, &record.nodes)?;
    let created = step(&format!("turn {name} on"), || machines::create(std::slice::from_ref(&node), &record));
    if let Err(error) = created {
        machines::remove(&node)?;
        return Err(error);
    }
    record.nodes.push(node.clone());
    record.save()?;
    Ok(node)
}

/// Adds a machine and joins it as an administrator would, with what kubeadm prints.
pub fn join_new_node(name: &str, role: Role) -> Result<()> {
    let node = add_node(name, role)?;
    let record = Record::load()?;
    let since = cluster::now();
    step(&format!("join {name} with the command that kubeadm prints"), || {
        kubeadm::join_by_printed_command(&node, &record)
    })?;
    let only = Record { nodes: vec![node], ..record };
    step("node Ready", || cluster::wait_ready(&only, &since, READY_LIMIT))?;
    step("its control-plane components serve", || cluster::wait_serving(&only, READY_LIMIT))
}
