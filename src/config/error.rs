//! What is wrong with a configuration file, and where.

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// Its path.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not what is expected at this place.
    #[error("{file}:{line}:{column}: {problem}")]
    At {
        /// The file's path.
        file: String,
        /// Counted from 1.
        line: u64,
        /// Counted from 1.
        column: u64,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The text can be read but makes no usable configuration.
    #[error("{file}: {problem}")]
    Invalid {
        /// The file's path.
        file: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl ConfigError {
    /// Translates the YAML reader's error; its own text spans several lines and suggests nothing.
    pub(super) fn from_yaml(file: &str, error: &serde_saphyr::Error) -> Self {
        let problem = match error.without_snippet() {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => suggest("field", field, expected),
            serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => suggest("value", variant, expected),
            other => first_line(&other.to_string()),
        };
        let file = file.to_owned();
        match error.location() {
            Some(place) => Self::At { file, line: place.line(), column: place.column(), problem },
            None => Self::Invalid { file, problem },
        }
    }
}

/// Names so far from the typed one are no help.
const NEAR: f64 = 0.8;

fn suggest(what: &str, found: &str, valid: &[&str]) -> String {
    let nearest = valid
        .iter()
        .map(|name| (strsim::jaro_winkler(&found.to_lowercase(), &name.to_lowercase()), name))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((score, name)) if score >= NEAR => format!("unknown {what} `{found}`; did you mean `{name}`?"),
        _ => format!("unknown {what} `{found}`; valid are {}", valid.join(", ")),
    }
}

/// The reader adds its own place to the text; ours stands in front.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or(line).trim_start_matches("error: ").to_owned()
}
