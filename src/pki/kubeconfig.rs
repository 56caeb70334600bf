//! A kubeconfig (`k8s.io/client-go/tools/clientcmd/api/v1/types.go`): read, changed in place, written back.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::{Certificate, PkiError, PrivateKey};

/// A kubeconfig with a current context that leads to a cluster and a user. Fields it does not know are kept.
#[derive(Clone)]
pub struct Kubeconfig {
    root: Value,
    context: String,
    cluster: usize,
    user: usize,
}

impl Kubeconfig {
    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// [`PkiError::Kubeconfig`]: no YAML, no current context, or a context, cluster or user that is named but missing.
    pub fn parse(text: &str) -> Result<Self, PkiError> {
        // The parser's own message quotes the line it stumbled over, which may be a key: only the position is passed on.
        let root: Value = serde_saphyr::from_str(text).map_err(|error| unreadable(&error))?;
        let context = root.get("current-context").and_then(Value::as_str).filter(|name| !name.is_empty());
        let context = context.ok_or_else(|| problem("no current-context is set"))?.to_owned();
        let entry = &root["contexts"][index(&root, "contexts", &context)?]["context"];
        let cluster = index(&root, "clusters", entry["cluster"].as_str().unwrap_or_default())?;
        let user = index(&root, "users", entry["user"].as_str().unwrap_or_default())?;
        Ok(Self { root, context, cluster, user })
    }

    /// YAML with sorted keys, as client-go writes it.
    ///
    /// # Errors
    /// [`PkiError::Kubeconfig`], for a value YAML cannot express.
    pub fn to_yaml(&self) -> Result<Zeroizing<String>, PkiError> {
        // Base64 stays on one line: client-go never folds.
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        let text = serde_saphyr::to_string_with_options(&Sorted(&self.root), options);
        text.map(Zeroizing::new).map_err(|_| problem("it cannot be written as YAML"))
    }

    /// Name of the current context.
    #[must_use]
    pub fn context_name(&self) -> &str {
        &self.context
    }

    /// Name of its user entry.
    #[must_use]
    pub fn user_name(&self) -> &str {
        self.root["users"][self.user]["name"].as_str().unwrap_or_default()
    }

    /// Name of its cluster entry.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        self.root["clusters"][self.cluster]["name"].as_str().unwrap_or_default()
    }

    /// URL of the API server; empty when none is set.
    #[must_use]
    pub fn server(&self) -> &str {
        self.cluster()["server"].as_str().unwrap_or_default()
    }

    /// The CAs it trusts, in order; none when `certificate-authority-data` is absent.
    ///
    /// # Errors
    /// Data that is not base64, or a broken certificate in it.
    pub fn ca_data(&self) -> Result<Vec<Certificate>, PkiError> {
        match self.cluster()["certificate-authority-data"].as_str().filter(|data| !data.is_empty()) {
            None => Ok(Vec::new()),
            Some(data) => Certificate::all_from_pem(&decode("certificate-authority-data", data)?),
        }
    }

    /// Path of a CA file, for a kubeconfig that refers to one.
    #[must_use]
    pub fn ca_file(&self) -> Option<String> {
        text(self.cluster(), "certificate-authority")
    }

    /// Trusts exactly these CAs.
    pub fn set_ca_data(&mut self, cas: &[Certificate]) {
        let pem: String = cas.iter().map(Certificate::to_pem).collect();
        let cluster = &mut self.root["clusters"][self.cluster]["cluster"];
        remove(cluster, "certificate-authority");
        cluster["certificate-authority-data"] = Value::String(STANDARD.encode(pem));
    }

    /// The client certificate that stands in the file; `None` without one or when it cannot be read.
    #[must_use]
    pub fn client_certificate(&self) -> Option<Certificate> {
        self.client_certificate_pem().and_then(|pem| Certificate::first_from_pem(&pem).ok())
    }

    /// Its PEM as it stands there, for a caller that wants to say why it cannot be read.
    #[must_use]
    pub fn client_certificate_pem(&self) -> Option<Vec<u8>> {
        let data = self.user()["client-certificate-data"].as_str().filter(|data| !data.is_empty())?;
        // Bytes that are no base64 are handed on, so that they are reported as a broken certificate and not as none.
        Some(STANDARD.decode(data.trim()).unwrap_or_else(|_| data.as_bytes().to_vec()))
    }

    /// Path of the client certificate, for a kubeconfig that refers to one (kubelet.conf).
    #[must_use]
    pub fn client_certificate_file(&self) -> Option<String> {
        text(self.user(), "client-certificate")
    }

    /// The client key that stands in the file; `None` without one or when it cannot be read.
    #[must_use]
    pub fn client_key(&self) -> Option<PrivateKey> {
        let data = self.user()["client-key-data"].as_str()?;
        let pem = Zeroizing::new(STANDARD.decode(data.trim()).ok()?);
        PrivateKey::from_pem(&pem).ok()
    }

    /// Puts a client certificate and its key into the file, in place of what was there or was referred to.
    pub fn set_client(&mut self, certificate: &Certificate, key: &PrivateKey) {
        let user = &mut self.root["users"][self.user]["user"];
        remove(user, "client-certificate");
        remove(user, "client-key");
        wipe(&mut user["client-key-data"]);
        user["client-certificate-data"] = Value::String(STANDARD.encode(certificate.to_pem()));
        user["client-key-data"] = Value::String(STANDARD.encode(key.to_pem().as_bytes()));
    }

    fn cluster(&self) -> &Value {
        &self.root["clusters"][self.cluster]["cluster"]
    }

    fn user(&self) -> &Value {
        &self.root["users"][self.user]["user"]
    }
}

fn problem(text: &str) -> PkiError {
    PkiError::Kubeconfig(text.to_owned())
}

fn unreadable(error: &serde_saphyr::Error) -> PkiError {
    match error.location() {
        Some(at) => problem(&format!("not readable YAML at line {}, column {}", at.line(), at.column())),
        None => problem("not readable YAML"),
    }
}

/// Position of the entry `name` in a list; its body must be a mapping, so that setting a field of it cannot fail.
fn index(root: &Value, list: &str, name: &str) -> Result<usize, PkiError> {
    let kind = list.trim_end_matches('s');
    let entries = root.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let found = entries.iter().position(|entry| entry["name"].as_str() == Some(name));
    let found =
        found.ok_or_else(|| problem(&format!("no {kind} is named `{name}`, but the current context needs it")))?;
    let is_mapping = entries.get(found).is_some_and(|entry| entry[kind].is_object());
    if is_mapping { Ok(found) } else { Err(problem(&format!("{kind} `{name}` is not a mapping"))) }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn decode(field: &str, data: &str) -> Result<Vec<u8>, PkiError> {
    STANDARD.decode(data.trim()).map_err(|_| problem(&format!("{field} is not base64")))
}

fn remove(value: &mut Value, key: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(key);
    }
}

/// Overwrites every string below `value`.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        _ => {}
    }
}

/// Serialises mappings with sorted keys, whatever map serde_json was built with.
struct Sorted<'a>(&'a Value);

impl serde::Serialize for Sorted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let sorted: std::collections::BTreeMap<&String, Sorted<'_>> =
                    map.iter().map(|(key, value)| (key, Sorted(value))).collect();
                serializer.collect_map(sorted)
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            other => other.serialize(serializer),
        }
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        wipe(&mut self.root["users"]);
    }
}

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kubeconfig(context {}, user {}, server {})", self.context, self.user_name(), self.server())
    }
}
