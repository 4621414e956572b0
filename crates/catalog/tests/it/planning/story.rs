//! Random tables: their columns, the rows of their files, their commits, and predicates.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalakedb_log::action::{Add, DeletionVector, DomainMetadata, Metadata, Protocol, Remove, StringMap};
use deltalakedb_log::conformance::actions;
use deltalakedb_log::predicate::{Comparison, Literal};
use deltalakedb_log::schema::Schema;
use deltalakedb_log::{Action, Predicate, Version};
use fastrand::Rng;

use super::Question;
use super::rows::{may_be, position};
use super::writers::{Members, partition_text, statistics};
use crate::databases::Database;

/// Files added to each table.
pub(super) const FILES: usize = 500;

/// The history of a table, version by version.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) seed: u64,
    pub(super) columns: Vec<Column>,
    /// All files, including removed ones.
    pub(super) files: Vec<File>,
    pub(super) versions: Vec<State>,
    /// Its files may have deletion vectors.
    pub(super) hides: bool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) actions: Vec<Action>,
    pub(super) schema: Arc<Schema>,
    /// The live files by path.
    pub(super) live: BTreeMap<String, usize>,
}

#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) add: Add,
    /// One value for each column; `None` is null.
    pub(super) rows: Vec<Vec<Option<Literal>>>,
    /// This many rows, the first ones, are deleted.
    pub(super) hidden: usize,
    /// Its statistics include the number of rows.
    pub(super) counted: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) physical: String,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    pub(super) partition: bool,
    /// Added by a later version.
    pub(super) late: bool,
    pub(super) values: Values,
}

/// How the values of a column are distributed over the files.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// Each file has its own values.
    Clustered,
    /// The same few values in every file.
    Few(Vec<Literal>),
    /// Any value, unusual ones first.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Short,
    Integer,
    Long,
    Text,
    Date,
    Timestamp,
    TimestampNtz,
    Decimal(u8, i8),
    Double,
    Float,
    Boolean,
}

/// Mostly ordinary letters, then unusual texts.
const WORDS: [&str; 16] = [
    "",
    "a",
    "b",
    "ab",
    "A",
    "it's",
    "\"quoted\"",
    "nul\0inside",
    "\0",
    "😀",
    "😀😀",
    "\u{ffff}",
    "\u{10ffff}",
    "é",
    "trailing ",
    "%5C\\",
];
/// Longer than the stored prefix.
const COMMON: &str = "https://example.com/a/path/that/all/of/them/share/";
const DAY: i64 = 86_400_000_000;
/// Year 1 and year 9999.
const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;

impl Kind {
    fn draw(rng: &mut Rng) -> Self {
        match rng.u8(0..17) {
            0 => Kind::Short,
            1 | 2 => Kind::Integer,
            3 | 4 => Kind::Long,
            5..=7 => Kind::Text,
            8 => Kind::Date,
            9 => Kind::Timestamp,
            10 => Kind::TimestampNtz,
            11 => Kind::Decimal(38, 10),
            12 => Kind::Decimal(10, 2),
            13 => Kind::Double,
            14 => Kind::Decimal(rng.u8(4..=38), 3),
            15 => Kind::Float,
            _ => Kind::Boolean,
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Kind::Decimal(precision, scale) => format!("decimal({precision},{scale})"),
            Kind::Short => "short".into(),
            Kind::Integer => "integer".into(),
            Kind::Long => "long".into(),
            Kind::Text => "string".into(),
            Kind::Date => "date".into(),
            Kind::Timestamp => "timestamp".into(),
            Kind::TimestampNtz => "timestamp_ntz".into(),
            Kind::Double => "double".into(),
            Kind::Float => "float".into(),
            Kind::Boolean => "boolean".into(),
        }
    }

