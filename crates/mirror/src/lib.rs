//! The mirror: the only hand that writes a managed table's `_delta_log`, and the hand that reads it back.
//!
//! [`Mirror`] publishes what a catalog has committed, and writes checkpoints of it; [`Mirror::import`] brings an existing log into a catalog;
//! [`Mirror::verify`] compares the two. Everything here speaks [`deltalakedb_log::Catalog`] and object stores, no SQL.

mod checkpoint;
mod checksum;
mod import;
mod publish;
mod upkeep;
mod verify;

pub use checkpoint::Checkpointed;
pub use import::Imported;
pub use publish::{Mirror, Published, Status};
pub use verify::{Finding, Replayed, Replayer, VerifyOptions};
