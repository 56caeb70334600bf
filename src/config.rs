//! `certctl.yaml`: what the administrator wants of a rotation. Read once, checked completely, never guessed.
#![expect(clippy::disallowed_methods, reason = "it reads the one file it is named after")]

mod duration;
mod error;
mod limit;

use std::path::Path;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use duration::{Lifetime, Timeout, parse_duration, parse_timeout};
pub use error::ConfigError;
pub use limit::{MaxUnavailable, Waiver};

use crate::pki::KeyAlgorithm;

/// The only `apiVersion` there is.
pub const API_VERSION: &str = "certctl.dev/v1alpha1";
/// The only `kind` there is.
pub const KIND: &str = "Config";
/// How long one gate may take unless the configuration says otherwise.
const DEFAULT_TIMEOUT: SignedDuration = SignedDuration::from_mins(5);
/// Shortest certificate that the CSR API signs (`pkg/apis/certificates/validation`).
const SHORTEST_LEAF: SignedDuration = SignedDuration::from_mins(10);

/// A certificate authority that a rotation can replace (design section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// `pki/ca`.
    Cluster,
    /// `pki/etcd/ca`.
    Etcd,
    /// `pki/front-proxy-ca`.
    FrontProxy,
}

impl Authority {
    /// The name used in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Etcd => "etcd",
            Self::FrontProxy => "front-proxy",
        }
    }
}

/// What `certctl.yaml` says. Durations are written as `10y`, `90d`, `87600h` or `5m`; a year is 365 days, as in kubeadm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Version of the format.
    pub api_version: String,
    /// Kind of the document.
    pub kind: String,
    /// The kubeconfig's cluster that this file is meant for; another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Which authorities to replace.
    #[serde(default = "cluster_only")]
    pub authorities: Vec<Authority>,
    /// Key of the new CA, by kubeadm's name (`RSA-2048`, `ECDSA-P256` …); default: as the old CA's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub key_algorithm: Option<KeyAlgorithm>,
    /// Lifetime of the new CA; default: as long as the old one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_validity: Option<Lifetime>,
    /// Lifetime of the leaves; default: each as long as the one it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf_validity: Option<Lifetime>,
    /// How long one gate may take before the command ends with code 124; `0`: for ever. The rotation can be taken up again.
    #[serde(default = "default_timeout")]
    pub timeout: Timeout,
    /// How many nodes may be changed at a time, as a number or as a percentage of the nodes.
    #[serde(default)]
    pub max_unavailable: MaxUnavailable,
    /// The phase before which the rotation stops and waits for the administrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_before: Option<String>,
    /// Objects that may be left behind, as `node/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waive: Vec<Waiver>,
    /// The agent's image for `certctl install`; default: this version's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Nodes that `certctl repair` reaches through ssh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeAddress>,
}

/// A node, and how ssh gets there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeAddress {
    /// The Node's name.
    pub name: String,
    /// Host name or address, or a `Host` of ssh's configuration.
    pub address: String,
    /// The user to log in as, with `sudo` unless it is root; default: ssh's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

fn cluster_only() -> Vec<Authority> {
    vec![Authority::Cluster]
}

