use super::*;
use crate::column_type::{is_column_type, timestamp};
use crate::tests::{Fixture, ask};

use arrow::datatypes::{DataType, TimeUnit};

/// The text of a value, which is the literal of that value.
fn check(value: ScalarValue, want: &str) {
    assert!(is_column_type(&value.data_type()), "{value:?}");
    assert_eq!(value_text(&value), want, "{value:?}");
}

#[test]
fn values_of_every_type_are_shown_as_literals() {
    use ScalarValue as S;
    check(S::Boolean(Some(true)), "true");
    check(S::Int8(Some(-128)), "-128");
    check(S::Int16(Some(-5)), "-5");
    check(S::Int32(Some(2_147_483_647)), "2147483647");
    check(S::Int64(Some(i64::MIN)), "-9223372036854775808");
    check(S::Float32(Some(-1.5)), "-1.5");
    check(S::Float64(Some(1e300)), "1e300");
    check(S::Float64(Some(f64::NAN)), "'NaN'");
    check(S::Float64(Some(f64::NEG_INFINITY)), "'-Infinity'");
    check(S::Decimal128(Some(-1_234), 38, 2), "-12.34");
    check(S::Decimal128(Some(5), 9, 2), "0.05");
    check(S::Decimal128(Some(7), 9, 0), "7");
    check(S::Utf8(Some(String::new())), "''");
    check(S::Utf8(Some("it's".into())), "'it''s'");
    check(S::Binary(Some((0..12).collect())), "X'000102030405060708090A0B'");
    check(S::Date32(Some(-1)), "'1969-12-31'");
    check(S::Date32(Some(19_782)), "'2024-02-29'");
    let micros = 1_709_168_523_000_004;
    check(S::TimestampMicrosecond(Some(micros), Some("UTC".into())), "'2024-02-29T01:02:03.000004Z'");
    check(S::TimestampMicrosecond(Some(-1), None), "'1969-12-31T23:59:59.999999'");
    check(S::TimestampMicrosecond(Some(0), None), "'1970-01-01T00:00:00'");
    // No calendar has it.
    check(S::TimestampMicrosecond(Some(i64::MAX), None), "9223372036854775807");
}

#[test]
fn a_shown_value_is_the_literal_of_that_value() {
    for (literal, data_type) in [
        ("-12.34", DataType::Decimal128(9, 2)),
        ("'2024-02-29'", DataType::Date32),
        ("'2024-02-29T01:02:03.000004Z'", timestamp()),
        ("'0001-01-01T00:00:00'", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ] {
        let text = literal.trim_matches('\'').to_string();
        let spelt = if literal.starts_with('\'') { Literal::Quoted(text) } else { Literal::Bare(text) };
        let value = spelt.to_value(&data_type).unwrap();
        assert_eq!(value_text(&value), literal);
    }
}

#[tokio::test]
async fn a_duplicate_key_is_named_by_its_literals_in_the_order_of_the_key() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    let create = "CREATE SHARED TABLE app.k (d DECIMAL(9, 2), t TIMESTAMP, day DATE, b BYTEA, name TEXT, n INT,
                  PRIMARY KEY (name, day, t, d, b))";
    ask(&mut session, create).await.unwrap();
    let insert = "INSERT INTO app.k VALUES (1.5, '2024-02-29T01:02:03Z', '2024-02-29', X'00FF', 'a b', 1)";
    ask(&mut session, insert).await.unwrap();
    let key = "name = 'a b', day = '2024-02-29', t = '2024-02-29T01:02:03Z', d = 1.50, b = X'00FF'";
    for flush in [false, true] {
        if flush {
            ask(&mut session, "FLUSH ALL").await.unwrap();
        }
        let e = ask(&mut session, insert).await.unwrap_err();
        let want = format!("a row with {key} cannot be inserted into app.k: a row has this key");
        assert_eq!(e.to_string(), want);
        // It can be copied into a condition.
        let condition = key.replace(", ", " AND ");
        let found = ask(&mut session, &format!("SELECT n FROM app.k WHERE {condition}")).await.unwrap();
        assert_eq!(found, ["1"]);
    }
}
