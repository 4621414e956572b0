//! The files of a base state, as spooled rows, and how they are written.

use std::collections::BTreeSet;

use deltalakedb_log::{LocationKey, Result, SetHash, TableId, Version};
use futures::TryStreamExt;
use futures::stream::BoxStream;

use crate::bounds;
use crate::codec::{self, int};
use crate::copy::CHUNK_BYTES;
use crate::database::{DatabaseTransaction, Row, Value, WriteStatement};
use crate::version_rows::remove_file_columns;

/// The files of the state, as rows.
pub(super) struct StoredFiles {
    pub(super) live: BoxStream<'static, Result<Row>>,
    pub(super) removed: BoxStream<'static, Result<Row>>,
    /// How many there are.
    pub(super) count: usize,
    /// The hash of the live ones.
    pub(super) set_hash: SetHash,
    /// The folders of the files with absolute paths.
    pub(super) folders: BTreeSet<LocationKey>,
}

impl StoredFiles {
    /// Writes them as those of a version.
    pub(super) async fn write(self, tx: &mut dyn DatabaseTransaction, table: TableId, version: Version) -> Result<()> {
        let life = [table.0.into(), int(version), Value::Null];
        let columns =
            [&["table_id", "version", "removed_version"][..], &codec::file_columns(&bounds::COLUMNS)].concat();
        write(tx, "dl_add_files", &columns, &life, self.live).await?;
        let columns = [&["table_id", "version"][..], &remove_file_columns()].concat();
        write(tx, "dl_remove_files", &columns, &life[..2], self.removed).await
    }
}

/// Writes rows, each after the same first values; missing values at the end of a row are null.
async fn write(
    tx: &mut dyn DatabaseTransaction,
    table: &'static str,
    columns: &[&'static str],
    first: &[Value],
    mut rows: BoxStream<'static, Result<Row>>,
) -> Result<()> {
    let (mut chunk, mut bytes, mut width) = (Vec::new(), 0, 0);
    loop {
        let row = rows.try_next().await?;
        if !chunk.is_empty() && (bytes > CHUNK_BYTES || row.is_none()) {
            let rows = WriteStatement::insert(table, &columns[..width], std::mem::take(&mut chunk));
            // These are the first rows of a new table.
            tx.write(vec![rows.into_unused_table()]).await?;
            bytes = 0;
        }
        let Some(row) = row else { return Ok(()) };
        bytes += row.size();
        let row: Vec<_> = first.iter().cloned().chain(row.0).collect();
        width = row.len();
        chunk.push(row);
    }
}
