//! Pods that use the cluster all the time: two API clients that never rest, and one logger per node.

use std::time::Duration;

use anyhow::Result;

use crate::node::{Node, Role};
use crate::process::output_with_input;
use crate::record::Record;
use crate::rootfs::fill;
use crate::step::{step, wait_until};
use crate::{cluster, process};

const COMMON: &str = include_str!("../files/clients.yaml");
const PROXY: &str = include_str!("../files/client-proxy.yaml");

/// client-go before 1.36 reads its CA once; this makes today's behave so.
const READS_CA_ONCE: &str = "        - { name: KUBE_FEATURE_ClientsAllowCARotation, value: \"false\" }";

pub fn deploy() -> Result<()> {
    let record = Record::load()?;
    let objects = objects(&record);
    step("create the clients", || {
        output_with_input(&mut cluster::kubectl(&record, ["apply", "-f", "-"]), objects.as_bytes()).map(drop)
    })?;
    let running = [
        "get",
        "pods",
        "-n",
        "lab",
        "-o",
        r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#,
    ];
    let wanted = record.nodes.len() + 2;
    step("all clients run", || {
        wait_until("all pods of namespace lab are Ready", Duration::from_secs(90), || {
            process::output(&mut cluster::kubectl(&record, running))
                .is_ok_and(|list| list.lines().filter(|line| *line == "True").count() == wanted)
        })
    })
}

fn objects(record: &Record) -> String {
    let places = places(record);
    let place = |number: usize| places[number % places.len()].name.as_str();
    let kubectl = format!("{}/kubectl:v{}", crate::images::REPOSITORY, record.kubernetes);
    let proxy = |name: &str, node: &str, environment: &str| {
        fill(PROXY, &[("@NAME@", name), ("@NODE@", node), ("@IMAGE@", &kubectl), ("@ENVIRONMENT@", environment)])
    };
    let first = proxy("proxy-reloads-ca", place(0), "");
    let second = proxy("proxy-reads-ca-once", place(1), READS_CA_ONCE);
    format!("{COMMON}---\n{first}---\n{second}")
}

/// The workers, or in a lab without any the control-plane nodes.
fn places(record: &Record) -> Vec<Node> {
    let workers = record.with_role(Role::Worker);
    if workers.is_empty() { record.nodes.clone() } else { workers }
}
