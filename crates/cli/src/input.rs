//! Reads rows from files: CSV, NDJSON and Parquet as Arrow batches, with a table's types if it exists.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchReader, StringArray};
use arrow::compute::cast;
use arrow::csv::reader::Format as CsvFormat;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use deltalakedb_table::type_name;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::args::InputFormat;

const BATCH_ROWS: usize = 8192;
/// The number of rows from which the types of a new table are inferred.
const INFER_ROWS: usize = 10_000;
/// The length of `2024-01-31T12:00:00`; only a zone has a sign after it.
const TIME_LENGTH: usize = 19;

/// The columns that an input may have, and their types.
#[derive(Clone, Copy)]
pub(crate) enum Columns<'a> {
    /// Any; the types are inferred from the data.
    Found,
    /// The columns of a table.
    Of(&'a SchemaRef),
    /// The columns of a table, and others, whose types are inferred from the data.
    AndMore(&'a SchemaRef),
}

/// The rows of an input.
pub(crate) type Rows = Box<dyn RecordBatchReader + Send>;

/// Rows whose errors name their input.
struct LabelledReader {
    input: String,
    rows: Rows,
}

impl Iterator for LabelledReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let named =
            |e| ArrowError::ExternalError(TxnLogError::invalid(format!("{}: {}", self.input, explain(e))).into());
        self.rows.next().map(|batch| batch.map_err(named))
    }
}

impl RecordBatchReader for LabelledReader {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// Opens `input`, a file or `-`.
pub(crate) fn open(input: &str, format: Option<InputFormat>, columns: Columns<'_>) -> Result<Rows> {
    let format = match format {
        Some(format) => format,
        None => by_ending(input)?,
    };
    let failed = |e: ArrowError| {
        TxnLogError::invalid(format!("{input} cannot be read as {}", name(format))).with_source(explain(e))
    };
    let rows: Rows = match format {
        InputFormat::Parquet if input == "-" => {
            Box::new(parquet(bytes::Bytes::from(read_all(input)?)).map_err(failed)?)
        }
        InputFormat::Parquet => Box::new(parquet(open_file(input)?).map_err(failed)?),
        InputFormat::Csv => csv(input, source(input)?, columns, &failed)?,
        InputFormat::Ndjson => ndjson(source(input)?, columns, &failed)?,
    };
    Ok(Box::new(LabelledReader { input: input.to_string(), rows }))
}

fn by_ending(input: &str) -> Result<InputFormat> {
    let ending = std::path::Path::new(input).extension().and_then(|e| e.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "csv" => Ok(InputFormat::Csv),
        "ndjson" | "jsonl" | "json" => Ok(InputFormat::Ndjson),
        "parquet" => Ok(InputFormat::Parquet),
        _ => Err(TxnLogError::invalid(format!(
            "unknown file extension of {input}: pass --input-format csv, ndjson or parquet"
        ))),
    }
}

fn name(format: InputFormat) -> &'static str {
    match format {
        InputFormat::Csv => "CSV",
        InputFormat::Ndjson => "NDJSON",
        InputFormat::Parquet => "Parquet",
    }
}

fn open_file(input: &str) -> Result<File> {
    File::open(input).map_err(|e| {
        TxnLogError::new(ErrorKind::NotFound, format!("the input {input} cannot be opened")).with_source(e)
    })
}

fn read_all(input: &str) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    std::io::stdin().lock().read_to_end(&mut all).map_err(|e| {
        TxnLogError::new(ErrorKind::Unavailable, format!("the input {input} cannot be read to its end")).with_source(e)
    })?;
    Ok(all)
}

fn source(input: &str) -> Result<Box<dyn Source>> {
    Ok(match input {
        "-" => Box::new(Cursor::new(read_all(input)?)),
        _ => Box::new(BufReader::new(open_file(input)?)),
    })
}

fn parquet<R: parquet::file::reader::ChunkReader + 'static>(
    file: R,
) -> Result<parquet::arrow::arrow_reader::ParquetRecordBatchReader, ArrowError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(ArrowError::from)?;
    builder.with_batch_size(BATCH_ROWS).build().map_err(ArrowError::from)
}

