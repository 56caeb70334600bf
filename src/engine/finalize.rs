//! The second point of no return: the old CA's key is destroyed and nobody vouches for the new CA any more.

use std::time::Instant;

use jiff::Timestamp;

use super::driver::Driver;
use super::observe::inventory;
use super::turns::Turn;
use crate::cluster::nodes::OldContainer;
use crate::error::Error;
use crate::pki::CaId;
use crate::plan::NodeTarget;
use crate::rotation::{Goal, Inventory, NodeView, Phase, behind, target};

impl Driver {
    /// Containers that have been running since before every process could have known the CA in force.
    ///
    /// # Errors
    /// The pods cannot be listed, or the record does not say when.
    pub async fn old_containers(&self) -> Result<Vec<OldContainer>, Error> {
        let trusted_at = self.record.rotation.as_ref().and_then(|rotation| rotation.trusted_at.clone());
        let time = trusted_at
            .ok_or_else(|| Error::failed("clusterpki/cluster does not say when the new CA was trusted everywhere"))?;
        let time: Timestamp =
            time.parse().map_err(|error| Error::failed(format!("clusterpki/cluster: trustedAt: {error}")))?;
        Ok(self.cluster.containers_older_than(time).await?)
    }

    /// Nodes that were left out and are not up to date, with what they lack: without the cross-signed certificate they may not be able to
    /// verify an API server any more.
    #[must_use]
    pub fn left_behind(&self) -> Vec<(String, Vec<String>)> {
        let Some(in_force) = self.record.current() else { return Vec::new() };
        let look = inventory(&self.live, &self.record, &self.knowledge);
        let left_out = look.nodes.iter().filter(|(name, _)| self.goal.waived.contains(*name));
        let late = left_out.map(|(name, node)| (name.clone(), behind(node, in_force)));
        late.filter(|(_, lacks)| !lacks.is_empty()).collect()
    }

    /// Takes the cross-signed certificates out of the served chains, then has every node destroy the older CAs' keys.
    ///
    /// # Errors
    /// A rotation is under way, there is nothing to finalize, or a node does not follow in time.
    pub async fn finalize(&mut self) -> Result<Vec<CaId>, Error> {
        let older: Vec<CaId> = self.older();
        let current =
            self.record.current().cloned().ok_or_else(|| Error::failed("clusterpki/cluster records no CA in force"))?;
        let Some(from) = older.first().cloned() else {
            return Err(Error::refused("there is nothing to finalize: only one CA is recorded"));
        };
        let goal = Goal { from, to: Some(current), legacy: Vec::new(), rollback: false, ..self.goal.clone() };
        // The administrator may have thought about the question for long.
        self.progress = Instant::now();
        self.repeat(async |driver| driver.narrow(&goal, &older).await).await?;
        self.progress = Instant::now();
        self.repeat(async |driver| driver.end(&older).await).await?;
        Ok(older)
    }

    /// Has every API server serve its certificate alone.
    async fn narrow(&mut self, goal: &Goal, older: &[CaId]) -> Result<Turn<()>, Error> {
        let look = inventory(&self.live, &self.record, &self.knowledge);
        self.targets = look
            .control_plane(goal)
            .filter_map(|(name, node)| Some((name.to_owned(), alone(node, &look, goal)?)))
            .collect();
        self.write_specs(&look).await?;
        let late: Vec<String> = look
            .control_plane(goal)
            .filter(|(_, node)| !serves_alone(node))
            .map(|(name, _)| format!("node/{name} to serve without the cross-signed chain"))
            .collect();
        if late.is_empty() {
            self.narrow_client_ca(&look, older).await?;
            return Ok(Turn::End(()));
        }
        self.wait_for(late)?;
        Ok(Turn::Wait)
    }

    /// Puts on record that the older CAs are over, and then waits until their keys are gone.
    async fn end(&mut self, older: &[CaId]) -> Result<Turn<()>, Error> {
        if !self.finished {
            self.record.retire(older);
            self.write_spec().await?;
            let look = self.look();
            self.write_status(Phase::Idle, &look).await?;
            self.finished = true;
        }
        let look = self.look();
        self.write_specs(&look).await?;
        Ok(if self.destroyed(&look).await? { Turn::End(()) } else { Turn::Wait })
    }

    /// An API server that was left out of the rotation may have brought an older CA back.
    async fn narrow_client_ca(&self, look: &Inventory, older: &[CaId]) -> Result<(), Error> {
        let held = &look.cluster.client_ca;
        if !held.iter().any(|ca| older.contains(ca)) {
            return Ok(());
        }
        let stay: Vec<CaId> = self.record.current().into_iter().cloned().collect();
        Ok(self.cluster.write_client_ca(&self.record.certificates(&stay)).await?)
    }

    /// Every recorded CA but the one in force.
    #[must_use]
    pub fn older(&self) -> Vec<CaId> {
        self.record.versions.keys().filter(|ca| Some(*ca) != self.record.current()).cloned().collect()
    }
}

/// Seen in a handshake: an API server that does not answer shows no chain either.
fn serves_alone(node: &NodeView) -> bool {
    !node.busy() && !node.apiserver.serial.is_empty() && node.apiserver.vouched_by.is_empty()
}

/// The node as it is, its API server serving a chain that nobody vouches for.
fn alone(node: &NodeView, look: &Inventory, goal: &Goal) -> Option<NodeTarget> {
    let mut wanted = target(Phase::Completed, node, look, goal)?;
    if let Some(control_plane) = &mut wanted.control_plane {
        control_plane.vouched_by.clear();
    }
    Some(wanted)
}
