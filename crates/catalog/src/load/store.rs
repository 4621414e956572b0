//! A batch of versions, and how it is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use deltalakedb_log::action::Add;
use deltalakedb_log::commit::{self, Group, NewTable};
use deltalakedb_log::references::folders;
use deltalakedb_log::snapshot::CommitActions;
use deltalakedb_log::{
    CommitId, FileKey, LocationKey, LoggedCommit, Result, TableId, TableName, TxnLogError, Version, check_owner,
};
use futures::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::stored_table::StoredTable;
use super::version::LoadedVersion;
use crate::audit::audit;
use crate::bounds::TableSlots;
use crate::codec::{self, int};
use crate::database::{CommitFailure, DatabaseTransaction, KEYS, Value, WriteStatement, merge_inserts, placeholders};
use crate::references::NamedFolders;
use crate::sql_catalog::{SqlCatalog, WriteTransaction};
use crate::table_lookup::find_any;
use crate::uniqueness::{check_free, check_name_free};
use crate::version_rows::{
    BATCH_FILES, BATCH_VERSIONS, VERSION_COLUMNS, commit_id, end_files, live_keys, non_file_changes, register,
    version_values,
};
use crate::{mirror, namespaces};

/// A batch also ends at this many bytes of commits, and at most this many are parsed ahead; a larger commit is a batch
/// by itself. Parsed commits take several times as much memory.
pub(super) const BYTES: usize = 4 << 20;

/// The number of permits that a commit takes of those for bytes.
pub(super) fn kilobytes(commit: &LoggedCommit) -> u32 {
    u32::try_from((commit.body.len() >> 10).clamp(1, BYTES >> 10)).unwrap_or(1)
}

/// Stored with the last batch.
pub(super) struct Finish {
    pub(super) published: Option<Version>,
}

/// Versions that are stored in one transaction.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) versions: Vec<LoadedVersion>,
    pub(super) file_actions: usize,
    kilobytes: usize,
    /// The folders of files with absolute paths.
    folders: BTreeSet<LocationKey>,
}

impl Batch {
    /// The next versions, and how the history ended, if it did.
    pub(super) async fn of(
        versions: &mut (impl Stream<Item = Result<LoadedVersion>> + Unpin),
    ) -> (Self, Option<Result<()>>) {
        let mut batch = Self::default();
        while !batch.is_full() {
            match versions.next().await {
                Some(Ok(version)) => batch.push(version),
                Some(Err(e)) => return (batch, Some(Err(e))),
                None => return (batch, Some(Ok(()))),
            }
        }
        (batch, None)
    }

    fn is_full(&self) -> bool {
        self.file_actions >= BATCH_FILES || self.versions.len() >= BATCH_VERSIONS || self.kilobytes >= BYTES >> 10
    }

    pub(super) fn push(&mut self, version: LoadedVersion) {
        let before = version.files.as_ref().map_or(0, |files| files.count);
        self.file_actions += before + version.changes.adds.len() + version.changes.removes.len();
        self.kilobytes += version.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        self.folders.extend(folders(version.changes.adds.iter().map(|(_, add)| add.as_ref())));
        self.folders.extend(version.files.iter().flat_map(|files| files.folders.iter().cloned()));
        self.versions.push(version);
    }

    pub(super) fn named_folders(&self, table: TableId, new: &NewTable) -> NamedFolders {
        let location = Some(new.location.clone());
        NamedFolders { table, location, folders: self.folders.clone(), sources: Vec::new() }
    }

    /// The versions that belong to transactions over several tables.
    pub(super) fn parts(&self, table: TableId, name: &TableName) -> Vec<TransactionPart> {
        let part = |version: &LoadedVersion| {
            let (ms, group) = (version.time.ms, version.group.clone()?);
            Some(TransactionPart { table, name: name.clone(), version: version.summary.version, ms, group })
        };
        self.versions.iter().filter_map(part).collect()
    }

