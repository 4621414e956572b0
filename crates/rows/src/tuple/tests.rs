use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Float32Array, Int32Array, Int64Array, ListArray, MapArray,
    RecordBatch, RecordBatchOptions, StringArray, StructArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use deltalakedb_log::ErrorKind;
use fastrand::Rng;

use super::*;
use crate::random::{self, for_seeds, shared};

/// Columns with random types, ids and nullability.
fn random_columns(rng: &mut Rng) -> Vec<TupleColumn> {
    let mut ids: Vec<u32> = (1..=15).chain([16, 127, 128, 70_000, u32::MAX]).collect();
    rng.shuffle(&mut ids);
    ids.truncate(rng.usize(0..8));
    let column = |id: u32| TupleColumn::new(id, shared(random::any_field(rng, &format!("c{id}"), 2))).unwrap();
    ids.into_iter().map(column).collect()
}

fn random_schema(rng: &mut Rng) -> TupleSchema {
    let version = rng.u32(..) >> rng.u32(..32);
    TupleSchema::new(version, random_columns(rng)).unwrap()
}

fn random_rows(rng: &mut Rng, schema: &TupleSchema, rows: usize) -> RecordBatch {
    let fields: Fields = schema.columns().iter().map(|column| column.field().clone()).collect();
    let arrays = fields.iter().map(|field| random::array(rng, field, rows)).collect();
    batch(fields, arrays, rows)
}

fn batch(fields: Fields, arrays: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).unwrap()
}

fn encoded(schema: &TupleSchema, batch: &RecordBatch) -> Vec<Vec<u8>> {
    let encoder = TupleEncoder::new(schema, batch).unwrap();
    let one = |row| {
        let mut out = Vec::new();
        encoder.encode(row, &mut out).unwrap();
        out
    };
    (0..batch.num_rows()).map(one).collect()
}

fn decoded<'c>(columns: impl IntoIterator<Item = &'c TupleColumn>, tuples: &[Vec<u8>]) -> Vec<ArrayRef> {
    let mut decoder = TupleDecoder::new(columns, tuples.len()).unwrap();
    tuples.iter().for_each(|tuple| decoder.append(&Tuple::parse(tuple).unwrap()).unwrap());
    decoder.finish().unwrap()
}

/// A column of one row and its tuple.
fn one(field: Field, array: impl Array + 'static) -> (TupleSchema, Vec<u8>) {
    let schema = TupleSchema::new(1, vec![TupleColumn::new(1, shared(field.clone())).unwrap()]).unwrap();
    let tuple = encoded(&schema, &batch(vec![field].into(), vec![Arc::new(array)], 1)).remove(0);
    (schema, tuple)
}

/// The tuple read as a column of another type.
fn read_as(tuple: &[u8], field: Field) -> Result<ArrayRef, String> {
    let column = TupleColumn::new(1, shared(field)).unwrap();
    let mut decoder = TupleDecoder::new([&column], 1).unwrap();
    decoder.append(&Tuple::parse(tuple).unwrap()).map_err(|e| e.to_string())?;
    Ok(decoder.finish().unwrap().remove(0))
}

#[test]
fn rows_are_decoded_as_they_were_encoded() {
    for_seeds(1500, |rng| {
        let schema = random_schema(rng);
        let count = rng.usize(..6);
        let rows = random_rows(rng, &schema, count);
        let tuples = encoded(&schema, &rows);
        let mut projection: Vec<usize> = (0..schema.columns().len()).collect();
        if rng.bool() {
            rng.shuffle(&mut projection);
            projection.truncate(rng.usize(0..=projection.len()));
        }
        let columns = projection.iter().map(|&n| &schema.columns()[n]);
        let mut decoder = TupleDecoder::new(columns, rng.usize(..10)).unwrap();
        // A decoder is used again after each batch.
        let first = rng.usize(0..=count);
        for range in [0..first, first..count] {
            for tuple in &tuples[range.clone()] {
                let tuple = Tuple::parse(tuple).unwrap();
                assert_eq!((tuple.schema_version(), tuple.is_deleted()), (schema.version(), false));
                decoder.append(&tuple).unwrap();
            }
            let arrays = decoder.finish().unwrap();
            assert_eq!(arrays.len(), projection.len());
            for (&n, array) in projection.iter().zip(&arrays) {
                assert_eq!(array, &rows.column(n).slice(range.start, range.len()), "column {n} of {rows:?}");
            }
        }
    });
}

