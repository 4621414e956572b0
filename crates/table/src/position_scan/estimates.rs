//! Estimates of the values in columns, from the statistics in the log. Joins are ordered by them.
//!
//! None is exact: bounds in the log may be wide, and are those of hidden rows, too.

use arrow::datatypes::FieldRef;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue};
use deltalakedb_log::predicate::Literal;
use deltalakedb_log::schema::{Column, Schema};
use deltalakedb_log::stats::{ColumnRange, FileStats};

use crate::statistics_request::scalar;

/// What is known about a column of the files so far.
struct Estimate<'a> {
    column: &'a Column,
    bounds: Bounds,
    has_nulls: bool,
}

enum Bounds {
    /// There are no values yet.
    Empty,
    Between(Literal, Literal),
    /// A file does not have them.
    Unknown,
}

impl Estimate<'_> {
    fn add(&mut self, range: Option<ColumnRange>) {
        let Some(range) = range else {
            (self.bounds, self.has_nulls) = (Bounds::Unknown, true);
            return;
        };
        self.has_nulls |= !range.no_null;
        if range.all_null {
            return;
        }
        self.bounds = match (std::mem::replace(&mut self.bounds, Bounds::Unknown), range.min.zip(range.max)) {
            (Bounds::Empty, Some((min, max))) => Bounds::Between(min, max),
            (Bounds::Between(least, greatest), Some((min, max))) => {
                Bounds::Between(if min < least { min } else { least }, if max > greatest { max } else { greatest })
            }
            _ => Bounds::Unknown,
        };
    }

    fn statistics(self, field: &FieldRef) -> ColumnStatistics {
        let inexact = |value: Literal| {
            let value: Option<ScalarValue> = scalar(value, field.data_type());
            value.map_or(Precision::Absent, Precision::Inexact)
        };
        let mut statistics = ColumnStatistics::new_unknown();
        // A filter would take a column with one value for known exactly (DataFusion 55.2).
        if let Bounds::Between(min, max) = self.bounds
            && min < max
        {
            (statistics.min_value, statistics.max_value) = (inexact(min), inexact(max));
        }
        if !self.has_nulls {
            statistics.null_count = Precision::Inexact(0);
        }
        statistics
    }
}

/// Estimates for the columns of a scan, from the statistics of its files.
pub(super) struct Estimates<'a> {
    /// In the order of the scan; none for columns of which nothing is estimated.
    columns: Vec<Option<Estimate<'a>>>,
}

impl<'a> Estimates<'a> {
    /// Nothing is known yet. The `fields` of the scan have physical names; nothing is estimated of those that are not
    /// `wanted`.
    pub(super) fn new(schema: &'a Schema, fields: &[FieldRef], wanted: &[usize]) -> Self {
        let columns = (0..fields.len()).map(|n| {
            // The bounds of floats do not say whether there are NaN, which are greater.
            if !wanted.contains(&n) || fields[n].data_type().is_floating() {
                return None;
            }
            let column = schema.columns().iter().find(|column| column.physical_name == *fields[n].name())?;
            Some(Estimate { column, bounds: Bounds::Empty, has_nulls: false })
        });
        Self { columns: columns.collect() }
    }

    pub(super) fn add(&mut self, file: &FileStats) {
        for estimate in self.columns.iter_mut().flatten() {
            estimate.add(file.range(estimate.column));
        }
    }

    /// The estimates for the columns of the scan, with the same fields.
    pub(super) fn statistics(self, fields: &[FieldRef]) -> Vec<ColumnStatistics> {
        let known = self.columns.into_iter().zip(fields).map(|(estimate, field)| {
            estimate.map_or_else(ColumnStatistics::new_unknown, |estimate| estimate.statistics(field))
        });
        known.collect()
    }
}
