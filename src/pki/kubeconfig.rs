//! A kubeconfig (`k8s.io/client-go/tools/clientcmd/api/v1/types.go`): read, changed in place, written back.

mod lines;
mod login;
mod merge;

use std::fmt;

pub use login::{EXEC_API_VERSION, Login, LoginNames, PLUGIN, cluster_body, credential_name};
pub use merge::{Conflict, Merge, MergedFile, merge};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::yaml::too_many_values;
use super::{Certificate, PkiError, PrivateKey, names, read_yaml};

/// Which entries of a kubeconfig are meant, by name; the fields are kubectl's flags. Default: what the current context says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// `--context`, in place of the current one.
    pub context: Option<String>,
    /// `--cluster`, in place of the context's.
    pub cluster: Option<String>,
    /// `--user`, in place of the context's.
    pub user: Option<String>,
}

/// One kubeconfig, or several that are read as one, with a context that leads to a cluster and a user. Fields it does not know are kept.
#[derive(Clone)]
pub struct Kubeconfig {
    files: Vec<Value>,
    context: String,
    cluster: Place,
    user: Option<Place>,
}

/// Where an entry stands.
#[derive(Clone, Copy)]
struct Place {
    file: usize,
    index: usize,
}

impl Kubeconfig {
    /// Reads YAML or JSON with a current context, a cluster and a user.
    ///
    /// # Errors
    /// [`PkiError::Kubeconfig`]: no YAML, no current context, or a context, cluster or user that is named but missing.
    pub fn parse(text: &str) -> Result<Self, PkiError> {
        let (parsed, user) = Self::read(&[text], &Choice::default())?;
        if parsed.user.is_some() { Ok(parsed) } else { Err(missing("user", &user, CURRENT)) }
    }

    /// Reads several files as kubectl does (`KUBECONFIG`, `clientcmd/loader.go`): of what has the same name the first file's counts, as does
    /// the first `current-context`. A user that is missing is no error: the request is then anonymous.
    ///
    /// # Errors
    /// [`PkiError::Kubeconfig`]: no YAML, no context, or a context or cluster that is named but missing.
    pub fn merged(texts: &[impl AsRef<str>], choice: &Choice) -> Result<Self, PkiError> {
        Self::read(texts, choice).map(|(read, _)| read)
    }

    /// The kubeconfig and the name of the user that is wanted.
    fn read(texts: &[impl AsRef<str>], choice: &Choice) -> Result<(Self, String), PkiError> {
        // The parser's own message quotes the line it stumbled over, which may be a key: only the position is passed on.
        let files: Result<Vec<Value>, PkiError> =
            texts.iter().map(|text| read_yaml(text.as_ref()).map_err(|error| unreadable(&error))).collect();
        let files = files?;
        let mut current = files.iter().filter_map(|root| text(root, "current-context"));
        let context = choice.context.clone().or_else(|| current.next());
        let context = context.ok_or_else(|| problem("no current-context is set"))?;
        let by_context = if choice.context.is_some() { "--context names it" } else { CURRENT };
        let roots: Vec<&Value> = files.iter().collect();
        let find = |list: &str, name: &str| find(&roots, list, name).map_err(|(_, error)| error);
        let place = find("contexts", &context)?.ok_or_else(|| missing("context", &context, by_context))?;
        let entry = &entry(&files, "contexts", place)["context"];
        let named =
            |chosen: &Option<String>, key: &str| chosen.clone().or_else(|| text(entry, key)).unwrap_or_default();
        let (cluster, user) = (named(&choice.cluster, "cluster"), named(&choice.user, "user"));
        let by_cluster = if choice.cluster.is_some() { "--cluster names it" } else { by_context };
        let place = find("clusters", &cluster)?.ok_or_else(|| missing("cluster", &cluster, by_cluster))?;
        let found = find("users", &user)?;
        Ok((Self { context, cluster: place, user: found, files }, user))
    }

    /// Address and CAs of the first cluster of a kubeconfig that has no context, as `cluster-info`'s
    /// (`cmd/kubeadm/app/phases/bootstraptoken/clusterinfo`).
    ///
    /// # Errors
    /// [`PkiError::Kubeconfig`]: no YAML, or no CA; a broken certificate.
    pub fn first_cluster(text: &str) -> Result<(String, Vec<Certificate>), PkiError> {
        let root = read_yaml(text).map_err(|error| unreadable(&error))?;
        let cluster = &root["clusters"][0]["cluster"];
        let data = cluster["certificate-authority-data"].as_str().ok_or_else(|| problem("it holds no CA"))?;
        let cas = Certificate::all_from_pem(&decode("certificate-authority-data", data)?)?;
        Ok((cluster["server"].as_str().unwrap_or_default().to_owned(), cas))
    }

    /// YAML with sorted keys, as client-go writes it; of several files the first.
    ///
    /// # Errors
    /// [`PkiError::Kubeconfig`], for a value YAML cannot express.
    pub fn to_yaml(&self) -> Result<Zeroizing<String>, PkiError> {
        self.yaml_of(0)
    }

    /// One of several files, by its position in the list.
    ///
    /// # Errors
    /// As [`Self::to_yaml`].
    pub fn yaml_of(&self, file: usize) -> Result<Zeroizing<String>, PkiError> {
        written(&Sorted(self.files.get(file).unwrap_or(&Value::Null)))
    }

    /// Position of the file in which the cluster's entry stands.
    #[must_use]
    pub fn cluster_file(&self) -> usize {
        self.cluster.file
    }

    /// Position of the file in which the user's entry stands; `None` without one.
    #[must_use]
    pub fn user_file(&self) -> Option<usize> {
        self.user.map(|place| place.file)
    }

    /// Name of the context chosen.
    #[must_use]
    pub fn context_name(&self) -> &str {
        &self.context
    }

