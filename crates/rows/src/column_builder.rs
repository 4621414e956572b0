//! Arrow arrays of Delta columns, built value by value.

use std::sync::Arc;

use arrow::array::builder::{
    BinaryBuilder, BinaryViewBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int8Builder, Int16Builder, Int32Builder, Int64Builder, NullBufferBuilder, StringBuilder, StringViewBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::array::{ArrayRef, ListArray, MapArray, NullArray, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;
use deltalakedb_log::{Result, Subject, TxnLogError};

use crate::column_type::{ColumnType, TypedField};

/// A builder for one column, or for the values nested in one.
#[derive(Debug)]
pub(crate) enum ColumnBuilder {
    Boolean(BooleanBuilder),
    Byte(Int8Builder),
    Short(Int16Builder),
    Integer(Int32Builder),
    Long(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal { units: Decimal128Builder, precision: u8, scale: u8 },
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampNtz(TimestampMicrosecondBuilder),
    String(TextBuilder),
    Binary(BytesBuilder),
    Void(usize),
    Struct(StructBuilder),
    Array(ArrayBuilder),
    Map(MapBuilder),
}

/// The two representations of texts.
#[derive(Debug)]
pub(crate) enum TextBuilder {
    Utf8(StringBuilder),
    View(StringViewBuilder),
}

/// The two representations of binary values.
#[derive(Debug)]
pub(crate) enum BytesBuilder {
    Binary(BinaryBuilder),
    View(BinaryViewBuilder),
}

/// Structs: a value is appended to each field, then [`StructBuilder::close`] ends the struct.
#[derive(Debug)]
pub(crate) struct StructBuilder {
    fields: Fields,
    /// The builders with the ids of their fields, in order of the ids.
    pub(crate) by_id: Vec<(u32, ColumnBuilder)>,
    /// For each field of the struct, its place in `by_id`.
    places: Vec<usize>,
    nulls: NullBufferBuilder,
}

/// Arrays: elements are appended, then [`ArrayBuilder::close`] ends the array.
#[derive(Debug)]
pub(crate) struct ArrayBuilder {
    field: FieldRef,
    pub(crate) elements: Box<ColumnBuilder>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

/// Maps: keys and values are appended, equally many, then [`MapBuilder::close`] ends the map.
#[derive(Debug)]
pub(crate) struct MapBuilder {
    entries: FieldRef,
    sorted: bool,
    pub(crate) keys: Box<ColumnBuilder>,
    pub(crate) values: Box<ColumnBuilder>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

/// More values than the offsets of an array can count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooManyValues;

impl ColumnBuilder {
    /// A builder for a column with room for `rows`.
    ///
    /// Fails if the type of the field is not a type of Delta in one of these representations: texts and binary values
    /// as views or with offsets of 32 bits, arrays with offsets of 32 bits.
    pub(crate) fn new(field: &Field, rows: usize) -> Result<Self> {
        Self::of(field.data_type(), rows).ok_or_else(|| {
            let (name, data_type) = (field.name(), field.data_type());
            TxnLogError::invalid(format!("column {name:?} cannot be read as the Arrow type {data_type}"))
                .about(Subject::Schema)
        })
    }

    fn of(data_type: &DataType, rows: usize) -> Option<Self> {
        use ColumnType as T;
        use DataType as A;
        // An array can have any number of elements, also none.
        let nested = |field: &Field| Self::of(field.data_type(), 0).map(Box::new);
        let nulls = || NullBufferBuilder::new(rows);
        Some(match (ColumnType::of(data_type)?, data_type) {
            (T::Boolean, A::Boolean) => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            (T::Byte, A::Int8) => Self::Byte(Int8Builder::with_capacity(rows)),
            (T::Short, A::Int16) => Self::Short(Int16Builder::with_capacity(rows)),
            (T::Integer, A::Int32) => Self::Integer(Int32Builder::with_capacity(rows)),
            (T::Long, A::Int64) => Self::Long(Int64Builder::with_capacity(rows)),
            (T::Float, A::Float32) => Self::Float(Float32Builder::with_capacity(rows)),
            (T::Double, A::Float64) => Self::Double(Float64Builder::with_capacity(rows)),
            (T::Decimal { precision, scale }, A::Decimal128(..)) => {
                let units = Decimal128Builder::with_capacity(rows).with_data_type(data_type.clone());
                Self::Decimal { units, precision, scale }
            }
            (T::Date, A::Date32) => Self::Date(Date32Builder::with_capacity(rows)),
            (T::Timestamp, A::Timestamp(..)) => {
                Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(data_type.clone()))
            }
            (T::TimestampNtz, A::Timestamp(..)) => Self::TimestampNtz(TimestampMicrosecondBuilder::with_capacity(rows)),
            (T::String, A::Utf8) => Self::String(TextBuilder::Utf8(StringBuilder::with_capacity(rows, 0))),
            (T::String, A::Utf8View) => Self::String(TextBuilder::View(StringViewBuilder::with_capacity(rows))),
            (T::Binary, A::Binary) => Self::Binary(BytesBuilder::Binary(BinaryBuilder::with_capacity(rows, 0))),
            (T::Binary, A::BinaryView) => Self::Binary(BytesBuilder::View(BinaryViewBuilder::with_capacity(rows))),
            (T::Void, A::Null) => Self::Void(0),
            (T::Struct { fields: nested, by_id }, A::Struct(fields)) => {
                Self::Struct(StructBuilder::new(&nested, &by_id, fields, rows)?)
            }
            (T::Array(_), A::List(field)) => Self::Array(ArrayBuilder {
                field: field.clone(),
                elements: nested(field)?,
                offsets: vec![0],
                nulls: nulls(),
            }),
            (T::Map(_), A::Map(entries, sorted)) => {
                let A::Struct(fields) = entries.data_type() else { return None };
                Self::Map(MapBuilder {
                    entries: entries.clone(),
                    sorted: *sorted,
                    keys: nested(&fields[0])?,
                    values: nested(&fields[1])?,
                    offsets: vec![0],
                    nulls: nulls(),
                })
            }
            _ => return None,
        })
    }

    /// Appends a null.
    pub(crate) fn append_null(&mut self) {
        match self {
            Self::Boolean(b) => b.append_null(),
            Self::Byte(b) => b.append_null(),
            Self::Short(b) => b.append_null(),
            Self::Integer(b) => b.append_null(),
            Self::Long(b) => b.append_null(),
            Self::Float(b) => b.append_null(),
            Self::Double(b) => b.append_null(),
            Self::Decimal { units, .. } => units.append_null(),
            Self::Date(b) => b.append_null(),
            Self::Timestamp(b) | Self::TimestampNtz(b) => b.append_null(),
            Self::String(TextBuilder::Utf8(b)) => b.append_null(),
            Self::String(TextBuilder::View(b)) => b.append_null(),
            Self::Binary(BytesBuilder::Binary(b)) => b.append_null(),
            Self::Binary(BytesBuilder::View(b)) => b.append_null(),
            Self::Void(count) => *count += 1,
            Self::Struct(b) => {
                b.by_id.iter_mut().for_each(|(_, field)| field.append_null());
                b.nulls.append_null();
            }
            Self::Array(b) => {
                b.offsets.push(b.offsets.last().copied().unwrap_or(0));
                b.nulls.append_null();
            }
            Self::Map(b) => {
                b.offsets.push(b.offsets.last().copied().unwrap_or(0));
                b.nulls.append_null();
            }
        }
    }

    /// The values appended.
    pub(crate) fn len(&self) -> usize {
        use arrow::array::builder::ArrayBuilder as _;
        match self {
            Self::Boolean(b) => b.len(),
            Self::Byte(b) => b.len(),
            Self::Short(b) => b.len(),
            Self::Integer(b) => b.len(),
            Self::Long(b) => b.len(),
            Self::Float(b) => b.len(),
            Self::Double(b) => b.len(),
            Self::Decimal { units, .. } => units.len(),
            Self::Date(b) => b.len(),
            Self::Timestamp(b) | Self::TimestampNtz(b) => b.len(),
            Self::String(TextBuilder::Utf8(b)) => b.len(),
            Self::String(TextBuilder::View(b)) => b.len(),
            Self::Binary(BytesBuilder::Binary(b)) => b.len(),
            Self::Binary(BytesBuilder::View(b)) => b.len(),
            Self::Void(count) => *count,
            Self::Struct(b) => b.nulls.len(),
            Self::Array(b) => b.nulls.len(),
            Self::Map(b) => b.nulls.len(),
        }
    }

    /// The array of the values; the builder is empty then.
    ///
    /// Fails if a nested field has a null and may not, or if an append failed before.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Boolean(b) => Arc::new(b.finish()),
            Self::Byte(b) => Arc::new(b.finish()),
            Self::Short(b) => Arc::new(b.finish()),
            Self::Integer(b) => Arc::new(b.finish()),
            Self::Long(b) => Arc::new(b.finish()),
            Self::Float(b) => Arc::new(b.finish()),
            Self::Double(b) => Arc::new(b.finish()),
            Self::Decimal { units, .. } => Arc::new(units.finish()),
            Self::Date(b) => Arc::new(b.finish()),
            Self::Timestamp(b) | Self::TimestampNtz(b) => Arc::new(b.finish()),
            Self::String(TextBuilder::Utf8(b)) => Arc::new(b.finish()),
            Self::String(TextBuilder::View(b)) => Arc::new(b.finish()),
            Self::Binary(BytesBuilder::Binary(b)) => Arc::new(b.finish()),
            Self::Binary(BytesBuilder::View(b)) => Arc::new(b.finish()),
            Self::Void(count) => Arc::new(NullArray::new(std::mem::take(count))),
            Self::Struct(b) => b.finish()?,
            Self::Array(b) => {
                // Taken before the elements, which may fail: a later finish must see increasing offsets.
                let (offsets, nulls) = (taken(&mut b.offsets), b.nulls.finish());
                Arc::new(ListArray::try_new(b.field.clone(), offsets, b.elements.finish()?, nulls)?)
            }
            Self::Map(b) => {
                let DataType::Struct(fields) = b.entries.data_type() else {
                    return Err(ArrowError::SchemaError("the entries of a map are not structs".into()));
                };
                let (offsets, nulls) = (taken(&mut b.offsets), b.nulls.finish());
                let entries = vec![b.keys.finish()?, b.values.finish()?];
                let entries = StructArray::try_new(fields.clone(), entries, None)?;
                Arc::new(MapArray::try_new(b.entries.clone(), offsets, entries, nulls, b.sorted)?)
            }
        })
    }
}

/// The offsets, which begin with 0 and increase.
fn taken(offsets: &mut Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, vec![0])))
}

