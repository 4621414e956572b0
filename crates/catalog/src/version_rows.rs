//! The rows of one version of a table.

use std::sync::Arc;

use deltalakedb_log::action::{Add, Remove};
use deltalakedb_log::commit::{Base, CommitRequest, Current, NewTable, Prepared};
use deltalakedb_log::schema::Schema;
use deltalakedb_log::snapshot::{CommitActions, CommitSummary};
use deltalakedb_log::{CommitId, CommitTime, FileKey, Result, SetHash, TableId, TableOwner, TxnLogError, Version};

use crate::audit::audit;
use crate::bounds::{BoundsSlots, TableSlots};
use crate::codec::{self, METADATA_COLUMNS, PROTOCOL_COLUMNS, int};
use crate::database::{DatabaseTransaction, KEYS, Row, Value, WriteStatement, placeholders};
use crate::mirror;
use crate::sql_catalog::SqlCatalog;

/// The maximum of file actions, and of versions, that are stored in one transaction.
pub(crate) const BATCH_FILES: usize = 50_000;
pub(crate) const BATCH_VERSIONS: usize = 2_000;

/// Which of the files are live. Each key is looked up by itself: DuckDB would compare every row with a whole list of
/// keys. The table is also a row of the list, because a server without statistics expects no rows for a constant table,
/// and scans all of them.
pub(crate) async fn live_keys(
    tx: &mut dyn DatabaseTransaction,
    table: TableId,
    keys: &[FileKey],
) -> Result<Vec<FileKey>> {
    let mut live = Vec::new();
    for keys in keys.chunks(KEYS) {
        let sql = format!(
            "WITH own (table_id, file_key) AS (VALUES {}) SELECT file_key FROM own WHERE (SELECT count(*) \
             FROM dl_add_files a WHERE a.table_id = own.table_id AND a.file_key = own.file_key \
             AND a.removed_version IS NULL) > 0",
            vec!["(?, ?)"; keys.len()].join(", ")
        );
        let params = keys.iter().flat_map(|key| [table.0.into(), key.0.as_slice().into()]);
        for mut row in tx.query(&sql, params.collect()).await? {
            live.push(file_key(&mut row)?);
        }
    }
    Ok(live)
}

pub(crate) fn file_key(row: &mut Row) -> Result<FileKey> {
    let key = row.blob()?.try_into();
    key.map(FileKey).map_err(|_| TxnLogError::corrupt("a stored file key is not 16 bytes"))
}

fn keyed<'a>(table: TableId, keys: impl Iterator<Item = &'a [u8; 16]>) -> Vec<Value> {
    std::iter::once(table.0.into()).chain(keys.map(|k| k.as_slice().into())).collect()
}

/// The rows of a commit except its table's head, and how many rows they change.
pub(crate) fn store(
    catalog: &SqlCatalog,
    request: &CommitRequest,
    current: &Current,
    prepared: &Prepared,
    slots: &mut BoundsSlots,
) -> Result<(Vec<WriteStatement>, u64)> {
    let (table, committed_at) = (request.table, prepared.committed_at);
    let summary = CommitSummary::of(prepared.version, committed_at, Some(&prepared.info), &prepared.changes);
    let changes = &prepared.changes;
    let mut writes = Vec::new();
    if let Base::Create(new) = &request.base {
        writes.extend(register(table, new, "live", committed_at));
    }
    writes.extend(end_files(table, prepared.version, &prepared.ended));
    let before = current.state.as_ref().map(|(_, metadata)| metadata);
    let has_layout = !changes.adds.is_empty() || changes.metadata.is_some() || !changes.domains.is_empty();
    if let Some(metadata) = changes.metadata.as_ref().or(before).filter(|_| has_layout) {
        let schema = Arc::new(Schema::parse(&metadata.schema_string, &metadata.partition_columns)?);
        if changes.metadata.is_some() || !changes.domains.is_empty() {
            let first = slots.assign(&schema, metadata, &changes.domains);
            writes.extend(slots.insert(table, first));
        }
        writes.extend(added_files(table, prepared.version, changes.adds.clone(), slots.owned(schema)));
    }
    writes.extend(non_file_changes(table, prepared.version, changes)?);
    let time = CommitTime { ms: committed_at, source: prepared.time_source };
    let body = StoredBody::of(&prepared.body)?;
    let row = version_values(table, &summary, time, Some(&body), prepared.set_hash);
    writes.push(WriteStatement::insert("dl_table_versions", &VERSION_COLUMNS, vec![row]));
    writes.push(body.insert(table, prepared.version));
    writes.extend(request.ids().into_iter().map(|id| commit_id(table, id, prepared.version, committed_at)));
    let action = summary.operation.as_deref().unwrap_or("COMMIT");
    let committer = request.committer.as_deref();
    writes.push(audit(catalog, committed_at, committer, action, table, Some(prepared.version)));
    // Each new row, and each removed file.
    let rows = writes.iter().map(WriteStatement::rows).sum::<u64>() + prepared.ended.len() as u64;
    Ok((writes, rows))
}

