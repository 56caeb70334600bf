//! Whether JSON is what a schema says: the keywords that schemars writes, and no field that the schema does not name.
//! The command-line tests are built with this file too, so it uses nothing of the crate.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Holds a document against its schema.
///
/// # Errors
/// The first place where they differ; a keyword that is not known here, so that none is passed over.
pub(crate) fn conforms(schema: &Value, document: &Value) -> Result<(), String> {
    Conformance { root: schema }.value(schema, document, "$")
}

struct Conformance<'a> {
    root: &'a Value,
}

impl Conformance<'_> {
    /// One value, whose fields are all known.
    fn value(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let known = self.known_fields(schema, value, at)?;
        match value.as_object().into_iter().flat_map(Map::keys).find(|name| !known.contains(*name)) {
            Some(name) => Err(format!("{at}.{name} is not in the schema")),
            None => Ok(()),
        }
    }

    /// The fields that this schema, or a part of it that applies to the same value, names.
    fn known_fields(&self, schema: &Value, value: &Value, at: &str) -> Result<BTreeSet<String>, String> {
        let keywords = schema.as_object().ok_or_else(|| format!("{at}: {schema} is no schema"))?;
        let mut known = BTreeSet::new();
        for (keyword, wanted) in keywords {
            match keyword.as_str() {
                "$ref" => known.extend(self.known_fields(self.definition(wanted)?, value, at)?),
                "anyOf" | "oneOf" => known.extend(self.branch(keyword, wanted, value, at)?),
                "properties" => known.extend(self.properties(wanted, value, at)?),
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.value(wanted, item, &format!("{at}[{index}]"))?;
                    }
                }
                "$schema" | "$defs" | "title" | "description" | "default" => {}
                _ if holds(keyword, wanted, value).ok_or_else(|| format!("{at}: what is `{keyword}`?"))? => {}
                _ => return Err(format!("{at}: {value} against {keyword} {wanted}")),
            }
        }
        Ok(known)
    }

    fn definition(&self, reference: &Value) -> Result<&Value, String> {
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#'));
        pointer.and_then(|pointer| self.root.pointer(pointer)).ok_or_else(|| format!("{reference} leads nowhere"))
    }

    /// The branch that fits; of `oneOf` no second one may.
    fn branch(&self, keyword: &str, branches: &Value, value: &Value, at: &str) -> Result<BTreeSet<String>, String> {
        let tried = branches.as_array().into_iter().flatten().map(|branch| self.known_fields(branch, value, at));
        let (mut fits, mut misfits) = (Vec::new(), Vec::new());
        for outcome in tried {
            match outcome {
                Ok(known) => fits.push(known),
                Err(misfit) => misfits.push(misfit),
            }
        }
        match fits.len() {
            0 => Err(format!("{at} fits no branch: {}", misfits.join("; "))),
            2.. if keyword == "oneOf" => Err(format!("{at}: {value} fits {} branches of oneOf", fits.len())),
            _ => Ok(fits.into_iter().flatten().collect()),
        }
    }

    fn properties(&self, properties: &Value, value: &Value, at: &str) -> Result<BTreeSet<String>, String> {
        let mut known = BTreeSet::new();
        for (name, schema) in properties.as_object().into_iter().flatten() {
            if let Some(field) = value.get(name) {
                self.value(schema, field, &format!("{at}.{name}"))?;
            }
            known.insert(name.clone());
        }
        Ok(known)
    }
}

/// What can be said of a value without looking into it; `None` for a keyword that is not known.
fn holds(keyword: &str, wanted: &Value, value: &Value) -> Option<bool> {
    let length = || value.as_str().map(|text| text.chars().count() as u64);
    Some(match keyword {
        "type" => match wanted {
            Value::Array(types) => types.iter().any(|wanted| is_of_type(wanted, value)),
            one => is_of_type(one, value),
        },
        "const" => value == wanted,
        "enum" => wanted.as_array()?.contains(value),
        "required" => {
            let lacks = |name: &Value| name.as_str().is_some_and(|name| value.get(name).is_none());
            !value.is_object() || !wanted.as_array()?.iter().any(lacks)
        }
        "format" => match wanted.as_str()? {
            "date-time" => value.as_str().is_none_or(|text| text.parse::<jiff::Timestamp>().is_ok()),
            // Of numbers: the type in Rust, which `minimum` says where it matters.
            "uint" | "uint32" | "uint64" | "int64" | "double" => true,
            _ => return None,
        },
        "minimum" => value.as_f64().zip(wanted.as_f64()).is_none_or(|(value, least)| value >= least),
        "minLength" => length().zip(wanted.as_u64()).is_none_or(|(length, least)| length >= least),
        "maxLength" => length().zip(wanted.as_u64()).is_none_or(|(length, most)| length <= most),
        "uniqueItems" => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().enumerate().all(|(index, item)| !items[..index].contains(item))
        }
        _ => return None,
    })
}

