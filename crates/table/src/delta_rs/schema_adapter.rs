//! Converts rows to the schema of a table, and reports columns that do not fit.
//!
//! delta-rs would cast more: text to dates, anything to text. Here only lossless casts are applied: wider numbers,
//! other encodings of the same values, nulls for missing columns.

use arrow::array::{Array, ArrayData, ArrayRef, RecordBatch, RecordBatchOptions, TimestampNanosecondArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use deltalake_core::kernel::cast_record_batch;
use deltalakedb_log::{Result, Subject, TxnLogError};

use super::TableSchema;
use super::generated::is_generated;
use super::schema::without_field_ids;
use crate::error::Explain;

/// The conversion of rows of one schema to that of a table.
#[derive(Clone, Debug)]
pub(crate) struct SchemaAdapter {
    table: String,
    columns: SchemaRef,
}

/// Which differences between the types of rows and of a table are converted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CastMode {
    /// Lossless ones: wider numbers, other encodings of the same values.
    #[default]
    Lossless,
    /// Every available cast, as in delta-rs: text to dates, anything to text, truncated nanoseconds. A value that
    /// cannot be cast is rejected.
    Any,
}

impl SchemaAdapter {
    /// Rows with the columns `data` for a table with the columns `table_columns`. The error names the first column
    /// that does not fit, and why.
    pub(crate) fn new(table: &str, data: &Schema, table_columns: &Schema, casts: CastMode) -> Result<Self> {
        fit_fields(table, "", data.fields(), table_columns.fields(), casts)?;
        // Missing generated columns are computed later.
        let columns =
            table_columns.fields().iter().filter(|f| data.column_with_name(f.name()).is_some() || !is_generated(f));
        let columns = Schema::new(columns.cloned().collect::<Fields>()).into();
        Ok(Self { table: table.into(), columns })
    }

    /// A conversion for a table that adds the columns it does not have, also within its own columns.
    pub(crate) fn evolving(table: &str, data: &Schema, table_columns: &Schema, casts: CastMode) -> Result<Self> {
        let new = data.fields().iter().filter(|f| table_columns.column_with_name(f.name()).is_none());
        let new = Schema::new(new.cloned().collect::<Fields>());
        // Only the Delta type of a new column matters.
        let new = if new.fields().is_empty() { Ok(new.into()) } else { TableSchema::from_arrow(&new)?.to_arrow() }?;
        let grown = grown_fields(table_columns.fields(), &without_field_ids(data.fields()));
        let nullable = |f: &FieldRef| f.as_ref().clone().with_nullable(true).into();
        let all: Fields = grown.iter().cloned().chain(new.fields().iter().map(nullable)).collect();
        Self::new(table, data, &Schema::new(all), casts)
    }

    /// The columns of the converted rows.
    pub(crate) fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// Converts rows. `rows_before` is the number of earlier rows, for error messages.
    pub(crate) fn batch(&self, rows: &RecordBatch, rows_before: usize) -> Result<RecordBatch> {
        for field in self.columns.fields().iter().filter(|f| !f.is_nullable()) {
            if let Some(column) = rows.column_by_name(field.name()).filter(|c| c.logical_null_count() > 0) {
                let nulls = column.logical_nulls();
                let row = nulls.and_then(|n| (0..n.len()).find(|i| n.is_null(*i))).unwrap_or(0);
                let message = format!(
                    "the column {:?} of the table does not allow null, and row {} of the data has one: nothing was \
                     written to {}",
                    field.name(),
                    rows_before + row + 1,
                    self.table
                );
                return Err(TxnLogError::invalid(message).about(Subject::InvalidRows(column.logical_null_count())));
            }
        }
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            if has_nanoseconds(&column.to_data()) {
                return Err(TxnLogError::invalid(format!(
                    "the column {:?} of the data has a time with nanoseconds, and {} keeps microseconds: round it, \
                     nothing was written",
                    field.name(),
                    self.table
                )));
            }
        }
        let failed = || format!("the data has a value that a column of {} cannot hold", self.table);
        let masked = |column: &ArrayRef| {
            if has_dictionary_below(column.data_type()) {
                Ok(make_array(nulls_below(column.to_data())?))
            } else {
                Ok(column.clone())
            }
        };
        let columns: Result<Vec<_>, ArrowError> = rows.columns().iter().map(masked).collect();
        let columns = columns.explain(failed)?;
        let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(rows.schema(), columns, &count).explain(failed)?;
        cast_record_batch(&rows, self.columns.clone(), false, true).explain(failed)
    }
}

