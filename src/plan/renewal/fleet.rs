//! A renewal that somebody else asks a node for: the same request goes to nodes of every kind, and may be read more than once.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{CertificateName, Held, Inventory, Plan, Request};
use crate::plan::Conf;

impl Request {
    /// The part of the request that concerns a node; `None` when nothing of what it names stands there.
    #[must_use]
    pub fn on(&self, inventory: &Inventory) -> Option<Self> {
        let here = self.names.iter().copied().filter(|name| inventory.held.contains_key(name));
        let names: Vec<CertificateName> = here.collect();
        // Without names every certificate is meant, so a list that became empty is no request any more.
        (self.names.is_empty() || !names.is_empty()).then(|| Self { names, ..self.clone() })
    }

    /// True when a node of this role may hold something of it.
    #[must_use]
    pub fn concerns(&self, control_plane: bool) -> bool {
        let everywhere =
            |name: &CertificateName| name.is_the_kubelets_own() || *name == CertificateName::Conf(Conf::Kubelet);
        control_plane || self.names.is_empty() || self.names.iter().any(everywhere)
    }
}

impl Inventory {
    /// True for what the CSR API signs, because the CA cannot sign on this node.
    #[must_use]
    pub fn asks_cluster(&self, name: CertificateName) -> bool {
        let unable = |signer: &super::Signer| signer.problem.is_some();
        name.is_the_kubelets_own() && self.authorities.get(&name.authority()).is_some_and(unable)
    }
}

impl Plan {
    /// What is left to do until none of these certificates, named by their serial numbers (hex), stands in its place any more. Of `request`
    /// only what the new ones are like counts.
    ///
    /// # Errors
    /// As for [`Plan::new`].
    pub fn to_replace(
        inventory: &Inventory,
        request: &Request,
        replace: &BTreeMap<CertificateName, String>,
        now: Timestamp,
    ) -> Result<Self, String> {
        let left = |name: &CertificateName, serial: &String| match inventory.held.get(name) {
            Some(Held::Certificate { certificate, .. }) => certificate.serial_hex() == *serial,
            // It is not what was to be replaced, but nobody can work with it either: the plan says so.
            Some(Held::Elsewhere(_) | Held::Broken(_)) => true,
            None => false,
        };
        let left = replace.iter().filter(|(name, serial)| left(name, serial)).map(|(name, _)| *name);
        let names: Vec<CertificateName> = left.collect();
        if names.is_empty() {
            return Ok(Self::default());
        }
        Self::new(inventory, &Request { names, due: None, ..request.clone() }, now)
    }
}
