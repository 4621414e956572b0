//! Printing: tables for people, one JSON document or CSV for programs.

use std::io::{self, BufWriter, Stdout, Write};

use comfy_table::{ContentArrangement, Table, presets};
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use serde_json::Value;

use crate::args::Format;

/// Where results go.
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    to: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet, to: BufWriter::new(io::stdout()) }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Begins a listing with these columns.
    pub(crate) fn listing(&mut self, columns: Vec<String>) -> Listing<'_> {
        Listing { columns, rows: 0, table: Table::new(), output: self }
    }

    /// One JSON document; people get it indented.
    pub(crate) fn document(&mut self, value: &impl serde::Serialize) -> Result<()> {
        let text = match self.format {
            Format::Table => serde_json::to_string_pretty(value),
            Format::Json | Format::Csv | Format::Parquet => serde_json::to_string(value),
        };
        let text =
            text.map_err(|e| TxnLogError::new(ErrorKind::Internal, "a result has no JSON form").with_source(e))?;
        self.line(&text)
    }

    /// A line for people who want to be told; programs do not see it.
    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        match self.format {
            Format::Table if !self.quiet => self.line(text),
            _ => Ok(()),
        }
    }

    /// Text between results, without the end of a line.
    pub(crate) fn raw(&mut self, text: &str) -> Result<()> {
        write!(self.to, "{text}").map_err(cannot_write)
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        writeln!(self.to, "{text}").and_then(|()| self.to.flush()).map_err(cannot_write)
    }
}

/// Rows with the same columns, printed as they come where the format allows it.
pub(crate) struct Listing<'a> {
    columns: Vec<String>,
    rows: u64,
    table: Table,
    output: &'a mut Output,
}

impl Listing<'_> {
    pub(crate) fn row(&mut self, values: Vec<Value>) -> Result<()> {
        let to = &mut self.output.to;
        let first = self.rows == 0;
        self.rows += 1;
        match self.output.format {
            Format::Table => {
                self.table.add_row(values.iter().map(cell));
                Ok(())
            }
            Format::Json => {
                let object: serde_json::Map<_, _> = self.columns.iter().cloned().zip(values).collect();
                let text = Value::Object(object).to_string();
                write!(to, "{}{text}", if first { "[" } else { ",\n " })
            }
            Format::Csv | Format::Parquet => {
                let header = if first { csv_line(self.columns.iter().map(|c| csv_field(c))) } else { String::new() };
                write!(to, "{header}{}", csv_line(values.iter().map(|v| csv_field(&csv_text(v)))))
            }
        }
        .map_err(cannot_write)
    }

    /// Ends the listing; nothing is complete without it.
    pub(crate) fn end(mut self) -> Result<()> {
        let to = &mut self.output.to;
        match (self.output.format, self.rows) {
            (Format::Table, 0) => writeln!(to, "(nothing)"),
            (Format::Table, _) => {
                self.table
                    .load_preset(presets::NOTHING)
                    .set_content_arrangement(ContentArrangement::Disabled)
                    .set_header(&self.columns);
                let text = self.table.to_string();
                text.lines().try_for_each(|line| writeln!(to, "{}", line.trim_end()))
            }
            (Format::Json, 0) => writeln!(to, "[]"),
            (Format::Json, _) => writeln!(to, "]"),
            (Format::Csv | Format::Parquet, 0) => write!(to, "{}", csv_line(self.columns.iter().map(|c| csv_field(c)))),
            (Format::Csv | Format::Parquet, _) => Ok(()),
        }
        .and_then(|()| to.flush())
        .map_err(cannot_write)
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.replace(['\n', '\r'], " "),
        other => other.to_string(),
    }
}

fn csv_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

fn csv_line(fields: impl Iterator<Item = String>) -> String {
    format!("{}\n", fields.collect::<Vec<_>>().join(","))
}

fn cannot_write(e: io::Error) -> TxnLogError {
    TxnLogError::new(ErrorKind::Unavailable, "the result cannot be printed").with_source(e)
}
