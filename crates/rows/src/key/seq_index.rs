//! The keys of the index of changes: the `_seq` of the commit, then table, scope and primary key of the row.
//!
//! A key is the 8 bytes of the `_seq`, big-endian, and what the hot keys of the row begin with. So changes are in the
//! order of the commits.

use std::ops::Range;

use deltalakedb_log::{Result, TableId, TxnLogError};

use super::hot::{Scope, split_row};
use crate::seq::SeqId;

/// A key of the index of changes, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqIndexKey<'a> {
    /// The `_seq` of the commit.
    pub seq: SeqId,
    /// The table of the row.
    pub table: TableId,
    /// The scope of the row.
    pub scope: Scope<'a>,
    /// Its encoded primary key.
    pub primary_key: &'a [u8],
}

impl<'a> SeqIndexKey<'a> {
    /// Takes a key apart. Fails if it is not a key of this index.
    pub fn parse(key: &'a [u8]) -> Result<Self> {
        Self::parsed(key).ok_or_else(|| {
            TxnLogError::corrupt("the hot store has a key of a change that is not one of a row: it is damaged")
        })
    }

    fn parsed(key: &'a [u8]) -> Option<Self> {
        let (seq, row) = key.split_first_chunk()?;
        let seq = SeqId::try_from(i64::from_be_bytes(*seq)).ok()?;
        let (table, scope, primary_key) = split_row(row)?;
        Some(Self { seq, table, scope, primary_key })
    }

    /// The key of the change of a row by the commit `seq`, given what the hot keys of the row begin with.
    pub fn of_change(row: &[u8], seq: SeqId) -> Vec<u8> {
        [&seq.as_i64().to_be_bytes()[..], row].concat()
    }

    /// The changes by the commits after `after` up to and including `upto`.
    pub fn range(after: SeqId, upto: SeqId) -> Range<Vec<u8>> {
        // A _seq has 63 bits, so there is a next number.
        let next = |seq: SeqId| (seq.as_i64().cast_unsigned() + 1).to_be_bytes().to_vec();
        next(after)..next(upto)
    }
}
