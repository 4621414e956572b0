//! Primary keys as bytes whose order is the order of the keys.
//!
//! A [`PrimaryKey`] names the columns of a table's key. Keys are encoded from rows of Arrow arrays with a
//! [`KeyEncoder`] or from [`Datum`]s, and decoded with a [`KeyDecoder`] into Arrow arrays. Two keys compare as bytes
//! as their values compare column by column: numbers by value, where the two zeros are equal and NaN is one value that
//! is greater than all others; strings by their UTF-8 bytes; false before true. No key is a prefix of another one.
//!
//! Decoded values equal the encoded ones, except that -0.0 becomes 0.0 and every NaN the same NaN. Delta has no type for
//! UUIDs: they are strings, or binary values of 16 bytes.
//!
//! The whole keys of the hot store, with table, scope and `_seq`, are made by [`ScopeKeys`] and read by [`HotKey`]; those
//! of its index of changes by [`SeqIndexKey`].

mod datum;
mod hot;
mod memcomparable;
mod seq_index;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use deltalakedb_log::{ErrorKind, Result, Subject, TxnLogError};

use crate::column_builder::{ColumnBuilder, TooManyValues};
use crate::column_type::ColumnType;
pub use datum::Datum;
use datum::Misfit;
pub use hot::{HotKey, Scope, ScopeKeys};
use memcomparable::KeyReader;
pub use seq_index::SeqIndexKey;

/// The columns of a primary key.
#[derive(Clone, Debug)]
pub struct PrimaryKey {
    columns: Vec<KeyColumn>,
}

#[derive(Clone, Debug)]
struct KeyColumn {
    field: FieldRef,
    data_type: ColumnType,
}

impl PrimaryKey {
    /// A primary key of these columns, in this order.
    ///
    /// Fails if there are none, or one has a type whose values have no order: struct, array, map and void.
    pub fn new(columns: impl IntoIterator<Item = FieldRef>) -> Result<Self> {
        let columns = columns
            .into_iter()
            .map(|field| match ColumnType::of_column(&field)? {
                ColumnType::Void | ColumnType::Struct { .. } | ColumnType::Array(_) | ColumnType::Map(_) => {
                    let (name, data_type) = (field.name(), field.data_type());
                    let message = format!("column {name:?} of type {data_type} cannot be in a primary key");
                    Err(TxnLogError::invalid(message).about(Subject::Schema))
                }
                data_type => Ok(KeyColumn { field, data_type }),
            })
            .collect::<Result<Vec<_>>>()?;
        if columns.is_empty() {
            return Err(TxnLogError::invalid("a primary key needs a column").about(Subject::Schema));
        }
        Ok(Self { columns })
    }

    /// The columns in order.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = &FieldRef> {
        self.columns.iter().map(|column| &column.field)
    }

    /// For each column, the key that has this column alone.
    pub fn single_columns(&self) -> impl ExactSizeIterator<Item = Self> {
        self.columns.iter().map(|column| Self { columns: vec![column.clone()] })
    }

    /// Splits an encoded key into those of its [single columns](Self::single_columns). Fails if it is not a key of these
    /// columns.
    pub fn columns_of<'k>(&self, key: &'k [u8]) -> Result<Vec<&'k [u8]>> {
        let mut rest = key;
        let parts = self.columns.iter().map(|column| {
            let mut reader = KeyReader::new(rest);
            reader.skip(&column.data_type)?;
            let (part, behind) = rest.split_at(rest.len() - reader.rest().len());
            rest = behind;
            Some(part)
        });
        match parts.collect::<Option<Vec<_>>>() {
            Some(parts) if rest.is_empty() => Ok(parts),
            _ => Err(damaged()),
        }
    }

    /// Appends the encoded key of these values, one for each column, to `out`.
    ///
    /// Fails if a value is not one of its column: of another type, beyond its range or with more digits. A string for
    /// a binary column is of another type, and so is a long for a double column. `out` is unchanged then.
    pub fn encode(&self, values: &[Datum<'_>], out: &mut Vec<u8>) -> Result<()> {
        if values.len() == self.columns.len() {
            return self.encode_first(values, out);
        }
        let (given, expected) = (values.len(), self.columns.len());
        Err(TxnLogError::invalid(format!("a primary key of {expected} columns cannot have {given} values")))
    }

    /// Like [`Self::encode`], of values for the first columns only: what all keys with these values begin with.
    pub fn encode_first(&self, values: &[Datum<'_>], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let mut encode = || {
            let mut columns = self.columns.iter();
            for value in values {
                let column = columns.next().ok_or_else(|| TxnLogError::invalid("a primary key has fewer columns"))?;
                value.put(&column.data_type, out).map_err(|misfit| column.misfit(value, misfit))?;
            }
            Ok(())
        };
        let result = encode();
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// The values of an encoded key. Fails if it is not a key of these columns.
    pub fn decode<'k>(&self, key: &'k [u8]) -> Result<Vec<Datum<'k>>> {
        let mut reader = KeyReader::new(key);
        let values = self.columns.iter().map(|column| Datum::read(&column.data_type, &mut reader));
        match values.collect::<Option<_>>() {
            Some(values) if reader.rest().is_empty() => Ok(values),
            _ => Err(damaged()),
        }
    }
}

