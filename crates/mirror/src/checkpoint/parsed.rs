//! Typed statistics and partition values, for tables that need them in addition to or instead of their JSON text
//! (`delta.checkpoint.writeStatsAsStruct`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use deltalakedb_log::action::{Add, Metadata};
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use serde_json::Value;

/// The typed columns of an add, by physical column names; empty if the table does not need them.
#[derive(Default)]
pub(super) struct Parsed {
    stats: Fields,
    partitions: Fields,
}

impl Parsed {
    /// The typed columns of a table with this metadata.
    pub(super) fn new(metadata: &Metadata, deletion_vectors: bool) -> Result<Self> {
        let schema: Value = serde_json::from_str(&metadata.schema_string)
            .map_err(|e| TxnLogError::corrupt("the table's schema cannot be read").with_source(e))?;
        let all = members(&schema);
        let is_partition = |field: &Value| {
            field.get("name").and_then(Value::as_str).is_some_and(|n| metadata.partition_columns.iter().any(|p| p == n))
        };
        let (partitions, data): (Vec<_>, Vec<_>) = all.iter().partition(|field| is_partition(field));
        let typed = |field: &&Value| Some(Field::new(physical(field)?, primitive(field.get("type")?)?, true));
        let mut stats = vec![Field::new("numRecords", DataType::Int64, true)];
        let mut push = |name: &str, fields: Vec<Field>| {
            if !fields.is_empty() {
                stats.push(Field::new(name, DataType::Struct(fields.into()), true));
            }
        };
        push("minValues", bounds(&data));
        push("maxValues", bounds(&data));
        push("nullCount", null_counts(&data));
        if deletion_vectors {
            stats.push(Field::new("tightBounds", DataType::Boolean, true));
        }
        Ok(Self { stats: stats.into(), partitions: partitions.iter().filter_map(typed).collect() })
    }

    /// The fields of these columns.
    pub(super) fn fields(&self) -> Vec<Field> {
        let present = [("stats_parsed", &self.stats), ("partitionValues_parsed", &self.partitions)];
        let present = present.into_iter().filter(|(_, fields)| !fields.is_empty());
        present.map(|(name, fields)| Field::new(name, DataType::Struct(fields.clone()), true)).collect()
    }

    /// The columns, in the order of the fields.
    pub(super) fn columns(&self, adds: &[Add]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        if !self.stats.is_empty() {
            columns.push(self.stats_of(adds).map_err(failed)?);
        }
        if !self.partitions.is_empty() {
            let values = self.partitions.iter().map(|field| partition_values(adds, field));
            let values = values.collect::<Result<Vec<_>>>()?;
            let parsed = StructArray::try_new_with_length(self.partitions.clone(), values, None, adds.len());
            columns.push(Arc::new(parsed.map_err(failed)?));
        }
        Ok(columns)
    }

    fn stats_of(&self, adds: &[Add]) -> Result<ArrayRef, ArrowError> {
        let schema = Arc::new(Schema::new(self.stats.clone()));
        let texts: Vec<&str> = adds.iter().map(|add| add.stats.as_deref().unwrap_or("{}")).collect();
        let (decoded, mut readable) = decode(&schema, &texts)?;
        for (readable, add) in readable.iter_mut().zip(adds) {
            *readable &= add.stats.is_some();
        }
        let columns = decoded.columns().to_vec();
        Ok(Arc::new(StructArray::try_new(self.stats.clone(), columns, Some(NullBuffer::from(readable)))?))
    }
}

