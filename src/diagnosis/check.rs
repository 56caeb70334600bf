//! The vocabulary: groups of items, and what each item demands.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::inspection::FindingId;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $word:literal $meaning:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
        pub enum $name {
            $(#[doc = $meaning] #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every one, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What it means, for the published table.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

words! {
    /// Items that belong together and can be chosen together. The name is stable.
    Group {
        Nodes "nodes" "Every node is Ready, has an agent of this version that answers, and the right time.",
        Authorities "authorities" "Every CA file: valid, a CA, one CA and the same on all nodes, with its key where it belongs.",
        Certificates "certificates" "Every leaf: valid and not due, signed by the right CA, with its key, its names and its usage.",
        Kubeconfigs "kubeconfigs" "Every kubeconfig of the nodes: its credential, the CAs that it trusts, the name of its server.",
        Kubelets "kubelets" "Every kubelet gets its certificates by TLS bootstrap and renews them.",
        Serving "serving" "Every endpoint answers, serves what is on disk, and accepts and refuses the right clients.",
        Trust "trust" "Every presenter would be accepted by every verifier, with what they have loaded.",
        Etcd "etcd" "Every member of etcd is healthy, and members trust each other.",
        Objects "objects" "Everything in the API that hands out a CA hands out the right one.",
        Requests "requests" "No request for a certificate waits, and no bootstrap token lives for ever.",
        Rotation "rotation" "No CA rotation stands half-way, and nothing of one is left.",
    }
}

words! {
    /// What an item demands. The name is stable: scripts rely on it.
    Check {
        Seen "seen" "It could be looked at.",
        Ready "ready" "The Node is Ready.",
        Agent "agent" "The node's agent answers and has no problem.",
        Version "version" "The agent has the version of this program.",
        Clock "clock" "The node's clock agrees with that of this machine.",
        Validity "validity" "The certificate can be read, is valid now, and has enough life left.",
        Issuer "issuer" "The CA that its verifiers trust has signed it, with a signature that they accept.",
        Key "key" "The private key is there, belongs to it, and is strong enough.",
        Names "names" "It is valid for every name and address under which clients reach the server.",
        Usage "usage" "It may be used for what it is used for.",
        Files "files" "The files have the mode, the owner and the kind that kubeadm gives them.",
        Loaded "loaded" "The process that reads it at its start has the one on disk.",
        Present "present" "Every certificate file that a manifest names is there.",
        Alone "alone" "It is the only CA there, unless a rotation is under way.",
        Same "same" "Every node has the same CA.",
        Trusts "trusts" "It holds the CA of the cluster, and no other unless a rotation is under way.",
        Server "server" "An API server's certificate is valid for the name of its server.",
        Bootstrap "bootstrap" "kubelet.conf refers to the certificate that the kubelet renews.",
        Renewal "renewal" "The kubelet is told to renew its certificate.",
        Serves "serves" "The endpoint answers a TLS handshake with the certificate on disk.",
        Accepts "accepts" "It accepts clients of every CA in its file.",
        Refuses "refuses" "It refuses clients of every other CA that the cluster knows.",
        Verified "verified" "The chain presented verifies against the CAs that are loaded.",
        Health "health" "The member of etcd answers healthy, which it does only with a quorum.",
        Learners "learners" "Every member of etcd votes: none is still a learner.",
        Everywhere "everywhere" "Every namespace has one.",
        Answered "answered" "Nothing waits for an approval, and nothing was denied or failed.",
        Expiry "expiry" "The bootstrap token has an end.",
        Finished "finished" "No CA rotation is under way or blocked.",
        Current "current" "The node holds the CA in force and no other.",
        Finalized "finalized" "No older CA is kept for processes that may still hold it.",
        Stock "stock" "Files and kubeadm's record are those of a stock kubeadm cluster.",
        Upgraded "upgraded" "All API servers have one version, and kubeadm records it.",
    }
}

impl Group {
    /// The group of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|group| group.name() == name)
    }

    /// True for what can be judged by the files of one node.
    #[must_use]
    pub const fn in_files(self) -> bool {
        matches!(
            self,
            Self::Authorities
                | Self::Certificates
                | Self::Kubeconfigs
                | Self::Kubelets
                | Self::Serving
                | Self::Trust
                | Self::Etcd
        )
    }
}

/// The demand that a finding contradicts, for findings about things that no item asks for.
pub(super) const fn contradicted(id: FindingId) -> Check {
    use FindingId as F;
    match id {
        F::Expired | F::Expiring | F::NotYetValid | F::OutlivesCa | F::Unreadable => Check::Validity,
        F::Missing => Check::Present,
        F::KeyMismatch | F::KeyUnreadable | F::KeyMissing | F::WeakKey => Check::Key,
        F::ForeignIssuer | F::WeakSignature => Check::Issuer,
        F::MissingSan => Check::Names,
        F::WrongUsage | F::CaWithoutCaBit | F::AmbiguousCa => Check::Usage,
        F::KeyReadable
        | F::Writable
        | F::WrongOwner
        | F::Symlink
        | F::HardLink
        | F::NotAFile
        | F::HugeFile
        | F::CaKeyOnWorker => Check::Files,
        F::NotLoaded => Check::Loaded,
        F::NotServed => Check::Serves,
        F::NoBootstrap | F::EmbeddedCredential => Check::Bootstrap,
        F::NoRotation => Check::Renewal,
        F::ServingSelfSigned => Check::Issuer,
        F::LeftoverBundle => Check::Alone,
        F::NodesDiffer => Check::Same,
        F::TrustDiffers => Check::Trusts,
        F::RequestPending | F::RequestFailed => Check::Answered,
        F::TokenExpired | F::TokenForever => Check::Expiry,
        F::NotSeen => Check::Seen,
    }
}
