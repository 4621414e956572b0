//! Random changes of a row table, and its rows after them: a model in memory.
//!
//! It uses `fastrand` and the crate `deltalakedb-log` only, so that the tests of other crates can include it.

use std::collections::BTreeMap;

use deltalakedb_log::ErrorKind;
use fastrand::Rng;

/// The columns of a row, in the order of [`texts`].
pub const COLUMNS: [&str; 6] = ["a", "b", "day", "price", "v", "x"];

/// `a` is less than this.
const NUMBERS: i64 = 6;
/// The values of `b`.
const NAMES: [&str; 3] = ["", "x", "yy"];

/// The primary key of a row: `a` and `b`.
pub type Key = (i64, String);

/// The rows of a table.
pub type Rows = BTreeMap<Key, Values>;

/// The columns of a row that are not in its key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// The column `v`.
    pub v: Option<i64>,
    /// The number, from 0 to 9, that `x`, `day` and `price` are made of; without it they are null.
    pub w: Option<u8>,
}

impl Values {
    fn random(rng: &mut Rng) -> Self {
        Self { v: Some(rng.i64(0..100)), w: random_w(rng) }
    }
}

fn random_w(rng: &mut Rng) -> Option<u8> {
    (rng.u8(0..4) > 0).then(|| rng.u8(0..10))
}

/// The statement that creates the table.
pub fn create(table: &str) -> String {
    // The key is not at the beginning, and in another order than its columns.
    format!(
        "CREATE SHARED TABLE {table} (v BIGINT, b TEXT, x DOUBLE, a BIGINT, day DATE, price DECIMAL(10, 2),
         PRIMARY KEY (a, b))"
    )
}

/// All keys that rows can have.
pub fn keys() -> impl Iterator<Item = Key> {
    (0..NUMBERS).flat_map(|a| NAMES.map(|b| (a, b.to_string())))
}

/// The columns of a row as text, which is the same in all readers; `None` for null.
pub fn texts((a, b): &Key, values: &Values) -> [Option<String>; 6] {
    let of_w = |text: &dyn Fn(u8) -> String| values.w.map(text);
    [
        Some(a.to_string()),
        Some(b.clone()),
        of_w(&|w| format!("2024-01-{:02}", w + 1)),
        of_w(&|w| format!("{w}.25")),
        values.v.map(|v| v.to_string()),
        of_w(&|w| format!("{w}.5")),
    ]
}

/// A statement that changes rows.
#[derive(Clone, Debug)]
pub struct Change {
    /// The statement.
    pub sql: String,
    effect: Effect,
}

/// The rows after a change, and what it answers: the command and the number of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The rows after it.
    pub rows: Rows,
    /// The answer.
    pub answer: Result<String, ErrorKind>,
}

#[derive(Clone, Debug)]
enum Effect {
    /// Inserts all of these rows, or none if one of the keys exists.
    Insert(Vec<(Key, Values)>),
    /// Inserts a row unless its key exists.
    InsertMissing(Key, Values),
    /// Adds 1 to `v` where `a` has this value.
    Increment(i64),
    /// Changes `v` of one row.
    SetV(Key, NewV),
    /// Changes the columns made of `w` where `b` has this value.
    SetW(String, Option<u8>),
    /// Deletes one row.
    Delete(Key),
    /// Deletes the rows in which `v` is at least this.
    DeleteFrom(i64),
    /// Gives rows other keys, or no row if two would have one key.
    SetKey(KeyUpdate),
}

#[derive(Clone, Copy, Debug)]
enum NewV {
    Null,
    Seven,
    DoubledPlusA,
}

/// An UPDATE of columns of the key, which stays among [`keys`].
#[derive(Clone, Debug)]
enum KeyUpdate {
    /// Adds a number to `a` in all rows.
    Shift(i64),
    /// Swaps two values of `b` except where `a` has this value.
    Swap(i64),
    /// Sets the key to what it is, and adds 1 to `v`, where `a` is at least this.
    Keep(i64),
    /// Adds a number to `a` where `a` or `b` has the value of a key: other rows may have the new key.
    ShiftSome(i64, Key),
    /// Sets `b` where `a` has a value: several rows may get one key.
    Rename(i64, &'static str),
    /// Sets `a` to NULL where it has this value.
    Null(i64),
    /// Gives a row the key of another one, and `v` its old `a`.
    Move(Key, Key),
}

impl KeyUpdate {
    fn random(rng: &mut Rng) -> Self {
        let (a, n) = (rng.i64(0..NUMBERS), rng.i64(0..NUMBERS));
        let [b, c] = [(); 2].map(|()| NAMES[rng.usize(..NAMES.len())]);
        match rng.u8(0..7) {
            0 => Self::Shift(n),
            1 => Self::Swap(a),
            2 => Self::Keep(a),
            3 => Self::ShiftSome(n, (a, b.to_string())),
            4 => Self::Rename(a, b),
            5 => Self::Null(a),
            _ => Self::Move((a, b.to_string()), (n, c.to_string())),
        }
    }