/// Statistics as rows, and which of them could be parsed: those that do not fit their column are ignored.
fn decode(schema: &SchemaRef, texts: &[&str]) -> Result<(RecordBatch, Vec<bool>), ArrowError> {
    let decoded = || {
        let mut decoder = ReaderBuilder::new(schema.clone()).with_batch_size(texts.len().max(1)).build_decoder()?;
        for text in texts {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                match decoder.decode(rest)? {
                    0 => return Err(ArrowError::JsonError("more than one object".into())),
                    read => rest = &rest[read..],
                }
            }
        }
        match decoder.flush()? {
            Some(rows) if rows.num_rows() == texts.len() => Ok(rows),
            None if texts.is_empty() => Ok(RecordBatch::new_empty(schema.clone())),
            _ => Err(ArrowError::JsonError("not one object each".into())),
        }
    };
    match (decoded(), texts.len()) {
        (Ok(rows), n) => Ok((rows, vec![true; n])),
        (Err(e), 1) if texts[0] == "{}" => Err(e),
        (Err(_), 1) => Ok((decode(schema, &["{}"])?.0, vec![false])),
        (Err(_), n) => {
            let (first, second) = texts.split_at(n / 2);
            let ((a, mut readable), (b, more)) = (decode(schema, first)?, decode(schema, second)?);
            readable.extend(more);
            Ok((concat_batches(schema, [&a, &b])?, readable))
        }
    }
}

/// The values of a partition column. A value with a wrong type is an error: read as null, it would exclude files.
fn partition_values(adds: &[Add], field: &Field) -> Result<ArrayRef> {
    let text = |add: &'_ Add| -> Option<String> {
        add.partition_values.get(field.name()).cloned().flatten().filter(|text| !text.is_empty())
    };
    let texts: StringArray = adds.iter().map(text).collect();
    let exactly = CastOptions { safe: false, ..CastOptions::default() };
    let values = cast_with_options(&texts, field.data_type(), &exactly).map_err(|e| {
        let message =
            format!("a partition value of the column {:?} is not a valid {}", field.name(), field.data_type());
        TxnLogError::new(ErrorKind::Corrupt, message).with_source(e)
    })?;
    debug_assert_eq!(values.null_count(), texts.null_count());
    Ok(values)
}

fn members(schema: &Value) -> Vec<&Value> {
    schema.get("fields").and_then(Value::as_array).into_iter().flatten().collect()
}

fn physical(field: &Value) -> Option<&str> {
    let mapped = field.get("metadata").and_then(|m| m.get("delta.columnMapping.physicalName"));
    mapped.or_else(|| field.get("name")).and_then(Value::as_str)
}

fn is_struct(kind: &Value) -> bool {
    kind.get("type").and_then(Value::as_str) == Some("struct")
}

/// The columns that have a minimum and a maximum.
fn bounds(fields: &[&Value]) -> Vec<Field> {
    let bound = |field: &&Value| {
        let (name, kind) = (physical(field)?, field.get("type")?);
        if is_struct(kind) {
            let inner = bounds(&members(kind));
            return (!inner.is_empty()).then(|| Field::new(name, DataType::Struct(inner.into()), true));
        }
        let kind = primitive(kind).filter(|kind| *kind != DataType::Binary)?;
        Some(Field::new(name, kind, true))
    };
    fields.iter().filter_map(bound).collect()
}

/// All columns, because each may be null.
fn null_counts(fields: &[&Value]) -> Vec<Field> {
    let count = |field: &&Value| {
        let (name, kind) = (physical(field)?, field.get("type")?);
        if is_struct(kind) {
            let inner = null_counts(&members(kind));
            return (!inner.is_empty()).then(|| Field::new(name, DataType::Struct(inner.into()), true));
        }
        Some(Field::new(name, DataType::Int64, true))
    };
    fields.iter().filter_map(count).collect()
}

fn primitive(kind: &Value) -> Option<DataType> {
    Some(match kind.as_str()? {
        "string" => DataType::Utf8,
        "long" => DataType::Int64,
        "integer" => DataType::Int32,
        "short" => DataType::Int16,
        "byte" => DataType::Int8,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "boolean" => DataType::Boolean,
        "binary" => DataType::Binary,
        "date" => DataType::Date32,
        // An offset, because zone names need a time zone database.
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
        other => {
            let (precision, scale) = other.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            DataType::Decimal128(precision.trim().parse().ok()?, scale.trim().parse().ok()?)
        }
    })
}

pub(super) fn failed(e: ArrowError) -> TxnLogError {
    TxnLogError::new(ErrorKind::Internal, "the rows of a checkpoint cannot be encoded").with_source(e)
}
