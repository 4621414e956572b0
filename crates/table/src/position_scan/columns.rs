//! The columns of a table, of its data files, and of the scan between them.
//!
//! Data files have columns by their physical names (column mapping), without the columns that partition the table, and
//! nested fields of which other writers may have made optional ones. The scan reads columns of files and then those of
//! partitions; what it returns is put into the order, names and types of the table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use deltalakedb_log::action::Add;
use deltalakedb_log::features::maps_columns;
use deltalakedb_log::predicate::Literal;
use deltalakedb_log::schema::{Column as LogColumn, PrimitiveType, Schema};
use deltalakedb_log::snapshot::Head;
use deltalakedb_log::stats::FileStats;
use deltalakedb_log::{Result, TxnLogError};
use parquet::arrow::RowNumber;

use super::casts::with_type_of;
use super::estimates::Estimates;
use crate::error::Explain;
use crate::statistics_request::scalar;

/// The key under which a field has its name in data files.
const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";

/// The column of the scan with the number of a row's file among those scanned.
pub const FILE_COLUMN: &str = "__deltalakedb_file";

/// The column of the scan with the position of a row in its file.
pub const POSITION_COLUMN: &str = "__deltalakedb_position";

/// The columns of a table, and behind them where each row is.
pub(crate) fn with_positions(table: &SchemaRef) -> SchemaRef {
    let position = Field::new(POSITION_COLUMN, DataType::Int64, true).with_extension_type(RowNumber);
    let added = [Field::new(FILE_COLUMN, DataType::UInt32, false), position];
    let fields = table.fields().iter().cloned().chain(added.map(Arc::new));
    Arc::new(ArrowSchema::new(fields.collect::<Fields>()))
}

/// The columns of a table and of the scan of its files.
pub(super) struct ScanColumns {
    table: SchemaRef,
    log: Schema,
    in_scan: TableSchema,
    /// Where each column of the table is in the scan.
    places: Vec<usize>,
}

impl ScanColumns {
    pub(super) fn of(table: &SchemaRef, head: &Head) -> Result<Self> {
        let metadata = &head.metadata;
        let log = Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
        let is_mapped = maps_columns(&head.protocol, metadata);
        let (mut of_files, mut of_partitions, mut computed) = (Vec::new(), Vec::new(), Vec::new());
        for field in table.fields() {
            if field.name() == POSITION_COLUMN {
                computed.push(field.clone());
            } else if field.name() == FILE_COLUMN || metadata.partition_columns.contains(field.name()) {
                of_partitions.push(in_files(field, is_mapped));
            } else {
                of_files.push(in_files(field, is_mapped));
            }
        }
        let in_scan = TableSchema::builder(Arc::new(ArrowSchema::new(of_files)))
            .with_table_partition_cols(of_partitions)
            .with_virtual_columns(computed)
            .build();
        let place = |field: &FieldRef| in_scan.table_schema().index_of(in_files(field, is_mapped).name());
        let places = table.fields().iter().map(place).collect::<Result<_, ArrowError>>();
        let places = places.explain(|| "the columns of the table cannot be found in its files".into())?;
        Ok(Self { table: table.clone(), log, in_scan, places })
    }

    /// The columns as the scan reads them: those of files, then those of partitions.
    pub(super) fn in_scan(&self) -> &TableSchema {
        &self.in_scan
    }

    /// Where these columns of the table are in the scan.
    pub(super) fn indices_in_scan(&self, projection: &[usize]) -> Vec<usize> {
        projection.iter().map(|n| self.places[*n]).collect()
    }

    /// The columns of [`Self::partition_values`] as the table names them.
    pub(super) fn of_partitions(&self) -> Result<SchemaRef> {
        let of_files = self.in_scan.file_schema().fields().len();
        let end = of_files + self.in_scan.table_partition_cols().len();
        let at = |n: usize| self.places.iter().position(|place| *place == n);
        let columns: Option<Vec<usize>> = (of_files..end).map(at).collect();
        let columns = columns.map(|columns| self.table.project(&columns));
        let columns = columns.unwrap_or_else(|| Err(ArrowError::SchemaError("a partition column is missing".into())));
        Ok(Arc::new(columns.explain(|| "the columns of the table cannot be found in its files".into())?))
    }