    /// Name of its user entry; empty without one.
    #[must_use]
    pub fn user_name(&self) -> &str {
        self.user.map_or("", |place| entry(&self.files, "users", place)["name"].as_str().unwrap_or_default())
    }

    /// Name of its cluster entry.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        entry(&self.files, "clusters", self.cluster)["name"].as_str().unwrap_or_default()
    }

    /// URL of the API server; empty when none is set.
    #[must_use]
    pub fn server(&self) -> &str {
        self.cluster()["server"].as_str().unwrap_or_default()
    }

    /// The name that the server's certificate must have in place of its host.
    #[must_use]
    pub fn tls_server_name(&self) -> Option<String> {
        text(self.cluster(), "tls-server-name")
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

    /// Body of the cluster's entry.
    #[must_use]
    pub fn cluster_entry(&self) -> &Value {
        self.cluster()
    }

    /// Path of a CA file, for a kubeconfig that refers to one.
    #[must_use]
    pub fn ca_file(&self) -> Option<String> {
        text(self.cluster(), "certificate-authority")
    }

    /// Trusts exactly these CAs.
    pub fn set_ca_data(&mut self, cas: &[Certificate]) {
        let pem: String = cas.iter().map(Certificate::to_pem).collect();
        let cluster = &mut self.files[self.cluster.file]["clusters"][self.cluster.index]["cluster"];
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

    /// Path of the client certificate, for a kubeconfig that refers to one (kubelet.conf). Where data stands too, that counts.
    #[must_use]
    pub fn client_certificate_file(&self) -> Option<String> {
        text(self.user(), "client-certificate")
    }

    /// Path of the client key, for a kubeconfig that refers to one. Where data stands too, that counts.
    #[must_use]
    pub fn client_key_file(&self) -> Option<String> {
        text(self.user(), "client-key")
    }

    /// True when the client key stands in the kubeconfig itself, readable or not.
    #[must_use]
    pub fn has_key_data(&self) -> bool {
        self.user()["client-key-data"].as_str().is_some_and(|data| !data.is_empty())
    }

    /// The client key that stands in the file; `None` without one or when it cannot be read.
    #[must_use]
    pub fn client_key(&self) -> Option<PrivateKey> {
        let data = self.user()["client-key-data"].as_str()?;
        let pem = Zeroizing::new(STANDARD.decode(data.trim()).ok()?);
        PrivateKey::from_pem(&pem).ok()
    }

    /// True when the credential is one that certctl's own plugin gives ([`Login::with_exec`]): a certificate too, but in a file elsewhere.
    #[must_use]
    pub fn has_certctl_plugin(&self) -> bool {
        self.user()["exec"]["args"][0] == PLUGIN
    }

    /// Puts a client certificate and its key into the user's entry, in place of what was there or was referred to.
    pub fn set_client(&mut self, certificate: &Certificate, key: &PrivateKey) {
        let Some(place) = self.user else { return };
        let user = &mut self.files[place.file]["users"][place.index]["user"];
        remove(user, "client-certificate");
        remove(user, "client-key");
        wipe(&mut user["client-key-data"]);
        user["client-certificate-data"] = Value::String(STANDARD.encode(certificate.to_pem()));
        user["client-key-data"] = Value::String(STANDARD.encode(key.to_pem().as_bytes()));
    }

    fn cluster(&self) -> &Value {
        &entry(&self.files, "clusters", self.cluster)["cluster"]
    }

    fn user(&self) -> &Value {
        self.user.map_or(&Value::Null, |place| &entry(&self.files, "users", place)["user"])
    }
}

fn written(value: &impl serde::Serialize) -> Result<Zeroizing<String>, PkiError> {
    // Base64 stays on one line: client-go never folds.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(value, options);
    text.map(Zeroizing::new).map_err(|_| problem("it cannot be written as YAML"))
}

/// Why an entry is needed that the current context leads to.
const CURRENT: &str = "the current context needs it";

fn problem(text: &str) -> PkiError {
    PkiError::Kubeconfig(text.to_owned())
}

fn unreadable(error: &serde_saphyr::Error) -> PkiError {
    if too_many_values(error) {
        return problem("it stands for more values than the kubeconfig of three thousand clusters has: split it");
    }
    match error.location() {
        Some(at) => problem(&format!("not readable YAML at line {}, column {}", at.line(), at.column())),
        None => problem("not readable YAML"),
    }
}

fn missing(kind: &str, name: &str, needed_by: &str) -> PkiError {
    problem(&format!("no {kind} is named `{name}`, but {needed_by}"))
}

/// Where the entry `name` stands first; its body must be a mapping, so that setting a field of it cannot fail. The error comes with the
/// file's position.
fn find(files: &[&Value], list: &str, name: &str) -> Result<Option<Place>, (usize, PkiError)> {
    let kind = list.trim_end_matches('s');
    for (file, root) in files.iter().enumerate() {
        let entries = root.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let named = entries.iter().enumerate().find(|(_, entry)| entry["name"].as_str() == Some(name));
        match named {
            Some((index, entry)) if entry[kind].is_object() => return Ok(Some(Place { file, index })),
            Some(_) => return Err((file, problem(&format!("{kind} `{name}` is not a mapping")))),
            None => {}
        }
    }
    Ok(None)
}

/// The entry at a place that [`find`] has found.
fn entry<'a>(files: &'a [Value], list: &str, place: Place) -> &'a Value {
    files.get(place.file).map_or(&Value::Null, |root| &root[list][place.index])
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
        for root in &mut self.files {
            if let Some(users) = root.get_mut("users") {
                wipe(users);
            }
        }
    }
}

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kubeconfig(context {}, user {}, server {})", self.context, self.user_name(), self.server())
    }
}
