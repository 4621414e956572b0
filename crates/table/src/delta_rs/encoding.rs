//! How values are encoded in data files, where the caller does not say.
//!
//! Parquet's writer builds a dictionary of each column and gives it up when it has become too large. By then it takes
//! space, and every reader decompresses it, however few rows it reads. So columns whose first values hardly repeat get
//! none.

use std::collections::HashSet;

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::Result as HashResult;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalake_core::crate_version;
use deltalakedb_log::Result;
use futures::StreamExt;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::write::Data;
use crate::error::Explain;

/// The number of rows that are looked at.
const SAMPLE: usize = 8_192;

/// How many of them repeat a value at least in a column that gets a dictionary. If all values are equally frequent, a
/// column with fewer has more than 260,000 of them, for which a dictionary of 1 MiB, the writer's limit, has no place.
const LEAST_REPEATED: usize = SAMPLE / 64;

/// The given encoding, or one for these rows. The rows are returned unchanged.
pub(super) async fn of_rows(rows: Data, given: Option<&WriterProperties>) -> Result<(Data, WriterProperties)> {
    if let Some(given) = given {
        return Ok((rows, given.clone()));
    }
    let schema = rows.schema();
    let mut rows = Box::pin(rows.peekable());
    // An error is met again by who writes the rows.
    let first = rows.as_mut().peek().await.and_then(|first| first.as_ref().ok());
    let columns = first.map(without_dictionary).transpose();
    let columns = columns.explain(|| "the rows cannot be written".into())?.unwrap_or_default();
    // Otherwise as delta-rs does.
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("delta-rs version {}", crate_version()))
        .set_compression(Compression::SNAPPY);
    for column in columns {
        properties = properties.set_column_dictionary_enabled(column, false);
    }
    Ok((Box::pin(RecordBatchStreamAdapter::new(schema, rows)), properties.build()))
}

/// The columns that get no dictionary.
fn without_dictionary(rows: &RecordBatch) -> HashResult<Vec<ColumnPath>> {
    let mut columns = Vec::new();
    if rows.num_rows() < SAMPLE {
        return Ok(columns);
    }
    for (field, values) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if !field.data_type().is_nested() && repeated(&values.slice(0, SAMPLE))? < LEAST_REPEATED {
            columns.push(ColumnPath::new(vec![field.name().clone()]));
        }
    }
    Ok(columns)
}

/// How many of the values were there before.
fn repeated(values: &ArrayRef) -> HashResult<usize> {
    let mut hashes = vec![0; values.len()];
    create_hashes([values], &RandomState::default(), &mut hashes)?;
    Ok(hashes.len() - hashes.iter().collect::<HashSet<_>>().len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use datafusion::common::DataFusionError;
    use futures::{TryStreamExt, stream};

    use super::*;

    fn rows(count: i64) -> RecordBatch {
        let column = |value: &dyn Fn(i64) -> i64| Arc::new((0..count).map(value).collect::<Int64Array>()) as ArrayRef;
        let texts: ArrayRef = Arc::new((0..count).map(|n| Some(format!("{n:x}"))).collect::<StringArray>());
        let columns = [("unique", column(&|n| n)), ("a.text", texts), ("few", column(&|n| n % 1_000))];
        let often = [("in_runs", column(&|n| n / 2)), ("rarely", column(&|n| n % 8_064))];
        RecordBatch::try_from_iter(columns.into_iter().chain(often)).unwrap()
    }

    fn stream_of(batches: Vec<std::result::Result<RecordBatch, DataFusionError>>) -> Data {
        Box::pin(RecordBatchStreamAdapter::new(rows(1).schema(), stream::iter(batches)))
    }

    #[tokio::test]
    async fn columns_whose_values_hardly_repeat_get_no_dictionary() {
        let batches = [rows(10_000), rows(3)];
        let (written, properties) = of_rows(stream_of(batches.iter().cloned().map(Ok).collect()), None).await.unwrap();
        let has_dictionary = |column: &str| properties.dictionary_enabled(&ColumnPath::new(vec![column.into()]));
        let found = ["unique", "a.text", "few", "in_runs", "rarely"].map(has_dictionary);
        assert_eq!(found, [false, false, true, true, true]);
        assert_eq!(written.try_collect::<Vec<_>>().await.unwrap(), batches);
    }

    #[tokio::test]
    async fn few_rows_have_dictionaries_and_a_given_encoding_is_kept() {
        let path = ColumnPath::new(vec!["unique".into()]);
        let (_, properties) = of_rows(stream_of(vec![Ok(rows(8_191))]), None).await.unwrap();
        assert!(properties.dictionary_enabled(&path));
        let given = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED).build();
        let (_, properties) = of_rows(stream_of(vec![Ok(rows(8_192))]), Some(&given)).await.unwrap();
        assert!(properties.dictionary_enabled(&path));
        assert_eq!(properties.compression(&path), Compression::UNCOMPRESSED);
    }

    #[tokio::test]
    async fn an_error_of_the_rows_is_returned_where_they_are_read() {
        let broken = || DataFusionError::Execution("broken".into());
        let (rows, _) = of_rows(stream_of(vec![Err(broken())]), None).await.unwrap();
        assert_eq!(rows.try_collect::<Vec<_>>().await.unwrap_err().to_string(), broken().to_string());
    }
}
