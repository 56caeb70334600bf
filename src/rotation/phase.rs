//! The phases of a rotation (design section 6), in order.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a rotation has come. Derived from what the nodes hold, load and serve, never remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// One CA everywhere.
    Idle,
    /// The administrator wants a new CA and nothing stands against it.
    Planned,
    /// The new CA stands on every control-plane node, referenced by nothing.
    Staged,
    /// Every control-plane process accepts both CAs.
    CPTrusted,
    /// Every kubelet, cluster-info and caBundle accepts both CAs.
    DPTrusted,
    /// The control plane's certificates are from the new CA.
    CPReissued,
    /// The new CA signs CSRs.
    SignerSwitched,
    /// Every kubelet's certificate is from the new CA.
    DPReissued,
    /// No control-plane process accepts the old CA.
    CPUntrusted,
    /// Nothing accepts the old CA.
    DPUntrusted,
    /// Stock kubeadm layout again.
    Completed,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 11] = [
        Self::Idle,
        Self::Planned,
        Self::Staged,
        Self::CPTrusted,
        Self::DPTrusted,
        Self::CPReissued,
        Self::SignerSwitched,
        Self::DPReissued,
        Self::CPUntrusted,
        Self::DPUntrusted,
        Self::Completed,
    ];

    /// The first phase that cannot be undone: the drop of the old CA.
    pub const DROP: Self = Self::CPUntrusted;

    /// Position, 0 to 10.
    #[must_use]
    pub fn number(self) -> usize {
        Self::ALL.iter().position(|phase| *phase == self).unwrap_or_default()
    }

    /// The phase after this one; the last is its own next.
    #[must_use]
    pub fn next(self) -> Self {
        Self::ALL.get(self.number() + 1).copied().unwrap_or(self)
    }

    /// The name used on the command line and in objects, and what happens on the way into the phase.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Idle => ("Idle", "nothing to do"),
            Self::Planned => ("Planned", "preflight"),
            Self::Staged => ("Staged", "make the new CA and bring it to every control-plane node, sealed"),
            Self::CPTrusted => ("CPTrusted", "the control plane trusts both CAs"),
            Self::DPTrusted => ("DPTrusted", "kubelets, cluster-info and caBundles trust both CAs"),
            Self::CPReissued => {
                ("CPReissued", "control-plane certificates from the new CA, with the cross-signed chain")
            }
            Self::SignerSwitched => ("SignerSwitched", "the new CA signs CSRs"),
            Self::DPReissued => ("DPReissued", "kubelet certificates from the new CA"),
            Self::CPUntrusted => ("CPUntrusted", "the control plane drops the old CA"),
            Self::DPUntrusted => ("DPUntrusted", "kubelets, cluster-info, caBundles and pods drop the old CA"),
            Self::Completed => ("Completed", "stock kubeadm layout, negative test"),
        }
    }

    /// The name used on the command line and in objects.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.words().0
    }

    /// What happens on the way into this phase, for plans and progress.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.words().1
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No phase has that name.
#[derive(Debug, thiserror::Error)]
#[error("unknown phase `{0}`: the phases are {names}; `drop` means CPUntrusted", names = Phase::ALL.map(Phase::name).join(", "))]
pub struct UnknownPhase(String);

impl FromStr for Phase {
    type Err = UnknownPhase;

    /// Case does not matter; `drop` names the phase that drops the old CA.
    fn from_str(text: &str) -> Result<Self, UnknownPhase> {
        if text.eq_ignore_ascii_case("drop") {
            return Ok(Self::DROP);
        }
        Self::ALL
            .into_iter()
            .find(|phase| phase.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownPhase(text.to_owned()))
    }
}
