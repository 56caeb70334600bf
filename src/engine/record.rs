//! From objects to what the planner speaks of: CAs, their certificates, their CAVersions.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{AuthorityRecord, ClusterPKI, CrossRecord, RotationIntent};
use crate::pki::{CaId, Certificate, Material};
use crate::rotation::Goal;

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
            .collect();
        Self {
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
        }
    }

    /// True while a rotation or a rollback has not completed.
    #[must_use]
    pub fn rotating(&self) -> bool {
        self.wanted != self.completed || self.rotation.as_ref().is_some_and(|rotation| rotation.rollback)
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
        let legacy = self.versions.keys().filter(|ca| **ca != from && Some(*ca) != to.as_ref()).cloned().collect();
        let rollback = rotation.is_some_and(|rotation| rotation.rollback);
        Some(Goal { from, to, legacy, rollback, waived: self.waived.clone(), max_unavailable, pause_before: None })
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
        record.specimen_server = record.specimen_server.take().or_else(|| new.specimen_server.clone());
        record.specimen_client = record.specimen_client.take().or_else(|| new.specimen_client.clone());
        self.versions.insert(new.id.clone(), version);
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