    /// The nearest value in the range of the type.
    fn fit(self, n: i128) -> Literal {
        let within = |low: i128, high: i128| n.clamp(low, high) as i64;
        match self {
            Kind::Short => Literal::Long(within(i16::MIN.into(), i16::MAX.into())),
            Kind::Integer => Literal::Long(within(i32::MIN.into(), i32::MAX.into())),
            Kind::Date => Literal::Date(within((*DAYS.start()).into(), (*DAYS.end()).into()) as i32),
            Kind::Timestamp | Kind::TimestampNtz => {
                let (low, high) = (i128::from(*DAYS.start()), i128::from(*DAYS.end()));
                Literal::Timestamp(within(low * i128::from(DAY), high * i128::from(DAY)))
            }
            Kind::Decimal(precision, scale) => {
                let limit = 10_i128.pow(precision.into()) - 1;
                Literal::Decimal(n.clamp(-limit, limit), scale)
            }
            Kind::Double => Literal::Double(n as f64 / 4.0),
            Kind::Float => Literal::Double(f64::from(n as f32 / 10.0)),
            Kind::Boolean => Literal::Boolean(n & 1 == 1),
            Kind::Text => Literal::String(format!("k{n:08}")),
            Kind::Long => Literal::Long(within(i64::MIN.into(), i64::MAX.into())),
        }
    }

    fn any(self, rng: &mut Rng) -> Literal {
        let near = i128::from(rng.i32(-20..20));
        match (self, rng.u8(0..5)) {
            (Kind::Text, 0 | 1) => Literal::String((*rng.choice(WORDS.iter()).unwrap()).into()),
            (Kind::Text, 2) => Literal::String(format!("{COMMON}{}", rng.choice(WORDS.iter()).unwrap())),
            (Kind::Text, 3) => {
                let words: Vec<_> = (0..rng.usize(1..12)).map(|_| *rng.choice(WORDS.iter()).unwrap()).collect();
                Literal::String(words.concat())
            }
            (Kind::Double | Kind::Float, 0 | 1) => {
                let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, -5e-324, 1e16, 0.1];
                let odd = *rng.choice(odd.iter()).unwrap();
                Literal::Double(if self == Kind::Float { f64::from(odd as f32) } else { odd })
            }
            (Kind::Double, 2) => Literal::Double(f64::from_bits(rng.u64(..))),
            (Kind::Float, 2) => Literal::Double(f64::from(f32::from_bits(rng.u32(..)))),
            (Kind::Long, 0) => self.fit((1 << 53) + near),
            (Kind::Timestamp | Kind::TimestampNtz, 0 | 1) => self.fit(1_700_000_000_000_000 + near * 333),
            (Kind::Date, 0 | 1) => self.fit(19_700 + near),
            (_, 0) => self.fit(*rng.choice(&[i128::MIN, i128::MAX]).unwrap()),
            (_, 1) => self.fit(rng.i128(..)),
            (_, 2) => self.fit(rng.i64(..).into()),
            _ => self.fit(near),
        }
    }

    /// A value that belongs to the file with this number.
    fn clustered(self, rng: &mut Rng, file: usize) -> Literal {
        let n = file as i128 * 10 + i128::from(rng.u8(0..25));
        match self {
            Kind::Date => self.fit(19_000 + n / 10),
            Kind::Timestamp | Kind::TimestampNtz => self.fit(1_700_000_000_000_000 + n * 100 + rng.i128(0..1000)),
            Kind::Boolean => Literal::Boolean(file.is_multiple_of(3)),
            _ => self.fit(n - 1000),
        }
    }
}

impl Column {
    fn draw(&self, rng: &mut Rng, file: usize) -> Literal {
        match &self.values {
            Values::Clustered => self.kind.clustered(rng, file),
            Values::Few(values) => rng.choice(values).unwrap().clone(),
            Values::Any => self.kind.any(rng),
        }
    }
}

impl Story {
    pub(super) fn new(seed: u64, rng: &mut Rng) -> Self {
        let columns = columns(rng);
        let mut story = Self { seed, columns, files: Vec::new(), versions: Vec::new(), hides: true };
        // A clean table has statistics everywhere: it can be counted, and has a minimum and a maximum.
        let clean = rng.u8(0..10) < 4;
        story.hides = !clean || rng.bool();
        let parts = if rng.bool() { 1 } else { rng.usize(2..5) };
        let has_late = story.columns.iter().any(|c| c.late);
        let metadata = story.metadata(rng, false);
        let mut create = vec![Action::Protocol(protocol()), Action::Metadata(metadata.clone())];
        if rng.u8(0..5) == 0 {
            create.push(Action::DomainMetadata(story.clustering(rng)));
        }
        story.push(create, BTreeMap::new());
        for part in 0..parts {
            let mut actions = Vec::new();
            let mut live = story.newest().live.clone();
            let late = has_late && part + 1 == parts;
            if late {
                let mut metadata = metadata.clone();
                metadata.schema_string = story.schema_string(true);
                actions.push(Action::Metadata(metadata));
            }
            if part > 0 {
                story.change(rng, &mut actions, &mut live, clean);
            }
            for _ in 0..FILES / parts {
                let n = story.files.len();
                let file = story.file(rng, n, late, clean);
                live.insert(file.add.path.clone(), n);
                actions.push(Action::add(file.add.clone()));
                story.files.push(file);
            }
            story.push(actions, live);
        }
        story
    }

