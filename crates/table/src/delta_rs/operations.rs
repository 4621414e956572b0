//! Delete and update, and the listings of files that delta-rs makes.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use deltalake_core::DeltaTable;
use deltalake_core::table::state::DeltaTableState;
use deltalakedb_log::Result;
use serde::Serialize;
use serde_json::Value;

use super::log_store::VirtualLogStore;
use super::{Columns, PrunedTable, StagedCommit, VirtualTable, alias, session_context};
use crate::error::Explain;

impl VirtualTable {
    /// The assignments of an update, with those of generated columns that depend on them; columns as in expressions.
    pub(crate) fn assignments(&self, set: &[(String, String)]) -> Result<Vec<(String, Expr)>> {
        let columns = Columns::of(&self.schema()?)?;
        let set = set.iter().map(|(column, value)| Ok((column.clone(), columns.read("value", value)?)));
        self.generated()?.complete_update(set.collect::<Result<_>>()?, None)
    }

    /// The table as a type of delta-rs.
    pub(super) fn delta_table(&self) -> DeltaTable {
        self.delta_table_in(self.log_store.clone())
    }

    pub(super) fn delta_table_in(&self, log_store: Arc<VirtualLogStore>) -> DeltaTable {
        let mut table = DeltaTable::new(log_store);
        table.state = Some(DeltaTableState::new(self.snapshot.clone()));
        table
    }

    /// The add actions of its files as columns.
    pub(crate) fn add_actions(&self, flat: bool) -> Result<RecordBatch> {
        let failed = || "the files cannot be listed".to_string();
        let listed = self.snapshot.add_actions_table(flat).explain(failed)?;
        let mut columns = listed.columns().to_vec();
        for (field, column) in listed.schema_ref().fields().iter().zip(&mut columns) {
            if field.name() == "path" {
                let texts = cast(column, &DataType::Utf8).explain(failed)?;
                let paths = texts.as_string::<i32>().iter().map(|path| {
                    let path = path?;
                    Some(alias::path_of_alias(path).map_or(Cow::Borrowed(path), Cow::Owned))
                });
                *column = cast(&paths.collect::<StringArray>(), field.data_type()).explain(failed)?;
            }
        }
        RecordBatch::try_new(listed.schema(), columns).explain(failed)
    }

    /// The files that have deletion vectors, with a flag for each row that is kept.
    pub(crate) async fn deletion_vectors(&self) -> Result<Vec<(String, Vec<bool>)>> {
        let (session, provider) = (session_context(self.log_store.stores())?, self.provider()?);
        let found = provider.deletion_vectors(&session.state()).await;
        let found = found.explain(|| "the deletion vectors cannot be read".into())?;
        Ok(found.into_iter().map(|vector| (self.log_store.public_url(&vector.filepath), vector.keep_mask)).collect())
    }
}

impl PrunedTable {
    /// Deletes the rows that satisfy the condition; all rows without one.
    pub(crate) async fn delete(self) -> Result<StagedCommit> {
        let commit = self.table.commit_properties();
        let mut delete =
            self.table.delta_table().delete().with_session_state(state(&self.table)?).with_commit_properties(commit);
        if let Some(parquet) = self.table.options.parquet.clone() {
            delete = delete.with_writer_properties(parquet);
        }
        if let Some(condition) = &self.condition {
            delete = delete.with_predicate(condition.is_true.clone());
        }
        Ok(self.table.capture("the rows cannot be deleted", delete, metrics).await?.of(self.condition.as_ref()))
    }

    /// Sets columns of the rows that satisfy the condition to the values of expressions.
    pub(crate) async fn update(self, set: &[(String, String)], safe_cast: bool) -> Result<StagedCommit> {
        let commit = self.table.commit_properties();
        let mut update =
            self.table.delta_table().update().with_session_state(state(&self.table)?).with_commit_properties(commit);
        update = update.with_safe_cast(safe_cast);
        if let Some(parquet) = self.table.options.parquet.clone() {
            update = update.with_writer_properties(parquet);
        }
        if let Some(condition) = &self.condition {
            update = update.with_predicate(condition.is_true.clone());
        }
        for (column, value) in self.table.assignments(set)? {
            update = update.with_update(column.as_str(), value);
        }
        Ok(self.table.capture("the rows cannot be updated", update, metrics).await?.of(self.condition.as_ref()))
    }
}

/// The settings and stores of operations.
pub(super) fn state(table: &VirtualTable) -> Result<Arc<SessionState>> {
    Ok(Arc::new(session_context(table.log_store.stores())?.state()))
}

/// The metrics of an operation.
pub(super) fn metrics<M: Serialize>((_, metrics): (DeltaTable, M)) -> Value {
    serde_json::to_value(metrics).unwrap_or_default()
}
