//! Readers of data files. They load the page index of files of which whole pages are hidden, so that these are not read;
//! DataFusion 55.2 loads it for filters alone.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result as ScanResult;
use datafusion::common::config::ParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetRowSelection};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::Result;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

/// The fewest rows that are hidden one after the other for which the index is loaded. Most pages have up to 20,000 rows,
/// those with long values fewer.
const SHORTEST_RUN: usize = 1_000;

/// Reads data files from their store.
#[derive(Debug)]
pub(super) struct DataFileReaders {
    files: CachedParquetFileReaderFactory,
    uses_page_index: bool,
}

impl DataFileReaders {
    /// Readers of the files in a store. Whether they use page indexes is an option of the session.
    pub(super) fn new(store: Arc<dyn ObjectStore>, footers: Arc<FileMetadataCache>, options: &ParquetOptions) -> Self {
        let files = CachedParquetFileReaderFactory::new(store, footers);
        Self { files, uses_page_index: options.enable_page_index }
    }
}

impl ParquetFileReaderFactory for DataFileReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> ScanResult<Box<dyn AsyncFileReader + Send>> {
        let hides_pages =
            file.extensions.get::<ParquetRowSelection>().is_some_and(|rows| may_hide_pages(rows.selection()));
        let reader = self.files.create_reader(partition, file, metadata_size_hint, metrics)?;
        Ok(if hides_pages && self.uses_page_index { Box::new(WithPageIndex(reader)) } else { reader })
    }
}

fn may_hide_pages(rows: &RowSelection) -> bool {
    rows.iter().any(|rows| rows.skip && rows.row_count >= SHORTEST_RUN)
}

/// A reader whose metadata include the page index.
struct WithPageIndex(Box<dyn AsyncFileReader + Send>);

impl AsyncFileReader for WithPageIndex {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.0.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.0.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let with_index = options.cloned().unwrap_or_default().with_page_index_policy(PageIndexPolicy::Optional);
        async move {
            match self.0.get_metadata(Some(&with_index)).await {
                Ok(metadata) => Ok(metadata),
                // Rows can be read without an index, which may be damaged.
                Err(_) => self.0.get_metadata(options).await,
            }
        }
        .boxed()
    }
}
