//! Which tables may be published side by side.
//!
//! A bounded number of tables is. A store that does not answer must not occupy that number, so two rules free it:
//! a try that takes long is *overdue* and no longer counts; and a store in which the last try failed or is overdue is a
//! *suspect*: it gets one try at a time, which does not count either, until one succeeds. Then a dead store occupies the
//! common slots once, for [`OVERDUE_MS`], and after that none.

use std::collections::{HashMap, HashSet};

use deltalakedb_log::{Location, TableEntry, TableId};

/// After this time a try gives its slot back; it continues without one.
pub(super) const OVERDUE_MS: i64 = 2_000;

/// The tries that are running, and the stores that are suspects.
#[derive(Debug)]
pub(super) struct Slots {
    parallel: usize,
    running: HashMap<TableId, Running>,
    suspects: HashSet<String>,
}

#[derive(Debug)]
struct Running {
    /// The bucket, or `None` on a local disk: the folders there may be different file systems.
    store: Option<String>,
    since_ms: i64,
    slot: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// One of the common slots.
    Common,
    /// The only slot of a suspect.
    OfSuspect,
    /// The try is overdue.
    None,
}

impl Slots {
    pub(super) fn new(parallel: usize) -> Self {
        Self { parallel, running: HashMap::new(), suspects: HashSet::new() }
    }

    pub(super) fn is_running(&self, table: TableId) -> bool {
        self.running.contains_key(&table)
    }

    /// Whether no table can start, whatever its store is.
    pub(super) fn is_full(&self) -> bool {
        self.suspects.is_empty() && self.count(Slot::Common) >= self.parallel
    }

    /// Takes a slot for a table that is not running; returns `false` if there is none for it now.
    pub(super) fn take(&mut self, table: &TableEntry, now_ms: i64) -> bool {
        let store = bucket(&table.location);
        let is_suspect = store.as_ref().is_some_and(|store| self.suspects.contains(store));
        let (slot, is_free) = if is_suspect {
            let is_taken = |running: &Running| running.store == store && running.slot != Slot::None;
            (Slot::OfSuspect, !self.running.values().any(is_taken))
        } else {
            (Slot::Common, self.count(Slot::Common) < self.parallel)
        };
        if is_free {
            self.running.insert(table.id, Running { store, since_ms: now_ms, slot });
        }
        is_free
    }

    /// Frees the slots of overdue tries.
    pub(super) fn free_overdue(&mut self, now_ms: i64) {
        for running in self.running.values_mut() {
            if running.slot != Slot::None && now_ms >= running.since_ms.saturating_add(OVERDUE_MS) {
                running.slot = Slot::None;
                self.suspects.extend(running.store.clone());
            }
        }
    }

    /// When the next try will be overdue.
    pub(super) fn next_overdue(&self) -> Option<i64> {
        let with_slots = self.running.values().filter(|running| running.slot != Slot::None);
        with_slots.map(|running| running.since_ms.saturating_add(OVERDUE_MS)).min()
    }

    /// A try has ended: the store answered, or did not.
    pub(super) fn end(&mut self, table: TableId, has_answered: bool) {
        let Some(store) = self.running.remove(&table).and_then(|running| running.store) else { return };
        if has_answered {
            self.suspects.remove(&store);
        } else {
            self.suspects.insert(store);
        }
    }

    fn count(&self, slot: Slot) -> usize {
        self.running.values().filter(|running| running.slot == slot).count()
    }
}

fn bucket(location: &Location) -> Option<String> {
    let url = location.url();
    location.local_path().is_none().then(|| format!("{}://{}", url.scheme(), url.authority()))
}

#[cfg(test)]
mod tests {
    use deltalakedb_log::MirrorState;
    use uuid::Uuid;

    use super::*;

    fn table(n: u128, place: &str) -> TableEntry {
        TableEntry {
            id: TableId(Uuid::from_u128(n)),
            name: format!("t{n}").parse().unwrap(),
            location: Location::parse(place).unwrap(),
            owner: None,
            base_version: 0,
            current_version: 0,
            current_timestamp: 0,
            published_version: None,
            mirror: MirrorState::Following,
        }
    }

    #[test]
    fn a_store_that_does_not_answer_occupies_no_slot() {
        let dead: Vec<_> = (0..9).map(|n| table(n, &format!("s3://dead/t{n}"))).collect();
        let good: Vec<_> = (10..19).map(|n| table(n, &format!("s3://good/t{n}"))).collect();
        let mut slots = Slots::new(2);
        assert!(slots.take(&dead[0], 0) && slots.take(&dead[1], 100));
        assert!(slots.is_full() && !slots.take(&good[0], 100), "there are two slots");
        assert_eq!(slots.next_overdue(), Some(OVERDUE_MS));
        slots.free_overdue(OVERDUE_MS);
        assert!(slots.is_running(dead[0].id) && !slots.is_full());
        assert!(slots.take(&good[0], OVERDUE_MS), "the slot of the overdue try");
        slots.free_overdue(100 + OVERDUE_MS);
        assert!(slots.take(&dead[2], 2_200) && !slots.take(&dead[3], 2_200), "a suspect has one try at a time");
        assert!(slots.take(&good[1], 2_200), "which is in addition to the common slots");
        assert!(!slots.take(&good[2], 2_200) && !slots.is_full());

        // An error is an answer only if the store gave it.
        slots.end(dead[2].id, false);
        assert!(slots.take(&dead[3], 2_300) && !slots.take(&dead[4], 2_300));
        slots.end(dead[3].id, true);
        slots.end(good[0].id, true);
        assert!(slots.take(&dead[4], 2_400), "it answers again");
        assert!(!slots.take(&dead[5], 2_400), "and shares the common slots");
    }

    #[test]
    fn folders_of_a_local_disk_are_stores_of_their_own() {
        let mut slots = Slots::new(1);
        assert!(slots.take(&table(1, "/a/one"), 0));
        slots.end(table(1, "/a/one").id, false);
        assert!(slots.take(&table(2, "/a/two"), 0) && !slots.take(&table(3, "/a/three"), 0));
    }
}
