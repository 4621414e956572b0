//! Changing a table with delta-rs: it makes the data files and says what it would commit.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::execute_stream;
use deltalake_core::DeltaTable;
use deltalake_core::operations::optimize::OptimizeType;
use deltalake_core::operations::update_table_metadata::TableMetadataUpdate;
use deltalake_core::table::state::DeltaTableState;
use deltalakedb_log::{Result, TxnLogError, Version};
use serde::Serialize;
use serde_json::Value;

use super::write::no_hooks;
use super::{Captured, Matching, TableSchema, VirtualTable, Whole, session_context};
use crate::error::Explain;

/// How files are put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Optimize {
    /// Columns along whose values rows are laid out (Z-order); none: small files are only put together.
    pub zorder: Vec<String>,
    /// The size files should get, in bytes; `None`: the table's property, or delta-rs' default.
    pub target_size: Option<NonZeroU64>,
}

/// A change of what a table is, not of its rows.
#[derive(Clone, Debug)]
pub enum Alter {
    /// Adds columns, which are null in every row there is.
    AddColumns(TableSchema),
    /// Sets properties, such as `delta.enableChangeDataFeed`.
    SetProperties(HashMap<String, String>),
    /// Takes a constraint away.
    DropConstraint {
        /// Its name.
        name: String,
    },
    /// Lets a column be null.
    DropNotNull {
        /// The column.
        column: String,
    },
    /// Says what the table is about.
    Describe {
        /// The name in its metadata, which has nothing to do with the catalog's.
        name: Option<String>,
        /// What it is about.
        description: Option<String>,
    },
}

impl VirtualTable {
    /// The table as delta-rs has it.
    pub(super) fn theirs(&self) -> DeltaTable {
        let mut table = DeltaTable::new(self.log_store.clone());
        table.state = Some(DeltaTableState::new(self.snapshot.clone()));
        table
    }

    /// Changes what can be changed without looking at rows.
    pub(crate) async fn alter(self, alter: Alter) -> Result<Captured> {
        let table = self.theirs();
        let none = |_: DeltaTable| Value::Null;
        match alter {
            Alter::AddColumns(columns) => {
                let add = table.add_columns().with_fields(columns.fields()).with_commit_properties(no_hooks());
                self.capture("the columns cannot be added", add, none).await
            }
            Alter::SetProperties(properties) => {
                let set = table.set_tbl_properties().with_properties(properties).with_commit_properties(no_hooks());
                self.capture("the properties cannot be set", set, none).await
            }
            Alter::DropConstraint { name } => {
                let drop = table.drop_constraints().with_constraint(name).with_commit_properties(no_hooks());
                self.capture("the constraint cannot be dropped", drop, none).await
            }
            Alter::DropNotNull { column } => {
                let drop = table.drop_column_not_null().with_column(column).with_commit_properties(no_hooks());
                self.capture("the column cannot be made nullable", drop, none).await
            }
            Alter::Describe { name, description } => {
                let update = table
                    .update_table_metadata()
                    .with_update(TableMetadataUpdate { name, description })
                    .with_commit_properties(no_hooks());
                self.capture("the description cannot be changed", update, none).await
            }
        }
    }

    /// What changed from a version to another, both included: the rows, and beside them `_change_type`,
    /// `_commit_version` and `_commit_timestamp`.
    pub(crate) async fn changes(self, from: Version, to: Version) -> Result<SendableRecordBatchStream> {
        let failed = || format!("the changes of versions {from} to {to} cannot be read");
        let session = session_context()?;
        let scan = self.theirs().scan_cdf().with_starting_version(from).with_ending_version(to);
        let plan = scan.build(&session.state(), None).await.explain(failed)?;
        execute_stream(plan, session.task_ctx()).explain(failed)
    }
}

impl Matching {
    /// Deletes the rows that satisfy the condition; all, where there is none.
    pub(crate) async fn delete(self) -> Result<Captured> {
        let mut delete = self.table.theirs().delete().with_session_state(state()?).with_commit_properties(no_hooks());
        if let Some(condition) = self.condition {
            delete = delete.with_predicate(condition);
        }
        self.table.capture("the rows cannot be deleted", delete, metrics).await
    }

    /// Sets columns of the rows that satisfy the condition to the values of expressions over them.
    pub(crate) async fn update(self, set: &[(String, String)]) -> Result<Captured> {
        let mut update = self.table.theirs().update().with_session_state(state()?).with_commit_properties(no_hooks());
        if let Some(condition) = self.condition {
            update = update.with_predicate(condition);
        }
        for (column, value) in set {
            update = update.with_update(column.as_str(), value.as_str());
        }
        self.table.capture("the rows cannot be updated", update, metrics).await
    }
}

impl Whole {
    /// Adds a condition that every row satisfies, those that are there included.
    pub(crate) async fn constrain(self, name: String, condition: String) -> Result<Captured> {
        let add = self
            .0
            .theirs()
            .add_constraint()
            .with_session_state(state()?)
            .with_constraint(name, condition)
            .with_commit_properties(no_hooks());
        self.0.capture("the constraint cannot be added", add, |_| Value::Null).await
    }

    /// Puts files together.
    pub(crate) async fn optimize(self, how: &Optimize) -> Result<Captured> {
        let kind = match how.zorder.is_empty() {
            true => OptimizeType::Compact,
            false => OptimizeType::ZOrder(how.zorder.clone()),
        };
        let mut optimize =
            self.0.theirs().optimize().with_type(kind).with_session_state(state()?).with_commit_properties(no_hooks());
        if let Some(size) = how.target_size {
            optimize = optimize.with_target_size(size);
        }
        self.0.capture("the files cannot be put together", optimize, metrics).await
    }

    /// Makes the table what it was at an earlier version.
    pub(crate) async fn restore(self, version: Version) -> Result<Captured> {
        let current = self.0.base().version();
        if version >= current {
            return Err(TxnLogError::invalid(format!(
                "version {version} cannot be restored: the table is at version {current}, give an earlier one"
            )));
        }
        let restore = self.0.theirs().restore().with_version_to_restore(version).with_commit_properties(no_hooks());
        self.0.capture("the version cannot be restored", restore, metrics).await
    }
}

/// The settings and stores operations run with.
pub(super) fn state() -> Result<Arc<SessionState>> {
    Ok(Arc::new(session_context()?.state()))
}

/// What an operation says of itself.
pub(super) fn metrics<M: Serialize>((_, metrics): (DeltaTable, M)) -> Value {
    serde_json::to_value(metrics).unwrap_or_default()
}