    /// Estimates for those columns of the scan that are `wanted`.
    pub(super) fn estimates(&self, wanted: &[usize]) -> Estimates<'_> {
        Estimates::new(&self.log, self.in_scan.table_schema().fields(), wanted)
    }

    /// The statistics of a file in the log.
    pub(super) fn stats<'a>(&'a self, add: &'a Add) -> FileStats<'a> {
        FileStats::new(&self.log, add)
    }

    /// The values of the columns that partition the table, in the order of the scan, and the number of the file.
    pub(super) fn partition_values(&self, add: &Add, file: u32) -> Result<Vec<ScalarValue>> {
        let values = self.in_scan.table_partition_cols().iter().map(|field| {
            if field.name() == FILE_COLUMN {
                return Ok(Some(ScalarValue::UInt32(Some(file))));
            }
            let column = self.log.columns().iter().find(|column| column.physical_name == *field.name());
            // The protocol defines the empty text as null for every type; delta-rs writes and reads it as a text.
            let is_text = column.is_some_and(|c| c.data_type.is_none_or(|of| of == PrimitiveType::String));
            let text = add.partition_values.get(field.name()).cloned().flatten();
            let Some(text) = text.filter(|text| is_text || !text.is_empty()) else {
                return Ok(ScalarValue::try_new_null(field.data_type()).ok());
            };
            Ok(column.and_then(|column| partition_value(column, &text, field.data_type())))
        });
        let known = |value: Result<Option<ScalarValue>>| {
            value?.ok_or_else(|| {
                let what = format!("the partition values of the file {:?} cannot be read", add.path);
                TxnLogError::corrupt(what)
            })
        };
        values.map(known).collect()
    }

    /// The columns that a scan returns for a projection, as columns of the table.
    pub(super) fn as_in_table(
        &self,
        scan: Arc<dyn ExecutionPlan>,
        projection: &[usize],
        options: &Arc<ConfigOptions>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let schema = scan.schema();
        let wanted = projection.iter().map(|n| self.table.fields()[*n].clone());
        if wanted.clone().eq(schema.fields().iter().cloned()) {
            return Ok(scan);
        }
        let columns = wanted.zip(schema.fields()).enumerate().map(|(n, (field, scanned))| {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(scanned.name(), n));
            let value: Arc<dyn PhysicalExpr> = if scanned.data_type() == field.data_type() {
                column
            } else {
                with_type_of(column, &field, options.clone())
            };
            (value, field.name().clone())
        });
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), scan)?))
    }
}

/// A column as data files have it: by its physical name, and nested fields may be null whatever the table says, which
/// is a promise of writers and need not be in their files.
fn in_files(field: &FieldRef, is_mapped: bool) -> FieldRef {
    let name = field.metadata().get(PHYSICAL_NAME).filter(|_| is_mapped).unwrap_or(field.name());
    let data_type = type_in_files(field.data_type(), is_mapped);
    Arc::new(Field::clone(field).with_name(name).with_data_type(data_type))
}

fn type_in_files(data_type: &DataType, is_mapped: bool) -> DataType {
    let nested = |field: &FieldRef| Arc::new(Field::clone(&in_files(field, is_mapped)).with_nullable(true));
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nested).collect()),
        DataType::List(item) => DataType::List(nested(item)),
        DataType::Map(entries, is_sorted) => {
            let DataType::Struct(of_entries) = entries.data_type() else { return data_type.clone() };
            // Arrow has no maps with keys that are null.
            let key = of_entries.first().map(|key| in_files(key, is_mapped));
            let fields: Fields = key.into_iter().chain(of_entries.iter().skip(1).map(nested)).collect();
            let entries = Field::clone(entries).with_data_type(DataType::Struct(fields));
            DataType::Map(Arc::new(entries), *is_sorted)
        }
        other => other.clone(),
    }
}

/// The value that the text of a partition value means, as one of that type; `None` if it means none.
fn partition_value(column: &LogColumn, text: &str, data_type: &DataType) -> Option<ScalarValue> {
    let Some(of) = column.data_type else {
        // Bytes, which have no order that planning uses.
        return ScalarValue::Binary(Some(text.into())).cast_to(data_type).ok();
    };
    match (of.parse_partition_value(text)?, data_type) {
        // A cast to a type without a zone would be a change of the value in another zone than UTC.
        (Literal::Timestamp(at), DataType::Timestamp(_, zone)) => {
            Some(ScalarValue::TimestampMicrosecond(Some(at), zone.clone()))
        }
        (value, data_type) => scalar(value, data_type),
    }
}
