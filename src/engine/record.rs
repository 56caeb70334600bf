//! From objects to what the planner speaks of: CAs, their certificates, their CAVersions.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{AuthorityRecord, ClusterPKI, ClusterPkiSpec, CrossRecord, Made, RotationIntent};
use crate::pki::{CaId, Certificate, Material};
use crate::rotation::{Goal, Inventory, behind};

/// The CAs that the ClusterPKI records.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The CAVersion wanted.
    pub wanted: u32,
    /// The CAVersion of the last rotation that completed.
    pub completed: u32,
    /// The rotation under way, or the last one.
    pub rotation: Option<RotationIntent>,
    /// Nodes waived.
    pub waived: BTreeSet<String>,
    /// CAVersion by CA.
    pub versions: BTreeMap<CaId, u32>,
    /// Public certificates by CAVersion.
    pub authorities: BTreeMap<u32, AuthorityRecord>,
    /// CAs that are over: control-plane nodes destroy their keys, now or when they come back.
    pub forget: Vec<CaId>,
}

impl Record {
    /// Reads the object.
    #[must_use]
    pub fn read(object: &ClusterPKI) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let authorities: BTreeMap<u32, AuthorityRecord> = status
            .authorities
            .into_iter()
            .filter_map(|(version, record)| Some((version.parse().ok()?, record)))
            // What is to be destroyed is over, also when the driver died before it could take it out of the status.
            .filter(|(_, record): &(u32, AuthorityRecord)| !object.spec.forget.contains(&record.id))
            .collect();
        let mut record = Self {
            wanted: object.spec.ca_version,
            completed: status.ca_version.unwrap_or_default(),
            rotation: object.spec.rotation.clone(),
            waived: object
                .spec
                .waivers
                .iter()
                .filter_map(|waiver| waiver.strip_prefix("node/"))
                .map(str::to_owned)
                .collect(),
            versions: authorities.iter().map(|(version, record)| (record.id.clone(), *version)).collect(),
            authorities,
            forget: object.spec.forget.clone(),
        };
        record.wanted = record.leads_to();
        record
    }

    /// The CAVersion that the rotation under way leads to, whatever somebody wrote into `spec.caVersion` meanwhile; without one, that.
    fn leads_to(&self) -> u32 {
        match &self.rotation {
            Some(rotation) if rotation.rollback => self.completed,
            Some(rotation) if self.rotating() => {
                let made = rotation.to.as_ref().and_then(|to| self.versions.get(to));
                made.copied().unwrap_or(self.completed + 1)
            }
            _ => self.wanted,
        }
    }

    /// True while a rotation or a rollback has not completed: the CA that it replaces is still the one in force. A number in
    /// `spec.caVersion` alone begins nothing.
    #[must_use]
    pub fn rotating(&self) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| rotation.rollback || Some(&rotation.from) == self.current())
    }

    /// The rotation's name in events, and on nodes for back-ups and snapshots.
    #[must_use]
    pub fn rotation_name(&self) -> String {
        format!("ca-{}", self.wanted)
    }

    /// The CA in force.
    #[must_use]
    pub fn current(&self) -> Option<&CaId> {
        self.authorities.get(&self.completed).map(|record| &record.id)
    }

    /// The goal of the rotation under way, or of standing still.
    #[must_use]
    pub fn goal(&self, max_unavailable: usize) -> Option<Goal> {
        let rotation = self.rotation.as_ref();
        let (from, to) = match rotation {
            Some(rotation) => (rotation.from.clone(), rotation.to.clone()),
            None => (self.current()?.clone(), None),
        };
        let legacy = self.legacy(&from, to.as_ref());
        let rollback = rotation.is_some_and(|rotation| rotation.rollback);
        Some(Goal { from, to, legacy, rollback, waived: self.waived.clone(), max_unavailable, pause_before: None })
    }

    /// The older CAs that vouch for `to`, or will when it is made: processes may hold one of them as their only trust.
    #[must_use]
    pub fn legacy(&self, from: &CaId, to: Option<&CaId>) -> Vec<CaId> {
        let crosses = to.and_then(|to| self.authorities.values().find(|record| record.id == *to));
        let vouches = |ca: &CaId| crosses.is_none_or(|record| record.crosses.iter().any(|cross| cross.by == *ca));
        self.versions.keys().filter(|ca| *ca != from && Some(*ca) != to && vouches(ca)).cloned().collect()
    }

    /// Whether a node's answer to a request for a CA may be believed: its names are those of its certificates, and the CA in force and
    /// every older one have really signed the new one. It may be on record already, when a driver died before the intent named it.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn vet(&self, made: &Made, from: &CaId) -> Result<(), String> {
        let parse = |pem: &String| Certificate::first_from_pem(pem.as_bytes()).map_err(|error| error.to_string());
        let new = parse(&made.authority.certificate)?;
        let recorded = self.versions.get(&made.authority.id);
        if !new.is_ca()
            || new.ca_id() != made.authority.id
            || recorded.is_some_and(|version| *version != self.wanted || *version == self.completed)
        {
            return Err(format!("CA {} is not what its certificate says", made.authority.id.short()));
        }
        let known = self.certificate(from).ok_or("the CA in force has no certificate on record")?;
        if made.old.id != *from || parse(&made.old.certificate)?.der() != known.der() {
            return Err(format!("it is not made in place of CA {}", from.short()));
        }
        let older: Vec<CaId> = self.legacy(from, None).into_iter().filter(|ca| *ca != made.authority.id).collect();
        for signer in std::iter::once(from).chain(&older) {
            let cross = made.authority.crosses.iter().find(|cross| cross.by == *signer);
            let cross = parse(&cross.ok_or_else(|| format!("CA {} has not signed it", signer.short()))?.certificate)?;
            let by = self.certificate(signer).is_some_and(|signer| cross.signed_by(&signer));
            if !by || cross.ca_id() != made.authority.id || cross.subject_der() != new.subject_der() {
                return Err(format!("the signature of CA {} is not over it", signer.short()));
            }
        }
        Ok(())
    }

    /// Takes CAs out of the record; control-plane nodes shall destroy their keys.
    pub fn retire(&mut self, cas: &[CaId]) {
        self.authorities.retain(|_, record| !cas.contains(&record.id));
        for record in self.authorities.values_mut() {
            record.crosses.retain(|cross| !cas.contains(&cross.by));
        }
        self.versions.retain(|ca, _| !cas.contains(ca));
        self.forget.extend(cas.iter().filter(|ca| !self.forget.contains(ca)).cloned().collect::<Vec<_>>());
    }

    /// A node that was left out counts again when it is up to date; a waiver ends with its node, too.
    pub fn end_waivers(&mut self, look: &Inventory) {
        let Some(in_force) = self.current().cloned() else { return };
        self.waived.retain(|name| look.nodes.get(name).is_some_and(|node| !behind(node, &in_force).is_empty()));
    }

    /// Adds a CA, or the cross-signed certificates and specimens that are new about a known one.
    pub fn add(&mut self, version: u32, new: &AuthorityRecord) {
        let record =
            self.authorities.entry(version).or_insert_with(|| AuthorityRecord { crosses: Vec::new(), ..new.clone() });
        let crosses: Vec<CrossRecord> = new
            .crosses
            .iter()
            .filter(|cross| !record.crosses.iter().any(|held| held.by == cross.by))
            .cloned()
            .collect();
        record.crosses.extend(crosses);
        // Specimens live for a year; those of the last rotation may have expired.
        record.specimen_server = new.specimen_server.clone().or_else(|| record.specimen_server.take());
        record.specimen_client = new.specimen_client.clone().or_else(|| record.specimen_client.take());
        self.versions.insert(new.id.clone(), version);
    }

    /// For the object's spec, with these nodes left out.
    #[must_use]
    pub fn spec(&self, waived: &BTreeSet<String>) -> ClusterPkiSpec {
        ClusterPkiSpec {
            ca_version: self.wanted,
            rotation: self.rotation.clone(),
            waivers: waived.iter().map(|node| format!("node/{node}")).collect(),
            forget: self.forget.clone(),
        }
    }

    /// For the object's status.
    #[must_use]
    pub fn written(&self) -> BTreeMap<String, AuthorityRecord> {
        self.authorities.iter().map(|(version, record)| (version.to_string(), record.clone())).collect()
    }

    /// The certificate of a CA.
    #[must_use]
    pub fn certificate(&self, ca: &CaId) -> Option<Certificate> {
        let record = self.authorities.values().find(|record| record.id == *ca)?;
        Certificate::first_from_pem(record.certificate.as_bytes()).ok()
    }

    /// Certificates of several CAs, in that order.
    #[must_use]
    pub fn certificates(&self, cas: &[CaId]) -> Vec<Certificate> {
        cas.iter().filter_map(|ca| self.certificate(ca)).collect()
    }

    /// What the trust matrix verifies with.
    #[must_use]
    pub fn materials(&self) -> BTreeMap<CaId, Material> {
        let parse = |pem: &String| Certificate::first_from_pem(pem.as_bytes()).ok();
        self.authorities
            .values()
            .filter_map(|record| {
                let crosses = record
                    .crosses
                    .iter()
                    .filter_map(|cross| Some((cross.by.clone(), parse(&cross.certificate)?)))
                    .collect();
                let material = Material {
                    ca: parse(&record.certificate)?,
                    crosses,
                    specimen_server: record.specimen_server.as_ref().and_then(parse),
                    specimen_client: record.specimen_client.as_ref().and_then(parse),
                };
                Some((record.id.clone(), material))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
