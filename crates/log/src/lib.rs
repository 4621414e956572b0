//! The Delta log as data.
//!
//! Actions and commits that lose nothing ([`action`]), what a table is at a version ([`snapshot`]), how a commit is
//! decided ([`commit`]), the promises every log keeps ([`catalog`]), which tables there are ([`listing`], [`lookup`]),
//! what becomes of them ([`lifecycle`]) and of their history ([`retention`]), which versions
//! readers hold ([`holds`]), and which tables have files of others ([`references`]). Logs here: [`FileTxnLogReader`] and
//! [`FileTxnLogWriter`] for a plain `_delta_log` on any object store, and [`MemoryCatalog`], the model that other
//! catalogs are proved against by [`conformance`]. No SQL.

pub mod action;
mod allowed;
pub mod catalog;
pub mod commit;
pub mod conformance;
pub mod decimal;
mod error;
pub mod features;
mod file;
pub mod holds;
mod ids;
pub mod lifecycle;
pub mod listing;
mod local;
mod location;
pub mod lookup;
mod memory;
pub mod namespaces;
mod object;
mod owner;
mod path;
mod place;
pub mod predicate;
mod redact;
pub mod references;
pub mod retention;
pub mod schema;
pub mod snapshot;
pub mod stamp;
pub mod stats;
pub mod stores;
pub mod time;
pub mod verbatim;

pub use action::{Action, Commit, Version};
pub use allowed::AllowedPaths;
pub use catalog::{Catalog, TableEntry, TableRef, TxnLogReader, TxnLogWriter};
pub use commit::{CommitRequest, Outcome};
pub use error::{ErrorKind, Result, Subject, TxnLogError, TxnLogTransactionError};
pub use file::{CheckpointState, FileDetails, FileTxnLogReader, FileTxnLogWriter, StoredCheckpoint};
pub use holds::{Hold, VersionHolds};
pub use ids::{Clock, CommitId, SeededClock, SystemClock, TableId, TableName};
pub use lifecycle::{DropMode, DropTable, InactiveTable, TableLifecycle, TableState};
pub use listing::{TableListing, TablePage};
pub use local::{Durability, LocalFiles, ModifiedAt, NewFile};
pub use location::Location;
pub use memory::MemoryCatalog;
pub use namespaces::CatalogNamespaces;
pub use object::Object;
pub use owner::{Committer, TableOwner, check_owner};
pub use path::{FileKey, PathKey, SetHash, absolute_path, canonical_path};
pub use place::PlaceKey;
pub use predicate::Predicate;
pub use redact::redacted;
pub use references::TableReferences;
pub use retention::{Expired, Expiry, HistoryExpiry, Keep, Retention};
pub use snapshot::{At, Head, Snapshot};
pub use stores::{ConfiguredStores, Stores};
