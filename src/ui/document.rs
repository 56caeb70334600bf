//! Output for programs: JSON and YAML documents with a version, a kind and a time, like kubeadm's.

use jiff::Timestamp;
use serde::Serialize;

use super::{Table, Ui};

/// The version of every document that certctl prints or reads. Within a version, fields are only added.
pub const API_VERSION: &str = "certctl.dev/v1alpha1";

/// What `-o` accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

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
    match format {
        Format::Table => Ok(view.text(false)),
        Format::Wide => Ok(view.text(true)),
        Format::Json => Ok(serde_json::to_string_pretty(&document)? + "\n"),
        Format::Yaml => serde_saphyr::to_string(&document).map_err(std::io::Error::other),
    }
}

#[cfg(test)]
mod tests {
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
    fn tables_have_more_columns_when_wide() {
        assert_eq!(shown(Format::Table), "LEFT\n7\n");
        assert_eq!(shown(Format::Wide), "LEFT   MORE\n7      x\n");
    }
}
