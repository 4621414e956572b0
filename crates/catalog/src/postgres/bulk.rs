//! Inserts of many rows.
//!
//! The rows are arrays in parameters, one for each column. COPY is one and a half times as fast, but is used only if no
//! other transaction waits for this one: while the server waits for the rows of a COPY its client is not idle, so no
//! timeout would end the transaction of a client that has stopped.

use std::iter::Peekable;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::errors::failed;
use super::literals::{MAX_BYTES, check_text, spelled};
use crate::database::{Insert, MANY_ROWS, Value};
use crate::prefetch::Prefetch;

/// The rows of a COPY are sent in parts of this many bytes.
const PART_BYTES: usize = 1 << 20;

/// Inserts rows. `schema` is the quoted schema of the table; `uri` is the database's name in messages.
pub(super) async fn insert(connection: &mut PgConnection, schema: &str, uri: &str, insert: Insert) -> Result<u64> {
    if insert.is_unused_table {
        copy(connection, schema, uri, insert).await
    } else {
        arrays(connection, schema, uri, insert).await
    }
}

async fn arrays(connection: &mut PgConnection, schema: &str, uri: &str, insert: Insert) -> Result<u64> {
    let (table, columns, many) = (insert.table, insert.columns.clone(), insert.count >= MANY_ROWS);
    let mut rows = insert.into_rows().peekable();
    let mut batch = move || match next_rows(&mut rows)? {
        some if some.is_empty() => Ok(None),
        some => statement(table, &columns, some).map(Some),
    };
    let mut batches = Prefetch::new(std::iter::from_fn(move || batch().transpose()), many)?;
    let mut inserted = 0;
    while let Some(batch) = batches.next().await? {
        let (sql, arguments) = batch?;
        // An unnamed statement, so that nothing of it stays in the server's session.
        let query = sqlx::query_with(AssertSqlSafe(spelled(schema, &sql, &[])?), arguments).persistent(false);
        inserted += query.execute(&mut *connection).await.map_err(|e| failed(uri, e))?.rows_affected();
    }
    Ok(inserted)
}

/// The statement that inserts rows, with its arguments.
fn statement(table: &str, columns: &[&str], rows: Vec<Vec<Value>>) -> Result<(String, PgArguments)> {
    let mut values: Vec<_> = rows.into_iter().map(Vec::into_iter).collect();
    let (mut names, mut from, mut arguments) = (Vec::new(), Vec::new(), PgArguments::default());
    for column in columns {
        // A column that is not listed is null.
        let Some(array) = Array::next(&mut values)? else { continue };
        names.push(*column);
        from.push(format!("${}::{}", names.len(), array.sql_type()));
        let added = match array {
            Array::Ints(all) => arguments.add(all),
            Array::Texts(all) => arguments.add(all),
            Array::Blobs(all) => arguments.add(all),
        };
        added.map_err(|e| {
            let message = format!("the values of {column} cannot be sent: write smaller commits");
            TxnLogError::invalid(message).with_source(sqlx::Error::Encode(e))
        })?;
    }
    Ok((format!("INSERT INTO {table} ({}) SELECT * FROM unnest({})", names.join(", "), from.join(", ")), arguments))
}

/// Uses COPY in its binary format: integers are `bigint`, other values their bytes.
async fn copy(connection: &mut PgConnection, schema: &str, uri: &str, insert: Insert) -> Result<u64> {
    let fail = |e| failed(uri, e);
    let sql = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", insert.table, insert.columns.join(", "));
    let many = insert.count >= MANY_ROWS;
    let mut rows = insert.into_rows().peekable();
    let mut parts = Prefetch::new(std::iter::from_fn(move || part(&mut rows).transpose()), many)?;
    let mut copy = connection.copy_in_raw(&spelled(schema, &sql, &[])?).await.map_err(fail)?;
    copy.send(&b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"[..]).await.map_err(fail)?;
    loop {
        match parts.next().await.and_then(Option::transpose) {
            Ok(Some(bytes)) => drop(copy.send(bytes).await.map_err(fail)?),
            Ok(None) => break,
            Err(e) => {
                copy.abort(e.to_string()).await.map_err(fail)?;
                return Err(e);
            }
        }
    }
    copy.send(&(-1_i16).to_be_bytes()[..]).await.map_err(fail)?;
    copy.finish().await.map_err(fail)
}

/// The next part of the rows.
fn part(rows: &mut Peekable<impl Iterator<Item = Result<Vec<Value>>>>) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while bytes.len() <= PART_BYTES
        && let Some(row) = rows.next()
    {
        binary(&row?, &mut bytes)?;
    }
    Ok((!bytes.is_empty()).then_some(bytes))
}

