//! The scan of a table's files, whether they have deletion vectors or not.
//!
//! Each file carries the selection of the rows that no vector hides, and the Parquet reader skips the others while it
//! decodes. So everything else works as on files without vectors: files and row groups are spread over the cores,
//! filters skip row groups and pages (and rows, with `datafusion.execution.parquet.pushdown_filters`), and a limit ends
//! the scan early.

mod casts;
mod columns;
mod estimates;
mod footer_cache;
mod footers;
mod partitions;
mod readers;
mod row_positions;
mod selection;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{Statistics, config::TableParquetOptions};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use deltalakedb_log::snapshot::Head;
use deltalakedb_log::{Location, Result, TxnLogError};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;

use self::casts::FileCasts;
use self::columns::ScanColumns;
pub(crate) use self::columns::with_positions;
pub use self::columns::{FILE_COLUMN, POSITION_COLUMN};
use self::footer_cache::TableFooters;
use self::footers::CONCURRENT_FOOTERS;
pub(crate) use self::footers::check_positions;
pub(crate) use self::partitions::{satisfying, selects_files};
use self::readers::DataFileReaders;
pub(crate) use self::row_positions::RowPositions;
use crate::delta_rs::{MaskedFile, table_url};
use crate::error::Explain;

/// Files of one version of a table, to be scanned.
pub(crate) struct PositionScan<'a> {
    /// Where the table is.
    pub(crate) location: &'a Location,
    /// Its protocol, columns and partitioning in the log.
    pub(crate) head: &'a Head,
    /// Its columns as the scan returns them.
    pub(crate) schema: &'a SchemaRef,
    /// The files, and which of their rows are hidden.
    pub(crate) files: Vec<Arc<NumberedFile>>,
}

/// A file with the number that the column [`FILE_COLUMN`] has in its rows.
#[derive(Clone, Debug)]
pub struct NumberedFile {
    /// The number.
    pub number: u32,
    /// The file, and which of its rows are hidden.
    pub file: MaskedFile,
}

impl NumberedFile {
    /// The files, numbered in their order.
    pub(crate) fn in_order(files: Vec<MaskedFile>) -> Vec<Arc<Self>> {
        (0..).zip(files).map(|(number, file)| Arc::new(Self { number, file })).collect()
    }
}

impl PositionScan<'_> {
    /// Plans the scan of these columns (all without a projection). The number of rows is known exactly.
    pub(crate) async fn plan(
        mut self,
        session: &dyn Session,
        projection: Option<&[usize]>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let failed = || format!("the scan of the table at {} cannot be planned", self.location);
        let columns = ScanColumns::of(self.schema, self.head)?;
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        let in_scan = columns.indices_in_scan(projection);
        let mut estimates = columns.estimates(&in_scan);
        let with_rows = |file: Arc<NumberedFile>| {
            let stats = columns.stats(&file.file.add);
            estimates.add(&stats);
            let rows = stats.num_records();
            (file, rows)
        };
        let files: Vec<_> = std::mem::take(&mut self.files).into_iter().map(with_rows).collect();
        let estimates = estimates.statistics(columns.in_scan().table_schema().fields());
        let url = ObjectStoreUrl::parse(table_url(self.location)?).explain(failed)?;
        let store = session.runtime_env().object_store(&url).explain(failed)?;
        let footers = TableFooters::of(self.location)?;
        let scanned = self.scan_files(&store, &footers, &columns, files).await?;
        let scanned: Vec<_> = scanned.into_iter().filter(|file| file.visible > 0).collect();
        if scanned.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(projection).explain(failed)?))));
        }
        let rows: usize = scanned.iter().map(|f| f.visible).sum();
        let bytes = scanned.iter().filter_map(|f| usize::try_from(f.file.object_meta.size).ok()).sum();
        let statistics = Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: Precision::Inexact(bytes),
            column_statistics: estimates,
        };
        let options = session.config().options();
        // The tables' times have microseconds; nanoseconds would not hold the years of all old files.
        let mut parquet = TableParquetOptions { global: options.execution.parquet.clone(), ..Default::default() };
        parquet.global.coerce_int96 = Some("us".into());
        let source = ParquetSource::new(columns.in_scan().clone())
            .with_table_parquet_options(parquet)
            .with_parquet_file_reader_factory(Arc::new(DataFileReaders::new(
                store,
                footers,
                &options.execution.parquet,
            )));
        let files = FileGroup::new(scanned.into_iter().map(|f| f.file).collect());
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(files.split_files(session.config().target_partitions()))
            .with_statistics(statistics)
            .with_limit(limit)
            .with_expr_adapter(Some(Arc::new(FileCasts)))
            .with_projection_indices(Some(in_scan))
            .explain(failed)?
            .build();
        columns.as_in_table(DataSourceExec::from_data_source(config), projection, options).explain(failed)
    }

    /// Files as they are scanned; each is given with the number of its rows, if the log has it.
    async fn scan_files(
        &self,
        store: &Arc<dyn ObjectStore>,
        footers: &Arc<FileMetadataCache>,
        columns: &ScanColumns,
        files: Vec<(Arc<NumberedFile>, Option<i64>)>,
    ) -> Result<Vec<ScanFile>> {
        let files = files.into_iter().map(|(file, rows)| self.scan_file(store, footers, columns, file, rows));
        stream::iter(files).buffered(CONCURRENT_FOOTERS).try_collect().await
    }

    async fn scan_file(
        &self,
        store: &Arc<dyn ObjectStore>,
        footers: &Arc<FileMetadataCache>,
        columns: &ScanColumns,
        file: Arc<NumberedFile>,
        rows: Option<i64>,
    ) -> Result<ScanFile> {
        let NumberedFile { number, file: MaskedFile { add, hidden } } = file.as_ref();
        let damaged = |what: &str| {
            TxnLogError::corrupt(format!("the file {:?} of the table at {} {what}", add.path, self.location))
        };
        let meta = footers::object_of(add)?;
        let rows = match rows {
            Some(rows) => rows,
            None => footers::read(store.as_ref(), &meta, add, footers).await?.file_metadata().num_rows(),
        };
        let rows = usize::try_from(rows).map_err(|_| damaged("has a negative number of rows"))?;
        let file = PartitionedFile::new_from_meta(meta).with_partition_values(columns.partition_values(add, *number)?);
        if hidden.is_empty() {
            return Ok(ScanFile { file, visible: rows });
        }
        if hidden.max().is_some_and(|last| last >= rows as u64) {
            return Err(damaged("has a deletion vector that hides rows behind its end"));
        }
        let selection = selection::of_visible_rows(hidden, rows);
        let visible = selection.row_count();
        Ok(ScanFile { file: file.with_extension(ParquetRowSelection::new(selection)), visible })
    }
}

/// A file, and how many of its rows are visible.
struct ScanFile {
    file: PartitionedFile,
    visible: usize,
}