fn csv(
    input: &str,
    mut from: Box<dyn Source>,
    columns: Columns<'_>,
    failed: &dyn Fn(ArrowError) -> TxnLogError,
) -> Result<Rows> {
    let format = CsvFormat::default().with_header(true);
    let sampled = if matches!(columns, Columns::Of(_)) { 0 } else { INFER_ROWS };
    let (inferred, _) = format.infer_schema(&mut from, Some(sampled)).map_err(failed)?;
    let text = inferred.fields().iter().map(|f| Field::new(f.name(), DataType::Utf8, true));
    let text = Arc::new(Schema::new(text.collect::<Vec<_>>()));
    let reader = |rows| arrow::csv::ReaderBuilder::new(text.clone()).with_format(format.clone()).with_batch_size(rows);
    from.rewind().map_err(|e| failed(e.into()))?;
    let types = match columns {
        Columns::Of(table) => {
            let names = inferred.fields().iter().map(|f| f.name());
            names.map(|name| csv_type(input, name, table)).collect::<Result<Vec<_>>>()?
        }
        Columns::Found | Columns::AndMore(_) => {
            let sample = reader(INFER_ROWS).build_buffered(BufReader::new(&mut from));
            let sample = sample.and_then(|mut rows| rows.next().transpose()).map_err(failed)?;
            from.rewind().map_err(|e| failed(e.into()))?;
            let values = |n: usize| sample.as_ref().map(|s| s.column(n).as_string());
            let one = |(n, f): (usize, &Arc<Field>)| match columns {
                Columns::AndMore(table) if table.field_with_name(f.name()).is_ok() => csv_type(input, f.name(), table),
                _ => Ok(inferred_type(f.data_type(), values(n))),
            };
            inferred.fields().iter().enumerate().map(one).collect::<Result<_>>()?
        }
    };
    let columns = inferred.fields().iter().zip(types).map(|(f, t)| Field::new(f.name(), t, true));
    let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
    let text = reader(BATCH_ROWS).build_buffered(BufReader::new(from)).map_err(failed)?;
    Ok(Box::new(Typed { text: Box::new(text), schema, line: 2, quotes_lines: true }))
}

fn csv_type(input: &str, name: &str, table: &SchemaRef) -> Result<DataType> {
    let column = table.field_with_name(name).map_err(|_| unknown_column(input, name, table))?;
    match column.data_type() {
        nested if nested.is_nested() => Err(TxnLogError::invalid(format!(
            "the column {name:?} has the type {}, which CSV cannot represent: use NDJSON or Parquet",
            type_name(nested)
        ))),
        plain => Ok(plain.clone()),
    }
}

/// The type that Arrow has inferred, with two exceptions: a time with a zone is not one without, and a column without
/// values is text.
fn inferred_type(found: &DataType, values: Option<&StringArray>) -> DataType {
    let zoned = |v: &str| v.ends_with(['Z', 'z']) || v.get(TIME_LENGTH..).is_some_and(|end| end.contains(['+', '-']));
    match found {
        DataType::Null => DataType::Utf8,
        DataType::Timestamp(..) => {
            let zone = values.is_some_and(|values| values.iter().flatten().all(zoned)).then(|| "UTC".into());
            DataType::Timestamp(TimeUnit::Microsecond, zone)
        }
        other => other.clone(),
    }
}

/// Converts text to the columns' types; errors name the column and line.
struct Typed {
    text: Rows,
    schema: SchemaRef,
    /// The line of the next batch.
    line: usize,
    /// Whether a quoted value may contain line breaks.
    quotes_lines: bool,
}

impl Typed {
    fn values(&mut self, text: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut columns = Vec::new();
        for (field, text_column) in self.schema.fields().iter().zip(text.columns()) {
            if text_column.data_type() == field.data_type() {
                columns.push(text_column.clone());
                continue;
            }
            // A value that cannot be cast becomes null.
            let values = cast(text_column, field.data_type())?;
            let scale = match field.data_type() {
                DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => Some(*scale),
                _ => None,
            };
            let texts = text_column.as_string::<i32>();
            let rounded = |row: usize| scale.is_some_and(|scale| has_more_digits(texts.value(row), scale));
            let lost = |row: &usize| texts.is_valid(*row) && (values.is_null(*row) || rounded(*row));
            if let Some(row) = (0..text.num_rows()).find(lost) {
                return Err(ArrowError::ParseError(format!(
                    "line {}: {:?} is not a valid {}, the type of the column {:?}",
                    self.line + self.lines(text, row),
                    texts.value(row),
                    type_name(field.data_type()),
                    field.name()
                )));
            }
            columns.push(values);
        }
        self.line += self.lines(text, text.num_rows());
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    /// How many lines the first `rows` rows take.
    fn lines(&self, text: &RecordBatch, rows: usize) -> usize {
        let in_value = |v: &str| v.matches('\n').count();
        let in_column = |c: &ArrayRef| c.as_string::<i32>().iter().take(rows).flatten().map(in_value).sum::<usize>();
        rows + if self.quotes_lines { text.columns().iter().map(in_column).sum() } else { 0 }
    }
}

impl Iterator for Typed {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.text.next()?;
        Some(text.and_then(|text| self.values(&text)))
    }
}