fn is_of_type(wanted: &Value, value: &Value) -> bool {
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => return wanted == "integer" || wanted == "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    wanted == is
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A schema of each keyword.
    fn schema() -> Value {
        json!({
            "type": "object",
            "required": ["kind"],
            "properties": {
                "kind": { "const": "Pair" },
                "at": { "type": "string", "format": "date-time" },
                "count": { "type": ["integer", "null"], "minimum": 1 },
                "names": { "type": "array", "uniqueItems": true, "items": { "$ref": "#/$defs/Name" } },
            },
            "oneOf": [
                { "type": "object", "properties": { "type": { "const": "A" }, "left": { "enum": ["l"] } }, "required": ["type"] },
                { "type": "object", "properties": { "type": { "const": "B" }, "right": { "anyOf": [{ "type": "null" }, { "const": "r" }] } },
                  "required": ["type"] },
            ],
            "$defs": { "Name": { "type": "string", "minLength": 2, "maxLength": 3 } },
        })
    }

    #[test]
    fn what_a_schema_allows_conforms() {
        for document in [
            json!({ "kind": "Pair", "type": "A", "left": "l" }),
            json!({ "kind": "Pair", "type": "B", "right": null, "count": null, "at": "2026-11-22T12:00:00Z" }),
            json!({ "kind": "Pair", "type": "B", "right": "r", "count": 1, "names": ["ab", "abc"] }),
        ] {
            conforms(&schema(), &document).unwrap();
        }
    }

    #[test]
    fn what_a_schema_does_not_allow_is_named() {
        for (place, document) in [
            ("$: [] against type", json!([])),
            ("$: {\"type\":\"A\"} against required", json!({ "type": "A" })),
            ("$.kind: \"Other\" against const", json!({ "kind": "Other", "type": "A" })),
            ("$ fits no branch", json!({ "kind": "Pair", "type": "C" })),
            ("$.right is not in the schema", json!({ "kind": "Pair", "type": "A", "right": "r" })),
            ("$.left: \"x\" against enum", json!({ "kind": "Pair", "type": "A", "left": "x" })),
            ("$.right fits no branch", json!({ "kind": "Pair", "type": "B", "right": "x" })),
            ("$.at: \"today\" against format", json!({ "kind": "Pair", "type": "A", "at": "today" })),
            ("$.count: 0 against minimum", json!({ "kind": "Pair", "type": "A", "count": 0 })),
            ("$.count: 1.5 against type", json!({ "kind": "Pair", "type": "A", "count": 1.5 })),
            ("$.names[1]: \"a\" against minLength", json!({ "kind": "Pair", "type": "A", "names": ["ab", "a"] })),
            ("$.names[0]: \"abcd\" against maxLength", json!({ "kind": "Pair", "type": "A", "names": ["abcd"] })),
            ("against uniqueItems", json!({ "kind": "Pair", "type": "A", "names": ["ab", "ab"] })),
            ("$.other is not in the schema", json!({ "kind": "Pair", "type": "A", "other": 1 })),
        ] {
            let misfit = conforms(&schema(), &document).unwrap_err();
            assert!(misfit.contains(place), "{place}: {misfit}");
        }
        let twice = json!({ "oneOf": [{ "type": "string" }, { "const": "x" }] });
        assert!(conforms(&twice, &json!("x")).unwrap_err().contains("fits 2 branches"));
        assert!(conforms(&json!({ "pattern": "x" }), &json!("x")).unwrap_err().contains("what is `pattern`?"));
    }
}
