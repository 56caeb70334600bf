//! kubectl's JSONPath templates (`k8s.io/client-go/util/jsonpath`): text, `{.path}`, `{"literal"}`, `{range .list[*]}…{end}`.
//!
//! The paths themselves are RFC 9535, of which kubectl's are a dialect: a path may begin with a dot, `@` or `$`.

use jsonpath_rust::JsonPath as _;
use serde_json::Value;

/// A template that was read and can be filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Path(String),
    Range(String, Vec<Part>),
}

impl Template {
    /// Reads a template. Without braces it is a path.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('{') {
            return Ok(Self(vec![Part::Path(path(text.trim())?)]));
        }
        let mut rest = text;
        let parts = parts(&mut rest, false)?;
        Ok(Self(parts))
    }

    /// Fills it in. What a path does not find is nothing, as with kubectl.
    #[must_use]
    pub fn fill(&self, document: &Value) -> String {
        let mut out = String::new();
        fill(&self.0, document, &mut out);
        out
    }
}

fn parts(rest: &mut &str, inside: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    loop {
        let Some((text, tail)) = rest.split_once('{') else {
            if inside {
                return Err("a {range} has no {end}".to_owned());
            }
            parts.push(Part::Text((*rest).to_owned()));
            return Ok(parts);
        };
        parts.push(Part::Text(text.to_owned()));
        let end = end_of_action(tail).ok_or("a { has no }")?;
        let (action, after) = (tail.get(..end).unwrap_or_default().trim(), tail.get(end + 1..).unwrap_or_default());
        *rest = after;
        match action {
            "end" if inside => return Ok(parts),
            "end" => return Err("an {end} has no {range}".to_owned()),
            literal if literal.starts_with('"') || literal.starts_with('\'') => {
                parts.push(Part::Text(unquoted(literal)?))
            }
            action => match action.strip_prefix("range ") {
                Some(list) => parts.push(Part::Range(path(list.trim())?, self::parts(rest, true)?)),
                None => parts.push(Part::Path(path(action)?)),
            },
        }
    }
}

/// Where the action ends: a brace in quotes is text.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            (None, '}') => return Some(at),
            _ => {}
        }
    }
    None
}

fn unquoted(literal: &str) -> Result<String, String> {
    let inner = literal.get(1..literal.len() - 1).filter(|_| literal.len() > 1 && literal.ends_with(&literal[..1]));
    let inner = inner.ok_or_else(|| format!("{literal} is not a quoted text"))?;
    Ok(inner.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"").replace("\\\\", "\\"))
}

/// The path as RFC 9535 writes it.
fn path(text: &str) -> Result<String, String> {
    let relative = text.strip_prefix(['$', '@']).unwrap_or(text);
    let path = match relative.chars().next() {
        None | Some('.') if matches!(relative, "" | ".") => "$".to_owned(),
        Some('.' | '[') => format!("${relative}"),
        _ => format!("$.{relative}"),
    };
    match jsonpath_rust::parser::parse_json_path(&path) {
        Ok(_) => Ok(path),
        Err(_) => Err(format!("`{text}` is not a path; write for example {{.certificates[*].name}}")),
    }
}

fn fill(parts: &[Part], document: &Value, out: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(path) => {
                let found: Vec<String> = found(document, path).into_iter().map(shown).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(list, inner) => found(document, list).into_iter().for_each(|item| fill(inner, item, out)),
        }
    }
}

fn found<'a>(document: &'a Value, path: &str) -> Vec<&'a Value> {
    document.query(path).unwrap_or_default()
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(template: &str) -> Result<String, String> {
        let document = json!({ "kind": "List", "items": [
            { "name": "ca", "days": 7, "sans": ["a", "b"] }, { "name": "etcd", "days": 400, "sans": [] },
        ]});
        Template::parse(template).map(|template| template.fill(&document))
    }

    #[test]
    fn templates_are_kubectls() {
        for (template, expected) in [
            ("{.kind}", "List"),
            ("{$.kind}", "List"),
            (".kind", "List"),
            ("kind is {.kind}!", "kind is List!"),
            ("{.items[*].name}", "ca etcd"),
            ("{.items[0].sans}", r#"["a","b"]"#),
            ("{.items[?(@.days>30)].name}", "etcd"),
            (r#"{range .items[*]}{.name}{"\t"}{.days}{"\n"}{end}"#, "ca\t7\netcd\t400\n"),
            (r#"{range .items[*]}{.name}{"}"}{range .sans[*]}<{@}>{end}{end}."#, "ca}<a><b>etcd}."),
            ("{.absent.field}", ""),
        ] {
            assert_eq!(filled(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for template in ["{.kind", "{range .items[*]}{.name}", "{end}", "{.items[}", "{\"open}", "{'}"] {
            assert!(filled(template).is_err(), "{template}");
        }
    }
}