    fn changed_files(&self) -> Vec<FileKey> {
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

/// Stores a batch after the existing versions, and returns the table's id: an unfinished load keeps its id.
pub(super) async fn store_batch(
    catalog: &SqlCatalog,
    table: TableId,
    new: &NewTable,
    batch: Batch,
    finish: Option<Finish>,
) -> Result<TableId> {
    let sources = NamedFolders::sources(&mut [batch.named_folders(table, new)], catalog.db.as_ref()).await?;
    let locked = [&[table][..], &sources].concat();
    let mut writing = catalog.begin_write(&locked).await?;
    let parts = batch.parts(table, &new.name);
    let table = store(catalog, (&mut writing, &locked), table, new, batch, finish).await?;
    check_whole(writing.tx.as_mut(), writing.identity.0, parts).await?;
    writing.tx.commit().await.map_err(CommitFailure::into_error)?;
    Ok(table)
}

/// Stores it in a transaction that has begun and has locked these tables.
pub(super) async fn store(
    catalog: &SqlCatalog,
    (writing, locked): (&mut WriteTransaction, &[TableId]),
    table: TableId,
    new: &NewTable,
    batch: Batch,
    finish: Option<Finish>,
) -> Result<TableId> {
    let (tx, now_ms) = (writing.tx.as_mut(), writing.now_ms);
    let stored = StoredTable::find(tx, table, new).await?;
    if stored.is_none() && batch.versions.is_empty() {
        return Ok(table);
    }
    let mut writes = Vec::new();
    let stored = match stored {
        Some(stored) => stored,
        None => {
            if let Some(there) = find_any(tx, table).await? {
                return Err(there.is_not_live());
            }
            check_free(tx, new, None).await?;
            writes.extend(register(table, new, "loading", now_ms));
            StoredTable::nothing_yet(table, new)
        }
    };
    let StoredTable { id: table, name, owner, is_loading, mut head, mut newest_ms, set_hash: mut hash, slots, .. } =
        stored;
    check_owner(&name, owner.as_ref(), new.owner.as_ref())?;
    let named = NamedFolders { sources: locked.to_vec(), ..batch.named_folders(table, new) };
    writes.extend(named.record(tx, &new.name).await?);
    if name != new.name {
        check_name_free(tx, &new.name).await?;
        writes.push(rename(table, &new.name));
    }
    let ids = batch.versions.iter().filter_map(|version| version.commit_id).collect();
    let mut known_ids = known_ids(tx, table, ids).await?;
    let live = match head {
        Some(_) => live_keys(tx, table, &batch.changed_files()).await?,
        // A table without a version has no files.
        None => Vec::new(),
    };
    let mut files = LiveFiles::new(live.into_iter());
    let mut rows = Vec::with_capacity(batch.versions.len());
    let (mut protocol, mut metadata) = (None, None);
    let base = batch.versions.first().map(|v| v.summary.version);
    writes.extend(batch.versions.last().and_then(|v| v.layout.slots.insert(table, slots.0.len())));
    // Released when everything is stored.
    let mut room = Vec::with_capacity(batch.versions.len());
    for mut loaded in batch.versions {
        room.extend(loaded.room.take());
        let version = loaded.summary.version;
        if loaded.files.is_some() {
            commit::check_begins(&new.name, head, version)?;
        }
        commit::check_next(&new.name, head, version)?;
        loaded.time.ms = commit::later_than(&new.name, version, newest_ms, loaded.time.ms)?;
        loaded.summary.timestamp = loaded.time.ms;
        (head, newest_ms) = (Some(version), Some(loaded.time.ms));
        if let Some(id) = loaded.commit_id.filter(|id| known_ids.insert(*id)) {
            writes.push(commit_id(table, id, version, loaded.time.ms));
        }
        if let Some(before) = loaded.files.take() {
            hash = before.set_hash;
            before.write(tx, table, version).await?;
        }
        loaded.changes.advance(&mut hash, |key| files.is_live(key));
        files.follow(version, &mut loaded.changes, &loaded.layout.owned);
        protocol = loaded.changes.protocol.as_ref().map(|_| version).or(protocol);
        metadata = loaded.changes.metadata.as_ref().map(|_| version).or(metadata);
        writes.extend(non_file_changes(table, version, &loaded.changes)?);
        rows.push((loaded.summary, loaded.time, loaded.body, hash));
    }
    writes.extend(files.store(table));
    let newest = rows.last().map(|(summary, time, ..)| (summary.version, time.ms));
    let mut values = Vec::with_capacity(rows.len());
    for (summary, time, body, hash) in rows {
        values.push(version_values(table, &summary, time, body.as_ref(), hash));
        writes.extend(body.map(|body| body.insert(table, summary.version)));
    }
    writes.push(WriteStatement::insert("dl_table_versions", &VERSION_COLUMNS, values));
    let opt = |v: Option<Version>| v.map_or(Value::Null, int);
    let head_row = "UPDATE dl_tables SET base_version = coalesce(base_version, ?), \
                    current_version = coalesce(?, current_version), current_ts = coalesce(?, current_ts), \
                    protocol_version = coalesce(?, protocol_version), \
                    metadata_version = coalesce(?, metadata_version) WHERE table_id = ?";
    let params = vec![
        opt(base),
        opt(newest.map(|(v, _)| v)),
        newest.map(|(_, ms)| ms).into(),
        opt(protocol),
        opt(metadata),
        table.0.into(),
    ];
    writes.push(WriteStatement::run(head_row, params));
    if let Some(finish) = finish {
        writes
            .push(WriteStatement::run("UPDATE dl_tables SET state = 'live' WHERE table_id = ?", vec![table.0.into()]));
        writes.push(mirror::set_following(table, finish.published));
        writes.push(audit(catalog, now_ms, None, "IMPORT", table, head));
        // Last, because other transactions that create tables in the namespace wait for it.
        writes.push(namespaces::has_table(&new.name, now_ms));
    }
    let mut writes = merge_inserts(writes);
    if is_loading {
        writes = writes.into_iter().map(WriteStatement::into_unused_table).collect();
    }
    tx.write(writes).await?;
    check_complete(tx, table, new).await?;
    Ok(table)
}

/// The commit ids that are stored already. A log may have an id twice: the first one counts.
async fn known_ids(tx: &mut dyn DatabaseTransaction, table: TableId, ids: Vec<CommitId>) -> Result<HashSet<CommitId>> {
    let mut known = HashSet::new();
    for ids in ids.chunks(KEYS) {
        let sql = format!(
            "SELECT commit_id FROM dl_commit_ids WHERE table_id = ? AND commit_id IN ({})",
            placeholders(ids.len())
        );
        let params = std::iter::once(table.0.into()).chain(ids.iter().map(|id| id.0.as_slice().into()));
        for mut row in tx.query(&sql, params.collect()).await? {
            let id = row.blob()?.try_into();
            known.insert(CommitId(id.map_err(|_| TxnLogError::corrupt("a stored commit id is not 32 bytes"))?));
        }
    }
    Ok(known)
}

/// Renames an unfinished load.
fn rename(table: TableId, name: &TableName) -> WriteStatement {
    let sql = "UPDATE dl_tables SET namespace = ?, name = ?, name_key = ? WHERE table_id = ? AND state = 'loading'";
    let params =
        vec![name.namespace.as_str().into(), name.name.as_str().into(), name.to_string().into(), table.0.into()];
    WriteStatement::run(sql, params)
}

/// The part of a table in a transaction over several.
pub(super) struct TransactionPart {
    table: TableId,
    name: TableName,
    version: Version,
    ms: i64,
    group: Group,
}

/// Rejects a part of a transaction of this catalog while another table that existed then lacks its own part.
pub(super) async fn check_whole(
    tx: &mut dyn DatabaseTransaction,
    catalog: Uuid,
    parts: Vec<TransactionPart>,
) -> Result<()> {
    let catalog = catalog.to_string();
    for part in parts.into_iter().filter(|part| part.group.catalog == catalog) {
        let TransactionPart { table, name, version, ms, group } = part;
        let others: Vec<_> = if group.tables.is_empty() {
            let others = group.participants.iter().filter(|other| **other != name);
            others.map(|other| ("t.name_key = ?", Value::from(other.to_string()))).collect()
        } else {
            // Tables may have been renamed since.
            group.tables.iter().filter(|other| **other != table).map(|id| ("t.table_id = ?", id.0.into())).collect()
        };
        for (is_other, other) in others {
            let sql = format!(
                "SELECT t.table_id, b.committed_at, t.namespace, t.name FROM dl_tables t \
                 JOIN dl_table_versions b ON b.table_id = t.table_id AND b.version = t.base_version \
                 WHERE {is_other} AND t.state = 'live'"
            );
            let Some(mut row) = tx.query(&sql, vec![other]).await?.pop() else { continue };
            let (table, begins) = (row.blob()?, row.int()?);
            let other = TableName { namespace: row.text()?, name: row.text()? };
            if begins > ms {
                continue;
            }
            // Usually both have the same time: only a version ahead of the clock has a time of its own.
            let part = |and: &str| {
                format!("SELECT 1 FROM dl_table_versions WHERE table_id = ? AND group_id = ? {and} LIMIT 1")
            };
            let params = vec![Value::Blob(table), group.id.as_str().into()];
            let at_once = tx.query(&part("AND committed_at = ?"), [&params[..], &[ms.into()]].concat()).await?;
            if at_once.is_empty() && tx.query(&part(""), params).await?.is_empty() {
                return Err(commit::incomplete_transaction(&name, version, &other));
            }
        }
    }
    Ok(())
}

/// Rejects a log without protocol or metadata.
async fn check_complete(tx: &mut dyn DatabaseTransaction, table: TableId, new: &NewTable) -> Result<()> {
    let sql = "SELECT protocol_version, metadata_version FROM dl_tables WHERE table_id = ?";
    let mut row = tx.query(sql, vec![table.0.into()]).await?.pop();
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

/// The files of a batch: those live after each version, and the rows to write at its end.
struct LiveFiles {
    live: HashMap<FileKey, LiveFile>,
    rows: Vec<FileRow>,
    ended: BTreeMap<Version, Vec<FileKey>>,
}

/// A file added by a version of the batch. Its row is built when it is written, because it is several times as large.
struct FileRow {
    key: FileKey,
    add: Arc<Add>,
    added: Version,
    removed: Option<Version>,
    slots: Arc<TableSlots>,
}

#[derive(Clone, Copy)]
enum LiveFile {
    /// Live, and stored in the database.
    Stored,
    /// Live, at this index in `rows`.
    InBatch(usize),
}

impl LiveFiles {
    fn new(live: impl Iterator<Item = FileKey>) -> Self {
        Self { live: live.map(|k| (k, LiveFile::Stored)).collect(), rows: Vec::new(), ended: BTreeMap::new() }
    }

    fn is_live(&self, key: &FileKey) -> bool {
        self.live.contains_key(key)
    }

    /// Applies one commit; takes its adds.
    fn follow(&mut self, version: Version, changes: &mut CommitActions, slots: &Arc<TableSlots>) {
        for (key, _) in &changes.removes {
            self.end(*key, version);
        }
        for (key, add) in std::mem::take(&mut changes.adds) {
            self.end(key, version);
            self.live.insert(key, LiveFile::InBatch(self.rows.len()));
            self.rows.push(FileRow { key, add, added: version, removed: None, slots: slots.clone() });
        }
    }

    fn end(&mut self, key: FileKey, version: Version) {
        match self.live.remove(&key) {
            Some(LiveFile::Stored) => self.ended.entry(version).or_default().push(key),
            Some(LiveFile::InBatch(row)) => self.rows[row].removed = Some(version),
            None => {}
        }
    }

    fn store(mut self, table: TableId) -> Vec<WriteStatement> {
        let mut writes: Vec<_> =
            self.ended.iter().flat_map(|(version, keys)| end_files(table, *version, keys)).collect();
        // Columns of slots that were assigned during the batch are unknown in earlier rows.
        let widest = self.rows.iter().max_by_key(|file| file.slots.columns().len());
        let of_file = widest.map_or(Vec::new(), |file| codec::file_columns(file.slots.columns()));
        let (width, life) = (of_file.len(), ["table_id", "version", "removed_version"]);
        let columns = Vec::from_iter(life.into_iter().chain(of_file));
        let row = move |FileRow { key, add, added, removed, slots }: FileRow| {
            let mut row = vec![table.0.into(), int(added), removed.map_or(Value::Null, int)];
            row.extend(codec::file_values(&key, &add, &slots)?);
            row.resize(life.len() + width, Value::Null);
            Ok(row)
        };
        // In key order, so that neighbouring index entries are inserted one after the other.
        self.rows.sort_unstable_by_key(|file| (file.key, file.added));
        writes.push(WriteStatement::insert_lazy("dl_add_files", &columns, self.rows.into_iter().map(row)));
        writes
    }
}
