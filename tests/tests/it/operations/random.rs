//! Random tables, rows and steps from a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use deltalakedb_log::Version;
use deltalakedb_table::{Assignments, Merge, MergeClause, Optimize, SchemaMode, TableSchema};
use fastrand::Rng;

/// A step on a table.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create { rows: Option<RecordBatch>, columns: SchemaRef, partition_by: Vec<String>, properties: Properties },
    Append { rows: RecordBatch, evolution: Option<SchemaMode> },
    Overwrite { rows: RecordBatch, evolution: Option<SchemaMode>, replace_where: Option<String> },
    Delete(Option<String>),
    Update { set: Vec<(String, String)>, filter: Option<String> },
    Merge(Merge, RecordBatch),
    Optimize(Optimize),
    Restore(Version),
    AddColumns(SchemaRef),
    SetProperties(Properties),
    Constrain { name: String, condition: String },
    DropConstraint(String),
}

impl fmt::Display for Step {
    /// Without the rows: the seed has them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            |columns: &SchemaRef| -> Vec<String> { columns.fields().iter().map(|f| f.name().clone()).collect() };
        let shape = |rows: &RecordBatch| format!("{} rows of {:?}", rows.num_rows(), names(&rows.schema()));
        match self {
            Self::Create { rows, columns, partition_by, properties } => {
                let rows = rows.as_ref().map(shape);
                write!(f, "create {:?} by {partition_by:?} with {properties:?}, {rows:?}", names(columns))
            }
            Self::Append { rows, evolution } => write!(f, "append {}, {evolution:?}", shape(rows)),
            Self::Overwrite { rows, evolution, replace_where } => {
                write!(f, "overwrite {replace_where:?} by {}, {evolution:?}", shape(rows))
            }
            Self::Merge(merge, rows) => write!(f, "merge {}, {merge:?}", shape(rows)),
            Self::AddColumns(columns) => write!(f, "add columns {:?}", names(columns)),
            other => write!(f, "{other:?}"),
        }
    }
}

pub(crate) type Properties = BTreeMap<String, String>;

/// The state on which the next step depends.
#[derive(Clone, Debug)]
pub(crate) struct TableState {
    pub(crate) columns: SchemaRef,
    pub(crate) partition_by: Vec<String>,
    pub(crate) version: Version,
}

/// Random choices, reproducible from a seed.
pub(crate) struct Random(Rng);

const TEXTS: &[&str] = &["a", "b", "a b", "ü", "a/b", "x=y", "%41", "it's", "null", "?#&", ""];
const PARTITIONS: &[&str] = &["part", "pday", "pnum", "pflag", "pprice", "pat"];

/// All possible columns of a table.
fn columns() -> Vec<Field> {
    use DataType as T;
    let list = |of: T| T::List(Field::new("element", of, true).into());
    let structure = |of: &[(&str, T)]| T::Struct(of.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect());
    let entries = Fields::from(vec![Field::new("key", T::Utf8, false), Field::new("value", T::Int64, true)]);
    let micros = |zone: Option<&str>| T::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let home = structure(&[("zip", T::Utf8), ("x", T::Float64)]);
    let types = [
        ("n", T::Int32),
        ("s", T::Int16),
        ("b", T::Int8),
        ("price", T::Decimal128(12, 3)),
        ("big", T::Decimal128(38, 10)),
        ("at", micros(Some("UTC"))),
        ("local", micros(None)),
        ("day", T::Date32),
        ("note", T::Utf8),
        ("flag", T::Boolean),
        ("x", T::Float64),
        ("y", T::Float32),
        ("raw", T::Binary),
        ("who", structure(&[("first", T::Utf8), ("age", T::Int32), ("home", home)])),
        ("tags", list(T::Utf8)),
        ("path", list(structure(&[("x", T::Int32), ("y", T::Utf8)]))),
        ("scores", T::Map(Field::new("key_value", T::Struct(entries), false).into(), false)),
        ("part", T::Utf8),
        ("pday", T::Date32),
        ("pnum", T::Int32),
        ("pflag", T::Boolean),
        ("pprice", T::Decimal128(5, 2)),
        ("pat", micros(Some("UTC"))),
    ];
    types.into_iter().map(|(name, t)| Field::new(name, t, true)).collect()
}

/// Columns in Delta's types.
fn delta(fields: Vec<Field>) -> SchemaRef {
    TableSchema::from_arrow(&Schema::new(fields)).unwrap().to_arrow().unwrap()
}

