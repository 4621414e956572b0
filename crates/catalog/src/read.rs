//! Reading: every answer from one committed state, and the head with one statement.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::action::{Add, Remove};
use deltalakedb_log::catalog::{Counts, Explanation, Growth, HistoryRange, MirrorState};
use deltalakedb_log::commit::{self, Committed};
use deltalakedb_log::predicate::Literal;
use deltalakedb_log::schema::Schema;
use deltalakedb_log::snapshot::{CommitSummary, newest_first};
use deltalakedb_log::{
    At, CommitId, ErrorKind, FileKey, Head, Location, Predicate, Result, SetHash, Snapshot, Subject, TableEntry,
    TableId, TableName, TableRef, TxnLogError, TxnLogReader, Version,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::SqlTxnLogReader;
use crate::bounds::Slots;
use crate::codec::{self, ADD_COLUMNS, METADATA_COLUMNS, PROTOCOL_COLUMNS, int};
use crate::commit::file_key;
use crate::database::{Database, Row, Session, Value, placeholders};
use crate::plan::{Plan, Sql};
use crate::search::Search;

/// Rows of a page: what is held of a table at a time when it is gone through without a transaction.
const PAGE: usize = 10_000;

/// `alias.a, alias.b`
pub(crate) fn qualified(alias: &str, columns: &[&str]) -> String {
    columns.iter().map(|c| format!("{alias}.{c}")).collect::<Vec<_>>().join(", ")
}

/// Tables that are there for everyone, with a condition that begins with `AND`.
pub(crate) async fn tables(db: &dyn Database, and: &str, params: Vec<Value>) -> Result<Vec<TableEntry>> {
    let sql = format!(
        "SELECT table_id, namespace, name, location, base_version, current_version, current_ts, published_version, \
         mirror_state, mirror_version, mirror_what FROM dl_tables WHERE state = 'live' {and} ORDER BY namespace, name"
    );
    db.query(&sql, params).await?.into_iter().map(entry).collect()
}

fn entry(mut row: Row) -> Result<TableEntry> {
    Ok(TableEntry {
        id: TableId(row.uuid()?),
        name: TableName { namespace: row.text()?, name: row.text()? },
        location: Location::stored(&row.text()?)?,
        base_version: row.version()?,
        current_version: row.version()?,
        current_timestamp: row.int()?,
        published_version: row.opt_version()?,
        mirror: mirror_state(&mut row)?,
    })
}

/// From the columns `mirror_state, mirror_version, mirror_what`.
pub(crate) fn mirror_state(row: &mut Row) -> Result<MirrorState> {
    let (state, version, what) = (row.text()?, row.opt_version()?, row.opt_text()?);
    Ok(match (state.as_str(), version) {
        ("diverged", Some(version)) => MirrorState::Diverged { version, what: what.unwrap_or_default() },
        _ => MirrorState::Following,
    })
}

pub(crate) async fn find(db: &dyn Database, table: &TableRef) -> Result<Option<TableEntry>> {
    let (condition, key) = match table {
        TableRef::Id(id) => ("AND table_id = ?", id.0.into()),
        TableRef::Name(name) => ("AND name_key = ?", Value::from(name.to_string())),
        TableRef::Location(location) => ("AND location_key = ?", Value::from(location.url().as_str())),
    };
    Ok(tables(db, condition, vec![key]).await?.pop())
}

/// The heads of tables, all from one statement, in the order asked.
pub(crate) async fn heads(db: &dyn Database, tables: &[TableId]) -> Result<Vec<Head>> {
    let sql = format!(
        "SELECT t.table_id, t.current_version, t.current_ts, {}, {} FROM dl_tables t \
         JOIN dl_protocol_updates p ON p.table_id = t.table_id AND p.version = t.protocol_version \
         JOIN dl_metadata_updates m ON m.table_id = t.table_id AND m.version = t.metadata_version \
         WHERE t.state = 'live' AND t.table_id IN ({})",
        qualified("p", &PROTOCOL_COLUMNS),
        qualified("m", &METADATA_COLUMNS),
        placeholders(tables.len())
    );
    let rows = db.query(&sql, tables.iter().map(|t| t.0.into()).collect()).await?;
    let mut heads = HashMap::new();
    for mut row in rows {
        heads.insert(TableId(row.uuid()?), head(&mut row)?);
    }
    tables.iter().map(|id| heads.get(id).cloned().ok_or_else(|| no_table(db, *id))).collect()
}

/// From version, time, protocol and metadata columns.
fn head(row: &mut Row) -> Result<Head> {
    Ok(Head {
        version: row.version()?,
        timestamp: row.int()?,
        protocol: codec::read_protocol(row)?,
        metadata: codec::read_metadata(row)?,
    })
}

pub(crate) fn no_table(db: &dyn Database, id: TableId) -> TxnLogError {
    TxnLogError::not_found(format!("there is no table with the id {id} in {}", db.describe()))
}

pub(crate) async fn find_commit(db: &dyn Database, table: TableId, id: CommitId) -> Result<Option<Committed>> {
    let sql = "SELECT c.version, v.committed_at FROM dl_commit_ids c \
               JOIN dl_table_versions v ON v.table_id = c.table_id AND v.version = c.version \
               WHERE c.table_id = ? AND c.commit_id = ?";
    let mut rows = db.query(sql, vec![table.0.into(), id.0.as_slice().into()]).await?;
    let read = |mut r: Row| Ok(Committed { table, version: r.version()?, timestamp: r.int()? });
    rows.pop().map(read).transpose()
}

impl SqlTxnLogReader {
    fn db(&self) -> &dyn Database {
        self.catalog.db.as_ref()
    }

    fn id(&self) -> Value {
        self.table.0.into()
    }

    /// The version meant, and whether it is the newest.
    async fn resolve(&self, session: &mut dyn Session, at: At) -> Result<(Version, bool)> {
        let sql = "SELECT t.namespace, t.name, t.base_version, v.committed_at, t.current_version, t.current_ts \
                   FROM dl_tables t JOIN dl_table_versions v ON v.table_id = t.table_id AND v.version = t.base_version \
                   WHERE t.state = 'live' AND t.table_id = ?";
        let mut row =
            session.query(sql, vec![self.id()]).await?.pop().ok_or_else(|| no_table(self.db(), self.table))?;
        let name = TableName { namespace: row.text()?, name: row.text()? }.to_string();
        let base = (row.version()?, row.int()?);
        let newest = (row.version()?, row.int()?);
        let at_or_before = match at {
            At::Timestamp(ms) if base.1 <= ms => {
                let sql = "SELECT max(version) FROM dl_table_versions WHERE table_id = ? AND committed_at <= ?";
                let mut rows = session.query(sql, vec![self.id(), ms.into()]).await?;
                rows.pop().map(|mut r| r.opt_version()).transpose()?.flatten()
            }
            _ => None,
        };
        let version = commit::resolve(&name, at, Some(base), Some(newest), |_| at_or_before)?;
        Ok((version, version == newest.0))
    }

    async fn head_at(&self, session: &mut dyn Session, version: Version) -> Result<Head> {
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
        let mut rows = session.query(&sql, vec![self.id(), int(version)]).await?;
        let missing = || {
            TxnLogError::corrupt(format!("{} has no protocol or metadata for version {version}", self.db().describe()))
        };
        head(&mut rows.pop().ok_or_else(missing)?)
    }

    /// How the files of a version are searched; with a predicate, as its columns allow.
    async fn search(&self, version: Version, predicate: Option<&Predicate>) -> Result<Search> {
        let mut session = self.db().read().await?;
        let (version, is_newest) = self.resolve(session.as_mut(), At::Version(version)).await?;
        let mut search = Search {
            table: self.id(),
            version: int(version),
            is_newest,
            seeks: self.db().seeks(),
            schema: None,
            slots: Slots::default(),
            plan: Plan::default(),
            classes: Vec::new(),
        };
        let Some(predicate) = predicate else { return Ok(search) };
        let sql = format!(
            "SELECT m.schema_json, m.partition_columns, {} FROM dl_metadata_updates m WHERE m.table_id = ? \
             AND m.version = (SELECT max(version) FROM dl_metadata_updates WHERE table_id = ? AND version <= ?)",
            Slots::subquery("m")
        );
        let mut row = session.query(&sql, vec![self.id(), self.id(), int(version)]).await?.pop();
        let missing = || TxnLogError::corrupt(format!("{} has no metadata for {version}", self.db().describe()));
        let row = row.as_mut().ok_or_else(missing)?;
        let schema = Schema::parse(&row.string()?, &row.json::<Vec<String>>()?)?;
        search.slots = Slots::read(row.opt_text()?.as_deref())?;
        search.plan = Plan::new(predicate, &schema, &search.slots);
        if let Some(lead) = search.plan.lead.as_ref().filter(|_| search.seeks && is_newest) {
            let sql = lead.classes();
            let rows = session.query(&sql, vec![self.id(), self.id()]).await?;
            search.classes = rows.into_iter().map(|mut row| row.int()).collect::<Result<_>>()?;
        }
        search.schema = Some(schema);
        Ok(search)
    }

    async fn body(&self, session: &mut dyn Session, version: Version) -> Result<Option<Bytes>> {
        let sql = "SELECT body FROM dl_table_versions WHERE table_id = ? AND version = ?";
        let mut rows = session.query(sql, vec![self.id(), int(version)]).await?;
        let stored = rows.pop().map(|mut r| r.opt_blob()).transpose()?.flatten();
        stored.map(|b| codec::decompress(&b)).transpose()
    }
}

#[async_trait]
impl TxnLogReader for SqlTxnLogReader {
    async fn head(&self) -> Result<Head> {
        let mut heads = heads(self.db(), &[self.table]).await?;
        heads.pop().ok_or_else(|| no_table(self.db(), self.table))
    }

    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        let mut session = self.db().read().await?;
        let (version, _) = self.resolve(session.as_mut(), at).await?;
        let head = self.head_at(session.as_mut(), version).await?;
        let newest = |table: &str, key: &str, columns: &[&str]| match self.db().seeks() {
            // From key to key, and for each its newest row: the cost does not know how often a key was set.
            true => format!(
                "WITH RECURSIVE keys (k) AS ( \
                 SELECT (SELECT {key} FROM {table} WHERE table_id = ? ORDER BY {key} LIMIT 1) UNION ALL \
                 SELECT (SELECT {key} FROM {table} WHERE table_id = ? AND {key} > k ORDER BY {key} LIMIT 1) \
                 FROM keys WHERE k IS NOT NULL) \
                 SELECT {} FROM keys JOIN {table} x ON x.table_id = ? AND x.{key} = k AND x.version = \
                 (SELECT max(y.version) FROM {table} y WHERE y.table_id = ? AND y.{key} = k AND y.version <= ?)",
                qualified("x", columns)
            ),
            false => format!(
                "SELECT {} FROM {table} x JOIN (SELECT {key} AS k, max(version) AS v FROM {table} \
                 WHERE table_id = ? AND version <= ? GROUP BY {key}) y ON x.{key} = y.k AND x.version = y.v \
                 WHERE x.table_id = ?",
                qualified("x", columns)
            ),
        };
        let params = || match self.db().seeks() {
            true => vec![self.id(), self.id(), self.id(), self.id(), int(version)],
            false => vec![self.id(), int(version), self.id()],
        };
        let sql = newest("dl_txn_actions", "app_id", &codec::TXN_COLUMNS);
        let txns = session.query(&sql, params()).await?.into_iter().map(|mut r| codec::read_txn(&mut r));
        let sql = newest("dl_domain_metadata", "domain", &codec::DOMAIN_COLUMNS);
        let domains = session.query(&sql, params()).await?.into_iter().map(|mut r| codec::read_domain(&mut r));
        let domains = domains.collect::<Result<Vec<_>>>()?;
        Ok(Snapshot {
            head,
            txns: txns.map(|t| t.map(|t| (t.app_id.clone(), t))).collect::<Result<_>>()?,
            domains: domains.into_iter().filter(|d| !d.removed).map(|d| (d.domain.clone(), d)).collect(),
        })
    }

    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        let search = self.search(version, predicate).await?;
        let Sql { text, params } = search.statement(&ADD_COLUMNS.join(", "));
        let rows = self.db().stream(text, params).await?;
        let adds = rows.map(|row| row.and_then(|mut row| codec::read_add(&mut row)));
        Ok(match (predicate.cloned(), search.schema) {
            (Some(predicate), Some(schema)) => {
                adds.try_filter(move |add| futures::future::ready(predicate.may_match(&schema, add))).boxed()
            }
            _ => adds.boxed(),
        })
    }

    async fn files_by_age(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        let search = self.search(version, predicate).await?;
        let Sql { text, params } = search.statement(&format!("{}, version", ADD_COLUMNS.join(", ")));
        let mut rows = self.db().stream(text, params).await?;
        let mut files = Vec::new();
        while let Some(mut row) = rows.try_next().await? {
            let add = codec::read_add(&mut row)?;
            if predicate.zip(search.schema.as_ref()).is_none_or(|(predicate, schema)| predicate.may_match(schema, &add))
            {
                files.push((row.version()?, add));
            }
        }
        Ok(newest_first(files))
    }

    async fn explain(&self, version: Version, predicate: &Predicate) -> Result<Explanation> {
        let search = self.search(version, Some(predicate)).await?;
        let count = async |sql: Sql| {
            let mut rows = self.db().query(&sql.text, sql.params).await?;
            let n = rows.pop().map(|mut row| row.int()).transpose()?.unwrap_or(0);
            u64::try_from(n).map_err(|_| TxnLogError::corrupt("a count is negative"))
        };
        Ok(Explanation {
            statement: Some(search.statement("path").to_string()),
            looked_at: count(search.count(false)).await?,
            found: count(search.count(true)).await?,
            kept: self.files(version, Some(predicate)).await?.try_fold(0, |n, _| async move { Ok(n + 1) }).await?,
        })
    }

    async fn counts(&self, version: Version) -> Result<Counts> {
        let mut live = self.search(version, None).await?.live();
        live.text = format!(
            "SELECT count(*), CAST(coalesce(sum(size_bytes), 0) AS bigint), \
             CAST(coalesce(sum(num_records - coalesce(deleted_records, 0)), 0) AS bigint), \
             coalesce(sum(CASE WHEN num_records IS NULL OR (deletion_vector IS NOT NULL AND deleted_records IS NULL) \
             THEN 1 ELSE 0 END), 0) FROM dl_add_files WHERE {}",
            live.text
        );
        let mut row = self.db().query(&live.text, live.params).await?.pop();
        let mut next = || row.as_mut().map(|r| r.int()).transpose().map(|n| n.unwrap_or(0));
        let (files, bytes, rows, silent) = (next()?, next()?, next()?, next()?);
        let files = u64::try_from(files).map_err(|_| TxnLogError::corrupt("a count is negative"))?;
        Ok(Counts { files, bytes, rows: (silent == 0).then_some(rows) })
    }

    async fn min_max(&self, version: Version, column: &str) -> Result<Option<(Literal, Literal)>> {
        let search = self.search(version, Some(&Predicate::Unknown)).await?;
        let Some((n, kind, exact)) = search.exact(column) else { return Ok(None) };
        let live = search.live();
        let best = |side: &str, order: &str| {
            format!(
                "(SELECT {side}_{n} FROM dl_add_files WHERE {} AND {side}_{n} IS NOT NULL \
                 ORDER BY {side}_{n} {order} LIMIT 1)",
                live.text
            )
        };
        let sql = format!(
            "SELECT {}, {}, (SELECT count(*) FROM dl_add_files WHERE {} AND NOT ({exact}))",
            best("min", "ASC"),
            best("max", "DESC"),
            live.text
        );
        let mut row = self.db().query(&sql, [&live.params[..]; 3].concat()).await?.pop();
        let row = row.as_mut().ok_or_else(|| no_table(self.db(), self.table))?;
        let (min, max, inexact) = (row.opt_blob()?, row.opt_blob()?, row.int()?);
        let decoded = min.zip(max).and_then(|(min, max)| kind.decode(&min).zip(kind.decode(&max)));
        Ok(decoded.filter(|_| inexact == 0))
    }

    /// Page by page, each a query of its own. What a version says never changes, so they are of one state. The order is
    /// that of the primary key, which leads to where a page begins.
    async fn files_in_order(&self, version: Version) -> Result<BoxStream<'static, Result<Add>>> {
        self.search(version, None).await?;
        let sql = format!(
            "SELECT file_key, {} FROM dl_add_files WHERE table_id = ? AND file_key > ? AND +version <= ? \
             AND (+removed_version IS NULL OR +removed_version > ?) ORDER BY file_key LIMIT {PAGE}",
            ADD_COLUMNS.join(", ")
        );
        let (reader, version) = (self.clone(), int(version));
        let pages = futures::stream::try_unfold(Some(Value::Blob(Vec::new())), move |after| {
            let (reader, version, sql) = (reader.clone(), version.clone(), sql.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let rows = reader.db().query(&sql, vec![reader.id(), after, version.clone(), version]).await?;
                let (mut last, mut page) = (None, Vec::with_capacity(rows.len()));
                let full = rows.len() == PAGE;
                for mut row in rows {
                    last = Some(Value::Blob(row.blob()?));
                    page.push(Ok(codec::read_add(&mut row)?));
                }
                Ok::<_, TxnLogError>(Some((futures::stream::iter(page), last.filter(|_| full))))
            }
        });
        Ok(pages.try_flatten().boxed())
    }

    /// Page by page as well, newest first, so that of each file the newest remove comes first. Versions that were
    /// committed before the time are not looked at: a file is not deleted later than that is committed.
    async fn tombstones(&self, version: Version, deleted_after: i64) -> Result<BoxStream<'static, Result<Remove>>> {
        self.search(version, None).await?;
        let sql = format!(
            "SELECT r.version, r.file_key, r.remove_json FROM dl_remove_files r \
             WHERE r.table_id = ? AND r.version <= ? AND (r.version < ? OR r.file_key < ?) AND r.deletion_timestamp > ? \
             AND r.version >= (SELECT min(v.version) FROM dl_table_versions v WHERE v.table_id = ? AND v.committed_at > ?) \
             AND NOT EXISTS (SELECT 1 FROM dl_add_files a WHERE a.table_id = r.table_id AND a.file_key = r.file_key \
             AND a.version >= r.version AND a.version <= ?) ORDER BY r.version DESC, r.file_key DESC LIMIT {PAGE}"
        );
        let (reader, of) = (self.clone(), int(version));
        // One past the version, so that the first page has no bound but that.
        let begin = (int(version), int(version + 1), Value::Blob(Vec::new()), HashSet::new());
        let pages = futures::stream::try_unfold(Some(begin), move |state| {
            let (reader, of, sql) = (reader.clone(), of.clone(), sql.clone());
            async move {
                let Some((at, below, key, mut seen)) = state else { return Ok(None) };
                let since = Value::Int(deleted_after);
                let params = vec![reader.id(), at, below, key, since.clone(), reader.id(), since, of];
                let rows = reader.db().query(&sql, params).await?;
                let (mut last, mut page) = (None, Vec::with_capacity(rows.len()));
                let full = rows.len() == PAGE;
                for mut row in rows {
                    let at = row.version()?;
                    let key = file_key(&mut row)?;
                    let remove = row.string()?;
                    last = Some((int(at), int(at), Value::Blob(key.0.to_vec())));
                    if seen.insert(key) {
                        page.push(Ok(Remove::from_json(&remove)?));
                    }
                }
                let next: Option<(_, _, _, HashSet<FileKey>)> =
                    last.filter(|_| full).map(|(at, below, key)| (at, below, key, seen));
                Ok::<_, TxnLogError>(Some((futures::stream::iter(page), next)))
            }
        });
        Ok(pages.try_flatten().boxed())
    }

    async fn growth(&self, from: Version, to: Version) -> Result<Growth> {
        let sum = |sign: &str, column: &str| {
            format!(
                "SELECT {sign}count(*) AS files, {sign}CAST(coalesce(sum(size_bytes), 0) AS bigint) AS bytes \
                 FROM dl_add_files WHERE table_id = ? AND {column} > ? AND {column} <= ?"
            )
        };
        // The files that came between, less those that went between: one that did both counts for nothing.
        let sql = format!("{} UNION ALL {}", sum("", "version"), sum("-", "removed_version"));
        let params = [self.id(), int(from), int(to)];
        let rows = self.db().query(&sql, [params.clone(), params].concat()).await?;
        rows.into_iter().try_fold(Growth::default(), |sum, mut row| {
            let (files, bytes) = (row.int()?, row.int()?);
            Ok(Growth { files: sum.files.saturating_add(files), bytes: sum.bytes.saturating_add(bytes) })
        })
    }

    async fn set_hash(&self, version: Version) -> Result<SetHash> {
        let sql = "SELECT set_hash FROM dl_table_versions WHERE table_id = ? AND version = ?";
        let mut row = self.db().query(sql, vec![self.id(), int(version)]).await?.pop();
        let stored = row.as_mut().map(|row| row.blob()).transpose()?;
        let missing = || {
            let message = format!("{} holds no version {version}", self.db().describe());
            TxnLogError::not_found(message).about(Subject::Version)
        };
        SetHash::from_bytes(&stored.ok_or_else(missing)?)
            .ok_or_else(|| TxnLogError::corrupt(format!("the set hash of version {version} is not 32 bytes")))
    }

    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        let mut session = self.db().read().await?;
        self.resolve(session.as_mut(), At::Latest).await?;
        let sql = "SELECT version, committed_at, committer, operation, operation_params, operation_metrics, engine_info, \
                   read_version, isolation, group_id, files_added, files_removed, bytes_added, bytes_removed \
                   FROM dl_table_versions WHERE table_id = ? AND committed_at >= ? AND committed_at <= ? \
                   ORDER BY version DESC LIMIT ?";
        let limit = range.limit.and_then(|l| i64::try_from(l).ok()).unwrap_or(i64::MAX);
        let params = vec![
            self.id(),
            range.since.unwrap_or(i64::MIN).into(),
            range.until.unwrap_or(i64::MAX).into(),
            limit.into(),
        ];
        session.query(sql, params).await?.into_iter().map(summary).collect()
    }

    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        let mut session = self.db().read().await?;
        let (version, _) = self.resolve(session.as_mut(), At::Version(version)).await?;
        self.body(session.as_mut(), version).await
    }

    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        let mut session = self.db().read().await?;
        for version in [from, to] {
            self.resolve(session.as_mut(), At::Version(version)).await?;
        }
        drop(session);
        let sql = "SELECT version, body FROM dl_table_versions \
                   WHERE table_id = ? AND version >= ? AND version <= ? AND body IS NOT NULL ORDER BY version";
        let rows = self.db().stream(sql.to_string(), vec![self.id(), int(from), int(to)]).await?;
        let read = |row: Result<Row>| row.and_then(|mut r| Ok((r.version()?, codec::decompress(&r.blob()?)?)));
        Ok(rows.map(read).boxed())
    }
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
