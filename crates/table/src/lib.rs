//! Delta tables over any transaction log: Arrow in and out, planned by DataFusion.
//!
//! [`DeltaTable`] opens a table wherever its log is: in a catalog, in a plain `_delta_log`, behind any
//! [`TxnLogReader`](deltalakedb_log::TxnLogReader). Reads select their files in the log, writes write data files and
//! then one commit, and several [`PendingWrite`]s of several tables become one transaction with [`commit`]. delta-rs
//! does the work on data files; only one module uses it, with a log that is not in files. [`plain`] reads the same
//! tables without this library's log, for comparison.

mod assignments;
mod backpressure;
mod changes;
mod commit_event;
mod create;
mod data_files;
mod delta_rs;
#[cfg(feature = "duckdb")]
mod duckdb_mirror;
mod error;
mod filter;
mod hold;
mod identifiers;
mod lifecycle;
mod masks;
mod operations;
mod position_scan;
mod prepared_commit;
mod properties;
mod provider;
mod scan;
mod settings;
mod sql;
mod statistics_request;
mod table;
mod table_spec;
#[cfg(test)]
mod tests;
mod transaction;
mod vacuum;
mod verify;
mod write;
mod write_options;

/// DataFusion, in the version whose types are in the public API of this crate.
pub use datafusion;
pub use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
pub use deltalakedb_catalog::connect;
pub use roaring::RoaringTreemap;

pub use assignments::{parse_assignments, parse_clause};
pub use create::{check_location, create_table, create_with_data, prepare_create, resolve_location};
pub use data_files::DataFiles;
pub use delta_rs::{
    Alter, Assignments, CastMode, CdfScan, MaskedFile, Merge, MergeClause, NewFiles, Optimize, PartitionFilter,
    Restore, SchemaMode, TableSchema, parse_schema, plain, query, query_session, type_name,
};
#[cfg(feature = "duckdb")]
pub use duckdb_mirror::{DuckDbMirror, DuckDbRefresh};
pub use error::query_error;
pub use filter::{predicate_from_sql, predicate_of};
pub use hold::HeldVersion;
pub use lifecycle::{
    DeletedFiles, DropOptions, Dropped, DroppedInactive, delete_files, detach_table, drop_inactive, drop_table,
};
pub use masks::WrittenMasks;
pub use operations::{CommitFiles, Operation, OperationResult, WriteRows};
pub use position_scan::{FILE_COLUMN, NumberedFile, POSITION_COLUMN};
pub use prepared_commit::PreparedCommit;
pub use provider::DeltaTableProvider;
pub use scan::Scan;
pub use settings::{RowLimit, Settings, is_setting};
pub use sql::{
    CommandComplete, DeltaCatalogProvider, GuestContext, GuestStatement, HeldRelation, Parameters, Relations, Script,
    ScriptSummary, SqlGuest, SqlOptions, SqlResult, SqlSession,
};
pub use table::DeltaTable;
pub use table_spec::TableSpec;
pub use transaction::{Transaction, TransactionOptions, TransactionResult};
pub use vacuum::{SparedFiles, Vacuum, Vacuumed};
pub use verify::DeltaRs;
pub use write::{PendingWrite, Rows, commit};
pub use write_options::{MAX_TIMEOUT, Notices, SaveMode, WriteOptions};