/// The rows of files added by a version. They are generated while they are written, because there may be very many.
fn added_files(
    table: TableId,
    version: Version,
    adds: Vec<(FileKey, Arc<Add>)>,
    owned: TableSlots,
) -> Option<WriteStatement> {
    let columns = [&["table_id", "version"], &codec::file_columns(owned.columns())[..]].concat();
    let row =
        move |(key, add): (FileKey, Arc<Add>)| Ok(version_row(table, version, codec::file_values(&key, &add, &owned)?));
    (!adds.is_empty()).then(|| WriteStatement::insert_lazy("dl_add_files", &columns, adds.into_iter().map(row)))
}

/// Records the version and time of a commit.
pub(crate) fn commit_id(table: TableId, id: CommitId, version: Version, committed_at: i64) -> WriteStatement {
    let row = vec![table.0.into(), id.0.as_slice().into(), int(version), committed_at.into()];
    WriteStatement::insert("dl_commit_ids", &["table_id", "commit_id", "version", "committed_at"], vec![row])
}

/// The statements that insert the rows of a table into `dl_tables` and `dl_mirrors`; the table has no version yet.
pub(crate) fn register(table: TableId, new: &NewTable, state: &str, now: i64) -> [WriteStatement; 2] {
    let columns =
        ["table_id", "namespace", "name", "name_key", "location", "location_key", "state", "owner", "created_at"];
    let row = vec![
        table.0.into(),
        new.name.namespace.as_str().into(),
        new.name.name.as_str().into(),
        new.name.to_string().into(),
        new.location.url().as_str().into(),
        new.location.key().as_str().into(),
        state.into(),
        new.owner.as_ref().map(TableOwner::as_str).into(),
        now.into(),
    ];
    [WriteStatement::insert("dl_tables", &columns, vec![row]), mirror::register(table)]
}

/// Sets the removing version of files: of those it removes, and of those it replaces.
pub(crate) fn end_files(table: TableId, version: Version, keys: &[FileKey]) -> Vec<WriteStatement> {
    let end = |keys: &[FileKey]| {
        let sql = format!(
            "UPDATE dl_add_files SET removed_version = ? \
             WHERE table_id = ? AND file_key IN ({}) AND removed_version IS NULL",
            placeholders(keys.len())
        );
        let params = std::iter::once(int(version)).chain(keyed(table, keys.iter().map(|k| &k.0)));
        WriteStatement::run(sql, params.collect())
    };
    keys.chunks(KEYS).map(end).collect()
}

/// The rows of one commit except its version and its files.
pub(crate) fn non_file_changes(table: TableId, version: Version, c: &CommitActions) -> Result<Vec<WriteStatement>> {
    let of = |to, columns: &[&'static str], rows| of_version(table, version, to, columns, rows);
    let removes = c.removes.iter().map(|(key, remove)| remove_file_values(key, remove)).collect::<Result<_>>()?;
    let protocol = c.protocol.iter().map(codec::protocol_values).collect::<Result<_>>()?;
    let metadata = c.metadata.iter().map(codec::metadata_values).collect::<Result<_>>()?;
    let mut paths = std::collections::HashSet::new();
    let cdcs = c.cdcs.iter().filter(|cdc| paths.insert(cdc.path.as_str()));
    let writes = [
        of("dl_remove_files", &remove_file_columns(), removes),
        of("dl_protocol_updates", &PROTOCOL_COLUMNS, protocol),
        of("dl_metadata_updates", &METADATA_COLUMNS, metadata),
        of("dl_txn_actions", &codec::TXN_COLUMNS, c.txns.iter().map(codec::txn_values).collect()),
        of("dl_domain_metadata", &codec::DOMAIN_COLUMNS, c.domains.iter().map(codec::domain_values).collect()),
        of("dl_cdc_files", &codec::CDC_COLUMNS, cdcs.map(codec::cdc_values).collect::<Result<_>>()?),
    ];
    Ok(writes.into_iter().flatten().collect())
}

/// The columns of `dl_remove_files` after the version.
pub(crate) fn remove_file_columns() -> Vec<&'static str> {
    std::iter::once("file_key").chain(codec::REMOVE_COLUMNS).collect()
}

