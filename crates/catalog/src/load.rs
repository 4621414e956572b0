//! Loading history that is valid already: batch by batch, each batch one transaction.
//!
//! A batch is read in full before its transaction begins, so no transaction waits for an object store. Within a batch
//! the life of files is followed in memory; one look at the stored live files is enough for all of its commits.

use std::collections::{BTreeMap, HashMap};

use deltalakedb_log::catalog::{CommitTime, HistoryItem, HistoryLoad, UnfinishedLoad};
use deltalakedb_log::commit::{self, NewTable};
use deltalakedb_log::snapshot::{Changes, CommitSummary};
use deltalakedb_log::{
    Commit, ErrorKind, FileKey, Location, Result, SetHash, TableEntry, TableId, TableName, TableRef, TxnLogError,
    Version,
};
use futures::StreamExt;

use crate::SqlCatalog;
use crate::codec::{self, ADD_COLUMNS, int};
use crate::commit::{
    AUDIT, Ended, StoredBody, VERSION_COLUMNS, audit, check_free, live_keys, register, store_changes, version_values,
};
use crate::database::{CommitFailure, Database, Session, Value};
use crate::read;

/// A batch is full at so many file actions, or at so many versions.
const BATCH_FILES: usize = 50_000;
const BATCH_VERSIONS: usize = 2_000;
/// Versions parsed ahead.
const AHEAD: usize = 64;

pub(crate) async fn load_history(catalog: &SqlCatalog, load: HistoryLoad<'_>) -> Result<TableEntry> {
    // Parsing and encoding is most of the work: other threads do it ahead, while a batch is stored.
    let mut versions = load
        .items
        .map(|item| async {
            let item = item?;
            let loaded = tokio::task::spawn_blocking(move || LoadedVersion::of(item)).await;
            loaded.map_err(|e| TxnLogError::new(ErrorKind::Internal, "a thread stopped").with_source(e))?
        })
        .buffered(AHEAD);
    let mut table = load.table;
    let mut end = None;
    while end.is_none() {
        let mut batch = Batch::default();
        while !batch.is_full() && end.is_none() {
            match versions.next().await {
                Some(Ok(version)) => batch.push(version),
                Some(Err(e)) => end = Some(Err(e)),
                None => end = Some(Ok(())),
            }
        }
        // What came before an error is valid: keep it, so that the next load goes on from there.
        let newest = batch.versions.last().map(|v| v.summary.version);
        let finish = matches!(end, Some(Ok(()))).then_some(Finish { published: load.published_version });
        table = store_batch(catalog, table, &load.new, batch, finish).await?;
        if let Some(version) = newest {
            (load.progress)(version);
        }
    }
    end.transpose()?;
    let missing = || TxnLogError::invalid(format!("there is no history to load for {}", load.new.name));
    read::find(catalog.db.as_ref(), &TableRef::Id(table)).await?.ok_or_else(missing)
}

pub(crate) async fn unfinished(db: &dyn Database, location: &Location) -> Result<Option<UnfinishedLoad>> {
    let sql = "SELECT table_id, namespace, name, base_version, current_version FROM dl_tables \
               WHERE location_key = ? AND state = 'loading'";
    let Some(mut row) = db.query(sql, vec![location.url().as_str().into()]).await?.pop() else { return Ok(None) };
    Ok(Some(UnfinishedLoad {
        table: TableId(row.uuid()?),
        name: TableName { namespace: row.text()?, name: row.text()? },
        base_version: row.opt_version()?,
        current_version: row.opt_version()?,
    }))
}

/// What comes with the last batch.
struct Finish {
    published: Option<Version>,
}

#[derive(Default)]
struct Batch {
    versions: Vec<LoadedVersion>,
    file_actions: usize,
}

/// A version as it will be stored.
struct LoadedVersion {
    summary: CommitSummary,
    time: CommitTime,
    body: Option<StoredBody>,
    changes: Changes,
    /// The rows of `changes.adds`, in their order.
    rows: Vec<Vec<Value>>,
}

