//! One table of a copy: its versions, and at the end every row.

use deltalakedb_log::{FileKey, Result, TableId, TableName, TxnLogError, Version};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::database::{CommitFailure, DatabaseTransaction, KEYS, Row, Value, WriteStatement};
use crate::sql_catalog::SqlCatalog;
use crate::table_rows::{FILES, OF_TABLE, of_versions};
use crate::version_rows::{BATCH_FILES, BATCH_VERSIONS, end_files, file_key};
use crate::{expiry, mirror, spool};

/// The size of the rows that are sent at once, in bytes, and the number of files that are ended at once.
pub(crate) const CHUNK_BYTES: usize = 4 << 20;
const CHUNK_ENDS: usize = 16 * KEYS;

pub(super) const TABLE_COLUMNS: [&str; 17] = [
    "table_id",
    "namespace",
    "name",
    "name_key",
    "location",
    "location_key",
    "state",
    "owner",
    "created_at",
    "dropped_at",
    "base_version",
    "current_version",
    "current_ts",
    "protocol_version",
    "metadata_version",
    "properties",
    "retained_until",
];

/// The rows of a table for the versions in a range.
pub(crate) fn rows_of(table: &str, columns: &[&str]) -> String {
    format!("SELECT {} FROM {table} WHERE table_id = ? AND version > ? AND version <= ?", columns.join(", "))
}

/// The files added up to a version and removed by the versions in a later range.
pub(crate) const REMOVED_FILES: &str = "SELECT file_key, removed_version FROM dl_add_files WHERE table_id = ? \
                               AND version <= ? AND removed_version > ? AND removed_version <= ? ORDER BY removed_version";

/// The newest version of the next batch; `None` when there is none.
pub(crate) async fn next_batch(
    source: &mut dyn DatabaseTransaction,
    table: TableId,
    after: i64,
) -> Result<Option<i64>> {
    let sql = format!(
        "SELECT version, files_added + files_removed FROM dl_table_versions \
         WHERE table_id = ? AND version > ? ORDER BY version LIMIT {BATCH_VERSIONS}"
    );
    let (mut newest, mut files) = (None, 0_usize);
    for mut row in source.query(&sql, vec![table.0.into(), after.into()]).await? {
        let version = row.int()?;
        files = files.saturating_add(usize::try_from(row.int()?).unwrap_or(usize::MAX));
        if newest.is_some() && files > BATCH_FILES {
            break;
        }
        newest = Some(version);
    }
    Ok(newest)
}

/// A table of the source.
pub(super) struct SourceTable {
    pub(super) id: TableId,
    name: TableName,
    pub(super) row: Vec<Value>,
    pub(super) oldest: i64,
    pub(super) newest: i64,
}

impl SourceTable {
    pub(super) fn of(row: Row) -> Result<Self> {
        let row: Vec<_> = row.0.collect();
        let from = |column: usize| Row(row.clone().split_off(column).into_iter());
        let (mut names, mut versions) = (from(0), from(10));
        let id = TableId(names.uuid()?);
        let name = TableName { namespace: names.text()?, name: names.text()? };
        Ok(Self { id, name, oldest: versions.int()?, newest: versions.int()?, row })
    }

    pub(super) fn id(&self) -> Value {
        self.id.0.into()
    }

    /// Inserts the table's row unless the copy has it already. Returns the newest version that is already copied.
    pub(super) async fn prepare(&self, source: &mut dyn DatabaseTransaction, to: &SqlCatalog) -> Result<i64> {
        let mut tx = to.write(&[self.id]).await?;
        let head = "SELECT t.base_version, t.current_version, v.set_hash, v.digest FROM dl_tables t \
                    LEFT JOIN dl_table_versions v ON v.table_id = t.table_id AND v.version = t.current_version \
                    WHERE t.table_id = ?";
        if let Some(mut row) = tx.query(head, vec![self.id()]).await?.pop() {
            let base = row.opt_version()?;
            let Some(version) = row.opt_int()? else { return Ok(self.oldest - 1) };
            if version < self.oldest {
                let message = format!(
                    "{} is at version {version} in {}, and the history of the source begins at {}: copy to an empty catalog",
                    self.name,
                    to.db.describe(),
                    self.oldest
                );
                return Err(TxnLogError::invalid(message));
            }
            let there = (row.opt_blob()?, row.opt_blob()?);
            let sql = "SELECT set_hash, digest FROM dl_table_versions WHERE table_id = ? AND version = ?";
            let here = source.query(sql, vec![self.id(), version.into()]).await?.pop();
            let here = here.map(|mut row| Ok::<_, TxnLogError>((row.opt_blob()?, row.opt_blob()?))).transpose()?;
            if here != Some(there) {
                let message = format!(
                    "version {version} of {} in {} is not the source's: it has commits of its own, copy to an empty catalog",
                    self.name,
                    to.db.describe()
                );
                return Err(TxnLogError::invalid(message));
            }
            drop(tx);
            self.expire(source, to, base).await?;
            return Ok(version);
        }
        // A table in the state `loading` is not visible to readers.
        let mut row = self.row.clone();
        row[6] = "loading".into();
        row[10..15].fill(Value::Null);
        let writes = vec![WriteStatement::insert("dl_tables", &TABLE_COLUMNS, vec![row]), mirror::register(self.id)];
        tx.write(writes).await?;
        tx.commit().await.map_err(CommitFailure::into_error)?;
        Ok(self.oldest - 1)
    }

