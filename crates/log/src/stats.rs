//! What the log records about the values in a file: its partition values and its statistics.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::action::Add;
use crate::decimal::Bound;
use crate::literal::Literal;
use crate::schema::{Column, PrimitiveType, Schema};

/// What is known about the values of one column in one file. It holds for every row.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnRange {
    /// No value is less.
    pub min: Option<Literal>,
    /// No value is greater, except NaN, which is greater than every number.
    pub max: Option<Literal>,
    /// Every value is null.
    pub all_null: bool,
    /// No value is null.
    pub no_null: bool,
}

/// What the log records about one file.
#[derive(Debug)]
pub struct FileStats<'a> {
    schema: &'a Schema,
    file: &'a Add,
    stats: Option<Stats<'a>>,
}

/// Statistics by top-level column, each as its JSON text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats<'a> {
    num_records: Option<i64>,
    tight_bounds: Option<bool>,
    #[serde(borrow, default)]
    min_values: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    max_values: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    null_count: Option<BTreeMap<String, &'a RawValue>>,
}

impl<'a> FileStats<'a> {
    /// Parses the statistics of a file; statistics that cannot be parsed are ignored.
    pub fn new(schema: &'a Schema, file: &'a Add) -> Self {
        let stats = file.stats.as_deref().and_then(|s| serde_json::from_str(s).ok());
        Self { schema, file, stats }
    }

    /// The number of rows in the file, deleted ones included.
    pub fn num_records(&self) -> Option<i64> {
        self.stats.as_ref()?.num_records
    }

    /// The number of rows in the file that its deletion vector does not delete.
    pub fn live_records(&self) -> Option<i64> {
        let deleted = self.file.deletion_vector.as_ref().map_or(0, |dv| dv.cardinality);
        self.num_records()?.checked_sub(deleted)
    }

    /// Whether the bounds are values of rows, if they are exact at all: a deletion vector may delete those rows.
    pub fn is_tight(&self) -> bool {
        let claims = self.stats.as_ref().is_some_and(|s| s.tight_bounds != Some(false));
        claims && self.file.deletion_vector.is_none()
    }

    /// The minimum and maximum of a column, if they are exact values of rows; `Some(None)` when every value is null.
    pub fn exact(&self, column: &Column) -> Option<Option<(Literal, Literal)>> {
        let range = self.range(column)?;
        match self.live_records() {
            Some(0) => return Some(None),
            Some(_) if range.all_null => return Some(None),
            Some(_) => {}
            None => return None,
        }
        let exact = column.is_partition
            || (self.is_tight() && column.data_type.is_some_and(PrimitiveType::has_exact_statistics));
        range.min.zip(range.max).filter(|(min, max)| exact && min <= max).map(Some)
    }

    /// What is known about the column of that logical name.
    pub fn column(&self, name: &str) -> Option<ColumnRange> {
        self.range(self.schema.column(name)?)
    }

    /// What is known about a column of the schema.
    pub fn range(&self, column: &Column) -> Option<ColumnRange> {
        if column.is_partition {
            return Some(self.partition_value(column));
        }
        let stats = self.stats.as_ref()?;
        let of = |values: &Option<BTreeMap<String, &'a RawValue>>| {
            values.as_ref().and_then(|v| v.get(&column.physical_name)).map(|v| v.get())
        };
        let bound =
            |values, which| column.data_type.zip(of(values)).and_then(|(t, json)| t.parse_statistic(json, which));
        let nulls: Option<i64> = of(&stats.null_count).and_then(|json| json.parse().ok());
        // With wide bounds (deletion vectors) a null count is exact only if it is 0 or the number of rows.
        let all_null = matches!((stats.num_records, nulls), (Some(r), Some(n)) if n == r);
        let no_null = nulls == Some(0);
        // Text may be truncated: a prefix is still a lower bound.
        let min = bound(&stats.min_values, Bound::Lower).map(lower);
        let max = bound(&stats.max_values, Bound::Upper).map(upper);
        Some(ColumnRange { min, max, all_null, no_null })
    }

    fn partition_value(&self, column: &Column) -> ColumnRange {
        let text = self.file.partition_values.get(&column.physical_name);
        match text.and_then(|v| v.as_deref()) {
            // The protocol defines it as null for every type, but delta-rs reads it as an empty text.
            Some("") if column.data_type.is_none_or(|t| t == PrimitiveType::String) => {
                ColumnRange { min: None, max: None, all_null: false, no_null: false }
            }
            // A missing value, null and the empty string are null.
            None | Some("") => ColumnRange { min: None, max: None, all_null: true, no_null: false },
            Some(text) => {
                let value = column.data_type.and_then(|t| t.parse_partition_value(text));
                ColumnRange { min: value.clone(), max: value, all_null: false, no_null: true }
            }
        }
    }
}

/// The lower bound of a statistic.
fn lower(bound: Literal) -> Literal {
    match bound {
        Literal::Double(x) => Literal::Double(x - rounding_error(x)),
        other => other,
    }
}

/// The upper bound of a statistic. Timestamps are truncated to milliseconds, so up to 999 µs are added.
fn upper(bound: Literal) -> Literal {
    match bound {
        Literal::Timestamp(micros) => Literal::Timestamp(micros.saturating_add(999)),
        Literal::Double(x) => Literal::Double(x + rounding_error(x)),
        other => other,
    }
}

/// The maximum difference between a double and its text: the column may have been a float when it was written (type
/// widening), and the shortest text of a float parses to a different double.
fn rounding_error(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.abs() * f64::from(f32::EPSILON) + f64::from(f32::from_bits(1)) }
}
