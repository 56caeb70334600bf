//! One credential as a kubeconfig has it: a cluster, a user, and a context that joins them.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Certificate, PkiError, PrivateKey, Sorted, names, wipe, written};

/// Version of the exec credential plugin's protocol (`k8s.io/client-go/pkg/apis/clientauthentication/v1`).
pub const EXEC_API_VERSION: &str = "client.authentication.k8s.io/v1";

/// The command of certctl that is an exec credential plugin.
pub const PLUGIN: &str = "credential-plugin";

/// The names of its three entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginNames {
    /// Of the context.
    pub context: String,
    /// Of the cluster.
    pub cluster: String,
    /// Of the user's entry, which need not be the user's name to Kubernetes.
    pub user: String,
}

/// A cluster, a user and a context that are to stand in a kubeconfig. The user's body is empty until a credential is put in.
pub struct Login {
    names: LoginNames,
    cluster: Value,
    /// A body that a cluster's entry may have as well: it means the same.
    cluster_as_held: Option<Value>,
    user: Value,
}

impl Login {
    /// A login at the cluster whose entry has this body (an object as in `clusters[].cluster`).
    #[must_use]
    pub fn new(names: LoginNames, cluster: Value) -> Self {
        Self { names, cluster, cluster_as_held: None, user: json!({}) }
    }

    /// Takes an entry with this body for the same cluster, and leaves it as it is: one that names a file with the very CAs that stand here,
    /// for example.
    #[must_use]
    pub fn or_cluster_as_held(mut self, body: Value) -> Self {
        self.cluster_as_held = Some(body);
        self
    }

    /// With a client certificate and its key, in place of what was there.
    #[must_use]
    pub fn with_client(mut self, certificate: &Certificate, key: &PrivateKey) -> Self {
        wipe(&mut self.user);
        self.user = json!({
            "client-certificate-data": STANDARD.encode(certificate.to_pem()),
            "client-key-data": STANDARD.encode(key.to_pem().as_bytes()),
        });
        self
    }

    /// With a program that gives the credential, never asks anybody, and is told of the cluster (`ExecConfig`).
    #[must_use]
    pub fn with_exec(mut self, command: &str, arguments: &[String], install_hint: &str) -> Self {
        wipe(&mut self.user);
        self.user = json!({
            "exec": {
                "apiVersion": EXEC_API_VERSION,
                "args": arguments,
                "command": command,
                "env": null,
                "installHint": install_hint,
                "interactiveMode": "Never",
                "provideClusterInfo": true,
            },
        });
        self
    }

    /// The same login without a credential.
    #[must_use]
    pub fn again(&self) -> Self {
        let (names, cluster) = (self.names.clone(), self.cluster.clone());
        Self { names, cluster, cluster_as_held: self.cluster_as_held.clone(), user: json!({}) }
    }

    /// The names of its entries.
    #[must_use]
    pub fn names(&self) -> &LoginNames {
        &self.names
    }

    /// A kubeconfig that holds this login only, with the context as the current one; keys sorted, as client-go writes them.
    ///
    /// # Errors
    /// [`PkiError::Kubeconfig`], for a value YAML cannot express.
    pub fn to_yaml(&self) -> Result<Zeroizing<String>, PkiError> {
        let mut root = json!({ "apiVersion": "v1", "kind": "Config", "current-context": self.names.context });
        for (kind, name, body) in self.entries() {
            root[format!("{kind}s")] = json!([{ "name": name, kind: body }]);
        }
        let text = written(&Sorted(&root));
        wipe(&mut root);
        text
    }