impl LoadedVersion {
    fn of(item: HistoryItem) -> Result<Self> {
        let (summary, time, body, changes) = match item {
            HistoryItem::Commit(c) => {
                let commit = Commit::parse(c.body.clone(), &c.origin)?;
                let info = commit.info().cloned();
                let changes = Changes::from_actions(commit.into_actions());
                (CommitSummary::of(c.version, c.time.ms, info.as_ref(), &changes), c.time, Some(c.body), changes)
            }
            HistoryItem::Base(base) => {
                let origin = format!("version {} of the log", base.version);
                let commit = Commit::parse(base.body.clone().unwrap_or_default(), &origin)?;
                let mut changes = Changes {
                    protocol: Some(base.protocol),
                    metadata: Some(base.metadata),
                    adds: base.files.into_iter().map(|a| (a.key(), a)).collect(),
                    removes: base.removes.into_iter().map(|r| (r.key(), r)).collect(),
                    txns: base.txns,
                    domains: base.domains,
                    cdcs: Changes::of(commit.actions()).cdcs,
                };
                changes.adds.sort_by_key(|(key, _)| *key);
                (CommitSummary::of_commit(base.version, base.time.ms, &commit), base.time, base.body, changes)
            }
        };
        Ok(Self {
            summary,
            time,
            body: body.as_deref().map(StoredBody::of).transpose()?,
            rows: changes.adds.iter().map(|(_, add)| codec::add_values(add)).collect::<Result<_>>()?,
            changes,
        })
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        self.file_actions >= BATCH_FILES || self.versions.len() >= BATCH_VERSIONS
    }

    fn push(&mut self, version: LoadedVersion) {
        self.file_actions += version.changes.adds.len() + version.changes.removes.len();
        self.versions.push(version);
    }

