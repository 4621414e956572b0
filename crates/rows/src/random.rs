//! Random types, arrays and values for tests, from a seed.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, ListArray, MapArray, NullArray, StructArray, TimestampMicrosecondArray,
};
use arrow::array::{BinaryArray, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use fastrand::Rng;

/// Runs `test` with the seeds from 0, or with the one in `DELTALAKEDB_SEED`. A failure prints its seed.
pub(crate) fn for_seeds(count: u64, test: impl Fn(&mut Rng)) {
    struct Report(u64);
    impl Drop for Report {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("run it again with DELTALAKEDB_SEED={}", self.0);
            }
        }
    }
    let seeds = match std::env::var("DELTALAKEDB_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..count).collect(),
    };
    for seed in seeds {
        let _report = Report(seed);
        test(&mut Rng::with_seed(seed));
    }
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

/// Numbers of all magnitudes, and the limits of every type.
pub(crate) fn integer(rng: &mut Rng, min: i64, max: i64) -> i64 {
    let n = match rng.u8(..4) {
        0 => pick(rng, &[0, 1, -1, min, max, min + 1, max - 1]),
        1 => rng.i64(-3..=3),
        _ => rng.i64(..) >> rng.u32(..64),
    };
    n.clamp(min, max)
}

pub(crate) fn double(rng: &mut Rng) -> f64 {
    match rng.u8(..4) {
        0 => pick(
            rng,
            &[
                0.0,
                -0.0,
                f64::NAN,
                -f64::NAN,
                f64::from_bits(0x7ff0_0000_0000_0001),
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::MIN,
                f64::MAX,
                f64::MIN_POSITIVE,
                5e-324,
                -5e-324,
            ],
        ),
        1 => f64::from(rng.i8(-3..=3)) / 2.0,
        _ => f64::from_bits(rng.u64(..)),
    }
}

pub(crate) fn float(rng: &mut Rng) -> f32 {
    if rng.bool() { f32::from_bits(rng.u32(..)) } else { double(rng) as f32 }
}

/// A number of up to so many digits.
pub(crate) fn units(rng: &mut Rng, digits: u8) -> i128 {
    let limit = 10_i128.pow(rng.u32(0..=digits.into()));
    match rng.u8(..4) {
        0 => pick(rng, &[0, 1 - limit, limit - 1]),
        _ => rng.i128(1 - limit..limit),
    }
}

pub(crate) fn bytes(rng: &mut Rng) -> Vec<u8> {
    let length = if rng.u8(..20) == 0 { rng.usize(..400) } else { rng.usize(..6) };
    // Few different bytes, so that prefixes and equal values occur.
    (0..length).map(|_| if rng.bool() { pick(rng, &[0, 1, 2, 0xfe, 0xff]) } else { rng.u8(..) }).collect()
}

pub(crate) fn text(rng: &mut Rng) -> String {
    let length = if rng.u8(..20) == 0 { rng.usize(..200) } else { rng.usize(..6) };
    (0..length)
        .map(|_| if rng.bool() { pick(rng, &['\0', '\u{1}', 'a', 'b', '\u{10ffff}']) } else { rng.char(..) })
        .collect()
}

/// A type of Delta whose values have an order.
pub(crate) fn primitive_type(rng: &mut Rng) -> DataType {
    use DataType as A;
    match rng.u8(..13) {
        0 => A::Boolean,
        1 => A::Int8,
        2 => A::Int16,
        3 => A::Int32,
        4 => A::Int64,
        5 => A::Float32,
        6 => A::Float64,
        7 => {
            let precision = rng.u8(1..=38);
            A::Decimal128(precision, rng.i8(0..=precision.cast_signed()))
        }
        8 => A::Date32,
        9 => A::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        10 => A::Timestamp(TimeUnit::Microsecond, None),
        11 => pick_type(rng, &[A::Utf8, A::Utf8View]),
        _ => pick_type(rng, &[A::Binary, A::BinaryView]),
    }
}

fn pick_type(rng: &mut Rng, from: &[DataType]) -> DataType {
    from[rng.usize(..from.len())].clone()
}

/// Any type of Delta, nested to `depth`.
pub(crate) fn any_type(rng: &mut Rng, depth: u8) -> DataType {
    use DataType as A;
    if depth == 0 || rng.u8(..3) > 0 {
        return if rng.u8(..20) == 0 { A::Null } else { primitive_type(rng) };
    }
    match rng.u8(..3) {
        0 => {
            let count = rng.usize(..4);
            // Ids in no order.
            let mut ids: Vec<u32> = (1..=20).collect();
            rng.shuffle(&mut ids);
            A::Struct((0..count).map(|n| with_id(any_field(rng, &format!("f{}", ids[n]), depth - 1), ids[n])).collect())
        }
        1 => A::List(any_field(rng, "element", depth - 1).into()),
        _ => {
            let key = Field::new("key", primitive_type(rng), false);
            let entries = A::Struct([key, any_field(rng, "value", depth - 1)].into_iter().collect());
            A::Map(Field::new("key_value", entries, false).into(), false)
        }
    }
}