/// The values of a row of `dl_remove_files` in these columns.
pub(crate) fn remove_file_values(key: &FileKey, remove: &Remove) -> Result<Vec<Value>> {
    let mut values = vec![key.0.as_slice().into()];
    values.extend(codec::remove_values(remove)?);
    Ok(values)
}

/// Rows that belong to a version; no statement if there are none.
fn of_version(
    table: TableId,
    version: Version,
    to: &'static str,
    columns: &[&'static str],
    rows: Vec<Vec<Value>>,
) -> Option<WriteStatement> {
    let columns = [&["table_id", "version"], columns].concat();
    let rows: Vec<_> = rows.into_iter().map(|row| version_row(table, version, row)).collect();
    (!rows.is_empty()).then(|| WriteStatement::insert(to, &columns, rows))
}

/// A row: the table and the version, then these values.
fn version_row(table: TableId, version: Version, values: Vec<Value>) -> Vec<Value> {
    let mut row = Vec::with_capacity(values.len() + 2);
    row.extend([table.0.into(), int(version)]);
    row.extend(values);
    row
}

pub(crate) const VERSION_COLUMNS: [&str; 19] = [
    "table_id",
    "version",
    "committed_at",
    "time_source",
    "committer",
    "operation",
    "operation_params",
    "operation_metrics",
    "engine_info",
    "group_id",
    "read_version",
    "isolation",
    "digest",
    "body_bytes",
    "files_added",
    "files_removed",
    "bytes_added",
    "bytes_removed",
    "set_hash",
];

pub(crate) const BODY_COLUMNS: [&str; 3] = ["table_id", "version", "body"];

/// The bytes of a commit in their stored form.
pub(crate) struct StoredBody {
    compressed: Vec<u8>,
    digest: blake3::Hash,
}

impl StoredBody {
    pub(crate) fn of(body: &[u8]) -> Result<Self> {
        Ok(Self { compressed: codec::compress(body)?, digest: blake3::hash(body) })
    }

    pub(crate) fn insert(self, table: TableId, version: Version) -> WriteStatement {
        let row = vec![table.0.into(), int(version), Value::Blob(self.compressed)];
        WriteStatement::insert("dl_commit_bodies", &BODY_COLUMNS, vec![row])
    }
}

pub(crate) fn version_values(
    table: TableId,
    s: &CommitSummary,
    time: CommitTime,
    body: Option<&StoredBody>,
    set_hash: SetHash,
) -> Vec<Value> {
    let blob = |text: &Option<String>| text.as_deref().map_or(Value::Null, codec::bytes);
    let count = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let (digest, bytes) = match body {
        Some(body) => (body.digest.as_bytes().as_slice().into(), count(body.compressed.len() as u64)),
        None => (Value::Null, Value::Null),
    };
    vec![
        table.0.into(),
        int(s.version),
        time.ms.into(),
        time.source.as_str().into(),
        s.committer.as_deref().into(),
        s.operation.as_deref().into(),
        blob(&s.operation_parameters),
        blob(&s.operation_metrics),
        s.engine_info.as_deref().into(),
        s.group_id.as_deref().into(),
        s.read_version.into(),
        s.isolation.as_deref().into(),
        digest,
        bytes,
        count(s.files_added),
        count(s.files_removed),
        s.bytes_added.into(),
        s.bytes_removed.into(),
        set_hash.to_bytes().as_slice().into(),
    ]
}