    pub(super) fn newest(&self) -> &State {
        &self.versions[self.versions.len() - 1]
    }

    pub(super) fn push(&mut self, actions: Vec<Action>, live: BTreeMap<String, usize>) {
        let metadata = actions.iter().find_map(|action| match action {
            Action::Metadata(m) => Some(m),
            _ => None,
        });
        let schema = match metadata {
            Some(m) => Arc::new(Schema::parse(&m.schema_string, &m.partition_columns).unwrap()),
            None => self.newest().schema.clone(),
        };
        self.versions.push(State { actions, schema, live });
    }

    /// The changes of later commits to existing files: remove, add again, rewrite, delete rows.
    fn change(&mut self, rng: &mut Rng, actions: &mut Vec<Action>, live: &mut BTreeMap<String, usize>, clean: bool) {
        let before = live.clone();
        let gone: Vec<_> = (0..self.files.len()).filter(|n| !before.contains_key(&self.files[*n].add.path)).collect();
        for (path, n) in before {
            match rng.u8(0..20) {
                0 | 1 => {
                    actions.push(Action::Remove(Remove::of(&self.files[n].add, 5, true)));
                    live.remove(&path);
                }
                2 => {
                    // The same file with other statistics.
                    let file = self.described_anew(rng, n, clean);
                    actions.push(Action::add(file.add.clone()));
                    live.insert(path, self.files.len());
                    self.files.push(file);
                }
                3 if self.hides && self.files[n].hidden == 0 => {
                    let mut file = self.files[n].clone();
                    file.hide(rng);
                    actions.push(Action::Remove(Remove::of(&self.files[n].add, 5, true)));
                    // A commit has one add and one remove for a path.
                    actions.push(Action::add(file.add.clone()));
                    live.insert(path, self.files.len());
                    self.files.push(file);
                }
                _ => {}
            }
        }
        for n in gone.into_iter().take(rng.usize(0..20)) {
            let path = self.files[n].add.path.clone();
            if live.contains_key(&path) {
                continue;
            }
            actions.push(Action::add(self.files[n].add.clone()));
            live.insert(path, n);
        }
    }

    fn schema_string(&self, late: bool) -> String {
        let field = |c: &Column| {
            let metadata = if c.name == c.physical {
                serde_json::json!({})
            } else {
                serde_json::json!({"delta.columnMapping.physicalName": c.physical})
            };
            serde_json::json!({"name": c.name, "type": c.kind.name(), "nullable": c.nullable, "metadata": metadata})
        };
        let fields: Vec<_> = self.columns.iter().filter(|c| late || !c.late).map(field).collect();
        serde_json::json!({"type": "struct", "fields": fields}).to_string()
    }

    pub(super) fn metadata(&self, rng: &mut Rng, late: bool) -> Metadata {
        let mut metadata = actions::metadata("{}");
        metadata.schema_string = self.schema_string(late);
        metadata.partition_columns = self.columns.iter().filter(|c| c.partition).map(|c| c.name.clone()).collect();
        if rng.u8(0..4) == 0 {
            let mut names: Vec<_> = self.columns.iter().map(|c| c.name.clone()).collect();
            rng.shuffle(&mut names);
            names.truncate(rng.usize(0..4));
            metadata.configuration.insert("deltalakedb.planning.columns".into(), Some(names.join(" ,")));
        }
        metadata
    }

