//! Random steps on a table, and their effect on rows in memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use deltalakedb_log::action::Version;
use deltalakedb_table::{Assignments, Merge, MergeClause, Operation, Optimize, SaveMode, WriteRows};
use fastrand::Rng;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) n: Option<i64>,
    pub(super) part: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Alone(Action),
    Transaction(Vec<Statement>),
    /// Both read one version.
    Concurrent(Action, Action),
    Restore(Version),
    /// Whether rows are deleted by deletion vectors from now on.
    Vectors(bool),
    Vacuum {
        lite: bool,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Change(Statement),
    /// Small files become one.
    Compact,
    /// Rows are clustered by the values of a column.
    Cluster,
    /// Files with vectors are rewritten.
    Purge,
}

impl Action {
    pub(super) fn operation(&self) -> Operation {
        let zorder = match self {
            Self::Change(statement) => return statement.operation(),
            Self::Purge => return Operation::Purge { partitions: Vec::new() },
            Self::Compact => Vec::new(),
            Self::Cluster => vec!["n".to_string()],
        };
        Operation::Optimize(Optimize { zorder, ..Optimize::default() })
    }

    /// The rows after it, sorted.
    pub(super) fn after(&self, rows: &[Row]) -> Vec<Row> {
        match self {
            Self::Change(statement) => statement.after(rows),
            Self::Compact | Self::Cluster | Self::Purge => rows.to_vec(),
        }
    }
}

