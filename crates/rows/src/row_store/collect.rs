//! Collection of the hot versions that a published cold snapshot supersedes.

use deltalakedb_log::{Result, TableId};

use super::meta;
use super::sequencer::Sequencer;
use super::state::cold_version;
use crate::key::{HotKey, ScopeKeys, SeqIndexKey};
use crate::seq::SeqId;
use crate::storage::{Batch, Direction, Family, WalSync};

/// The versions that are deleted in one turn, for which commits wait.
const VERSIONS_IN_TURN: usize = 1_000;

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

    let snapshot = state.storage.snapshot()?;
    let mut cursor = snapshot.scan(Family::Hot, &ScopeKeys::range_of_table(table).into(), Direction::Forward)?;
    let mut collected = Collected { floor, versions: 0 };
    let mut batch = Batch::new();
    let mut row = Vec::new();
    loop {
        let entry = cursor.next()?;
        if batch.len() >= 2 * VERSIONS_IN_TURN || entry.is_none() && !batch.is_empty() {
            let turn = sequencer.turn()?;
            state.write(std::mem::take(&mut batch), WalSync::Later)?;
            drop(turn);
        }
        let Some(entry) = entry else { return Ok(collected) };
        let (entry_row, seq) = HotKey::split_seq(entry.key)?;
        if seq <= floor {
            batch.delete(Family::Hot, entry.key);
            batch.delete(
                Family::SeqIndex,
                SeqIndexKey::of_change(entry_row, HotKey::parse(entry.key)?.primary_key.len(), seq),
            );
            collected.versions += 1;
        } else if entry_row == row {
            // Of a row with many versions, those after the floor are passed over.
            cursor.seek(&HotKey::of_version(&row, floor));
        } else {
            row.clear();
            row.extend_from_slice(entry_row);
        }
    }
}