    fn clustering(&self, rng: &mut Rng) -> DomainMetadata {
        let column = &rng.choice(&self.columns).unwrap().physical;
        let configuration = serde_json::json!({"clusteringColumns": [[column], ["no", "such"]]}).to_string();
        DomainMetadata { domain: "delta.clustering".into(), configuration, removed: false, extra: Default::default() }
    }

    pub(super) fn file(&self, rng: &mut Rng, n: usize, late: bool, clean: bool) -> File {
        let count = rng.usize(1..6);
        let mut rows = vec![Vec::with_capacity(self.columns.len()); count];
        for column in &self.columns {
            // Before a column is added, it is null everywhere.
            let absent = column.late && !late;
            let all_null = column.nullable && rng.u8(0..12) == 0;
            let same = (column.partition || rng.u8(0..4) == 0).then(|| column.draw(rng, n));
            for row in &mut rows {
                let null = absent || all_null || (!column.partition && column.nullable && rng.u8(0..8) == 0);
                let value = (!null).then(|| same.clone().unwrap_or_else(|| column.draw(rng, n)));
                row.push(value.filter(|v| !(column.partition && *v == Literal::String(String::new()))));
            }
        }
        let mut file =
            File { add: actions::file(&format!("d%20{}/f-{n}", n % 7), 0, 0), rows, hidden: 0, counted: false };
        file.add.size = rng.i64(0..1 << 40);
        file.add.partition_values = self.partition_values(rng, &file.rows[0]);
        self.describe(rng, &mut file, late, clean);
        if self.hides && rng.u8(0..15) == 0 {
            file.hide(rng);
        }
        file
    }

    /// The file with the statistics of another writer.
    fn described_anew(&self, rng: &mut Rng, n: usize, clean: bool) -> File {
        let mut file = self.files[n].clone();
        let wide = file.add.stats.as_ref().is_some_and(|s| s.contains("tightBounds"));
        if !wide {
            self.describe(rng, &mut file, false, clean);
        }
        file
    }

    fn partition_values(&self, rng: &mut Rng, row: &[Option<Literal>]) -> StringMap {
        let columns = self.columns.iter().zip(row).filter(|(column, _)| column.partition);
        let value = |(column, value): (&Column, &Option<Literal>)| {
            let value = match (value, rng.u8(0..3)) {
                (Some(value), _) => Some(partition_text(rng, column.kind, value)),
                (None, 0) => None,
                (None, 1) => Some(String::new()),
                (None, _) => return None,
            };
            Some((column.physical.clone(), value))
        };
        columns.filter_map(value).collect()
    }

    /// Gives a file the statistics of some writer.
    fn describe(&self, rng: &mut Rng, file: &mut File, late: bool, clean: bool) {
        let style = if clean { 9 } else { rng.u8(0..20) };
        if style == 0 {
            (file.add.stats, file.counted) = (rng.choice([None, Some(String::new())]).unwrap(), false);
            return;
        }
        let partial = style < 5;
        let lost = |rng: &mut Rng| partial && rng.u8(0..3) == 0;
        let (mut min, mut max, mut nulls) = (Members::default(), Members::default(), Members::default());
        for (i, column) in self.columns.iter().enumerate().filter(|(_, c)| !c.partition && (late || !c.late)) {
            let values: Vec<&Literal> = file.rows.iter().filter_map(|row| row[i].as_ref()).collect();
            let (least, most) = statistics(rng, column.kind, &values);
            if let Some(text) = least.filter(|_| !lost(rng)) {
                min.push(&column.physical, &text);
            }
            if let Some(text) = most.filter(|_| !lost(rng)) {
                max.push(&column.physical, &text);
            }
            if !lost(rng) {
                nulls.push(&column.physical, &(file.rows.len() - values.len()).to_string());
            }
        }
        let mut all = Members::default();
        file.counted = !(partial && rng.u8(0..8) == 0);
        if file.counted {
            all.push("numRecords", &file.rows.len().to_string());
        }
        let parts = [("minValues", min), ("maxValues", max), ("nullCount", nulls)];
        for (name, members) in parts {
            if !partial || rng.u8(0..6) > 0 {
                all.push(name, &members.object());
            }
        }
        if rng.u8(0..4) == 0 {
            all.push("tightBounds", "true");
        }
        file.add.stats = Some(all.object());
    }

