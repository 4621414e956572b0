//! The rows of a table for DataFusion: hot and cold ones, which are disjoint.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_table::datafusion::catalog::{Session, TableProvider};
use deltalakedb_table::datafusion::common::{DataFusionError, Result as PlanResult, ScalarValue};
use deltalakedb_table::datafusion::datasource::memory::MemorySourceConfig;
use deltalakedb_table::datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use deltalakedb_table::datafusion::physical_expr::PhysicalExpr;
use deltalakedb_table::datafusion::physical_expr::expressions::{Column, lit};
use deltalakedb_table::datafusion::physical_plan::ExecutionPlan;
use deltalakedb_table::datafusion::physical_plan::projection::ProjectionExec;
use deltalakedb_table::datafusion::physical_plan::streaming::StreamingTableExec;
use deltalakedb_table::datafusion::physical_plan::union::UnionExec;
use deltalakedb_table::{FILE_COLUMN, POSITION_COLUMN};

use crate::blocking::blocking;
use crate::definition::{DELETED_COLUMN, SEQ_COLUMN};
use crate::table_view::{TableView, encoded_keys};

/// Which columns a relation has beside those of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SystemColumns {
    None,
    /// `_seq` and `_deleted`.
    Queried,
    /// These, and [`FILE_COLUMN`] and [`POSITION_COLUMN`], which are null in hot rows.
    WithPositions,
}

/// A row table at a snapshot.
pub(crate) struct RowTableProvider {
    view: TableView,
    schema: SchemaRef,
}

impl RowTableProvider {
    pub(crate) fn new(view: TableView, system: SystemColumns) -> Self {
        let columns = view.table.cold_columns.fields();
        let mut fields: Vec<_> = columns.iter().filter(|field| !is_system(field)).cloned().collect();
        if system != SystemColumns::None {
            fields.extend(columns.iter().filter(|field| field.name() == SEQ_COLUMN).cloned());
            fields.push(Arc::new(Field::new(DELETED_COLUMN, DataType::Boolean, false)));
        }
        if system == SystemColumns::WithPositions {
            let positions = columns.iter().filter(|field| is_position(field));
            fields.extend(positions.map(|field| Arc::new(Field::clone(field).with_nullable(true))));
        }
        let schema = Arc::new(Schema::new(fields));
        Self { view, schema }
    }

    async fn cold_scan(
        &self,
        session: &dyn Session,
        schema: &SchemaRef,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let cold = self.view.cold_rows(|_| true).map_err(external)?;
        let columns = cold.schema();
        let stored = schema.fields().iter().filter(|field| field.name() != DELETED_COLUMN);
        let projection = stored.map(|field| columns.index_of(field.name())).collect::<Result<Vec<_>, _>>()?;
        let in_cold = |filter: &&Expr| filter.column_refs().iter().all(|column| columns.index_of(&column.name).is_ok());
        let filters: Vec<_> = filters.iter().filter(in_cold).cloned().collect();
        let scan = cold.scan(session, Some(&projection), &filters, limit).await?;
        if projection.len() == schema.fields().len() {
            return Ok(scan);
        }
        let mut place = 0;
        let columns = schema.fields().iter().map(|field| {
            let value: Arc<dyn PhysicalExpr> = if field.name() == DELETED_COLUMN {
                lit(false)
            } else {
                place += 1;
                Arc::new(Column::new(field.name(), place - 1))
            };
            (value, field.name().clone())
        });
        let columns: Vec<_> = columns.collect();
        Ok(Arc::new(ProjectionExec::try_new(columns, scan)?))
    }

    /// The encoded key of the only row that can satisfy the filters, if they have a value for each column of the key.
    fn key_of(&self, filters: &[Expr]) -> Option<Vec<u8>> {
        let table = &self.view.table;
        let (mut fields, mut values) = (Vec::new(), Vec::new());
        for column in table.definition.key_columns() {
            let value = filters.iter().find_map(|filter| equal_to(filter, column.name()))?;
            // A value of another type may equal several keys, or be null.
            let value = match value.cast_to(column.field().data_type()) {
                Ok(cast) if is_same_kind(value, column.field().data_type()) && !cast.is_null() => cast,
                _ => return None,
            };
            fields.push(column.field().clone());
            values.push(value.to_array().ok()?);
        }
        let row = RecordBatch::try_new(Arc::new(Schema::new(fields)), values).ok()?;
        encoded_keys(table, &row).ok()?.pop()
    }
}

/// The value that a filter compares a column with.
fn equal_to<'a>(filter: &'a Expr, name: &str) -> Option<&'a ScalarValue> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return None };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(column))
            if column.name == name =>
        {
            Some(value)
        }
        _ => None,
    }
}

/// Whether values of two types that are equal have equal keys.
fn is_same_kind(value: &ScalarValue, column: &DataType) -> bool {
    use DataType as T;
    let is_text = |of_type: &T| matches!(of_type, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let is_bytes = |of_type: &T| matches!(of_type, T::Binary | T::LargeBinary | T::BinaryView);
    let of_value = value.data_type();
    of_value == *column || is_text(&of_value) && is_text(column) || is_bytes(&of_value) && is_bytes(column)
}

fn external(e: TxnLogError) -> DataFusionError {
    DataFusionError::External(e.into())
}

fn is_system(field: &FieldRef) -> bool {
    field.name() == SEQ_COLUMN || is_position(field)
}

fn is_position(field: &FieldRef) -> bool {
    field.name() == FILE_COLUMN || field.name() == POSITION_COLUMN
}

#[async_trait]
impl TableProvider for RowTableProvider {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> PlanResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => self.schema.clone(),
        };
        if let Some(key) = self.key_of(filters) {
            let (view, of_row) = (self.view.clone(), schema.clone());
            let row = blocking(move || view.row_of_key(&key, &of_row)).await.map_err(external)?;
            return Ok(MemorySourceConfig::try_new_exec(&[row.into_iter().collect()], schema, None)?);
        }
        let has_cold = !self.view.cold.files.is_empty();
        if has_cold && !self.view.has_hot_changes().map_err(external)? {
            return self.cold_scan(session, &schema, filters, limit).await;
        }
        let hot = self.view.hot_scan(schema.clone()).map_err(external)?;
        let hot = StreamingTableExec::try_new(schema.clone(), vec![Arc::new(hot)], None, [], false, limit)?;
        if !has_cold {
            return Ok(Arc::new(hot));
        }
        let cold = self.cold_scan(session, &schema, filters, limit).await?;
        UnionExec::try_new(vec![cold, Arc::new(hot)])
    }
}

impl fmt::Debug for RowTableProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowTableProvider").field("table", &self.view.table).finish_non_exhaustive()
    }
}