    /// Expires the history of the copy up to that of the source. `base` is the oldest version in the copy.
    async fn expire(&self, source: &mut dyn DatabaseTransaction, to: &SqlCatalog, base: Option<Version>) -> Result<()> {
        let oldest = Version::try_from(self.oldest).unwrap_or_default();
        let mut base = base.unwrap_or(oldest);
        while base < oldest {
            let mut tx = to.write(&[self.id]).await?;
            let next = expiry::step(tx.as_mut(), self.id, (base, oldest)).await?;
            let mut writes = vec![expiry::end_files(self.id, next)];
            writes.extend(expiry::delete_expired(self.id, (base, next)));
            tx.write(writes).await?;
            tx.commit().await.map_err(CommitFailure::into_error)?;
            base = next;
        }
        let sql = "SELECT min(version) FROM dl_commit_ids WHERE table_id = ?";
        let first = source.query(sql, vec![self.id()]).await?.pop().map(|mut row| row.opt_version()).transpose()?;
        let first = first.flatten().unwrap_or(oldest);
        if let Some(last) = first.checked_sub(1) {
            let mut tx = to.write(&[self.id]).await?;
            tx.write(vec![expiry::delete_commit_ids_to(self.id, last)]).await?;
            tx.commit().await.map_err(CommitFailure::into_error)?;
        }
        Ok(())
    }

    /// The version after which the rows to copy begin: the oldest version includes the rows before it.
    fn rows_after(&self, after: i64) -> i64 {
        if after < self.oldest { -1 } else { after }
    }

    /// Copies the versions after `after`, up to `newest`, in one transaction of the target. A version may have any
    /// number of files, so rows are buffered only until there are enough to send.
    pub(super) async fn copy_versions(
        &self,
        source: &mut dyn DatabaseTransaction,
        to: &SqlCatalog,
        after: i64,
        newest: i64,
    ) -> Result<()> {
        let mut tx = to.write(&[self.id]).await?;
        self.copy_ends(source, tx.as_mut(), after, newest).await?;
        for (table, columns) in of_versions() {
            let mut rows = self.rows(source, table, &columns, after, newest);
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.try_next().await? {
                bytes += row.size();
                chunk.push(row.0.collect());
                if bytes > CHUNK_BYTES {
                    tx.write(vec![WriteStatement::insert(table, &columns, std::mem::take(&mut chunk))]).await?;
                    bytes = 0;
                }
            }
            tx.write(vec![WriteStatement::insert(table, &columns, chunk)]).await?;
        }
        let up_to = |table: &str| format!("(SELECT max(version) FROM {table} WHERE table_id = ? AND version <= ?)");
        let head = format!(
            "UPDATE dl_tables SET base_version = coalesce(base_version, ?), current_version = ?, \
             current_ts = (SELECT committed_at FROM dl_table_versions WHERE table_id = ? AND version = ?), \
             protocol_version = {}, metadata_version = {} WHERE table_id = ?",
            up_to("dl_protocol_updates"),
            up_to("dl_metadata_updates")
        );
        let (id, newest) = (self.id(), Value::Int(newest));
        let own = [id.clone(), newest.clone()];
        let params = [&[self.oldest.into(), newest][..], &own, &own, &own, &[id]].concat();
        tx.write(vec![WriteStatement::run(head, params)]).await?;
        tx.commit().await.map_err(CommitFailure::into_error)
    }

    /// Marks the files of earlier versions that these versions remove.
    async fn copy_ends(
        &self,
        source: &mut dyn DatabaseTransaction,
        target: &mut dyn DatabaseTransaction,
        after: i64,
        newest: i64,
    ) -> Result<()> {
        let mut rows = source.rows(REMOVED_FILES.into(), vec![self.id(), after.into(), after.into(), newest.into()]);
        let (mut ended, mut count) = (Vec::<(u64, Vec<FileKey>)>::new(), 0);
        loop {
            let row = rows.try_next().await?;
            if count == CHUNK_ENDS || row.is_none() {
                let ends = ended.drain(..).flat_map(|(version, keys)| end_files(self.id, version, &keys));
                target.write(ends.collect()).await?;
                count = 0;
            }
            let Some(mut row) = row else { return Ok(()) };
            let (key, version) = (file_key(&mut row)?, row.version()?);
            count += 1;
            match ended.last_mut() {
                Some((last, keys)) if *last == version => keys.push(key),
                _ => ended.push((version, vec![key])),
            }
        }
    }

