//! The TCP balancer before the API servers: a real haproxy in the lab's outer network.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use crate::network;
use crate::node::{CONTROL_PLANE_NUMBERS, address};
use crate::paths;
use crate::process::run;

pub const PORT: u16 = 6443;

const CONFIG: &str = include_str!("../files/haproxy.cfg");

pub fn start() -> Result<()> {
    let dir = paths::balancer();
    fs::create_dir_all(&dir).context("cannot create the balancer's folder")?;
    let config = dir.join("haproxy.cfg");
    fs::write(&config, configuration()).context("cannot write the balancer's configuration")?;
    let mut haproxy = network::inside(paths::name(), "haproxy");
    run(haproxy.args(["-D", "-p"]).arg(dir.join("haproxy.pid")).arg("-f").arg(config))
}

/// Names every control-plane address there can be, so that joining one needs no reload.
fn configuration() -> String {
    let mut text = CONFIG.replace("@PORT@", &PORT.to_string());
    for number in CONTROL_PLANE_NUMBERS {
        let _ = writeln!(text, "    server cp-{number} {}:6443", address(number));
    }
    text
}
