//! Collection of the hot versions that a published cold snapshot supersedes.

use std::ops::Range;

use deltalakedb_log::{Result, TableId};

use super::meta;
use super::sequencer::Sequencer;
use super::state::cold_version;
use crate::key::{HotKey, ScopeKeys, SeqIndexKey};
use crate::seq::SeqId;
use crate::storage::{Batch, Direction, Family, KeyRange, WalSync};

/// The entries that are read in one turn, for which commits wait.
const ENTRIES_IN_TURN: usize = 2_000;
/// Up to this many keys one after the other are deleted one by one, more of them as a range.
const SHORT_RUN: usize = 16;
/// From this many versions on, reads are relieved of them.
const MANY: u64 = 10_000;

/// What was collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// No version of the table up to this `_seq` is left.
    pub floor: SeqId,
    /// The number of versions deleted.
    pub versions: u64,
}

/// See [`RowStore::collect`](super::RowStore::collect).
pub(super) fn collect(sequencer: &Sequencer, table: TableId, upto: SeqId) -> Result<Collected> {
    let state = &sequencer.state;
    let mut turn = sequencer.turn()?;
    let old_floor = turn.floors.get(&table).copied().unwrap_or_default();
    let floor = {
        let visible = state.visible.lock();
        let limit = upto.min(cold_version(&visible.tables, table).cut).min(visible.oldest_reader());
        limit.max(old_floor)
    };
    if floor > old_floor {
        let mut batch = Batch::new();
        meta::put_floor(&mut batch, table, floor);
        // Not synced: a deletion that a power failure leaves has all before it.
        state.write(batch, WalSync::Later)?;
        turn.floors.insert(table, floor);
    }
    drop(turn);

    let mut collected = Collected { floor, versions: 0 };
    let Range { start, end } = ScopeKeys::range_of_table(table);
    let mut next = Some(start);
    // The scope whose changes are no longer in their index.
    let mut scope = Vec::new();
    while let Some(from) = next {
        // No commit adds a version between those that are deleted.
        let turn = sequencer.turn()?;
        let snapshot = state.storage.snapshot()?;
        let mut cursor = snapshot.scan(Family::Hot, &KeyRange::between(from, end.clone()), Direction::Forward)?;
        let (mut batch, mut run, mut row) = (Batch::new(), Run::default(), Vec::new());
        next = None;
        let mut entries = 0;
        while let Some(entry) = cursor.next()? {
            if entries == ENTRIES_IN_TURN {
                next = Some(entry.key.to_vec());
                break;
            }
            entries += 1;
            let (entry_row, seq) = HotKey::split_seq(entry.key)?;
            if seq <= floor {
                let primary_key = HotKey::parse(entry.key)?.primary_key.len();
                let of_entry = &entry_row[..entry_row.len() - primary_key];
                if scope != of_entry {
                    scope = of_entry.to_vec();
                    batch.delete_range(Family::SeqIndex, SeqIndexKey::range_of_scope(of_entry, floor));
                }
                collected.versions += 1;
                run.add(entry.key);
                continue;
            }
            run.end(&mut batch);
            if entry_row == row {
                // Of a row with many versions, those after the floor are passed over.
                cursor.seek(&HotKey::of_version(&row, floor));
            } else {
                row.clear();
                row.extend_from_slice(entry_row);
            }
        }
        run.end(&mut batch);
        drop(cursor);
        drop(snapshot);
        if !batch.is_empty() {
            state.write(batch, WalSync::Later)?;
        }
        drop(turn);
    }
    if collected.versions >= MANY
        && let Err(e) = state.storage.settle()
    {
        tracing::warn!("reads pass over collected versions, which could not be left out of the files: {e}");
    }
    Ok(collected)
}

/// Keys one after the other that are deleted.
#[derive(Default)]
struct Run {
    /// The first of them.
    first: Vec<Vec<u8>>,
    /// The last one, if there are more.
    last: Option<Vec<u8>>,
}

impl Run {
    fn add(&mut self, key: &[u8]) {
        if self.first.len() < SHORT_RUN {
            self.first.push(key.to_vec());
        } else {
            let last = self.last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key);
        }
    }

    fn end(&mut self, batch: &mut Batch) {
        let mut first = std::mem::take(&mut self.first);
        match self.last.take() {
            Some(last) => batch.delete_range(Family::Hot, first.swap_remove(0)..[&last[..], &[0]].concat()),
            None => first.into_iter().for_each(|key| batch.delete(Family::Hot, key)),
        }
    }
}
