//! Tables in plain text.

use std::fmt::Write as _;

/// A table of text: the first column to the left, the others to the right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &str, heads: &[&str]) -> Self {
        let mut first = vec![title.to_owned()];
        first.extend(heads.iter().map(|&head| head.to_owned()));
        Self { rows: vec![first] }
    }

    pub fn row(&mut self, name: &str, cells: Vec<String>) {
        let mut row = vec![name.to_owned()];
        row.extend(cells);
        self.rows.push(row);
    }

    /// With an empty line at the end.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                let _infallible = match column {
                    0 => write!(text, "{cell:<0$}", widths[0]),
                    _ => write!(text, "  {cell:>0$}", widths[column]),
                };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest() {
        let mut table = Table::new("ms", &["p50", "a long head"]);
        table.row("cut → open", vec!["1234.5".to_owned(), "1".to_owned()]);
        assert_eq!(
            table.text(),
            "ms             p50  a long head\ncut → open  1234.5            1\n\n"
        );
    }
}
