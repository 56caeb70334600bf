//! Nodes as machines: bought, cabled, switched on and off. Clusters are none of this module's business.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::container;
use crate::distribution::remove_if_there;
use crate::node::Node;
use crate::record::Record;
use crate::{images, rootfs, template};

/// Makes empty nodes with containerd and all images, and turns them on.
pub fn create(nodes: &[Node], record: &Record) -> Result<()> {
    let pause = images::pause(&record.bin(), &record.kubernetes)?;
    crate::step::for_all(nodes, |node| {
        fs::create_dir_all(node.disk())?;
        template::link(&record.template(), &node.disk().join("containerd"))?;
        rootfs::attach(node, &record.bin(), None)?;
        rootfs::furnish(node, &pause)?;
        container::power_on(node)
    })
}

/// Cuts the node's power and lets go of its files. What is on its disk stays.
pub fn detach(node: &Node) -> Result<()> {
    container::power_off(node);
    rootfs::detach_below(&node.dir())
}

/// The opposite of `detach`, with the files of another time.
pub fn attach(node: &Node, bin: &Path, kept: &Path) -> Result<()> {
    rootfs::attach(node, bin, Some(kept))?;
    container::power_on(node)
}

/// Throws a node away.
pub fn remove(node: &Node) -> Result<()> {
    detach(node)?;
    remove_if_there(&node.dir())
}
