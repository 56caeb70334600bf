//! `lab status`: how the nodes and the etcd members are.

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::cluster;
use crate::node::{Node, Role};
use crate::record::Record;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Serialize)]
struct Status {
    kubernetes: String,
    etcd: String,
    nodes: Vec<NodeStatus>,
}

#[derive(Serialize)]
struct NodeStatus {
    name: String,
    role: Role,
    ip: String,
    /// Whether the machine runs.
    on: bool,
    /// What the API server believes; false also if it cannot be asked.
    ready: bool,
    /// None on a worker.
    etcd_healthy: Option<bool>,
    serving: Option<bool>,
}

/// Prints the status; returns whether all is well.
pub fn print(format: Format) -> Result<bool> {
    let record = Record::load()?;
    let seen = cluster::nodes(&record).unwrap_or_default();
    let nodes: Vec<_> = record.nodes.iter().map(|node| of(node, &record, &seen)).collect();
    let well = nodes
        .iter()
        .all(|node| node.ready && node.on && node.etcd_healthy != Some(false) && node.serving != Some(false));
    let status = Status { kubernetes: record.kubernetes, etcd: record.etcd, nodes };
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Format::Table => table(&status),
    }
    Ok(well)
}

fn of(node: &Node, record: &Record, seen: &[cluster::ReadyNode]) -> NodeStatus {
    let on = node.init_pid().is_some();
    let ask = |question: &dyn Fn() -> bool| node.is_control_plane().then(|| on && question());
    NodeStatus {
        name: node.name.clone(),
        role: node.role,
        ip: node.ip(),
        on,
        ready: seen.iter().any(|seen| seen.name == node.name && seen.ready),
        etcd_healthy: ask(&|| cluster::etcd_healthy(record, node)),
        serving: ask(&|| cluster::serves(node)),
    }
}

fn table(status: &Status) {
    println!("Kubernetes {}, etcd {}", status.kubernetes, status.etcd);
    println!("NODE       ROLE           ADDRESS       POWER  READY     ETCD        COMPONENTS");
    for node in &status.nodes {
        let role = if node.role == Role::ControlPlane { "control-plane" } else { "worker" };
        let word = |fact: Option<bool>, yes, no| fact.map_or("-", |fact| if fact { yes } else { no });
        println!(
            "{:<11}{:<15}{:<14}{:<7}{:<10}{:<12}{}",
            node.name,
            role,
            node.ip,
            word(Some(node.on), "on", "off"),
            word(Some(node.ready), "Ready", "NotReady"),
            word(node.etcd_healthy, "healthy", "unhealthy"),
            word(node.serving, "serving", "not serving"),
        );
    }
}
