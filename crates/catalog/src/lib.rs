//! The Delta log in SQL: [`deltalakedb_log::Catalog`] over one schema and one set of statements.
//!
//! [`connect`] opens a catalog by its URI. The tables are described in `migrations/`; [`deltalakedb_log::commit`]
//! decides commits; this crate stores the result, and finds it again with one statement.

mod administration;
mod audit;
mod bounds;
mod catalog;
mod codec;
mod commit;
mod conflict;
mod copy;
mod database;
#[cfg(feature = "duckdb")]
mod duckdb;
#[cfg(feature = "duckdb")]
pub mod duckdb_views;
mod expiry;
mod file;
mod file_query;
mod find;
mod holds;
mod lifecycle;
mod listing;
mod load;
mod locked;
mod mirror;
mod missing;
mod namespaces;
mod plan;
mod postgres;
mod prefetch;
mod queue;
mod read;
mod references;
mod removal;
mod retained;
mod schema;
mod spool;
mod sql_catalog;
mod sqlite;
mod statistics;
mod summaries;
mod table_lookup;
mod table_rows;
mod traced;
mod uniqueness;
mod uri;
mod version_rows;

use std::sync::Arc;

use deltalakedb_log::{Catalog, Result, TxnLogError};

pub use copy::{Copied, copy_catalog};
pub use postgres::PostgresOptions;
pub use sql_catalog::{ConnectOptions, DEFAULT_MAX_WAITING, SqlCatalog, SqlTxnLogReader, SqlTxnLogWriter};
pub use uri::{Backend, CatalogUri, PostgresBackend};

/// The version of SQLite that catalogs in files use.
pub const SQLITE_VERSION: &std::ffi::CStr = libsqlite3_sys::SQLITE_VERSION;

/// Opens the catalog at `uri`, such as `deltasql://sqlite//var/data/meta.db` or `deltasql://postgres/mydb/public`. An
/// embedded catalog that does not exist is created; one in a server must be created by `dl init` or with
/// [`ConnectOptions::create`].
pub async fn connect(uri: &str) -> Result<Arc<dyn Catalog>> {
    let uri = CatalogUri::parse(uri)?;
    let options = ConnectOptions { create: uri.is_embedded(), ..ConnectOptions::default() };
    Ok(Arc::new(SqlCatalog::connect(&uri, options).await?))
}

/// The URI of the catalog that the environment names (`DELTALAKEDB_CATALOG`); `None` where it names none.
pub fn catalog_in_environment() -> Result<Option<String>> {
    let Some(uri) = std::env::var_os("DELTALAKEDB_CATALOG").filter(|uri| !uri.is_empty()) else { return Ok(None) };
    let unreadable = |_| TxnLogError::invalid("DELTALAKEDB_CATALOG is not UTF-8: set it to the URI of a catalog");
    uri.into_string().map(Some).map_err(unreadable)
}

#[cfg(test)]
mod tests;
