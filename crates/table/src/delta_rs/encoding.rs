//! How values are encoded in data files, where the caller does not say.
//!
//! Parquet's writer builds a dictionary of each column and gives it up when it has become too large. By then it takes
//! space, and every reader decompresses it, however few rows it reads. So the first rows are looked at before a file is
//! begun, and columns of which these fill a dictionary get none. A column that would fill one later keeps it until then.
//!
//! Of a file with hidden rows, pages are read in which a row is visible. New rows of tables with deletion vectors get
//! smaller pages, so that fewer rows are decoded in vain.

use std::any::Any;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::kernels::length::length;
use arrow::compute::{cast, sum};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalake_core::crate_version;
use deltalakedb_log::Result;
use futures::{FutureExt, StreamExt, stream};
use parquet::basic::Compression;
use parquet::file::properties::{DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::capture::panicked;

/// The most rows that are looked at: so many numbers of 8 bytes fill a dictionary.
const MOST_ROWS: usize = DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT / 8;

/// The most bytes of rows that are held for it.
const MOST_BYTES: usize = 32 << 20;

/// The rows of a page in tables with deletion vectors. Parquet's writer has up to 20,000 in others.
const PAGE_ROWS_WITH_VECTORS: usize = 4_096;

/// Rows after which columns with repeated values are not looked at any more.
const FIRST_ROWS: usize = 8_192;

/// How many of the first rows, at least, repeat a value in such a column.
const FEWEST_REPEATED: usize = FIRST_ROWS / 64;

/// What of a table its encoding depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EncodedTable {
    /// Whether its columns are mapped: they have other names in files.
    pub(super) is_mapped: bool,
    /// Whether its rows may be hidden by deletion vectors.
    pub(super) has_vectors: bool,
}

/// The given encoding, or one for these rows, of which the first are read for it. The rows are returned unchanged;
/// `failed` begins the sentence of an error. No dictionary is left out where columns are mapped.
pub(super) async fn of_rows(
    rows: SendableRecordBatchStream,
    given: Option<&WriterProperties>,
    table: EncodedTable,
    failed: &str,
) -> Result<(SendableRecordBatchStream, WriterProperties)> {
    match given {
        Some(given) => Ok((rows, given.clone())),
        None if table.is_mapped => Ok((rows, of_table(table).build())),
        None => {
            let chosen = AssertUnwindSafe(chosen_for(rows, table)).catch_unwind().await;
            chosen.map_err(|panic: Box<dyn Any + Send>| panicked(failed, panic.as_ref()))
        }
    }
}

async fn chosen_for(
    mut rows: SendableRecordBatchStream,
    table: EncodedTable,
) -> (SendableRecordBatchStream, WriterProperties) {
    let schema = rows.schema();
    let mut columns: Vec<_> =
        schema.fields().iter().map(|field| Column::new(field.name(), field.data_type())).collect();
    let (mut read, mut count, mut bytes) = (Vec::new(), 0, 0);
    while count < MOST_ROWS && bytes < MOST_BYTES && columns.iter().any(|column| column.state == State::Unknown) {
        let Some(batch) = rows.next().await else { break };
        if let Ok(batch) = &batch {
            look_at(batch, &mut columns, count);
            count += batch.num_rows();
            bytes += batch.get_array_memory_size();
        }
        let is_error = batch.is_err();
        read.push(batch);
        if is_error {
            break;
        }
    }
    let mut properties = of_table(table);
    for column in columns.into_iter().filter(|column| column.state == State::TooLarge) {
        properties = properties.set_column_dictionary_enabled(ColumnPath::new(vec![column.name]), false);
    }
    let rows = stream::iter(read).chain(rows);
    (Box::pin(RecordBatchStreamAdapter::new(schema, rows)), properties.build())
}

/// As in delta-rs, but for the pages of tables with deletion vectors.
fn of_table(table: EncodedTable) -> WriterPropertiesBuilder {
    let properties = WriterProperties::builder()
        .set_created_by(format!("delta-rs version {}", crate_version()))
        .set_compression(Compression::SNAPPY);
    if table.has_vectors { properties.set_data_page_row_count_limit(PAGE_ROWS_WITH_VECTORS) } else { properties }
}

