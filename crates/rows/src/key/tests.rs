use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{BinaryArray, Decimal128Array, FixedSizeBinaryArray, Int64Array, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use deltalakedb_log::{TableId, predicate::Literal};
use fastrand::Rng;
use uuid::Uuid;

use super::*;
use crate::random::{self, for_seeds, shared};
use crate::seq::SeqId;

fn key_of(types: impl IntoIterator<Item = DataType>) -> PrimaryKey {
    let fields = types.into_iter().enumerate().map(|(n, t)| shared(Field::new(format!("k{n}"), t, false)));
    PrimaryKey::new(fields).unwrap()
}

fn random_key(rng: &mut Rng) -> PrimaryKey {
    let columns = rng.usize(1..=4);
    key_of((0..columns).map(|_| random::primitive_type(rng)).collect::<Vec<_>>())
}

/// A random row of the key as a batch of one row.
fn random_row(rng: &mut Rng, key: &PrimaryKey) -> RecordBatch {
    let fields: Fields = key.columns().cloned().collect();
    let arrays = fields.iter().map(|field| random::array(rng, field, 1)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn encoded(key: &PrimaryKey, batch: &RecordBatch, row: usize) -> Vec<u8> {
    let mut out = Vec::new();
    KeyEncoder::new(key, batch).unwrap().encode(row, &mut out).unwrap();
    out
}

fn encoded_values(key: &PrimaryKey, values: &[Datum<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    key.encode(values, &mut out).unwrap();
    out
}

/// The order of SQL, by comparison of values.
fn order(a: &dyn Array, b: &dyn Array) -> Ordering {
    fn doubles(a: f64, b: f64) -> Ordering {
        a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    }
    macro_rules! compare {
        ($($data_type:pat => $array:ty),*) => {
            match a.data_type() {
                DataType::Float32 => {
                    let value = |array: &dyn Array| array.as_primitive::<Float32Type>().value(0).into();
                    doubles(value(a), value(b))
                }
                DataType::Float64 => {
                    let value = |array: &dyn Array| array.as_primitive::<Float64Type>().value(0);
                    doubles(value(a), value(b))
                }
                DataType::Boolean => a.as_boolean().value(0).cmp(&b.as_boolean().value(0)),
                DataType::Utf8 => a.as_string::<i32>().value(0).cmp(b.as_string::<i32>().value(0)),
                DataType::Utf8View => a.as_string_view().value(0).cmp(b.as_string_view().value(0)),
                DataType::Binary => a.as_binary::<i32>().value(0).cmp(b.as_binary::<i32>().value(0)),
                DataType::BinaryView => a.as_binary_view().value(0).cmp(b.as_binary_view().value(0)),
                $($data_type => a.as_primitive::<$array>().value(0).cmp(&b.as_primitive::<$array>().value(0)),)*
                other => panic!("{other}"),
            }
        };
    }
    compare!(
        DataType::Int8 => Int8Type,
        DataType::Int16 => Int16Type,
        DataType::Int32 => Int32Type,
        DataType::Int64 => Int64Type,
        DataType::Decimal128(..) => Decimal128Type,
        DataType::Date32 => Date32Type,
        DataType::Timestamp(..) => TimestampMicrosecondType
    )
}

fn order_of_rows(a: &RecordBatch, b: &RecordBatch) -> Ordering {
    let columns = a.columns().iter().zip(b.columns());
    columns.fold(Ordering::Equal, |so_far, (a, b)| so_far.then_with(|| order(a, b)))
}

#[test]
fn the_order_of_keys_as_bytes_is_the_order_of_their_values() {
    let checked = std::cell::Cell::new([0; 3]);
    for_seeds(3000, |rng| {
        let key = random_key(rng);
        let rows: Vec<_> = (0..8).map(|_| random_row(rng, &key)).collect();
        let keys: Vec<_> = rows.iter().map(|row| encoded(&key, row, 0)).collect();
        for (a, row_a) in keys.iter().zip(&rows) {
            for (b, row_b) in keys.iter().zip(&rows) {
                let want = order_of_rows(row_a, row_b);
                assert_eq!(a.cmp(b), want, "{row_a:?} and {row_b:?} as {a:?} and {b:?}");
                assert!(a == b || !b.starts_with(a), "{a:?} of {row_a:?} is a prefix of {b:?} of {row_b:?}");
                let mut counts = checked.get();
                counts[(want as i8 + 1) as usize] += 1;
                checked.set(counts);
            }
        }
    });
    if std::env::var_os("DELTALAKEDB_SEED").is_none() {
        let [less, equal, greater] = checked.get();
        assert!(less == greater && less > 50_000 && equal > 3000 * 8 + 1000, "{:?}", checked.get());
    }
}

#[test]
fn keys_are_decoded_to_equal_values() {
    for_seeds(2000, |rng| {
        let key = random_key(rng);
        let rows: Vec<_> = (0..rng.usize(1..5)).map(|_| random_row(rng, &key)).collect();
        let keys: Vec<_> = rows.iter().map(|row| encoded(&key, row, 0)).collect();

        let mut places: Vec<usize> = (0..key.columns().len()).collect();
        rng.shuffle(&mut places);
        places.truncate(rng.usize(0..=places.len()));
        let mut decoder = KeyDecoder::new(&key, &places, rows.len()).unwrap();
        keys.iter().for_each(|key| decoder.append(key).unwrap());
        let arrays = decoder.finish().unwrap();
        for (place, array) in places.iter().zip(arrays) {
            assert_eq!(array.data_type(), rows[0].column(*place).data_type());
            assert_eq!((array.len(), array.null_count()), (rows.len(), 0));
            for (n, row) in rows.iter().enumerate() {
                assert_eq!(order(&array.slice(n, 1), row.column(*place)), Ordering::Equal, "{array:?} {row:?}");
            }
        }
        for (encoded, row) in keys.iter().zip(&rows) {
            let values = key.decode(encoded).unwrap();
            assert_eq!(encoded_values(&key, &values), *encoded, "{values:?} {row:?}");
        }
    });
}

#[test]
fn the_representation_of_an_array_does_not_change_its_keys() {
    for_seeds(500, |rng| {
        let key = random_key(rng);
        let fields: Fields = key.columns().cloned().collect();
        let rows = rng.usize(1..6);
        let arrays: Vec<_> = fields.iter().map(|field| random::array(rng, field, rows)).collect();
        let others: Vec<_> = arrays.iter().map(|array| random::other_representation(rng, array)).collect();
        let given = |arrays: &[ArrayRef]| {
            let named = key.columns().map(|field| field.name()).zip(arrays.iter().cloned());
            RecordBatch::try_from_iter(named).unwrap()
        };
        let (batch, other) = (given(&arrays), given(&others));
        for row in 0..rows {
            assert_eq!(encoded(&key, &batch, row), encoded(&key, &other, row), "{batch:?} {other:?}");
        }
    });
}

#[test]
fn a_null_in_a_key_is_an_error_with_the_name_of_the_column() {
    let key = key_of([DataType::Int64, DataType::Utf8]);
    let ids = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
    let names = Arc::new(StringArray::from(vec![Some("a"), None])) as ArrayRef;
    let batch = RecordBatch::try_from_iter_with_nullable([("k0", ids, false), ("k1", names, true)]).unwrap();
    let encoder = KeyEncoder::new(&key, &batch).unwrap();
    let mut out = b"before".to_vec();
    encoder.encode(0, &mut out).unwrap();
    let before = out.clone();
    let error = encoder.encode(1, &mut out).unwrap_err();
    assert_eq!(error.to_string(), r#"column "k1" is in the primary key and cannot be null"#);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(out, before, "nothing is appended");
    assert_eq!(encoder.encode(2, &mut out).unwrap_err().to_string(), "row 2 of 2 rows was asked for");
}

#[test]
fn values_that_are_not_of_the_column_are_refused() {
    let check = |t: DataType, value: Datum<'_>, want: &str| {
        let mut out = b"before".to_vec();
        match key_of([t]).encode(&[value], &mut out) {
            Ok(()) => assert_eq!(want, ""),
            Err(e) => {
                assert_eq!(e.to_string(), want);
                assert_eq!(out, b"before");
            }
        }
    };
    check(DataType::Int8, Datum::Long(127), "");
    let range = r#"128 cannot be in key column "k0" of type Int8: it is beyond its range or digits"#;
    check(DataType::Int8, Datum::Long(128), range);
    check(DataType::Float32, Datum::Double(0.5), "");
    check(DataType::Float32, Datum::Double(f64::NAN), "");
    let range = r#"0.1 cannot be in key column "k0" of type Float32: it is beyond its range or digits"#;
    check(DataType::Float32, Datum::Double(0.1), range);
    let other = r#"'7' cannot be in key column "k0" of type Int64: it is of another type"#;
    check(DataType::Int64, Datum::String("7".into()), other);
    let other = r#"X'00FF' cannot be in key column "k0" of type Utf8: it is of another type"#;
    check(DataType::Utf8, Datum::Binary((&[0, 255][..]).into()), other);
    let decimal = DataType::Decimal128(5, 2);
    check(decimal.clone(), Datum::Decimal(99_999, 2), "");
    check(decimal.clone(), Datum::Decimal(-999, 0), "");
    check(decimal.clone(), Datum::Decimal(-1500, 3), "");
    let digits = |value| {
        format!(r#"{value} cannot be in key column "k0" of type Decimal128(5, 2): it is beyond its range or digits"#)
    };
    check(decimal.clone(), Datum::Decimal(100_000, 2), &digits("1000.00"));
    check(decimal.clone(), Datum::Decimal(1000, 0), &digits("1000"));
    check(decimal.clone(), Datum::Decimal(-1, 3), &digits("-0.001"));
    check(decimal, Datum::Decimal(i128::MAX, -128), &digits(&format!("{}{}", i128::MAX, "0".repeat(128))));

    let key = key_of([DataType::Int64, DataType::Int64]);
    let error = key.encode(&[Datum::Long(1)], &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(error, "a primary key of 2 columns cannot have 1 values");
}

#[test]
fn a_decimal_in_a_batch_beyond_its_precision_is_refused() {
    let units = Decimal128Array::from(vec![99_999, 100_000, -100_000]).with_precision_and_scale(5, 2).unwrap();
    let batch = RecordBatch::try_from_iter([("k0", Arc::new(units) as ArrayRef)]).unwrap();
    let key = key_of([DataType::Decimal128(5, 2)]);
    let encoder = KeyEncoder::new(&key, &batch).unwrap();
    let mut out = Vec::new();
    encoder.encode(0, &mut out).unwrap();
    for row in [1, 2] {
        let error = encoder.encode(row, &mut out).unwrap_err().to_string();
        assert!(error.ends_with("it is beyond its range or digits"), "{error}");
    }
}

#[test]
fn a_primary_key_has_only_columns_with_an_order() {
    let check = |t: DataType, good: bool| {
        assert_eq!(PrimaryKey::new([shared(Field::new("k", t.clone(), false))]).is_ok(), good, "{t}");
    };
    check(DataType::Int64, true);
    check(DataType::FixedSizeBinary(16), true);
    check(DataType::Null, false);
    check(DataType::UInt64, false);
    check(DataType::Timestamp(TimeUnit::Nanosecond, None), false);
    check(DataType::List(shared(Field::new("element", DataType::Int64, true))), false);
    check(DataType::Struct(Fields::empty()), false);
    assert!(PrimaryKey::new([]).is_err());
}

#[test]
fn the_columns_of_a_key_are_found_by_name_and_checked_by_type() {
    let key = key_of([DataType::Int64, DataType::Utf8]);
    let batch = |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns).unwrap();
    let ids = || Arc::new(Int64Array::from(vec![7])) as ArrayRef;
    let names = || Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
    let good = batch(vec![("other", names()), ("k1", names()), ("k0", ids())]);
    assert_eq!(encoded(&key, &good, 0), encoded_values(&key, &[Datum::Long(7), Datum::String("x".into())]));
    let check = |columns, want: &str| {
        assert_eq!(KeyEncoder::new(&key, &batch(columns)).unwrap_err().to_string(), want);
    };
    check(vec![("k0", ids())], r#"the rows have no column "k1", which is in the primary key"#);
    check(
        vec![("k0", names()), ("k1", names())],
        r#"column "k0" is given as the Arrow type Utf8, which is not its type in the table"#,
    );
}

#[test]
fn literals_of_predicates_are_values_of_keys() {
    let check = |t: DataType, literal: Literal| {
        let key = key_of([t]);
        let encoded = encoded_values(&key, &[Datum::from(&literal)]);
        let values = key.decode(&encoded).unwrap();
        assert_eq!(values, [Datum::from(&literal)]);
        assert_eq!(values[0].to_string(), literal.to_string());
    };
    check(DataType::Boolean, Literal::Boolean(true));
    check(DataType::Int16, Literal::Long(-7));
    check(DataType::Float64, Literal::Double(-0.5));
    check(DataType::Decimal128(10, 2), Literal::Decimal(-5, 2));
    check(DataType::Utf8, Literal::String("it's\0\u{1}".into()));
    check(DataType::Date32, Literal::Date(19_756));
    check(DataType::Timestamp(TimeUnit::Microsecond, None), Literal::Timestamp(-1_500_000));
}

#[test]
fn a_uuid_of_fixed_size_is_the_key_of_its_bytes() {
    let uuid = Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
    let key = key_of([DataType::Binary]);
    let fixed = FixedSizeBinaryArray::try_from_iter([uuid.as_bytes()].into_iter()).unwrap();
    let fixed = RecordBatch::try_from_iter([("k0", Arc::new(fixed) as ArrayRef)]).unwrap();
    let binary = BinaryArray::from(vec![&uuid.as_bytes()[..]]);
    let binary = RecordBatch::try_from_iter([("k0", Arc::new(binary) as ArrayRef)]).unwrap();
    assert_eq!(encoded(&key, &fixed, 0), encoded(&key, &binary, 0));
    assert_eq!(key.decode(&encoded(&key, &fixed, 0)).unwrap(), [Datum::Binary(uuid.as_bytes().into())]);
}

/// The bytes are stored, and a change of them needs a conversion.
#[test]
fn the_bytes_of_keys_are_as_documented() {
    let check = |t: DataType, value: Datum<'_>, want: &[u8]| {
        assert_eq!(encoded_values(&key_of([t.clone()]), &[value]), want, "{t}");
    };
    check(DataType::Boolean, Datum::Boolean(true), &[1]);
    check(DataType::Int8, Datum::Long(-1), &[0x7f]);
    check(DataType::Int16, Datum::Long(1), &[0x80, 1]);
    check(DataType::Int32, Datum::Long(i32::MIN.into()), &[0, 0, 0, 0]);
    check(DataType::Int64, Datum::Long(258), &[0x80, 0, 0, 0, 0, 0, 1, 2]);
    check(DataType::Float32, Datum::Double(1.0), &[0xbf, 0x80, 0, 0]);
    check(DataType::Float64, Datum::Double(-0.0), &[0x80, 0, 0, 0, 0, 0, 0, 0]);
    check(DataType::Float64, Datum::Double(-1.0), &[0x40, 0x0f, 255, 255, 255, 255, 255, 255]);
    check(DataType::Float64, Datum::Double(f64::NAN), &[0xff, 0xf8, 0, 0, 0, 0, 0, 0]);
    check(DataType::Decimal128(2, 0), Datum::Decimal(99, 0), &[0x80 + 99]);
    check(DataType::Decimal128(3, 1), Datum::Decimal(-1, 1), &[0x7f, 0xff]);
    check(DataType::Decimal128(38, 0), Datum::Decimal(1, 0), &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    check(DataType::Date32, Datum::Date(1), &[0x80, 0, 0, 1]);
    check(
        DataType::Timestamp(TimeUnit::Microsecond, None),
        Datum::Timestamp(-1),
        &[0x7f, 255, 255, 255, 255, 255, 255, 255],
    );
    check(DataType::Utf8, Datum::String("".into()), &[0]);
    check(DataType::Utf8, Datum::String("a\0b\u{1}\u{2}".into()), &[b'a', 1, 1, b'b', 1, 2, 2, 0]);
    check(DataType::Binary, Datum::Binary((&[255, 0][..]).into()), &[255, 1, 1, 0]);

    let table = TableId(Uuid::from_u128(0x0102));
    let mut want = vec![0; 14];
    want.extend_from_slice(&[1, 2, 1, b'u', 1, 1, 0, b'k', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfd]);
    let keys = ScopeKeys::new(table, &Scope::User("u\0".into()));
    assert_eq!(keys.key(b"k", SeqId::try_from(2).unwrap()), want);
}

#[test]
fn damaged_keys_are_errors_or_other_keys() {
    let found = std::cell::Cell::new((0, 0));
    for_seeds(4000, |rng| {
        let key = random_key(rng);
        let mut bytes = encoded(&key, &random_row(rng, &key), 0);
        let places: Vec<usize> = (0..key.columns().len()).collect();
        let changed = rng.u8(..3);
        match changed {
            0 => bytes.truncate(rng.usize(..bytes.len())),
            1 => bytes.extend((0..rng.usize(1..4)).map(|_| rng.u8(..))),
            _ => {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(..8);
            }
        }
        let values = key.decode(&bytes);
        let mut decoder = KeyDecoder::new(&key, &places, 1).unwrap();
        assert_eq!(decoder.append(&bytes).is_ok(), values.is_ok(), "{bytes:?}");
        let mut skipping = KeyDecoder::new(&key, &places[places.len() - 1..], 1).unwrap();
        assert!(skipping.append(&bytes).is_ok() || values.is_err(), "{bytes:?}");
        let (errors, others) = found.get();
        match values {
            Ok(_) if changed < 2 => panic!("{bytes:?} is a key and the prefix of another one"),
            Ok(_) => found.set((errors, others + 1)),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Corrupt);
                found.set((errors + 1, others));
            }
        }
    });
    if std::env::var_os("DELTALAKEDB_SEED").is_none() {
        assert!(found.get().0 > 2000 && found.get().1 > 500, "{:?}", found.get());
    }
}

#[test]
fn bytes_that_no_encoder_writes_are_errors() {
    let check = |t: DataType, key: &[u8], good: bool| {
        assert_eq!(key_of([t.clone()]).decode(key).is_ok(), good, "{t}: {key:?}");
    };
    check(DataType::Boolean, &[1], true);
    check(DataType::Boolean, &[2], false);
    check(DataType::Decimal128(2, 0), &[0x80 - 99], true);
    check(DataType::Decimal128(2, 0), &[0x80 - 100], false);
    check(DataType::Utf8, &[1, 1, 0], true);
    check(DataType::Utf8, &[1, 3, 0], false);
    check(DataType::Utf8, &[1, 0], false);
    check(DataType::Utf8, &[0xc3, 0xbc, 0], true);
    check(DataType::Utf8, &[0xbc, 0xc3, 0], false);
}

#[test]
fn columns_of_a_key_are_asked_for_once_and_exist() {
    let key = key_of([DataType::Int64]);
    assert!(KeyDecoder::new(&key, &[1], 0).is_err());
    assert!(KeyDecoder::new(&key, &[0, 0], 0).is_err());
    let mut none = KeyDecoder::new(&key, &[], 0).unwrap();
    none.append(&encoded_values(&key, &[Datum::Long(1)])).unwrap();
    assert!(none.finish().unwrap().is_empty());
    let large = key_of([DataType::LargeUtf8]);
    let error = KeyDecoder::new(&large, &[0], 0).unwrap_err().to_string();
    assert_eq!(error, r#"column "k0" cannot be read as the Arrow type LargeUtf8"#);
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let empty = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    assert!(KeyEncoder::new(&key, &empty).is_err());
}

/// A row of the hot store, in the order that its keys must have: the newest version first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    table: u128,
    user: Option<String>,
    id: i64,
    newest_first: std::cmp::Reverse<SeqId>,
}

impl Row {
    fn random(rng: &mut Rng) -> Self {
        let table = [0, 1, 255, 256, u128::MAX][rng.usize(..5)];
        let user = rng.bool().then(|| random::text(rng).chars().take(2).collect());
        let seq = random::integer(rng, 0, i64::MAX).try_into().unwrap();
        Self { table, user, id: random::integer(rng, -2, 2), newest_first: std::cmp::Reverse(seq) }
    }

    fn scope(&self) -> Scope<'_> {
        self.user.as_ref().map_or(Scope::Table, |user| Scope::User(user.into()))
    }

    fn keys(&self) -> ScopeKeys {
        ScopeKeys::new(TableId(Uuid::from_u128(self.table)), &self.scope())
    }

    fn primary_key(&self) -> Vec<u8> {
        encoded_values(&key_of([DataType::Int64]), &[Datum::Long(self.id)])
    }

    fn key(&self) -> Vec<u8> {
        self.keys().key(&self.primary_key(), self.newest_first.0)
    }
}

#[test]
fn hot_keys_are_ordered_by_table_scope_key_and_newest_version() {
    for_seeds(300, |rng| {
        let mut rows: Vec<_> = (0..30).map(|_| Row::random(rng)).collect();
        rows.sort_by_key(Row::key);
        assert!(rows.is_sorted(), "{rows:?}");
        for row in &rows {
            let key = row.key();
            let parsed = HotKey::parse(&key).unwrap();
            assert_eq!(parsed.table, TableId(Uuid::from_u128(row.table)));
            assert_eq!(parsed.scope, row.scope());
            assert_eq!(parsed.primary_key, row.primary_key());
            assert_eq!(parsed.seq, row.newest_first.0);
            let (shared, seq) = HotKey::split_seq(&key).unwrap();
            assert_eq!((shared, seq), (&key[..key.len() - 8], parsed.seq));
        }
    });
}

#[test]
fn ranges_hold_the_keys_that_they_name_and_no_others() {
    for_seeds(60, |rng| {
        let mut rows: Vec<_> = (0..30).map(|_| Row::random(rng)).collect();
        // Equal and neighbouring versions of one row.
        for n in 0..10 {
            let seq = rows[n].newest_first.0.as_i64().saturating_add(rng.i64(-1..=1)).max(0);
            rows.push(Row { newest_first: std::cmp::Reverse(seq.try_into().unwrap()), ..rows[n].clone() });
        }
        for a in &rows {
            let (keys, id, seq) = (a.keys(), a.primary_key(), a.newest_first.0);
            for b in &rows {
                let check = |range: std::ops::Range<Vec<u8>>, want: bool, what: &str| {
                    assert_eq!(range.contains(&b.key()), want, "{what}: {a:?} {b:?}");
                };
                let same_table = a.table == b.table;
                let same_scope = same_table && a.user == b.user;
                let same_row = same_scope && a.id == b.id;
                let b_seq = b.newest_first.0;
                check(ScopeKeys::range_of_table(TableId(Uuid::from_u128(a.table))), same_table, "table");
                check(keys.range(), same_scope, "scope");
                check(keys.starting_with(&id), same_row, "row");
                check(keys.starting_with(&[]), same_scope, "no columns");
                check(keys.versions_at(&id, seq), same_row && b_seq <= seq, "snapshot");
                check(keys.versions_after(&id, seq), same_row && b_seq > seq, "after");
            }
        }
    });
}

#[test]
fn keys_of_changes_are_in_commit_order_within_a_scope_and_ranges_hold_those_of_their_commits() {
    for_seeds(60, |rng| {
        let mut rows: Vec<_> = (0..30).map(|_| Row::random(rng)).collect();
        // Several rows of a commit, and of the commits before and after it.
        for n in 0..10 {
            let seq = rows[n].newest_first.0.as_i64().saturating_add(rng.i64(-1..=1)).max(0);
            rows[n + 10].newest_first = std::cmp::Reverse(seq.try_into().unwrap());
        }
        let index_key = |row: &Row| {
            let primary_key = row.primary_key();
            SeqIndexKey::of_change(&row.keys().row(&primary_key), primary_key.len(), row.newest_first.0)
        };
        rows.sort_by_key(index_key);
        let order = |row: &Row| (row.table, row.user.clone(), row.newest_first.0, row.id);
        assert!(rows.is_sorted_by_key(order), "{rows:?}");
        for a in &rows {
            let key = index_key(a);
            let parsed = SeqIndexKey::parse(&key).unwrap();
            assert_eq!((parsed.table, parsed.seq), (TableId(Uuid::from_u128(a.table)), a.newest_first.0));
            assert_eq!((parsed.scope, parsed.primary_key), (a.scope(), &a.primary_key()[..]));
            for b in &rows {
                let (after, upto) = (a.newest_first.0, b.newest_first.0);
                let range = SeqIndexKey::range(&a.keys(), after, upto);
                for c in &rows {
                    let is_in_scope = (a.table, &a.user) == (c.table, &c.user);
                    let want = is_in_scope && after < c.newest_first.0 && c.newest_first.0 <= upto;
                    assert_eq!(range.contains(&index_key(c)), want, "{c:?} in {a:?} {b:?}");
                }
            }
        }
    });
    let row = ScopeKeys::new(TableId(Uuid::nil()), &Scope::Table).row(b"");
    assert!(SeqIndexKey::parse(&SeqIndexKey::of_change(&row, 0, SeqId::MAX)).is_ok());
    assert!(SeqIndexKey::parse(&SeqIndexKey::of_change(&row[..16], 0, SeqId::MAX)).is_err());
    assert!(SeqIndexKey::parse(&[&row[..], &[0xff; 8]].concat()).is_err(), "a _seq has 63 bits");
}

#[test]
fn a_key_is_split_into_those_of_its_columns() {
    for_seeds(500, |rng| {
        let key = random_key(rng);
        let row = random_row(rng, &key);
        let whole = encoded(&key, &row, 0);
        let parts = key.columns_of(&whole).unwrap();
        let of_columns: Vec<_> = key.single_columns().map(|column| encoded(&column, &row, 0)).collect();
        assert_eq!(parts, of_columns);
        assert!(key.columns_of(&whole[..whole.len() - 1]).is_err());
        assert!(key.columns_of(&[&whole[..], &[0]].concat()).is_err());
    });
}

#[test]
fn a_range_of_first_columns_holds_the_keys_that_begin_with_them() {
    for_seeds(500, |rng| {
        let key = random_key(rng);
        let keys = ScopeKeys::new(TableId(Uuid::from_u128(rng.u128(..))), &Scope::Table);
        let rows: Vec<_> = (0..8).map(|_| random_row(rng, &key)).collect();
        let count = rng.usize(0..=key.columns().len());
        for a in &rows {
            let whole = encoded(&key, a, 0);
            let values = key.decode(&whole).unwrap();
            let mut first = Vec::new();
            key.encode_first(&values[..count], &mut first).unwrap();
            for b in &rows {
                let columns: Vec<usize> = (0..count).collect();
                let equal = order_of_rows(&a.project(&columns).unwrap(), &b.project(&columns).unwrap()).is_eq();
                let other = keys.key(&encoded(&key, b, 0), SeqId::MAX);
                assert_eq!(keys.starting_with(&first).contains(&other), equal, "{a:?} {b:?} {count}");
            }
        }
    });
}

#[test]
fn keys_that_are_not_of_rows_are_errors() {
    let table = TableId(Uuid::nil());
    let user = ScopeKeys::new(table, &Scope::User("ü".into())).key(b"k", SeqId::ZERO);
    for key in [user, ScopeKeys::new(table, &Scope::Table).key(&[], SeqId::MAX)] {
        assert!(HotKey::parse(&key).is_ok());
        for length in 0..key.len() {
            // The bytes of the primary key are not checked here.
            let cut = HotKey::parse(&key[..length]);
            assert!(cut.is_err_and(|e| e.kind() == ErrorKind::Corrupt), "{length} of {key:?}");
        }
        let mut other_scope = key.clone();
        other_scope[16] = 2;
        assert!(HotKey::parse(&other_scope).is_err());
    }
    assert!(HotKey::split_seq(&[0; 8]).is_err(), "a _seq has 63 bits");
    assert!(HotKey::split_seq(&[0xff; 7]).is_err());
}