    fn sql(&self, rng: &mut Rng, table: &str) -> String {
        let (values, condition) = match self {
            Self::Shift(n) => (format!("a = (a + {n}) % {NUMBERS}"), "TRUE".to_string()),
            Self::Swap(a) => {
                let swapped = "b = CASE b WHEN 'x' THEN 'yy' WHEN 'yy' THEN 'x' ELSE b END";
                (swapped.to_string(), format!("a <> {a}"))
            }
            Self::Keep(a) => ("v = v + 1, a = a, b = b".to_string(), format!("a >= {a}")),
            Self::ShiftSome(n, (a, b)) => (format!("a = (a + {n}) % {NUMBERS}"), format!("b = '{b}' OR a = {a}")),
            Self::Rename(a, b) => (format!("b = '{b}'"), format!("a = {a}")),
            Self::Null(a) => ("a = NULL".to_string(), format!("a = {a}")),
            Self::Move(from, (a, b)) => (format!("v = a, a = {a}, b = '{b}'"), has_key(rng, from)),
        };
        format!("UPDATE {table} SET {values} WHERE {condition}")
    }

    /// The row that a row becomes; `None` if it is not updated.
    fn of(&self, key: &Key, values: &Values) -> Option<(Key, Values)> {
        let (a, b) = key;
        let with_v = |v| Values { v, ..*values };
        match self {
            Self::Shift(n) => Some((((a + n) % NUMBERS, b.clone()), *values)),
            Self::Swap(except) => (a != except).then(|| {
                let swapped = match b.as_str() {
                    "x" => "yy",
                    "yy" => "x",
                    other => other,
                };
                ((*a, swapped.to_string()), *values)
            }),
            Self::Keep(from) => (a >= from).then(|| (key.clone(), with_v(values.v.map(|v| v + 1)))),
            Self::ShiftSome(n, of) => (*b == of.1 || *a == of.0).then(|| (((a + n) % NUMBERS, b.clone()), *values)),
            Self::Rename(of, name) => (a == of).then(|| ((*a, (*name).to_string()), *values)),
            Self::Null(of) => (a == of).then(|| (key.clone(), *values)),
            Self::Move(from, to) => (key == from).then(|| (to.clone(), with_v(Some(*a)))),
        }
    }

    fn changed(&self, before: &Rows) -> Changed {
        let (mut rows, mut count, mut is_taken) = (Rows::new(), 0, false);
        for (key, values) in before {
            let updated = self.of(key, values);
            count += usize::from(updated.is_some());
            let (key, values) = updated.unwrap_or_else(|| (key.clone(), *values));
            is_taken |= rows.insert(key, values).is_some();
        }
        let answer = match self {
            Self::Null(_) if count > 0 => Err(ErrorKind::Invalid),
            _ if is_taken => Err(ErrorKind::AlreadyExists),
            _ => Ok(format!("UPDATE {count}")),
        };
        Changed { rows: if answer.is_ok() { rows } else { before.clone() }, answer }
    }
}

impl Change {
    /// A random change of this table.
    pub fn random(rng: &mut Rng, table: &str) -> Self {
        if rng.u8(0..4) == 0 {
            let update = KeyUpdate::random(rng);
            return Self { sql: update.sql(rng, table), effect: Effect::SetKey(update) };
        }
        Self::random_in_place(rng, table)
    }

