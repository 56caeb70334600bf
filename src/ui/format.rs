//! What `-o` accepts.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::jsonpath::Template;

/// A format of output.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// One name per line, as kubectl's.
    Name,
    /// What a template in kubectl's form picks out of the JSON document.
    JsonPath(Template),
    /// Metrics in Prometheus' text format.
    Prom,
    /// Tables for a wiki, an issue or a CI summary.
    Markdown,
    /// Test results for CI systems.
    Junit,
}

/// Words, and what they stand for, with the help that shells show.
const WORDS: [(&str, Format, &str); 8] = [
    ("table", Format::Table, "Columns for people"),
    ("wide", Format::Wide, "More columns"),
    ("json", Format::Json, "One JSON document"),
    ("yaml", Format::Yaml, "One YAML document"),
    ("name", Format::Name, "One name per line"),
    ("prom", Format::Prom, "Metrics in Prometheus' text format"),
    ("markdown", Format::Markdown, "Tables in Markdown"),
    ("junit", Format::Junit, "Test results in XML for CI systems"),
];

const JSONPATH: &str = "jsonpath=";

impl Format {
    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        WORDS.iter().find(|(_, format, _)| format == self).map_or("jsonpath", |(word, ..)| word)
    }
}

/// Reads the value of `-o`: a word, or `jsonpath=TEMPLATE`.
#[derive(Clone, Debug)]
pub struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Format, clap::Error> {
        let text = value.to_string_lossy();
        if let Some(template) = text.strip_prefix(JSONPATH) {
            let wrong = |error: String| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("-o jsonpath: {error}\n")).with_cmd(command)
            };
            return Template::parse(template).map(Format::JsonPath).map_err(wrong);
        }
        if let Some((_, format, _)) = WORDS.iter().find(|(word, ..)| *word == text) {
            return Ok(format.clone());
        }
        let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
        if let Some(argument) = argument {
            error.insert(ContextKind::InvalidArg, ContextValue::String(argument.to_string()));
        }
        error.insert(ContextKind::InvalidValue, ContextValue::String(text.into_owned()));
        let words = WORDS.iter().map(|(word, ..)| (*word).to_owned()).chain([format!("{JSONPATH}TEMPLATE")]);
        error.insert(ContextKind::ValidValue, ContextValue::Strings(words.collect()));
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let words = WORDS.iter().map(|(word, _, help)| PossibleValue::new(*word).help(*help));
        let template = PossibleValue::new(JSONPATH).help("What a template picks out of the JSON document");
        Some(Box::new(words.chain([template])))
    }
}
