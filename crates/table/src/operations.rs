//! Operations on a table: data files first, then one commit that names them.
//!
//! An [`Operation`] runs on a table at a version, or on the staged state of a transaction, and is staged: its files
//! exist, and its commit is a description that a catalog may accept or reject.

mod checks;
mod mark;
mod purge;
mod rewrite;
mod run;
mod stage;

use std::collections::HashMap;

use deltalakedb_log::Result;
use deltalakedb_log::action::Action;
use deltalakedb_log::commit::Committed;
use deltalakedb_log::snapshot::At;
use serde_json::Value;

use crate::delta_rs::{Alter, CastMode, Merge, Optimize, PartitionFilter, Restore, SchemaMode, TableSchema};
use crate::table::DeltaTable;
use crate::table_spec::TableSpec;
use crate::write::{PendingWrite, Rows};
use crate::write_options::{SaveMode, WriteOptions};

pub(crate) use self::stage::StagedOperation;

/// An operation on a table.
#[derive(Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Writes rows.
    Write(WriteRows),
    /// Deletes rows.
    Delete {
        /// The rows that satisfy this condition in SQL; all rows without one.
        filter: Option<String>,
    },
    /// Sets columns to the values of expressions.
    Update {
        /// The columns and their values, in SQL over the row.
        set: Vec<(String, String)>,
        /// Only rows that satisfy this condition in SQL; all rows without one.
        filter: Option<String>,
        /// A value that cannot be cast to the column's type becomes null; otherwise it is an error.
        safe_cast: bool,
    },
    /// Merges rows into the table.
    Merge(Merge, Rows),
    /// Compacts small files.
    Optimize(Optimize),
    /// Rewrites the files that have a deletion vector, without the rows that it hides.
    Purge {
        /// Only files of partitions that match all filters.
        partitions: Vec<PartitionFilter>,
    },
    /// Restores the table to an earlier version.
    Restore(Restore),
    /// Removes files from the log that no longer exist in storage.
    Repair {
        /// Only reports them.
        dry_run: bool,
    },
    /// Replaces the table: other columns, and only the rows of the given files.
    ReplaceTable(TableSpec, TableSchema),
    /// Commits existing files.
    CommitFiles(CommitFiles),
    /// Changes the metadata of the table, not its rows.
    Alter(Alter),
    /// Adds constraints, in SQL by name, which existing rows must satisfy as well.
    AddConstraints(HashMap<String, String>),
}

/// Files that are added or removed without being written here.
#[derive(Clone, Debug)]
pub struct CommitFiles {
    /// The actions that add and remove them.
    pub actions: Vec<Action>,
    /// Removes all previous files.
    pub overwrite: bool,
}

/// Rows to be written, and how they affect existing rows.
#[derive(Debug)]
pub struct WriteRows {
    /// The rows.
    pub rows: Rows,
    /// How an existing table is treated.
    pub mode: SaveMode,
    /// An overwrite replaces only the rows that satisfy this condition in SQL, such as those of a partition; the new
    /// rows must satisfy it as well.
    pub replace_where: Option<String>,
    /// How columns of the rows that the table does not have are treated; without a mode they are rejected.
    pub schema_mode: Option<SchemaMode>,
    /// The partition columns of the table; other ones are rejected, unless the columns are replaced as well.
    pub partition_by: Option<Vec<String>>,
    /// How the types of the rows are converted to those of the table.
    pub casts: CastMode,
}

impl WriteRows {
    /// Writes rows in a mode.
    pub fn new(rows: impl Into<Rows>, mode: SaveMode) -> Self {
        Self {
            rows: rows.into(),
            mode,
            replace_where: None,
            schema_mode: None,
            partition_by: None,
            casts: CastMode::Lossless,
        }
    }
}

/// The result of an operation.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct OperationResult {
    /// The version of its commit; `None` when there was nothing to do.
    pub committed: Option<Committed>,
    /// The metrics of the operation, such as `num_deleted_rows`; null without metrics.
    pub metrics: Value,
}

impl Operation {
    /// Its name in messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Write(_) => "a write",
            Self::Delete { .. } => "a delete",
            Self::Update { .. } => "an update",
            Self::Merge(..) => "a merge",
            Self::Optimize(_) => "an optimize",
            Self::Purge { .. } => "a purge",
            Self::Restore(_) => "a restore",
            Self::Repair { .. } => "a repair",
            Self::ReplaceTable(..) => "a creation",
            Self::CommitFiles(_) => "a commit of files",
            Self::Alter(_) | Self::AddConstraints(_) => "an alter",
        }
    }
}

