//! Listings of tables: the cost of each depends on its result, not on the number of tables.

use async_trait::async_trait;
use deltalakedb_log::listing::{SAME_METADATA, TableListing, TablePage};
use deltalakedb_log::{InactiveTable, Location, Result, TableEntry, TableName};

use crate::codec;
use crate::database::Value;
use crate::sql_catalog::SqlCatalog;
use crate::table_lookup::{LIVE_TABLES, entry};
use crate::uniqueness::table_around;

impl SqlCatalog {
    /// Live tables, with a condition that starts with `AND`.
    async fn live(&self, and: &str, params: Vec<Value>) -> Result<Vec<TableEntry>> {
        let rows = self.db.query(&format!("{LIVE_TABLES} {and}"), params).await?;
        rows.into_iter().map(entry).collect()
    }
}

#[async_trait]
impl TableListing for SqlCatalog {
    async fn tables_page(&self, page: &TablePage) -> Result<Vec<TableEntry>> {
        let (mut and, mut params) = (String::new(), Vec::new());
        if let Some(namespace) = &page.namespace {
            and.push_str("AND t.namespace = ? ");
            params.push(namespace.as_str().into());
        }
        if let Some(after) = &page.after {
            and.push_str("AND (t.namespace, t.name) > (?, ?) ");
            params.extend([after.namespace.as_str().into(), after.name.as_str().into()]);
        }
        self.live(&format!("{and}ORDER BY t.namespace, t.name LIMIT {}", page.limit), params).await
    }

    async fn names_beside(&self, name: &TableName, limit: usize) -> Result<Vec<TableName>> {
        let mut names = Vec::new();
        for (than, order) in [("<", " DESC"), (">", "")] {
            let sql = format!(
                "SELECT namespace, name FROM dl_tables WHERE state = 'live' AND (namespace, name) {than} (?, ?) \
                 ORDER BY namespace{order}, name{order} LIMIT {limit}"
            );
            for mut row in self.db.query(&sql, vec![name.namespace.as_str().into(), name.name.as_str().into()]).await? {
                names.push(TableName { namespace: row.text()?, name: row.text()? });
            }
        }
        names.sort();
        Ok(names)
    }

    async fn table_around(&self, location: &Location) -> Result<Option<InactiveTable>> {
        table_around(self.db.read().await?.as_mut(), location).await
    }

    async fn tables_with_metadata(&self, id: &str) -> Result<Vec<TableEntry>> {
        let id = codec::bytes(id);
        // The index has prefixes of ids, because ids may have any length.
        let (beginning, params) = if self.db.uses_range_scans() {
            ("substr(metadata_id, 1, 64) = substr(?, 1, 64) AND ", vec![id.clone(), id])
        } else {
            ("", vec![id])
        };
        let and = format!(
            "AND t.table_id IN (SELECT table_id FROM dl_metadata_updates WHERE {beginning}metadata_id = ?) \
             LIMIT {SAME_METADATA}"
        );
        self.live(&and, params).await
    }
}
