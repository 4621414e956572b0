//! Bounds of a file's values as bytes that the database can compare.
//!
//! A table's leading columns own a *slot* each. In its slot a file has `min` and `max`, bytes that sort as the values
//! do, and a *spread*, the magnitude of the difference between them. A search for a value then knows, for each spread,
//! how far below the value the `min` of a file can be: an ordinary index on (spread, min) finds the files around any
//! value. The spread of numbers is the distance of their bounds, in powers of two; that of texts is the length of their
//! common prefix.

use std::collections::BTreeSet;
use std::sync::Arc;

use deltalakedb_log::action::{Add, DomainMetadata, Metadata};
use deltalakedb_log::predicate::Literal;
use deltalakedb_log::schema::{Column, PrimitiveType, Schema};
use deltalakedb_log::stats::{ColumnRange, FileStats};
use deltalakedb_log::{Result, TableId, TxnLogError};

use crate::database::{Value, WriteStatement};

/// The maximum number of columns of a table with bounds.
pub(crate) const SLOTS: usize = 8;
/// The number of these columns that have an index.
pub(crate) const INDEXED: usize = 4;
/// The maximum number of bytes of a text that are stored.
const PREFIX: usize = 32;
/// Separates the slots in one text; a column whose name contains it gets no slot.
pub(crate) const SEPARATOR: char = '\u{1f}';

/// The domain that contains the clustering columns of a table.
pub(crate) const CLUSTERING: &str = "delta.clustering";

/// The bit of `slot_flags` that is set when the values at the bounds may be in no row.
pub(crate) const WIDE: usize = SLOTS;

/// The spread of a file whose values are all null.
const ALL_NULL: i64 = -1;
/// The spread of a file with one value.
const ONE_VALUE: i64 = 0;

/// The types that have bounds, by the encoding of their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Also dates (days) and timestamps (microseconds), each its own kind, and booleans.
    Integer(&'static str),
    Double,
    /// A decimal with its scale.
    Decimal(i8),
    String,
}

impl Kind {
    fn of(data_type: PrimitiveType) -> Self {
        match data_type {
            PrimitiveType::Long => Kind::Integer("long"),
            PrimitiveType::Date => Kind::Integer("date"),
            PrimitiveType::Timestamp => Kind::Integer("timestamp"),
            PrimitiveType::Boolean => Kind::Integer("boolean"),
            PrimitiveType::Float | PrimitiveType::Double => Kind::Double,
            PrimitiveType::Decimal(_, scale) => Kind::Decimal(scale),
            PrimitiveType::String => Kind::String,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let scale = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
        Some(match (text, scale) {
            ("double", _) => Kind::Double,
            ("string", _) => Kind::String,
            (_, Some(scale)) => Kind::Decimal(scale.parse().ok()?),
            _ => Kind::Integer(["long", "date", "timestamp", "boolean"].into_iter().find(|name| *name == text)?),
        })
    }

    fn name(self) -> String {
        match self {
            Kind::Integer(name) => name.into(),
            Kind::Double => "double".into(),
            Kind::Decimal(scale) => format!("decimal({scale})"),
            Kind::String => "string".into(),
        }
    }

    /// The bytes of a value, not truncated; `None` for a value of another kind. `up` is the direction in which a value
    /// between two of this kind is rounded, and selects one of the two zeros, because engines differ on their order.
    pub(crate) fn encode(self, literal: &Literal, up: bool) -> Option<Vec<u8>> {
        let signed = |v: i64| Some((v as u64 ^ 1 << 63).to_be_bytes().to_vec());
        match (self, literal) {
            (Kind::Integer("long"), Literal::Long(v)) => signed(*v),
            (Kind::Integer("date"), Literal::Date(v)) => signed((*v).into()),
            (Kind::Integer("timestamp"), Literal::Timestamp(v)) => signed(*v),
            (Kind::Integer("boolean"), Literal::Boolean(v)) => signed((*v).into()),
            (Kind::Double, Literal::Double(v)) if !v.is_nan() => {
                let bits = if *v == 0.0 { if up { 0.0_f64 } else { -0.0 } } else { *v }.to_bits();
                let ordered = if bits >> 63 == 1 { !bits } else { bits ^ 1 << 63 };
                Some(ordered.to_be_bytes().to_vec())
            }
            (Kind::Decimal(scale), Literal::Decimal(v, from)) => {
                let v = rescale(*v, i32::from(scale) - i32::from(*from), up)?;
                Some((v as u128 ^ 1 << 127).to_be_bytes().to_vec())
            }
            (Kind::String, Literal::String(text)) => Some(text.as_bytes().to_vec()),
            _ => None,
        }
    }

    /// The value of these bytes.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<Literal> {
        let signed = || Some((u64::from_be_bytes(bytes.try_into().ok()?) ^ 1 << 63) as i64);
        Some(match self {
            Kind::Integer("date") => Literal::Date(i32::try_from(signed()?).ok()?),
            Kind::Integer("timestamp") => Literal::Timestamp(signed()?),
            Kind::Integer("boolean") => Literal::Boolean(signed()? != 0),
            Kind::Integer(_) => Literal::Long(signed()?),
            Kind::Decimal(scale) => {
                Literal::Decimal((u128::from_be_bytes(bytes.try_into().ok()?) ^ 1 << 127) as i128, scale)
            }
            Kind::String => Literal::String(String::from_utf8(bytes.to_vec()).ok()?),
            Kind::Double => return None,
        })
    }

