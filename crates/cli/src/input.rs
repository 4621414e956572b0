//! Rows from files: CSV, NDJSON and Parquet as Arrow batches, with a table's types where it exists.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::csv::reader::Format as CsvFormat;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::args::InputFormat;

const BATCH_ROWS: usize = 8192;
/// Rows looked at to find the types of a new table.
const INFER_ROWS: usize = 10_000;

/// The rows of an input.
pub(crate) type Rows = Box<dyn RecordBatchReader + Send>;

/// Rows whose errors name the input they come from.
struct Named {
    input: String,
    rows: Rows,
}

impl Iterator for Named {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let named = |e| ArrowError::ExternalError(format!("{}: {}", self.input, explain(e)).into());
        self.rows.next().map(|batch| batch.map_err(named))
    }
}

impl RecordBatchReader for Named {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// Opens `input`, a file or `-`. Without a table's schema the types are found in the data.
pub(crate) fn open(input: &str, format: Option<InputFormat>, table: Option<&SchemaRef>) -> Result<Rows> {
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
        InputFormat::Csv => csv(input, source(input)?, table, &failed)?,
        InputFormat::Ndjson => ndjson(source(input)?, table, &failed)?,
    };
    Ok(Box::new(Named { input: input.to_string(), rows }))
}

fn by_ending(input: &str) -> Result<InputFormat> {
    let ending = std::path::Path::new(input).extension().and_then(|e| e.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "csv" => Ok(InputFormat::Csv),
        "ndjson" | "jsonl" | "json" => Ok(InputFormat::Ndjson),
        "parquet" => Ok(InputFormat::Parquet),
        _ => Err(TxnLogError::invalid(format!(
            "the format of {input} is not known by its ending: say it with --input-format csv, ndjson or parquet"
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
    table: Option<&SchemaRef>,
    failed: &dyn Fn(ArrowError) -> TxnLogError,
) -> Result<Rows> {
    let format = CsvFormat::default().with_header(true);
    let rows = if table.is_some() { 0 } else { INFER_ROWS };
    let (inferred, _) = format.infer_schema(&mut from, Some(rows)).map_err(failed)?;
    from.rewind().map_err(|e| failed(e.into()))?;
    let schema = match table {
        None => inferred,
        Some(table) => {
            let field =
                |name: &String| table.field_with_name(name).cloned().map_err(|_| unknown_column(input, name, table));
            let names: Vec<_> = inferred.fields().iter().map(|f| f.name().clone()).collect();
            Schema::new(names.iter().map(field).collect::<Result<Vec<_>>>()?)
        }
    };
    let reader = arrow::csv::ReaderBuilder::new(Arc::new(schema)).with_format(format).with_batch_size(BATCH_ROWS);
    Ok(Box::new(reader.build_buffered(BufReader::new(from)).map_err(failed)?))
}

fn unknown_column(input: &str, name: &str, table: &SchemaRef) -> TxnLogError {
    let names: Vec<_> = table.fields().iter().map(|f| f.name().as_str()).collect();
    TxnLogError::invalid(format!("{input} has a column {name:?} that the table has not: it has {}", names.join(", ")))
}

fn ndjson(
    mut from: Box<dyn Source>,
    table: Option<&SchemaRef>,
    failed: &dyn Fn(ArrowError) -> TxnLogError,
) -> Result<Rows> {
    let schema = match table {
        Some(table) => table.clone(),
        None => {
            let (schema, _) =
                arrow::json::reader::infer_json_schema(BufReader::new(&mut from), Some(INFER_ROWS)).map_err(failed)?;
            from.rewind().map_err(|e| failed(e.into()))?;
            Arc::new(schema)
        }
    };
    let reader = arrow::json::ReaderBuilder::new(schema).with_strict_mode(true).with_batch_size(BATCH_ROWS);
    Ok(Box::new(reader.build(BufReader::new(from)).map_err(failed)?))
}

/// The rows of NDJSON text.
pub(crate) fn ndjson_text(text: &'static str, table: Option<&SchemaRef>) -> Result<Rows> {
    let failed = |e: ArrowError| TxnLogError::invalid("the text is not NDJSON of that table").with_source(explain(e));
    ndjson(Box::new(Cursor::new(text)), table, &failed)
}

/// Arrow's own words without its error's type.
fn explain(e: ArrowError) -> Box<dyn std::error::Error + Send + Sync> {
    match e {
        ArrowError::CsvError(m)
        | ArrowError::JsonError(m)
        | ArrowError::ParseError(m)
        | ArrowError::ParquetError(m) => m.into(),
        ArrowError::CastError(m) | ArrowError::SchemaError(m) | ArrowError::InvalidArgumentError(m) => m.into(),
        other => other.into(),
    }
}
