//! The keys of the index of changes: table and scope of the row, the `_seq` of the commit, then the primary key.
//!
//! A key is what the hot keys of a row begin with, with the 8 bytes of the `_seq`, big-endian, before the primary key. So
//! the changes of a scope are in the order of the commits, and reading them costs nothing for those of others.

use std::ops::Range;

use deltalakedb_log::{Result, TableId, TxnLogError};

use super::hot::{Scope, ScopeKeys, split_row};
use crate::seq::SeqId;

/// A key of the index of changes, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqIndexKey<'a> {
    /// The table of the row.
    pub table: TableId,
    /// The scope of the row.
    pub scope: Scope<'a>,
    /// The `_seq` of the commit.
    pub seq: SeqId,
    /// Its encoded primary key.
    pub primary_key: &'a [u8],
}

impl<'a> SeqIndexKey<'a> {
    /// Takes a key apart. Fails if it is not a key of this index.
    pub fn parse(key: &'a [u8]) -> Result<Self> {
        Self::parsed(key).ok_or_else(damaged)
    }

    fn parsed(key: &'a [u8]) -> Option<Self> {
        let (table, scope, rest) = split_row(key)?;
        let (seq, primary_key) = rest.split_first_chunk()?;
        Some(Self { table, scope, seq: SeqId::try_from(i64::from_be_bytes(*seq)).ok()?, primary_key })
    }

    /// The key of the change of a row by the commit `seq`, given what the hot keys of the row begin with, and the length
    /// of the primary key at its end.
    pub fn of_change(row: &[u8], primary_key: usize, seq: SeqId) -> Vec<u8> {
        let (scope, primary_key) = row.split_at(row.len().saturating_sub(primary_key));
        [scope, &seq.as_i64().to_be_bytes(), primary_key].concat()
    }

    /// The changes in a scope by the commits after `after` up to and including `upto`.
    pub fn range(keys: &ScopeKeys, after: SeqId, upto: SeqId) -> Range<Vec<u8>> {
        let scope = keys.row(&[]);
        after_changes(&scope, after)..after_changes(&scope, upto)
    }

    /// The changes up to and including `upto` in a scope, given what all keys of the scope begin with.
    pub(crate) fn range_of_scope(scope: &[u8], upto: SeqId) -> Range<Vec<u8>> {
        scope.to_vec()..after_changes(scope, upto)
    }
}

/// A key after those of the changes in a scope by the commits up to this one.
fn after_changes(scope: &[u8], seq: SeqId) -> Vec<u8> {
    // A _seq has 63 bits, so there is a next number.
    [scope, &(seq.as_i64().cast_unsigned() + 1).to_be_bytes()].concat()
}

fn damaged() -> TxnLogError {
    TxnLogError::corrupt("the hot store has a key of a change that is not one of a row: it is damaged")
}
