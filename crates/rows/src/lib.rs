//! The hot store of row tables: the recent versions of rows, in order of their keys.
//!
//! A version of a row is one entry of an ordered [`storage`]. Its key is table, scope, primary key and `_seq` ([`key`]),
//! so that a seek finds the newest version of a row at any snapshot. Its value is the row as a compact tuple
//! ([`mod@tuple`]), or a mark that the row was deleted. The `_seq` of versions are assigned in commit order by a
//! [`SeqClock`]. A [`RowStore`] commits them and reads them under snapshot isolation.
//!
//! Knows no catalog and no Parquet.

mod column_builder;
mod column_type;
pub mod key;
#[cfg(test)]
mod random;
pub mod row_store;
pub mod seq;
pub mod storage;
pub mod tuple;

pub use key::{Datum, HotKey, KeyDecoder, KeyEncoder, PrimaryKey, Scope, ScopeKeys, SeqIndexKey};
pub use row_store::{CommitOutcome, CommitRequest, RowSnapshot, RowStore};
pub use seq::{SeqClock, SeqId};
pub use tuple::{Tuple, TupleColumn, TupleDecoder, TupleEncoder, TupleSchema};