    pub(super) fn predicate(&self, rng: &mut Rng, depth: u8) -> Predicate {
        let several = |rng: &mut Rng| (0..rng.usize(1..4)).map(|_| self.predicate(rng, depth - 1)).collect::<Vec<_>>();
        match rng.u8(0..10) {
            0 | 1 if depth > 0 => Predicate::And(several(rng)),
            2 | 3 if depth > 0 => Predicate::Or(several(rng)),
            4 if depth > 0 => Predicate::Not(Box::new(self.predicate(rng, depth - 1))),
            _ => self.leaf(rng),
        }
    }

    /// Whether SQL may correctly exclude more files than their statistics, condition by condition: where it uses range scans, it
    /// detects that several conditions cannot hold together; it also compares decimals of any scale, and knows the
    /// limits of integers.
    pub(super) fn sql_may_know_more(&self, database: Database, p: &Predicate, want: bool) -> bool {
        let rescaled = |c: &String, literals: &[Literal]| {
            let kind = position(c).map(|at| self.columns[at].kind);
            literals.iter().any(|l| matches!((l, kind), (Literal::Decimal(_, s), Some(Kind::Decimal(_, t))) if *s != t))
        };
        match p {
            Predicate::And(parts) | Predicate::Or(parts) => {
                let all_hold = parts.len() > 1 && matches!(p, Predicate::And(_)) == want;
                (all_hold && database != Database::DuckDb)
                    || parts.iter().any(|p| self.sql_may_know_more(database, p, want))
            }
            Predicate::Not(p) => self.sql_may_know_more(database, p, !want),
            Predicate::Compare(_, _, Literal::Long(i64::MIN | i64::MAX)) => true,
            Predicate::Compare(c, _, literal) => rescaled(c, std::slice::from_ref(literal)),
            Predicate::In(c, literals) => rescaled(c, literals),
            _ => false,
        }
    }

    fn leaf(&self, rng: &mut Rng) -> Predicate {
        let at = rng.usize(0..self.columns.len());
        let column = &self.columns[at];
        let name = match rng.u8(0..20) {
            0 => column.name.to_uppercase(),
            1 => "no such column".into(),
            _ => column.name.clone(),
        };
        use Comparison::*;
        match rng.u8(0..24) {
            0 => Predicate::Unknown,
            1 => Predicate::Constant(rng.bool()),
            2 | 3 => Predicate::IsNull(name),
            4 | 5 => Predicate::IsNotNull(name),
            6..=8 => {
                let count = if rng.u8(0..10) == 0 { 70 } else { rng.usize(1..5) };
                Predicate::In(name, (0..count).map(|_| self.literal(rng, at)).collect())
            }
            9 | 10 => {
                let text = match self.literal(rng, at) {
                    Literal::String(text) => text,
                    other => other.to_string(),
                };
                let keep = rng.usize(0..=text.chars().count());
                Predicate::StartsWith(name, text.chars().take(keep).collect())
            }
            _ => {
                let op = *rng.choice(&[Eq, NotEq, Lt, LtEq, Gt, GtEq]).unwrap();
                Predicate::Compare(name, op, self.literal(rng, at))
            }
        }
    }

    /// A literal to compare a column with: half the time a value of the column, or a neighbour of one.
    fn literal(&self, rng: &mut Rng, at: usize) -> Literal {
        let column = &self.columns[at];
        let value = match rng.u8(0..8) {
            0..4 => {
                let file = rng.choice(&self.files).unwrap();
                rng.choice(&file.rows).unwrap()[at].clone().unwrap_or_else(|| column.kind.any(rng))
            }
            4 => return Kind::draw(rng).any(rng),
            5 => {
                let file = rng.usize(0..FILES);
                column.draw(rng, file)
            }
            _ => column.kind.any(rng),
        };
        let beside = i64::from(rng.i8(-1..=1));
        match value {
            Literal::Long(n) => Literal::Long(n.saturating_add(beside)),
            Literal::Date(n) => Literal::Date(n.saturating_add(beside as i32)),
            Literal::Timestamp(n) => {
                let truncated = *rng.choice(&[n, n.div_euclid(1000) * 1000, n.div_euclid(1000) * 1000 + 999]).unwrap();
                Literal::Timestamp(truncated.saturating_add(beside))
            }
            Literal::Decimal(n, scale) => match rng.u8(0..4) {
                0 => Literal::Decimal(n.div_euclid(10), scale - 1),
                1 => n.checked_mul(10).map_or(Literal::Decimal(n, scale), |n| {
                    Literal::Decimal(n.saturating_add(beside.into()), scale + 1)
                }),
                _ => Literal::Decimal(n.saturating_add(beside.into()), scale),
            },
            Literal::Double(x) if rng.u8(0..4) == 0 => {
                Literal::Double(if rng.bool() { x.next_up() } else { x.next_down() })
            }
            Literal::String(text) if rng.u8(0..3) == 0 => match rng.u8(0..3) {
                0 => Literal::String(text + "\0"),
                1 => Literal::String(text.chars().take(32).collect()),
                _ => Literal::String(text.chars().take(32).collect::<String>() + "\u{10ffff}"),
            },
            other => other,
        }
    }

