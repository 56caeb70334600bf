//! How much may be out of service, and what may be left behind.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many kubelets may restart at a time: a number, or a percentage of all nodes as in a Deployment's strategy. A restarting kubelet
/// leaves its pods running, so the default is a Deployment's 25 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "Either")]
pub enum MaxUnavailable {
    /// This many.
    Nodes(u32),
    /// This many in a hundred, rounded up, at least one.
    Percent(u32),
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Either {
    Number(u32),
    Text(String),
}

impl MaxUnavailable {
    /// The number of nodes out of `total`; never 0, because a rotation would then never end.
    #[must_use]
    pub const fn of(self, total: usize) -> usize {
        let allowed = match self {
            Self::Nodes(count) => count as usize,
            Self::Percent(percent) => total.saturating_mul(percent as usize).div_ceil(100),
        };
        if allowed == 0 { 1 } else { allowed }
    }
}

impl Default for MaxUnavailable {
    fn default() -> Self {
        Self::Percent(25)
    }
}

impl Serialize for MaxUnavailable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nodes(count) => Either::Number(*count),
            Self::Percent(percent) => Either::Text(format!("{percent}%")),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MaxUnavailable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Either::deserialize(deserializer)? {
            Either::Number(count) => count.to_string(),
            Either::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for MaxUnavailable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is neither a number of nodes (from 1) nor a percentage (1% to 100%)");
        let number = |digits: &str| digits.parse::<u32>().map_err(|_| wrong());
        match text.strip_suffix('%').map(number).transpose()? {
            Some(percent @ 1..=100) => Ok(Self::Percent(percent)),
            Some(_) => Err(wrong()),
            None => number(text).and_then(|count| if count == 0 { Err(wrong()) } else { Ok(Self::Nodes(count)) }),
        }
    }
}

/// An object that may be left behind, written `node/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Waiver {
    node: String,
}

impl Waiver {
    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }
}

impl FromStr for Waiver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("node/") {
            Some(name) if !name.is_empty() => Ok(Self { node: name.to_owned() }),
            _ => Err(format!("`{text}` names nothing that can be waived; write node/NAME")),
        }
    }
}

impl TryFrom<String> for Waiver {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Waiver> for String {
    fn from(waiver: Waiver) -> Self {
        format!("node/{}", waiver.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<MaxUnavailable, String> {
        serde_saphyr::from_str(yaml).map_err(|e| e.without_snippet().to_string())
    }

    #[test]
    fn a_percentage_is_rounded_down_but_never_to_nothing() {
        assert_eq!(read("10%"), Ok(MaxUnavailable::Percent(10)));
        assert_eq!(MaxUnavailable::Percent(10).of(5), 1);
        assert_eq!(MaxUnavailable::Percent(10).of(5000), 500);
        assert_eq!(read("3").map(|limit| limit.of(1)), Ok(3));
    }

    #[test]
    fn nonsense_is_quoted() {
        for text in ["0", "0%", "101%", "some"] {
            let error = read(text).unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn only_nodes_can_be_waived() {
        assert_eq!("node/w-1".parse::<Waiver>().map(|w| w.node().to_owned()), Ok("w-1".into()));
        assert!("w-1".parse::<Waiver>().is_err() && "node/".parse::<Waiver>().is_err());
    }
}
