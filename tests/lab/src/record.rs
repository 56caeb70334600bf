//! What the lab remembers between two commands.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::node::{Node, Role};
use crate::paths;

/// The lab that is up, as `up` made it and `add-node` extended it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub kubernetes: String,
    pub etcd: String,
    /// The folder of the cache that holds the binaries and the images of these versions.
    pub distribution: PathBuf,
    pub nodes: Vec<Node>,
}

impl Record {
    pub fn load() -> Result<Record> {
        let text = fs::read_to_string(file()).context("no lab is up (start one with `lab up`)")?;
        serde_json::from_str(&text).context("the lab's record cannot be read; `lab down` cleans up")
    }

    pub fn save(&self) -> Result<()> {
        fs::write(file(), serde_json::to_vec_pretty(self)?).context("cannot write the lab's record")
    }

    pub fn bin(&self) -> PathBuf {
        self.distribution.join("bin")
    }

    pub fn node(&self, name: &str) -> Result<&Node> {
        match self.nodes.iter().find(|node| node.name == name) {
            Some(node) => Ok(node),
            None => bail!("there is no node {name}; there are {}", self.names()),
        }
    }

    pub fn first_control_plane(&self) -> Result<&Node> {
        self.nodes.iter().find(|node| node.is_control_plane()).context("the lab has no control plane")
    }

    pub fn with_role(&self, role: Role) -> Vec<Node> {
        self.nodes.iter().filter(|node| node.role == role).cloned().collect()
    }

    fn names(&self) -> String {
        self.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

pub fn file() -> PathBuf {
    paths::state().join("lab.json")
}
