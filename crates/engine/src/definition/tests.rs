use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, TimeUnit};
use deltalakedb_log::ErrorKind;
use deltalakedb_rows::{KeyDecoder, KeyEncoder};
use deltalakedb_table::datafusion::common::ScalarValue;

use super::*;

fn column(name: &str, data_type: DataType) -> ColumnSpec {
    ColumnSpec { name: name.into(), data_type, nullable: true, default: None }
}

fn with_default(name: &str, data_type: DataType, default: ColumnDefault) -> ColumnSpec {
    ColumnSpec { default: Some(default), ..column(name, data_type) }
}

fn shared(columns: Vec<ColumnSpec>, key: &[&str]) -> Result<TableDefinition> {
    TableDefinition::new_shared("app.t".parse().unwrap(), columns, key.iter().copied())
}

/// The table `(a TEXT, b BIGINT, c DOUBLE, PRIMARY KEY (b, a))`.
fn example() -> TableDefinition {
    let columns = vec![column("a", DataType::Utf8), column("b", DataType::Int64), column("c", DataType::Float64)];
    shared(columns, &["b", "a"]).unwrap()
}

#[test]
fn key_and_tuple_divide_the_columns() {
    let table = example();
    let key = table.primary_key().unwrap();
    assert_eq!(key.columns().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["b", "a"]);
    let tuple = table.tuple_schema().unwrap();
    assert_eq!((tuple.version(), tuple.columns().len()), (1, 1));
    assert_eq!((tuple.columns()[0].id(), tuple.columns()[0].field().name().as_str()), (3, "c"));
    // A table can have no other columns than those of its key.
    let only_key = shared(vec![column("a", DataType::Utf8)], &["a"]).unwrap();
    assert_eq!(only_key.tuple_schema().unwrap().columns().len(), 0);
}

#[test]
fn columns_of_the_key_are_not_null() {
    let table = example();
    let nullable: Vec<_> = table.columns().iter().map(|column| column.field().is_nullable()).collect();
    assert_eq!(nullable, [false, false, true]);
}

#[test]
fn keys_of_rows_are_in_the_order_of_the_key() {
    let table = shared(vec![column("a", DataType::Utf8), column("b", DataType::Int64)], &["b", "a"]).unwrap();
    let key = table.primary_key().unwrap();
    let batch = RecordBatch::try_new(
        table.schema(),
        vec![Arc::new(StringArray::from(vec!["z", "", "a"])), Arc::new(Int64Array::from(vec![-1, 2, 2]))],
    );
    let (batch, mut keys) = (batch.unwrap(), Vec::new());
    let encoder = KeyEncoder::new(&key, &batch).unwrap();
    for row in 0..3 {
        let mut bytes = Vec::new();
        encoder.encode(row, &mut bytes).unwrap();
        keys.push(bytes);
    }
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    let mut decoder = KeyDecoder::new(&key, &[0], 3).unwrap();
    keys.iter().for_each(|key| decoder.append(key).unwrap());
    assert_eq!(decoder.finish().unwrap()[0].as_primitive::<Int64Type>().values(), &[-1, 2, 2]);
}

#[test]
fn system_columns_are_last() {
    let table = example();
    let names = |schema: SchemaRef| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    assert_eq!(names(table.schema()), ["a", "b", "c"]);
    let all = table.schema_with_system_columns();
    assert_eq!(names(all.clone()), ["a", "b", "c", "_seq", "_deleted"]);
    assert_eq!(*all.field(3), Field::new(SEQ_COLUMN, DataType::Int64, false));
    assert_eq!(*all.field(4), Field::new(DELETED_COLUMN, DataType::Boolean, false));
}

#[test]
fn every_type_of_a_column_can_be_in_the_key() {
    crate::random::for_seeds(200, |rng| {
        let data_type = crate::random::column_type(rng);
        let table = shared(vec![column("k", data_type)], &["k"]).unwrap();
        assert_eq!(table.primary_key().unwrap().columns().len(), 1);
    });
}

