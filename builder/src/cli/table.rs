//! Tables as docker prints them: a header in capitals, columns three spaces apart.

use std::fmt::Write;

/// Spaces between columns.
const GAP: usize = 3;

/// Rows of text under a header.
#[derive(Clone, Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// How wide columns are at least, with the space behind them.
    least: usize,
}

impl Table {
    /// Returns a table with this header and no rows.
    pub(super) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self {
            rows: vec![header.into_iter().map(Into::into).collect()],
            least: 0,
        }
    }

    /// Returns a table like those of docker's lists, whose columns have a width of ten at least.
    pub(super) fn list<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self {
            least: 10,
            ..Self::new(header)
        }
    }

    /// Adds a row.
    pub(super) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Returns the text of the table.
    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max();
            (widest.unwrap_or(0) + GAP).max(self.least)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:<width$}");
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Returns the first `length` characters of `text`, the last an ellipsis if there were more.
pub(super) fn shorten(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(length.saturating_sub(1)).collect();
    short.push('…');
    short
}