/// Whether a dictionary is nested in a struct, list or map.
fn has_dictionary_below(data_type: &DataType) -> bool {
    let of = |field: &FieldRef| {
        matches!(field.data_type(), DataType::Dictionary(..)) || has_dictionary_below(field.data_type())
    };
    match data_type {
        DataType::Struct(fields) => fields.iter().any(of),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => of(item),
        DataType::Map(entries, _) => of(entries),
        _ => false,
    }
}

/// The same data, with the nulls of its structs propagated to their children. Where a struct is null, the index of a
/// dictionary may be out of bounds, and a cast would use it.
fn nulls_below(data: ArrayData) -> Result<ArrayData, ArrowError> {
    let of_struct = data.nulls().filter(|_| matches!(data.data_type(), DataType::Struct(_))).cloned();
    let below = data.child_data().iter().map(|child| {
        let masked = match &of_struct {
            Some(nulls) if matches!(child.data_type(), DataType::Dictionary(..) | DataType::Struct(_)) => {
                let nulls = NullBuffer::union(Some(nulls), child.nulls());
                child.clone().into_builder().nulls(nulls).build()?
            }
            _ => child.clone(),
        };
        match masked.data_type() {
            DataType::Dictionary(..) => Ok(masked),
            _ => nulls_below(masked),
        }
    });
    let below = below.collect::<Result<Vec<_>, ArrowError>>()?;
    data.into_builder().child_data(below).build()
}

/// The fields, with missing fields of structs added from the data.
fn grown_fields(columns: &Fields, data: &Fields) -> Fields {
    let grown = |column: &FieldRef| match data.find(column.name()) {
        Some((_, field)) => column.as_ref().clone().with_data_type(grown_type(column.data_type(), field.data_type())),
        None => column.as_ref().clone(),
    };
    columns.iter().map(grown).collect()
}

fn grown_type(column: &DataType, data: &DataType) -> DataType {
    use DataType as T;
    match (column, data) {
        (T::Struct(columns), T::Struct(data)) => {
            let new = data.iter().filter(|f| columns.find(f.name()).is_none());
            let new = new.map(|f| f.as_ref().clone().with_nullable(true).into());
            T::Struct(grown_fields(columns, data).iter().cloned().chain(new).collect())
        }
        (T::List(column), T::List(data) | T::LargeList(data) | T::FixedSizeList(data, _)) => {
            let element = grown_type(column.data_type(), data.data_type());
            T::List(column.as_ref().clone().with_data_type(element).into())
        }
        (column, _) => column.clone(),
    }
}

fn fit_fields(table: &str, within: &str, data: &Fields, columns: &Fields, casts: CastMode) -> Result<()> {
    let refuse =
        |what: String| Err(TxnLogError::invalid(format!("{what}: nothing was written")).about(Subject::Schema));
    for (n, field) in data.iter().enumerate() {
        let name = format!("{within}{}", field.name());
        if data[..n].iter().any(|earlier| earlier.name() == field.name()) {
            return refuse(format!("the data has two columns {name:?}"));
        }
        let Some((_, column)) = columns.find(field.name()) else {
            let names: Vec<_> = columns.iter().map(|c| format!("{within}{}", c.name())).collect();
            return refuse(format!(
                "the data has a column {name:?} that {table} does not have: its columns are {}",
                names.join(", ")
            ));
        };
        fit_type(table, &name, field.data_type(), column.data_type(), casts)?;
    }
    let missing = columns.iter().find(|c| {
        let required = !c.is_nullable() && !is_generated(c);
        required && data.find(c.name()).is_none()
    });
    match missing {
        Some(column) => refuse(format!(
            "the data lacks the column {:?} of {table}, which may not be null",
            format!("{within}{}", column.name())
        )),
        None => Ok(()),
    }
}