fn binary(row: &[Value], bytes: &mut Vec<u8>) -> Result<()> {
    bytes.extend(i16::try_from(row.len()).unwrap_or(i16::MAX).to_be_bytes());
    for value in row {
        let field: &[u8] = match value {
            Value::Null => {
                bytes.extend((-1_i32).to_be_bytes());
                continue;
            }
            Value::Int(n) => &n.to_be_bytes(),
            Value::Text(text) => {
                check_text(text)?;
                text.as_bytes()
            }
            Value::Blob(blob) => blob,
        };
        let length = i32::try_from(field.len()).map_err(|_| {
            TxnLogError::invalid("a value is longer than PostgreSQL can hold (1 GiB): write smaller commits")
        })?;
        bytes.extend(length.to_be_bytes());
        bytes.extend(field);
    }
    Ok(())
}

/// The size of the rows in bytes.
pub(super) fn bytes_of(rows: &[Vec<Value>]) -> usize {
    rows.iter().flatten().map(Value::size).sum()
}

/// The next rows of one statement, limited by its size.
fn next_rows(rows: &mut Peekable<impl Iterator<Item = Result<Vec<Value>>>>) -> Result<Vec<Vec<Value>>> {
    let (mut bytes, mut taken) = (0, Vec::new());
    let mut fits = |row: &Result<Vec<Value>>| {
        let first = bytes == 0;
        bytes += row.iter().flatten().map(Value::size).sum::<usize>();
        first || bytes <= MAX_BYTES
    };
    while let Some(row) = rows.next_if(&mut fits) {
        taken.push(row?);
    }
    Ok(taken)
}

/// The values of a column, as an array.
enum Array {
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Blobs(Vec<Option<Vec<u8>>>),
}

impl Array {
    /// The values of the first column, removed from the rows; `None` when all are null, because their type is unknown.
    fn next(rows: &mut [std::vec::IntoIter<Value>]) -> Result<Option<Self>> {
        let mut values = rows.iter_mut().map(|row| row.next().unwrap_or(Value::Null));
        let (mut nulls, mut array) = (0, None);
        for value in values.by_ref() {
            match value {
                Value::Null => nulls += 1,
                Value::Int(n) => array = Some(Self::Ints(vec![None; nulls]).with(Value::Int(n))?),
                Value::Text(t) => array = Some(Self::Texts(vec![None; nulls]).with(Value::Text(t))?),
                Value::Blob(b) => array = Some(Self::Blobs(vec![None; nulls]).with(Value::Blob(b))?),
            }
            if array.is_some() {
                break;
            }
        }
        let Some(array) = array else { return Ok(None) };
        values.try_fold(array, Self::with).map(Some)
    }

    fn sql_type(&self) -> &'static str {
        match self {
            Self::Ints(_) => "bigint[]",
            Self::Texts(_) => "text[]",
            Self::Blobs(_) => "bytea[]",
        }
    }

    fn with(mut self, value: Value) -> Result<Self> {
        match (&mut self, value) {
            (Self::Ints(all), Value::Int(n)) => all.push(Some(n)),
            (Self::Texts(all), Value::Text(text)) => {
                check_text(&text)?;
                all.push(Some(text));
            }
            (Self::Blobs(all), Value::Blob(blob)) => all.push(Some(blob)),
            (Self::Ints(all), Value::Null) => all.push(None),
            (Self::Texts(all), Value::Null) => all.push(None),
            (Self::Blobs(all), Value::Null) => all.push(None),
            _ => return Err(TxnLogError::new(ErrorKind::Internal, "a column has values of two types")),
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_an_array_for_each_column() {
        let text = |text: &str| Value::Text(text.into());
        let rows = [
            vec![Value::Int(-1), Value::Null, Value::Null, Value::Blob(vec![0, 255])],
            vec![Value::Null, Value::Null, text("NULL"), Value::Null],
        ];
        let mut rows: Vec<_> = rows.into_iter().map(Vec::into_iter).collect();
        let mut next = || Array::next(&mut rows).unwrap();
        assert!(matches!(next(), Some(Array::Ints(all)) if all == [Some(-1), None]));
        assert!(next().is_none());
        assert!(matches!(next(), Some(Array::Texts(all)) if all == [None, Some("NULL".to_string())]));
        assert!(matches!(next(), Some(Array::Blobs(all)) if all == [Some(vec![0, 255]), None]));
        let column = |values: Vec<Value>| {
            let mut rows: Vec<_> = values.into_iter().map(|value| vec![value].into_iter()).collect();
            Array::next(&mut rows).map(|array| array.map(|array| array.sql_type()))
        };
        assert!(column(vec![text("\0")]).is_err());
        assert!(column(vec![Value::Int(1), text("1")]).is_err());
        assert_eq!(column(vec![Value::Null, text("1")]).unwrap(), Some("text[]"));
        let long = vec![vec![Value::Blob(vec![0; MAX_BYTES])], vec![Value::Int(1)], vec![Value::Int(2)]];
        let mut long = long.into_iter().map(Ok).peekable();
        let mut taken = || next_rows(&mut long).unwrap().len();
        assert_eq!([taken(), taken()], [1, 2], "one that is too long goes by itself");
    }
}
