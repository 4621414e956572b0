//! Reads: every answer is from one committed state, and the head takes one statement.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::action::{Add, Remove};
use deltalakedb_log::commit;
use deltalakedb_log::schema::Schema;
use deltalakedb_log::snapshot::{CommitSummary, newest_first};
use deltalakedb_log::{
    At, ErrorKind, Head, HistoryRange, LogSummaries, Predicate, Result, Snapshot, TableRef, TxnLogError, TxnLogReader,
    Version,
};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tracing::Instrument as _;

use crate::bounds::BoundsSlots;
use crate::codec::{self, ADD_COLUMNS, METADATA_COLUMNS, PROTOCOL_COLUMNS, int, qualified};
use crate::database::{DatabaseTransaction, Row, Value};
use crate::file_query::FileQuery;
use crate::find::{find, head, heads};
use crate::plan::{Plan, SqlFragment};
use crate::retained::{AT_OR_BEFORE, RetainedVersion};
use crate::sql_catalog::SqlTxnLogReader;
use crate::table_lookup::no_table;

/// The maximum size of a page in bytes when a table is read without a transaction, and the maximum number of its rows.
const PAGE_BYTES: usize = 8 << 20;
const PAGE_ROWS: usize = 10_000;
/// Rows of the first page, when the size of a row is not known yet.
const FIRST_ROWS: usize = 200;

/// The oldest version after a time.
const FIRST_AFTER: &str = "SELECT version FROM dl_table_versions WHERE table_id = ? AND committed_at > ? \
                           ORDER BY committed_at, version LIMIT 1";

impl SqlTxnLogReader {
    async fn head_at(&self, tx: &mut dyn DatabaseTransaction, version: Version) -> Result<Head> {
        let newest = |table: &str| {
            format!("(SELECT max(version) FROM {table} WHERE table_id = v.table_id AND version <= v.version)")
        };
        let sql = format!(
            "SELECT v.version, v.committed_at, {}, {} FROM dl_table_versions v \
             JOIN dl_protocol_updates p ON p.table_id = v.table_id AND p.version = {} \
             JOIN dl_metadata_updates m ON m.table_id = v.table_id AND m.version = {} \
             WHERE v.table_id = ? AND v.version = ?",
            qualified("p", &PROTOCOL_COLUMNS),
            qualified("m", &METADATA_COLUMNS),
            newest("dl_protocol_updates"),
            newest("dl_metadata_updates"),
        );
        let mut rows = tx.query(&sql, vec![self.id(), int(version)]).await?;
        let missing = || {
            TxnLogError::corrupt(format!("{} has no protocol or metadata for version {version}", self.db().describe()))
        };
        head(&mut rows.pop().ok_or_else(missing)?)
    }

    /// How the files of a version are searched; with a predicate, according to its columns.
    pub(crate) async fn search(
        &self,
        version: Version,
        predicate: Option<&Predicate>,
    ) -> Result<(FileQuery, RetainedVersion)> {
        let mut tx = self.db().read().await?;
        let at = self.resolve(tx.as_mut(), At::Version(version)).await?;
        let (version, is_recent) = (at.version, at.is_recent());
        let mut search = FileQuery {
            table: self.id(),
            version: int(version),
            is_recent,
            uses_range_scans: self.db().uses_range_scans(),
            schema: None,
            slots: BoundsSlots::default(),
            plan: Plan::default(),
            spreads: Vec::new(),
        };
        let Some(predicate) = predicate else { return Ok((search, at)) };
        let sql = format!(
            "SELECT m.schema_json, m.partition_columns, {} FROM dl_metadata_updates m WHERE m.table_id = ? \
             AND m.version = (SELECT max(version) FROM dl_metadata_updates WHERE table_id = ? AND version <= ?)",
            BoundsSlots::subquery("m")
        );
        let mut row = tx.query(&sql, vec![self.id(), self.id(), int(version)]).await?.pop();
        let missing = || TxnLogError::corrupt(format!("{} has no metadata for {version}", self.db().describe()));
        let row = row.as_mut().ok_or_else(missing)?;
        let schema = Schema::parse(&row.string()?, &row.json::<Vec<String>>()?)?;
        search.slots = BoundsSlots::read(row.opt_text()?.as_deref())?;
        search.plan = Plan::new(predicate, &schema, &search.slots);
        if let Some(driving_index) = search.plan.driving_index.as_ref().filter(|_| search.uses_range_scans && is_recent)
        {
            let sql = driving_index.spreads();
            let rows = tx.query(&sql, vec![self.id(), self.id()]).await?;
            search.spreads = rows.into_iter().map(|mut row| row.int()).collect::<Result<_>>()?;
        }
        search.schema = Some(schema);
        Ok((search, at))
    }

