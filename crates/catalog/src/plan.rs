//! Translates a predicate to the SQL that finds the files in which a row may match.
//!
//! The SQL result is a superset: it has every such file and few others. The exact check on the file statistics is done
//! in Rust. Every file is tested with a *condition* over its bounds. Where the database uses range scans, one column has
//! the *driving index*: its possible values are a few intervals, and for each of them and each spread of files there is
//! one range scan in that index. Files whose bounds are unknown are always tested.

use std::fmt;

use deltalakedb_log::Predicate;
use deltalakedb_log::predicate::{Comparison, Literal};
use deltalakedb_log::schema::Schema;

use crate::bounds::{BoundsSlot, BoundsSlots, INDEXED, Kind, after_prefix};
use crate::database::Value;

/// Of a longer list only the minimum and the maximum are used.
const MAX_LIST: usize = 64;
/// More intervals than this are merged into one.
const MAX_INTERVALS: usize = 8;
/// The maximum number of range scans; beyond it, all intervals are merged into one.
const MAX_RANGE_SCANS: usize = 100;
/// A condition with more parameters or a longer text is left to the check in Rust: it is repeated in every part of a
/// statement, and databases limit the parameters and the depth of a statement.
const MAX_CONDITION_PARAMETERS: usize = 200;
const MAX_CONDITION_TEXT: usize = 16 << 10;

/// A piece of SQL with its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SqlFragment {
    pub(crate) text: String,
    pub(crate) params: Vec<Value>,
}

impl SqlFragment {
    pub(crate) fn new(text: impl Into<String>, params: Vec<Value>) -> Self {
        Self { text: text.into(), params }
    }

    pub(crate) fn push(&mut self, other: SqlFragment) {
        self.text.push_str(&other.text);
        self.params.extend(other.params);
    }

    fn joined(parts: Vec<SqlFragment>, by: &str) -> SqlFragment {
        let mut all = SqlFragment::default();
        for (i, part) in parts.into_iter().enumerate() {
            all.text.push_str(if i == 0 { "(" } else { by });
            all.push(part);
        }
        all.text.push(')');
        all
    }
}

/// The SQL for a predicate.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The condition on a file's bounds; `None` when they cannot exclude any file.
    pub(crate) condition: Option<SqlFragment>,
    /// The column whose index is used.
    pub(crate) driving_index: Option<DrivingIndex>,
}

/// A column whose index is used to find the files.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DrivingIndex {
    slot: usize,
    kind: Kind,
    values: ValueSet,
}

/// The possible values of a column: in one of the intervals, which are ordered and disjoint, or null.
#[derive(Clone, Debug, Default, PartialEq)]
struct ValueSet {
    intervals: Vec<Interval>,
    null: bool,
}

/// An interval with both ends included; `None` for no bound.
#[derive(Clone, Debug, Default, PartialEq)]
struct Interval {
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
}

impl Plan {
    pub(crate) fn new(predicate: &Predicate, schema: &Schema, slots: &BoundsSlots) -> Self {
        let table = TableBounds { schema, slots };
        let fits =
            |sql: &SqlFragment| sql.params.len() <= MAX_CONDITION_PARAMETERS && sql.text.len() <= MAX_CONDITION_TEXT;
        let condition = table.condition(predicate, true).filter(fits);
        // Only the minimum of doubles is known, so they cannot have the driving index.
        let able = slots.0.iter().enumerate().take(INDEXED).filter(|(_, s)| s.kind != Kind::Double);
        let candidates = able.filter_map(|(slot, s)| {
            let values = table.values_of(slot, predicate, true)?;
            Some((table.selectivity_rank(s, &values), DrivingIndex { slot, kind: s.kind, values }))
        });
        Self {
            condition,
            driving_index: candidates.min_by_key(|(rank, _)| *rank).map(|(_, driving_index)| driving_index),
        }
    }
}

