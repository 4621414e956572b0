//! Random definitions for tests, from a seed.

use arrow::datatypes::{DataType, TimeUnit};
use deltalakedb_table::datafusion::common::ScalarValue;
use fastrand::Rng;

use crate::column_default::ColumnDefault;
use crate::column_type::{UTC, timestamp};
use crate::definition::{ColumnSpec, TableDefinition};

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

pub(crate) fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())].clone()
}

/// A type that columns can have.
pub(crate) fn column_type(rng: &mut Rng) -> DataType {
    use DataType as A;
    match rng.u8(..13) {
        0 => A::Boolean,
        1 => A::Int8,
        2 => A::Int16,
        3 => A::Int32,
        4 => A::Int64,
        5 => A::Float32,
        6 => A::Float64,
        7 => A::Utf8,
        8 => A::Binary,
        9 => A::Date32,
        10 => A::Timestamp(TimeUnit::Microsecond, None),
        11 => timestamp(),
        _ => {
            let precision = rng.u8(1..=38);
            A::Decimal128(precision, rng.i8(0..=precision.cast_signed()))
        }
    }
}

/// A value of such a type, often one at its limits.
pub(crate) fn value(rng: &mut Rng, data_type: &DataType) -> ScalarValue {
    use ScalarValue as S;
    // From 0001-01-01 to 9999-12-31.
    const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;
    let micros = |rng: &mut Rng| {
        let second = i64::from(rng.i32(DAYS)) * 86_400 + rng.i64(0..86_400);
        let fraction = pick(rng, &[0, 1, 500_000, 999_999, 123_456]);
        second * 1_000_000 + fraction
    };
    match data_type {
        DataType::Boolean => S::Boolean(Some(rng.bool())),
        DataType::Int8 => S::Int8(Some(rng.i8(..))),
        DataType::Int16 => S::Int16(Some(rng.i16(..))),
        DataType::Int32 => S::Int32(Some(rng.i32(..))),
        DataType::Int64 => {
            let random = rng.i64(..);
            S::Int64(Some(pick(rng, &[0, i64::MIN, i64::MAX, random])))
        }
        DataType::Float32 => {
            let random = f32::from_bits(rng.u32(..));
            let x = pick(rng, &[0.0, -0.0, f32::MAX, f32::MIN_POSITIVE, f32::INFINITY, f32::NAN, random]);
            S::Float32(Some(if x.is_nan() { f32::NAN } else { x }))
        }
        DataType::Float64 => {
            let random = f64::from_bits(rng.u64(..));
            let x = pick(rng, &[0.1, -0.0, f64::MAX, 5e-324, f64::NEG_INFINITY, f64::NAN, random]);
            S::Float64(Some(if x.is_nan() { f64::NAN } else { x }))
        }
        DataType::Decimal128(precision, scale) => {
            let max = 10_i128.pow(u32::from(*precision)) - 1;
            let random = rng.i128(-max..=max);
            S::Decimal128(Some(pick(rng, &[0, 1.min(max), max, -max, random])), *precision, *scale)
        }
        DataType::Utf8 => {
            let letters = ["", "a", "'", "''", "\\", "\"", "é", "\n", "%", "NOW()", "X'00'", "😀", "-", "$$"];
            let text = (0..rng.usize(..5)).map(|_| pick(rng, &letters));
            S::Utf8(Some(text.collect()))
        }
        DataType::Binary => S::Binary(Some((0..rng.usize(..5)).map(|_| rng.u8(..)).collect())),
        DataType::Date32 => {
            let random = rng.i32(DAYS);
            S::Date32(Some(pick(rng, &[*DAYS.start(), *DAYS.end(), 0, random])))
        }
        DataType::Timestamp(_, zone) => S::TimestampMicrosecond(Some(micros(rng)), zone.as_ref().map(|_| UTC.into())),
        other => panic!("columns cannot be of type {other}"),
    }
}

/// A default of such a type; `None` for none.
fn default(rng: &mut Rng, data_type: &DataType) -> Option<ColumnDefault> {
    match (data_type, rng.u8(..4)) {
        (_, 0) => None,
        (DataType::Int64, 1) => Some(ColumnDefault::SnowflakeId),
        (DataType::Utf8, 1) => Some(ColumnDefault::UuidV7),
        (DataType::Timestamp(..), 1) => Some(ColumnDefault::Now),
        _ => Some(ColumnDefault::Literal(value(rng, data_type))),
    }
}

/// A definition of a shared table.
pub(crate) fn definition(rng: &mut Rng) -> TableDefinition {
    let mut columns: Vec<_> = (0..rng.usize(1..8))
        .map(|n| {
            let data_type = column_type(rng);
            let default = default(rng, &data_type);
            let name = format!("{}{n}", pick(rng, &["c", "Käse ", "\"", "a.b", "key"]));
            ColumnSpec { name, data_type, nullable: rng.bool(), default }
        })
        .collect();
    rng.shuffle(&mut columns);
    let mut names: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
    rng.shuffle(&mut names);
    let key = &names[..rng.usize(1..=names.len())];
    TableDefinition::new_shared("app.t".parse().unwrap(), columns, key.iter().map(String::as_str)).unwrap()
}
