//! The lab's network: a bridge in a namespace that has no way out, and a cable to each node.
//!
//! The machine's own namespace gets no address and no route of the lab. The nodes' default route leads to the bridge, which
//! forwards between nodes and pods only, because its namespace knows no other network.

use anyhow::Result;

use crate::node::{GATEWAY, Node};
use crate::paths;
use crate::process::{command, output_with_input, run, succeeds};

pub fn create_outer() -> Result<()> {
    run(&mut command("ip", ["netns", "add", paths::name()]))?;
    // Before the bridge exists, because a new device copies `default`. Without this the bridge tells every node to send pod
    // traffic past it, to neighbours that have no such route.
    let sysctls =
        ["net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.default.send_redirects=0", "net.ipv4.ip_forward=1"];
    run(inside(paths::name(), "sysctl").arg("-qw").args(sysctls))?;
    batch(
        paths::name(),
        &format!("link set lo up\nlink add br0 type bridge\naddr add {GATEWAY}/24 dev br0\nlink set br0 up\n"),
    )
}

/// Gives a node a fresh namespace, as a machine has after its power was cut: no rules, no pod cables.
pub fn connect(node: &Node) -> Result<()> {
    disconnect(node);
    let (netns, cable) = (node.netns(), node.cable());
    run(&mut command("ip", ["netns", "add", &netns]))?;
    batch(
        paths::name(),
        &format!(
            "link add {cable} type veth peer name eth0 netns {netns}\nlink set {cable} master br0 up\nroute replace {} via {}\n",
            node.pod_subnet(),
            node.ip()
        ),
    )?;
    batch(
        &netns,
        &format!(
            "link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\nroute add default via {GATEWAY}\n",
            node.ip()
        ),
    )
}

/// Pulls the cable: peers see silence, as from a machine without power, and no reset.
pub fn pull_cable(node: &Node) {
    succeeds(&mut command("ip", ["-n", paths::name(), "link", "del", &node.cable()]));
}

pub fn disconnect(node: &Node) {
    pull_cable(node);
    succeeds(&mut command("ip", ["netns", "del", &node.netns()]));
}

/// A command that runs inside a network namespace.
pub fn inside(netns: &str, program: &str) -> std::process::Command {
    command("ip", ["netns", "exec", netns, program])
}

fn batch(netns: &str, lines: &str) -> Result<()> {
    output_with_input(&mut command("ip", ["-n", netns, "-batch", "-"]), lines.as_bytes()).map(drop)
}