    /// A random change that gives no row another key, so that of two at the same time none moves rows into what the
    /// other one has looked at.
    pub fn random_in_place(rng: &mut Rng, table: &str) -> Self {
        let key = (rng.i64(0..NUMBERS), NAMES[rng.usize(..NAMES.len())].to_string());
        let (a, b) = &key;
        let (sql, effect) = match rng.u8(0..12) {
            0..=3 => {
                // Their keys differ in `b`.
                let (first, count) = (rng.usize(..NAMES.len()), rng.usize(1..=NAMES.len()));
                let names = NAMES.iter().cycle().skip(first).take(count);
                let rows: Vec<_> = names.map(|b| ((*a, b.to_string()), Values::random(rng))).collect();
                let values: Vec<_> = rows.iter().map(|(key, values)| sql_of(key, values).join(", ")).collect();
                let (columns, values) = (COLUMNS.join(", "), values.join("), ("));
                (format!("INSERT INTO {table} ({columns}) VALUES ({values})"), Effect::Insert(rows))
            }
            4 => {
                let values = Values::random(rng);
                let named = sql_of(&key, &values).into_iter().zip(COLUMNS);
                let named: Vec<_> = named.map(|(value, column)| format!("{value} AS {column}")).collect();
                let sql = format!(
                    "INSERT INTO {table} ({}) SELECT {}
                     WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE a = {a} AND b = '{b}')",
                    COLUMNS.join(", "),
                    named.join(", ")
                );
                (sql, Effect::InsertMissing(key, values))
            }
            5 | 6 => (format!("UPDATE {table} SET v = v + 1 WHERE a = {a}"), Effect::Increment(*a)),
            7 => {
                let new = [NewV::Null, NewV::Seven, NewV::DoubledPlusA][rng.usize(..3)];
                let value = match new {
                    NewV::Null => "NULL",
                    NewV::Seven => "7",
                    NewV::DoubledPlusA => "v * 2 + a",
                };
                let sql = format!("UPDATE {table} SET v = {value} WHERE {}", has_key(rng, &key));
                (sql, Effect::SetV(key, new))
            }
            8 => {
                let w = random_w(rng);
                let [_, _, day, price, _, x] = sql_of(&key, &Values { v: None, w });
                let sql = format!("UPDATE {table} SET x = {x}, price = {price}, day = {day} WHERE b = '{b}'");
                (sql, Effect::SetW(key.1, w))
            }
            9 | 10 => (format!("DELETE FROM {table} WHERE {}", has_key(rng, &key)), Effect::Delete(key)),
            _ => (format!("DELETE FROM {table} WHERE v >= 50"), Effect::DeleteFrom(50)),
        };
        Self { sql, effect }
    }

    /// The change of these rows.
    pub fn after(&self, before: &Rows) -> Changed {
        let mut rows = before.clone();
        let (command, count) = match &self.effect {
            Effect::Insert(new) => {
                if new.iter().any(|(key, _)| before.contains_key(key)) {
                    return Changed { rows, answer: Err(ErrorKind::AlreadyExists) };
                }
                rows.extend(new.iter().cloned());
                ("INSERT", new.len())
            }
            Effect::InsertMissing(key, values) => {
                rows.entry(key.clone()).or_insert(*values);
                ("INSERT", rows.len() - before.len())
            }
            Effect::Increment(number) => {
                let found = rows.iter_mut().filter(|((a, _), _)| a == number);
                ("UPDATE", found.map(|(_, values)| values.v = values.v.map(|v| v + 1)).count())
            }
            Effect::SetV(key, new) => {
                let v = |v: Option<i64>| match new {
                    NewV::Null => None,
                    NewV::Seven => Some(7),
                    NewV::DoubledPlusA => v.map(|v| v * 2 + key.0),
                };
                ("UPDATE", rows.get_mut(key).map(|values| values.v = v(values.v)).into_iter().count())
            }
            Effect::SetW(text, w) => {
                let found = rows.iter_mut().filter(|((_, b), _)| b == text);
                ("UPDATE", found.map(|(_, values)| values.w = *w).count())
            }
            Effect::Delete(key) => ("DELETE", rows.remove(key).into_iter().count()),
            Effect::SetKey(update) => return update.changed(before),
            Effect::DeleteFrom(limit) => {
                rows.retain(|_, values| values.v.is_none_or(|v| v < *limit));
                ("DELETE", before.len() - rows.len())
            }
        };
        Changed { rows, answer: Ok(format!("{command} {count}")) }
    }
}

/// The columns of a row as SQL, in the order of [`texts`].
fn sql_of(key: &Key, values: &Values) -> [String; 6] {
    let [a, b, day, price, v, x] = texts(key, values);
    let quoted = |text: String| format!("'{text}'");
    let day = day.map(|day| format!("DATE '{day}'"));
    [a, b.map(quoted), day, price, v, x].map(|value| value.unwrap_or_else(|| "NULL".to_string()))
}

/// A condition that the row with a key satisfies: it is looked up by a statement or by a scan, or found among all rows.
fn has_key(rng: &mut Rng, (a, b): &Key) -> String {
    match rng.u8(0..3) {
        0 => format!("a = {a} AND '{b}' = b"),
        1 => format!("b = '{b}' AND a = {a} AND a IS NOT NULL"),
        _ => format!("a + 0 = {a} AND concat(b, '') = '{b}'"),
    }
}