fn checked(so_far: usize, more: usize) -> Result<(), TooManyValues> {
    match so_far.checked_add(more) {
        Some(sum) if i32::try_from(sum).is_ok() => Ok(()),
        _ => Err(TooManyValues),
    }
}

fn offset(end: usize) -> Result<i32, TooManyValues> {
    i32::try_from(end).map_err(|_| TooManyValues)
}

impl TextBuilder {
    pub(crate) fn append(&mut self, text: &str) -> Result<(), TooManyValues> {
        match self {
            Self::Utf8(b) => {
                checked(b.values_slice().len(), text.len())?;
                b.append_value(text);
                Ok(())
            }
            Self::View(b) => b.try_append_value(text).map_err(|_| TooManyValues),
        }
    }
}

impl BytesBuilder {
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), TooManyValues> {
        match self {
            Self::Binary(b) => {
                checked(b.values_slice().len(), bytes.len())?;
                b.append_value(bytes);
                Ok(())
            }
            Self::View(b) => b.try_append_value(bytes).map_err(|_| TooManyValues),
        }
    }
}

impl StructBuilder {
    fn new(nested: &[TypedField], order: &[usize], fields: &Fields, rows: usize) -> Option<Self> {
        let mut places = vec![0; nested.len()];
        let mut by_id = Vec::with_capacity(nested.len());
        for &n in order {
            places[n] = by_id.len();
            by_id.push((nested[n].id, ColumnBuilder::of(fields[n].data_type(), rows)?));
        }
        Some(Self { fields: fields.clone(), by_id, places, nulls: NullBufferBuilder::new(rows) })
    }