fn fit_type(table: &str, name: &str, data: &DataType, column: &DataType, casts: CastMode) -> Result<()> {
    use DataType as T;
    match (data, column) {
        (T::Struct(data), T::Struct(columns)) => fit_fields(table, &format!("{name}."), data, columns, casts),
        (T::List(a) | T::LargeList(a) | T::FixedSizeList(a, _), T::List(b)) => {
            fit_type(table, &format!("{name}.element"), a.data_type(), b.data_type(), casts)
        }
        (T::Map(a, _), T::Map(b, _)) => match (a.data_type(), b.data_type()) {
            (T::Struct(a), T::Struct(b)) if a.len() == 2 && b.len() == 2 => {
                fit_type(table, &format!("{name}.key"), a[0].data_type(), b[0].data_type(), casts)?;
                fit_type(table, &format!("{name}.value"), a[1].data_type(), b[1].data_type(), casts)
            }
            _ => Ok(()),
        },
        (T::Dictionary(_, values), column) => fit_type(table, name, values, column, casts),
        (T::Decimal128(..) | T::Decimal256(..), T::Decimal128(..)) if casts == CastMode::Any && !fits(data, column) => {
            Err(TxnLogError::invalid(format!(
                "Cannot cast field {name} from {data} to {column}, which has fewer digits: nothing was written to {table}"
            ))
            .about(Subject::Schema))
        }
        (data, column) if fits(data, column) || casts == CastMode::Any && can_cast_types(data, column) => Ok(()),
        (data, column) => Err(TxnLogError::invalid(format!(
            "the column {name:?} is {} in {table} and {} in the data: nothing was written",
            type_name(column),
            type_name(data)
        ))
        .about(Subject::Schema)),
    }
}

fn fits(data: &DataType, column: &DataType) -> bool {
    use DataType as T;
    match (data, column) {
        (T::Null, _) => true,
        (data, column) if data.is_integer() => {
            // The range of integers that a float represents exactly is narrower than the float.
            let exact = column.is_floating() && data.primitive_width() < column.primitive_width();
            column.is_integer() || exact || matches!(column, T::Decimal128(..))
        }
        (data, column) if data.is_floating() => {
            column.is_floating() && data.primitive_width() <= column.primitive_width()
        }
        (T::Decimal128(p, s) | T::Decimal256(p, s), T::Decimal128(q, t)) => p <= q && s <= t,
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8) => true,
        (T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_), T::Binary) => true,
        (T::Date32 | T::Date64, T::Date32) => true,
        (T::Timestamp(_, a), T::Timestamp(_, b)) => a.is_some() == b.is_some(),
        (data, column) => data == column,
    }
}

/// Whether a time in it is not a whole number of microseconds.
fn has_nanoseconds(data: &ArrayData) -> bool {
    match data.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            TimestampNanosecondArray::from(data.clone()).iter().flatten().any(|ns| ns % 1000 != 0)
        }
        _ => data.child_data().iter().any(has_nanoseconds),
    }
}

