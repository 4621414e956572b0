//! Row tables: hot and cold together.
//!
//! A row table takes single-row inserts, updates and deletes, keeps recent rows in the hot store of
//! [`deltalakedb_rows`], and flushes them to a Delta table, its cold table, which every reader of Delta tables reads.
//!
//! - [`TableDefinition`] is what a row table is: columns, primary key and defaults. The metadata of the [`ColdTable`]
//!   in the catalog has it.
//! - [`RowStatement`] is a statement of row tables, parsed from the tokens of a session.
//! - [`DataDirectory`] is the folder with the hot rows of its tables, which a [`RowEngine`] opens.
//! - [`DefaultValues`] are the values in new rows of the columns that they do not name.

mod blocking;
mod cold_snapshot;
mod cold_table;
mod column_default;
mod column_type;
mod create_table;
mod data_directory;
mod defaults;
mod definition;
mod dialect;
mod dml;
mod floats;
mod flush;
mod grammar;
mod guest;
mod hot_scan;
mod intent;
mod key_lookup;
mod known_tables;
mod literal;
mod names;
mod overlay;
#[cfg(test)]
mod random;
mod row_engine;
mod row_table;
mod system_columns;
mod table_view;
#[cfg(test)]
mod tests;

pub use cold_table::{ColdTable, is_cold_table};
pub use column_default::ColumnDefault;
pub use data_directory::DataDirectory;
pub use defaults::DefaultValues;
pub use definition::{ColumnDefinition, ColumnSpec, DELETED_COLUMN, SEQ_COLUMN, TableDefinition, TableKind};
pub use grammar::RowStatement;
pub use guest::RowTables;
pub use row_engine::RowEngine;
