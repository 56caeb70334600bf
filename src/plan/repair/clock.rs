//! Whether the node's clock can be right: certificates that are made by a wrong one are refused by everybody else.

use jiff::{SignedDuration, Timestamp};

use super::{Seen, Wish};
use crate::plan::renewal::{AuthorityName, CertificateName, Held};

/// A node that was silent for longer was switched off for years, or its clock is years ahead. Only the administrator knows.
const SILENCE: SignedDuration = SignedDuration::from_hours(366 * 24);

/// What can be said of the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Nothing speaks against it.
    #[default]
    Plausible,
    /// It is behind: something on this node is valid from a later time only.
    Behind {
        /// The certificate, in words.
        what: String,
        /// The first moment at which the clock can be right.
        not_before: Timestamp,
        /// True when no certificate can be made at this time, whatever the administrator says.
        surely: bool,
    },
    /// It may be ahead: this is the last time that anything was written here.
    MaybeAhead {
        /// When.
        last_life: Timestamp,
    },
}

impl Clock {
    /// Judges the time `now` by what stands on the node.
    pub(super) fn judge(seen: &Seen, wish: &Wish, now: Timestamp) -> Self {
        let later = |at: Timestamp| at > now;
        let authority = |name: &AuthorityName| {
            let not_before = seen.inventory.authorities.get(name)?.certificate.not_before();
            later(not_before).then(|| Self::Behind { what: format!("the {name} CA"), not_before, surely: true })
        };
        if let Some(behind) = AuthorityName::ALL.iter().find_map(authority) {
            return behind;
        }
        if wish.clock_is_right {
            return Self::Plausible;
        }
        let leaf = |name: &CertificateName| match seen.inventory.held.get(name)? {
            Held::Certificate { certificate, .. } if later(certificate.not_before()) => {
                Some(Self::Behind { what: name.to_string(), not_before: certificate.not_before(), surely: false })
            }
            _ => None,
        };
        if let Some(behind) = CertificateName::ALL.iter().find_map(leaf) {
            return behind;
        }
        Self::after(seen.last_life, now)
    }

    /// Judges the time `now` by when etcd last wrote on the node, if it has one.
    #[must_use]
    pub fn after(last_life: Option<Timestamp>, now: Timestamp) -> Self {
        match last_life {
            Some(last_life) if now.duration_since(last_life) > SILENCE => Self::MaybeAhead { last_life },
            _ => Self::Plausible,
        }
    }
}
