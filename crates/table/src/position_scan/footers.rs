//! What the footers of data files say of the positions of their rows.

use std::sync::Arc;

use chrono::DateTime;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use deltalakedb_log::action::Add;
use deltalakedb_log::{Location, Result, Stores, TxnLogError};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectMeta;
use parquet::file::metadata::ParquetMetaData;

use super::CONCURRENT_FOOTERS;
use crate::delta_rs::{data_file_path, register, session_context, table_url};
use crate::error::Explain;

/// Checks that positions in files, each with the number of its rows in the log, are those of the rows that a scan
/// returned with them. Otherwise other rows than those would be hidden, or a file with visible rows would be removed.
pub(crate) async fn check_positions(
    location: &Location,
    stores: &Arc<dyn Stores>,
    files: Vec<(Add, Option<u64>)>,
) -> Result<()> {
    let session = session_context(stores)?;
    let environment = session.runtime_env();
    register(&environment, location, stores)?;
    let failed = || format!("the files of the table at {location} cannot be read");
    let url = ObjectStoreUrl::parse(table_url(location)?).explain(failed)?;
    let store = environment.object_store(&url).explain(failed)?;
    let checks = stream::iter(files).map(|(add, rows)| {
        let store = store.clone();
        async move {
            let (size, last_modified) = (u64::try_from(add.size).unwrap_or_default(), DateTime::UNIX_EPOCH);
            let place = data_file_path(&add.path)?;
            let meta = ObjectMeta { location: place, last_modified, size, e_tag: None, version: None };
            let footer = DFParquetMetadata::new(store.as_ref(), &meta).fetch_metadata().await;
            let footer = footer.explain(|| format!("the file {:?} cannot be read", add.path))?;
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