fn default_timeout() -> Timeout {
    Timeout::new(DEFAULT_TIMEOUT)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            cluster: None,
            authorities: cluster_only(),
            key_algorithm: None,
            ca_validity: None,
            leaf_validity: None,
            timeout: default_timeout(),
            max_unavailable: MaxUnavailable::default(),
            pause_before: None,
            waive: Vec::new(),
            image: None,
            nodes: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// Names the file and, where the text is at fault, line and column.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { file: name.clone(), source })?;
        Self::parse(&name, &text)
    }

    /// Reads a configuration from text; `file` is its name in errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_saphyr::from_str(text).map_err(|e| ConfigError::from_yaml(file, &e))?;
        config.check().map_err(|problem| ConfigError::Invalid { file: file.to_owned(), problem })?;
        Ok(config)
    }

    /// What types cannot say: the version, and what this release can do.
    fn check(&self) -> Result<(), String> {
        if self.api_version != API_VERSION || self.kind != KIND {
            let found = format!("apiVersion {}, kind {}", self.api_version, self.kind);
            return Err(format!("this is {found}; write apiVersion {API_VERSION}, kind {KIND}"));
        }
        if let Some(other) = self.authorities.iter().find(|authority| **authority != Authority::Cluster) {
            let name = other.name();
            return Err(format!("authorities: {name} cannot be rotated by this release; leave only `cluster`"));
        }
        if let Some(short) = self.leaf_validity.filter(|validity| validity.get() < SHORTEST_LEAF) {
            return Err(format!("leafValidity: {short} is too short; 10m is the shortest that the CSR API signs"));
        }
        if self.authorities.is_empty() {
            return Err("authorities: the list is empty; write `cluster` or leave the field out".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: certctl.dev/v1alpha1\nkind: Config\n";

    fn parse(body: &str) -> Result<Config, String> {
        Config::parse("certctl.yaml", &format!("{HEAD}{body}")).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_configuration_is_the_default() {
        assert_eq!(parse(""), Ok(Config::default()));
    }

    #[test]
    fn every_field_is_read() {
        let config = parse(concat!(
            "cluster: prod\nauthorities: [cluster]\nkeyAlgorithm: ECDSA-P256\ncaValidity: 10y\nleafValidity: 90d\n",
            "timeout: 90s\nmaxUnavailable: 10%\npauseBefore: CPUntrusted\nwaive: [node/w-1]\nimage: certctl:1\n",
            "nodes: [{name: w-1, address: 10.0.0.9}, {name: w-2, address: w2.example, user: ops}]\n"
        ))
        .unwrap();
        assert_eq!(config.cluster.as_deref(), Some("prod"));
        assert_eq!(config.key_algorithm, Some(KeyAlgorithm::EcdsaP256));
        assert_eq!(config.ca_validity.map(Lifetime::get), Some(SignedDuration::from_hours(87_600)));
        assert_eq!(config.leaf_validity.map(Lifetime::get), Some(SignedDuration::from_hours(90 * 24)));
        assert_eq!(config.timeout.get(), SignedDuration::from_secs(90));
        assert_eq!(config.max_unavailable.of(35), 4);
        assert_eq!(config.waive.iter().map(Waiver::node).collect::<Vec<_>>(), ["w-1"]);
        let nodes: Vec<_> =
            config.nodes.iter().map(|node| (&*node.name, &*node.address, node.user.as_deref())).collect();
        assert_eq!(nodes, [("w-1", "10.0.0.9", None), ("w-2", "w2.example", Some("ops"))]);
        let again = Config::parse("x", &serde_saphyr::to_string(&config).unwrap());
        assert_eq!(again.map_err(|e| e.to_string()), Ok(config));
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place_and_the_nearest_valid_name() {
        assert_eq!(
            parse("timeout: 5m\ncaValidty: 10y\n"),
            Err("certctl.yaml:4:1: unknown field `caValidty`; did you mean `caValidity`?".into())
        );
    }

    #[test]
    fn a_field_like_no_other_gets_the_list() {
        let error = parse("zzz: 1\n").unwrap_err();
        assert!(
            error.starts_with("certctl.yaml:3:1: unknown field `zzz`; valid are apiVersion, kind, cluster,"),
            "{error}"
        );
    }

    #[test]
    fn wrong_values_are_named_with_their_place() {
        let error = parse("authorities: [clutser]\n").unwrap_err();
        assert!(error.starts_with("certctl.yaml:3:15: unknown value `clutser`; did you mean `cluster`?"), "{error}");
        let error = parse("timeout: soon\n").unwrap_err();
        assert!(error.starts_with("certctl.yaml:3:10: ") && error.contains("soon"), "{error}");
    }

    #[test]
    fn what_this_release_cannot_do_is_refused_in_a_sentence() {
        assert_eq!(
            parse("authorities: [cluster, etcd]\n"),
            Err("certctl.yaml: authorities: etcd cannot be rotated by this release; leave only `cluster`".into())
        );
        assert!(parse("leafValidity: 10m\n").is_ok());
        assert_eq!(
            parse("leafValidity: 5m\n"),
            Err("certctl.yaml: leafValidity: 5m is too short; 10m is the shortest that the CSR API signs".into())
        );
        let error = Config::parse("f", "apiVersion: v1\nkind: Pod\n").map_err(|e| e.to_string());
        assert_eq!(
            error,
            Err("f: this is apiVersion v1, kind Pod; write apiVersion certctl.dev/v1alpha1, kind Config".into())
        );
    }
}