impl DeltaTable {
    /// Writes the data files of a write and describes the commit. `None` when there is nothing to do.
    ///
    /// The rows must fit the table: numbers may be narrower, encodings may differ, nullable columns may be missing. An
    /// append does not read the table's files, so its cost does not depend on their number; it conflicts only with
    /// changes of schema or protocol. An overwrite conflicts with every other commit.
    pub async fn prepare_write(
        &self,
        rows: impl Into<Rows>,
        mode: SaveMode,
        options: &WriteOptions,
    ) -> Result<Option<PendingWrite>> {
        self.prepare(Operation::Write(WriteRows::new(rows, mode)), options).await
    }

    /// Writes rows in one commit. `None` when there was nothing to do.
    ///
    /// ```no_run
    /// # use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    /// # use std::sync::Arc;
    /// use deltalakedb_table::{DeltaTable, SaveMode, WriteOptions};
    ///
    /// # async fn example() -> deltalakedb_log::Result<()> {
    /// let table = DeltaTable::open("/data/orders").await?;
    /// let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    /// let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    /// let committed = table.write(vec![rows], SaveMode::Append, &WriteOptions::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write(
        &self,
        rows: impl Into<Rows>,
        mode: SaveMode,
        options: &WriteOptions,
    ) -> Result<Option<Committed>> {
        Ok(self.run(Operation::Write(WriteRows::new(rows, mode)), options).await?.committed)
    }

    /// Deletes the rows that satisfy a condition in SQL; all rows without one. Only files that may have such rows are
    /// read.
    pub async fn delete(&self, filter: Option<&str>, options: &WriteOptions) -> Result<OperationResult> {
        self.run(Operation::Delete { filter: filter.map(String::from) }, options).await
    }

    /// Sets columns of the rows that satisfy a condition in SQL, of all rows without one, to the values of expressions.
    ///
    /// ```no_run
    /// # use deltalakedb_table::{DeltaTable, WriteOptions};
    /// # async fn example(table: DeltaTable) -> deltalakedb_log::Result<()> {
    /// table.update(&[("price", "price * 2")], Some("id = 7"), &WriteOptions::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update(
        &self,
        set: &[(&str, &str)],
        filter: Option<&str>,
        options: &WriteOptions,
    ) -> Result<OperationResult> {
        let set = set.iter().map(|(column, value)| (column.to_string(), value.to_string())).collect();
        let (filter, safe_cast) = (filter.map(String::from), false);
        self.run(Operation::Update { set, filter, safe_cast }, options).await
    }

    /// Merges rows into the table.
    ///
    /// ```no_run
    /// # use deltalakedb_table::{Assignments, DeltaTable, Merge, MergeClause, Rows, WriteOptions};
    /// # async fn example(table: DeltaTable, rows: Rows) -> deltalakedb_log::Result<()> {
    /// let upsert = Merge::on("target.id = source.id")
    ///     .when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All })
    ///     .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All });
    /// table.merge(upsert, rows, &WriteOptions::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn merge(&self, merge: Merge, rows: impl Into<Rows>, options: &WriteOptions) -> Result<OperationResult> {
        self.run(Operation::Merge(merge, rows.into()), options).await
    }

    /// Compacts small files, or clusters rows by columns (Z-order). No row changes.
    pub async fn optimize(&self, optimize: Optimize, options: &WriteOptions) -> Result<OperationResult> {
        self.run(Operation::Optimize(optimize), options).await
    }

    /// Rewrites the files that have a deletion vector without the rows that it hides, in partitions that match all
    /// filters. Other files stay as they are, and no row changes.
    pub async fn purge(&self, partitions: Vec<PartitionFilter>, options: &WriteOptions) -> Result<OperationResult> {
        self.run(Operation::Purge { partitions }, options).await
    }

    /// Restores the table to an earlier version; this creates a new version.
    pub async fn restore(&self, to: At, options: &WriteOptions) -> Result<OperationResult> {
        self.run(Operation::Restore(to.into()), options).await
    }

    /// Changes the metadata of the table: its columns, properties, description.
    pub async fn alter(&self, alter: Alter, options: &WriteOptions) -> Result<OperationResult> {
        self.run(Operation::Alter(alter), options).await
    }

    /// Adds a constraint in SQL, which existing rows must satisfy as well.
    pub async fn constrain(&self, name: &str, condition: &str, options: &WriteOptions) -> Result<OperationResult> {
        self.run(Operation::AddConstraints(HashMap::from([(name.into(), condition.into())])), options).await
    }

    /// Sets properties, such as `delta.enableChangeDataFeed`.
    pub async fn set_properties(&self, properties: &[(&str, &str)], options: &WriteOptions) -> Result<OperationResult> {
        let properties: HashMap<_, _> = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        self.alter(Alter::SetProperties { properties, unknown: false }, options).await
    }
}