    /// The value next to these bytes; `None` if there is none or it cannot be represented.
    pub(crate) fn neighbour(self, bytes: &[u8], up: bool) -> Option<Vec<u8>> {
        let step = |v: u128, limit: u128| if up { (v < limit).then(|| v + 1) } else { v.checked_sub(1) };
        match self {
            Kind::Integer(_) => Some((step(number(bytes), u64::MAX.into())? as u64).to_be_bytes().to_vec()),
            Kind::Decimal(_) => Some(step(number(bytes), u128::MAX)?.to_be_bytes().to_vec()),
            Kind::Double | Kind::String => None,
        }
    }

    /// Whether every value has exactly one neighbour on each side.
    pub(crate) fn is_discrete(self) -> bool {
        matches!(self, Kind::Integer(_) | Kind::Decimal(_))
    }

    /// The spread of these bounds.
    fn spread(self, min: &[u8], max: &[u8]) -> i64 {
        if min == max {
            return ONE_VALUE;
        }
        match self {
            Kind::String => 1 + min.iter().zip(max).take_while(|(a, b)| a == b).count() as i64,
            _ => i64::from(128 - (number(max) - number(min)).leading_zeros()),
        }
    }

    /// The least `min` of a file with this spread whose values reach `low`.
    pub(crate) fn lowest_min(self, spread: i64, low: &[u8]) -> Vec<u8> {
        let spread = usize::try_from(spread).unwrap_or(0);
        match self {
            _ if spread == 0 => low.to_vec(),
            Kind::String => low[..low.len().min(spread - 1)].to_vec(),
            _ => {
                let lowest_min = number(low).saturating_sub(u128::MAX >> (128 - spread.min(128)));
                lowest_min.to_be_bytes()[16 - low.len()..].to_vec()
            }
        }
    }
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |n, b| n << 8 | u128::from(*b))
}

fn rescale(v: i128, by: i32, up: bool) -> Option<i128> {
    let factor = 10_i128.checked_pow(by.unsigned_abs())?;
    if by >= 0 {
        v.checked_mul(factor)
    } else {
        Some(v.div_euclid(factor) + i128::from(up && v.rem_euclid(factor) != 0))
    }
}

/// The upper bound of all texts that start with this prefix.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b < u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// A column with bounds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BoundsSlot {
    /// The column's physical name.
    pub(crate) column: String,
    pub(crate) kind: Kind,
}

/// The columns that own the slots of a table. A slot is never reassigned, so values of older files stay valid.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BoundsSlots(pub(crate) Vec<BoundsSlot>);

impl BoundsSlots {
    /// A subquery for the slots of the table in `table`, as one text.
    pub(crate) fn subquery(table: &str) -> String {
        format!(
            "(SELECT string_agg(CAST(b.slot AS text) || ' ' || b.type || ' ' || b.physical_column, '{SEPARATOR}') \
             FROM dl_bounds b WHERE b.table_id = {table}.table_id)"
        )
    }

