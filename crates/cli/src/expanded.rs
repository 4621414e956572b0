//! Rows as records, with a line for each column: for rows that are wider than a terminal.

use unicode_width::UnicodeWidthStr;

/// A row as a record, whose number is its place in the result, from 1. Names and cells are texts that a terminal may
/// show.
pub(crate) fn record(number: u64, names: &[String], cells: &[String]) -> String {
    let width = names.iter().map(|name| name.width()).max().unwrap_or_default();
    let mut text = format!("-[ row {number} ]\n");
    for (name, cell) in names.iter().zip(cells) {
        let line = format!(" {name}{}  {cell}", " ".repeat(width - name.width()));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