    /// Kind, name and body of each entry, the trust first: whoever reads between two writes must not present a credential to a server
    /// that cannot be verified.
    pub(super) fn entries(&self) -> [(&'static str, &str, Value); 3] {
        let LoginNames { context, cluster, user } = &self.names;
        [
            ("cluster", cluster, self.cluster.clone()),
            ("user", user, self.user.clone()),
            ("context", context, json!({ "cluster": cluster, "user": user })),
        ]
    }

    /// True when this body of an entry says what the login's does.
    pub(super) fn says(&self, kind: &str, wanted: &Value, held: &Value) -> bool {
        let as_held = self.cluster_as_held.as_ref().filter(|_| kind == "cluster");
        differing(wanted, held).is_empty() || as_held.is_some_and(|body| differing(body, held).is_empty())
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        wipe(&mut self.user);
    }
}

/// The body of a cluster's entry: that of `like`, with these CAs as its trust. Without any it is left as it is.
#[must_use]
pub fn cluster_body(server: &str, like: Option<&Value>, trust: &[Certificate]) -> Value {
    let mut body = like.filter(|body| body.is_object()).cloned().unwrap_or_else(|| json!({}));
    body["server"] = Value::String(server.to_owned());
    if !trust.is_empty() {
        super::remove(&mut body, "certificate-authority");
        super::remove(&mut body, "insecure-skip-tls-verify");
        let pem: String = trust.iter().map(Certificate::to_pem).collect();
        body["certificate-authority-data"] = Value::String(STANDARD.encode(pem));
    }
    body
}

/// A file name for the credential of this user in these groups at this cluster: readable, and told apart from every other by its end.
#[must_use]
pub fn credential_name(user: &str, groups: &[String], cluster: &str, server: &str) -> String {
    let plain = |text: &str| -> String {
        let keep = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        text.chars().map(keep).take(60).collect::<String>().trim_start_matches('.').to_owned()
    };
    let whole = json!([server, user, groups]).to_string();
    let hash = digest::digest(&digest::SHA256, whole.as_bytes());
    let end = names::hex(hash.as_ref().get(..8).unwrap_or_default());
    format!("{}@{}-{end}", plain(user), plain(cluster))
}

/// The fields in which two bodies differ. A field that says nothing (`null`, `false`, an empty text) is as good as none, foreign fields
/// of `held` do not count, and a bundle is a set: the order of CAs matters to signers only.
pub(super) fn differing(wanted: &Value, held: &Value) -> Vec<String> {
    let fields = |body: &Value| body.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut all: Vec<String> = fields(wanted);
    all.extend(fields(held).into_iter().filter(|field| is_known(field)));
    all.sort();
    all.dedup();
    let same = |field: &str| {
        let (wanted, held) = (says(&wanted[field]), says(&held[field]));
        // A context without a namespace says nothing about it: the one that somebody has set is kept.
        wanted == held
            || (field == "namespace" && wanted.is_none())
            || (field == "certificate-authority-data" && bundle(wanted).is_some_and(|cas| Some(cas) == bundle(held)))
    };
    all.retain(|field| !same(field));
    all
}

fn says(value: &Value) -> Option<&Value> {
    let nothing = value.is_null() || value == &Value::Bool(false) || value.as_str() == Some("");
    (!nothing).then_some(value)
}

fn bundle(value: Option<&Value>) -> Option<Vec<String>> {
    let pem = STANDARD.decode(value?.as_str()?.trim()).ok()?;
    let mut cas: Vec<String> = Certificate::all_from_pem(&pem).ok()?.iter().map(Certificate::fingerprint).collect();
    cas.sort();
    cas.dedup();
    Some(cas)
}

/// The fields that kubectl knows (`k8s.io/client-go/tools/clientcmd/api/v1/types.go`), but for `extensions`, which are somebody else's.
pub(super) fn is_known(field: &str) -> bool {
    const KNOWN: [&str; 24] = [
        "server",
        "tls-server-name",
        "insecure-skip-tls-verify",
        "certificate-authority",
        "certificate-authority-data",
        "proxy-url",
        "disable-compression",
        "client-certificate",
        "client-certificate-data",
        "client-key",
        "client-key-data",
        "token",
        "tokenFile",
        "as",
        "as-uid",
        "as-groups",
        "as-user-extra",
        "username",
        "password",
        "auth-provider",
        "exec",
        "cluster",
        "user",
        "namespace",
    ];
    KNOWN.contains(&field)
}