    /// Parses the result of [`Self::subquery`].
    pub(crate) fn read(text: Option<&str>) -> Result<Self> {
        let parse = |slot: &str| {
            let (number, rest) = slot.split_once(' ')?;
            let (kind, column) = rest.split_once(' ')?;
            Some((number.parse::<usize>().ok()?, BoundsSlot { column: column.into(), kind: Kind::parse(kind)? }))
        };
        let slots = text.unwrap_or_default().split(SEPARATOR).filter(|s| !s.is_empty()).map(parse);
        let bad = || TxnLogError::corrupt("a row of dl_bounds cannot be read");
        let mut slots = slots.collect::<Option<Vec<_>>>().ok_or_else(bad)?;
        slots.sort_by_key(|(number, _)| *number);
        if slots.iter().enumerate().all(|(i, (number, _))| i == *number) {
            Ok(Self(slots.into_iter().map(|(_, slot)| slot).collect()))
        } else {
            Err(bad())
        }
    }

    /// Assigns free slots to columns: partition columns first, then clustering columns, then those of the property
    /// `deltalakedb.planning.columns` or, without it, the leading ones. Returns how many slots were assigned before.
    pub(crate) fn assign(&mut self, schema: &Schema, metadata: &Metadata, domains: &[DomainMetadata]) -> usize {
        let before = self.0.len();
        let named = metadata.configuration.get("deltalakedb.planning.columns").and_then(|v| v.as_deref());
        let named: Option<Vec<_>> = named.map(|names| names.split(',').map(str::trim).collect());
        let clustered = clustering_columns(domains);
        let rank = |c: &Column| match &named {
            _ if c.is_partition => Some((0, 0)),
            _ if clustered.contains(&c.physical_name) => Some((1, 0)),
            Some(names) => names.iter().position(|n| *n == c.name).map(|at| (2, at)),
            None => Some((2, 0)),
        };
        let mut wanted: Vec<_> = schema.columns().iter().filter_map(|c| Some((rank(c)?, c))).collect();
        // Doubles come last: only their minimum is known, so no index range can be derived from it.
        let is_double = |c: &Column| c.data_type.map(Kind::of) == Some(Kind::Double);
        wanted.sort_by_key(|(rank, c)| (is_double(c), *rank));
        for (_, column) in wanted {
            let Some(kind) = column.data_type.map(Kind::of) else { continue };
            let slot = BoundsSlot { column: column.physical_name.clone(), kind };
            let is_plain = !slot.column.contains(|c: char| c.is_control());
            if self.0.len() < SLOTS && is_plain && !self.0.contains(&slot) {
                self.0.push(slot);
            }
        }
        before
    }

    /// The rows of the slots from `first` on.
    pub(crate) fn insert(&self, table: TableId, first: usize) -> Option<WriteStatement> {
        let row = |(i, slot): (usize, &BoundsSlot)| {
            vec![table.0.into(), (i as i64).into(), slot.column.as_str().into(), slot.kind.name().into()]
        };
        let rows: Vec<_> = self.0.iter().enumerate().skip(first).map(row).collect();
        (!rows.is_empty()).then(|| WriteStatement::insert("dl_bounds", &SLOT_COLUMNS, rows))
    }

    /// The slot of a column with its current type; `None` when it has none or it was assigned for another type.
    pub(crate) fn of(&self, column: &Column) -> Option<(usize, &BoundsSlot)> {
        let kind = Kind::of(column.data_type?);
        self.0.iter().enumerate().find(|(_, slot)| slot.column == column.physical_name && slot.kind == kind)
    }

    /// The slots with the columns that own them in this schema.
    pub(crate) fn owned(&self, schema: Arc<Schema>) -> TableSlots {
        let owner = |slot: &BoundsSlot| {
            let owns = |c: &Column| c.physical_name == slot.column && c.data_type.map(Kind::of) == Some(slot.kind);
            (slot.kind, schema.columns().iter().position(owns))
        };
        let slots = self.0.iter().map(owner).collect();
        TableSlots { schema, slots }
    }
}

/// The slots of a table under one schema: computed once, used for every file.
#[derive(Default)]
pub(crate) struct TableSlots {
    schema: Arc<Schema>,
    /// The index of the column in the schema; `None` if it no longer exists or has another type now.
    slots: Vec<(Kind, Option<usize>)>,
}

