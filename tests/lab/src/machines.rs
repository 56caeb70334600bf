//! Nodes as machines: bought, cabled, switched on and off. Clusters are none of this module's business.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::container;
use crate::distribution::remove_if_there;
use crate::node::Node;
use crate::record::Record;
use crate::template::Template;
use crate::{images, rootfs, ssh};

/// Makes empty nodes with containerd and all images, and turns them on.
pub fn create(nodes: &[Node], record: &Record) -> Result<()> {
    let pause = images::pause(&record.bin(), &record.kubernetes)?;
    let template = Template::of(&record.distribution);
    crate::step::for_all(nodes, |node| {
        fs::create_dir_all(node.disk())?;
        template.link_folder(&node.disk())?;
        rootfs::plug_memory(node, &[template.databases()])?;
        rootfs::mount_root(node, &record.bin())?;
        rootfs::furnish(node, &pause)?;
        ssh::furnish(node)?;
        container::power_on(node)
    })
}

/// Cuts the node's power and lets go of its files. What is on its disk stays.
pub fn detach(node: &Node) -> Result<()> {
    container::power_off(node);
    rootfs::detach_below(&node.mounts())
}

/// The opposite of `detach`: makes a node of what a snapshot kept of its memory. Its disk must be there already.
pub fn attach(node: &Node, bin: &Path, kept: &[PathBuf]) -> Result<()> {
    rootfs::plug_memory(node, kept)?;
    rootfs::mount_root(node, bin)?;
    container::power_on(node)
}

/// Throws a node away.
pub fn remove(node: &Node) -> Result<()> {
    detach(node)?;
    remove_if_there(&node.dir())
}