/// Looks at the rows of a batch, `before` which there were that many.
fn look_at(batch: &RecordBatch, columns: &mut [Column], before: usize) {
    // The first rows are looked at together, however many come at once.
    let first = FIRST_ROWS.saturating_sub(before).min(batch.num_rows());
    for rows in [batch.slice(0, first), batch.slice(first, batch.num_rows() - first)] {
        if rows.num_rows() > 0 {
            for (column, values) in columns.iter_mut().zip(rows.columns()) {
                column.look_at(values);
            }
        }
    }
}

/// What is known of the dictionary of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    /// It is useful, or it is not known to be useless.
    Useful,
    TooLarge,
}

struct Column {
    name: String,
    state: State,
    /// The hashes of the values so far.
    values: HashSet<u64>,
    /// Values so far that are not null.
    count: usize,
    /// The size of the dictionary so far.
    bytes: usize,
}

impl Column {
    fn new(name: &str, data_type: &DataType) -> Self {
        let state = if has_size(data_type) { State::Unknown } else { State::Useful };
        Self { name: name.into(), state, values: HashSet::new(), count: 0, bytes: 0 }
    }

    fn look_at(&mut self, values: &ArrayRef) {
        if self.state != State::Unknown {
            return;
        }
        let mut hashes = vec![0; values.len()];
        let Some(size) =
            average_size(values).filter(|_| create_hashes([values], &RandomState::default(), &mut hashes).is_ok())
        else {
            self.state = State::Useful;
            return;
        };
        let before = self.values.len();
        self.values.extend(hashes.into_iter().enumerate().filter_map(|(n, hash)| values.is_valid(n).then_some(hash)));
        self.count += values.len() - values.null_count();
        self.bytes += (self.values.len() - before) * size;
        if self.bytes >= DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT {
            self.state = State::TooLarge;
        } else if self.count >= FIRST_ROWS && self.count - self.values.len() >= FEWEST_REPEATED {
            self.state = State::Useful;
        }
    }
}

fn has_size(data_type: &DataType) -> bool {
    use DataType as T;
    data_type.is_primitive()
        || matches!(data_type, T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Binary | T::LargeBinary | T::BinaryView)
}

