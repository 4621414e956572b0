//! Newest versions of hot rows at a snapshot.
//!
//! A row may have any number of versions. A cursor reads a few of them one after the other, which is fast, and then
//! seeks.

use deltalakedb_log::Result;

use crate::key::HotKey;
use crate::seq::SeqId;
use crate::storage::{Cursor, Direction, Family, KeyRange, Snapshot};
use crate::tuple::Tuple;

/// The number of versions of a row that are passed before a seek.
const STEPS: usize = 4;

/// Up to this many rows are read with a cursor each.
const FEW_ROWS: usize = 64;

/// The newest version of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowVersion<'a> {
    /// Its key, see [`HotKey::parse`].
    pub key: &'a [u8],
    /// Its `_seq`.
    pub seq: SeqId,
    /// The row as a tuple.
    pub tuple: &'a [u8],
    /// Whether it deletes the row.
    pub is_deleted: bool,
}

/// Which versions a scan returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionScan {
    /// Rows whose newest version is not after this `_seq` are left out. With the cut of the table these are the rows
    /// that the cold snapshot has.
    pub after: SeqId,
    /// The order of the rows.
    pub direction: Direction,
    /// Whether deleted rows are returned.
    pub with_deleted: bool,
}

impl Default for VersionScan {
    /// Every row that is not deleted, in ascending order.
    fn default() -> Self {
        Self { after: SeqId::ZERO, direction: Direction::Forward, with_deleted: false }
    }
}

/// The newest version of a row at `at`, with one seek: its `_seq` and its tuple.
pub(super) fn newest(snapshot: &dyn Snapshot, row: &[u8], at: SeqId) -> Result<Option<(SeqId, Vec<u8>)>> {
    let range = KeyRange::between(HotKey::of_version(row, at), after_versions(row));
    match snapshot.scan(Family::Hot, &range, Direction::Forward)?.next()? {
        Some(entry) => Ok(Some((HotKey::split_seq(entry.key)?.1, entry.value.to_vec()))),
        None => Ok(None),
    }
}

/// Finds the newest versions of some rows.
pub(super) struct Newest<'a> {
    snapshot: &'a dyn Snapshot,
    at: SeqId,
    /// One of all these rows; None if they are few.
    cursor: Option<Box<dyn Cursor + 'a>>,
}

impl<'a> Newest<'a> {
    /// Of these rows at `at`. Few rows are read one by one, without what was deleted between them.
    pub(super) fn of_rows<'r>(
        snapshot: &'a dyn Snapshot,
        at: SeqId,
        rows: impl ExactSizeIterator<Item = &'r [u8]> + Clone,
    ) -> Result<Self> {
        let bounds = if rows.len() > FEW_ROWS { rows.clone().min().zip(rows.max()) } else { None };
        let cursor = bounds.map(|(first, last)| {
            let range = KeyRange::between(first, after_versions(last));
            snapshot.scan(Family::Hot, &range, Direction::Forward)
        });
        Ok(Self { snapshot, at, cursor: cursor.transpose()? })
    }

    /// The newest version of one of the rows: its `_seq`, and whether it deletes the row.
    pub(super) fn of(&mut self, row: &[u8]) -> Result<Option<(SeqId, bool)>> {
        let Some(cursor) = &mut self.cursor else {
            let newest = newest(self.snapshot, row, self.at)?;
            return newest.map(|(seq, tuple)| Ok((seq, Tuple::parse(&tuple)?.is_deleted()))).transpose();
        };
        cursor.seek(&HotKey::of_version(row, self.at));
        let Some(entry) = cursor.next()? else { return Ok(None) };
        let (found, seq) = HotKey::split_seq(entry.key)?;
        if found == row { Ok(Some((seq, Tuple::parse(entry.value)?.is_deleted()))) } else { Ok(None) }
    }
}

/// A key after all versions of a row and before those of the next.
fn after_versions(row: &[u8]) -> Vec<u8> {
    [row, &[u8::MAX; size_of::<SeqId>() + 1]].concat()
}

/// The newest versions of the rows in a range of keys, at a snapshot and in order.
pub struct VersionCursor<'a> {
    snapshot: &'a dyn Snapshot,
    range: KeyRange,
    at: SeqId,
    scan: VersionScan,
    cursor: Box<dyn Cursor + 'a>,
    /// Finds newest versions where `cursor` moves backward.
    finder: Option<Box<dyn Cursor + 'a>>,
    /// The row that was met last, and whether its newest version was met.
    row: Vec<u8>,
    decided: bool,
    newest: Version,
    /// Read from `cursor` but not used yet, if it moves backward.
    ahead: Option<Version>,
}