impl KeyColumn {
    fn misfit(&self, value: &Datum<'_>, misfit: Misfit) -> TxnLogError {
        let (name, data_type) = (self.field.name(), self.field.data_type());
        let why = match misfit {
            Misfit::Type => "is of another type",
            Misfit::Range => "is beyond its range or digits",
        };
        TxnLogError::invalid(format!("{value} cannot be in key column {name:?} of type {data_type}: it {why}"))
    }
}

fn damaged() -> TxnLogError {
    TxnLogError::corrupt("the hot store has a primary key that does not match its columns: it is damaged")
}

/// Encodes the primary keys of rows in a batch.
#[derive(Debug)]
pub struct KeyEncoder<'a> {
    columns: Vec<(&'a KeyColumn, ArrayRef)>,
    rows: usize,
}

impl<'a> KeyEncoder<'a> {
    /// An encoder for the rows of `batch`, whose columns are found by name. Strings and binary values can be in any
    /// representation, also as dictionaries.
    ///
    /// Fails if a column is missing or of another type.
    pub fn new(key: &'a PrimaryKey, batch: &RecordBatch) -> Result<Self> {
        let columns = key.columns.iter().map(|column| {
            let name = column.field.name();
            let array = batch.column_by_name(name).ok_or_else(|| {
                let message = format!("the rows have no column {name:?}, which is in the primary key");
                TxnLogError::invalid(message).about(Subject::Schema)
            })?;
            Ok((column, column.data_type.canonical_array(name, array)?))
        });
        Ok(Self { columns: columns.collect::<Result<_>>()?, rows: batch.num_rows() })
    }

    /// Appends the encoded key of a row to `out`.
    ///
    /// Fails, with `out` unchanged, if a value is null or a decimal is beyond its precision, and for a row that the
    /// batch does not have.
    pub fn encode(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if row >= self.rows {
            let rows = self.rows;
            return Err(TxnLogError::new(ErrorKind::Internal, format!("row {row} of {rows} rows was asked for")));
        }
        let start = out.len();
        let result = self.columns.iter().try_for_each(|(column, array)| put_value(column, array, row, out));
        if result.is_err() {
            out.truncate(start);
        }
        result
    }
}

fn put_value(column: &KeyColumn, array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
    use ColumnType as T;
    use memcomparable as encoding;
    if array.is_null(row) {
        let message = format!("column {:?} is in the primary key and cannot be null", column.field.name());
        return Err(TxnLogError::invalid(message).about(Subject::InvalidRows(1)));
    }
    fn value<P: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> Option<P::Native> {
        Some(array.as_primitive_opt::<P>()?.value(row))
    }
    let known = (|| {
        match &column.data_type {
            T::Boolean => out.push(array.as_boolean_opt()?.value(row).into()),
            T::Byte => encoding::put_signed(value::<Int8Type>(array, row)?.to_be_bytes(), out),
            T::Short => encoding::put_signed(value::<Int16Type>(array, row)?.to_be_bytes(), out),
            T::Integer => encoding::put_signed(value::<Int32Type>(array, row)?.to_be_bytes(), out),
            T::Long => encoding::put_signed(value::<Int64Type>(array, row)?.to_be_bytes(), out),
            T::Float => encoding::put_float(value::<Float32Type>(array, row)?, out),
            T::Double => encoding::put_double(value::<Float64Type>(array, row)?, out),
            T::Decimal { scale, .. } => {
                let units = value::<Decimal128Type>(array, row)?;
                let decimal = Datum::Decimal(units, scale.cast_signed());
                return Some(decimal.put(&column.data_type, out).map_err(|misfit| column.misfit(&decimal, misfit)));
            }
            T::Date => encoding::put_signed(value::<Date32Type>(array, row)?.to_be_bytes(), out),
            T::Timestamp | T::TimestampNtz => {
                encoding::put_signed(value::<TimestampMicrosecondType>(array, row)?.to_be_bytes(), out);
            }
            T::String => encoding::put_bytes(array.as_string_opt::<i32>()?.value(row).as_bytes(), out),
            T::Binary => encoding::put_bytes(array.as_binary_opt::<i32>()?.value(row), out),
            T::Void | T::Struct { .. } | T::Array(_) | T::Map(_) => return None,
        }
        Some(Ok(()))
    })();
    known.unwrap_or_else(|| {
        let message = format!("key column {:?} was not converted to its type", column.field.name());
        Err(TxnLogError::new(ErrorKind::Internal, message))
    })
}

