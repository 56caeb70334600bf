//! Changes of objects that others write too: an edit is made only to what was read.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::error::ClusterError;
use super::pki_objects::DRIVER;

/// Attempts to write an object that others keep changing.
const ATTEMPTS: usize = 5;

/// One edit: JSON pointer (RFC 6901) and the text that shall stand there.
pub(super) type Edit = (String, String);

/// Reads an object and makes the edits that `wanted` finds necessary; none is no write.
///
/// The patch tests the resourceVersion, so that neither a place that moved nor a text that somebody else wrote in the meantime is
/// overwritten. Then the object is read again, a bounded number of times.
///
/// # Errors
/// A failed call, what `wanted` says about the content, or others who never stop writing.
pub(super) async fn edit(
    api: &Api<DynamicObject>,
    name: &str,
    label: &str,
    wanted: impl Fn(&Value) -> Result<Vec<Edit>, String>,
) -> Result<(), ClusterError> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let object = api.get(name).await.map_err(ClusterError::call("read", label))?;
        let edits = wanted(&object.data).map_err(|problem| ClusterError::content(label, problem))?;
        if edits.is_empty() {
            return Ok(());
        }
        let patch = guarded(&object, &edits).map_err(|error| ClusterError::content(label, error))?;
        let params = PatchParams { field_manager: Some(DRIVER.into()), ..PatchParams::default() };
        match api.patch(name, &params, &patch).await {
            Ok(_) => return Ok(()),
            Err(error) if left > 0 && is_conflict(&error) => tracing::debug!(label, %error, "changed meanwhile"),
            Err(error) => return Err(ClusterError::call("write", label)(error)),
        }
    }
}

/// 409, or 422 for a test that failed (`apiserver/pkg/endpoints/handlers/patch.go`).
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 409 | 422))
}

fn guarded(object: &DynamicObject, edits: &[Edit]) -> serde_json::Result<Patch<()>> {
    let version = &object.metadata.resource_version;
    let mut patch = vec![json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version })];
    // The old texts are not tested: the API server compares strings as they are encoded, and Go encodes `>` as `\u003e`.
    // `add` replaces what is there (RFC 6902, 4.1) and needs nothing to be there.
    patch.extend(edits.iter().map(|(path, text)| json!({ "op": "add", "path": path, "value": text })));
    serde_json::from_value(Value::Array(patch)).map(Patch::Json)
}

#[cfg(test)]
mod tests;
