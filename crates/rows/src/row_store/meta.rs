//! The entries of [`Family::Meta`]: format, high water of `_seq`, marks, cold versions and floors by table, and intents.
//!
//! A value is a version byte, the content, and a CRC-32C of the key and all before it, so that damage, an entry at the
//! key of another and an entry of a newer program are noticed. Numbers are big-endian.

use crc::{CRC_32_ISCSI, Crc, Table};
use deltalakedb_log::{Result, TableId, TxnLogError};
use uuid::Uuid;

use super::cold::ColdVersion;
use crate::seq::SeqId;
use crate::storage::{Batch, Direction, Family, KeyRange, Snapshot};

/// The format of the entries of all families, without the values of rows.
const STORE_FORMAT: u8 = 1;
/// The version of the values here.
const VERSION: u8 = 1;
const CHECKSUM: usize = 4;

const FORMAT: &[u8] = b"format";
const HIGH_WATER: &[u8] = b"seq";
const COLD: &[u8] = b"cold/";
const FLOOR: &[u8] = b"floor/";
const INTENT: &[u8] = b"intent/";
const TABLE: &[u8] = b"table/";

/// The marks of tables.
const LIVE: u8 = 1;
const DROPPED: u8 = 2;

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What a caller is about to do outside the store, so that it can be continued after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Its name.
    pub id: Uuid,
    /// What only the caller understands.
    pub content: Vec<u8>,
}

/// What a caller says of a table, of which the store may have no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableMark {
    /// It exists.
    Live,
    /// It was dropped, or is about to be. It may come back.
    Dropped,
}

/// Marks a store as one of this format, without any commit.
pub(super) fn put_new_store(batch: &mut Batch) {
    put(batch, FORMAT, &[STORE_FORMAT]);
    put_high_water(batch, SeqId::ZERO);
}

/// Whether the store is one of this format; false for an empty one.
pub(super) fn is_row_store(snapshot: &dyn Snapshot) -> Result<bool> {
    let Some(value) = snapshot.get(Family::Meta, FORMAT)? else { return Ok(false) };
    match content(FORMAT, &value)? {
        [STORE_FORMAT] => Ok(true),
        _ => Err(TxnLogError::invalid("the row store has the format of a newer version of this program: use that one")),
    }
}

/// Sets the number above which the next `_seq` is assigned.
pub(super) fn put_high_water(batch: &mut Batch, seq: SeqId) {
    put(batch, HIGH_WATER, &seq.as_i64().to_be_bytes());
}

pub(super) fn high_water(snapshot: &dyn Snapshot) -> Result<SeqId> {
    let value = snapshot.get(Family::Meta, HIGH_WATER)?.ok_or_else(|| damaged(HIGH_WATER))?;
    seq(HIGH_WATER, content(HIGH_WATER, &value)?)
}

/// Sets the published cold snapshot of a table.
pub(super) fn put_cold(batch: &mut Batch, table: TableId, version: ColdVersion) {
    let content = [version.generation.to_be_bytes(), version.cut.as_i64().to_be_bytes()].concat();
    put(batch, &table_key(COLD, table), &content);
}

pub(super) fn cold_versions(snapshot: &dyn Snapshot) -> Result<Vec<(TableId, ColdVersion)>> {
    scan(snapshot, COLD, |key, table, content| {
        let (generation, cut) = content.split_first_chunk().ok_or_else(|| damaged(key))?;
        Ok((TableId(table), ColdVersion { generation: u64::from_be_bytes(*generation), cut: seq(key, cut)? }))
    })
}

/// Sets the number up to which versions of a table may have been collected.
pub(super) fn put_floor(batch: &mut Batch, table: TableId, floor: SeqId) {
    put(batch, &table_key(FLOOR, table), &floor.as_i64().to_be_bytes());
}

pub(super) fn floors(snapshot: &dyn Snapshot) -> Result<Vec<(TableId, SeqId)>> {
    scan(snapshot, FLOOR, |key, table, content| Ok((TableId(table), seq(key, content)?)))
}

/// Sets the mark of a table.
pub(super) fn put_mark(batch: &mut Batch, table: TableId, mark: TableMark) {
    let content = match mark {
        TableMark::Live => LIVE,
        TableMark::Dropped => DROPPED,
    };
    put(batch, &table_key(TABLE, table), &[content]);
}

/// The marks of all tables.
pub(super) fn marks(snapshot: &dyn Snapshot) -> Result<Vec<(TableId, TableMark)>> {
    scan(snapshot, TABLE, |key, table, content| match content {
        [LIVE] => Ok((TableId(table), TableMark::Live)),
        [DROPPED] => Ok((TableId(table), TableMark::Dropped)),
        _ => Err(damaged(key)),
    })
}

pub(super) fn put_intent(batch: &mut Batch, intent: &Intent) {
    put(batch, &id_key(INTENT, intent.id), &intent.content);
}

pub(super) fn delete_intent(batch: &mut Batch, id: Uuid) {
    batch.delete(Family::Meta, id_key(INTENT, id));
}

/// All intents, by id.
pub(super) fn intents(snapshot: &dyn Snapshot) -> Result<Vec<Intent>> {
    scan(snapshot, INTENT, |_, id, content| Ok(Intent { id, content: content.to_vec() }))
}

fn table_key(prefix: &[u8], table: TableId) -> Vec<u8> {
    id_key(prefix, table.0)
}

fn id_key(prefix: &[u8], id: Uuid) -> Vec<u8> {
    [prefix, id.as_bytes()].concat()
}

fn put(batch: &mut Batch, key: &[u8], content: &[u8]) {
    let mut value = [&[VERSION], content].concat();
    value.extend_from_slice(&checksum(key, &value));
    batch.put(Family::Meta, key, value);
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM] {
    let mut digest = CRC.digest();
    digest.update(key);
    digest.update(value);
    digest.finalize().to_be_bytes()
}

fn content<'v>(key: &[u8], value: &'v [u8]) -> Result<&'v [u8]> {
    let (checked, stored) = value.split_last_chunk().ok_or_else(|| damaged(key))?;
    if checksum(key, checked) != *stored {
        return Err(damaged(key));
    }
    match checked {
        [VERSION, content @ ..] => Ok(content),
        _ => {
            let key = key.escape_ascii();
            Err(TxnLogError::invalid(format!("the entry {key} is of a newer version of this program: use that one")))
        }
    }
}

/// The entries whose keys are `prefix` and an id.
fn scan<T>(snapshot: &dyn Snapshot, prefix: &[u8], decode: impl Fn(&[u8], Uuid, &[u8]) -> Result<T>) -> Result<Vec<T>> {
    let mut cursor = snapshot.scan(Family::Meta, &KeyRange::prefix(prefix), Direction::Forward)?;
    let mut entries = Vec::new();
    while let Some(entry) = cursor.next()? {
        let id = Uuid::from_slice(&entry.key[prefix.len()..]).map_err(|_| damaged(entry.key))?;
        entries.push(decode(entry.key, id, content(entry.key, entry.value)?)?);
    }
    Ok(entries)
}

fn seq(key: &[u8], content: &[u8]) -> Result<SeqId> {
    let number = <[u8; 8]>::try_from(content).ok().map(i64::from_be_bytes);
    number.and_then(|number| SeqId::try_from(number).ok()).ok_or_else(|| damaged(key))
}

fn damaged(key: &[u8]) -> TxnLogError {
    let key = key.escape_ascii();
    TxnLogError::corrupt(format!("the entry {key} of the row store is damaged: restore the store from a checkpoint"))
}
