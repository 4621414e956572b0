//! A transaction in the server.

use async_trait::async_trait;
use deltalakedb_log::{LocationKey, Result, TxnLogError};
use futures::StreamExt;
use futures::stream::BoxStream;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Column, Decode, Postgres, Row as _, TypeInfo, ValueRef};
use tokio::sync::OwnedSemaphorePermit;

use super::bulk::{self, bytes_of};
use super::connect::PATIENCE;
use super::errors::{failed, is_gone, sqlstate};
use super::literals::{MAX_BYTES, spelled};
use super::locks::LOCK_TIMEOUT;
use crate::database::{CommitFailure, DatabaseTransaction, Insert, Row, Value, WriteStatement, placeholders};

/// From this many rows on, an insert is done in bulk.
const BULK_ROWS: usize = 200;

pub(super) struct PostgresTransaction {
    pub(super) uri: String,
    pub(super) schema: String,
    /// `None` once the transaction has ended.
    pub(super) connection: Option<PoolConnection<Postgres>>,
    /// Kept until the connection is free of the transaction, so that clients that cancel one after the other do not
    /// leave more and more connections that wait for the same lock.
    pub(super) turns: Vec<OwnedSemaphorePermit>,
}

impl Drop for PostgresTransaction {
    /// Returns the connection to the pool without a transaction, or closes it. sqlx's own transactions exist only after
    /// BEGIN has succeeded, which is too late for one that waits for a lock.
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let turns = std::mem::take(&mut self.turns);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                // The answer to a statement that still waits for a lock is received first.
                let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut *connection);
                if !matches!(tokio::time::timeout(LOCK_TIMEOUT + PATIENCE, rollback).await, Ok(Ok(_))) {
                    drop(connection.detach());
                }
                drop(turns);
            })),
            Err(_) => drop(connection.detach()),
        }
    }
}

#[async_trait]
impl DatabaseTransaction for PostgresTransaction {
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        let sql = spelled(&self.schema, sql, &params)?;
        let rows = match self.connection() {
            Ok(connection) => sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await,
            Err(e) => Err(e),
        };
        rows.map_err(|e| failed(&self.uri, e))?.iter().map(|r| values(r, &self.uri)).collect()
    }

    fn rows<'s>(&'s mut self, sql: String, params: Vec<Value>) -> BoxStream<'s, Result<Row>> {
        let (uri, sql) = (self.uri.clone(), spelled(&self.schema, &sql, &params));
        let rows = sql.and_then(|sql| {
            let connection = self.connection().map_err(|e| failed(&uri, e))?;
            Ok(sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection))
        });
        match rows {
            Ok(rows) => {
                rows.map(move |row| row.map_err(|e| failed(&uri, e)).and_then(|row| values(&row, &uri))).boxed()
            }
            Err(e) => futures::stream::iter([Err(e)]).boxed(),
        }
    }

    /// Takes an exclusive lock on the place and a shared lock on each folder above it: two places conflict only if one is
    /// inside the other.
    async fn lock_location(&mut self, place: &LocationKey) -> Result<()> {
        let key = |place: &str| Value::from(format!("{}.dl_tables at {place}", self.schema).as_str());
        let mut places: Vec<_> = place.ancestors().filter(|above| *above != place.as_str()).map(key).collect();
        let mut locks = vec!["pg_advisory_xact_lock_shared(hashtextextended(?, 0))"; places.len()];
        places.push(key(place.as_str()));
        locks.push("pg_advisory_xact_lock(hashtextextended(?, 0))");
        let sql = spelled(&self.schema, &format!("SELECT {}", locks.join(", ")), &places)?;
        self.run(sql).await.map(drop)
    }

    async fn write(&mut self, writes: Vec<WriteStatement>) -> Result<u64> {
        let (mut changed, mut together) = (0, String::new());
        for write in writes {
            match write {
                WriteStatement::Insert(insert) if insert.count == 0 => continue,
                WriteStatement::Insert(insert) if insert.count >= BULK_ROWS => {
                    changed += self.run(std::mem::take(&mut together)).await?;
                    changed += self.insert(insert).await?;
                }
                WriteStatement::Insert(mut insert) => {
                    let rows = insert.take_rows()?;
                    if bytes_of(&rows) > MAX_BYTES {
                        changed += self.run(std::mem::take(&mut together)).await?;
                        changed += self.insert(insert.with_rows(rows)).await?;
                        continue;
                    }
                    let row = format!("({})", placeholders(insert.columns.len()));
                    let all = vec![row; rows.len()].join(", ");
                    let sql = format!("INSERT INTO {} ({}) VALUES {all}", insert.table, insert.columns.join(", "));
                    together.push_str(&spelled(&self.schema, &sql, &rows.concat())?);
                    together.push_str("; ");
                }
                WriteStatement::Run(sql, params) => {
                    together.push_str(&spelled(&self.schema, &sql, &params)?);
                    together.push_str("; ");
                }
            }
            if together.len() > MAX_BYTES {
                changed += self.run(std::mem::take(&mut together)).await?;
            }
        }
        changed += self.run(together).await?;
        Ok(changed)
    }

    async fn commit(mut self: Box<Self>) -> Result<(), CommitFailure> {
        let committed = self.execute("COMMIT".into()).await;
        if committed.is_ok() {
            self.connection = None;
        }
        committed.map(drop).map_err(|e| {
            // A server that answers with an error knows the result; one that disconnects, or reports a shutdown, may
            // have committed before.
            let answered =
                matches!(&e, sqlx::Error::Database(_)) && !is_gone(&e) && sqlstate(&e) != Some("40003".into());
            let error = failed(&self.uri, e);
            if answered { CommitFailure::RolledBack(error) } else { CommitFailure::Unknown(error) }
        })
    }
}

impl PostgresTransaction {
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    async fn insert(&mut self, insert: Insert) -> Result<u64> {
        let connection = self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed);
        let connection = connection.map_err(|e| failed(&self.uri, e))?;
        bulk::insert(connection, &self.schema, &self.uri, insert).await
    }

    async fn execute(&mut self, sql: String) -> sqlx::Result<u64> {
        Ok(sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.connection()?).await?.rows_affected())
    }

    async fn run(&mut self, sql: String) -> Result<u64> {
        if sql.is_empty() {
            return Ok(0);
        }
        self.execute(sql).await.map_err(|e| failed(&self.uri, e))
    }
}

pub(super) fn values(row: &PgRow, uri: &str) -> Result<Row> {
    let value = |i: usize| {
        let raw = row.try_get_raw(i).map_err(|e| failed(uri, e))?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let kind = raw.type_info().name().to_string();
        let decoded = match kind.as_str() {
            "INT8" | "INT4" | "INT2" => Decode::<Postgres>::decode(raw).map(Value::Int),
            "BYTEA" => Decode::<Postgres>::decode(raw).map(Value::Blob),
            _ => Decode::<Postgres>::decode(raw).map(Value::Text),
        };
        decoded.map_err(|e| {
            TxnLogError::corrupt(format!("{uri} holds an unreadable {kind} in {}", row.column(i).name())).with_source(e)
        })
    };
    Ok(Row((0..row.len()).map(value).collect::<Result<Vec<_>>>()?.into_iter()))
}
