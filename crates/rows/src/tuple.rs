//! Rows as bytes: the values of the hot store.
//!
//! A tuple names its columns by id and holds the type of each value, so it is read without the schema that it was
//! written with: columns added later are absent, dropped ones are passed over, and values of a type that was widened
//! since are converted. A [`TupleEncoder`] writes the rows of a batch of a [`TupleSchema`]; a [`TupleDecoder`] reads
//! the columns asked for into Arrow arrays.
//!
//! # Format
//!
//! | part | bytes |
//! |---|---|
//! | kind | 1: a row, 2: a deleted row |
//! | schema version | varint |
//! | length of the columns | varint |
//! | columns, in order of their ids | each a varint of 16 × (id − the previous id) + tag, then the value |
//!
//! A varint has 7 bits a byte, the lowest first, and the top bit where another byte follows; signed numbers are zigzag
//! encoded. A null is written, to differ from an absent column. The tags and their values:
//!
//! | tag | value | of |
//! |---|---|---|
//! | 0 | none | null, void |
//! | 1, 2 | none | false, true |
//! | 3 | signed varint | byte, short, integer, long |
//! | 4 | 4 bytes, little-endian | float |
//! | 5 | 8 bytes, little-endian | double |
//! | 6 | a byte, the scale, then a signed varint, the unscaled value | decimal |
//! | 7 | signed varint of days | date |
//! | 8, 9 | 8 bytes, little-endian: microseconds | timestamp, timestamp_ntz |
//! | 10, 11 | varint length, then the bytes | string, binary |
//! | 12 | varint length, then the fields like columns | struct |
//! | 13 | varint length, then a varint count and the elements | array |
//! | 14 | varint length, then a varint count, the keys and the values | map |
//!
//! The elements of an array, or the keys or values of a map, begin with a byte: the tag of all of them, or 0 if each
//! has a tag of its own.
//!
//! There is no checksum: the store has its own. Damaged bytes are an error, or other values of the same types, and
//! bytes that are cut off are always an error.

mod decoder;
mod encoder;
mod schema;
mod values;
mod wire;

pub use decoder::{Tuple, TupleDecoder};
pub use encoder::TupleEncoder;
pub use schema::{TupleColumn, TupleSchema};

/// The tuple of a deleted row, of schema version 0: for who does not know the schema.
pub const TOMBSTONE: &[u8] = &[wire::DELETED, 0, 0];

#[cfg(test)]
mod tests;
