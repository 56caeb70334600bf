//! Tables as kubectl prints them: upper-case heads, three blanks between columns, no borders.

use std::fmt;

use comfy_table::{ContentArrangement, presets};

/// Blanks between two columns.
const GAP: u16 = 3;

/// A table for people. Programs read JSON.
#[derive(Debug)]
pub struct Table {
    inner: comfy_table::Table,
}

impl Table {
    /// A table with these heads and no row.
    #[must_use]
    pub fn new(heads: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
        inner.set_header(heads.iter().copied());
        for column in inner.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        Self { inner }
    }

    /// True without a row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Adds a row; an empty cell is shown as `-`, so that columns can be told apart.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) -> &mut Self {
        let filled = cells.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell });
        self.inner.add_row(filled.collect::<Vec<_>>());
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last column is padded too: a line must not end in blanks.
        self.inner.lines().try_for_each(|line| writeln!(f, "{}", line.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_three_blanks_apart_and_lines_end_where_the_text_ends() {
        let mut table = Table::new(&["NAME", "AGE", "NOTE"]);
        table.row(["kube-apiserver".into(), "3d".into(), String::new()]);
        table.row(["etcd".into(), "364d".into(), "two words".into()]);
        let text = table.to_string();
        assert_eq!(
            text,
            "NAME             AGE    NOTE\nkube-apiserver   3d     -\netcd             364d   two words\n"
        );
    }
}