fn is_nested(t: &DataType) -> bool {
    matches!(t, DataType::Struct(_) | DataType::List(_) | DataType::Map(..))
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.0.u8(..100) < percent
    }

    fn any<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.0.usize(..of.len())].clone()
    }

    /// The first step: a table with an id, a few of all columns, and perhaps partitions.
    pub(super) fn create(&mut self) -> Step {
        let required = self.chance(60);
        let mut fields = vec![Field::new("id", DataType::Int64, !required)];
        for field in columns() {
            let likely = if PARTITIONS.contains(&field.name().as_str()) { 20 } else { 45 };
            if self.chance(likely) {
                fields.push(field);
            }
        }
        let is_partition = |f: &&Field| PARTITIONS.contains(&f.name().as_str());
        let mut partition_by: Vec<_> = fields.iter().filter(is_partition).map(|f| f.name().clone()).collect();
        partition_by.truncate(2);
        if fields.len() == 1 + partition_by.len() {
            fields.push(Field::new("note", DataType::Utf8, true));
        }
        let columns = delta(fields);
        let mut properties = Properties::new();
        if self.chance(40) {
            properties.insert("delta.enableChangeDataFeed".into(), "true".into());
        }
        let rows = self.chance(30).then(|| {
            let count = self.0.usize(1..8);
            self.rows(&columns, count)
        });
        Step::Create { rows, columns, partition_by, properties }
    }

    /// The next step of a table.
    pub(crate) fn step(&mut self, table: &TableState) -> Step {
        match self.0.u8(..100) {
            0..20 => {
                let evolution = self.evolution();
                let rows = self.shaped(table, evolution);
                Step::Append { rows, evolution }
            }
            20..28 => {
                let evolution = if self.chance(30) { Some(SchemaMode::Overwrite) } else { self.evolution() };
                let rows = self.shaped(table, evolution);
                Step::Overwrite { rows, evolution, replace_where: None }
            }
            28..36 => self.replace(table),
            36..48 => {
                let all = self.chance(8);
                Step::Delete((!all).then(|| self.condition(table, "")))
            }
            48..60 => {
                let filter = self.chance(85).then(|| self.condition(table, ""));
                Step::Update { set: self.assignments(table, ""), filter }
            }
            60..74 => self.merge(table),
            74..82 => {
                let mut how = Optimize { target_size: NonZeroU64::new(1 << 27), ..Optimize::default() };
                if self.chance(50) {
                    let may = |f: &&FieldRef| !is_nested(f.data_type()) && !table.partition_by.contains(f.name());
                    let names: Vec<_> = table.columns.fields().iter().filter(may).map(|f| f.name().clone()).collect();
                    how.zorder = vec![self.any(&names)];
                }
                Step::Optimize(how)
            }
            82..87 => Step::Restore(self.0.u64(..=table.version)),
            87..90 => match self.new_columns(table, 2) {
                Some(new) => Step::AddColumns(new),
                None => Step::Delete(Some("id IS NULL".into())),
            },
            90..95 => {
                let on = self.chance(50).to_string();
                let property = match self.0.u8(..4) {
                    0 | 1 => ("delta.enableChangeDataFeed", on),
                    2 => ("delta.appendOnly", if self.chance(20) { on } else { "false".into() }),
                    _ => ("delta.dataSkippingNumIndexedCols", self.any(&["1", "2", "-1"]).into()),
                };
                Step::SetProperties([(property.0.to_string(), property.1)].into())
            }
            95..99 => {
                let condition =
                    if self.chance(50) { "id IS NULL OR id > -1000".into() } else { self.condition(table, "") };
                Step::Constrain { name: self.any(&["one", "two"]).into(), condition }
            }
            _ => Step::DropConstraint(self.any(&["one", "two"]).into()),
        }
    }

    fn evolution(&mut self) -> Option<SchemaMode> {
        self.chance(25).then_some(SchemaMode::Merge)
    }

    /// Rows for a write: with the table's columns, with some and others when columns are added, or with new ones when
    /// they are replaced.
    fn shaped(&mut self, table: &TableState, evolution: Option<SchemaMode>) -> RecordBatch {
        self.shaped_with(table, evolution, 2)
    }

    fn shaped_with(&mut self, table: &TableState, evolution: Option<SchemaMode>, most: usize) -> RecordBatch {
        let mut fields: Vec<_> = table.columns.fields().iter().map(|f| f.as_ref().clone()).collect();
        if evolution.is_some() {
            let keep: Vec<_> = fields.iter().map(|_| self.chance(85)).collect();
            let needed = |f: &Field| !f.is_nullable() || table.partition_by.contains(f.name()) || f.name() == "id";
            fields = fields.into_iter().zip(keep).filter(|(f, keep)| *keep || needed(f)).map(|(f, _)| f).collect();
            fields.extend(self.new_columns(table, most).iter().flat_map(|s| s.fields()).map(|f| f.as_ref().clone()));
            if fields.iter().all(|f| table.partition_by.contains(f.name())) {
                fields = table.columns.fields().iter().map(|f| f.as_ref().clone()).collect();
            }
        }
        let count = self.0.usize(1..7);
        self.rows(&Arc::new(Schema::new(fields)), count)
    }

    /// A few columns that the table does not have.
    fn new_columns(&mut self, table: &TableState, most: usize) -> Option<SchemaRef> {
        let may = |f: &Field| table.columns.column_with_name(f.name()).is_none() && !f.name().starts_with('p');
        let left: Vec<_> = columns().into_iter().filter(may).collect();
        let count = self.0.usize(1..=most).min(left.len());
        let new = self.0.choose_multiple(left, count);
        (!new.is_empty()).then(|| delta(new))
    }

    /// An overwrite of a part: of a partition, or by a condition, usually with rows that satisfy it.
    fn replace(&mut self, table: &TableState) -> Step {
        let count = self.0.usize(1..5);
        let rows = self.rows(&table.columns, count);
        if let (Some(name), true) = (table.partition_by.first(), self.chance(60)) {
            let one = rows.slice(0, 1);
            let again = arrow::compute::take_record_batch(&one, &Int32Array::from(vec![0; count])).unwrap();
            let column = one.column_by_name(name).unwrap();
            let replace_where = Some(equals(name, column, 0));
            return Step::Overwrite { rows: again, evolution: None, replace_where };
        }
        let ids = Int64Array::from((0..count).map(|_| self.0.i64(10..20)).collect::<Vec<_>>());
        let mut arrays = rows.columns().to_vec();
        arrays[rows.schema().index_of("id").unwrap()] = Arc::new(ids);
        let rows = RecordBatch::try_new(rows.schema(), arrays).unwrap();
        let wide = if self.chance(85) { "id >= 10 AND id < 20" } else { "id < 12" };
        Step::Overwrite { rows, evolution: None, replace_where: Some(wide.into()) }
    }

    fn merge(&mut self, table: &TableState) -> Step {
        let evolve = self.chance(20);
        // At most one: delta-rs adds several in any order.
        let mut rows = self.shaped_with(table, evolve.then_some(SchemaMode::Merge), 1);
        // Each id once: two source rows for one of the table's are ambiguous.
        let first = self.0.i64(-3..15);
        let ids = Int64Array::from_iter_values(first..first + rows.num_rows() as i64);
        let mut arrays = rows.columns().to_vec();
        arrays[rows.schema().index_of("id").unwrap()] = Arc::new(ids);
        rows = RecordBatch::try_new(rows.schema(), arrays).unwrap();
        let mut on = "target.id = source.id".to_string();
        if let (Some(partition), true) = (table.partition_by.first(), self.chance(20)) {
            on += &format!(" AND target.{partition} = source.{partition}");
        }
        let mut merge = Merge::on(on);
        merge.evolve_schema = evolve;
        let condition = |this: &mut Self| this.chance(35).then(|| this.condition(table, "target."));
        if self.chance(25) {
            merge = merge.when(MergeClause::MatchedDelete { condition: Some(self.condition(table, "target.")) });
        }
        if self.chance(70) {
            let set = if self.chance(60) {
                Assignments::All
            } else {
                Assignments::Columns(self.assignments(table, "target."))
            };
            merge = merge.when(MergeClause::MatchedUpdate { condition: condition(self), set });
        }
        if self.chance(70) || merge.clauses.is_empty() {
            let condition = self.chance(25).then(|| "source.id > 2".to_string());
            merge = merge.when(MergeClause::NotMatchedInsert { condition, values: Assignments::All });
        }
        if self.chance(20) {
            merge = merge.when(MergeClause::NotMatchedBySourceDelete { condition: condition(self) });
        } else if self.chance(20) {
            let set = self.assignments(table, "target.");
            merge = merge.when(MergeClause::NotMatchedBySourceUpdate { condition: condition(self), set });
        }
        Step::Merge(merge, rows)
    }

    /// New values of a column or two; sometimes of a missing column, or with a wrong type.
    fn assignments(&mut self, table: &TableState, of: &str) -> Vec<(String, String)> {
        let fields: Vec<_> = table.columns.fields().iter().filter(|f| !is_nested(f.data_type())).cloned().collect();
        let count = self.0.usize(1..3).min(fields.len());
        let chosen = self.0.choose_multiple(fields, count);
        let mut set: Vec<_> = chosen.iter().map(|f| (f.name().clone(), self.value_of(f, of))).collect();
        // A missing column is rejected here, and added silently by delta-rs: the results cannot be compared.
        if self.0.u8(..40) == 0 {
            set.push(("id".into(), "'no number'".into()));
        }
        set.dedup_by(|a, b| a.0 == b.0);
        set
    }

    fn value_of(&mut self, field: &Field, of: &str) -> String {
        use DataType as T;
        let name = field.name();
        if self.chance(10) {
            return "NULL".into();
        }
        match field.data_type() {
            T::Int64 => self.any(&[format!("{of}{name} + 10"), "7".into(), format!("-{of}{name}")]),
            T::Int8 | T::Int16 | T::Int32 => self.any(&[format!("{of}{name} + 1"), "3".into()]),
            T::Float32 | T::Float64 => self.any(&[format!("{of}{name} * 2"), "0.5".into()]),
            T::Utf8 => {
                let text = self.any(TEXTS).replace('\'', "''");
                format!("'{text}'")
            }
            T::Boolean => self.any(&["true".into(), format!("NOT {of}{name}")]),
            T::Date32 => "CAST('2024-02-29' AS DATE)".into(),
            T::Decimal128(..) => self.any(&["1.5".into(), format!("{of}{name}")]),
            _ => format!("{of}{name}"),
        }
    }

    /// A condition over some columns.
    fn condition(&mut self, table: &TableState, of: &str) -> String {
        let one = self.comparison(table, of);
        match self.0.u8(..10) {
            0 | 1 => format!("{one} AND {}", self.comparison(table, of)),
            2 | 3 => format!("{one} OR {}", self.comparison(table, of)),
            4 => format!("NOT ({one})"),
            _ => one,
        }
    }

    fn comparison(&mut self, table: &TableState, of: &str) -> String {
        use DataType as T;
        let field = if self.chance(40) {
            table.columns.field_with_name("id").unwrap().clone()
        } else {
            self.any(table.columns.fields()).as_ref().clone()
        };
        let name = format!("{of}{}", field.name());
        if self.chance(10) {
            return self.any(&[format!("{name} IS NULL"), format!("{name} IS NOT NULL")]);
        }
        let how = self.any(&["=", "<", ">=", "<>"]);
        match field.data_type() {
            T::Int64 | T::Int32 | T::Int16 | T::Int8 => match self.0.u8(..4) {
                0 => format!("{name} IN ({}, {})", self.0.i8(0..8), self.0.i8(0..20)),
                1 => format!("{name} % 2 = 0"),
                _ => format!("{name} {how} {}", self.0.i8(-2..16)),
            },
            T::Float32 | T::Float64 => format!("{name} {how} {}.5", self.0.i8(-2..9)),
            T::Decimal128(..) => format!("{name} {how} {}.25", self.0.i8(0..9)),
            T::Utf8 => {
                let text = self.any(TEXTS).replace('\'', "''");
                format!("{name} {how} '{text}'")
            }
            T::Boolean => format!("{name} = {}", self.chance(50)),
            T::Date32 => format!("{name} {how} CAST('2024-01-0{}' AS DATE)", self.0.u8(1..9)),
            T::Timestamp(_, Some(_)) => {
                format!("{name} {how} CAST('2024-01-0{}T12:00:00Z' AS TIMESTAMP)", self.0.u8(1..9))
            }
            T::Struct(_) if field.name() == "who" => format!("{name}['age'] {how} {}", self.0.i8(0..9)),
            _ => format!("{name} IS NOT NULL"),
        }
    }

    /// Rows of these columns.
    pub(super) fn rows(&mut self, columns: &SchemaRef, count: usize) -> RecordBatch {
        let arrays: Vec<_> =
            columns.fields().iter().map(|f| self.array(f.data_type(), count, f.is_nullable())).collect();
        RecordBatch::try_new(columns.clone(), arrays).unwrap()
    }

    fn array(&mut self, t: &DataType, count: usize, nullable: bool) -> ArrayRef {
        use DataType as T;
        let nulls: Vec<bool> = (0..count).map(|_| !nullable || !self.chance(15)).collect();
        let none = |n: usize| !nulls[n];
        macro_rules! values {
            ($array:ident, $value:expr) => {{
                let value = $value;
                Arc::new($array::from_iter((0..count).map(|n| {
                    let value = value(self);
                    (!none(n)).then_some(value)
                })))
            }};
        }
        match t {
            T::Int64 => values!(Int64Array, |r: &mut Self| r.0.i64(-2..16)),
            T::Int32 => values!(Int32Array, |r: &mut Self| r.0.i32(-2..16)),
            T::Int16 => values!(Int16Array, |r: &mut Self| r.0.i16(-2..16)),
            T::Int8 => values!(Int8Array, |r: &mut Self| r.0.i8(-2..16)),
            T::Float64 => values!(Float64Array, |r: &mut Self| r.any(&[0.5, -1.5, 1e300, 3.25, 0.0])),
            T::Float32 => values!(Float32Array, |r: &mut Self| r.any(&[0.5_f32, -1.5, 0.1, 1e30])),
            T::Boolean => values!(BooleanArray, |r: &mut Self| r.chance(50)),
            T::Utf8 => values!(StringArray, |r: &mut Self| r.any(TEXTS)),
            T::Binary => values!(BinaryArray, |r: &mut Self| r.any(&[&b"\x00\xff"[..], b"", b"raw"])),
            T::Date32 => values!(Date32Array, |r: &mut Self| r.any(&[19723, 19725, 19730, -1, 0])),
            T::Decimal128(p, s) => {
                let values = (0..count).map(|n| (!none(n)).then(|| self.0.i128(-9_999..99_999)));
                let values = Decimal128Array::from_iter(values).with_precision_and_scale(*p, *s).unwrap();
                Arc::new(values)
            }
            T::Timestamp(_, zone) => {
                let micros = [1_704_110_400_000_000_i64, 1_704_456_000_123_456, -1, 0];
                let values = (0..count).map(|n| (!none(n)).then(|| self.any(&micros)));
                Arc::new(TimestampMicrosecondArray::from_iter(values).with_timezone_opt(zone.clone()))
            }
            T::Struct(fields) => {
                let children = fields.iter().map(|f| self.array(f.data_type(), count, f.is_nullable())).collect();
                Arc::new(StructArray::try_new(fields.clone(), children, Some(NullBuffer::from(nulls))).unwrap())
            }
            T::List(element) => {
                let lengths: Vec<_> = (0..count).map(|n| if none(n) { 0 } else { self.0.usize(0..3) }).collect();
                let values = self.array(element.data_type(), lengths.iter().sum(), element.is_nullable());
                let offsets = OffsetBuffer::from_lengths(lengths);
                Arc::new(ListArray::try_new(element.clone(), offsets, values, Some(NullBuffer::from(nulls))).unwrap())
            }
            T::Map(entries, sorted) => {
                let T::Struct(pair) = entries.data_type() else { panic!("a map of {entries}") };
                let lengths: Vec<_> = (0..count).map(|n| if none(n) { 0 } else { self.0.usize(0..3) }).collect();
                let keys = lengths.iter().flat_map(|l| (0..*l).map(|k| Some(format!("k{k}"))));
                let keys: ArrayRef = Arc::new(StringArray::from_iter(keys));
                let values = self.array(pair[1].data_type(), keys.len(), true);
                let pairs = StructArray::try_new(pair.clone(), vec![keys, values], None).unwrap();
                let offsets = OffsetBuffer::from_lengths(lengths);
                let nulls = Some(NullBuffer::from(nulls));
                Arc::new(MapArray::try_new(entries.clone(), offsets, pairs, nulls, *sorted).unwrap())
            }
            other => panic!("no values of {other} here"),
        }
    }
}

/// The condition that a partition column has the value of a row.
fn equals(name: &str, column: &ArrayRef, row: usize) -> String {
    let text = deltalakedb_tests::text(column, row).replace('\'', "''");
    match column.data_type() {
        _ if column.is_null(row) => format!("{name} IS NULL"),
        DataType::Utf8 => format!("{name} = '{text}'"),
        DataType::Date32 => format!("{name} = CAST('{text}' AS DATE)"),
        DataType::Timestamp(..) => format!("{name} = CAST('{text}' AS TIMESTAMP)"),
        _ => format!("{name} = {text}"),
    }
}