#[test]
fn the_representation_of_an_array_does_not_change_its_tuples() {
    for_seeds(500, |rng| {
        let schema = random_schema(rng);
        let rows = random_rows(rng, &schema, 4);
        let others = rows.columns().iter().map(|array| random::other_representation(rng, array)).collect::<Vec<_>>();
        let fields = schema
            .columns()
            .iter()
            .zip(&others)
            .map(|(column, array)| Field::clone(column.field()).with_data_type(array.data_type().clone()));
        // A slice, whose values do not begin where its buffers do.
        let other = batch(fields.collect(), others, 4).slice(1, 3);
        assert_eq!(encoded(&schema, &rows)[1..], encoded(&schema, &other));
    });
}

/// A field as a later version of the schema may have it: of a wider type, with other fields in its structs.
fn evolved(rng: &mut Rng, field: &Field) -> Field {
    use DataType as A;
    let stays = rng.u8(..3) == 0;
    let data_type = match field.data_type() {
        A::Int8 if !stays => pick(rng, &[A::Int16, A::Int32, A::Int64, A::Float64, A::Decimal128(13, 3)]),
        A::Int16 if !stays => pick(rng, &[A::Int32, A::Int64, A::Float64, A::Decimal128(10, 0)]),
        A::Int32 if !stays => pick(rng, &[A::Int64, A::Float64, A::Decimal128(38, 28)]),
        A::Int64 if !stays => pick(rng, &[A::Decimal128(20, 0), A::Decimal128(38, 18)]),
        A::Float32 if !stays => A::Float64,
        A::Date32 if !stays => A::Timestamp(TimeUnit::Microsecond, None),
        A::Decimal128(precision, scale) => {
            let more_scale = rng.u8(0..=38 - precision);
            let more_digits = rng.u8(0..=38 - precision - more_scale);
            A::Decimal128(precision + more_scale + more_digits, scale + more_scale.cast_signed())
        }
        A::Utf8 | A::Utf8View => pick(rng, &[A::Utf8, A::Utf8View]),
        A::Binary | A::BinaryView => pick(rng, &[A::Binary, A::BinaryView]),
        A::Struct(fields) => {
            let mut fields: Vec<Field> =
                fields.iter().filter(|_| rng.u8(..4) > 0).map(|field| Field::clone(field)).collect();
            fields = fields.iter().map(|field| evolved(rng, field)).collect();
            for n in 0..rng.u32(..3) {
                let added = random::any_field(rng, &format!("added{n}"), 0).with_nullable(true);
                fields.push(random::with_id(added, 100 + n));
            }
            rng.shuffle(&mut fields);
            A::Struct(fields.into())
        }
        A::List(element) => A::List(evolved(rng, element).into()),
        A::Map(entries, _) => {
            let A::Struct(fields) = entries.data_type() else { panic!() };
            let entries = A::Struct([Field::clone(&fields[0]), evolved(rng, &fields[1])].into_iter().collect());
            A::Map(Field::new("key_value", entries, false).into(), false)
        }
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

fn pick(rng: &mut Rng, from: &[DataType]) -> DataType {
    from[rng.usize(..from.len())].clone()
}

/// What the values are in a later version of their field.
fn widened(array: &ArrayRef, to: &DataType) -> ArrayRef {
    use DataType as A;
    match to {
        A::Struct(fields) => {
            let old = array.as_struct();
            let arrays = fields.iter().map(|field| match old.column_by_name(field.name()) {
                Some(old) => widened(old, field.data_type()),
                None => new_null_array(field.data_type(), array.len()),
            });
            let (arrays, nulls) = (arrays.collect(), array.nulls().cloned());
            Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, nulls, array.len()).unwrap())
        }
        A::List(element) => {
            let old = array.as_list::<i32>();
            let elements = widened(old.values(), element.data_type());
            Arc::new(ListArray::new(element.clone(), old.offsets().clone(), elements, old.nulls().cloned()))
        }
        A::Map(entries, _) => {
            let (old, A::Struct(fields)) = (array.as_map(), entries.data_type()) else { panic!() };
            let values = widened(old.values(), fields[1].data_type());
            let structs = StructArray::new(fields.clone(), vec![old.keys().clone(), values], None);
            Arc::new(MapArray::new(entries.clone(), old.offsets().clone(), structs, old.nulls().cloned(), false))
        }
        A::Timestamp(..) if *array.data_type() == A::Date32 => {
            let days = array.as_primitive::<arrow::datatypes::Date32Type>();
            let midnights =
                days.unary::<_, arrow::datatypes::TimestampMicrosecondType>(|day| i64::from(day) * 86_400_000_000);
            Arc::new(midnights)
        }
        A::Null => array.clone(),
        to => cast(array, to).unwrap(),
    }
}

