//! One thing that is wrong: how bad, what, where, and what to do.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; kubeadm's own default may be the cause.
    Info,
    /// Will break, or weakens the cluster.
    Warning,
    /// Is broken, or will be refused by somebody.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

macro_rules! ids {
    ($($variant:ident $name:literal $meaning:literal,)*) => {
        /// What kind of finding. The name is stable: scripts and suppressions rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
        pub enum FindingId {
            $(#[doc = $meaning] #[serde(rename = $name)] $variant,)*
        }

        impl FindingId {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, for the published table.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

ids! {
    Expired "expired" "The certificate's validity is over.",
    Expiring "expiring" "Little of the certificate's life is left.",
    NotYetValid "not-yet-valid" "The validity begins in the future; usually a clock is wrong.",
    OutlivesCa "outlives-ca" "The certificate claims to be valid for longer than the CA that signed it.",
    Unreadable "unreadable" "The file, or one block of it, holds no certificate that can be read.",
    Missing "missing-certificate" "A manifest refers to a certificate file that is not there.",
    KeyMismatch "key-mismatch" "The private key belongs to another certificate.",
    KeyUnreadable "key-unreadable" "The private key cannot be read.",
    KeyMissing "key-missing" "There is no private key beside the certificate.",
    ForeignIssuer "foreign-issuer" "Another CA signed it than the one that its verifiers trust.",
    MissingSan "missing-san" "A name or address is not in the certificate under which clients reach the server.",
    WrongUsage "wrong-usage" "Extended key usage forbids what the certificate is used for.",
    CaWithoutCaBit "ca-without-ca-bit" "A certificate in a CA file is no CA: basic constraints do not say so.",
    AmbiguousCa "ambiguous-ca" "Two CAs have the same subject and no subject key identifier tells them apart.",
    WeakKey "weak-key" "The key is too short, or of a kind that clients refuse.",
    WeakSignature "weak-signature" "The issuer signed with SHA-1 or MD5, which Go and OpenSSL refuse.",
    KeyReadable "key-readable" "A file with a private key can be read by others than its owner.",
    Writable "writable-by-others" "A certificate or key file can be written by others than its owner.",
    WrongOwner "wrong-owner" "A file of the PKI belongs neither to root nor to the owner of the root folder.",
    Symlink "unexpected-symlink" "A symbolic link where kubeadm has a file: `renew` and `repair` refuse it, a rotation replaces the link.",
    HardLink "hard-link" "The file has a second name: a change in place changes both, a replacement only one.",
    NotAFile "not-a-file" "A pipe, socket, device or folder where a certificate file should be.",
    HugeFile "huge-file" "A file of the PKI folder is too large to be a certificate; it was not read.",
    CaKeyOnWorker "ca-key-on-worker" "The key of the cluster's CA lies on a node that signs nothing.",
    NotLoaded "not-loaded" "The certificate on disk is newer than the one that the running process has read.",
    NotServed "not-served" "The server shows another certificate than the one on disk.",
    NoBootstrap "kubelet-no-bootstrap" "kubelet.conf does not refer to the certificate that the kubelet renews (no TLS bootstrap).",
    NoRotation "kubelet-no-rotation" "The kubelet is not told to renew its certificate (rotateCertificates).",
    EmbeddedCredential "embedded-credential" "A kubeconfig carries a client certificate that nobody renews.",
    ServingSelfSigned "serving-self-signed" "The kubelet serves a certificate that it signed itself; nobody can verify it.",
    LeftoverBundle "leftover-bundle" "More than one CA is trusted although no rotation is under way.",
    NodesDiffer "nodes-differ" "Nodes of one cluster have different CAs in the same file.",
    TrustDiffers "trust-differs" "A trust bundle holds other CAs than the cluster's.",
    RequestPending "csr-pending" "A certificate signing request waits for an approval.",
    RequestFailed "csr-failed" "A certificate signing request was denied or could not be signed.",
    TokenExpired "token-expired" "A bootstrap token is over and was not cleaned away.",
    TokenForever "token-forever" "A bootstrap token never expires.",
    NotSeen "not-seen" "Something could not be looked at, so nothing is known about it.",
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind it is.
    pub id: FindingId,
    /// The node; absent for files given by name and for objects of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// File, object, endpoint or request.
    pub object: String,
    /// What is wrong, as one clause.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "{node}: ")?;
        }
        write!(f, "{}: {}", self.object, self.message)
    }
}

/// A finding about the file of a row; the name of a node without a cluster is left out.
pub(super) fn about(
    (node, object): (Option<&str>, String),
    severity: Severity,
    id: FindingId,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    let node = node.filter(|name| !name.is_empty()).map(str::to_owned);
    Finding { severity, id, node, object, message: message.into(), remedy: remedy.into() }
}
