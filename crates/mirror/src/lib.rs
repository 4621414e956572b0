//! The mirror: the only code that writes a managed table's `_delta_log`, and that reads it.
//!
//! [`Mirror`] publishes the commits of a catalog, and writes checkpoints; [`Mirror::import`] imports an existing log
//! into a catalog; [`Mirror::verify`] compares the two, [`Mirror::repair`] restores missing and truncated files,
//! [`Mirror::keep_ours`] and [`Mirror::keep_theirs`] end a divergence, and [`Mirror::expire`] expires history in both. In the background,
//! [`Reconciler`] publishes all tables, and [`ExpiryCycle`] expires their history. [`check_not_behind`] checks whether a
//! catalog has all commits of a log. This crate uses [`deltalakedb_log::Catalog`]
//! and object stores, no SQL.

mod ahead;
mod behind;
mod checkpoint;
mod checksum;
mod commits;
mod cycle;
mod data;
mod derived;
mod discovery;
mod divergence;
mod expiry;
mod idle;
mod import;
mod keep_theirs;
mod later_commit;
mod lease;
mod lifecycle;
mod maintenance;
mod mirror;
mod probe;
mod publish;
mod published;
mod put;
mod put_checksum;
mod rebuild;
mod reconcile;
mod repair;
mod set_aside;
mod settle;
mod status;
mod superseded;
mod turns;
mod verify;
mod whole_transactions;
mod wrong_row;

pub use behind::check_not_behind;
pub use checkpoint::Checkpointed;
pub use cycle::ExpiryCycle;
pub use expiry::{ExpireOptions, ExpiredHistory, ExpiryStep};
pub use import::Imported;
pub use keep_theirs::KeptTheirs;
pub use lifecycle::Undropped;
pub use mirror::Mirror;
pub use publish::Published;
pub use rebuild::{LeftOutTable, Rebuilt, RebuiltTable};
pub use reconcile::{ReconcileEvent, ReconcileOptions, Reconciler, RetryBackoff};
pub use repair::Repaired;
pub use set_aside::KeptOurs;
pub use settle::record_published;
pub use status::Status;
pub use verify::{Finding, ReplayedSnapshot, Replayer, VerifyOptions};
pub use whole_transactions::Cut;