    async fn body(&self, tx: &mut dyn DatabaseTransaction, version: Version) -> Result<Option<Bytes>> {
        let sql = "SELECT body FROM dl_commit_bodies WHERE table_id = ? AND version = ?";
        let mut rows = tx.query(sql, vec![self.id(), int(version)]).await?;
        rows.pop().map(|mut row| codec::decompress(&row.blob()?)).transpose()
    }
}

#[async_trait]
impl TxnLogReader for SqlTxnLogReader {
    async fn head(&self) -> Result<Head> {
        let mut heads = heads(self.db(), &[self.table]).await?;
        match heads.pop() {
            Some(head) => Ok(head),
            None => Err(no_table(self.db(), self.table).await),
        }
    }

    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        let mut tx = self.db().read().await?;
        let version = self.resolve(tx.as_mut(), at).await?.version;
        let head = self.head_at(tx.as_mut(), version).await?;
        let newest = |table: &str, key: &str, columns: &[&str]| {
            // The query goes from key to key and reads the newest row of each: the cost does not depend on how often a
            // key was set. SQLite keeps the join order of a CROSS JOIN; otherwise it would scan all rows of the table
            // first. The order by key and version, which only the primary key has, keeps PostgreSQL from scanning all
            // versions for a key.
            if self.db().uses_range_scans() {
                format!(
                    "WITH RECURSIVE keys (k) AS ( \
                 SELECT (SELECT {key} FROM {table} WHERE table_id = ? AND {key} >= ? ORDER BY {key} LIMIT 1) UNION ALL \
                 SELECT (SELECT {key} FROM {table} WHERE table_id = ? AND {key} > k ORDER BY {key} LIMIT 1) \
                 FROM keys WHERE k IS NOT NULL) \
                 SELECT {} FROM keys CROSS JOIN {table} x WHERE x.table_id = ? AND x.{key} = k AND x.version = \
                 (SELECT y.version FROM {table} y WHERE y.table_id = ? AND y.{key} >= k \
                 AND (y.{key}, y.version) <= (k, ?) ORDER BY y.{key} DESC, y.version DESC LIMIT 1)",
                    qualified("x", columns)
                )
            } else {
                format!(
                    "SELECT {} FROM {table} x JOIN (SELECT {key} AS k, max(version) AS v FROM {table} \
                 WHERE table_id = ? AND version <= ? GROUP BY {key}) y ON x.{key} = y.k AND x.version = y.v \
                 WHERE x.table_id = ?",
                    qualified("x", columns)
                )
            }
        };
        let params = || {
            if self.db().uses_range_scans() {
                vec![self.id(), Value::Blob(Vec::new()), self.id(), self.id(), self.id(), int(version)]
            } else {
                vec![self.id(), int(version), self.id()]
            }
        };
        let sql = newest("dl_txn_actions", "app_id", &codec::TXN_COLUMNS);
        let txns = tx.query(&sql, params()).await?.into_iter().map(|mut r| codec::read_txn(&mut r));
        let sql = newest("dl_domain_metadata", "domain", &codec::DOMAIN_COLUMNS);
        let domains = tx.query(&sql, params()).await?.into_iter().map(|mut r| codec::read_domain(&mut r));
        let domains = domains.collect::<Result<Vec<_>>>()?;
        Ok(Snapshot {
            head,
            txns: txns.map(|t| t.map(|t| (t.app_id.clone(), t))).collect::<Result<_>>()?,
            domains: domains.into_iter().filter(|d| !d.removed).map(|d| (d.domain.clone(), d)).collect(),
        })
    }

    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        let (search, at) = self.search(version, predicate).await?;
        let SqlFragment { text, params } = search.statement(&ADD_COLUMNS.join(", "));
        let rows = self.db().stream(text, params).await?;
        let adds = rows.map(|row| row.and_then(|mut row| codec::read_add(&mut row)));
        Ok(match (predicate.cloned(), search.schema) {
            (Some(predicate), Some(schema)) => {
                let may = move |add: &Add| futures::future::ready(predicate.may_match(&schema, add));
                self.while_retained(at, adds.try_filter(may))
            }
            _ => self.while_retained(at, adds),
        })
    }

    async fn files_in_replay_order(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        let (search, at) = self.search(version, predicate).await?;
        let SqlFragment { text, params } = search.statement(&format!("{}, version", ADD_COLUMNS.join(", ")));
        let mut rows = self.db().stream(text, params).await?;
        let mut files = Vec::new();
        while let Some(mut row) = rows.try_next().await? {
            let add = codec::read_add(&mut row)?;
            if predicate.zip(search.schema.as_ref()).is_none_or(|(predicate, schema)| predicate.may_match(schema, &add))
            {
                files.push((row.version()?, add));
            }
        }
        self.check_retained(at).await?;
        Ok(newest_first(files))
    }

    /// In pages, each a query of its own. The content of a version never changes, so all pages are of one state. The
    /// order is that of the keys, and an index finds the start of a page: among the live files, with the few that were
    /// removed since, or among all files for an old version.
    async fn files_by_key(&self, version: Version) -> Result<BoxStream<'static, Result<Add>>> {
        let (search, at) = self.search(version, None).await?;
        let columns = format!("file_key, {}", ADD_COLUMNS.join(", "));
        let first = Some(Value::Blob(Vec::new()));
        let page = move |after: Value, rows: usize| search.page(&columns, after, rows);
        let read = |row: &mut Row| {
            let key = row.blob()?;
            Ok((Value::Blob(key), Some(codec::read_add(row)?)))
        };
        Ok(self.while_retained(at, self.pages(first, page, read)))
    }

    /// In pages as well, newest first. If a file was removed several times, the newest remove counts. Versions that
    /// were committed before the time are not read: the deletion timestamp of a file is not later than the commit of
    /// its removal.
    async fn tombstones(&self, version: Version, deleted_after: i64) -> Result<BoxStream<'static, Result<Remove>>> {
        let mut tx = self.db().read().await?;
        let at = self.resolve(tx.as_mut(), At::Version(version)).await?;
        let mut first = tx.query(FIRST_AFTER, vec![self.id(), deleted_after.into()]).await?;
        drop(tx);
        // If everything was committed before, there are none.
        let first = first.pop().map(|mut row| row.version()).transpose()?.unwrap_or(Version::MAX);
        let (table, of, since) = (self.id(), int(version), Value::Int(deleted_after));
        let page = move |(before, key): (Value, Value), rows: usize| {
            let text = format!(
                "SELECT r.version, r.file_key, r.remove_json FROM dl_remove_files r \
                 WHERE r.table_id = ? AND r.version >= ? AND (r.version, r.file_key) < (?, ?) \
                 AND r.deletion_timestamp > ? AND NOT EXISTS (SELECT 1 FROM dl_remove_files n \
                 WHERE n.table_id = r.table_id AND n.file_key = r.file_key AND n.version > r.version AND n.version <= ?) \
                 AND NOT EXISTS (SELECT 1 FROM dl_add_files a WHERE a.table_id = r.table_id AND a.file_key = r.file_key \
                 AND a.removed_version IS NULL AND a.version >= r.version AND a.version <= ?) \
                 AND NOT EXISTS (SELECT 1 FROM dl_add_files e WHERE e.table_id = r.table_id AND e.file_key = r.file_key \
                 AND e.removed_version IS NOT NULL AND e.version >= r.version AND e.version <= ?) \
                 ORDER BY r.version DESC, r.file_key DESC LIMIT {rows}"
            );
            let version = || of.clone();
            SqlFragment::new(
                text,
                vec![table.clone(), int(first), before, key, since.clone(), version(), version(), version()],
            )
        };
        let read = |row: &mut Row| {
            let (at, key) = (row.int()?, row.blob()?);
            Ok(((at.into(), Value::Blob(key)), Some(Remove::from_json(&row.string()?)?)))
        };
        // The first page starts after the version's own rows.
        let pages = self.pages(Some((int(version + 1), Value::Blob(Vec::new()))), page, read);
        Ok(self.while_retained(at, pages))
    }

    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        let mut tx = self.db().read().await?;
        let newest = self.resolve(tx.as_mut(), At::Latest).await?.version;
        let mut sql = SqlFragment::new(
            "SELECT version, committed_at, committer, operation, operation_params, operation_metrics, engine_info, \
             read_version, isolation, group_id, files_added, files_removed, bytes_added, bytes_removed \
             FROM dl_table_versions WHERE table_id = ?",
            vec![self.id()],
        );
        // Times increase with the versions, so they are converted to versions, and a limit ends the search early. There
        // is one upper bound: with two, SQLite would start at the first and scan the versions above the other.
        match range.until {
            Some(until) => {
                sql.push(SqlFragment::new(format!(" AND version <= ({AT_OR_BEFORE})"), vec![self.id(), until.into()]))
            }
            None => sql.push(SqlFragment::new(" AND version <= ?", vec![int(newest)])),
        }
        if let Some(before) = range.since.and_then(|since| since.checked_sub(1)) {
            sql.push(SqlFragment::new(format!(" AND version >= ({FIRST_AFTER})"), vec![self.id(), before.into()]));
        }
        let limit = range.limit.and_then(|l| i64::try_from(l).ok()).unwrap_or(i64::MAX);
        sql.push(SqlFragment::new(" ORDER BY version DESC LIMIT ?", vec![limit.into()]));
        tx.query(&sql.text, sql.params).await?.into_iter().map(summary).collect()
    }

    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        let mut tx = self.db().read().await?;
        let version = self.resolve(tx.as_mut(), At::Version(version)).await?.version;
        self.body(tx.as_mut(), version).await
    }

    /// A few megabytes at a time, each a query of its own: the sizes first, so that a large commit is read by itself.
    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        let mut tx = self.db().read().await?;
        for version in [from, to] {
            self.resolve(tx.as_mut(), At::Version(version)).await?;
        }
        drop(tx);
        let reader = self.clone();
        let pages = futures::stream::try_unfold(from, move |from| {
            let reader = reader.clone();
            async move {
                if from > to {
                    return Ok(None);
                }
                let (last, commits) = reader.page_of_changes(from, to).await?;
                Ok::<_, TxnLogError>(Some((futures::stream::iter(commits), last.saturating_add(1))))
            }
        });
        let read = |row: Result<Row>| row.and_then(|mut r| Ok((r.version()?, codec::decompress(&r.blob()?)?)));
        Ok(pages.try_flatten().map(read).boxed())
    }

    fn summaries(&self) -> Option<&dyn LogSummaries> {
        Some(self)
    }
}