    pub(super) fn question(&self, predicate: Predicate, version: Version, compared: bool) -> Question {
        let state = &self.versions[version as usize];
        let matches = |file: &&File| file.rows[file.hidden..].iter().any(|row| may_be(&predicate, row).is_true());
        let live = || state.live.values().map(|n| &self.files[*n]);
        let paths = |files: &mut dyn Iterator<Item = &File>| files.map(|f| f.add.path.clone()).collect();
        let matching = paths(&mut live().filter(matches));
        let kept = compared.then(|| paths(&mut live().filter(|f| predicate.may_match(&state.schema, &f.add))));
        Question { predicate, version, matching, kept }
    }
}

impl File {
    /// Deletes rows by a deletion vector; the bounds stay and are wide, whether the writer records it or not.
    fn hide(&mut self, rng: &mut Rng) {
        self.hidden = rng.usize(1..=self.rows.len());
        self.add.deletion_vector = Some(DeletionVector {
            storage_type: "u".into(),
            path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".into(),
            offset: Some(4),
            size_in_bytes: 40,
            cardinality: self.hidden as i64,
            extra: Default::default(),
        });
        if let Some(stats) = self.add.stats.as_mut().filter(|s| !s.contains("tightBounds") && s.len() > 2)
            && rng.bool()
        {
            stats.truncate(stats.len() - 1);
            stats.push_str(",\"tightBounds\":false}");
        }
    }
}

pub(super) fn protocol() -> Protocol {
    let mut protocol = actions::protocol();
    for features in [&mut protocol.reader_features, &mut protocol.writer_features] {
        features.get_or_insert_default().extend(["columnMapping", "timestampNtz"].map(String::from));
    }
    protocol
}

fn columns(rng: &mut Rng) -> Vec<Column> {
    let count = rng.usize(1..=12);
    let partitions = rng.usize(0..=3.min(count - 1));
    let mapped = rng.u8(0..3) == 0;
    let has_late = rng.u8(0..4) == 0;
    let mut columns: Vec<Column> = (0..count)
        .map(|i| {
            let kind = Kind::draw(rng);
            let name = format!("c{i}");
            let odd = [format!("col-{i:08x}"), format!("a.b c{i}"), format!("\"'{i}\\"), format!("bell\u{7}{i}")];
            let separated = [format!("é😀{i}"), format!("min_{i}"), format!("s\u{1f}{i}"), format!("nul\0{i}")];
            let physical = if mapped {
                rng.choice(odd.into_iter().chain(separated).collect::<Vec<_>>()).unwrap()
            } else {
                name.clone()
            };
            let values = match rng.u8(0..3) {
                0 => Values::Clustered,
                1 => Values::Few((0..rng.usize(1..6)).map(|_| kind.any(rng)).collect()),
                _ => Values::Any,
            };
            let late = has_late && i + 1 == count && partitions < count - 1 && count > 1;
            let nullable = late || rng.u8(0..3) > 0;
            Column { name, physical, kind, nullable, partition: false, late, values }
        })
        .collect();
    if mapped && count > 1 {
        // Physical names that were swapped between columns.
        (columns[0].physical, columns[1].physical) = ("c1".into(), "c0".into());
    }
    for column in columns.iter_mut().rev().filter(|c| !c.late).take(partitions) {
        column.partition = true;
    }
    columns
}
