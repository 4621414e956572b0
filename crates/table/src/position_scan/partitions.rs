//! Filters over the columns that partition a table, which select whole files.

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result as PlanResult, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use deltalakedb_log::action::Metadata;

use crate::delta_rs::floats;

/// A file, and how many of its rows are visible.
pub(super) struct ScanFile {
    pub(super) file: PartitionedFile,
    pub(super) visible: usize,
}

/// Whether a filter uses the columns that partition the table only, so that it is true of all rows of a file or of
/// none.
pub(crate) fn selects_files(filter: &Expr, schema: &Schema, metadata: &Metadata) -> bool {
    let columns = filter.column_refs();
    let of_partitions = || columns.iter().all(|column| metadata.partition_columns.contains(&column.name));
    // Floats are compared after the scan made their NaN and zeros one value each.
    !columns.is_empty() && of_partitions() && !filter.is_volatile() && !floats::uses_floats(filter, schema)
}

/// The files that satisfy those filters. `columns` are those of the partition values.
pub(super) fn satisfying(
    filters: Vec<Expr>,
    columns: &SchemaRef,
    files: Vec<ScanFile>,
    session: &dyn Session,
) -> PlanResult<Vec<ScanFile>> {
    let (Some(filter), false) = (conjunction(filters), files.is_empty()) else { return Ok(files) };
    let values = (0..columns.fields().len()).map(|n| {
        let null = ScalarValue::Null;
        ScalarValue::iter_to_array(files.iter().map(|file| file.file.partition_values.get(n).unwrap_or(&null).clone()))
    });
    let values: Vec<ArrayRef> = values.collect::<PlanResult<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
    let rows = RecordBatch::try_new_with_options(columns.clone(), values, &options)?;
    let filter = session.create_physical_expr(filter, &DFSchema::try_from(columns.clone())?)?;
    let satisfied = filter.evaluate(&rows)?.into_array(files.len())?;
    // A condition that is the literal null has no type.
    if satisfied.data_type() != &DataType::Boolean {
        return Ok(Vec::new());
    }
    let satisfied = satisfied.as_boolean().iter().map(|is| is == Some(true));
    Ok(files.into_iter().zip(satisfied).filter_map(|(file, is)| is.then_some(file)).collect())
}
