//! Data files: rows become durable Parquet files of a table, with statistics, before any commit names them.
//!
//! Every append writes its files here. A program that commits by itself, such as an engine that adds files together
//! with deletion vectors, writes them with [`DeltaTable::write_data_files`].

use deltalakedb_log::Result;
use deltalakedb_log::action::{Action, Add};
use deltalakedb_log::snapshot::{At, Snapshot};
use object_store::path::Path;

use crate::delta_rs::{
    CastMode, LogView, NewFiles, PlainAppend, SchemaMode, StagedCommit, VirtualTable, check_writable,
};
use crate::table::DeltaTable;
use crate::write::Rows;
use crate::write_options::WriteOptions;

/// Data files of a table that no commit names yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DataFiles {
    /// The actions that add the files to the table, with their statistics.
    pub adds: Vec<Add>,
    /// The files, which the caller removes if it does not commit them.
    pub files: NewFiles,
    /// A time before the first of them was written, in milliseconds since 1970.
    pub began_at_ms: i64,
}

impl DeltaTable {
    /// Writes rows into new data files of the table and commits nothing. The files are durable when this returns, as
    /// [`WriteOptions::durability`] says; on failure they are removed.
    ///
    /// The rows must fit the table, as those of [`prepare_write`](Self::prepare_write); generated columns are computed,
    /// and constraints are checked. Rows stay in the order in which they are given, within each partition. A file ends
    /// at [`WriteOptions::target_file_size`], or at the table's. [`WriteOptions::parquet`] has the encoding, and the
    /// entries of the file's key-value metadata.
    ///
    /// The statistics are those of PROTOCOL.md, "Per-file Statistics": the number of rows, and for the columns that the
    /// table's `delta.dataSkippingNumIndexedCols` or `delta.dataSkippingStatsColumns` choose the number of nulls and
    /// bounds. Bounds of long texts are shortened to 64 bytes, so that the upper one may be greater than every value;
    /// those of times are cut to milliseconds, as in every Delta table. NaN is not within the bounds of a column.
    /// Binary columns, and columns in lists and maps, have none.
    ///
    /// ```no_run
    /// # use deltalakedb_table::{DeltaTable, Rows, WriteOptions};
    /// # async fn example(table: DeltaTable, rows: Rows) -> deltalakedb_log::Result<()> {
    /// let written = table.write_data_files(rows, &WriteOptions::default()).await?;
    /// println!("{} files", written.adds.len());
    /// written.files.remove().await;
    /// # Ok(())
    /// # }
    /// ```
    #[tracing::instrument(target = "deltalakedb::store", level = "debug", skip_all, fields(table = %self))]
    pub async fn write_data_files(&self, rows: impl Into<Rows>, options: &WriteOptions) -> Result<DataFiles> {
        let (rows, began_at_ms) = (rows.into(), options.clock.now_ms());
        self.check_owner(options)?;
        let state = self.view_at(At::Latest).await?.writing(options);
        let (base, table) = (state.snapshot()?, self.to_string());
        check_writable(&base, &table)?;
        let StagedCommit { actions, files, .. } = append(&state, &base, &table, rows, None, CastMode::Lossless).await?;
        let adds = actions.iter().filter_map(Action::as_add).cloned().collect();
        Ok(DataFiles { adds, files, began_at_ms })
    }

    /// Files at these paths below the table, which the caller wrote and no commit names yet.
    pub fn new_files(&self, paths: Vec<Path>, options: &WriteOptions) -> Result<NewFiles> {
        NewFiles::at(&LogView::nothing_yet(&self.location, &self.stores).writing(options), paths)
    }
}

/// Writes the data files of rows that are added to a table, and describes the commit.
pub(crate) async fn append(
    state: &LogView,
    base: &Snapshot,
    table: &str,
    rows: Rows,
    evolution: Option<SchemaMode>,
    casts: CastMode,
) -> Result<StagedCommit> {
    if evolution.is_none()
        && let Some(append) = PlainAppend::open(state, base)?
    {
        let (rows, refusal) = rows.adapted(table, append.schema(), None, casts)?;
        return refusal.or(append.append(rows).await);
    }
    let empty = VirtualTable::without_files(state).await?;
    let columns = empty.schema()?;
    let (rows, refusal) = rows.adapted(table, &columns, evolution, casts)?;
    refusal.or(empty.append(rows, evolution).await)
}

/// As [`append`], for rows that are in the table already: constraints and generated columns are not checked again, which
/// may use functions that only another engine knows.
pub(crate) async fn append_moved(state: &LogView, base: &Snapshot, table: &str, rows: Rows) -> Result<StagedCommit> {
    let Some(moved) = PlainAppend::of_moved_rows(state, base)? else {
        return append(state, base, table, rows, None, CastMode::Lossless).await;
    };
    let (rows, refusal) = rows.adapted(table, moved.schema(), None, CastMode::Lossless)?;
    refusal.or(moved.append(rows).await)
}
