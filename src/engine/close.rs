//! The end of a run: what is put on record, what nodes are still told, and the keys that they destroy.

use super::driver::{Driver, Outcome};
use crate::error::Error;
use crate::rotation::{EventKind, Inventory, NodeView, Phase, describe, target};

impl Driver {
    /// Closes the rotation: the new CAVersion is in force, the nodes are left to themselves.
    ///
    /// The record comes first and what cannot be undone last: a driver that dies in between leaves a rotation that is over, and keys that
    /// the next run, of whatever command, has destroyed.
    pub(super) async fn finish(&mut self, look: &Inventory) -> Result<(), Error> {
        self.leave();
        self.record.completed = self.record.wanted;
        self.end_waivers(look).await?;
        for name in &self.goal.waived {
            if let Some(target) = look.nodes.get(name).and_then(|node| target(Phase::Completed, node, look, &self.goal))
            {
                self.targets.insert(name.clone(), target);
            }
        }
        self.drop_uploaded().await;
        if self.goal.rollback {
            self.record.retire(std::slice::from_ref(&self.goal.from));
            self.record.rotation = None;
            self.write_spec().await?;
        }
        // From here on only `close` is left, however often the API server has to be asked.
        self.finished = true;
        Ok(())
    }

    /// After the end: the record, which must not name a CA any more whose key is destroyed next; then what nodes have still to be told, and
    /// the keys that they have still to destroy.
    pub(super) async fn close(&mut self, look: &Inventory) -> Result<Option<Outcome>, Error> {
        if !self.closed {
            self.write_status(Phase::Completed, look).await?;
            self.closed = true;
        }
        self.write_specs(look).await?;
        if !self.destroyed(look).await? {
            return Ok(None);
        }
        self.emit(EventKind::Finished {
            ca_version: self.record.completed,
            seconds: self.began.elapsed().as_secs_f64(),
            message: describe(look, &self.goal, &self.record.versions).message,
        });
        Ok(Some(Outcome::Completed))
    }

    /// Nodes that were left out and are up to date count again, and the object says so.
    async fn end_waivers(&mut self, look: &Inventory) -> Result<(), Error> {
        self.record.waived.clone_from(&self.goal.waived);
        self.record.end_waivers(look);
        if self.record.waived != self.goal.waived {
            self.goal.waived.clone_from(&self.record.waived);
            self.write_spec().await?;
        }
        Ok(())
    }

    /// True when every control-plane node that answers has destroyed the keys of CAs that are over; the others are named, and do it when
    /// they come back.
    pub(super) async fn destroyed(&mut self, look: &Inventory) -> Result<bool, Error> {
        let holds = |node: &NodeView| self.record.forget.iter().any(|ca| node.state.disk.kept.contains(ca));
        let holders: Vec<(&String, bool)> = look
            .nodes
            .iter()
            .filter(|(_, node)| node.state.control_plane && holds(node))
            .map(|(name, node)| (name, node.responding))
            .collect();
        let late: Vec<String> = holders
            .iter()
            .filter(|(_, responding)| *responding)
            .map(|(name, _)| format!("node/{name}: it has not destroyed the key of a CA that is over yet"))
            .collect();
        if !late.is_empty() {
            self.wait_for(late)?;
            return Ok(false);
        }
        for (name, _) in &holders {
            let message =
                format!("node/{name} does not answer: it destroys the key of a CA that is over when it comes back");
            self.emit(EventKind::Warning { message });
        }
        if holders.is_empty() && !self.record.forget.is_empty() {
            self.record.forget.clear();
            self.write_spec().await?;
        }
        Ok(true)
    }
}
