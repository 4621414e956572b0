//! The Delta log as data.
//!
//! Actions and commits that keep unknown fields ([`action`]), the state of a table at a version ([`snapshot`]), the
//! rules of commits ([`commit`]), and history as data ([`history`]).
//!
//! One table's log is read by a [`TxnLogReader`] and written by a [`TxnLogWriter`]. A [`Catalog`] has many tables: it
//! finds them, reads their heads and commits to them. Each further responsibility is a trait of its own: listing tables
//! and namespaces ([`listing`], [`namespaces`], [`lookup`]), the lifecycle of tables ([`lifecycle`]), the retention of
//! their history ([`retention`]), versions held by readers ([`holds`]), tables with files of other tables
//! ([`references`]), the progress of the mirrors ([`mirror`]), loading of history ([`load`]), and the settings of the
//! catalog as a whole ([`administration`]). The metrics of all crates are in [`metric`].
//!
//! Implementations in this crate: [`FileTxnLogReader`] and [`FileTxnLogWriter`] for a plain `_delta_log` on any object
//! store, and [`MemoryCatalog`], the model against which [`conformance`] tests other catalogs. No SQL.

pub mod action;
pub mod administration;
mod allowed;
pub mod catalog;
pub mod commit;
mod commit_info;
mod conflict;
pub mod conformance;
pub mod decimal;
mod deletion_vector;
pub mod entry;
pub mod epoch;
mod error;
pub mod features;
mod file;
mod file_action;
mod future_times;
pub mod history;
pub mod holds;
mod ids;
mod inexact_bounds;
pub mod lifecycle;
pub mod listing;
mod literal;
pub mod load;
mod local;
mod location;
mod location_key;
pub mod lookup;
mod memory;
pub mod metric;
pub mod mirror;
pub mod namespaces;
mod object;
mod owner;
mod path;
pub mod predicate;
pub mod reader;
mod redact;
pub mod references;
pub mod retention;
pub mod schema;
pub mod snapshot;
pub mod stamp;
pub mod stats;
pub mod stores;
pub mod time;
mod time_travel;
mod transaction_error;
pub mod verbatim;

pub use action::{Action, Commit, Version};
pub use administration::CatalogAdministration;
pub use allowed::AllowedPaths;
pub use catalog::{Catalog, ComparedTables, Point};
pub use commit::{CommitRequest, Outcome};
pub use entry::{MirrorState, TableEntry, TableRef};
pub use error::{ErrorKind, Result, Subject, TxnLogError, causes};
pub use file::{CheckpointState, FileDetails, FileTxnLogReader, FileTxnLogWriter, StoredCheckpoint};
pub use file_action::FileAction;
pub use history::{BaseFiles, BaseState, CommitTime, HistoryItem, HistoryItems, LoggedCommit, TimeSource};
pub use holds::{Hold, VersionHolds};
pub use ids::{Clock, CommitId, SeededClock, SystemClock, TableId, TableName};
pub use lifecycle::{DropMode, DropTable, InactiveTable, TableLifecycle, TableState};
pub use listing::{TableListing, TablePage};
pub use load::{FutureTimes, HistoryLoad, HistoryLoading, UnfinishedLoad};
pub use local::{Durability, LocalFiles, ModifiedAt, NewFile, StagedFiles};
pub use location::Location;
pub use location_key::LocationKey;
pub use lookup::{check_no_overlap, near_names, require};
pub use memory::MemoryCatalog;
pub use mirror::{Artifact, Lease, MirrorFailure, MirrorProgress, TableBehind};
pub use namespaces::CatalogNamespaces;
pub use object::Object;
pub use owner::{Committer, TableOwner, check_owner};
pub use path::{FileKey, PathKey, SetHash, absolute_path, canonical_path};
pub use predicate::Predicate;
pub use reader::{
    Counts, Explanation, HistoryRange, LogSummaries, SizeDelta, TxnLogReader, TxnLogReaderExt, TxnLogWriter,
    first_commit,
};
pub use redact::redacted;
pub use references::TableReferences;
pub use retention::{Expired, Expiry, HistoryExpiry, Keep, Retention};
pub use snapshot::{At, Head, Snapshot};
pub use stores::{ConfiguredStores, Stores};
pub use transaction_error::TxnLogTransactionError;
