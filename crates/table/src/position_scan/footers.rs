//! The footers of data files, and what they say of the positions of rows.

use std::sync::Arc;

use chrono::DateTime;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use deltalakedb_log::action::Add;
use deltalakedb_log::{Location, Result, Stores, TxnLogError};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStore};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::footer_cache::TableFooters;
use crate::delta_rs::{data_file_path, table_store};
use crate::error::Explain;

/// How many footers are read at the same time.
pub(super) const CONCURRENT_FOOTERS: usize = 16;

/// The object of a data file, as its log describes it.
pub(super) fn object_of(add: &Add) -> Result<ObjectMeta> {
    let size = u64::try_from(add.size).map_err(|e| {
        TxnLogError::corrupt(format!("the file {:?} has a negative size in the log", add.path)).with_source(e)
    })?;
    let location = data_file_path(&add.path)?;
    // The cache of footers compares it.
    let last_modified = DateTime::from_timestamp_millis(add.modification_time).unwrap_or(DateTime::UNIX_EPOCH);
    Ok(ObjectMeta { location, last_modified, size, e_tag: None, version: None })
}

/// The footer of a data file, which is read unless the cache has it.
pub(super) async fn read(
    store: &dyn ObjectStore,
    object: &ObjectMeta,
    add: &Add,
    cache: &Arc<FileMetadataCache>,
) -> Result<Arc<ParquetMetaData>> {
    let footer = DFParquetMetadata::new(store, object)
        .with_file_metadata_cache(Some(cache.clone()))
        .with_page_index_policy(Some(PageIndexPolicy::Skip))
        .fetch_metadata()
        .await;
    footer.explain(|| format!("the file {:?} cannot be read", add.path))
}

/// Checks that positions in files, each with the number of its rows in the log, are those of the rows that a scan
/// returned with them. Otherwise other rows than those would be hidden, or a file with visible rows would be removed.
pub(crate) async fn check_positions(
    location: &Location,
    stores: &Arc<dyn Stores>,
    files: Vec<(Add, Option<u64>)>,
) -> Result<()> {
    let (store, cache) = (table_store(stores, location)?, TableFooters::of(location)?);
    let checks = stream::iter(files).map(|(add, rows)| {
        let (store, cache) = (store.clone(), cache.clone());
        async move {
            let footer = read(store.as_ref(), &object_of(&add)?, &add, &cache).await?;
            match misleading(&footer, rows) {
                None => Ok(()),
                Some(why) => Err(TxnLogError::corrupt(format!(
                    "rows of the file {:?} cannot be hidden by their positions, because {why}: set \
                     delta.enableDeletionVectors=false, so that files are rewritten",
                    add.path
                ))),
            }
        }
    });
    checks.buffered(CONCURRENT_FOOTERS).try_collect::<Vec<()>>().await.map(drop)
}

/// Why positions in a file with this footer, and with that many rows in the log, are not those of its rows.
fn misleading(footer: &ParquetMetaData, rows: Option<u64>) -> Option<String> {
    let in_file = footer.file_metadata().num_rows();
    if let Some(rows) = rows.filter(|rows| i64::try_from(*rows) != Ok(in_file)) {
        return Some(format!("it has {in_file} rows, and {rows} in the log"));
    }
    // The reader computes the positions of a row group from its number, which other writers may get wrong.
    let numbers = footer.row_groups().iter().map(|group| group.ordinal());
    let in_order = numbers.zip(0..).all(|(number, place)| number == Some(place));
    (!in_order).then(|| "its row groups are not numbered in their order".to_string())
}
