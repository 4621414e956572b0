//! The names in a catalog, for completion.

use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::namespaces::all_namespaces;
use deltalakedb_log::schema::Schema;
use deltalakedb_log::{Catalog, Result, TableEntry, TableName, TablePage, TableRef};
use tokio::runtime::Handle;

use super::completion::{MAX_CANDIDATES, NameLookup};

/// How long a catalog may take until nothing is completed.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The names in a catalog, looked up when they are needed. Its methods block the thread, which must not be one of those
/// that run tasks.
pub(super) struct CatalogNames {
    catalog: Arc<dyn Catalog>,
    runtime: Handle,
}

impl CatalogNames {
    /// The names in a catalog, which this runtime queries.
    pub(super) fn new(catalog: Arc<dyn Catalog>, runtime: Handle) -> Self {
        Self { catalog, runtime }
    }

    /// Waits for names. If they cannot be looked up, nothing is completed.
    fn wait_for(&self, names: impl Future<Output = Result<Vec<String>>>) -> Vec<String> {
        match self.runtime.block_on(async { tokio::time::timeout(TIMEOUT, names).await }) {
            Ok(Ok(names)) => names,
            Ok(Err(e)) => {
                tracing::debug!("no names were looked up: {e}");
                Vec::new()
            }
            Err(e) => {
                tracing::debug!("no names were looked up in {TIMEOUT:?}: {e}");
                Vec::new()
            }
        }
    }
}

impl NameLookup for CatalogNames {
    fn tables(&self, namespace: &str, prefix: &str) -> Vec<String> {
        self.wait_for(async {
            let mut page =
                TablePage { namespace: Some(namespace.into()), limit: MAX_CANDIDATES + 1, ..TablePage::default() };
            let mut found: Vec<TableEntry> = Vec::new();
            if !prefix.is_empty() {
                let name = TableName { namespace: namespace.into(), name: prefix.into() };
                // The page begins after this name.
                found.extend(self.catalog.find(&TableRef::Name(name.clone())).await?);
                page.after = Some(name);
            }
            found.extend(self.catalog.tables_page(&page).await?);
            let names = found.into_iter().map(|table| table.name.name);
            Ok(names.filter(|name| name.starts_with(prefix)).collect())
        })
    }

    fn namespaces(&self, prefix: &str) -> Vec<String> {
        self.wait_for(async {
            let mut names = all_namespaces(self.catalog.as_ref()).await?;
            names.retain(|name| name.starts_with(prefix));
            Ok(names)
        })
    }

    fn columns(&self, table: &TableName) -> Vec<String> {
        self.wait_for(async {
            let Some(entry) = self.catalog.find(&TableRef::Name(table.clone())).await? else { return Ok(Vec::new()) };
            let metadata = self.catalog.reader(entry.id).head().await?.metadata;
            let schema = Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
            Ok(schema.columns().iter().map(|column| column.name.clone()).collect())
        })
    }
}
