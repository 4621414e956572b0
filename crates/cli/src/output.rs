//! Printing: tables for people, one JSON document or CSV for programs.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use deltalakedb_table::RowLimit;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::args::Format;
use crate::terminal::{Pager, has_colours};

/// The number of rows of a result that a terminal shows by default.
const TERMINAL_ROWS: u64 = 40;
/// How many rows of a table, or bytes of text, are buffered to determine the widths of its columns.
const MAX_BUFFERED_ROWS: usize = 1_000;
const MAX_BUFFERED_BYTES: usize = 1 << 20;
/// How a table shows a null in the rows of a result.
const NULL: &str = "NULL";

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const PLAIN: &str = "\x1b[0m";

/// The destination and format of results.
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    limit: RowLimit,
    to: Box<dyn Write + Send>,
    is_terminal: bool,
    is_coloured: bool,
}

impl Output {
    pub(crate) fn new(format: Format, quiet: bool, limit: RowLimit) -> Self {
        let to = io::stdout();
        let is_terminal = to.is_terminal();
        let is_coloured = has_colours(is_terminal);
        Self { format, quiet, limit, is_terminal, is_coloured, to: Box::new(BufWriter::new(to)) }
    }

    /// Shows tables on a terminal through the user's pager.
    pub(crate) fn paged(self) -> Self {
        if self.is_terminal && self.format == Format::Table {
            Self { to: Box::new(BufWriter::new(Pager::default())), ..self }
        } else {
            self
        }
    }

    /// Prints all rows, because the caller has limited them.
    pub(crate) fn unlimited(self) -> Self {
        Self { limit: RowLimit::None, ..self }
    }

    /// Prints to a file instead.
    pub(crate) fn with_file(self, file: File) -> Self {
        Self { is_terminal: false, is_coloured: false, to: Box::new(BufWriter::new(file)), ..self }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// For bytes of another format. [`Self::flush`] is called after them.
    pub(crate) fn writer(&mut self) -> &mut (dyn Write + Send) {
        &mut *self.to
    }

    /// Starts a listing with these columns. A table leaves the cell of a null empty.
    pub(crate) fn listing(&mut self, columns: Vec<String>) -> Listing<'_> {
        let table = BufferedTable { is_coloured: self.is_coloured, ..BufferedTable::default() };
        Listing { columns, rows: 0, limit: None, table, output: self }
    }

    /// Starts the rows of a result. A table shows nulls, and the first rows; it counts the others.
    pub(crate) fn result(&mut self, columns: Vec<String>) -> Listing<'_> {
        let limit = match self.limit {
            _ if self.format != Format::Table => None,
            RowLimit::Terminal => self.is_terminal.then_some(TERMINAL_ROWS),
            RowLimit::Rows(rows) => Some(rows),
            RowLimit::None => None,
        };
        let listing = self.listing(columns);
        Listing { limit, table: BufferedTable { null: NULL, ..listing.table }, ..listing }
    }

    /// Prints one document: as indented JSON for people, and as JSON or one line of CSV for programs.
    pub(crate) fn document(&mut self, value: &impl serde::Serialize) -> Result<()> {
        let no_form = |e| TxnLogError::new(ErrorKind::Internal, "a result cannot be written as JSON").with_source(e);
        let value = serde_json::to_value(value).map_err(no_form)?;
        let text = match (self.format, &value) {
            (Format::Csv, Value::Object(members)) => {
                let names = csv_line(members.keys().map(|name| csv_field(name)));
                let values = csv_line(members.values().map(|value| csv_field(&csv_text(value))));
                return self.raw(&format!("{names}{values}")).and_then(|()| self.flush());
            }
            (Format::Table, value) => serde_json::to_string_pretty(value),
            (Format::Json | Format::Csv | Format::Parquet, value) => serde_json::to_string(value),
        };
        self.line(&text.map_err(no_form)?)
    }

    /// Prints a line for people; omitted with `--quiet` and in formats for programs.
    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        match self.format {
            Format::Table if !self.quiet => self.line(text),
            _ => Ok(()),
        }
    }

    /// Prints text between results, without a newline.
    pub(crate) fn raw(&mut self, text: &str) -> Result<()> {
        write!(self.to, "{text}").map_err(cannot_write)
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        let written = match self.format {
            Format::Table => text.split('\n').try_for_each(|line| writeln!(self.to, "{}", visible(line))),
            _ => writeln!(self.to, "{text}"),
        };
        written.map_err(cannot_write)?;
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.to.flush().map_err(cannot_write)
    }
}