/// What changes rows.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    Append(Vec<Row>),
    /// All rows, or those of a part.
    Overwrite(Vec<Row>, Option<&'static str>),
    Delete(Option<Condition>),
    Update(Vec<Set>, Option<Condition>),
    Merge(Vec<Row>, Clauses),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Set {
    Next,
    Null,
    Part(&'static str),
    Renumber,
}

/// The clauses of a merge by `id`.
#[derive(Clone, Debug)]
pub(super) enum Clauses {
    Upsert,
    UpsertAndDelete(Condition),
    Insert,
    Delete(Option<Condition>),
}

/// A condition in SQL, over the columns of a row.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    Id(i64),
    Ids(i64, i64),
    Every(i64, i64),
    Part(&'static str),
    Below(i64),
    IsNull,
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

const PARTS: [&str; 3] = ["a", "b c", "ü"];
const IDS: i64 = 60;

impl Condition {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let from = rng.i64(0..IDS);
        match rng.u8(..12) {
            0 | 1 => Self::Id(from),
            2 | 3 => Self::Ids(from, from + rng.i64(0..12)),
            4 | 5 => Self::Every(rng.i64(2..6), rng.i64(0..2)),
            6 => Self::Part(part(rng)),
            7 | 8 => Self::Below(rng.i64(0..9)),
            9 => Self::IsNull,
            10 => Self::And(Self::random(rng).into(), Self::random(rng).into()),
            _ => Self::Or(Self::random(rng).into(), Self::random(rng).into()),
        }
    }

    /// In SQL, with this before the names of columns.
    pub(super) fn sql(&self, of: &str) -> String {
        match self {
            Self::Id(id) => format!("{of}id = {id}"),
            Self::Ids(from, to) => format!("{of}id BETWEEN {from} AND {to}"),
            Self::Every(nth, rest) => format!("{of}id % {nth} = {rest}"),
            Self::Part(part) => format!("{of}part = '{part}'"),
            Self::Below(n) => format!("{of}n < {n}"),
            Self::IsNull => format!("{of}n IS NULL"),
            Self::And(a, b) => format!("({} AND {})", a.sql(of), b.sql(of)),
            Self::Or(a, b) => format!("({} OR {})", a.sql(of), b.sql(of)),
        }
    }

    pub(super) fn holds(&self, row: &Row) -> bool {
        // An unknown condition does not hold, and no condition is negated.
        match self {
            Self::Id(id) => row.id == *id,
            Self::Ids(from, to) => (*from..=*to).contains(&row.id),
            Self::Every(nth, rest) => row.id % nth == *rest,
            Self::Part(part) => row.part.as_deref() == Some(*part),
            Self::Below(n) => row.n.is_some_and(|value| value < *n),
            Self::IsNull => row.n.is_none(),
            Self::And(a, b) => a.holds(row) && b.holds(row),
            Self::Or(a, b) => a.holds(row) || b.holds(row),
        }
    }
}

impl Set {
    fn sql(self) -> (String, String) {
        let (column, value) = match self {
            Self::Next => ("n", "n + 1".to_string()),
            Self::Null => ("n", "NULL".to_string()),
            Self::Part(part) => ("part", format!("'{part}'")),
            Self::Renumber => ("id", "id + 7".to_string()),
        };
        (column.to_string(), value)
    }

    fn apply(self, row: &mut Row) {
        match self {
            Self::Next => row.n = row.n.map(|n| n + 1),
            Self::Null => row.n = None,
            Self::Part(part) => row.part = Some(part.into()),
            Self::Renumber => row.id += 7,
        }
    }
}

impl Statement {
    pub(super) fn operation(&self) -> Operation {
        let sql = |condition: &Condition| condition.sql("");
        match self {
            Self::Append(rows) => Operation::Write(WriteRows::new(batches(rows), SaveMode::Append)),
            Self::Overwrite(rows, part) => {
                let replace_where = part.map(|part| format!("part = '{part}'"));
                let write = WriteRows::new(batches(rows), SaveMode::Overwrite);
                Operation::Write(WriteRows { replace_where, ..write })
            }
            Self::Delete(filter) => Operation::Delete { filter: filter.as_ref().map(sql) },
            Self::Update(set, filter) => Operation::Update {
                set: set.iter().map(|set| set.sql()).collect(),
                filter: filter.as_ref().map(sql),
                safe_cast: false,
            },
            Self::Merge(rows, clauses) => {
                let update = MergeClause::MatchedUpdate { condition: None, set: Assignments::All };
                let insert = MergeClause::NotMatchedInsert { condition: None, values: Assignments::All };
                let of_target = |condition: &Condition| Some(condition.sql("target."));
                let merge = Merge::on("target.id = source.id".to_string());
                let merge = match clauses {
                    Clauses::Upsert => merge.when(update).when(insert),
                    Clauses::UpsertAndDelete(condition) => {
                        let condition = of_target(condition);
                        merge.when(update).when(insert).when(MergeClause::NotMatchedBySourceDelete { condition })
                    }
                    Clauses::Insert => merge.when(insert),
                    Clauses::Delete(condition) => {
                        merge.when(MergeClause::MatchedDelete { condition: condition.as_ref().and_then(of_target) })
                    }
                };
                Operation::Merge(merge, batches(rows).into())
            }
        }
    }

    /// The rows after it, sorted.
    pub(super) fn after(&self, rows: &[Row]) -> Vec<Row> {
        let mut after = rows.to_vec();
        match self {
            Self::Append(new) => after.extend_from_slice(new),
            Self::Overwrite(new, part) => {
                after.retain(|row| part.is_some() && row.part.as_deref() != *part);
                after.extend_from_slice(new);
            }
            Self::Delete(filter) => after.retain(|row| filter.as_ref().is_some_and(|filter| !filter.holds(row))),
            Self::Update(set, filter) => {
                for row in after.iter_mut().filter(|row| filter.as_ref().is_none_or(|filter| filter.holds(row))) {
                    // Of columns that are set once.
                    set.iter().for_each(|set| set.apply(row));
                }
            }
            Self::Merge(source, clauses) => {
                let of_source = |id: i64| source.iter().find(|row| row.id == id);
                let there = |id: i64| rows.iter().any(|row| row.id == id);
                let new = || source.iter().filter(|row| !there(row.id)).cloned();
                let upsert = |after: &mut Vec<Row>| {
                    after.iter_mut().for_each(|row| {
                        if let Some(new) = of_source(row.id) {
                            *row = new.clone();
                        }
                    });
                    after.extend(new());
                };
                match clauses {
                    Clauses::Upsert => upsert(&mut after),
                    Clauses::UpsertAndDelete(condition) => {
                        after.retain(|row| of_source(row.id).is_some() || !condition.holds(row));
                        upsert(&mut after);
                    }
                    Clauses::Insert => after.extend(new()),
                    Clauses::Delete(condition) => after.retain(|row| {
                        of_source(row.id).is_none() || condition.as_ref().is_some_and(|condition| !condition.holds(row))
                    }),
                }
            }
        }
        after.sort();
        after
    }
}

fn batches(rows: &[Row]) -> Vec<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id)));
    let ns: ArrayRef = Arc::new(rows.iter().map(|row| row.n).collect::<Int64Array>());
    let parts: ArrayRef = Arc::new(rows.iter().map(|row| row.part.as_deref()).collect::<StringArray>());
    vec![RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("n", ns, true), ("part", parts, true)]).unwrap()]
}

