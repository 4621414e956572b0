//! The footers of data files that this process has read lately, for the scans of all tables.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use datafusion::common::{HashMap, Result as CacheResult, TableReference};
use datafusion::execution::cache::cache_manager::{
    CachedFileMetadataEntry, DEFAULT_METADATA_CACHE_LIMIT, FileMetadataCache,
};
use datafusion::execution::cache::default_cache::DefaultCache;
use datafusion::execution::cache::{Cache, CacheEntryInfo};
use deltalakedb_log::{Location, Result, metric};
use object_store::path::Path;

use crate::delta_rs::table_url;

/// Data files never change, and the names of new ones are new. A footer of another file with the same URL is not used
/// if the log gives that file another size or time.
static FOOTERS: LazyLock<DefaultCache<Path, CachedFileMetadataEntry>> =
    LazyLock::new(|| DefaultCache::new(DEFAULT_METADATA_CACHE_LIMIT));

/// The cache as the readers of one table use it: by the paths of files in that table.
pub(super) struct TableFooters {
    table: String,
}

impl TableFooters {
    /// The footers of the files of the table at a location.
    pub(super) fn of(location: &Location) -> Result<Arc<FileMetadataCache>> {
        Ok(Arc::new(Self { table: table_url(location)?.to_string() }))
    }

    fn key(&self, path: &Path) -> Path {
        Path::from_iter([self.table.as_str(), path.as_ref()])
    }
}

impl Cache<Path, CachedFileMetadataEntry> for TableFooters {
    fn get(&self, path: &Path) -> Option<CachedFileMetadataEntry> {
        let footer = FOOTERS.get(&self.key(path));
        let lookups = if footer.is_some() { metric::FOOTER_CACHE_HITS } else { metric::FOOTER_CACHE_MISSES };
        lookups.add(1);
        footer
    }

    fn put(&self, path: &Path, footer: CachedFileMetadataEntry) -> Option<CachedFileMetadataEntry> {
        FOOTERS.put(&self.key(path), footer)
    }

    fn remove(&self, path: &Path) -> Option<CachedFileMetadataEntry> {
        FOOTERS.remove(&self.key(path))
    }

    fn contains_key(&self, path: &Path) -> bool {
        FOOTERS.contains_key(&self.key(path))
    }

    fn len(&self) -> usize {
        FOOTERS.len()
    }

    fn clear(&self) {
        FOOTERS.clear();
    }

    fn name(&self) -> String {
        FOOTERS.name()
    }

    fn cache_limit(&self) -> usize {
        FOOTERS.cache_limit()
    }

    fn update_cache_limit(&self, limit: usize) {
        FOOTERS.update_cache_limit(limit);
    }

    fn cache_ttl(&self) -> Option<Duration> {
        FOOTERS.cache_ttl()
    }

    fn update_cache_ttl(&self, ttl: Option<Duration>) {
        FOOTERS.update_cache_ttl(ttl);
    }

    fn drop_table_entries(&self, table: &TableReference) -> CacheResult<()> {
        FOOTERS.drop_table_entries(table)
    }

    fn list_entries(&self) -> HashMap<Path, CacheEntryInfo<CachedFileMetadataEntry>> {
        FOOTERS.list_entries()
    }
}

impl fmt::Debug for TableFooters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFooters").field("table", &self.table).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use deltalakedb_log::action::Add;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use parquet::arrow::ArrowWriter;
    use serde_json::json;

    use super::super::footers;
    use super::*;

    #[tokio::test]
    async fn a_footer_is_read_once_for_each_table_size_and_time() {
        let file_with = |column: &str| {
            let values = Arc::new(Int64Array::from(vec![1]));
            let rows = RecordBatch::try_from_iter([(column, values as _)]).unwrap();
            let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
            writer.write(&rows).unwrap();
            writer.into_inner().unwrap()
        };
        let (first, second) = (file_with("a"), file_with("b"));
        assert_eq!(first.len(), second.len());
        let store = InMemory::new();
        let column = async |table: &str, modification_time: i64| {
            let add = json!({
                "path": "file", "partitionValues": {}, "size": first.len(), "modificationTime": modification_time,
                "dataChange": true,
            });
            let add = Add::from_json(&add.to_string()).unwrap();
            let cache = TableFooters::of(&Location::parse(table).unwrap()).unwrap();
            let object = footers::object_of(&add).unwrap();
            let footer = footers::read(&store, &object, &add, &cache).await.unwrap();
            footer.file_metadata().schema_descr().column(0).name().to_string()
        };
        store.put(&"file".into(), first.clone().into()).await.unwrap();
        assert_eq!(column("memory:///footers-of-one", 1).await, "a");
        store.put(&"file".into(), second.into()).await.unwrap();
        assert_eq!(column("memory:///footers-of-one", 1).await, "a");
        assert_eq!(column("memory:///footers-of-another", 1).await, "b");
        assert_eq!(column("memory:///footers-of-one", 2).await, "b");
    }
}