#[test]
fn rows_of_an_older_schema_are_decoded_with_the_current_one() {
    let changes = Cell::new(0);
    for_seeds(1500, |rng| {
        let schema = random_schema(rng);
        let rows = random_rows(rng, &schema, 5);
        let tuples = encoded(&schema, &rows);

        // Some columns are dropped, the others have their old or wider types; new ones come with or without a default.
        let mut columns: Vec<(TupleColumn, ArrayRef)> = Vec::new();
        for (n, column) in schema.columns().iter().enumerate() {
            if rng.u8(..4) == 0 {
                continue;
            }
            let field = evolved(rng, column.field());
            changes.set(changes.get() + u32::from(field.data_type() != column.field().data_type()));
            let want = widened(rows.column(n), field.data_type());
            columns.push((TupleColumn::new(column.id(), shared(field)).unwrap(), want));
        }
        let mut added: Vec<u32> = (200..210).chain(20..30).collect();
        rng.shuffle(&mut added);
        for id in &added[..rng.usize(..3)] {
            let field = random::any_field(rng, &format!("c{id}"), 2);
            let column = TupleColumn::new(*id, shared(field.clone())).unwrap();
            let (column, want) = if rng.bool() {
                let default = random::array(rng, &field, 1);
                let five: Vec<&dyn Array> = vec![&default; 5];
                (column.with_default(&default).unwrap(), arrow::compute::concat(&five).unwrap())
            } else {
                (column, new_null_array(field.data_type(), 5))
            };
            columns.push((column, want));
        }
        rng.shuffle(&mut columns);
        let arrays = decoded(columns.iter().map(|(column, _)| column), &tuples);
        for ((column, want), array) in columns.iter().zip(&arrays) {
            assert_eq!(array, want, "{:?} from {:?}", column.field(), rows.schema());
        }
    });
    assert!(std::env::var_os("DELTALAKEDB_SEED").is_some() || changes.get() > 1000, "{}", changes.get());
}

