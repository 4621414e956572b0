//! Rows as records, with a line for each column: for rows that are wider than a terminal.

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::output::visible;

/// A row as a record, whose number is its place in the result, from 1.
pub(crate) fn record(number: u64, columns: &[String], values: &[Value]) -> String {
    let names: Vec<_> = columns.iter().map(|name| visible(name)).collect();
    let width = names.iter().map(|name| name.width()).max().unwrap_or_default();
    let mut text = format!("-[ row {number} ]\n");
    for (name, value) in names.iter().zip(values) {
        let value = match value {
            Value::Null => "NULL".into(),
            Value::String(text) => visible(text),
            other => other.to_string(),
        };
        let line = format!(" {name}{}  {value}", " ".repeat(width - name.width()));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
