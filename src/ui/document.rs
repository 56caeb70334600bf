//! Output for programs: JSON and YAML documents with a version, a kind and a time, like kubeadm's.

use std::io::{Error, ErrorKind, Write};

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Format, Table, Ui};

/// The version of every document that certctl prints or reads. Within a version, fields are only added.
pub const API_VERSION: &str = "certctl.dev/v1alpha1";

/// Something that a command shows, in every format.
pub trait View: Serialize + JsonSchema {
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
pub fn schema_of<V: View>() -> Schema {
    schema_with_head::<V>(V::KIND, &[("generatedAt", json!({ "type": "string", "format": "date-time" }))])
}

/// The schema of what is printed with `apiVersion`, `kind` and `more` before its own fields.
pub(super) fn schema_with_head<T: JsonSchema>(kind: &str, more: &[(&str, Value)]) -> Schema {
    // What is printed, not what would be accepted: a field that may be left out is not required.
    let settings = schemars::generate::SchemaSettings::default().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    let fixed = [("apiVersion", json!({ "const": API_VERSION })), ("kind", json!({ "const": kind }))];
    let head: Vec<_> = fixed.into_iter().chain(more.iter().cloned()).collect();
    let object = schema.ensure_object();
    let required = object.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        required.extend(head.iter().map(|(name, _)| (*name).into()));
    }
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(head.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    }
    object.insert("title".into(), kind.into());
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
        self.data_with(|out| render(view, format, now, out))
    }
}

/// JSON is written as it is made: ten thousand certificates have eight million bytes.
fn render<V: View>(view: &V, format: Format, now: Timestamp, out: &mut dyn Write) -> std::io::Result<()> {
    let document = Document { api_version: API_VERSION, kind: V::KIND, generated_at: now, body: view };
    let word = format.word();
    let unfit = || Error::new(ErrorKind::Unsupported, format!("-o {word} makes no sense for a {}", V::KIND));
    let text = match format {
        Format::Table => view.text(false),
        Format::Wide => view.text(true),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &document)?;
            "\n".to_owned()
        }
        Format::Yaml => serde_saphyr::to_string(&document).map_err(Error::other)?,
        Format::JsonPath(template) => template.fill(&serde_json::to_value(&document)?) + "\n",
        Format::Markdown => view.markdown(),
        Format::Name => view.names().ok_or_else(unfit)?.iter().map(|name| format!("{name}\n")).collect(),
        Format::Prom => view.metrics(now).ok_or_else(unfit)?,
        Format::Junit => view.junit().ok_or_else(unfit)?,
    };
    out.write_all(text.as_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ui::conformance::conforms;

    #[derive(Serialize, JsonSchema)]
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

    fn printed<V: View>(view: &V, format: Format) -> std::io::Result<String> {
        let mut out = Vec::new();
        render(view, format, Timestamp::UNIX_EPOCH, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn shown(format: Format) -> String {
        printed(&Pair { left: 7 }, format).unwrap()
    }

    #[test]
    fn documents_carry_version_kind_and_time() {
        let json: Value = serde_json::from_str(&shown(Format::Json)).unwrap();
        let wanted = json!({
            "apiVersion": "certctl.dev/v1alpha1", "kind": "Pair", "generatedAt": "1970-01-01T00:00:00Z", "left": 7,
        });
        assert_eq!(json, wanted);
        let yaml = shown(Format::Yaml);
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), wanted);
    }

    #[test]
    fn a_format_that_a_view_does_not_have_is_said_to_be_unfit() {
        for format in [Format::Name, Format::Prom, Format::Junit] {
            let error = printed(&Pair { left: 7 }, format).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        assert_eq!(shown(Format::Markdown), "| LEFT |\n| --- |\n| 7 |\n");
    }

    #[test]
    fn tables_have_more_columns_when_wide() {
        assert_eq!(shown(Format::Table), "LEFT\n7\n");
        assert_eq!(shown(Format::Wide), "LEFT   MORE\n7      x\n");
    }

    /// What is printed as JSON is what its schema says, and as YAML it is the same, which can be read: YAML allows no field twice.
    pub(crate) fn fits<V: View>(view: &V) {
        let printed = |format| printed(view, format).unwrap();
        let json: Value = serde_json::from_str(&printed(Format::Json)).unwrap();
        conforms(schema_of::<V>().as_value(), &json).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&printed(Format::Yaml)).unwrap(), json);
    }
}
