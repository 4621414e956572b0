//! Namespaces in memory.

use std::ops::Bound;

use super::*;
use crate::namespaces::{CatalogNamespaces, check_namespace, namespace_not_empty, namespace_taken, no_namespace};

impl MemoryCatalog {
    /// The caller holds the lock of the tables.
    pub(super) fn has_table_in(&self, name: &TableName) {
        self.namespaces.lock().insert(name.namespace.clone());
    }
}

#[async_trait]
impl CatalogNamespaces for MemoryCatalog {
    async fn create_namespace(&self, name: &str, _: Option<&str>) -> Result<()> {
        check_namespace(name)?;
        let _tables = self.tables.lock();
        self.namespaces.lock().insert(name.into()).then_some(()).ok_or_else(|| namespace_taken(name))
    }

    async fn drop_namespace(&self, name: &str, _: Option<&str>) -> Result<()> {
        let tables = self.tables.lock();
        let mut namespaces = self.namespaces.lock();
        if !namespaces.contains(name) {
            return Err(no_namespace(name, DESCRIPTION));
        }
        let inside = tables.values().filter(|t| t.state.holds_name() && t.name.namespace == name);
        if let Some(table) = inside.map(|t| &t.name).min() {
            return Err(namespace_not_empty(name, table));
        }
        namespaces.remove(name);
        Ok(())
    }

    async fn namespaces_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.namespaces.lock().range::<str, _>((from, Bound::Unbounded)).take(limit).cloned().collect())
    }
}
