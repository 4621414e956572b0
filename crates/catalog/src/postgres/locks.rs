//! How a writing transaction begins, and what it locks.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::TableId;
use parking_lot::Mutex;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a writer waits for the lock of a table, unless the server has another setting. Longer than the idle
/// timeout, so that a writer that waits for a stopped client gets the lock.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// How many writers of a process may be in the server for one table: one that has the lock, and one that gets it as
/// soon as it is free.
const TURNS: usize = 2;

/// The statements that begin a writing transaction, and one whose COMMIT need not wait for the disk.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) write: String,
    pub(super) note: String,
    pub(super) migrate: String,
}

impl Begin {
    /// The settings of a transaction, where the server's own settings are not sufficient.
    pub(super) async fn of(connection: &mut PgConnection, idle_timeout: Duration) -> sqlx::Result<Self> {
        let setting = |name| format!("(SELECT setting FROM pg_settings WHERE name = '{name}')");
        let sql = format!(
            "SELECT {}, {}, {}",
            setting("synchronous_commit"),
            setting("idle_in_transaction_session_timeout"),
            setting("lock_timeout")
        );
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
        let ms = |i| -> sqlx::Result<u128> {
            let text: String = row.try_get(i)?;
            // Zero means no limit.
            Ok(text.parse().ok().filter(|ms| *ms > 0).unwrap_or(u128::MAX))
        };
        let mut limits = String::new();
        if ms(1)? > idle_timeout.as_millis() {
            let _ = write!(limits, "; SET LOCAL idle_in_transaction_session_timeout = {}", idle_timeout.as_millis());
        }
        if ms(2)? == u128::MAX {
            let _ = write!(limits, "; SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis());
        }
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED";
        // An acknowledged commit must survive a power failure, whatever the server's default is.
        let durable = match row.try_get::<&str, _>(0)? {
            "off" => format!("{begin}; SET LOCAL synchronous_commit = on"),
            _ => begin.to_string(),
        };
        Ok(Self {
            write: format!("{durable}{limits}"),
            note: format!("{begin}; SET LOCAL synchronous_commit = off{limits}"),
            migrate: durable,
        })
    }
}

/// What a transaction locks when it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locks<'a> {
    /// `dl_tables` or `dl_mirrors`.
    pub(super) rows_of: &'static str,
    pub(super) tables: &'a [TableId],
    pub(super) turns: &'a Turns,
}

/// The turns of this process's writers to be in the server for a table.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<TableId, Arc<Semaphore>>>);

impl Turns {
    /// Waits for a turn for each of these tables. All callers wait in the order of the ids: no deadlock.
    pub(super) async fn take(&self, tables: &[TableId]) -> Vec<OwnedSemaphorePermit> {
        let mut tables = tables.to_vec();
        tables.sort_unstable();
        let mut taken = Vec::with_capacity(tables.len());
        for table in tables {
            // The semaphore is never closed.
            taken.extend(self.of(table).acquire_owned().await);
        }
        taken
    }

    fn of(&self, table: TableId) -> Arc<Semaphore> {
        let mut all = self.0.lock();
        if !all.contains_key(&table) {
            all.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        all.entry(table).or_insert_with(|| Arc::new(Semaphore::new(TURNS))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cancelled_waiter_passes_its_turn_on() {
        let (turns, id) = (Turns::default(), |n| TableId(uuid::Uuid::from_u128(n)));
        let first = turns.take(&[id(1), id(2)]).await;
        let second = turns.take(&[id(2)]).await;
        let third = async { turns.take(&[id(2), id(1)]).await };
        assert!(tokio::time::timeout(Duration::from_millis(1), third).await.is_err(), "two are in the server");
        drop(second);
        drop(turns.take(&[id(2), id(1)]).await);
        drop(first);
        drop(turns.take(&[id(3)]).await);
        assert_eq!(turns.0.lock().len(), 1, "a table that no session writes has no turn");
    }
}