impl RecordBatchReader for Typed {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// Whether a decimal has digits, other than zeros, beyond the scale.
fn has_more_digits(text: &str, scale: i8) -> bool {
    let Some((_, fraction)) = text.split_once('.') else { return false };
    let digits = fraction.trim_end_matches('0').len();
    text.contains(['e', 'E']) || digits > usize::try_from(scale).unwrap_or(0)
}

fn unknown_column(input: &str, name: &str, table: &SchemaRef) -> TxnLogError {
    let names: Vec<_> = table.fields().iter().map(|f| f.name().as_str()).collect();
    TxnLogError::invalid(format!(
        "{input} has a column {name:?} that the table does not have: its columns are {}",
        names.join(", ")
    ))
}

fn ndjson(mut from: Box<dyn Source>, columns: Columns<'_>, failed: &dyn Fn(ArrowError) -> TxnLogError) -> Result<Rows> {
    // A null in a column that is not nullable is reported when the rows are cast to the schema of the table.
    let nullable = |f: &Field| f.clone().with_nullable(true);
    let schema = match columns {
        Columns::Of(table) => Schema::new(table.fields().iter().map(|f| nullable(f)).collect::<Vec<_>>()),
        Columns::Found | Columns::AndMore(_) => {
            let (found, _) =
                arrow::json::reader::infer_json_schema(BufReader::new(&mut from), Some(INFER_ROWS)).map_err(failed)?;
            from.rewind().map_err(|e| failed(e.into()))?;
            let known = |f: &Arc<Field>| match columns {
                Columns::AndMore(table) => table.field_with_name(f.name()).map_or(f.as_ref().clone(), nullable),
                _ => f.as_ref().clone(),
            };
            Schema::new(found.fields().iter().map(known).collect::<Vec<_>>())
        }
    };
    let schema = Arc::new(schema);
    // Numbers are read as text, and then cast as in CSV: Arrow would truncate 1.5 to a long of 1.
    let text = schema.fields().iter().map(|f| match f.data_type() {
        as_it_is if as_it_is.is_nested() || as_it_is.is_binary() => f.as_ref().clone(),
        _ => Field::new(f.name(), DataType::Utf8, true),
    });
    let text = Arc::new(Schema::new(text.collect::<Vec<_>>()));
    let reader = arrow::json::ReaderBuilder::new(text).with_strict_mode(true).with_coerce_primitive(true);
    let text = reader.with_batch_size(BATCH_ROWS).build(BufReader::new(from)).map_err(failed)?;
    Ok(Box::new(Typed { text: Box::new(text), schema, line: 1, quotes_lines: false }))
}

pub(crate) fn ndjson_text(text: &'static str, table: Option<&SchemaRef>) -> Result<Rows> {
    let failed = |e: ArrowError| TxnLogError::invalid("the text is not NDJSON of that table").with_source(explain(e));
    ndjson(Box::new(Cursor::new(text)), table.map_or(Columns::Found, Columns::Of), &failed)
}

/// The message of an Arrow error without its type.
fn explain(e: ArrowError) -> Box<dyn std::error::Error + Send + Sync> {
    match e {
        ArrowError::CsvError(m)
        | ArrowError::JsonError(m)
        | ArrowError::ParseError(m)
        | ArrowError::ParquetError(m) => m.into(),
        ArrowError::ExternalError(e) => e,
        ArrowError::CastError(m) | ArrowError::SchemaError(m) | ArrowError::InvalidArgumentError(m) => m.into(),
        other => other.into(),
    }
}