impl DrivingIndex {
    /// The range scans: their results are disjoint, and together they find every file that may contain one of the values.
    pub(crate) fn range_scans(&self, spreads: &[i64]) -> Vec<SqlFragment> {
        let n = self.slot;
        let mut range_scans = vec![SqlFragment::new(format!("spread_{n} IS NULL"), vec![])];
        if self.values.null {
            range_scans.push(SqlFragment::new(format!("spread_{n} = -1"), vec![]));
        }
        let mut before: Option<&Vec<u8>> = None;
        let whole;
        let intervals = if self.values.intervals.len() * spreads.len() > MAX_RANGE_SCANS {
            whole = bounding_interval(self.values.intervals.clone());
            &whole
        } else {
            &self.values.intervals
        };
        for Interval { low, high } in intervals {
            for spread in spreads {
                let mut range_scan = SqlFragment::new(format!("spread_{n} = {spread}"), vec![]);
                // A file that starts at or before the end of the previous interval was found there.
                let lowest_min = low.as_deref().map(|low| self.kind.lowest_min(*spread, low));
                match (lowest_min, before) {
                    (lowest_min, Some(end)) if lowest_min.as_ref().is_none_or(|lowest_min| lowest_min <= end) => {
                        range_scan.push(SqlFragment::new(format!(" AND min_{n} > ?"), vec![Value::Blob(end.clone())]));
                    }
                    (Some(lowest_min), _) => {
                        range_scan.push(SqlFragment::new(format!(" AND min_{n} >= ?"), vec![Value::Blob(lowest_min)]));
                    }
                    (None, _) => {}
                }
                if let Some(high) = high {
                    range_scan.push(SqlFragment::new(format!(" AND min_{n} <= ?"), vec![Value::Blob(high.clone())]));
                }
                if let Some(low) = low {
                    range_scan.push(SqlFragment::new(format!(" AND max_{n} >= ?"), vec![Value::Blob(low.clone())]));
                }
                range_scans.push(range_scan);
            }
            before = high.as_ref();
        }
        range_scans
    }

    /// A query for the spreads of the live files, each found from the previous one. Parameters: the table, twice.
    pub(crate) fn spreads(&self) -> String {
        let n = self.slot;
        let next = |after: &str| {
            format!(
                "(SELECT spread_{n} FROM dl_add_files WHERE table_id = ? AND spread_{n} {after} \
                 AND removed_version IS NULL ORDER BY spread_{n} LIMIT 1)"
            )
        };
        format!(
            "WITH RECURSIVE spreads (spread) AS (SELECT {} UNION ALL SELECT {} FROM spreads WHERE spread IS NOT NULL) \
             SELECT spread FROM spreads WHERE spread IS NOT NULL",
            next(">= 0"),
            next("> spread")
        )
    }
}

impl fmt::Display for SqlFragment {
    /// The text with its parameters inlined.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut params = self.params.iter();
        for (i, piece) in self.text.split('?').enumerate() {
            if i > 0 {
                match params.next() {
                    Some(Value::Int(n)) => write!(f, "{n}")?,
                    Some(Value::Text(text)) => write!(f, "'{}'", text.replace('\'', "''"))?,
                    Some(Value::Blob(bytes)) => {
                        f.write_str("x'")?;
                        bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
                        f.write_str("'")?;
                    }
                    Some(Value::Null) | None => f.write_str("NULL")?,
                }
            }
            f.write_str(piece)?;
        }
        Ok(())
    }
}

struct TableBounds<'a> {
    schema: &'a Schema,
    slots: &'a BoundsSlots,
}

