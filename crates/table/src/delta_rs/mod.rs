//! delta-rs over a log that is not in files: the only module that uses its internals.
//!
//! A [`VirtualTable`] is a table at one version as delta-rs expects it: a log store, a kernel engine and object stores
//! with a virtual `_delta_log`, generated from a [`TxnLogReader`](deltalakedb_log::TxnLogReader). delta-rs runs
//! unmodified on it. Commits are captured, not made: the caller commits the actions in a catalog.
//!
//! Internally, a table has a URL of its own (see [`stores`]): a host that encodes its location. Data files have URLs
//! below it, including percent-encoded ones, and files elsewhere by an [`alias`]. DataFusion selects object stores by
//! scheme and host, and our sessions find the store of either URL.

mod alias;
mod alter;
mod append;
mod batches;
mod bounds;
mod capture;
mod change_files;
mod changes;
mod condition;
mod create;
mod date_trunc;
mod deletion_vectors;
mod empty_log;
mod encoding;
mod engine;
mod expressions;
pub(crate) mod floats;
pub(crate) mod generated;
pub(crate) mod literals;
mod log;
mod log_store;
mod log_view;
mod masking;
mod memory;
mod merge;
mod operations;
mod optimize;
mod overlay_store;
pub mod plain;
mod restore;
mod runtime;
mod schema;
mod schema_adapter;
mod session;
mod stores;
#[cfg(test)]
mod tests;
mod upload_tracker;
mod vector_changes;
mod vector_files;
mod virtual_table;
mod write;

pub use self::alter::Alter;
pub(crate) use self::append::PlainAppend;
pub use self::capture::NewFiles;
pub(crate) use self::capture::{StagedCommit, named_paths};
pub(crate) use self::change_files::ChangeFiles;
pub use self::changes::CdfScan;
pub(crate) use self::changes::RecordedChanges;
pub(crate) use self::condition::Condition;
pub(crate) use self::create::{Create, convert, create, create_with_data};
pub use self::deletion_vectors::MaskedFile;
pub(crate) use self::deletion_vectors::{ENABLE_VECTORS, load_masks};
pub(crate) use self::expressions::Columns;
pub(crate) use self::log_view::LogView;
pub(crate) use self::masking::check_writable;
pub use self::merge::{Assignments, Merge, MergeClause};
pub(crate) use self::merge::{MatchedMergeTarget, MergeSource, ParsedClause, ParsedMerge};
pub use self::optimize::{Optimize, PartitionFilter};
pub use self::restore::Restore;
pub(crate) use self::restore::repair;
pub(crate) use self::runtime::{finish, wait_beside};
pub(crate) use self::schema::{StringEncoding, arrow_schema};
pub use self::schema::{TableSchema, parse_schema};
pub(crate) use self::schema_adapter::SchemaAdapter;
pub use self::schema_adapter::{CastMode, type_name};
pub(crate) use self::session::session_context;
pub use self::session::{query, query_session};
pub(crate) use self::stores::{data_file_path, register, table_store, url_of as table_url};
pub(crate) use self::vector_changes::ChangedFile;
pub(crate) use self::vector_files::write_vectors;
pub(crate) use self::virtual_table::{FullTable, PrunedTable, VirtualTable};
pub use self::write::SchemaMode;