impl SqlTxnLogReader {
    async fn name(&self) -> Result<String> {
        let entry = find(self.db(), &TableRef::Id(self.table)).await?;
        match entry {
            Some(entry) => Ok(entry.name.to_string()),
            None => Err(no_table(self.db(), self.table).await),
        }
    }

    /// The next commits, and the last version that was examined; an error for a version without bytes.
    async fn page_of_changes(&self, from: Version, to: Version) -> Result<(Version, Vec<Result<Row>>)> {
        let sizes = format!(
            "SELECT version, body_bytes FROM dl_table_versions \
             WHERE table_id = ? AND version >= ? AND version <= ? ORDER BY version LIMIT {PAGE_ROWS}"
        );
        let (mut bytes, mut last, mut bare) = (0, None, None);
        for mut row in self.db().query(&sizes, vec![self.id(), int(from), int(to)]).await? {
            let (version, size) = (row.version()?, row.opt_int()?);
            if last.is_none() && version > from {
                break;
            }
            let Some(size) = size else {
                bare = Some(version);
                break;
            };
            bytes += usize::try_from(size).unwrap_or(usize::MAX);
            if last.is_some() && bytes > PAGE_BYTES {
                break;
            }
            last = Some(version);
        }
        let Some(last) = last else {
            return match bare {
                Some(version) => Err(commit::bytes_not_retained(&self.name().await?, version)),
                None => Err(self.missing_version(from).await),
            };
        };
        let sql = "SELECT version, body FROM dl_commit_bodies \
                   WHERE table_id = ? AND version >= ? AND version <= ? ORDER BY version";
        let rows = self.db().query(sql, vec![self.id(), int(from), int(last)]).await?;
        if rows.len() as u64 != last - from + 1 {
            return Err(self.missing_version(from).await);
        }
        Ok((last, rows.into_iter().map(Ok).collect()))
    }

