//! Delta tables over any transaction log.
mod delta_rs;
mod error;
mod filter;
mod table;
pub use delta_rs::plain;
pub use filter::predicate_from_sql;
pub use table::{DeltaTable, Scan};
