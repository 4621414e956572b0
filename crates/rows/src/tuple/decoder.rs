//! Tuples to Arrow arrays.

use arrow::array::ArrayRef;
use deltalakedb_log::{ErrorKind, Result, TxnLogError};

use super::schema::TupleColumn;
use super::wire::{DELETED, ROW, Reader, Tag, Unreadable};
use crate::column_builder::{ColumnBuilder, TooManyValues};
use crate::column_type::fits_precision;

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

/// An encoded row.
#[derive(Clone, Copy, Debug)]
pub struct Tuple<'a> {
    schema_version: u32,
    is_deleted: bool,
    pub(super) columns: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// Reads what precedes the columns. Fails if the bytes are not a whole tuple.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let parsed = || {
            let mut reader = Reader::new(bytes);
            let is_deleted = match reader.byte()? {
                ROW => false,
                DELETED => true,
                _ => return Err(Unreadable::Damaged),
            };
            let schema_version = u32::try_from(reader.varint()?).map_err(|_| Unreadable::Damaged)?;
            let columns = reader.bytes()?;
            reader.end()?;
            Ok(Self { schema_version, is_deleted, columns })
        };
        parsed().map_err(|_| {
            TxnLogError::corrupt(
                "the hot store has a row that is damaged, or that a newer version of this program wrote",
            )
        })
    }

    /// The version of the schema that it was written with.
    pub fn schema_version(&self) -> u32 {
        self.schema_version
    }

    /// Whether the row was deleted by this version.
    pub fn is_deleted(&self) -> bool {
        self.is_deleted
    }
}

/// Decodes tuples into Arrow arrays of some of a table's columns.
#[derive(Debug)]
pub struct TupleDecoder {
    /// In order of their ids.
    columns: Vec<DecodedColumn>,
    /// The places in `columns` of the columns in the order asked for.
    places: Vec<usize>,
}

#[derive(Debug)]
struct DecodedColumn {
    id: u32,
    name: String,
    builder: ColumnBuilder,
    default: Option<Vec<u8>>,
}

impl TupleDecoder {
    /// A decoder for these columns of any version of the table's schema, with room for `rows`. The arrays have the
    /// types of their fields: strings as Utf8 or Utf8View, binary values as Binary or BinaryView, arrays as List.
    ///
    /// Fails for other representations, and if two columns have the same id.
    pub fn new<'c>(columns: impl IntoIterator<Item = &'c TupleColumn>, rows: usize) -> Result<Self> {
        let columns = columns.into_iter().enumerate().map(|(position, column)| {
            let builder = ColumnBuilder::new(column.field(), rows)?;
            let (id, name, default) = (column.id(), column.field().name().clone(), column.default.clone());
            Ok((position, DecodedColumn { id, name, builder, default }))
        });
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        columns.sort_by_key(|(_, column)| column.id);
        if let Some(pair) = columns.windows(2).find(|pair| pair[0].1.id == pair[1].1.id) {
            let message = format!("column {:?} was asked for twice", pair[1].1.name);
            return Err(TxnLogError::new(ErrorKind::Internal, message));
        }
        let mut places = vec![0; columns.len()];
        for (place, (position, _)) in columns.iter().enumerate() {
            places[*position] = place;
        }
        Ok(Self { columns: columns.into_iter().map(|(_, column)| column).collect(), places })
    }

    /// Appends a row. A column that the tuple does not have is its default, or null; in a deleted row all columns are
    /// null.
    ///
    /// Values are converted as Delta widens types (PROTOCOL.md, "Type Widening"): to larger integers, from float and
    /// integers to double, from integers and decimals to decimals with as many digits on both sides, and from date to
    /// timestamp_ntz.
    ///
    /// Fails if the columns are damaged, if a value cannot be converted, or if the texts of a column are too long for
    /// one array: the decoder cannot be used further.
    pub fn append(&mut self, tuple: &Tuple<'_>) -> Result<()> {
        if tuple.is_deleted {
            self.columns.iter_mut().for_each(|column| column.builder.append_null());
            return Ok(());
        }
        let mut at = 0;
        append_fields(Reader::new(tuple.columns), &mut self.columns, &mut at).map_err(|unreadable| {
            let (name, version) = (self.columns.get(at).map_or("", |column| &column.name), tuple.schema_version);
            let why = match unreadable {
                Unreadable::Damaged => "its bytes are damaged",
                Unreadable::OtherType => "its value is of another type",
                Unreadable::OutOfRange => "its value is beyond the range of its type",
                Unreadable::TooMany => {
                    let message = format!("column {name:?} is too long for one batch: read fewer rows");
                    return TxnLogError::invalid(message);
                }
            };
            TxnLogError::corrupt(format!(
                "column {name:?} of a row in the hot store, of schema version {version}, cannot be read: {why}"
            ))
        })
    }

    /// The arrays of the columns in the order asked for, with the rows appended since the last call. Whether top-level
    /// columns may be null is not checked.
    ///
    /// Fails if a nested field is null and may not be.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        let arrays = self.columns.iter_mut().map(|column| {
            let what =
                || TxnLogError::corrupt(format!("column {:?} of rows in the hot store cannot be read", column.name));
            column.builder.finish().map_err(|e| what().with_source(e))
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        Ok(self.places.iter().map(|&place| arrays[place].clone()).collect())
    }
}

/// A builder for a column or a field of a struct.
trait FieldBuilder {
    fn id(&self) -> u32;
    fn builder(&mut self) -> &mut ColumnBuilder;
    /// Appends the value where a row does not have the field.
    fn append_absent(&mut self) -> Result<(), Unreadable>;
}

impl FieldBuilder for DecodedColumn {
    fn id(&self) -> u32 {
        self.id
    }

