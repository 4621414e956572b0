//! Filters over the columns that partition a table, which select whole files.

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result as PlanResult, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use deltalakedb_log::Result;
use deltalakedb_log::action::{Add, Metadata};
use deltalakedb_log::snapshot::Head;

use super::columns::ScanColumns;
use crate::delta_rs::floats;
use crate::error::Explain;

/// Whether a filter uses the columns that partition the table only, so that it is true of all rows of a file or of
/// none.
pub(crate) fn selects_files(filter: &Expr, schema: &Schema, metadata: &Metadata) -> bool {
    let columns = filter.column_refs();
    let of_partitions = || columns.iter().all(|column| metadata.partition_columns.contains(&column.name));
    // Floats are compared after the scan made their NaN and zeros one value each.
    !columns.is_empty() && of_partitions() && !filter.is_volatile() && !floats::uses_floats(filter, schema)
}

/// The files that satisfy those of the filters that [`selects_files`]. `table` are the columns of the table.
pub(crate) fn satisfying(
    filters: &[Expr],
    table: &SchemaRef,
    head: &Head,
    files: Vec<Add>,
    session: &dyn Session,
) -> Result<Vec<Add>> {
    let of_files = filters.iter().filter(|filter| selects_files(filter, table, &head.metadata));
    let (Some(filter), false) = (conjunction(of_files.cloned()), files.is_empty()) else { return Ok(files) };
    let columns = ScanColumns::of(table, head)?;
    let rows: Vec<_> = files.iter().map(|add| columns.partition_values(add, 0)).collect::<Result<_>>()?;
    let satisfied = evaluate(filter, &columns.of_partitions()?, &rows, session);
    let satisfied = satisfied.explain(|| "the filters over partition columns cannot be evaluated".into())?;
    Ok(files.into_iter().zip(satisfied).filter_map(|(file, is)| is.then_some(file)).collect())
}

/// Whether each of the rows with these columns satisfies a filter.
fn evaluate(
    filter: Expr,
    columns: &SchemaRef,
    rows: &[Vec<ScalarValue>],
    session: &dyn Session,
) -> PlanResult<Vec<bool>> {
    let null = ScalarValue::Null;
    let values = (0..columns.fields().len())
        .map(|n| ScalarValue::iter_to_array(rows.iter().map(|row| row.get(n).unwrap_or(&null).clone())));
    let values: Vec<ArrayRef> = values.collect::<PlanResult<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(columns.clone(), values, &options)?;
    let filter = session.create_physical_expr(filter, &DFSchema::try_from(columns.clone())?)?;
    let satisfied = filter.evaluate(&batch)?.into_array(rows.len())?;
    // A condition that is the literal null has no type.
    if satisfied.data_type() != &DataType::Boolean {
        return Ok(vec![false; rows.len()]);
    }
    Ok(satisfied.as_boolean().iter().map(|is| is == Some(true)).collect())
}