pub(crate) fn any_field(rng: &mut Rng, name: &str, depth: u8) -> Field {
    let data_type = any_type(rng, depth);
    let nullable = data_type == DataType::Null || rng.u8(..4) > 0;
    Field::new(name, data_type, nullable)
}

pub(crate) fn with_id(field: Field, id: u32) -> Field {
    field.with_metadata(HashMap::from([("delta.columnMapping.id".to_string(), id.to_string())]))
}

/// Values of a field, in the representation of its type.
pub(crate) fn array(rng: &mut Rng, field: &Field, rows: usize) -> ArrayRef {
    use DataType as A;
    let nulls: Vec<bool> = (0..rows).map(|_| !field.is_nullable() || rng.u8(..4) > 0).collect();
    let mut valid = nulls.iter().copied();
    macro_rules! values {
        ($array:ty, $value:expr) => {{
            let values = (0..rows).map(|_| valid.next().unwrap().then(|| $value));
            let array: $array = values.collect();
            array
        }};
    }
    let lists =
        |rng: &mut Rng| OffsetBuffer::from_lengths((0..rows).map(|_| if rng.bool() { 0 } else { rng.usize(..5) }));
    let data_type = field.data_type();
    match data_type {
        A::Null => Arc::new(NullArray::new(rows)),
        A::Boolean => Arc::new(values!(BooleanArray, rng.bool())),
        A::Int8 => Arc::new(values!(Int8Array, integer(rng, i8::MIN.into(), i8::MAX.into()) as i8)),
        A::Int16 => Arc::new(values!(Int16Array, integer(rng, i16::MIN.into(), i16::MAX.into()) as i16)),
        A::Int32 => Arc::new(values!(Int32Array, integer(rng, i32::MIN.into(), i32::MAX.into()) as i32)),
        A::Int64 => Arc::new(values!(Int64Array, integer(rng, i64::MIN, i64::MAX))),
        A::Float32 => Arc::new(values!(Float32Array, float(rng))),
        A::Float64 => Arc::new(values!(Float64Array, double(rng))),
        A::Decimal128(precision, scale) => Arc::new(
            values!(Decimal128Array, units(rng, *precision)).with_precision_and_scale(*precision, *scale).unwrap(),
        ),
        // Its microseconds are within 64 bits.
        A::Date32 => Arc::new(values!(Date32Array, integer(rng, -106_751_991, 106_751_991) as i32)),
        A::Timestamp(_, zone) => Arc::new(
            values!(TimestampMicrosecondArray, integer(rng, i64::MIN, i64::MAX)).with_timezone_opt(zone.clone()),
        ),
        A::Utf8 | A::Utf8View => cast(&values!(StringArray, text(rng)), data_type).unwrap(),
        A::Binary | A::BinaryView => cast(&values!(BinaryArray, bytes(rng)), data_type).unwrap(),
        A::Struct(fields) => {
            let arrays = fields.iter().map(|field| array(rng, field, rows)).collect();
            Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, Some(nulls.into()), rows).unwrap())
        }
        A::List(element) => {
            let offsets = lists(rng);
            let elements = array(rng, element, *offsets.last().unwrap() as usize);
            Arc::new(ListArray::new(element.clone(), offsets, elements, Some(nulls.into())))
        }
        A::Map(entries, _) => {
            let offsets = lists(rng);
            let structs = array(rng, entries, *offsets.last().unwrap() as usize);
            let structs = StructArray::from(structs.to_data());
            let structs = StructArray::new(structs.fields().clone(), structs.columns().to_vec(), None);
            Arc::new(MapArray::new(entries.clone(), offsets, structs, Some(NullBuffer::from(nulls)), false))
        }
        other => panic!("{other}"),
    }
}

/// The same values in a representation that the encoders must accept as well.
pub(crate) fn other_representation(rng: &mut Rng, array: &ArrayRef) -> ArrayRef {
    use DataType as A;
    let other = match array.data_type() {
        A::Utf8 | A::Utf8View => {
            let dictionary = A::Dictionary(A::Int32.into(), A::Utf8.into());
            pick_type(rng, &[A::Utf8, A::LargeUtf8, A::Utf8View, dictionary])
        }
        A::Binary | A::BinaryView => pick_type(rng, &[A::Binary, A::LargeBinary, A::BinaryView]),
        A::Int64 => pick_type(rng, &[A::Int64, A::Dictionary(A::Int16.into(), A::Int64.into())]),
        A::List(element) => pick_type(rng, &[A::List(element.clone()), A::LargeList(element.clone())]),
        other => other.clone(),
    };
    cast(array, &other).unwrap()
}

pub(crate) fn shared(field: Field) -> FieldRef {
    Arc::new(field)
}