    fn builder(&mut self) -> &mut ColumnBuilder {
        &mut self.builder
    }

    fn append_absent(&mut self) -> Result<(), Unreadable> {
        let Some(default) = &self.default else {
            self.builder.append_null();
            return Ok(());
        };
        let mut value = Reader::new(default);
        let tag = value.tag()?;
        append_value(&mut self.builder, tag, &mut value)
    }
}

impl FieldBuilder for (u32, ColumnBuilder) {
    fn id(&self) -> u32 {
        self.0
    }

    fn builder(&mut self) -> &mut ColumnBuilder {
        &mut self.1
    }

    fn append_absent(&mut self) -> Result<(), Unreadable> {
        self.1.append_null();
        Ok(())
    }
}

/// Appends the values of a row to its columns, or of a struct to its fields; both are in order of their ids. `at` is the
/// column of an error.
fn append_fields<F: FieldBuilder>(mut reader: Reader<'_>, fields: &mut [F], at: &mut usize) -> Result<(), Unreadable> {
    let mut previous = 0;
    while *at < fields.len() && !reader.is_empty() {
        let (id, tag) = reader.header(previous)?;
        previous = id;
        while let Some(field) = fields.get_mut(*at).filter(|field| field.id() < id) {
            field.append_absent()?;
            *at += 1;
        }
        match fields.get_mut(*at).filter(|field| field.id() == id) {
            Some(field) => {
                append_value(field.builder(), tag, &mut reader)?;
                *at += 1;
            }
            None => reader.skip(tag)?,
        }
    }
    while let Some(field) = fields.get_mut(*at) {
        field.append_absent()?;
        *at += 1;
    }
    Ok(())
}

fn append_value(builder: &mut ColumnBuilder, tag: Tag, reader: &mut Reader<'_>) -> Result<(), Unreadable> {
    use ColumnBuilder as B;
    use Tag as T;
    match (builder, tag) {
        (builder, T::Null) => builder.append_null(),
        (B::Boolean(b), T::False) => b.append_value(false),
        (B::Boolean(b), T::True) => b.append_value(true),
        (B::Byte(b), T::Integer) => b.append_value(narrowed(reader.signed()?)?),
        (B::Short(b), T::Integer) => b.append_value(narrowed(reader.signed()?)?),
        (B::Integer(b), T::Integer) => b.append_value(narrowed(reader.signed()?)?),
        (B::Long(b), T::Integer) => b.append_value(reader.signed()?),
        (B::Float(b), T::Float) => b.append_value(f32::from_le_bytes(reader.fixed()?)),
        (B::Double(b), T::Double) => b.append_value(f64::from_le_bytes(reader.fixed()?)),
        (B::Double(b), T::Float) => b.append_value(f32::from_le_bytes(reader.fixed()?).into()),
        // A long is not widened to a double, which may not have the same value.
        (B::Double(b), T::Integer) => b.append_value(narrowed::<i32>(reader.signed()?)?.into()),
        (B::Decimal { units, precision, scale }, T::Decimal | T::Integer) => {
            let from = if tag == T::Decimal { reader.byte()? } else { 0 };
            let value = reader.signed_128()?;
            let factor = scale.checked_sub(from).and_then(|shift| 10_i128.checked_pow(shift.into()));
            let value = factor.and_then(|factor| value.checked_mul(factor));
            let value = value.filter(|value| fits_precision(*value, *precision));
            units.append_value(value.ok_or(Unreadable::OutOfRange)?);
        }
        (B::Date(b), T::Date) => b.append_value(narrowed(reader.signed()?)?),
        (B::Timestamp(b), T::Timestamp) | (B::TimestampNtz(b), T::TimestampNtz) => {
            b.append_value(i64::from_le_bytes(reader.fixed()?));
        }
        (B::TimestampNtz(b), T::Date) => {
            let midnight = i64::from(narrowed::<i32>(reader.signed()?)?).checked_mul(MICROSECONDS_PER_DAY);
            b.append_value(midnight.ok_or(Unreadable::OutOfRange)?);
        }
        (B::String(b), T::String) => {
            let text = std::str::from_utf8(reader.bytes()?).map_err(|_| Unreadable::Damaged)?;
            b.append(text)?;
        }
        (B::Binary(b), T::Binary) => b.append(reader.bytes()?)?,
        (B::Struct(b), T::Struct) => {
            append_fields(Reader::new(reader.bytes()?), &mut b.by_id, &mut 0)?;
            b.close();
        }
        (B::Array(b), T::Array) => {
            let mut elements = Reader::new(reader.bytes()?);
            let count = elements.count()?;
            append_elements(&mut b.elements, count, &mut elements)?;
            elements.end()?;
            b.close()?;
        }
        (B::Map(b), T::Map) => {
            let mut entries = Reader::new(reader.bytes()?);
            let count = entries.count()?;
            append_elements(&mut b.keys, count, &mut entries)?;
            append_elements(&mut b.values, count, &mut entries)?;
            entries.end()?;
            b.close()?;
        }
        _ => return Err(Unreadable::OtherType),
    }
    Ok(())
}

/// Appends the elements of an array, or the keys or values of a map.
fn append_elements(builder: &mut ColumnBuilder, count: usize, reader: &mut Reader<'_>) -> Result<(), Unreadable> {
    let of_all = reader.tag()?;
    for _ in 0..count {
        let tag = if of_all == Tag::Null { reader.tag()? } else { of_all };
        append_value(builder, tag, reader)?;
    }
    Ok(())
}

fn narrowed<T: TryFrom<i64>>(n: i64) -> Result<T, Unreadable> {
    T::try_from(n).map_err(|_| Unreadable::OutOfRange)
}

impl From<TooManyValues> for Unreadable {
    fn from(_: TooManyValues) -> Self {
        Self::TooMany
    }
}
