//! Tables as kubectl prints them: upper-case heads, three blanks between columns, no borders.

use std::fmt;

use comfy_table::{ContentArrangement, presets};

/// Blanks between two columns.
const GAP: u16 = 3;

/// A table for people. Programs read JSON.
#[derive(Debug)]
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads and no row.
    #[must_use]
    pub fn new(heads: &[&str]) -> Self {
        Self { heads: heads.iter().map(|head| (*head).to_owned()).collect(), rows: Vec::new() }
    }

    /// True without a row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a row; an empty cell is shown as `-`, so that columns can be told apart.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) -> &mut Self {
        let filled = cells.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell });
        self.rows.push(filled.collect());
        self
    }

    /// The same in Markdown; a bar in a cell would end it.
    #[must_use]
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<String> = self.heads.iter().map(|_| "---".to_owned()).collect();
        let body: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}{}{body}", line(&self.heads), line(&rule))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
        table.set_header(&self.heads);
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        for row in &self.rows {
            table.add_row(row);
        }
        // The last column is padded too: a line must not end in blanks.
        table.lines().try_for_each(|line| writeln!(f, "{}", line.trim_end()))
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