#[test]
fn invalid_definitions_are_refused_in_words() {
    use DataType as A;
    let check = |columns: Vec<ColumnSpec>, key: &[&str], says: &str| {
        let error = shared(columns, key).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(says) && message.contains("app.t") && !message.contains('\n'), "{message}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    };
    let id = || column("id", A::Int64);
    check(vec![], &[], "it needs a primary key");
    check(vec![id()], &[], "it needs a primary key");
    check(vec![id()], &["x"], "names the column \"x\", and its columns are id");
    check(vec![id()], &["ID"], "names the column \"ID\"");
    check(vec![id()], &["_seq"], "names the column \"_seq\"");
    check(vec![id()], &["id", "id"], "its primary key has the column \"id\" twice");
    check(vec![id(), column("_x", A::Utf8)], &["id"], "\"_x\" needs another name: names that begin with _");
    check(vec![id(), column("_seq", A::Int64)], &["id"], "\"_seq\" needs another name");
    check(vec![id(), id()], &["id"], "it has the column \"id\" twice");
    check(vec![id(), column("Id", A::Int64)], &["id"], "\"id\" and \"Id\" differ in case only");
    check(vec![id(), column("É", A::Utf8), column("é", A::Utf8)], &["id"], "differ in case only");
    check(vec![id(), column("", A::Utf8)], &["id"], "\"\" cannot be the name");
    check(vec![id(), column("a\u{1b}", A::Utf8)], &["id"], "cannot be the name");
    let list = A::List(Arc::new(Field::new("item", A::Int64, true)));
    for other in [
        list,
        A::Null,
        A::UInt32,
        A::Float16,
        A::Utf8View,
        A::LargeUtf8,
        A::Date64,
        A::FixedSizeBinary(16),
        A::Timestamp(TimeUnit::Nanosecond, None),
        A::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into())),
        A::Decimal128(39, 2),
        A::Decimal128(0, 0),
        A::Decimal128(3, 4),
        A::Decimal128(3, -1),
        A::Decimal256(10, 2),
    ] {
        check(vec![id(), column("x", other)], &["id"], "\"x\" cannot be of type");
    }
    let literal = |value| ColumnDefault::Literal(value);
    for (data_type, default) in [
        (A::Int32, ColumnDefault::SnowflakeId),
        (A::Binary, ColumnDefault::UuidV7),
        (A::Date32, ColumnDefault::Now),
        (A::Int32, literal(ScalarValue::Int64(Some(1)))),
        (A::Int32, literal(ScalarValue::Int32(None))),
        (A::Decimal128(3, 1), literal(ScalarValue::Decimal128(Some(1000), 3, 1))),
        (A::Decimal128(3, 1), literal(ScalarValue::Decimal128(Some(10), 3, 2))),
        (A::Date32, literal(ScalarValue::Date32(Some(i32::MAX)))),
        (timestamp(), literal(ScalarValue::TimestampMicrosecond(Some(0), None))),
        (timestamp(), literal(ScalarValue::TimestampMicrosecond(Some(i64::MIN), Some("UTC".into())))),
    ] {
        check(
            vec![id(), with_default("x", data_type, default)],
            &["id"],
            "the default of the column \"x\" does not fit",
        );
    }
}

fn timestamp() -> DataType {
    crate::column_type::timestamp()
}

#[test]
fn reserved_names_of_tables_are_refused() {
    let check = |name: &str, says: &str| {
        let name = name.parse().unwrap();
        let error = TableDefinition::new_shared(name, vec![column("id", DataType::Int64)], ["id"]);
        let message = error.unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    };
    check("app._t", "app._t cannot be the name of a row table: names that begin with _ are reserved");
    check("_app.t", "\"_app\" cannot be a namespace of row tables");
    check("system.t", "it is reserved for the tables of the system");
    check("Information_Schema.t", "it is reserved");
}
