//! Holding versions concurrently with vacuums: a vacuum that started before may have read the holds already.

use std::time::Duration;

use deltalakedb_log::lookup::source_tables;
use deltalakedb_log::{At, Catalog, Hold, Result, Stores, TableId, TableName, TxnLogError};

use super::check_none_is_going_on;
use crate::hold::HeldVersion;
use crate::table::{DeltaTable, Source};

impl DeltaTable {
    /// Holds a version for this time, by the catalog's clock. `holder` is shown in listings of the holds.
    ///
    /// # Errors
    /// [`deltalakedb_log::ErrorKind::Conflict`] while a vacuum is running that may remove files of the version, of the
    /// table or of one that it is a shallow clone of; [`deltalakedb_log::ErrorKind::NotFound`] when the version does
    /// not exist.
    pub async fn hold(&self, at: At, duration: Duration, holder: &str) -> Result<HeldVersion> {
        let Source::Catalog { catalog, id, name, .. } = &self.source else {
            return Err(TxnLogError::invalid(format!(
                "{self} is not in a catalog, and only a catalog can hold a version: import it with `dl import`"
            )));
        };
        let reader = catalog.reader(*id);
        let version = reader.snapshot(at).await?.version();
        let hold = HeldVersion::new(catalog, *id, version, duration, holder).await?;
        // A vacuum that started before may have read the holds already. It spares the newest version in any case.
        if version < reader.head().await?.version
            && let Err(e) = check_no_vacuum(catalog.as_ref(), (*id, name), self.stores.as_ref()).await
        {
            hold.release().await?;
            return Err(e);
        }
        Ok(hold)
    }

    /// The holds of the table, the oldest version first.
    pub async fn holds(&self) -> Result<Vec<Hold>> {
        match &self.source {
            Source::Catalog { catalog, id, .. } => catalog.holds(*id).await,
            Source::Plain | Source::Reader(_) => Ok(Vec::new()),
        }
    }
}

/// An error while a vacuum is running that may remove files of an older version: of the table, or of a table of which
/// it is a shallow clone.
async fn check_no_vacuum(
    catalog: &dyn Catalog,
    (table, name): (TableId, &TableName),
    stores: &dyn Stores,
) -> Result<()> {
    let mut tables = source_tables(catalog, table, stores).await?;
    tables.insert(table, name.clone());
    for (table, name) in tables {
        let now_ms = catalog.now_ms().await?;
        check_none_is_going_on(catalog.reader(table).as_ref(), now_ms, &name.to_string()).await?;
    }
    Ok(())
}