/// Decodes encoded primary keys into Arrow arrays of some of their columns.
#[derive(Debug)]
pub struct KeyDecoder<'a> {
    key: &'a PrimaryKey,
    /// For each column of the key up to the last one asked for, its builder if it is asked for.
    builders: Vec<Option<ColumnBuilder>>,
    /// The places of the columns asked for in the key.
    projection: Vec<usize>,
}

impl<'a> KeyDecoder<'a> {
    /// A decoder for the columns at these places of the key, in the Arrow types of its fields, with room for `rows`.
    ///
    /// Fails if a place is not in the key or is there twice, or if the Arrow type of a field is not supported: strings
    /// are read as Utf8 or Utf8View, binary values as Binary or BinaryView.
    pub fn new(key: &'a PrimaryKey, projection: &[usize], rows: usize) -> Result<Self> {
        let columns = projection.iter().max().map_or(0, |last| last + 1);
        let mut builders: Vec<_> = (0..columns).map(|_| None).collect();
        for &place in projection {
            let column = key.columns.get(place).filter(|_| builders[place].is_none());
            let column = column.ok_or_else(|| {
                TxnLogError::new(ErrorKind::Internal, format!("column {place} of a primary key cannot be read"))
            })?;
            builders[place] = Some(ColumnBuilder::new(&column.field, rows)?);
        }
        Ok(Self { key, builders, projection: projection.to_vec() })
    }

    /// Appends the values of an encoded key.
    ///
    /// Fails if it is not a key of these columns, or if the texts of a column are too long for one array: the decoder
    /// cannot be used further.
    pub fn append(&mut self, key: &[u8]) -> Result<()> {
        let mut reader = KeyReader::new(key);
        for (column, builder) in self.key.columns.iter().zip(&mut self.builders) {
            match builder {
                None => reader.skip(&column.data_type).ok_or_else(damaged)?,
                Some(builder) => append_value(builder, &mut reader).ok_or_else(damaged)?.map_err(|TooManyValues| {
                    let name = column.field.name();
                    TxnLogError::invalid(format!("column {name:?} is too long for one batch: read fewer rows"))
                })?,
            }
        }
        if self.builders.len() == self.key.columns.len() && !reader.rest().is_empty() {
            return Err(damaged());
        }
        Ok(())
    }

    /// The arrays of the columns asked for, in that order, of the keys appended since the last call.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        let arrays = self.projection.iter().map(|&place| {
            let array = self.builders[place].as_mut().map(ColumnBuilder::finish);
            array.ok_or_else(damaged)?.map_err(|e| damaged().with_source(e))
        });
        arrays.collect()
    }
}

fn append_value(builder: &mut ColumnBuilder, key: &mut KeyReader<'_>) -> Option<Result<(), TooManyValues>> {
    use ColumnBuilder as B;
    match builder {
        B::Boolean(b) => b.append_value(key.boolean()?),
        B::Byte(b) => b.append_value(i8::from_be_bytes(key.signed()?)),
        B::Short(b) => b.append_value(i16::from_be_bytes(key.signed()?)),
        B::Integer(b) => b.append_value(i32::from_be_bytes(key.signed()?)),
        B::Long(b) => b.append_value(i64::from_be_bytes(key.signed()?)),
        B::Float(b) => b.append_value(key.float()?),
        B::Double(b) => b.append_value(key.double()?),
        B::Decimal { units, precision, .. } => units.append_value(key.decimal(*precision)?),
        B::Date(b) => b.append_value(i32::from_be_bytes(key.signed()?)),
        B::Timestamp(b) | B::TimestampNtz(b) => b.append_value(i64::from_be_bytes(key.signed()?)),
        B::String(b) => return Some(b.append(&key.string()?)),
        B::Binary(b) => return Some(b.append(&key.bytes()?)),
        B::Void(_) | B::Struct(_) | B::Array(_) | B::Map(_) => return None,
    }
    Some(Ok(()))
}

#[cfg(test)]
mod tests;