/// The name of a type in a Delta schema, or in Arrow if there is none.
pub fn type_name(t: &DataType) -> String {
    use DataType as T;
    let name = match t {
        T::Int8 => "byte",
        T::Int16 => "short",
        T::Int32 => "integer",
        T::Int64 => "long",
        T::Float32 => "float",
        T::Float64 => "double",
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "string",
        T::Binary | T::LargeBinary | T::BinaryView => "binary",
        T::Boolean => "boolean",
        T::Date32 => "date",
        T::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamp",
        T::Timestamp(TimeUnit::Microsecond, None) => "timestamp_ntz",
        T::Decimal128(p, s) => return format!("decimal({p},{s})"),
        T::Struct(_) => "struct",
        T::List(_) | T::LargeList(_) => "array",
        T::Map(..) => "map",
        other => return other.to_string(),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{StructArray, TimestampMicrosecondArray};
    use arrow::datatypes::Field;

    use super::*;

    fn columns(fields: &[(&str, DataType, bool)]) -> Schema {
        Schema::new(fields.iter().map(|(n, t, null)| Field::new(*n, t.clone(), *null)).collect::<Vec<_>>())
    }

    #[test]
    fn an_incompatible_column_is_named_with_both_types() {
        let inner = |t: DataType| DataType::Struct(vec![Field::new("x", t, true)].into());
        let table = columns(&[
            ("id", DataType::Int64, false),
            ("day", DataType::Date32, true),
            ("s", inner(DataType::Int32), true),
        ]);
        let check = |data: &[(&str, DataType, bool)], want: &str| {
            let got = SchemaAdapter::new("t", &columns(data), &table, CastMode::Lossless)
                .map(|_| ())
                .map_err(|e| e.to_string());
            assert_eq!(got.err().unwrap_or_default(), want);
        };
        check(&[("id", DataType::Int32, true), ("day", DataType::Date32, true)], "");
        check(&[("id", DataType::Int16, true), ("day", DataType::Null, true)], "");
        check(
            &[("id", DataType::Int64, true), ("day", DataType::Utf8, true)],
            "the column \"day\" is date in t and string in the data: nothing was written",
        );
        check(
            &[("id", DataType::Float64, true)],
            "the column \"id\" is long in t and double in the data: nothing was written",
        );
        check(
            &[("id", DataType::Int64, true), ("s", inner(DataType::Utf8), true)],
            "the column \"s.x\" is integer in t and string in the data: nothing was written",
        );
        check(
            &[("id", DataType::Int64, true), ("more", DataType::Utf8, true)],
            "the data has a column \"more\" that t does not have: its columns are id, day, s: nothing was written",
        );
        check(
            &[("day", DataType::Date32, true)],
            "the data lacks the column \"id\" of t, which may not be null: nothing was written",
        );
    }

    #[test]
    fn lossless_casts_are_accepted() {
        use DataType as T;
        let (ns, us) = (TimeUnit::Nanosecond, TimeUnit::Microsecond);
        let zone = || Some("UTC".into());
        for (data, column, want) in [
            (T::Int16, T::Float32, true),
            (T::UInt32, T::Float64, true),
            (T::Int32, T::Float32, false),
            (T::Int64, T::Float64, false),
            (T::Float32, T::Float64, true),
            (T::Float64, T::Float32, false),
            (T::Int32, T::Int64, true),
            (T::Timestamp(ns, None), T::Timestamp(us, None), true),
            (T::Timestamp(ns, zone()), T::Timestamp(us, Some("+00:00".into())), true),
            (T::Timestamp(us, None), T::Timestamp(us, zone()), false),
            (T::Timestamp(us, zone()), T::Timestamp(us, None), false),
        ] {
            assert_eq!(fits(&data, &column), want, "{data} {column}");
        }
    }

    #[test]
    fn nanoseconds_are_refused_and_not_truncated() {
        let inner = |unit| Fields::from(vec![Field::new("at", DataType::Timestamp(unit, None), true)]);
        let table = columns(&[("s", DataType::Struct(inner(TimeUnit::Microsecond)), true)]);
        let fit = |times: Vec<Option<i64>>| {
            let at: ArrayRef = Arc::new(TimestampNanosecondArray::from(times));
            let s: ArrayRef = Arc::new(StructArray::new(inner(TimeUnit::Nanosecond), vec![at], None));
            let rows = RecordBatch::try_from_iter([("s", s)]).unwrap();
            SchemaAdapter::new("t", &rows.schema(), &table, CastMode::Lossless).unwrap().batch(&rows, 0)
        };
        let rows = fit(vec![Some(-7000), None]).unwrap();
        let s = rows.column(0).as_any().downcast_ref::<StructArray>().unwrap();
        assert_eq!(s.column(0).as_ref(), &TimestampMicrosecondArray::from(vec![Some(-7), None]) as &dyn Array);
        let e = fit(vec![Some(7000), Some(7001)]).unwrap_err().to_string();
        assert!(e.starts_with("the column \"s\" of the data has a time with nanoseconds"), "{e}");
    }
}
