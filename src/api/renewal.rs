//! A renewal through the agents: what the driver wants replaced on a node, and what the agent says about it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::renewal::{CertificateName, Due, ProofRow, RenewalRow, Request};

/// Certificates of a node that shall be renewed. Every field is always written: a merge patch then leaves nothing of an older order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RenewalOrder {
    /// Name of the renewal, `renew-TIME`: the folder of the node's back-ups and a column of its journal.
    pub run: String,
    /// Certificates, by the names of `kubeadm certs renew`; empty: every one that the kubelet does not look after by itself.
    pub names: Vec<String>,
    /// Only what is at 80 % of its life, or has expired.
    pub only_due: bool,
    /// Only what ends within so many seconds.
    pub within_seconds: Option<i64>,
    /// kubeadm's name of the kind of the new keys; absent: as the keys replaced.
    pub key_algorithm: Option<String>,
    /// Keep the keys.
    pub reuse_key: bool,
    /// Lifetime of the new certificates, seconds; absent: as those replaced.
    pub validity_seconds: Option<i64>,
    /// The certificates that shall not stand in their places any more. Absent: only the plan is asked for. The renewal is over when none of
    /// them is there, however often it is read.
    pub replace: Option<Vec<Replaced>>,
}

/// A certificate that shall be replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replaced {
    /// Its name.
    pub name: String,
    /// Serial number of the one that must go, hex.
    pub serial: String,
}

/// What an agent says about an order: the plan, or what has come of it. An order is answered once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeRenewal {
    /// The renewal answered.
    pub run: String,
    /// What is to be renewed, what stays, what stands in the way; with an outcome, what was left to be done.
    pub certificates: Vec<RenewalRow>,
    /// Processes that are restarted, in order.
    pub restarts: Vec<String>,
    /// The answer to `replace`; absent where only the plan was asked for.
    pub outcome: Option<RenewalOutcome>,
    /// Why there is no plan, or why the renewal failed.
    pub problem: Option<String>,
}

/// What has come of a renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RenewalOutcome {
    /// What stands now in the places of the certificates that were to be replaced.
    pub renewed: Vec<Renewed>,
    /// Folder of the files replaced, on the node; absent when an agent before this one had replaced them.
    pub backup: Option<String>,
    /// Who was asked whether the new certificates count, and what was seen.
    pub proofs: Vec<ProofRow>,
}

/// A certificate in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// Its name.
    pub name: CertificateName,
    /// Serial number, hex.
    pub serial: String,
    /// Its end.
    #[schemars(with = "String")]
    pub not_after: Timestamp,
    /// Kind of its key.
    pub key_algorithm: String,
}

impl RenewalOrder {
    /// Asks for the plan of a request.
    #[must_use]
    pub fn plan(run: &str, request: &Request) -> Self {
        let within = match request.due {
            Some(Due::Within(time)) => Some(time.as_secs()),
            _ => None,
        };
        Self {
            run: run.to_owned(),
            names: request.names.iter().map(ToString::to_string).collect(),
            only_due: request.due == Some(Due::Late),
            within_seconds: within,
            key_algorithm: request.algorithm.map(|algorithm| algorithm.to_string()),
            reuse_key: request.reuse_key,
            validity_seconds: request.validity.map(|validity| validity.as_secs()),
            replace: None,
        }
    }

    /// The request; what the CA on the node cannot sign for the kubelet, the CSR API does.
    ///
    /// # Errors
    /// In words: a name that is none, or a run that is not named like one.
    pub fn request(&self) -> Result<Request, String> {
        // It becomes the name of a folder.
        if self.run.is_empty() || !self.run.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(format!("`{}` is no name of a renewal", self.run));
        }
        let late = self.only_due.then_some(Due::Late);
        let algorithm = self.key_algorithm.as_deref().map(str::parse).transpose();
        Ok(Request {
            names: self.names.iter().map(|name| name.parse()).collect::<Result<_, String>>()?,
            due: self.within_seconds.map(|seconds| Due::Within(SignedDuration::from_secs(seconds))).or(late),
            algorithm: algorithm.map_err(|error: crate::pki::PkiError| error.to_string())?,
            reuse_key: self.reuse_key,
            validity: self.validity_seconds.map(SignedDuration::from_secs),
            signed_elsewhere: false,
            csr_api: true,
        })
    }
}

/// The certificates of an order, by name.
///
/// # Errors
/// In words: a name that is none.
pub fn replaced(all: &[Replaced]) -> Result<BTreeMap<CertificateName, String>, String> {
    all.iter().map(|one| Ok((one.name.parse()?, one.serial.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::KeyAlgorithm;
    use crate::plan::Conf;

    #[test]
    fn a_request_comes_through_an_order_as_it_is() {
        let request = Request {
            names: vec![CertificateName::Apiserver, CertificateName::Conf(Conf::Admin)],
            due: Some(Due::Within(SignedDuration::from_hours(720))),
            algorithm: Some(KeyAlgorithm::EcdsaP384),
            reuse_key: true,
            validity: Some(SignedDuration::from_hours(24)),
            signed_elsewhere: false,
            csr_api: true,
        };
        assert_eq!(RenewalOrder::plan("renew-1", &request).request(), Ok(request.clone()));
        let late = Request { due: Some(Due::Late), names: Vec::new(), ..request };
        assert_eq!(RenewalOrder::plan("renew-1", &late).request(), Ok(late));
    }

    #[test]
    fn a_run_that_would_lead_out_of_its_folder_and_a_name_of_nothing_are_refused() {
        for run in ["", "../../etc", "renew-1/x"] {
            assert!(RenewalOrder { run: run.into(), ..RenewalOrder::default() }.request().is_err(), "{run}");
        }
        let named = RenewalOrder { run: "renew-1".into(), names: vec!["nobody".into()], ..RenewalOrder::default() };
        assert!(named.request().unwrap_err().contains("nobody"));
    }

    #[test]
    fn a_merge_of_a_new_order_leaves_nothing_of_the_old_one() {
        let old = RenewalOrder {
            run: "renew-1".into(),
            within_seconds: Some(9),
            replace: Some(vec![Replaced { name: "apiserver".into(), serial: "1".into() }]),
            ..RenewalOrder::default()
        };
        let mut merged = serde_json::to_value(&old).unwrap();
        let new = RenewalOrder { run: "renew-2".into(), ..RenewalOrder::default() };
        // RFC 7396: of an object, the members that a patch does not mention stay.
        for (key, value) in serde_json::to_value(&new).unwrap().as_object().unwrap() {
            merged[key] = value.clone();
        }
        assert_eq!(serde_json::from_value::<RenewalOrder>(merged).unwrap(), new);
    }
}