    /// The rows of a query, in pages: `page` requests a number of rows after a position, and `read` converts a row to
    /// its position and an item. The number of rows of a page follows from its size in bytes and the size of earlier
    /// rows. The next page is requested when the position of the last row is known, so that the database finds it while
    /// the rows of this one are converted and consumed.
    fn pages<P: Send + 'static, T: Send + 'static>(
        &self,
        first: Option<P>,
        page: impl Fn(P, usize) -> SqlFragment + Send + Sync + 'static,
        read: impl Fn(&mut Row) -> Result<(P, Option<T>)> + Send + Sync + 'static,
    ) -> BoxStream<'static, Result<T>> {
        let reader = self.clone();
        let ask = move |after, rows| {
            let (reader, SqlFragment { text, params }) = (reader.clone(), page(after, rows));
            async move { reader.db().query(&text, params).await }
        };
        let begin = first.map(|first| (ask(first, FIRST_ROWS).boxed(), FIRST_ROWS));
        let asks = Arc::new((ask, read));
        let pages = futures::stream::try_unfold(begin, move |state| {
            let asks = asks.clone();
            async move {
                let Some((asked, rows)) = state else { return Ok(None) };
                let (mut found, (ask, read)): (Vec<Row>, _) = (asked.await?, asks.as_ref());
                let is_full = found.len() == rows;
                let bytes: usize = found.iter().map(Row::size).sum();
                let last = found.pop().map(|mut row| read(&mut row)).transpose()?;
                let (at, last) = last.unzip();
                let next = at.filter(|_| is_full).map(|at| {
                    let fit = PAGE_BYTES / (bytes / rows).max(1);
                    // Increased in steps only, because the next rows may be larger.
                    let rows = fit.clamp(1, (rows * 4).min(PAGE_ROWS));
                    let asked = tokio::spawn(ask(at, rows).in_current_span());
                    (async move { asked.await.unwrap_or_else(|e| Err(stopped(e))) }.boxed(), rows)
                });
                let items = found.into_iter().map(|mut row| Ok(read(&mut row)?.1));
                let items: Vec<Result<Option<T>>> = items.chain([Ok(last.flatten())]).collect();
                Ok::<_, TxnLogError>(Some((
                    futures::stream::iter(items.into_iter().filter_map(Result::transpose)),
                    next,
                )))
            }
        });
        pages.try_flatten().boxed()
    }
}

fn stopped(e: tokio::task::JoinError) -> TxnLogError {
    TxnLogError::new(ErrorKind::Internal, "the task that reads from the catalog has stopped").with_source(e)
}

fn summary(mut row: Row) -> Result<CommitSummary> {
    let json = |blob: Option<Vec<u8>>| {
        let utf8 =
            |b| String::from_utf8(b).map_err(|e| TxnLogError::corrupt("stored text is not UTF-8").with_source(e));
        blob.map(utf8).transpose()
    };
    let count =
        |n: i64| u64::try_from(n).map_err(|_| TxnLogError::new(ErrorKind::Corrupt, "a stored count is negative"));
    Ok(CommitSummary {
        version: row.version()?,
        timestamp: row.int()?,
        committer: row.opt_text()?,
        operation: row.opt_text()?,
        operation_parameters: json(row.opt_blob()?)?,
        operation_metrics: json(row.opt_blob()?)?,
        engine_info: row.opt_text()?,
        read_version: row.opt_int()?,
        isolation: row.opt_text()?,
        group_id: row.opt_text()?,
        files_added: count(row.int()?)?,
        files_removed: count(row.int()?)?,
        bytes_added: row.int()?,
        bytes_removed: row.int()?,
    })
}
