//! A login put into the kubeconfigs of somebody who has others, by kubectl's rules (`k8s.io/client-go/tools/clientcmd/config.go`,
//! `ModifyConfig`): an entry is changed in the file in which it counts, a new one goes to the default file.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::lines::{put_entry, set_scalar};
use super::login::{differing, is_known};
use super::{Login, PkiError, Sorted, find, problem, text, unreadable, wipe, written};
use crate::pki::read_yaml;

/// An entry of the same name that says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Position of its file in the list.
    pub file: usize,
    /// `cluster`, `user` or `context`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The fields that would change. Names only: their values may be secret.
    pub fields: Vec<String>,
}

/// A file with its new content.
pub struct MergedFile {
    /// Position in the list.
    pub file: usize,
    /// YAML.
    pub text: Zeroizing<String>,
    /// Written anew from what it says: comments are lost, keys sorted. For files that are not written line by line (JSON, flow style).
    pub reformatted: bool,
}

/// What a login would change.
pub struct Merge {
    /// Entries that would be overwritten.
    pub conflicts: Vec<Conflict>,
    /// The files that change, in the order in which they are to be written. None when everything is there already.
    pub files: Vec<MergedFile>,
    /// True when the login's context is the current one then.
    pub is_current: bool,
}

/// Puts `login` into these files, of which those with no text are not there yet. A new entry goes to the file `default`. The context
/// becomes the current one when there is none, or when `make_current` says so.
///
/// # Errors
/// [`PkiError::Kubeconfig`] with the file's position: no YAML, or an entry of the same name that is no mapping.
pub fn merge(
    texts: &[impl AsRef<str>],
    default: usize,
    login: &Login,
    make_current: bool,
) -> Result<Merge, (usize, PkiError)> {
    let mut files: Vec<Edited> = Vec::new();
    for (file, text) in texts.iter().enumerate() {
        files.push(Edited::read(text.as_ref()).map_err(|error| (file, error))?);
    }
    let roots: Vec<&Value> = files.iter().map(|file| &file.root).collect();
    let mut conflicts = Vec::new();
    let mut edits = Vec::new();
    for (kind, name, body) in login.entries() {
        let list = format!("{kind}s");
        match find(&roots, &list, name)? {
            None => edits.push((default, list, None, json!({ kind: body, "name": name }))),
            Some(place) => {
                let held = &roots[place.file][&list][place.index];
                if login.says(kind, &body, &held[kind]) {
                    continue;
                }
                // Where nothing was said, nothing is lost.
                if !differing(&Value::Null, &held[kind]).is_empty() {
                    let fields = differing(&body, &held[kind]);
                    conflicts.push(Conflict { file: place.file, kind, name: name.to_owned(), fields });
                }
                edits.push((place.file, list, Some(place.index), overwritten(held, kind, &body)));
            }
        }
    }
    let current = roots.iter().find_map(|root| text(root, "current-context"));
    let context = &login.names().context;
    let was_current = current.as_ref() == Some(context);
    let becomes_current = current.is_none() || (make_current && !was_current);
    let mut order = Vec::new();
    for (file, list, index, entry) in edits {
        files[file].put(&list, index, entry).map_err(|error| (file, error))?;
        order.push(file);
    }
    if becomes_current {
        files[default].set_current(context).map_err(|error| (default, error))?;
        order.push(default);
    }
    let mut seen = std::collections::BTreeSet::new();
    order.retain(|file| seen.insert(*file));
    let files = order.into_iter().map(|file| files[file].finished(file)).collect();
    Ok(Merge { conflicts, files, is_current: becomes_current || was_current })
}

/// The entry that stands there with another body: what kubectl knows is replaced, what it does not know is kept, and so is a context's
/// namespace.
fn overwritten(held: &Value, kind: &str, body: &Value) -> Value {
    let mut entry = held.clone();
    let kept = |field: &str| !is_known(field) || field == "namespace";
    let mut fields: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
    for (field, value) in held[kind].as_object().into_iter().flatten() {
        if kept(field) && !fields.contains_key(field) {
            fields.insert(field.clone(), value.clone());
        }
    }
    wipe(&mut entry[kind]);
    entry[kind] = Value::Object(fields);
    entry
}

/// A file as text and as what it says, changed together.
struct Edited {
    text: Zeroizing<String>,
    root: Value,
    /// It said nothing: the whole of it is written anew.
    anew: bool,
    /// There is something in it that could get lost.
    has_text: bool,
    reformatted: bool,
}

impl Edited {
    fn read(text: &str) -> Result<Self, PkiError> {
        let root = parse(text)?;
        let (anew, has_text) = (root.is_null(), !text.trim().is_empty());
        Ok(Self { text: Zeroizing::new(text.to_owned()), root, anew, has_text, reformatted: false })
    }

    fn put(&mut self, list: &str, index: Option<usize>, entry: Value) -> Result<(), PkiError> {
        self.begin();
        let mut item = Value::Array(vec![entry]);
        let lines = written(&Sorted(&item))?;
        let entry = item.as_array_mut().and_then(Vec::pop).unwrap_or_default();
        if !self.root[list].is_array() {
            self.root[list] = json!([]);
        }
        let entries = self.root[list].as_array_mut().ok_or_else(|| problem(&format!("{list} is no list")))?;
        match index.and_then(|index| entries.get_mut(index)) {
            Some(place) => {
                wipe(place);
                *place = entry;
            }
            None => entries.push(entry),
        }
        self.take(put_entry(&self.text, list, index, &lines))
    }

    fn set_current(&mut self, context: &str) -> Result<(), PkiError> {
        self.begin();
        self.root["current-context"] = Value::String(context.to_owned());
        let value = written(&self.root["current-context"])?;
        self.take(Some(set_scalar(&self.text, "current-context", value.trim_end())))
    }

    /// A file that is not there yet, or is empty, gets its head.
    fn begin(&mut self) {
        if self.root.is_null() {
            self.root = json!({ "apiVersion": "v1", "kind": "Config" });
        }
    }

    /// The edited text where it says what it must, else the whole file anew.
    fn take(&mut self, edited: Option<Zeroizing<String>>) -> Result<(), PkiError> {
        let right = edited.filter(|text| !self.anew && self.is_said_by(text));
        self.reformatted |= right.is_none() && self.has_text;
        self.text = match right {
            Some(text) => text,
            None => written(&Sorted(&self.root))?,
        };
        Ok(())
    }

    fn is_said_by(&self, text: &str) -> bool {
        parse(text).is_ok_and(|mut root| {
            let same = root == self.root;
            wipe(&mut root);
            same
        })
    }

    fn finished(&mut self, file: usize) -> MergedFile {
        MergedFile { file, text: std::mem::take(&mut self.text), reformatted: self.reformatted }
    }
}

impl Drop for Edited {
    fn drop(&mut self) {
        wipe(&mut self.root);
    }
}

/// `null` for an empty file.
fn parse(text: &str) -> Result<Value, PkiError> {
    let meant = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    if !text.lines().any(meant) {
        return Ok(Value::Null);
    }
    let root = read_yaml(text).map_err(|error| unreadable(&error))?;
    if root.is_object() || root.is_null() { Ok(root) } else { Err(problem("it is no mapping")) }
}
