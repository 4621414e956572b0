//! Expiry of history in memory.

use super::*;
use crate::retention::{Expired, Expiry, HistoryExpiry, HistoryLimits, Keep, STEP_FILES, STEP_VERSIONS};

impl MemoryTable {
    fn end_of_history(&self, base: Version, current: Version, keep: &Keep, now_ms: i64) -> Version {
        let newest_then = self.versions.iter().rev().find(|(_, stored)| stored.time.ms <= keep.since_ms);
        let newest_then = newest_then.map(|(version, _)| *version);
        let held = self.holds.iter().filter(|hold| hold.until_ms > now_ms).map(|hold| hold.version).min();
        HistoryLimits { base, current, published: self.published, newest_then, held }.end(keep.versions)
    }

    /// The oldest version that is retained after a step.
    fn step(&self, base: Version, end: Version) -> Version {
        let (mut next, mut files) = (base, 0);
        while next < end && next - base < STEP_VERSIONS {
            let ended = self.files.values().filter(|(_, removed)| *removed == Some(next + 1)).count() as u64;
            let added = self.files.keys().filter(|(_, from)| *from == next + 1).count() as u64;
            files += ended + added;
            if next > base && files > STEP_FILES {
                break;
            }
            next += 1;
        }
        next
    }

    /// Removes what no version from `base` on needs; returns how many files.
    fn forget_before(&mut self, base: Version) -> u64 {
        self.versions.retain(|version, _| *version >= base);
        forget_superseded(&mut self.protocols, base);
        forget_superseded(&mut self.metadata, base);
        let txns = newest_by(self.txns.iter().map(|(version, txn)| (txn.app_id.clone(), *version)), base);
        self.txns.retain(|(version, txn)| txns.get(&txn.app_id).is_none_or(|newest| version >= newest));
        let domains = newest_by(self.domains.iter().map(|(version, d)| (d.domain.clone(), *version)), base);
        self.domains.retain(|(version, d)| domains.get(&d.domain).is_none_or(|newest| version >= newest));
        self.removes.retain(|(_, version), _| *version >= base);
        let before = self.files.len();
        self.files.retain(|_, (_, removed)| removed.is_none_or(|removed| removed > base));
        (before - self.files.len()) as u64
    }
}

fn forget_superseded<T>(of: &mut BTreeMap<Version, T>, base: Version) {
    let newest = of.range(..=base).next_back().map_or(0, |(version, _)| *version);
    of.retain(|version, _| *version >= newest);
}

/// The newest version not later than `base` of each key.
fn newest_by(all: impl Iterator<Item = (String, Version)>, base: Version) -> HashMap<String, Version> {
    let mut newest = HashMap::new();
    for (key, version) in all.filter(|(_, version)| *version <= base) {
        let known = newest.entry(key).or_insert(version);
        *known = version.max(*known);
    }
    newest
}

#[async_trait]
impl HistoryExpiry for MemoryCatalog {
    async fn end_of_history(&self, table: TableId, keep: &Keep) -> Result<Version> {
        let now_ms = self.clock.now_ms();
        self.with(table, |t| {
            let entry = t.entry(table).ok_or_else(|| no_table(table, DESCRIPTION, None))?;
            Ok(t.end_of_history(entry.base_version, entry.current_version, keep, now_ms))
        })
    }

    async fn expire(&self, expiry: &Expiry) -> Result<Expired> {
        let now_ms = self.clock.now_ms();
        self.with(expiry.table, |t| {
            let entry = t.entry(expiry.table).ok_or_else(|| no_table(expiry.table, DESCRIPTION, None))?;
            expiry.committer.check(&t.name, t.owner.as_ref())?;
            let base = entry.base_version;
            let end = t.end_of_history(base, entry.current_version, &expiry.keep, now_ms).min(expiry.up_to).max(base);
            let next = t.step(base, end);
            let files = t.forget_before(next);
            let since = expiry.keep.ids_since_ms;
            t.commit_ids.retain(|_, (version, ms)| *version >= next || *ms >= since);
            Ok(Expired { base_version: next, versions: next - base, files, is_done: next == end })
        })
    }
}
