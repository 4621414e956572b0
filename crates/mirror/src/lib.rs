//! The mirror: the only hand that writes a managed table's `_delta_log`, and the hand that reads it back.
//!
//! [`Mirror`] publishes what a catalog has committed; [`import`] brings an existing log into a catalog; [`verify`]
//! compares the two. Everything here speaks [`deltalakedb_log::Catalog`] and object stores, no SQL.

mod import;
mod publish;
mod verify;

pub use import::{Imported, import};
pub use publish::{Mirror, Published, Status};
pub use verify::{Finding, Replayed, Replayer, VerifyOptions, verify};