    fn touched(&self) -> Vec<FileKey> {
        let keys = |v: &LoadedVersion| {
            let adds = v.changes.adds.iter().map(|(k, _)| *k);
            adds.chain(v.changes.removes.iter().map(|(k, _)| *k)).collect::<Vec<_>>()
        };
        let mut keys: Vec<_> = self.versions.iter().flat_map(keys).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// Stores a batch behind what is there, and gives the table's id: an unfinished load keeps the one it has.
async fn store_batch(
    catalog: &SqlCatalog,
    table: TableId,
    new: &NewTable,
    batch: Batch,
    finish: Option<Finish>,
) -> Result<TableId> {
    let mut session = catalog.write().await?;
    let session_ref = session.as_mut();
    let stored = Stored::find(session_ref, table, new).await?;
    if stored.is_none() && batch.versions.is_empty() {
        return Ok(table);
    }
    let (table, mut head, mut hash) = match stored {
        Some(s) => (s.table, s.head, s.set_hash),
        None => {
            check_free(session_ref, new, None).await?;
            register(session_ref, table, new, "loading", catalog.clock.now_ms()).await?;
            (table, None, SetHash::default())
        }
    };
    let mut files = Files::new(live_keys(session_ref, table, &batch.touched()).await?.into_iter());
    let mut rows = Vec::with_capacity(batch.versions.len());
    let (mut protocol, mut metadata) = (None, None);
    let base = batch.versions.first().map(|v| v.summary.version);
    for mut loaded in batch.versions {
        let version = loaded.summary.version;
        commit::check_next(&new.name, head, version)?;
        head = Some(version);
        loaded.changes.advance(&mut hash, |key| files.is_live(key));
        files.follow(version, &mut loaded.changes, loaded.rows);
        protocol = loaded.changes.protocol.as_ref().map(|_| version).or(protocol);
        metadata = loaded.changes.metadata.as_ref().map(|_| version).or(metadata);
        let nothing = Ended { keys: &[], version };
        store_changes(session_ref, table, version, &loaded.changes, nothing).await?;
        rows.push((loaded.summary, loaded.time, loaded.body, hash));
    }
    files.store(session_ref, table).await?;
    let newest = rows.last().map(|(summary, time, ..)| (summary.version, time.ms));
    let values = rows.into_iter().map(|(s, time, body, hash)| version_values(table, &s, time, body, hash)).collect();
    session_ref.insert("dl_table_versions", &VERSION_COLUMNS, values).await?;
    let opt = |v: Option<Version>| v.map_or(Value::Null, int);
    let mut sql = String::from(
        "UPDATE dl_tables SET base_version = coalesce(base_version, ?), current_version = coalesce(?, current_version), \
         current_ts = coalesce(?, current_ts), protocol_version = coalesce(?, protocol_version), \
         metadata_version = coalesce(?, metadata_version) WHERE table_id = ?; ",
    );
    let mut params = vec![
        opt(base),
        opt(newest.map(|(v, _)| v)),
        newest.map(|(_, ms)| ms).into(),
        opt(protocol),
        opt(metadata),
        table.0.into(),
    ];
    if let Some(finish) = finish {
        sql.push_str(
            "UPDATE dl_tables SET state = 'live', published_version = ?, mirror_state = 'following', \
             mirror_version = NULL, mirror_what = NULL WHERE table_id = ?; ",
        );
        params.extend([opt(finish.published), table.0.into()]);
        sql.push_str(AUDIT);
        params.extend(audit(catalog, catalog.clock.now_ms(), None, "IMPORT", table, head));
    }
    session_ref.execute(&sql, params).await?;
    check_complete(session_ref, table, new).await?;
    session.commit().await.map_err(CommitFailure::into_error)?;
    Ok(table)
}

/// A log without protocol or metadata is no table.
async fn check_complete(session: &mut dyn Session, table: TableId, new: &NewTable) -> Result<()> {
    let sql = "SELECT protocol_version, metadata_version FROM dl_tables WHERE table_id = ?";
    let mut row = session.query(sql, vec![table.0.into()]).await?.pop();
    let mut has = || row.as_mut().map(|r| r.opt_int()).transpose().map(|v| v.flatten().is_some());
    for what in ["protocol", "metadata"] {
        if !has()? {
            return Err(TxnLogError::corrupt(format!(
                "the log at {} begins without {what}: it is incomplete, restore its missing commits",
                new.location
            )));
        }
    }
    Ok(())
}

/// A table that is there already: half loaded, or live and about to get more history.
struct Stored {
    table: TableId,
    head: Option<Version>,
    set_hash: SetHash,
}

impl Stored {
    async fn find(session: &mut dyn Session, table: TableId, new: &NewTable) -> Result<Option<Self>> {
        let sql = "SELECT t.table_id, t.current_version, v.set_hash FROM dl_tables t \
                   LEFT JOIN dl_table_versions v ON v.table_id = t.table_id AND v.version = t.current_version \
                   WHERE t.location_key = ? AND (t.state = 'loading' OR t.table_id = ?)";
        let params = vec![new.location.url().as_str().into(), table.0.into()];
        let Some(mut row) = session.query(sql, params).await?.pop() else { return Ok(None) };
        let (table, head, hash) = (TableId(row.uuid()?), row.opt_version()?, row.opt_blob()?);
        let set_hash = match hash {
            Some(hash) => SetHash::from_bytes(&hash)
                .ok_or_else(|| TxnLogError::corrupt(format!("the set hash of {} is not 32 bytes", new.name)))?,
            None => SetHash::default(),
        };
        Ok(Some(Self { table, head, set_hash }))
    }
}

/// The files of a batch: which are live as it goes on, and what must be written at its end.
struct Files {
    live: HashMap<FileKey, Life>,
    rows: Vec<(FileKey, Version, Option<Version>, Vec<Value>)>,
    ended: BTreeMap<Version, Vec<FileKey>>,
}

#[derive(Clone, Copy)]
enum Life {
    /// Live in the database.
    Stored,
    /// Live in `rows`.
    InBatch(usize),
}

impl Files {
    fn new(live: impl Iterator<Item = FileKey>) -> Self {
        Self { live: live.map(|k| (k, Life::Stored)).collect(), rows: Vec::new(), ended: BTreeMap::new() }
    }

    fn is_live(&self, key: &FileKey) -> bool {
        self.live.contains_key(key)
    }

    /// Follows one commit; takes its adds.
    fn follow(&mut self, version: Version, changes: &mut Changes, rows: Vec<Vec<Value>>) {
        for (key, _) in &changes.removes {
            self.end(*key, version);
        }
        for ((key, _), row) in std::mem::take(&mut changes.adds).into_iter().zip(rows) {
            self.end(key, version);
            self.live.insert(key, Life::InBatch(self.rows.len()));
            self.rows.push((key, version, None, row));
        }
    }

    fn end(&mut self, key: FileKey, version: Version) {
        match self.live.remove(&key) {
            Some(Life::Stored) => self.ended.entry(version).or_default().push(key),
            Some(Life::InBatch(row)) => self.rows[row].2 = Some(version),
            None => {}
        }
    }

    async fn store(mut self, session: &mut dyn Session, table: TableId) -> Result<()> {
        for (version, keys) in &self.ended {
            let nothing = Changes::default();
            store_changes(session, table, *version, &nothing, Ended { keys, version: *version }).await?;
        }
        let columns: Vec<_> = ["table_id", "file_key", "version", "removed_version", "path_key"]
            .into_iter()
            .chain(ADD_COLUMNS.split(',').map(str::trim))
            .collect();
        let row = |(key, version, removed, add): (FileKey, Version, Option<Version>, Vec<Value>)| {
            let life = [table.0.into(), key.0.as_slice().into(), int(version), removed.map_or(Value::Null, int)];
            life.into_iter().chain(add).collect()
        };
        // In the order of the keys, neighbours in the index come one after the other.
        self.rows.sort_unstable_by_key(|(key, version, ..)| (*key, *version));
        session.insert("dl_add_files", &columns, self.rows.into_iter().map(row).collect()).await
    }
}
