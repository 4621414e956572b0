//! The types of Delta columns, and Arrow arrays of them in one representation.

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use deltalakedb_log::{Result, Subject, TxnLogError};

/// The metadata of an Arrow field that has the id of a column in a table with column mapping (PROTOCOL.md, "Column
/// Mapping").
const COLUMN_ID: &str = "delta.columnMapping.id";

/// A type of Delta.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ColumnType {
    Boolean,
    Byte,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Date,
    Timestamp,
    TimestampNtz,
    String,
    Binary,
    /// Only nulls.
    Void,
    Struct {
        fields: Vec<TypedField>,
        /// The positions of the fields in order of their ids.
        by_id: Vec<usize>,
    },
    Array(Box<TypedField>),
    Map(Box<[TypedField; 2]>),
}

/// A column, a field of a struct, the element of an array, or the key or value of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TypedField {
    /// Identifies a column in its table, or a field in its struct.
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) data_type: ColumnType,
    pub(crate) nullable: bool,
}

impl ColumnType {
    /// The type that Delta has for a type of Arrow; `None` if it has none.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        use DataType as A;
        Some(match data_type {
            A::Null => Self::Void,
            A::Boolean => Self::Boolean,
            A::Int8 => Self::Byte,
            A::Int16 => Self::Short,
            A::Int32 => Self::Integer,
            A::Int64 => Self::Long,
            A::Float32 => Self::Float,
            A::Float64 => Self::Double,
            A::Decimal128(precision, scale) => Self::Decimal {
                precision: *precision,
                scale: u8::try_from(*scale).ok().filter(|scale| scale <= precision)?,
            },
            A::Date32 => Self::Date,
            // The values are in UTC, whatever the time zone for their display.
            A::Timestamp(TimeUnit::Microsecond, Some(_)) => Self::Timestamp,
            A::Timestamp(TimeUnit::Microsecond, None) => Self::TimestampNtz,
            A::Utf8 | A::LargeUtf8 | A::Utf8View => Self::String,
            A::Binary | A::LargeBinary | A::BinaryView | A::FixedSizeBinary(_) => Self::Binary,
            A::Dictionary(_, values) => Self::of(values)?,
            A::Struct(fields) => {
                let fields = fields.iter().enumerate().map(|(n, field)| TypedField::of_member(n, field));
                let fields: Vec<_> = fields.collect::<Option<_>>()?;
                let mut by_id: Vec<usize> = (0..fields.len()).collect();
                by_id.sort_by_key(|&n| fields[n].id);
                Self::Struct { fields, by_id }
            }
            A::List(element) | A::LargeList(element) | A::FixedSizeList(element, _) => {
                Self::Array(Box::new(TypedField::of(0, element)?))
            }
            A::Map(entries, _) => match entries.data_type() {
                A::Struct(fields) if fields.len() == 2 && !fields[0].is_nullable() => {
                    Self::Map(Box::new([TypedField::of(0, &fields[0])?, TypedField::of(1, &fields[1])?]))
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    /// The type of a column.
    pub(crate) fn of_column(field: &Field) -> Result<Self> {
        Self::of(field.data_type()).ok_or_else(|| {
            let (name, data_type) = (field.name(), field.data_type());
            TxnLogError::invalid(format!("column {name:?} is of the Arrow type {data_type}, which Delta does not have"))
                .about(Subject::Schema)
        })
    }

    /// Whether the ids of fields in the structs of the type are different numbers above 0.
    pub(crate) fn has_unique_ids(&self) -> bool {
        match self {
            Self::Struct { fields, by_id } => {
                let mut last = 0;
                let unique = by_id.iter().all(|&n| std::mem::replace(&mut last, fields[n].id) < fields[n].id);
                unique && fields.iter().all(|field| field.data_type.has_unique_ids())
            }
            Self::Array(element) => element.data_type.has_unique_ids(),
            Self::Map(fields) => fields.iter().all(|field| field.data_type.has_unique_ids()),
            _ => true,
        }
    }

    /// Whether values of the type can be values of the other one: nullability and ids of nested fields may differ.
    fn has_same_values(&self, other: &Self) -> bool {
        let nested = |a: &TypedField, b: &TypedField| a.data_type.has_same_values(&b.data_type);
        match (self, other) {
            (Self::Struct { fields: a, .. }, Self::Struct { fields: b, .. }) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name && nested(a, b))
            }
            (Self::Array(a), Self::Array(b)) => nested(a, b),
            (Self::Map(a), Self::Map(b)) => nested(&a[0], &b[0]) && nested(&a[1], &b[1]),
            _ => self == other,
        }
    }

    /// The values of a column called `name`, checked to be of this type, in the one representation that the encoders
    /// read: no views, dictionaries or large offsets.
    pub(crate) fn canonical_array(&self, name: &str, array: &ArrayRef) -> Result<ArrayRef> {
        let given = array.data_type();
        if !Self::of(given).is_some_and(|given| given.has_same_values(self)) {
            let what =
                format!("column {name:?} is given as the Arrow type {given}, which is not its type in the table");
            return Err(TxnLogError::invalid(what).about(Subject::Schema));
        }
        let canonical = canonical_type(given);
        if canonical == *given {
            return Ok(array.clone());
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(array, &canonical, &options)
            .map_err(|e| TxnLogError::invalid(format!("column {name:?} cannot be read as {canonical}")).with_source(e))
    }
}

impl TypedField {
    fn of(id: u32, field: &Field) -> Option<Self> {
        let data_type = ColumnType::of(field.data_type())?;
        Some(Self { id, name: field.name().clone(), data_type, nullable: field.is_nullable() })
    }

    /// The field at `position` of a struct.
    fn of_member(position: usize, field: &Field) -> Option<Self> {
        let id = match field.metadata().get(COLUMN_ID) {
            Some(id) => id.parse().ok()?,
            None => u32::try_from(position).ok()? + 1,
        };
        Self::of(id, field)
    }
}

fn canonical_type(data_type: &DataType) -> DataType {
    use DataType as A;
    let inner =
        |field: &FieldRef| -> FieldRef { Field::clone(field).with_data_type(canonical_type(field.data_type())).into() };
    match data_type {
        A::Utf8 | A::LargeUtf8 | A::Utf8View => A::Utf8,
        A::Binary | A::LargeBinary | A::BinaryView | A::FixedSizeBinary(_) => A::Binary,
        A::Dictionary(_, values) => canonical_type(values),
        A::List(element) | A::LargeList(element) | A::FixedSizeList(element, _) => A::List(inner(element)),
        A::Map(entries, sorted) => A::Map(inner(entries), *sorted),
        A::Struct(fields) => A::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

/// Whether an unscaled value has no more digits than decimals of a precision.
pub(crate) fn fits_precision(units: i128, precision: u8) -> bool {
    units.unsigned_abs() <= max_units(precision).unsigned_abs()
}

/// The maximum unscaled value of decimals of a precision.
pub(crate) fn max_units(precision: u8) -> i128 {
    10_i128.checked_pow(precision.into()).map_or(i128::MAX, |limit| limit - 1)
}