#[test]
fn values_beyond_the_type_that_they_are_read_as_are_errors() {
    let check = |array: ArrayRef, to: DataType, want: Result<ArrayRef, &str>| {
        let (_, tuple) = one(Field::new("x", array.data_type().clone(), true), array);
        let beyond =
            |why| format!("column \"x\" of a row in the hot store, of schema version 1, cannot be read: {why}");
        assert_eq!(read_as(&tuple, Field::new("x", to, true)), want.map_err(beyond));
    };
    let range = Err("its value is beyond the range of its type");
    let other = Err("its value is of another type");
    let long = |n: i64| Arc::new(Int64Array::from(vec![n])) as ArrayRef;
    let decimal =
        |n: i128, p, s| Arc::new(Decimal128Array::from(vec![n]).with_precision_and_scale(p, s).unwrap()) as ArrayRef;
    check(long(7), DataType::Int8, Ok(cast(&long(7), &DataType::Int8).unwrap()));
    check(long(128), DataType::Int8, range.clone());
    check(long(1 << 31), DataType::Int32, range.clone());
    // Not every long is a double.
    check(long((1 << 53) + 1), DataType::Float64, range.clone());
    check(long(1 << 31), DataType::Float64, range.clone());
    check(long(1), DataType::Float32, other.clone());
    check(long(1), DataType::Utf8, other.clone());
    check(long(1), DataType::Boolean, other.clone());
    check(long(99), DataType::Decimal128(4, 2), Ok(decimal(9900, 4, 2)));
    check(long(100), DataType::Decimal128(4, 2), range.clone());
    check(decimal(9999, 4, 2), DataType::Decimal128(4, 3), range.clone());
    check(decimal(-9999, 4, 2), DataType::Decimal128(6, 3), Ok(decimal(-99_990, 6, 3)));
    check(decimal(9990, 4, 2), DataType::Decimal128(4, 1), range.clone());
    let maximum = 10_i128.pow(38) - 1;
    check(decimal(maximum, 38, 0), DataType::Decimal128(38, 38), range.clone());
    let day = |day: i32| Arc::new(Date32Array::from(vec![day])) as ArrayRef;
    check(day(i32::MAX), DataType::Timestamp(TimeUnit::Microsecond, None), range);
    // A local time and an instant differ by a time zone.
    check(day(1), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), other.clone());
    check(Arc::new(Float32Array::from(vec![1.0])), DataType::Int64, other.clone());
    check(Arc::new(StringArray::from(vec!["1"])), DataType::Binary, other);
}

#[test]
fn deleted_rows_have_a_version_and_no_values() {
    for_seeds(100, |rng| {
        let schema = random_schema(rng);
        let rows = random_rows(rng, &schema, 1);
        let mut deleted = Vec::new();
        TupleEncoder::encode_deleted(&schema, &mut deleted);
        let tuple = Tuple::parse(&deleted).unwrap();
        assert_eq!((tuple.schema_version(), tuple.is_deleted()), (schema.version(), true));
        // The default of a column that was added is not a value of a deleted row.
        let columns = schema.columns().iter().zip(rows.columns());
        let columns: Vec<_> = columns.map(|(column, value)| column.clone().with_default(value).unwrap()).collect();
        for (array, column) in decoded(&columns, &[deleted.clone()]).iter().zip(&columns) {
            assert_eq!(array, &new_null_array(column.field().data_type(), 1));
        }
    });
}

#[test]
fn damaged_tuples_are_errors_or_other_values() {
    let found = Cell::new((0, 0, 0));
    for_seeds(1000, |rng| {
        let schema = random_schema(rng);
        let bytes = encoded(&schema, &random_rows(rng, &schema, 1)).remove(0);
        let read = |bytes: &[u8]| {
            let mut decoder = TupleDecoder::new(schema.columns(), 1)?;
            decoder.append(&Tuple::parse(bytes)?)?;
            decoder.finish()
        };
        read(&bytes).unwrap();
        for length in (0..bytes.len()).filter(|length| *length < 20 || rng.u8(..8) == 0) {
            let cut = read(&bytes[..length]);
            assert!(cut.is_err_and(|e| e.kind() == ErrorKind::Corrupt), "{length} bytes of {bytes:?}");
        }
        for _ in 0..20 {
            let mut damaged = bytes.clone();
            let at = rng.usize(..bytes.len());
            match rng.u8(..6) {
                0 => damaged[at] = rng.u8(..),
                1 => damaged.insert(at, rng.u8(..)),
                2 => drop(damaged.remove(at)),
                3 => damaged[at] ^= 1 << rng.u8(..8),
                // Of the right length, so that what is wrong is further within.
                kind => {
                    let mut columns = Tuple::parse(&bytes).unwrap().columns.to_vec();
                    let at = rng.usize(..=columns.len());
                    if kind == 4 || at == columns.len() {
                        columns.insert(at, rng.u8(..));
                    } else {
                        columns.remove(at);
                    }
                    damaged = vec![1, 1];
                    wire::put_bytes(&columns, &mut damaged);
                }
            }
            let (mut errors, mut unfinished, mut others) = found.get();
            match read(&damaged) {
                Ok(arrays) => {
                    others += 1;
                    for (array, column) in arrays.iter().zip(schema.columns()) {
                        assert_eq!((array.len(), array.data_type()), (1, column.field().data_type()));
                        array.to_data().validate_full().unwrap();
                    }
                }
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
                    errors += 1;
                    unfinished += u32::from(std::error::Error::source(&e).is_some());
                }
            }
            found.set((errors, unfinished, others));
        }
    });
    let (errors, unfinished, others) = found.get();
    if std::env::var_os("DELTALAKEDB_SEED").is_none() {
        assert!(errors > 10_000 && unfinished > 10 && others > 2000, "{:?}", found.get());
    }
}

