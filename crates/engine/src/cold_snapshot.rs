//! The flushed rows of a row table at one version of its cold table.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use deltalakedb_log::action::{Action, Add, StringMap};
use deltalakedb_log::snapshot::{At, Head, Snapshot};
use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_rows::seq::SeqId;
use deltalakedb_table::{DeltaTable, RoaringTreemap};
use futures::TryStreamExt;

use crate::intent::FlushCommit;

/// The application whose `txn` in the log has the cut of the cold table's version.
pub(crate) const APPLICATION: &str = "deltalakedb.rows";

const NUMBER: &str = "deltalakedb.rows.file";
const FIRST_KEY: &str = "deltalakedb.rows.firstKey";
const LAST_KEY: &str = "deltalakedb.rows.lastKey";

/// The flushed rows.
#[derive(Clone, Debug)]
pub(crate) struct ColdSnapshot {
    /// The generation that the row store counts.
    pub(crate) generation: u64,
    /// The `_seq` up to which it has all effects.
    pub(crate) cut: SeqId,
    /// The version of the cold table.
    pub(crate) head: Head,
    /// Its files, by number.
    pub(crate) files: Vec<ColdFile>,
}

/// A data file of a cold table.
#[derive(Clone, Debug)]
pub(crate) struct ColdFile {
    pub(crate) tags: FileTags,
    pub(crate) add: Add,
    /// The rows that its deletion vector hides.
    pub(crate) hidden: Arc<RoaringTreemap>,
}

/// What the tags of a data file say in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileTags {
    /// The number by which pending deletes name it.
    pub(crate) number: u32,
    /// The encoded keys of its first and last row; its rows are in order of their keys.
    pub(crate) first_key: Vec<u8>,
    pub(crate) last_key: Vec<u8>,
}

impl ColdSnapshot {
    /// The newest version of a cold table.
    pub(crate) async fn newest(delta: &DeltaTable, generation: u64) -> Result<Self> {
        let reader = delta.reader().await?;
        let Snapshot { head, txns, .. } = reader.snapshot(At::Latest).await?;
        let cut = txns.get(APPLICATION).map(|txn| SeqId::try_from(txn.version)).transpose()?.unwrap_or_default();
        let adds: Vec<Add> = reader.files(head.version, None).await?.try_collect().await?;
        let mut files = cold_files(delta, adds).await?;
        files.sort_by_key(|file| file.tags.number);
        Ok(Self { generation, cut, head, files })
    }

    /// The version after this one, which a flush made.
    pub(crate) async fn after(&self, delta: &DeltaTable, flush: &FlushCommit) -> Result<Self> {
        let (generation, head) = (self.generation + 1, delta.head().await?);
        if self.head.version != flush.base || head.version != flush.base + 1 {
            return Self::newest(delta, generation).await;
        }
        let removed = flush.actions.iter().filter_map(|action| match action {
            Action::Remove(file) => Some(&file.path),
            _ => None,
        });
        let removed: HashSet<_> = removed.collect();
        let kept = self.files.iter().filter(|file| !removed.contains(&file.add.path)).cloned();
        let adds = flush.actions.iter().filter_map(Action::as_add).cloned().collect();
        let mut files: Vec<_> = kept.chain(cold_files(delta, adds).await?).collect();
        files.sort_by_key(|file| file.tags.number);
        Ok(Self { generation, cut: flush.cut, head, files })
    }

    /// The number of the next data file.
    pub(crate) fn next_number(&self) -> u32 {
        self.files.last().map_or(0, |file| file.tags.number.saturating_add(1))
    }
}

/// Data files with the rows that their deletion vectors hide.
async fn cold_files(delta: &DeltaTable, adds: Vec<Add>) -> Result<Vec<ColdFile>> {
    let mut files = Vec::with_capacity(adds.len());
    for masked in delta.load_masks(adds).await? {
        let tags = FileTags::of(&masked.add)
            .ok_or_else(|| TxnLogError::corrupt(format!("{delta} has a file without the tags of a row table")))?;
        files.push(ColdFile { tags, add: masked.add, hidden: Arc::new(masked.hidden) });
    }
    Ok(files)
}

impl ColdFile {
    /// Whether the key of one of its rows may be this one.
    pub(crate) fn may_have(&self, key: &[u8]) -> bool {
        (self.tags.first_key.as_slice()..=self.tags.last_key.as_slice()).contains(&key)
    }
}

impl FileTags {
    /// The tags of a file; None if it is not one of a row table.
    pub(crate) fn of(add: &Add) -> Option<Self> {
        let tag = |name: &str| add.tags.as_ref()?.get(name)?.as_deref();
        Some(Self {
            number: tag(NUMBER)?.parse().ok()?,
            first_key: from_hex(tag(FIRST_KEY)?)?,
            last_key: from_hex(tag(LAST_KEY)?)?,
        })
    }

    /// Adds them to those of a file.
    pub(crate) fn put(&self, add: &mut Add) {
        let tags = add.tags.get_or_insert_with(StringMap::new);
        tags.insert(NUMBER.into(), Some(self.number.to_string()));
        tags.insert(FIRST_KEY.into(), Some(to_hex(&self.first_key)));
        tags.insert(LAST_KEY.into(), Some(to_hex(&self.last_key)));
    }
}

/// The rows of batches that have any.
pub(crate) fn non_empty(batches: Vec<RecordBatch>) -> impl Iterator<Item = RecordBatch> {
    batches.into_iter().filter(|batch| batch.num_rows() > 0)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<_>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, []) = digits.as_ref()?.as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_tags_are_read_as_they_were_written() {
        for key in [&b""[..], b"\0", b"\xff\x00a", b"longer than one"] {
            assert_eq!(from_hex(&to_hex(key)).as_deref(), Some(key));
        }
        for bad in ["0", "xy", "0g", "é0"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
