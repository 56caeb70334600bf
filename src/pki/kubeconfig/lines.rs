//! A kubeconfig as text: one entry replaced or added, every other line left as it stands, comments included.
//!
//! It knows the form that kubectl and people write: top-level keys at the margin, lists as lines that begin with a dash. It is a guess
//! about YAML that the caller checks by reading the outcome again; what it does not recognise is `None`.

use zeroize::Zeroizing;

/// `entry` (lines of YAML that begin with `- `) in the place of the item with this index of the top-level list, or behind its last item.
/// A list that is empty or not there is begun.
pub(super) fn put_entry(text: &str, list: &str, index: Option<usize>, entry: &str) -> Option<Zeroizing<String>> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(head) = lines.iter().position(|line| value_of(line, list).is_some()) else {
        return index.is_none().then(|| joined(&[ended(&lines), vec![list, ":\n", entry]].concat()));
    };
    let rest = value_of(lines[head], list)?;
    let starts_here = matches!(rest, "" | "[]" | "null" | "~");
    if !starts_here {
        return None;
    }
    let end = lines.iter().skip(head + 1).position(|line| ends_list(line)).map_or(lines.len(), |at| head + 1 + at);
    let body = lines.get(head + 1..end)?;
    let indent = body.iter().find(|line| is_item(line)).map_or(0, |line| indent_of(line));
    let starts: Vec<usize> =
        (head + 1..end).filter(|&at| is_item(lines[at]) && indent_of(lines[at]) == indent).collect();
    let entry = indented(entry, indent);
    let (from, to) = match index {
        Some(index) => {
            let from = *starts.get(index)?;
            (from, content_end(&lines, from, starts.get(index + 1).copied().unwrap_or(end), indent))
        }
        None => {
            let at = starts.last().map_or(head + 1, |&last| content_end(&lines, last, end, indent));
            (at, at)
        }
    };
    let head_line = if rest.is_empty() { lines[head].to_owned() } else { lines[head].replacen(rest, "", 1) };
    let mut parts = ended(&lines[..head]);
    parts.extend(ended(&[head_line.as_str()]));
    parts.extend(ended(&lines[head + 1..from]));
    parts.push(&entry);
    parts.extend(&lines[to..]);
    Some(joined(&parts))
}

/// The top-level scalar `key` with this value (as YAML writes it), in its place or at the end.
pub(super) fn set_scalar(text: &str, key: &str, value: &str) -> Zeroizing<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let whole = format!("{key}: {value}\n");
    match lines.iter().position(|line| value_of(line, key).is_some()) {
        Some(at) => {
            let comment = lines[at].find(" #").map_or("\n", |from| &lines[at][from..]);
            let line = format!("{key}: {value}{comment}");
            joined(&[&lines[..at], &[&line], &lines[at + 1..]].concat())
        }
        None => joined(&[&ended(&lines), &[whole.as_str()][..]].concat()),
    }
}

/// What stands behind `key:` at the margin, without a comment.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(key)?.strip_prefix(':')?;
    let value = rest.split_once(" #").map_or(rest, |(value, _)| value);
    let separated = rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']);
    separated.then(|| value.trim())
}

/// True for a line at the margin that belongs to no list: the next key, or a marker of a document's end.
fn ends_list(line: &str) -> bool {
    line.starts_with("---") || line.starts_with("...") || !line.starts_with([' ', '\t', '-', '#', '\r', '\n'])
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_item(line: &str) -> bool {
    let text = line.trim_start_matches(' ').trim_end_matches(['\r', '\n']);
    text == "-" || text.starts_with("- ")
}

/// Where the item's lines end: blank lines and comments that stand before the next one at its depth belong to that.
fn content_end(lines: &[&str], from: usize, next: usize, indent: usize) -> usize {
    let belongs_to_next = |line: &str| {
        let text = line.trim();
        text.is_empty() || (text.starts_with('#') && indent_of(line) <= indent)
    };
    let mut end = next;
    while end > from + 1 && belongs_to_next(lines[end - 1]) {
        end -= 1;
    }
    end
}

fn indented(entry: &str, indent: usize) -> Zeroizing<String> {
    let margin = " ".repeat(indent);
    let parts: Vec<&str> = entry.split_inclusive('\n').flat_map(|line| [margin.as_str(), line]).collect();
    joined(&parts)
}

/// The lines, the last one ended, so that something can follow.
fn ended<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut parts = lines.to_vec();
    if parts.last().is_some_and(|line| !line.ends_with('\n')) {
        parts.push("\n");
    }
    parts
}

/// One allocation of the final size: a text that grows would leave copies of a key behind.
fn joined(parts: &[&str]) -> Zeroizing<String> {
    Zeroizing::new(parts.concat())
}