/// The bytes that a value takes in a dictionary; `None` if they are not known.
fn average_size(values: &ArrayRef) -> Option<usize> {
    use DataType as T;
    match values.data_type() {
        T::Decimal32(precision, _) | T::Decimal64(precision, _) | T::Decimal128(precision, _) if *precision <= 9 => {
            Some(4)
        }
        T::Decimal64(precision, _) | T::Decimal128(precision, _) if *precision <= 18 => Some(8),
        // Parquet has no numbers of fewer than 4 bytes.
        data_type if data_type.is_primitive() => Some(data_type.primitive_width()?.max(4)),
        _ => {
            let lengths = cast(&length(values).ok()?, &T::Int64).ok()?;
            let all = sum(lengths.as_primitive::<Int64Type>()).unwrap_or(0);
            let count = (values.len() - values.null_count()).max(1);
            // Each has its length in front.
            Some(usize::try_from(all).ok()? / count + 4)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use datafusion::common::DataFusionError;
    use futures::TryStreamExt;

    use super::*;

    type Batches = Vec<std::result::Result<RecordBatch, DataFusionError>>;

    /// Rows with these numbers; the values of some columns repeat sooner than those of others.
    fn rows(numbers: std::ops::Range<i64>) -> RecordBatch {
        let column = |value: &dyn Fn(i64) -> Option<i64>| -> ArrayRef {
            Arc::new(numbers.clone().map(value).collect::<Int64Array>())
        };
        let texts: ArrayRef = Arc::new(numbers.clone().map(|n| Some(format!("text {n:08}"))).collect::<StringArray>());
        RecordBatch::try_from_iter([
            ("unique", column(&Some)),
            ("a.text", texts),
            ("unique_or_null", column(&|n| (n % 3 != 0).then_some(n))),
            ("few", column(&|n| Some(n % 1_000))),
            ("in_runs", column(&|n| Some(n / 2))),
            ("after_a_while", column(&|n| Some(n % 10_000))),
        ])
        .unwrap()
    }

    fn stream_of(batches: Batches) -> SendableRecordBatchStream {
        Box::pin(RecordBatchStreamAdapter::new(rows(0..1).schema(), stream::iter(batches)))
    }

    fn without_dictionary(properties: &WriterProperties) -> Vec<String> {
        let schema = rows(0..1).schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        names.filter(|name| !properties.dictionary_enabled(&ColumnPath::new(vec![name.clone()]))).collect()
    }

    #[tokio::test]
    async fn a_column_has_no_dictionary_if_the_writer_would_give_it_up() {
        for batch in [1_024, 8_192, 300_000] {
            let batches: Vec<_> =
                (0..300_000).step_by(batch).map(|n| rows(n..(n + batch as i64).min(300_000))).collect();
            let (written, properties) =
                of_rows(stream_of(batches.iter().cloned().map(Ok).collect()), None, EncodedTable::default(), "failed")
                    .await
                    .unwrap();
            let mut expected = vec!["unique", "a.text"];
            // Whether they fill it within the rows that are looked at.
            expected.extend((batch > MOST_ROWS).then_some("unique_or_null"));
            assert_eq!(without_dictionary(&properties), expected, "batches of {batch}");
            assert_eq!(written.try_collect::<Vec<_>>().await.unwrap(), batches);
        }
        let (_, properties) =
            of_rows(stream_of(vec![Ok(rows(0..30_000))]), None, EncodedTable::default(), "failed").await.unwrap();
        assert!(without_dictionary(&properties).is_empty(), "30,000 values fit");
    }

    #[tokio::test]
    async fn a_given_encoding_is_kept() {
        let given = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED).build();
        let (_, properties) =
            of_rows(stream_of(vec![Ok(rows(0..200_000))]), Some(&given), EncodedTable::default(), "failed")
                .await
                .unwrap();
        assert!(without_dictionary(&properties).is_empty());
        assert_eq!(properties.compression(&ColumnPath::new(vec!["few".into()])), Compression::UNCOMPRESSED);
    }

    #[tokio::test]
    async fn tables_with_deletion_vectors_have_smaller_pages() {
        for is_mapped in [false, true] {
            let rows_of_page = async |has_vectors| {
                let table = EncodedTable { is_mapped, has_vectors };
                let (_, properties) = of_rows(stream_of(vec![Ok(rows(0..5))]), None, table, "failed").await.unwrap();
                properties.data_page_row_count_limit()
            };
            assert_eq!(rows_of_page(true).await, 4_096);
            assert_eq!(rows_of_page(false).await, 20_000);
        }
    }

    #[tokio::test]
    async fn an_error_of_the_rows_is_returned_where_they_are_read() {
        let broken = || DataFusionError::Execution("broken".into());
        let (mut read, _) = of_rows(
            stream_of(vec![Ok(rows(0..5)), Err(broken()), Ok(rows(5..9))]),
            None,
            EncodedTable::default(),
            "failed",
        )
        .await
        .unwrap();
        assert_eq!(read.next().await.unwrap().unwrap(), rows(0..5));
        assert_eq!(read.next().await.unwrap().unwrap_err().to_string(), broken().to_string());
        assert_eq!(read.next().await.unwrap().unwrap(), rows(5..9));
        assert!(read.next().await.is_none());
    }

    #[tokio::test]
    async fn a_panic_of_the_rows_is_an_error() {
        let panics = stream::once(async { panic!("in the rows") });
        let rows: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(rows(0..1).schema(), panics));
        let error = of_rows(rows, None, EncodedTable::default(), "the rows cannot be written").await.err().unwrap();
        assert!(error.to_string().starts_with("the rows cannot be written"), "{error}");
        assert!(error.to_string().ends_with("in the rows"), "{error}");
    }
}