#[test]
fn bytes_that_no_encoder_writes_are_errors() {
    let flags = DataType::List(shared(Field::new("element", DataType::Boolean, true)));
    let check = |data_type: &DataType, tuple: &[u8], good: bool| {
        let column = TupleColumn::new(1, shared(Field::new("x", data_type.clone(), true))).unwrap();
        let mut decoder = TupleDecoder::new([&column], 1).unwrap();
        let read = Tuple::parse(tuple).and_then(|tuple| decoder.append(&tuple));
        assert_eq!(read.map_err(|e| e.kind()), if good { Ok(()) } else { Err(ErrorKind::Corrupt) }, "{tuple:?}");
    };
    let long = &DataType::Int64;
    check(long, &[1, 1, 2, 0x13, 4], true);
    // An unknown kind, bytes after the tuple, and a schema version beyond 32 bits.
    check(long, &[3, 1, 2, 0x13, 4], false);
    check(long, &[1, 1, 2, 0x13, 4, 0], false);
    check(long, &[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 2, 0x13, 4], true);
    check(long, &[1, 0xff, 0xff, 0xff, 0xff, 0x1f, 2, 0x13, 4], false);
    // An unknown tag, an id of 0, and ids beyond 32 bits.
    check(long, &[1, 1, 2, 0x1f, 4], false);
    check(long, &[1, 1, 2, 0x03, 4], false);
    check(long, &[1, 1, 7, 0xf3, 0xff, 0xff, 0xff, 0xff, 1, 4], true);
    check(long, &[1, 1, 7, 0xf3, 0xff, 0xff, 0xff, 0xff, 2, 4], false);
    // A varint of 64 bits and one beyond.
    let ones = [0xff; 9];
    check(long, &[&[1, 1, 11, 0x13][..], &ones, &[1]].concat(), true);
    check(long, &[&[1, 1, 11, 0x13][..], &ones, &[2]].concat(), false);
    check(long, &[&[1, 1, 12, 0x13][..], &ones, &[0x81, 0]].concat(), false);
    // Bytes after the elements of an array, and more elements than bytes, also of a type without bytes.
    check(&flags, &[1, 1, 6, 0x1d, 4, 2, 0, 1, 2], true);
    check(&flags, &[1, 1, 7, 0x1d, 5, 2, 0, 1, 2, 2], false);
    check(&flags, &[1, 1, 4, 0x1d, 2, 1, 2], true);
    check(&flags, &[1, 1, 13, 0x1d, 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 2, 0, 0], false);
    check(&DataType::Utf8, &[1, 1, 4, 0x1a, 2, 0xc3, 0xbc], true);
    check(&DataType::Utf8, &[1, 1, 4, 0x1a, 2, 0xbc, 0xc3], false);
}