fn part(rng: &mut Rng) -> &'static str {
    PARTS[rng.usize(..PARTS.len())]
}

/// Random choices, reproducible from a seed.
pub(super) struct Random {
    pub(super) rng: Rng,
    /// Whether the columns of the table are mapped.
    is_mapped: bool,
}

impl Random {
    pub(super) fn new(rng: Rng, is_mapped: bool) -> Self {
        Self { rng, is_mapped }
    }

    /// A step on a table at a version; an earlier one has its files if it is this one or later.
    pub(super) fn step(&mut self, oldest: Version, now: Version) -> Step {
        if now == 0 {
            return Step::Alone(Action::Change(Statement::Append(self.rows(20))));
        }
        match self.rng.u8(..100) {
            0..65 => Step::Alone(self.action()),
            65..76 => Step::Transaction((0..self.rng.usize(2..5)).map(|_| self.statement()).collect()),
            76..88 => Step::Concurrent(self.action(), self.action()),
            88..93 if oldest < now => Step::Restore(self.rng.u64(oldest..now)),
            93..96 => Step::Vectors(self.rng.u8(..4) > 0),
            _ => Step::Vacuum { lite: self.rng.bool() },
        }
    }

    fn action(&mut self) -> Action {
        match self.rng.u8(..16) {
            // delta-rs compacts no table with mapped columns.
            0 if !self.is_mapped => Action::Compact,
            1 if !self.is_mapped => Action::Cluster,
            0..=2 => Action::Purge,
            _ => Action::Change(self.statement()),
        }
    }

    fn statement(&mut self) -> Statement {
        match self.rng.u8(..100) {
            0..30 => Statement::Append(self.rows(12)),
            30..33 => Statement::Overwrite(self.rows(12), None),
            33..37 => {
                let (part, mut rows) = (part(&mut self.rng), self.rows(6));
                rows.iter_mut().for_each(|row| row.part = Some(part.into()));
                Statement::Overwrite(rows, Some(part))
            }
            37..39 => Statement::Delete(None),
            39..62 => Statement::Delete(Some(Condition::random(&mut self.rng))),
            62..83 => {
                let sets = [Set::Next, Set::Null, Set::Part(part(&mut self.rng)), Set::Renumber];
                let mut set = vec![sets[self.rng.usize(..4)]];
                if let (Set::Next | Set::Null, true) = (set[0], self.rng.bool()) {
                    set.push(sets[self.rng.usize(2..4)]);
                }
                Statement::Update(set, (self.rng.u8(..20) > 0).then(|| Condition::random(&mut self.rng)))
            }
            _ => {
                let mut rows = self.rows(8);
                rows.dedup_by_key(|row| row.id);
                let condition = Condition::random(&mut self.rng);
                let clauses = match self.rng.u8(..8) {
                    0..4 => Clauses::Upsert,
                    4 => Clauses::UpsertAndDelete(condition),
                    5 => Clauses::Insert,
                    6 => Clauses::Delete(Some(condition)),
                    _ => Clauses::Delete(None),
                };
                Statement::Merge(rows, clauses)
            }
        }
    }

    /// One row or more, up to a maximum, sorted.
    fn rows(&mut self, most: usize) -> Vec<Row> {
        let count = self.rng.usize(1..=most);
        let row = |rng: &mut Rng| Row {
            id: rng.i64(0..IDS),
            n: (rng.u8(..6) > 0).then(|| rng.i64(0..12)),
            part: (rng.u8(..12) > 0).then(|| part(rng).to_string()),
        };
        let mut rows: Vec<_> = (0..count).map(|_| row(&mut self.rng)).collect();
        rows.sort();
        rows
    }
}
