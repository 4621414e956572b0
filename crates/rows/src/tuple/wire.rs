//! The parts of a tuple: tags, variable-length integers and lengths.

/// The kind of a tuple: a row.
pub(super) const ROW: u8 = 1;
/// The kind of a tuple: a deleted row.
pub(super) const DELETED: u8 = 2;

/// The type of a value in a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// Before the elements of an array: each has a tag of its own.
    Null = 0,
    False = 1,
    True = 2,
    Integer = 3,
    Float = 4,
    Double = 5,
    Decimal = 6,
    Date = 7,
    Timestamp = 8,
    TimestampNtz = 9,
    String = 10,
    Binary = 11,
    Struct = 12,
    Array = 13,
    Map = 14,
}

/// The bits of a tag before a column.
const TAG_BITS: u32 = 4;

/// Why bytes cannot be read as a value of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// They are not the bytes of a tuple.
    Damaged,
    /// The value is of a type that the column cannot have had before.
    OtherType,
    /// The value is beyond the range of the column's type.
    OutOfRange,
    /// More values than an array can hold.
    TooMany,
}

impl Tag {
    fn of(byte: u8) -> Result<Self, Unreadable> {
        use Tag as T;
        const TAGS: [Tag; 15] = [
            T::Null,
            T::False,
            T::True,
            T::Integer,
            T::Float,
            T::Double,
            T::Decimal,
            T::Date,
            T::Timestamp,
            T::TimestampNtz,
            T::String,
            T::Binary,
            T::Struct,
            T::Array,
            T::Map,
        ];
        TAGS.get(usize::from(byte)).copied().ok_or(Unreadable::Damaged)
    }
}

pub(super) fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(super) fn put_signed(n: i64, out: &mut Vec<u8>) {
    put_varint((n << 1 ^ n >> 63).cast_unsigned(), out);
}

pub(super) fn put_signed_128(n: i128, out: &mut Vec<u8>) {
    let mut n = (n << 1 ^ n >> 127).cast_unsigned();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends what precedes a column: the distance of its id from that of the previous column, and the tag.
pub(super) fn put_header(distance: u32, tag: Tag, out: &mut Vec<u8>) {
    put_varint(u64::from(distance) << TAG_BITS | tag as u64, out);
}

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends what `put` appends, with its length before it.
pub(super) fn put_with_length<E>(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    out.push(0);
    put(out)?;
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
    } else {
        let mut varint = Vec::with_capacity(10);
        put_varint(length as u64, &mut varint);
        out.splice(start..=start, varint);
    }
    Ok(())
}

/// Reads the parts of a tuple.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn end(self) -> Result<(), Unreadable> {
        if self.is_empty() { Ok(()) } else { Err(Unreadable::Damaged) }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Unreadable> {
        let (byte, rest) = self.0.split_first().ok_or(Unreadable::Damaged)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn fixed<const WIDTH: usize>(&mut self) -> Result<[u8; WIDTH], Unreadable> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Unreadable::Damaged)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Unreadable> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Unreadable::Damaged);
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(Unreadable::Damaged)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Unreadable> {
        let n = self.varint()?;
        Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }

    pub(super) fn signed_128(&mut self) -> Result<i128, Unreadable> {
        let mut n = 0_u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Unreadable::Damaged);
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed());
            }
        }
        Err(Unreadable::Damaged)
    }

    /// The bytes after their length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = usize::try_from(self.varint()?).map_err(|_| Unreadable::Damaged)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Unreadable::Damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A number of elements, each of which has a byte or more.
    pub(super) fn count(&mut self) -> Result<usize, Unreadable> {
        let count = usize::try_from(self.varint()?).map_err(|_| Unreadable::Damaged)?;
        if count <= self.0.len() { Ok(count) } else { Err(Unreadable::Damaged) }
    }

    pub(super) fn tag(&mut self) -> Result<Tag, Unreadable> {
        Tag::of(self.byte()?)
    }

    /// The id of the next column and its tag, after the column of id `previous`.
    pub(super) fn header(&mut self, previous: u32) -> Result<(u32, Tag), Unreadable> {
        let header = self.varint()?;
        let tag = Tag::of((header & ((1 << TAG_BITS) - 1)) as u8)?;
        let distance = u32::try_from(header >> TAG_BITS).map_err(|_| Unreadable::Damaged)?;
        let id = previous.checked_add(distance).filter(|id| *id > previous).ok_or(Unreadable::Damaged)?;
        Ok((id, tag))
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, tag: Tag) -> Result<(), Unreadable> {
        match tag {
            Tag::Null | Tag::False | Tag::True => {}
            Tag::Integer | Tag::Date => drop(self.varint()?),
            Tag::Float => drop(self.fixed::<4>()?),
            Tag::Double | Tag::Timestamp | Tag::TimestampNtz => drop(self.fixed::<8>()?),
            Tag::Decimal => {
                self.byte()?;
                self.signed_128()?;
            }
            Tag::String | Tag::Binary | Tag::Struct | Tag::Array | Tag::Map => drop(self.bytes()?),
        }
        Ok(())
    }
}
