//! One table's log in memory.

use futures::StreamExt;
use futures::stream::BoxStream;

use super::*;
use crate::action::Remove;
use crate::predicate::Predicate;
use crate::reader::HistoryRange;
use crate::schema::Schema;
use crate::snapshot::{CommitSummary, Snapshot, newest_first};

/// One table's log in a [`MemoryCatalog`].
#[derive(Debug)]
pub(super) struct MemoryTxnLog {
    catalog: MemoryCatalog,
    table: TableId,
    /// The state in which the table can be read.
    state: TableState,
}

impl MemoryTxnLog {
    pub(super) fn new(catalog: MemoryCatalog, table: TableId, state: TableState) -> Self {
        Self { catalog, table, state }
    }

    fn with<T>(&self, f: impl FnOnce(&mut MemoryTable) -> Result<T>) -> Result<T> {
        let mut tables = self.catalog.tables.lock();
        match tables.get_mut(&self.table) {
            Some(table) if table.state == self.state => f(table),
            _ => f(live(&mut tables, self.table)?),
        }
    }
}

#[async_trait]
impl TxnLogReader for MemoryTxnLog {
    async fn head(&self) -> Result<Head> {
        self.with(|t| t.head_at(t.resolve(At::Latest)?))
    }

    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        self.with(|t| {
            let version = t.resolve(at)?;
            let txns = t.txns.iter().filter(|(v, _)| *v <= version);
            let mut domains: BTreeMap<String, DomainMetadata> = BTreeMap::new();
            for (_, d) in t.domains.iter().filter(|(v, _)| *v <= version) {
                domains.insert(d.domain.clone(), d.clone());
            }
            domains.retain(|_, d| !d.removed);
            Ok(Snapshot {
                head: t.head_at(version)?,
                txns: txns.map(|(_, t)| (t.app_id.clone(), t.clone())).collect(),
                domains,
            })
        })
    }

    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        let files = self.files_in_replay_order(version, predicate).await?;
        Ok(futures::stream::iter(files.into_iter().map(Ok)).boxed())
    }

    async fn files_in_replay_order(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        self.with(|t| {
            let version = t.resolve(At::Version(version))?;
            let metadata = t.head_at(version)?.metadata;
            let schema = Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
            let live =
                t.files.iter().filter(|((_, from), (_, to))| *from <= version && to.is_none_or(|to| to > version));
            let may = |add: &Add| predicate.is_none_or(|p| p.may_match(&schema, add));
            let live = live.map(|((_, from), (add, _))| (*from, add)).filter(|(_, add)| may(add));
            Ok(newest_first(live.map(|(from, add)| (from, add.clone())).collect()))
        })
    }

    async fn tombstones(&self, version: Version, deleted_after: i64) -> Result<BoxStream<'static, Result<Remove>>> {
        let removes: Vec<_> = self.with(|t| {
            let version = t.resolve(At::Version(version))?;
            let mut newest: BTreeMap<FileKey, &Remove> = BTreeMap::new();
            for ((key, at), remove) in t.removes.iter().filter(|((_, at), _)| *at <= version) {
                let later = t.files.range((*key, *at)..=(*key, version)).next();
                match later {
                    Some(_) => newest.remove(key),
                    None => newest.insert(*key, remove),
                };
            }
            let young = newest.into_values().filter(|r| r.deletion_timestamp.is_some_and(|ms| ms > deleted_after));
            Ok(young.cloned().map(Ok).collect())
        })?;
        Ok(futures::stream::iter(removes).boxed())
    }

    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        self.with(|t| {
            let within = t.versions.iter().rev().filter(|(_, s)| {
                range.since.is_none_or(|since| s.time.ms >= since) && range.until.is_none_or(|until| s.time.ms <= until)
            });
            let limit = range.limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
            let summary = |(v, s): (&Version, &StoredVersion)| {
                let commit = Commit::parse(s.body.clone().unwrap_or_default(), "a stored commit")?;
                Ok(CommitSummary::of_commit(*v, s.time.ms, &commit))
            };
            within.take(limit).map(summary).collect()
        })
    }

    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        self.with(|t| {
            let version = t.resolve(At::Version(version))?;
            Ok(t.versions.get(&version).and_then(|s| s.body.clone()))
        })
    }

    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        let bodies: Vec<_> = self.with(|t| {
            let (from, to) = (t.resolve(At::Version(from))?, t.resolve(At::Version(to))?);
            let bodies = t.versions.range(from..=to.max(from));
            let body = |(v, s): (&Version, &StoredVersion)| {
                let body = s.body.clone().ok_or_else(|| commit::bytes_not_retained(&t.name.to_string(), *v))?;
                Ok((*v, body))
            };
            bodies.map(body).collect::<Result<_>>()
        })?;
        Ok(futures::stream::iter(bodies.into_iter().map(Ok)).boxed())
    }
}
