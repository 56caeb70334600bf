//! One certificate as it stands in a file of the node: a line of `certctl inspect`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pki::{CaId, Certificate, Kubeconfig, Words, hex};

/// What a certificate is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateKind {
    /// A CA in a CA file.
    Authority,
    /// A CA certificate behind a leaf: part of the chain that is served.
    Chain,
    /// A leaf under `pki/`.
    Leaf,
    /// The client certificate in a kubeconfig.
    KubeconfigClient,
    /// A CA in a kubeconfig.
    KubeconfigAuthority,
    /// The kubelet's client certificate.
    KubeletClient,
    /// The kubelet's serving certificate.
    KubeletServing,
    /// A CA in an object of the API: kube-root-ca.crt, cluster-info, a token Secret, a caBundle.
    Trust,
    /// What an endpoint showed in a handshake.
    Served,
}

/// What is wrong with a certificate's file or with the key beside it, for programs; [`CertificateRow::problem`] says it to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The file, or this block of it, gave no certificate.
    Unreadable,
    /// The private key belongs to another certificate.
    KeyMismatch,
    /// The private key cannot be read.
    KeyUnreadable,
    /// There is no private key.
    KeyMissing,
    /// There is no certificate, and none is needed: a kubeconfig with a token, a plugin, or files elsewhere.
    NoCertificate,
}

/// One certificate of one file. A file that cannot be read is one row with a [`Self::problem`] and little else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRow {
    /// Path on the node.
    pub path: String,
    /// Which certificate of that file, from 0.
    pub index: u32,
    /// What it is there for.
    pub kind: CertificateKind,
    /// Name of the user or cluster of a kubeconfig in which it stands; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Subject as Go prints it.
    #[serde(default)]
    pub subject: String,
    /// DNS names and IP addresses.
    #[serde(default)]
    pub sans: Vec<String>,
    /// Issuer as Go prints it.
    #[serde(default)]
    pub issuer: String,
    /// The CA whose key signed it, by a real signature check; `None`: no CA known on the node did.
    #[serde(default)]
    pub issuer_id: Option<CaId>,
    /// Its own identity when it is a CA.
    #[serde(default)]
    pub ca_id: Option<CaId>,
    /// Serial number, hex.
    #[serde(default)]
    pub serial: String,
    /// SHA-256 of the DER, hex.
    #[serde(default)]
    pub fingerprint: String,
    /// RFC 3339; empty when unreadable.
    #[serde(default)]
    pub not_before: String,
    /// RFC 3339; empty when unreadable.
    #[serde(default)]
    pub not_after: String,
    /// notAfter, seconds since the Unix epoch; 0 when unreadable.
    #[serde(default)]
    pub not_after_seconds: i64,
    /// `client auth`, `server auth`, `CA`.
    #[serde(default)]
    pub usages: Vec<Cow<'static, str>>,
    /// Key algorithm and size.
    #[serde(default)]
    pub key_algorithm: Cow<'static, str>,
    /// Algorithm of the issuer's signature, by Go's name (`SHA256-RSA`).
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub signature_algorithm: Cow<'static, str>,
    /// Subject key identifier, hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject_key_id: String,
    /// Mode of the file that holds the private key, octal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_mode: Option<String>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The same, as one of a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

impl CertificateRow {
    pub(crate) fn new(
        path: &str,
        index: usize,
        kind: CertificateKind,
        certificate: Certificate,
        issuer: Option<CaId>,
    ) -> Self {
        let usages = [
            ("CA", certificate.is_ca()),
            ("server auth", certificate.server_auth()),
            ("client auth", certificate.client_auth()),
        ];
        let usages = usages.into_iter().filter(|(_, has)| *has).map(|(name, _)| Cow::Borrowed(name)).collect();
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        let row = Self {
            path: path.to_owned(),
            index: u32::try_from(index).unwrap_or(u32::MAX),
            issuer_id: issuer,
            ca_id: certificate.is_ca().then(|| certificate.ca_id()),
            fingerprint: certificate.fingerprint(),
            not_before: not_before.to_string(),
            not_after: not_after.to_string(),
            not_after_seconds: not_after.as_second(),
            usages,
            key_algorithm: certificate.key_description(),
            signature_algorithm: certificate.signature_description(),
            subject_key_id: certificate.subject_key_id().map(hex).unwrap_or_default(),
            ..Self::empty(kind)
        };
        let addresses = certificate.ip_addresses();
        let Words { subject, issuer, serial_hex: serial, dns_names: mut sans } = certificate.into_words();
        sans.extend(addresses.iter().map(ToString::to_string));
        Self { subject, issuer, serial, sans, ..row }
    }

    pub(crate) fn broken(path: &str, index: usize, kind: CertificateKind, problem: String) -> Self {
        Self {
            path: path.to_owned(),
            index: u32::try_from(index).unwrap_or(u32::MAX),
            problem: Some(problem),
            fault: Some(Fault::Unreadable),
            ..Self::empty(kind)
        }
    }

    const fn empty(kind: CertificateKind) -> Self {
        Self {
            path: String::new(),
            index: 0,
            kind,
            entry: None,
            subject: String::new(),
            sans: Vec::new(),
            issuer: String::new(),
            issuer_id: None,
            ca_id: None,
            serial: String::new(),
            fingerprint: String::new(),
            not_before: String::new(),
            not_after: String::new(),
            not_after_seconds: 0,
            usages: Vec::new(),
            key_algorithm: Cow::Borrowed(""),
            signature_algorithm: Cow::Borrowed(""),
            subject_key_id: String::new(),
            key_mode: None,
            problem: None,
            fault: None,
        }
    }

    /// Notes in which entry of its kubeconfig it stands.
    pub(crate) fn stands_in(&mut self, conf: &Kubeconfig) {
        let name = match self.kind {
            CertificateKind::KubeconfigClient => conf.user_name(),
            CertificateKind::KubeconfigAuthority => conf.cluster_name(),
            _ => "",
        };
        self.entry = Some(name.to_owned()).filter(|name| !name.is_empty());
    }
}

/// The CA among `known` whose key signed `certificate`: by the authority key identifier first (RFC 5280 section 4.2.1.1), then
/// by name; the signature decides. A CA that signed itself finds itself.
pub(crate) fn issuer_of(certificate: &Certificate, known: &[Certificate]) -> Option<CaId> {
    let wanted = certificate.authority_key_id();
    let by_key = known.iter().filter(|ca| wanted.is_some() && ca.subject_key_id() == wanted);
    let by_name = known.iter().filter(|ca| wanted.is_none() || ca.subject_key_id() != wanted);
    by_key.chain(by_name).find(|ca| certificate.signed_by(ca)).map(Certificate::ca_id)
}
