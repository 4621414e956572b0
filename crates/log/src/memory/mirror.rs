//! The progress of the mirrors in memory.

use super::*;
use crate::mirror::{MirrorProgress, TableBehind};

#[async_trait]
impl MirrorProgress for MemoryCatalog {
    async fn acquire_lease(&self, table: TableId, holder: Uuid, now_ms: i64, until_ms: i64) -> Result<Option<Lease>> {
        self.with(table, |t| {
            let token = match &t.lease {
                Some((lease, until)) if *until > now_ms && lease.holder != holder => return Ok(None),
                Some((lease, _)) => lease.token + 1,
                None => 1,
            };
            let lease = Lease { table, holder, token };
            t.lease = Some((lease.clone(), until_ms));
            Ok(Some(lease))
        })
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.with(lease.table, |t| {
            if let Some((newest, until)) = t.lease.as_mut().filter(|(newest, _)| newest == lease) {
                (newest.token, *until) = (lease.token, i64::MIN);
            }
            Ok(())
        })
    }

    async fn mark_published(&self, lease: &Lease, version: Version) -> Result<()> {
        self.with(lease.table, |t| {
            if t.lease.as_ref().is_none_or(|(newest, _)| newest != lease) {
                return Err(commit::lease_lost(&t.name));
            }
            t.published = t.published.max(Some(version));
            t.failures.retain(|(v, artifact), _| *v > version || *artifact != Artifact::Commit);
            Ok(())
        })
    }

    async fn mark_next_published(&self, table: TableId, from: Version, to: Version) -> Result<bool> {
        self.with(table, |t| {
            let next = t.published.map(|v| v + 1).or(t.versions.keys().next().copied());
            let is_next = next == Some(from);
            if is_next {
                t.published = Some(to);
                t.failures.retain(|(v, artifact), _| *v > to || *artifact != Artifact::Commit);
            }
            Ok(is_next)
        })
    }

    async fn mark_checkpointed(&self, table: TableId, version: Version) -> Result<()> {
        self.with(table, |t| {
            t.failures.retain(|(v, artifact), _| *v > version || *artifact != Artifact::Checkpoint);
            Ok(())
        })
    }

    async fn mark_failed(
        &self,
        table: TableId,
        version: Version,
        artifact: Artifact,
        error: &str,
        at_ms: i64,
    ) -> Result<()> {
        self.with(table, |t| {
            if artifact == Artifact::Commit && t.published >= Some(version) {
                return Ok(());
            }
            let attempts = t.failures.get(&(version, artifact)).map_or(0, |f| f.attempts) + 1;
            let failure = MirrorFailure { version, artifact, attempts, error: error.into(), failed_at: at_ms };
            t.failures.insert((version, artifact), failure);
            Ok(())
        })
    }

    async fn set_mirror(&self, seen: &TableEntry, state: &MirrorState) -> Result<bool> {
        self.with(seen.id, |t| {
            let current = t.head_version().unwrap_or(seen.current_version);
            let may = state.may_follow(seen, &t.mirror, current);
            if may {
                t.mirror = state.clone();
            }
            Ok(may)
        })
    }

    async fn mirror_failures(&self, table: TableId) -> Result<Vec<MirrorFailure>> {
        self.with(table, |t| Ok(t.failures.values().cloned().collect()))
    }

    async fn tables_behind(&self, among: Option<&[TableId]>) -> Result<Vec<TableBehind>> {
        let tables = self.tables.lock();
        let wanted = tables.iter().filter(|(id, t)| t.is_live() && among.is_none_or(|among| among.contains(id)));
        let behind = wanted.filter(|(_, t)| t.published < t.head_version()).filter_map(|(id, t)| {
            let entry = t.entry(*id)?;
            let oldest = entry.oldest_unpublished()?;
            let since_ms = t.versions.get(&oldest).map_or(entry.current_timestamp, |stored| stored.time.ms);
            Some(TableBehind::new(entry, since_ms))
        });
        let mut behind: Vec<_> = behind.collect();
        behind.sort_by_key(|behind| (behind.since_ms, behind.table.id));
        Ok(behind)
    }
}