#[test]
fn a_decoder_that_failed_does_not_panic() {
    for_seeds(500, |rng| {
        let schema = random_schema(rng);
        let good = encoded(&schema, &random_rows(rng, &schema, 3));
        let mut decoder = TupleDecoder::new(schema.columns(), 0).unwrap();
        for _ in 0..10 {
            let mut bytes = good[rng.usize(..3)].clone();
            if rng.bool() {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            let _ = Tuple::parse(&bytes).and_then(|tuple| decoder.append(&tuple));
            if rng.u8(..4) == 0 {
                let _ = decoder.finish();
            }
        }
    });
}

#[test]
fn nulls_that_may_not_be_are_refused_with_the_names_of_their_fields() {
    let inner: Fields = vec![Field::new("y", DataType::Int32, true)].into();
    let ys = || Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef;
    let structs = || Arc::new(StructArray::new(inner.clone(), vec![ys()], None)) as ArrayRef;
    let strict: Fields = vec![Field::new("y", DataType::Int32, false)].into();
    let check = |field: Field, array: ArrayRef, want: &str| {
        let given = batch(vec![Field::new("x", array.data_type().clone(), true)].into(), vec![array], 2);
        let schema = TupleSchema::new(1, vec![TupleColumn::new(1, shared(field)).unwrap()]).unwrap();
        let encoder = TupleEncoder::new(&schema, &given).unwrap();
        let mut out = b"before".to_vec();
        encoder.encode(0, &mut out).unwrap();
        let before = out.clone();
        let error = encoder.encode(1, &mut out).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (want, ErrorKind::Invalid));
        assert_eq!(out, before, "nothing is appended");
    };
    check(Field::new("x", DataType::Int32, false), ys(), r#"column "x" cannot be null"#);
    check(Field::new("x", DataType::Struct(strict), true), structs(), r#"column "x.y" cannot be null"#);
    let list = |element: Field, values: ArrayRef| {
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1, 1]);
        Arc::new(ListArray::new(shared(element), offsets, values, None)) as ArrayRef
    };
    let strict = DataType::List(shared(Field::new("element", DataType::Int32, false)));
    let given = list(Field::new("element", DataType::Int32, true), ys());
    check(Field::new("x", strict, true), given, r#"column "x.element" cannot be null"#);
    let units = Decimal128Array::from(vec![99, 100]).with_precision_and_scale(2, 0).unwrap();
    let digits = r#"column "x" has a decimal with too many digits"#;
    check(Field::new("x", DataType::Decimal128(2, 0), true), Arc::new(units), digits);
}

#[test]
fn columns_of_rows_are_found_by_name_and_checked_by_type() {
    let column = |id, name: &str, t: DataType| TupleColumn::new(id, shared(Field::new(name, t, true))).unwrap();
    let schema = TupleSchema::new(1, vec![column(1, "id", DataType::Int64), column(2, "x", DataType::Utf8)]).unwrap();
    let ids = || Arc::new(Int64Array::from(vec![7])) as ArrayRef;
    let texts = || Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
    let given = |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns).unwrap();
    let ordered = encoded(&schema, &given(vec![("id", ids()), ("x", texts())]));
    assert_eq!(encoded(&schema, &given(vec![("x", texts()), ("other", ids()), ("id", ids())])), ordered);
    let check = |columns, want: &str| {
        assert_eq!(TupleEncoder::new(&schema, &given(columns)).unwrap_err().to_string(), want);
    };
    check(vec![("id", ids())], r#"the rows have no column "x""#);
    let other = r#"column "x" is given as the Arrow type Int64, which is not its type in the table"#;
    check(vec![("id", ids()), ("x", ids())], other);
    let rows = given(vec![("id", ids()), ("x", texts())]);
    let error = TupleEncoder::new(&schema, &rows).unwrap().encode(1, &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(error, "row 1 of 1 rows was asked for");
}

#[test]
fn a_struct_is_given_with_the_fields_of_its_type() {
    let fields = |names: [&str; 2]| Fields::from_iter(names.map(|name| Field::new(name, DataType::Int32, true)));
    let column = TupleColumn::new(1, shared(Field::new("x", DataType::Struct(fields(["a", "b"])), true))).unwrap();
    let schema = TupleSchema::new(1, vec![column]).unwrap();
    let check = |names, good| {
        let x = new_null_array(&DataType::Struct(fields(names)), 1);
        let given = RecordBatch::try_from_iter([("x", x)]).unwrap();
        assert_eq!(TupleEncoder::new(&schema, &given).is_ok(), good, "{names:?}");
    };
    check(["a", "b"], true);
    check(["b", "a"], false);
    check(["a", "c"], false);
}

#[test]
fn schemas_with_the_same_id_or_name_twice_are_refused() {
    let column = |id, name: &str| TupleColumn::new(id, shared(Field::new(name, DataType::Int32, true)));
    assert!(column(0, "a").is_err());
    assert!(TupleColumn::new(1, shared(Field::new("a", DataType::UInt8, true))).is_err());
    let check = |columns: [(u32, &str); 2], want: &str| {
        let columns = columns.map(|(id, name)| column(id, name).unwrap());
        let message = TupleSchema::new(1, columns.to_vec()).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(message, want);
    };
    check([(2, "a"), (1, "b")], "");
    check([(1, "a"), (1, "b")], r#"column "b" has the id or the name of another column"#);
    check([(1, "a"), (2, "a")], r#"column "a" has the id or the name of another column"#);

    let nested = |ids: [u32; 2]| {
        let fields = ids.map(|id| random::with_id(Field::new(format!("f{id}"), DataType::Int32, true), id));
        let element = Field::new("element", DataType::Struct(Fields::from_iter(fields)), true);
        TupleColumn::new(1, shared(Field::new("x", DataType::List(shared(element)), true))).is_ok()
    };
    assert_eq!([nested([2, 1]), nested([1, 1]), nested([0, 1])], [true, false, false]);

    let one = column(1, "a").unwrap();
    assert!(TupleDecoder::new([&one, &one], 1).is_err());
    let text = Arc::new(StringArray::from(vec!["7"])) as ArrayRef;
    assert!(one.clone().with_default(&text).is_err());
    assert!(one.with_default(&new_null_array(&DataType::Int32, 2)).is_err());
}

/// The bytes are stored, and a change of them needs a conversion.
#[test]
fn the_bytes_of_tuples_are_as_documented() {
    let fields: Fields = vec![
        Field::new("b", DataType::Boolean, true),
        Field::new("n", DataType::Int64, true),
        Field::new("t", DataType::Utf8, true),
        Field::new("d", DataType::Decimal128(5, 2), true),
        Field::new("l", DataType::List(shared(Field::new("element", DataType::Int16, true))), true),
        Field::new("x", DataType::Float32, true),
    ]
    .into();
    let ids = [1, 2, 3, 19, 20, 21];
    let columns = ids.iter().zip(&fields).map(|(id, field)| TupleColumn::new(*id, field.clone()).unwrap());
    let schema = TupleSchema::new(300, columns.collect()).unwrap();
    let list = ListArray::from_iter_primitive::<arrow::datatypes::Int16Type, _, _>([
        Some(vec![Some(1), Some(-1)]),
        Some(vec![None, Some(2)]),
    ]);
    let list = ListArray::new(
        shared(Field::new("element", DataType::Int16, true)),
        list.offsets().clone(),
        list.values().clone(),
        None,
    );
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(arrow::array::BooleanArray::from(vec![true, false])),
        Arc::new(Int64Array::from(vec![Some(-65), None])),
        Arc::new(StringArray::from(vec!["ab", ""])),
        Arc::new(Decimal128Array::from(vec![-1, 100]).with_precision_and_scale(5, 2).unwrap()),
        Arc::new(list),
        Arc::new(Float32Array::from(vec![Some(1.0), None])),
    ];
    let tuples = encoded(&schema, &batch(fields, arrays, 2));
    let header = |distance: u8, tag: u8| distance << 4 | tag;
    let want = [
        &[1, 0xac, 2, 23][..],
        &[header(1, 2)],
        &[header(1, 3), 0x81, 1],
        &[header(1, 10), 2, b'a', b'b'],
        &[0x86, 2, 2, 1], // 16 × 16 + 6
        &[header(1, 13), 4, 2, 3, 2, 1],
        &[header(1, 4), 0, 0, 0x80, 0x3f],
    ];
    assert_eq!(tuples[0], want.concat());
    let want = [
        &[1, 0xac, 2, 17][..],
        &[header(1, 1)],
        &[header(1, 0)],
        &[header(1, 10), 0],
        &[0x86, 2, 2, 0xc8, 1],
        &[header(1, 13), 5, 2, 0, 0, 3, 4],
        &[header(1, 0)],
    ];
    assert_eq!(tuples[1], want.concat());
    let mut deleted = Vec::new();
    TupleEncoder::encode_deleted(&schema, &mut deleted);
    assert_eq!(deleted, [2, 0xac, 2, 0]);
}
