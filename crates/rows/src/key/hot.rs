//! The keys of hot rows: table, scope, primary key, and the `_seq` of the version, newest first.
//!
//! A key is the 16 bytes of the table's id, the scope, the encoded primary key, and the 8 bytes of the `_seq` with all
//! bits inverted. The scope is a 0, or a 1 and the user as a string of a primary key. So the rows of a scope are in
//! order of their primary keys, and a seek to a primary key at a snapshot finds its newest version there.

use std::borrow::Cow;
use std::ops::Range;

use deltalakedb_log::{Result, TableId, TxnLogError};
use uuid::Uuid;

use super::memcomparable::{KeyReader, put_bytes};
use crate::seq::SeqId;

const TABLE: u8 = 0;
const USER: u8 = 1;
/// More than every scope.
const AFTER_SCOPES: u8 = 2;
const SEQ_BYTES: usize = size_of::<SeqId>();

/// The rows among which a primary key is unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope<'a> {
    /// All rows of a shared table.
    Table,
    /// The rows of a user.
    User(Cow<'a, str>),
}

impl Scope<'_> {
    /// The same scope, with a copy of the user's name.
    pub fn into_owned(self) -> Scope<'static> {
        match self {
            Self::Table => Scope::Table,
            Self::User(user) => Scope::User(Cow::Owned(user.into_owned())),
        }
    }
}

/// A key of the hot store, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey<'a> {
    /// The table of the row.
    pub table: TableId,
    /// The scope of the row.
    pub scope: Scope<'a>,
    /// Its encoded primary key.
    pub primary_key: &'a [u8],
    /// The `_seq` of the version.
    pub seq: SeqId,
}

impl<'a> HotKey<'a> {
    /// Takes a key apart. Fails if it is not a key of a hot row.
    pub fn parse(key: &'a [u8]) -> Result<Self> {
        Self::parsed(key).ok_or_else(damaged)
    }

    fn parsed(key: &'a [u8]) -> Option<Self> {
        let (row, seq) = split(key)?;
        let (table, scope, primary_key) = split_row(row)?;
        Some(Self { table, scope, primary_key, seq })
    }

    /// The key of a version of a row, given the part that all its versions share.
    pub fn of_version(row: &[u8], seq: SeqId) -> Vec<u8> {
        let mut key = Vec::with_capacity(row.len() + SEQ_BYTES);
        key.extend_from_slice(row);
        key.extend_from_slice(&(!seq.as_i64()).to_be_bytes());
        key
    }

    /// Splits a key into the part that all versions of a row share and the `_seq` of the version.
    pub fn split_seq(key: &[u8]) -> Result<(&[u8], SeqId)> {
        split(key).ok_or_else(damaged)
    }
}

fn split(key: &[u8]) -> Option<(&[u8], SeqId)> {
    let (row, seq) = key.split_last_chunk::<SEQ_BYTES>()?;
    let seq = SeqId::try_from((!u64::from_be_bytes(*seq)).cast_signed()).ok()?;
    Some((row, seq))
}

/// Splits what all versions of a row share into table, scope and primary key.
pub(super) fn split_row(row: &[u8]) -> Option<(TableId, Scope<'_>, &[u8])> {
    let (table, rest) = row.split_first_chunk()?;
    let (scope, primary_key) = match rest.split_first()? {
        (&TABLE, rest) => (Scope::Table, rest),
        (&USER, rest) => {
            let mut rest = KeyReader::new(rest);
            (Scope::User(rest.string()?), rest.rest())
        }
        _ => return None,
    };
    Some((TableId(Uuid::from_bytes(*table)), scope, primary_key))
}

fn damaged() -> TxnLogError {
    TxnLogError::corrupt("the hot store has a key that is not one of a row: it is damaged")
}

/// The keys of the hot rows in one scope of a table. Ranges include their start and exclude their end.
#[derive(Clone, Debug)]
pub struct ScopeKeys {
    prefix: Vec<u8>,
}

impl ScopeKeys {
    /// The keys of a scope.
    pub fn new(table: TableId, scope: &Scope<'_>) -> Self {
        let mut prefix = table.0.as_bytes().to_vec();
        match scope {
            Scope::Table => prefix.push(TABLE),
            Scope::User(user) => {
                prefix.push(USER);
                put_bytes(user.as_bytes(), &mut prefix);
            }
        }
        Self { prefix }
    }

    /// All rows of a table, in all scopes.
    pub fn range_of_table(table: TableId) -> Range<Vec<u8>> {
        let table = table.0.as_bytes();
        table.to_vec()..[&table[..], &[AFTER_SCOPES]].concat()
    }

    /// All rows of the scope.
    pub fn range(&self) -> Range<Vec<u8>> {
        self.prefix.clone()..after(self.prefix.clone())
    }

    /// The rows whose primary keys begin with the encoded values of their first columns. With the encoding of a whole
    /// primary key these are its versions.
    pub fn starting_with(&self, first_columns: &[u8]) -> Range<Vec<u8>> {
        let start = self.row(first_columns);
        start.clone()..after(start)
    }

    /// The key of a version.
    pub fn key(&self, primary_key: &[u8], seq: SeqId) -> Vec<u8> {
        HotKey::of_version(&self.row(primary_key), seq)
    }

    /// What the keys of all versions of a row begin with, and no others.
    pub fn row(&self, primary_key: &[u8]) -> Vec<u8> {
        [&self.prefix, primary_key].concat()
    }

    /// A key after all versions of a row and before those of the next.
    pub fn after_row(&self, primary_key: &[u8]) -> Vec<u8> {
        [&self.row(primary_key)[..], &[u8::MAX; size_of::<SeqId>() + 1]].concat()
    }

    /// The versions of a row at a snapshot, newest first: those with a `_seq` up to `snapshot`.
    pub fn versions_at(&self, primary_key: &[u8], snapshot: SeqId) -> Range<Vec<u8>> {
        self.key(primary_key, snapshot)..self.starting_with(primary_key).end
    }

    /// The versions of a row after `seq`, newest first.
    pub fn versions_after(&self, primary_key: &[u8], seq: SeqId) -> Range<Vec<u8>> {
        self.starting_with(primary_key).start..self.key(primary_key, seq)
    }
}

/// The least bytes that are greater than all that begin with `prefix`, which has a scope and so a byte other than 255.
fn after(mut prefix: Vec<u8>) -> Vec<u8> {
    while prefix.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = prefix.last_mut() {
        *last += 1;
    }
    prefix
}