impl TableBounds<'_> {
    fn slot(&self, name: &str) -> Option<(usize, &BoundsSlot)> {
        self.slots.of(self.schema.column(name)?)
    }

    fn is_partition(&self, slot: &BoundsSlot) -> bool {
        self.schema.columns().iter().any(|c| c.is_partition && c.physical_name == slot.column)
    }

    /// An estimate of how many files contain such values, from few (0) to many.
    fn selectivity_rank(&self, slot: &BoundsSlot, values: &ValueSet) -> u8 {
        let points = values.intervals.iter().all(|i| i.low.is_some() && i.low == i.high);
        let closed = values.intervals.iter().all(|i| i.low.is_some() && i.high.is_some());
        match (points && !values.null, self.is_partition(slot)) {
            (true, false) => 0,
            (true, true) => 1,
            (false, _) if closed => 1,
            (false, _) => 2,
        }
    }

    /// The condition on the bounds of a file for `p` to evaluate to `want` in some row; `None` if they cannot.
    fn condition(&self, p: &Predicate, want: bool) -> Option<SqlFragment> {
        match p {
            Predicate::Unknown => None,
            Predicate::Constant(b) => (*b != want).then(always_false),
            Predicate::Not(p) => self.condition(p, !want),
            Predicate::And(parts) | Predicate::Or(parts) => {
                let each = parts.iter().map(|p| self.condition(p, want));
                if matches!(p, Predicate::And(_)) == want {
                    let known: Vec<_> = each.flatten().collect();
                    (!known.is_empty()).then(|| SqlFragment::joined(known, " AND "))
                } else if parts.is_empty() {
                    Some(always_false())
                } else {
                    each.collect::<Option<Vec<_>>>().map(|all| SqlFragment::joined(all, " OR "))
                }
            }
            Predicate::IsNull(c) | Predicate::IsNotNull(c) => {
                let (n, _) = self.slot(c)?;
                Some(if matches!(p, Predicate::IsNull(_)) == want {
                    SqlFragment::new(format!("(slot_flags IS NULL OR slot_flags & {} <> 0)", 1 << n), vec![])
                } else {
                    SqlFragment::new(format!("(spread_{n} IS NULL OR spread_{n} >= 0)"), vec![])
                })
            }
            Predicate::In(c, literals) if !want => {
                let (n, slot) = self.slot(c)?;
                let all =
                    literals.iter().take(MAX_LIST).filter_map(|l| has_other_value(n, slot.kind, l)).collect::<Vec<_>>();
                (!all.is_empty()).then(|| SqlFragment::joined(all, " AND "))
            }
            Predicate::Compare(c, op, literal) if effective(*op, want) == Comparison::NotEq => {
                let (n, slot) = self.slot(c)?;
                has_other_value(n, slot.kind, literal)
            }
            Predicate::Compare(c, ..) | Predicate::In(c, _) | Predicate::StartsWith(c, _) => {
                let (n, slot) = self.slot(c)?;
                let intervals = intervals(slot.kind, p, want)?;
                let each: Vec<_> = intervals.into_iter().map(|i| overlaps_interval(n, i)).collect();
                Some(if each.is_empty() { always_false() } else { SqlFragment::joined(each, " OR ") })
            }
        }
    }

    /// The values of the slot's column in a row for which `p` evaluates to `want`; `None` for any.
    fn values_of(&self, slot: usize, p: &Predicate, want: bool) -> Option<ValueSet> {
        match p {
            Predicate::Unknown => None,
            Predicate::Constant(b) => (*b != want).then(ValueSet::default),
            Predicate::Not(p) => self.values_of(slot, p, !want),
            Predicate::And(parts) | Predicate::Or(parts) => {
                let each = parts.iter().map(|p| self.values_of(slot, p, want));
                if matches!(p, Predicate::And(_)) == want {
                    each.flatten().reduce(ValueSet::intersection)
                } else {
                    each.collect::<Option<Vec<_>>>()
                        .map(|all| all.into_iter().fold(ValueSet::default(), ValueSet::union))
                }
            }
            Predicate::IsNull(c) | Predicate::IsNotNull(c) => {
                let (n, of) = self.slot(c)?;
                let is_null = matches!(p, Predicate::IsNull(_)) == want;
                // Only a partition value is null in all rows of a file or in none.
                (n == slot && is_null && self.is_partition(of)).then(|| ValueSet { intervals: Vec::new(), null: true })
            }
            Predicate::Compare(c, ..) | Predicate::In(c, _) | Predicate::StartsWith(c, _) => {
                let (n, of) = self.slot(c)?;
                let intervals = if n == slot { intervals(of.kind, p, want)? } else { return None };
                Some(ValueSet { intervals: merge_intervals(intervals), null: false })
            }
        }
    }
}

impl ValueSet {
    fn intersection(self, other: ValueSet) -> ValueSet {
        let mut all = Vec::new();
        for a in &self.intervals {
            for b in &other.intervals {
                let low = a.low.clone().max(b.low.clone());
                let high = match (&a.high, &b.high) {
                    (Some(x), Some(y)) => Some(x.min(y).clone()),
                    (x, y) => x.clone().or_else(|| y.clone()),
                };
                all.push(Interval { low, high });
            }
        }
        ValueSet { intervals: merge_intervals(all), null: self.null && other.null }
    }

    fn union(mut self, other: ValueSet) -> ValueSet {
        self.intervals.extend(other.intervals);
        ValueSet { intervals: merge_intervals(self.intervals), null: self.null || other.null }
    }
}

/// The same values as ordered, disjoint intervals, few in number.
fn merge_intervals(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.retain(|i| i.low.as_ref().zip(i.high.as_ref()).is_none_or(|(low, high)| low <= high));
    // `None` sorts before every low, as required.
    intervals.sort_by(|a, b| a.low.cmp(&b.low));
    let mut merged: Vec<Interval> = Vec::new();
    for next in intervals {
        match merged.last_mut() {
            Some(last) if last.high.is_none() || next.low <= last.high => {
                last.high = last.high.take().zip(next.high).map(|(a, b)| a.max(b));
            }
            _ => merged.push(next),
        }
    }
    if merged.len() > MAX_INTERVALS { bounding_interval(merged) } else { merged }
}