/// Rows with the same columns, printed as they arrive.
pub(crate) struct Listing<'a> {
    columns: Vec<String>,
    rows: u64,
    /// Rows beyond this number are counted and not printed.
    limit: Option<u64>,
    table: BufferedTable,
    output: &'a mut Output,
}

impl Listing<'_> {
    /// Whether further rows would only be counted.
    pub(crate) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.rows >= limit)
    }

    /// Counts rows instead of printing them.
    pub(crate) fn count(&mut self, rows: u64) -> Result<()> {
        // The rows so far are printed before the others are awaited.
        self.table.print(&self.columns, &mut self.output.to).map_err(cannot_write)?;
        self.rows += rows;
        self.output.flush()
    }

    pub(crate) fn row(&mut self, values: Vec<Value>) -> Result<()> {
        if self.is_full() {
            return self.count(1);
        }
        let to = &mut self.output.to;
        let first = self.rows == 0;
        self.rows += 1;
        match self.output.format {
            Format::Table => {
                if self.table.push(values.iter().map(cell).collect()) {
                    self.table.print(&self.columns, to)
                } else {
                    Ok(())
                }
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

    /// Prints a row of a table as a record, with a line for each column.
    pub(crate) fn record(&mut self, values: &[Value]) -> Result<()> {
        if self.is_full() {
            return self.count(1);
        }
        // Records have no header.
        self.table.widths = Some(Vec::new());
        self.rows += 1;
        let names: Vec<_> = self.columns.iter().map(|name| visible(name)).collect();
        let text = |value: &Value| if value.is_null() { "NULL".to_string() } else { visible(&csv_text(value)) };
        let cells: Vec<String> = values.iter().map(text).collect();
        write!(self.output.to, "{}", crate::expanded::record(self.rows, &names, &cells)).map_err(cannot_write)
    }

    /// Ends the listing, which is incomplete without this call.
    pub(crate) fn end(mut self) -> Result<()> {
        let to = &mut self.output.to;
        match (self.output.format, self.rows) {
            (Format::Table, 0) => writeln!(to, "(no rows)"),
            (Format::Table, rows) => {
                let more = self.limit.map_or(0, |limit| rows.saturating_sub(limit));
                let rest = match more {
                    0 => String::new(),
                    1 => "… 1 more row (--set output.rows=all shows it)\n".into(),
                    more => format!("… {more} more rows (--set output.rows=all shows them)\n"),
                };
                self.table.print(&self.columns, to).and_then(|()| write!(to, "{rest}"))
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

/// The buffered rows of a table. A column is as wide as the widest cell among the first rows; a later cell that is
/// wider widens its column from there on.
#[derive(Default)]
struct BufferedTable {
    /// A cell is `None` for a null.
    rows: Vec<Vec<Option<String>>>,
    bytes: usize,
    /// `None` before the header is printed.
    widths: Option<Vec<usize>>,
    /// The text of a null.
    null: &'static str,
    is_coloured: bool,
}

impl BufferedTable {
    /// Buffers a row; returns whether the buffer is full.
    fn push(&mut self, row: Vec<Option<String>>) -> bool {
        self.bytes += row.iter().flatten().map(String::len).sum::<usize>();
        self.rows.push(row);
        self.rows.len() >= MAX_BUFFERED_ROWS || self.bytes >= MAX_BUFFERED_BYTES
    }

    fn print(&mut self, columns: &[String], to: &mut impl Write) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let header: Vec<_> = columns.iter().map(|name| visible(name)).collect();
        let begins = self.widths.is_none();
        let widths = self.widths.get_or_insert_with(|| header.iter().map(|name| name.width()).collect());
        for row in &rows {
            let cells = row.iter().map(|cell| cell.as_deref().unwrap_or(self.null));
            widths.iter_mut().zip(cells).for_each(|(width, cell)| *width = (*width).max(cell.width()));
        }
        if begins {
            let cells = header.iter().map(|name| (name.as_str(), BOLD));
            write_row(cells, widths, self.is_coloured, to)?;
        }
        for row in &rows {
            let cells = row.iter().map(|cell| cell.as_deref().map_or((self.null, DIM), |text| (text, "")));
            write_row(cells, widths, self.is_coloured, to)?;
        }
        Ok(())
    }
}

/// Writes cells with their colours, each as wide as its column.
fn write_row<'a>(
    cells: impl Iterator<Item = (&'a str, &'static str)>,
    widths: &[usize],
    is_coloured: bool,
    to: &mut impl Write,
) -> io::Result<()> {
    let mut line = String::new();
    for ((text, colour), width) in cells.zip(widths) {
        let padding = " ".repeat(width - text.width());
        if is_coloured && !colour.is_empty() && !text.is_empty() {
            line.push_str(&format!(" {colour}{text}{PLAIN}{padding} "));
        } else {
            line.push_str(&format!(" {text}{padding} "));
        }
    }
    writeln!(to, "{}", line.trim_end())
}

/// The text of a value in a table; `None` for a null.
fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(s) => Some(visible(s)),
        other => Some(other.to_string()),
    }
}

/// Writes one line to standard error. A failure is ignored: it cannot be reported anywhere.
pub(crate) fn warn(line: &str) {
    let lines: Vec<_> = line.split('\n').map(visible).collect();
    let text = lines.join("\n");
    let err = io::stderr();
    let is_coloured = has_colours(err.is_terminal());
    let coloured = [("error: ", RED), ("warning: ", YELLOW)].into_iter().find_map(|(word, colour)| {
        let rest = text.strip_prefix(word).filter(|_| is_coloured)?;
        Some(format!("{colour}{}{PLAIN} {rest}", word.trim_end()))
    });
    let _ = writeln!(&err, "{}", coloured.unwrap_or(text));
}

/// Writes an error as one JSON object to standard error.
pub(crate) fn json_error(kind: &str, message: &str, exit_code: u8) {
    let error = serde_json::json!({"kind": kind, "message": message, "exitCode": exit_code});
    let _ = writeln!(io::stderr(), "{error}");
}

/// One line without terminal control: white space as a blank, other control characters escaped.
pub(crate) fn visible(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() && c.is_whitespace() => line.push(' '),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    #[derive(Clone, Default)]
    struct Printed(Arc<Mutex<Vec<u8>>>);

    impl Printed {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    impl Write for Printed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn output(format: Format, limit: RowLimit, is_terminal: bool) -> (Output, Printed) {
        let printed = Printed::default();
        let to = Box::new(printed.clone());
        (Output { format, quiet: false, limit, is_terminal, is_coloured: false, to }, printed)
    }

    fn rows(limit: RowLimit, is_terminal: bool, count: u64) -> String {
        let (mut out, printed) = output(Format::Table, limit, is_terminal);
        let mut result = out.result(vec!["n".into()]);
        (0..count).for_each(|n| result.row(vec![n.into()]).unwrap());
        result.end().unwrap();
        printed.text()
    }

    #[test]
    fn a_terminal_gets_the_first_rows_and_the_number_of_the_others() {
        let check = |limit, is_terminal, count, lines, says: &str| {
            let text = rows(limit, is_terminal, count);
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(text.lines().last().unwrap().starts_with(says), "{text}");
        };
        check(RowLimit::Terminal, true, 40, 41, " 39");
        check(RowLimit::Terminal, true, 41, 42, "… 1 more row (");
        check(RowLimit::Terminal, true, 5_000, 42, "… 4960 more rows (");
        check(RowLimit::Terminal, false, 5_000, 5_001, " 4999");
        check(RowLimit::None, true, 5_000, 5_001, " 4999");
        check(RowLimit::Rows(2), false, 5, 4, "… 3 more rows (");
        check(RowLimit::Rows(0), true, 1, 2, "… 1 more row (");
        assert_eq!(rows(RowLimit::Terminal, true, 0), "(no rows)\n");
    }

    #[test]
    fn a_long_table_is_printed_as_rows_arrive() {
        let (mut out, printed) = output(Format::Table, RowLimit::None, false);
        let mut result = out.result(vec!["name".into(), "b".into()]);
        let mut buffered = 0;
        for n in 0..10_000 {
            let name = if n == 5_000 { "a wider cell".to_string() } else { format!("r{n}") };
            result.row(vec![name.into(), n.into()]).unwrap();
            buffered = buffered.max(result.table.rows.len());
        }
        assert!(buffered < MAX_BUFFERED_ROWS, "{buffered} rows are held");
        assert!(printed.text().lines().count() >= 10_000, "all but the last ones are printed before the end");
        result.end().unwrap();
        let text = printed.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(&lines[..2], [" name  b", " r0    0"]);
        assert_eq!(lines[10_000], " r9999         9999");
        let mut buffered = BufferedTable::default();
        assert!(buffered.push(vec![Some("x".repeat(MAX_BUFFERED_BYTES))]), "few large rows are not held either");
    }

    #[test]
    fn records_have_a_line_for_each_column() {
        let (mut out, printed) = output(Format::Table, RowLimit::Rows(2), true);
        let mut result = out.result(vec!["id".into(), "Größe".into()]);
        for n in 1..=3 {
            result.record(&[n.into(), if n == 2 { Value::Null } else { json!("a\nb") }]).unwrap();
        }
        result.end().unwrap();
        let lines = "-[ row 1 ]\n id     1\n Größe  a b\n-[ row 2 ]\n id     2\n Größe  NULL\n… 1 more row (";
        assert!(printed.text().starts_with(lines), "{}", printed.text());
        let (mut out, printed) = output(Format::Table, RowLimit::None, true);
        out.result(vec!["id".into()]).end().unwrap();
        assert_eq!(printed.text(), "(no rows)\n");
    }

    #[test]
    fn a_document_is_one_line_of_csv() {
        let document = json!({"name": "a,b", "files": 3, "none": null, "metadata": {"id": "x"}, "list": [1, 2]});
        let (mut out, printed) = output(Format::Csv, RowLimit::None, false);
        out.document(&document).unwrap();
        assert_eq!(printed.text(), "name,files,none,metadata,list\n\"a,b\",3,,\"{\"\"id\"\":\"\"x\"\"}\",\"[1,2]\"\n");
        let (mut out, printed) = output(Format::Json, RowLimit::None, false);
        out.document(&document).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&printed.text()).unwrap(), document);
    }

    #[test]
    fn column_widths_count_visible_characters() {
        let (mut out, printed) = output(Format::Table, RowLimit::None, false);
        let mut listing = out.listing(vec!["a".into(), "b".into()]);
        for (a, b) in [("日本", 1), ("\u{1b}[1m", 2), ("é", 3)] {
            listing.row(vec![a.into(), b.into()]).unwrap();
        }
        listing.end().unwrap();
        assert_eq!(printed.text(), " a          b\n 日本       1\n \\u{1b}[1m  2\n é          3\n");
    }

    #[test]
    fn a_null_differs_from_an_empty_text() {
        let printed = |is_coloured, is_result| {
            let (mut out, printed) = output(Format::Table, RowLimit::None, false);
            out.is_coloured = is_coloured;
            let columns = vec!["a".into(), "b".into()];
            let mut rows = if is_result { out.result(columns) } else { out.listing(columns) };
            rows.row(vec![Value::Null, "x".into()]).unwrap();
            rows.row(vec!["".into(), Value::Null]).unwrap();
            rows.end().unwrap();
            printed.text()
        };
        assert_eq!(printed(false, true), " a     b\n NULL  x\n       NULL\n");
        assert_eq!(printed(false, false), " a  b\n    x\n\n", "a listing leaves the cell empty");
        let dim = format!("{DIM}NULL{PLAIN}");
        let header = format!(" {BOLD}a{PLAIN}     {BOLD}b{PLAIN}\n");
        assert_eq!(printed(true, true), format!("{header} {dim}  x\n       {dim}\n"));
    }
}