impl TableSlots {
    /// The columns for which [`Self::values`] returns values.
    pub(crate) fn columns(&self) -> &'static [&'static str] {
        &COLUMNS[..3 + 3 * self.slots.len()]
    }

    /// The values of the first of [`COLUMNS`] for a file; slots without a column are last and have no values.
    pub(crate) fn values(&self, add: &Add) -> Vec<Value> {
        let stats = FileStats::new(&self.schema, add);
        // A slot that is not assigned yet may get a column in which this file has nulls.
        let mut flags = (1 << SLOTS) - 1;
        if !stats.is_tight() {
            flags |= 1 << WIDE;
        }
        let mut values = Vec::with_capacity(COLUMNS.len());
        let deleted = add.deletion_vector.as_ref().map(|dv| dv.cardinality);
        values.extend([stats.num_records().into(), Value::Null, deleted.into()]);
        for (i, (kind, column)) in self.slots.iter().enumerate() {
            let column = column.and_then(|place| self.schema.columns().get(place));
            let range = column.and_then(|c| stats.range(c));
            if range.as_ref().is_some_and(|r| r.no_null) {
                flags &= !(1 << i);
            }
            let (spread, min, max) = range.map_or((None, None, None), |range| bounds(*kind, &range));
            let bytes = |bytes: Option<Vec<u8>>| bytes.map_or(Value::Null, Value::Blob);
            values.extend([spread.into(), bytes(min), bytes(max)]);
        }
        values[1] = Value::Int(flags);
        values
    }
}

/// The columns of `dl_bounds`.
pub(crate) const SLOT_COLUMNS: [&str; 4] = ["table_id", "slot", "physical_column", "type"];

/// The columns of `dl_add_files` that planning compares, in the order of [`TableSlots::values`].
pub(crate) const COLUMNS: [&str; 3 + 3 * SLOTS] = [
    "num_records",
    "slot_flags",
    "deleted_records",
    "spread_0",
    "min_0",
    "max_0",
    "spread_1",
    "min_1",
    "max_1",
    "spread_2",
    "min_2",
    "max_2",
    "spread_3",
    "min_3",
    "max_3",
    "spread_4",
    "min_4",
    "max_4",
    "spread_5",
    "min_5",
    "max_5",
    "spread_6",
    "min_6",
    "max_6",
    "spread_7",
    "min_7",
    "max_7",
];

/// Spread, min and max of a range; `None` for unknown.
fn bounds(kind: Kind, range: &ColumnRange) -> (Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>) {
    if range.all_null {
        return (Some(ALL_NULL), None, None);
    }
    let short =
        |bytes: Vec<u8>| if kind == Kind::String && bytes.len() > PREFIX { bytes[..PREFIX].to_vec() } else { bytes };
    let min = range.min.as_ref().and_then(|v| kind.encode(v, false)).map(short);
    // NaN is greater than every number and not included in the bounds.
    let max = range.max.as_ref().filter(|_| kind != Kind::Double).and_then(|v| kind.encode(v, true));
    let max =
        max.and_then(
            |max| if kind == Kind::String && max.len() > PREFIX { after_prefix(&max[..PREFIX]) } else { Some(max) },
        );
    match (min, max) {
        (Some(min), Some(max)) if min <= max => (Some(kind.spread(&min, &max)), Some(min), Some(max)),
        // A minimum above the maximum is invalid.
        (Some(_), Some(_)) => (None, None, None),
        (min, max) => (None, min, max),
    }
}

/// The physical names of the clustering columns of a table (PROTOCOL.md, "Clustered Table").
fn clustering_columns(domains: &[DomainMetadata]) -> BTreeSet<String> {
    #[derive(serde::Deserialize)]
    struct Clustering {
        #[serde(rename = "clusteringColumns")]
        columns: Vec<Vec<String>>,
    }
    let domain = domains.iter().find(|d| d.domain == CLUSTERING && !d.removed);
    let parsed = domain.and_then(|d| serde_json::from_str::<Clustering>(&d.configuration).ok());
    let top_level = |path: Vec<String>| <[String; 1]>::try_from(path).ok().map(|[name]| name);
    parsed.map(|c| c.columns.into_iter().filter_map(top_level).collect()).unwrap_or_default()
}