/// The interval from the start of the first to the end of the last of ordered intervals.
fn bounding_interval(mut intervals: Vec<Interval>) -> Vec<Interval> {
    let high = intervals.last().and_then(|last| last.high.clone());
    intervals.truncate(1);
    intervals.iter_mut().for_each(|first| first.high = high.clone());
    intervals
}

fn effective(op: Comparison, want: bool) -> Comparison {
    if want { op } else { op.negated() }
}

/// The values for which a comparison, list or prefix evaluates to `want`; `None` for any.
fn intervals(kind: Kind, p: &Predicate, want: bool) -> Option<Vec<Interval>> {
    let point = |l: &Literal| Some(Interval { low: Some(kind.encode(l, false)?), high: Some(kind.encode(l, true)?) });
    match p {
        Predicate::Compare(_, op, literal) => {
            let (low, high) = (|| kind.encode(literal, false), || kind.encode(literal, true));
            // Without the value itself, if the type is discrete.
            let is_exact = |up: bool| kind.is_discrete() && kind.encode(literal, up) == kind.encode(literal, !up);
            let beyond = |bytes: Vec<u8>, up: bool| if is_exact(up) { kind.neighbour(&bytes, up) } else { Some(bytes) };
            let none = || Some(Vec::new());
            match effective(*op, want) {
                Comparison::Eq => Some(vec![point(literal)?]),
                Comparison::NotEq => None,
                Comparison::Lt => match beyond(high()?, false) {
                    Some(high) => Some(vec![Interval { low: None, high: Some(high) }]),
                    None => none(),
                },
                Comparison::LtEq => Some(vec![Interval { low: None, high: Some(high()?) }]),
                // NaN is greater than any number.
                Comparison::Gt | Comparison::GtEq if kind == Kind::Double => None,
                Comparison::Gt => match beyond(low()?, true) {
                    Some(low) => Some(vec![Interval { low: Some(low), high: None }]),
                    None => none(),
                },
                Comparison::GtEq => Some(vec![Interval { low: Some(low()?), high: None }]),
            }
        }
        Predicate::In(_, literals) if want => literals.iter().map(point).collect::<Option<Vec<_>>>().map(limit_points),
        Predicate::StartsWith(_, prefix) if want && kind == Kind::String => {
            let low = prefix.as_bytes().to_vec();
            Some(vec![Interval { high: after_prefix(&low), low: Some(low) }])
        }
        _ => None,
    }
}

/// Too many points are replaced by the interval that contains them.
fn limit_points(mut points: Vec<Interval>) -> Vec<Interval> {
    if points.len() > MAX_LIST {
        let low = points.iter().filter_map(|p| p.low.clone()).min();
        let high = points.iter().filter_map(|p| p.high.clone()).max();
        points = vec![Interval { low, high }];
    }
    points
}

fn always_false() -> SqlFragment {
    SqlFragment::new("1 = 0", vec![])
}

/// Some value may be in the interval.
fn overlaps_interval(n: usize, i: Interval) -> SqlFragment {
    let mut sql = SqlFragment::new(format!("((spread_{n} IS NULL OR spread_{n} >= 0)"), vec![]);
    if let Some(low) = i.low {
        sql.push(SqlFragment::new(format!(" AND (max_{n} IS NULL OR max_{n} >= ?)"), vec![Value::Blob(low)]));
    }
    if let Some(high) = i.high {
        sql.push(SqlFragment::new(format!(" AND (min_{n} IS NULL OR min_{n} <= ?)"), vec![Value::Blob(high)]));
    }
    sql.push(SqlFragment::new(")", vec![]));
    sql
}

/// Some value may differ from this one; `None` when that cannot be excluded.
fn has_other_value(n: usize, kind: Kind, literal: &Literal) -> Option<SqlFragment> {
    let value = kind.encode(literal, false).filter(|low| kind.encode(literal, true).as_ref() == Some(low))?;
    // The bounds of a floating-point column do not include NaN.
    let exact = kind != Kind::Double;
    let sql = format!("(spread_{n} IS NULL OR (spread_{n} >= 0 AND (spread_{n} > 0 OR min_{n} <> ?)))");
    exact.then(|| SqlFragment::new(sql, vec![Value::Blob(value)]))
}