    /// Ends a struct whose fields have been appended.
    pub(crate) fn close(&mut self) {
        self.nulls.append_non_null();
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let rows = self.nulls.len();
        let arrays = self.by_id.iter_mut().map(|(_, field)| field.finish()).collect::<Result<Vec<_>, _>>()?;
        let arrays = self.places.iter().map(|&place| arrays[place].clone()).collect();
        let nulls = self.nulls.finish();
        Ok(Arc::new(StructArray::try_new_with_length(self.fields.clone(), arrays, nulls, rows)?))
    }
}

impl ArrayBuilder {
    /// Ends an array whose elements have been appended.
    pub(crate) fn close(&mut self) -> Result<(), TooManyValues> {
        self.offsets.push(offset(self.elements.len())?);
        self.nulls.append_non_null();
        Ok(())
    }
}

impl MapBuilder {
    /// Ends a map whose keys and values have been appended.
    pub(crate) fn close(&mut self) -> Result<(), TooManyValues> {
        self.offsets.push(offset(self.keys.len())?);
        self.nulls.append_non_null();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_within_the_offsets_of_an_array() {
        let maximum = i32::MAX as usize;
        let check = |so_far, more, good: bool| assert_eq!(checked(so_far, more).is_ok(), good, "{so_far} + {more}");
        check(0, maximum, true);
        check(maximum - 1, 1, true);
        check(maximum, 0, true);
        check(maximum, 1, false);
        check(1, usize::MAX, false);
        assert!(offset(maximum).is_ok() && offset(maximum + 1).is_err());
    }
}
