//! Prints rows in each format, as they arrive.

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use deltalakedb_table::{SendableRecordBatchStream, query_error};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::args::Format;
use crate::output::Output;
use crate::values;

/// The number of rows buffered for a Parquet row group.
const ROW_GROUP: usize = 128 * 1024;

/// The results of one command: one after the other, or as one JSON document.
pub(crate) struct Results<'a> {
    out: &'a mut Output,
    /// Whether the text of the command has more than one result.
    several: bool,
    /// Whether a table shows each row as a record.
    expanded: bool,
    printed: usize,
}

impl<'a> Results<'a> {
    /// Starts printing `expected` results; an error if the format does not allow that many.
    pub(crate) fn new(out: &'a mut Output, expected: usize) -> Result<Self> {
        match out.format() {
            Format::Parquet if expected != 1 => Err(TxnLogError::invalid(format!(
                "--format parquet needs exactly one result with rows, and got {expected}: run one query, or pass \
                 --format json or csv"
            ))),
            Format::Parquet if out.is_terminal() => Err(TxnLogError::invalid(
                "--format parquet writes binary data, which a terminal cannot show: redirect the output, such as > \
                 rows.parquet, or \\o rows.parquet in the shell",
            )),
            _ => Ok(Self { out, several: expected > 1, expanded: false, printed: 0 }),
        }
    }

    /// Shows each row of a table as a record, with a line for each column.
    pub(crate) fn with_expanded(self, expanded: bool) -> Self {
        Self { expanded: expanded && self.out.format() == Format::Table, ..self }
    }

    /// Prints one result completely.
    pub(crate) async fn print(&mut self, rows: SendableRecordBatchStream) -> Result<()> {
        match (self.out.format(), self.several, self.printed) {
            (Format::Json, true, 0) => self.out.raw("[")?,
            (Format::Json, true, _) => self.out.raw(",")?,
            (Format::Csv | Format::Table, _, 1..) => self.out.line("")?,
            _ => {}
        }
        self.printed += 1;
        match self.out.format() {
            Format::Parquet => write_parquet(self.out, rows).await,
            _ => print(self.out, rows, self.expanded).await,
        }
    }

    /// Ends the document.
    pub(crate) fn end(self) -> Result<()> {
        match (self.out.format(), self.several, self.printed) {
            (Format::Json, true, 1..) => self.out.line("]"),
            (Format::Json, _, 0) => self.out.line("[]"),
            _ => Ok(()),
        }
    }

    /// A line for people, between the results.
    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        self.out.say(text)
    }
}

/// Prints rows as they arrive.
pub(crate) async fn print_rows(out: &mut Output, rows: SendableRecordBatchStream) -> Result<()> {
    let mut results = Results::new(out, 1)?;
    results.print(rows).await?;
    results.end()
}

async fn print(out: &mut Output, mut rows: SendableRecordBatchStream, expanded: bool) -> Result<()> {
    let columns: Vec<_> = rows.schema().fields().iter().map(|f| f.name().clone()).collect();
    if out.format() == Format::Table && columns == ["plan_type", "plan"] {
        return print_plan(out, rows).await;
    }
    let mut listing = out.result(columns);
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|e| query_error(e, UNREADABLE))?;
        for row in 0..batch.num_rows() {
            if listing.is_full() {
                listing.count((batch.num_rows() - row) as u64)?;
                break;
            }
            let values = batch.columns().iter().map(|c| values::json(c, row)).collect::<Result<Vec<_>>>()?;
            if expanded { listing.record(&values)? } else { listing.row(values)? }
        }
    }
    listing.end()
}

/// A plan is text with many lines.
async fn print_plan(out: &mut Output, mut rows: SendableRecordBatchStream) -> Result<()> {
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|e| query_error(e, UNREADABLE))?;
        for row in 0..batch.num_rows() {
            for column in batch.columns() {
                let text = values::json(column, row)?;
                out.line(text.as_str().unwrap_or_default().trim_end())?;
            }
        }
    }
    Ok(())
}

const UNREADABLE: &str = "the rows cannot be read to their end";

/// At most one row group is in memory.
async fn write_parquet(out: &mut Output, mut rows: SendableRecordBatchStream) -> Result<()> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .build();
    // Without the Arrow types of our computation: readers use the Parquet types.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(out.writer(), rows.schema(), options).map_err(unwritable)?;
    while let Some(batch) = rows.next().await {
        writer.write(&batch.map_err(|e| query_error(e, UNREADABLE))?).map_err(unwritable)?;
    }
    writer.close().map_err(unwritable)?;
    out.flush()
}

fn unwritable(e: ParquetError) -> TxnLogError {
    let e = match e {
        ParquetError::External(e) => match e.downcast::<std::io::Error>() {
            Ok(io) => {
                return TxnLogError::new(ErrorKind::Unavailable, "the result cannot be printed").with_source(*io);
            }
            Err(e) => ParquetError::External(e),
        },
        e => e,
    };
    TxnLogError::invalid("the rows cannot be written as Parquet").with_source(e)
}