#[derive(Default)]
struct Version {
    key: Vec<u8>,
    seq: SeqId,
    tuple: Vec<u8>,
}

impl Version {
    fn set(&mut self, key: &[u8], seq: SeqId, tuple: &[u8]) {
        self.key.clear();
        self.key.extend_from_slice(key);
        self.seq = seq;
        self.tuple.clear();
        self.tuple.extend_from_slice(tuple);
    }

    fn row(&self) -> &[u8] {
        &self.key[..self.key.len() - size_of::<SeqId>()]
    }
}

impl<'a> VersionCursor<'a> {
    /// The range has whole rows.
    pub(super) fn new(snapshot: &'a dyn Snapshot, range: KeyRange, at: SeqId, scan: VersionScan) -> Result<Self> {
        let cursor = snapshot.scan(Family::Hot, &range, scan.direction)?;
        let (row, newest) = Default::default();
        Ok(Self { snapshot, range, at, scan, cursor, finder: None, row, decided: false, newest, ahead: None })
    }

    /// The next row; None after the last. After an error the scan is not complete.
    pub fn next_row(&mut self) -> Result<Option<RowVersion<'_>>> {
        loop {
            let found = match self.scan.direction {
                Direction::Forward => self.next_newest()?,
                Direction::Backward => self.previous_newest()?,
            };
            if !found {
                return Ok(None);
            }
            if self.newest.seq <= self.scan.after {
                continue;
            }
            let is_deleted = Tuple::parse(&self.newest.tuple)?.is_deleted();
            if is_deleted && !self.scan.with_deleted {
                continue;
            }
            let Version { key, seq, tuple } = &self.newest;
            return Ok(Some(RowVersion { key, seq: *seq, tuple, is_deleted }));
        }
    }

    /// Sets the newest version of the next row that has any at the snapshot. Versions are met newest first.
    fn next_newest(&mut self) -> Result<bool> {
        let mut steps = 0;
        while let Some(entry) = self.cursor.next()? {
            let (row, seq) = HotKey::split_seq(entry.key)?;
            if row != self.row {
                self.row.clear();
                self.row.extend_from_slice(row);
                self.decided = false;
                steps = 0;
            }
            if !self.decided && seq <= self.at {
                self.decided = true;
                self.newest.set(entry.key, seq, entry.value);
                return Ok(true);
            }
            steps += 1;
            if steps == STEPS {
                steps = 0;
                let target =
                    if self.decided { after_versions(&self.row) } else { HotKey::of_version(&self.row, self.at) };
                self.cursor.seek(&target);
            }
        }
        Ok(false)
    }

    /// Like [`Self::next_newest`] in the other direction, where versions are met oldest first.
    fn previous_newest(&mut self) -> Result<bool> {
        loop {
            match self.ahead.take() {
                Some(ahead) => self.newest = ahead,
                None => match self.cursor.next()? {
                    Some(entry) => {
                        self.newest.set(entry.key, HotKey::split_seq(entry.key)?.1, entry.value);
                    }
                    None => return Ok(false),
                },
            }
            if self.newest.seq <= self.at {
                self.advance_to_newest()?;
                return Ok(true);
            }
            // No version of this row is at the snapshot.
            self.cursor.seek(self.newest.row());
        }
    }

    /// From the oldest version of a row, sets the newest at the snapshot and moves to the row before.
    fn advance_to_newest(&mut self) -> Result<()> {
        for _ in 0..STEPS {
            let Some(entry) = self.cursor.next()? else { return Ok(()) };
            let (row, seq) = HotKey::split_seq(entry.key)?;
            if row != self.newest.row() {
                let mut ahead = Version::default();
                ahead.set(entry.key, seq, entry.value);
                self.ahead = Some(ahead);
                return Ok(());
            }
            if seq > self.at {
                self.cursor.seek(self.newest.row());
                return Ok(());
            }
            self.newest.set(entry.key, seq, entry.value);
        }
        let finder = match &mut self.finder {
            Some(finder) => finder,
            None => self.finder.insert(self.snapshot.scan(Family::Hot, &self.range, Direction::Forward)?),
        };
        finder.seek(&HotKey::of_version(self.newest.row(), self.at));
        if let Some(entry) = finder.next()? {
            self.newest.set(entry.key, HotKey::split_seq(entry.key)?.1, entry.value);
        }
        self.cursor.seek(self.newest.row());
        Ok(())
    }
}
