//! Output for programs: JSON and YAML documents with a version, a kind and a time, like kubeadm's.

use std::io::{Error, ErrorKind};

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::{Format, Table, Ui};

/// The version of every document that certctl prints or reads. Within a version, fields are only added.
pub const API_VERSION: &str = "certctl.dev/v1alpha1";

/// Something that a command shows, in every format.
pub trait View: Serialize {
    /// The document's `kind`.
    const KIND: &'static str;

    /// The form for people; `wide` asks for every column.
    fn table(&self, wide: bool) -> Table;

    /// The whole text for people: the table, unless a view has more to say.
    fn text(&self, wide: bool) -> String {
        self.table(wide).to_string()
    }

    /// The form for a wiki, an issue or a CI summary.
    fn markdown(&self) -> String {
        self.table(false).markdown()
    }

    /// Its names for `-o name`; `None` for a view that is no list of things.
    fn names(&self) -> Option<Vec<String>> {
        None
    }

    /// Its metrics in Prometheus' text format, as of `now`; `None` for a view without metrics.
    fn metrics(&self, _now: Timestamp) -> Option<String> {
        None
    }

    /// Test results in JUnit's XML; `None` for a view that judges nothing.
    fn junit(&self) -> Option<String> {
        None
    }
}

/// The JSON schema of a view's document.
#[must_use]
pub fn schema_of<V: View + JsonSchema>() -> Schema {
    // What is printed, not what would be accepted: a field that may be left out is not required.
    let settings = schemars::generate::SchemaSettings::default().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<V>();
    let head = [
        ("apiVersion", serde_json::json!({ "const": API_VERSION })),
        ("kind", serde_json::json!({ "const": V::KIND })),
        ("generatedAt", serde_json::json!({ "type": "string", "format": "date-time" })),
    ];
    let object = schema.ensure_object();
    let required = object.entry("required").or_insert_with(|| serde_json::json!([]));
    if let Some(required) = required.as_array_mut() {
        required.extend(head.iter().map(|(name, _)| (*name).into()));
    }
    let properties = object.entry("properties").or_insert_with(|| serde_json::json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(head.map(|(name, schema)| (name.to_owned(), schema)));
    }
    object.insert("title".into(), V::KIND.into());
    schema
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a, T> {
    api_version: &'static str,
    kind: &'static str,
    generated_at: Timestamp,
    #[serde(flatten)]
    body: &'a T,
}

impl Ui {
    /// Shows a view on stdout.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn show<V: View>(&self, view: &V, format: Format, now: Timestamp) -> std::io::Result<()> {
        self.data(&render(view, format, now)?)
    }
}

fn render<V: View>(view: &V, format: Format, now: Timestamp) -> std::io::Result<String> {
    let document = Document { api_version: API_VERSION, kind: V::KIND, generated_at: now, body: view };
    let word = format.word();
    let unfit = || Error::new(ErrorKind::Unsupported, format!("-o {word} makes no sense for a {}", V::KIND));
    match format {
        Format::Table => Ok(view.text(false)),
        Format::Wide => Ok(view.text(true)),
        Format::Json => Ok(serde_json::to_string_pretty(&document)? + "\n"),
        Format::Yaml => serde_saphyr::to_string(&document).map_err(Error::other),
        Format::JsonPath(template) => Ok(template.fill(&serde_json::to_value(&document)?) + "\n"),
        Format::Markdown => Ok(view.markdown()),
        Format::Name => {
            view.names().map(|names| names.iter().map(|name| format!("{name}\n")).collect()).ok_or_else(unfit)
        }
        Format::Prom => view.metrics(now).ok_or_else(unfit),
        Format::Junit => view.junit().ok_or_else(unfit),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair {
        left: u8,
    }

    impl View for Pair {
        const KIND: &'static str = "Pair";

        fn table(&self, wide: bool) -> Table {
            let mut table = Table::new(if wide { &["LEFT", "MORE"] } else { &["LEFT"] });
            table.row([self.left.to_string(), "x".into()].into_iter().take(if wide { 2 } else { 1 }));
            table
        }
    }

    fn shown(format: Format) -> String {
        render(&Pair { left: 7 }, format, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn documents_carry_version_kind_and_time() {
        let json: serde_json::Value = serde_json::from_str(&shown(Format::Json)).unwrap();
        let wanted = serde_json::json!({
            "apiVersion": "certctl.dev/v1alpha1", "kind": "Pair", "generatedAt": "1970-01-01T00:00:00Z", "left": 7,
        });
        assert_eq!(json, wanted);
        let yaml = shown(Format::Yaml);
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&yaml).unwrap(), wanted);
    }

    #[test]
    fn a_format_that_a_view_does_not_have_is_said_to_be_unfit() {
        for format in [Format::Name, Format::Prom, Format::Junit] {
            let error = render(&Pair { left: 7 }, format, Timestamp::UNIX_EPOCH).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        assert_eq!(shown(Format::Markdown), "| LEFT |\n| --- |\n| 7 |\n");
    }

    #[test]
    fn tables_have_more_columns_when_wide() {
        assert_eq!(shown(Format::Table), "LEFT\n7\n");
        assert_eq!(shown(Format::Wide), "LEFT   MORE\n7      x\n");
    }

    /// Every field that is printed is in the schema and of its type, and every field that it requires is printed.
    pub(crate) fn fits<V: View + JsonSchema>(view: &V) {
        let schema = serde_json::to_value(schema_of::<V>()).unwrap();
        let mut printed = serde_json::to_value(view).unwrap();
        for field in ["apiVersion", "kind", "generatedAt"] {
            printed[field] = "x".into();
        }
        check(&schema, &schema, &printed, V::KIND);
    }

    fn check(root: &serde_json::Value, schema: &serde_json::Value, value: &serde_json::Value, at: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            return check(root, root.pointer(reference.trim_start_matches('#')).unwrap(), value, at);
        }
        let types: Vec<&str> = match &schema["type"] {
            serde_json::Value::Array(all) => all.iter().filter_map(serde_json::Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        assert!(
            types.is_empty() || type_of(value).iter().any(|name| types.contains(name)),
            "{at} is no {types:?}: {value}"
        );
        if let Some(fields) = value.as_object() {
            let known = schema["properties"].as_object().unwrap_or_else(|| panic!("{at} has no properties: {schema}"));
            for (name, field) in fields {
                check(root, known.get(name).unwrap_or_else(|| panic!("{at}.{name} is in no schema")), field, name);
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(name.as_str().unwrap()), "{at} lacks {name}");
            }
        }
        for item in value.as_array().into_iter().flatten() {
            check(root, &schema["items"], item, at);
        }
    }

    /// The names that JSON Schema has for the type of a value.
    fn type_of(value: &serde_json::Value) -> &'static [&'static str] {
        use serde_json::Value::{Array, Bool, Null, Number, Object, String};
        match value {
            Null => &["null"],
            Bool(_) => &["boolean"],
            Number(number) if number.is_f64() => &["number"],
            Number(_) => &["integer", "number"],
            String(_) => &["string"],
            Array(_) => &["array"],
            Object(_) => &["object"],
        }
    }
}