    /// The rows of these versions, with files as of the last of them.
    fn rows<'s>(
        &self,
        tx: &'s mut dyn DatabaseTransaction,
        table: &str,
        columns: &[&str],
        after: i64,
        newest: i64,
    ) -> BoxStream<'s, Result<Row>> {
        let is_files = table == FILES;
        let params = vec![self.id(), self.rows_after(after).into(), newest.into()];
        let rows = tx.rows(rows_of(table, columns), params);
        let as_of_newest = move |row: Row| {
            let mut values: Vec<_> = row.0.collect();
            if is_files && matches!(values[2], Value::Int(end) if end > newest) {
                values[2] = Value::Null;
            }
            Row(values.into_iter())
        };
        rows.map_ok(as_of_newest).boxed()
    }

    /// The number of rows of these versions, and a digest of them that is independent of their order.
    async fn digest(
        &self,
        tx: &mut dyn DatabaseTransaction,
        table: &str,
        columns: &[&str],
        after: i64,
        newest: i64,
    ) -> Result<(u64, [u64; 4])> {
        let mut rows = self.rows(tx, table, columns, after, newest);
        let (mut count, mut sum, mut bytes) = (0, [0_u64; 4], Vec::new());
        while let Some(row) = rows.try_next().await? {
            bytes.clear();
            spool::encode(&row, &mut bytes);
            for (sum, part) in sum.iter_mut().zip(blake3::hash(&bytes).as_bytes().chunks_exact(8)) {
                *sum = sum.wrapping_add(u64::from_le_bytes(part.try_into().unwrap_or_default()));
            }
            count += 1;
        }
        Ok((count, sum))
    }

    /// The rows that do not belong to a version.
    async fn own_rows(
        &self,
        tx: &mut dyn DatabaseTransaction,
        table: &str,
        columns: &[&str],
    ) -> Result<Vec<Vec<Value>>> {
        let sql = format!("SELECT {} FROM {table} WHERE table_id = ?", columns.join(", "));
        Ok(tx.query(&sql, vec![self.id()]).await?.into_iter().map(|row| row.0.collect()).collect())
    }

    /// Copies the rows that do not belong to a version, and the table's own row.
    pub(super) async fn finish(&self, source: &mut dyn DatabaseTransaction, to: &SqlCatalog) -> Result<()> {
        let mut writes = Vec::new();
        for (table, columns) in OF_TABLE {
            let rows = self.own_rows(source, table, columns).await?;
            writes.push(WriteStatement::run(format!("DELETE FROM {table} WHERE table_id = ?"), vec![self.id()]));
            writes.push(WriteStatement::insert(table, columns, rows));
        }
        let set: Vec<_> = TABLE_COLUMNS.iter().skip(1).map(|c| format!("{c} = ?")).collect();
        let sql = format!("UPDATE dl_tables SET {} WHERE table_id = ?", set.join(", "));
        let params = self.row.iter().skip(1).cloned().chain([self.id()]).collect();
        writes.push(WriteStatement::run(sql, params));
        let mut tx = to.write(&[self.id]).await?;
        tx.write(writes).await?;
        tx.commit().await.map_err(CommitFailure::into_error)
    }

    /// Compares every row of the table; returns their number.
    pub(super) async fn compare(&self, source: &mut dyn DatabaseTransaction, to: &SqlCatalog) -> Result<u64> {
        let mut target = to.db.read().await?;
        let mut compared = 0;
        let differs = |what: &str| {
            TxnLogError::corrupt(format!(
                "{what} of {} differs between {} and the source: copy again, to an empty catalog",
                self.name,
                to.db.describe()
            ))
        };
        let there = self.own_rows(target.as_mut(), "dl_tables", &TABLE_COLUMNS).await?;
        if there != [self.row.clone()] {
            return Err(differs("the row in dl_tables"));
        }
        for (table, columns) in OF_TABLE {
            let mut here = self.own_rows(source, table, columns).await?;
            let mut there = self.own_rows(target.as_mut(), table, columns).await?;
            here.sort_unstable();
            there.sort_unstable();
            if here != there {
                return Err(differs(&format!("a row of {table}")));
            }
        }
        let mut after = self.oldest - 1;
        while let Some(newest) = next_batch(source, self.id, after).await? {
            for (table, columns) in of_versions() {
                let here = self.digest(source, table, &columns, after, newest).await?;
                let there = self.digest(target.as_mut(), table, &columns, after, newest).await?;
                compared += here.0;
                if here != there {
                    return Err(differs(&format!("a row of {table} in versions {} to {newest}", after + 1)));
                }
            }
            after = newest;
        }
        Ok(compared)
    }
}
