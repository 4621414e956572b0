use std::collections::BTreeSet;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimeUnit, TimestampMicrosecondType};
use deltalakedb_log::SeededClock;
use uuid::Variant;

use super::*;
use crate::definition::ColumnSpec;
use crate::random;

/// A Monday in 2026.
const NOW: i64 = 1_795_996_800_000;

fn clocks(seed: u64, above: SeqId) -> (Arc<SeededClock>, SeqClock) {
    let clock = Arc::new(SeededClock::new(NOW, seed));
    let ids = SeqClock::resume_above(above, 5, clock.clone()).unwrap();
    (clock, ids)
}

fn column(data_type: DataType, nullable: bool, default: Option<ColumnDefault>) -> ColumnDefinition {
    ColumnDefinition::new(1, ColumnSpec { name: "c".into(), data_type, nullable, default })
}

fn texts(array: &ArrayRef) -> Vec<String> {
    array.as_string::<i32>().iter().map(|text| text.unwrap().to_string()).collect()
}

#[test]
fn snowflake_ids_increase_and_are_below_the_next_seq() {
    let (clock, ids) = clocks(1, SeqId::ZERO);
    let column = column(DataType::Int64, false, Some(ColumnDefault::SnowflakeId));
    let mut all = Vec::new();
    for _ in 0..3 {
        let values = DefaultValues::at_start_of_statement(clock.as_ref(), &ids).array(&column, 5000).unwrap();
        all.extend_from_slice(values.as_primitive::<Int64Type>().values());
    }
    assert_eq!(all.len(), 15_000);
    assert!(all.is_sorted_by(|a, b| a < b));
    assert!(ids.next_seq().unwrap().as_i64() > all[14_999]);
}

/// What is persisted with a commit is its `_seq`.
#[test]
fn ids_after_a_restart_are_greater_than_those_of_committed_rows() {
    for default in [ColumnDefault::SnowflakeId, ColumnDefault::UuidV7] {
        let data_type = if default == ColumnDefault::UuidV7 { DataType::Utf8 } else { DataType::Int64 };
        let column = column(data_type, false, Some(default));
        let (clock, ids) = clocks(1, SeqId::ZERO);
        let before = DefaultValues::at_start_of_statement(clock.as_ref(), &ids).array(&column, 20_000).unwrap();
        let committed = ids.next_seq().unwrap();
        // The wall clock is at its start again, milliseconds before the last id.
        let (clock, ids) = clocks(2, committed);
        let after = DefaultValues::at_start_of_statement(clock.as_ref(), &ids).array(&column, 1).unwrap();
        let greatest = arrow::compute::concat(&[&before, &after]).unwrap();
        let order = arrow::compute::sort_to_indices(&greatest, None, None).unwrap();
        assert_eq!(order.value(20_000), 20_000, "{column:?}");
    }
}

#[test]
fn uuids_are_of_version_7_in_order_and_random() {
    let (clock, ids) = clocks(1, SeqId::ZERO);
    let column = column(DataType::Utf8, false, Some(ColumnDefault::UuidV7));
    let array = DefaultValues::at_start_of_statement(clock.as_ref(), &ids).array(&column, 10_000).unwrap();
    let array = texts(&array);
    assert!(array.is_sorted_by(|a, b| a < b));
    let mut random = BTreeSet::new();
    let (mut ones, mut zeros) = (0, u128::MAX);
    for text in &array {
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, Variant::RFC4122), "{text}");
        assert_eq!(uuid.to_string(), *text, "lower case with hyphens");
        let (seconds, nanos) = uuid.get_timestamp().unwrap().to_unix();
        let ms = i64::try_from(seconds * 1000 + u64::from(nanos / 1_000_000)).unwrap();
        assert!((NOW..NOW + 10_000).contains(&ms), "{ms}");
        random.insert(uuid.as_u64_pair().1);
        (ones, zeros) = (ones | uuid.as_u128(), zeros & uuid.as_u128());
    }
    assert_eq!(random.len(), array.len());
    // All 62 bits after the variant vary.
    assert_eq!((ones & !zeros) & ((1 << 62) - 1), (1 << 62) - 1);
    // Other seeds give other random bits, and the same seed the same ones.
    let once = |seed| {
        let (clock, ids) = clocks(seed, SeqId::ZERO);
        texts(&DefaultValues::at_start_of_statement(clock.as_ref(), &ids).array(&column, 3).unwrap())
    };
    assert_eq!(once(1), array[..3]);
    assert_ne!(once(2), array[..3]);
}

#[test]
fn now_is_the_same_in_all_rows_of_a_statement() {
    let (clock, ids) = clocks(1, SeqId::ZERO);
    let ntz = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = [crate::column_type::timestamp(), ntz].map(|t| column(t, false, Some(ColumnDefault::Now)));
    let statement = DefaultValues::at_start_of_statement(clock.as_ref(), &ids);
    clock.advance(1000);
    for _ in 0..2 {
        for column in &columns {
            let array = statement.array(column, 3).unwrap();
            assert_eq!(array.data_type(), column.field().data_type());
            assert_eq!(array.as_primitive::<TimestampMicrosecondType>().values(), &[NOW * 1000; 3]);
        }
    }
    let next = DefaultValues::at_start_of_statement(clock.as_ref(), &ids).array(&columns[0], 1).unwrap();
    assert_eq!(next.as_primitive::<TimestampMicrosecondType>().values(), &[(NOW + 1001) * 1000]);
}

#[test]
fn literals_are_repeated_in_the_type_of_the_column() {
    let (clock, ids) = clocks(1, SeqId::ZERO);
    let statement = DefaultValues::at_start_of_statement(clock.as_ref(), &ids);
    random::for_seeds(200, |rng| {
        let data_type = random::column_type(rng);
        let value = random::value(rng, &data_type);
        let column = column(data_type.clone(), false, Some(ColumnDefault::Literal(value.clone())));
        let array = statement.array(&column, 3).unwrap();
        assert_eq!((array.data_type(), array.len()), (&data_type, 3));
        for row in 0..3 {
            assert_eq!(ScalarValue::try_from_array(&array, row).unwrap(), value);
        }
        assert_eq!(statement.array(&column, 0).unwrap().len(), 0);
    });
}

#[test]
fn a_column_without_a_default_is_null_or_an_error() {
    let (clock, ids) = clocks(1, SeqId::ZERO);
    let statement = DefaultValues::at_start_of_statement(clock.as_ref(), &ids);
    let nulls = statement.array(&column(DataType::Int32, true, None), 4).unwrap();
    assert_eq!((nulls.data_type(), nulls.null_count()), (&DataType::Int32, 4));
    let error = statement.array(&column(DataType::Int32, false, None), 4).unwrap_err();
    assert_eq!(error.to_string(), "the column \"c\" has no default and cannot be null: give it a value");
    assert_eq!(error.subject(), Some(&Subject::InvalidRows(4)));
    assert_eq!(statement.array(&column(DataType::Int32, false, None), 0).unwrap().len(), 0);
}

#[test]
fn an_exhausted_clock_is_an_error() {
    let (clock, ids) = clocks(1, SeqId::MAX);
    let statement = DefaultValues::at_start_of_statement(clock.as_ref(), &ids);
    let column = column(DataType::Int64, false, Some(ColumnDefault::SnowflakeId));
    assert!(statement.array(&column, 1).unwrap_err().to_string().contains("correct the clock"));
}
