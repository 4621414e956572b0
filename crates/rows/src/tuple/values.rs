//! Values of Arrow arrays as parts of a tuple.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};

use super::wire::{Tag, put_bytes, put_header, put_signed, put_signed_128, put_varint, put_with_length};
use crate::column_type::{ColumnType, TypedField, fits_precision};

/// Why a value cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) why: Reason,
    /// The names of the nested fields that hold it, innermost first.
    pub(super) within: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is null and may not be.
    Null,
    /// A decimal has more digits than its type.
    Precision,
    /// The array is not in the canonical representation.
    Representation,
}

impl Refused {
    fn new(why: Reason) -> Self {
        Self { why, within: Vec::new() }
    }

    fn within(mut self, field: &TypedField) -> Self {
        self.within.push(field.name.clone());
        self
    }
}

/// Appends the columns or fields in the order of their ids: `fields` and `arrays` at the positions `by_id`.
pub(super) fn put_fields<'a>(
    fields: impl Fn(usize) -> &'a TypedField,
    by_id: &[usize],
    arrays: &[ArrayRef],
    row: usize,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let mut previous = 0;
    for &position in by_id {
        let (field, array) = (fields(position), &arrays[position]);
        let mut put = || {
            let tag = tag(field, array, row)?;
            put_header(field.id - previous, tag, out);
            put_value(&field.data_type, tag, array, row, out)
        };
        put().map_err(|refused| refused.within(field))?;
        previous = field.id;
    }
    Ok(())
}

/// The tag of a value.
pub(super) fn tag(field: &TypedField, array: &dyn Array, row: usize) -> Result<Tag, Refused> {
    use ColumnType as T;
    if field.data_type == T::Void || array.is_null(row) {
        return if field.nullable { Ok(Tag::Null) } else { Err(Refused::new(Reason::Null)) };
    }
    Ok(match &field.data_type {
        T::Void => Tag::Null,
        T::Boolean => match array.as_boolean_opt().map(|array| array.value(row)) {
            Some(true) => Tag::True,
            Some(false) => Tag::False,
            None => return Err(Refused::new(Reason::Representation)),
        },
        T::Byte | T::Short | T::Integer | T::Long => Tag::Integer,
        T::Float => Tag::Float,
        T::Double => Tag::Double,
        T::Decimal { .. } => Tag::Decimal,
        T::Date => Tag::Date,
        T::Timestamp => Tag::Timestamp,
        T::TimestampNtz => Tag::TimestampNtz,
        T::String => Tag::String,
        T::Binary => Tag::Binary,
        T::Struct { .. } => Tag::Struct,
        T::Array(_) => Tag::Array,
        T::Map(_) => Tag::Map,
    })
}

/// Appends the value that follows its tag.
pub(super) fn put_value(
    data_type: &ColumnType,
    tag: Tag,
    array: &dyn Array,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    if matches!(tag, Tag::Null | Tag::False | Tag::True) {
        return Ok(());
    }
    put_payload(data_type, array, row, out).unwrap_or_else(|| Err(Refused::new(Reason::Representation)))
}

fn put_payload(
    data_type: &ColumnType,
    array: &dyn Array,
    row: usize,
    out: &mut Vec<u8>,
) -> Option<Result<(), Refused>> {
    use ColumnType as T;
    fn value<P: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> Option<P::Native> {
        Some(array.as_primitive_opt::<P>()?.value(row))
    }
    match data_type {
        T::Void | T::Boolean => {}
        T::Byte => put_signed(value::<Int8Type>(array, row)?.into(), out),
        T::Short => put_signed(value::<Int16Type>(array, row)?.into(), out),
        T::Integer => put_signed(value::<Int32Type>(array, row)?.into(), out),
        T::Long => put_signed(value::<Int64Type>(array, row)?, out),
        T::Float => out.extend_from_slice(&value::<Float32Type>(array, row)?.to_le_bytes()),
        T::Double => out.extend_from_slice(&value::<Float64Type>(array, row)?.to_le_bytes()),
        T::Decimal { precision, scale } => {
            let units = value::<Decimal128Type>(array, row)?;
            if !fits_precision(units, *precision) {
                return Some(Err(Refused::new(Reason::Precision)));
            }
            out.push(*scale);
            put_signed_128(units, out);
        }
        T::Date => put_signed(value::<Date32Type>(array, row)?.into(), out),
        T::Timestamp | T::TimestampNtz => {
            out.extend_from_slice(&value::<TimestampMicrosecondType>(array, row)?.to_le_bytes());
        }
        T::String => put_bytes(array.as_string_opt::<i32>()?.value(row).as_bytes(), out),
        T::Binary => put_bytes(array.as_binary_opt::<i32>()?.value(row), out),
        T::Struct { fields, by_id } => {
            let columns = array.as_struct_opt()?.columns();
            return Some(put_with_length(out, |out| put_fields(|n| &fields[n], by_id, columns, row, out)));
        }
        T::Array(element) => {
            let list = array.as_list_opt::<i32>()?;
            let range = range(list.value_offsets(), row)?;
            return Some(put_with_length(out, |out| {
                put_varint(range.len() as u64, out);
                put_elements(element, list.values(), range, out)
            }));
        }
        T::Map(fields) => {
            let map = array.as_map_opt()?;
            let range = range(map.value_offsets(), row)?;
            let [key, value] = &**fields;
            return Some(put_with_length(out, |out| {
                put_varint(range.len() as u64, out);
                put_elements(key, map.keys(), range.clone(), out)?;
                put_elements(value, map.values(), range, out)
            }));
        }
    }
    Some(Ok(()))
}

fn range(offsets: &[i32], row: usize) -> Option<Range<usize>> {
    let at = |row: usize| usize::try_from(*offsets.get(row)?).ok();
    Some(at(row)?..at(row + 1)?)
}

/// Appends the elements of an array: their tag once if it is the same for all.
fn put_elements(element: &TypedField, array: &ArrayRef, range: Range<usize>, out: &mut Vec<u8>) -> Result<(), Refused> {
    let has_nulls = range.clone().any(|row| array.is_null(row));
    let each_has_its_own = has_nulls || matches!(element.data_type, ColumnType::Boolean | ColumnType::Void);
    let mut put = || {
        if each_has_its_own {
            out.push(Tag::Null as u8);
        } else {
            out.push(range.clone().next().map_or(Ok(Tag::Null), |row| tag(element, array, row))? as u8);
        }
        for row in range.clone() {
            let tag = tag(element, array, row)?;
            if each_has_its_own {
                out.push(tag as u8);
            }
            put_value(&element.data_type, tag, array, row, out)?;
        }
        Ok(())
    };
    put().map_err(|refused: Refused| refused.within(element))
}
