//! Failures of the disk and of the catalog at each step of a flush, and its end between two of them.

use std::path::Path;

use deltalakedb_rows::seq::SeqId;
use deltalakedb_rows::storage::memory::MemoryStorage;
use deltalakedb_rows::storage::{Batch, Snapshot, Storage, WalSync};
use parking_lot::Mutex;

use super::resolution::check_resolution;
use super::*;
use crate::row_table::SCOPE;

/// The writes to the row store during a flush: an intent before the files, one with the commit, and the swap.
const WRITES: usize = 3;

/// A storage of a disk whose nth sync from now fails, counted from 0, or its nth write without one.
pub(super) struct FailingStorage {
    pub(super) inner: MemoryStorage,
    pub(super) disk: MemoryDisk,
    pub(super) left: Arc<Mutex<Option<usize>>>,
    pub(super) unsynced_left: Arc<Mutex<Option<usize>>>,
}

/// Whether this is the one that fails. `left` counts down to it.
fn fails_now(left: &Mutex<Option<usize>>) -> bool {
    let mut left = left.lock();
    let fails = *left == Some(0);
    *left = left.and_then(|left| left.checked_sub(1));
    fails
}

impl Storage for FailingStorage {
    fn write(&self, batch: Batch, sync: WalSync) -> Result<()> {
        match sync {
            WalSync::Now if fails_now(&self.left) => self.disk.fail_next_sync(&Fixture::hot()),
            WalSync::Later if fails_now(&self.unsynced_left) => {
                return Err(TxnLogError::new(ErrorKind::Unavailable, "no space is left: open the store again"));
            }
            WalSync::Now | WalSync::Later => {}
        }
        self.inner.write(batch, sync)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.inner.snapshot()
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn checkpoint(&self, folder: &Path) -> Result<()> {
        self.inner.checkpoint(folder)
    }

    fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

/// Makes a table of two versions with changes that are not flushed, of which the next flush makes a data file and a
/// vector.
pub(super) const STATEMENTS: [&str; 6] = [
    "CREATE SHARED TABLE app.notes (id BIGINT PRIMARY KEY, body TEXT, stars INT)",
    "INSERT INTO app.notes VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
    "FLUSH ALL",
    "UPDATE app.notes SET body = 'B' WHERE id = 2",
    "DELETE FROM app.notes WHERE id = 3",
    "INSERT INTO app.notes VALUES (4, 'd', 4)",
];

/// The rows after the statements.
pub(super) const ROWS: [&str; 3] = ["1|a|1", "2|B|2", "4|d|4"];

pub(super) const EVERY_NOTE: &str = "SELECT * FROM app.notes";

#[tokio::test]
async fn a_flush_that_failed_anywhere_is_finished_or_undone() {
    for nth in 0..WRITES {
        for loses_power in [false, true] {
            let mut fixture = Fixture::new().await;
            let (all, want) = (EVERY_NOTE, ROWS);
            {
                let mut session = fixture.session();
                for sql in STATEMENTS {
                    ask(&mut session, sql).await.unwrap();
                }
                *fixture.fails_in.lock() = Some(nth);
                assert!(fixture.engine().flush_all().await.is_err(), "{nth}");
                // Reads continue, and nothing more is acknowledged.
                check(&mut session, all, &want).await;
                fails(&mut session, "INSERT INTO app.notes VALUES (5, 'e', 5)", &["open"]).await;
            }
            if loses_power {
                fixture.disk.lose_power();
            }
            fixture.reopen().await.unwrap();
            let mut session = fixture.session();
            check(&mut session, all, &want).await;
            if nth == WRITES - 1 || nth == 1 && !loses_power {
                // It was committed, and only once.
                check(&mut session, "SELECT version FROM system.tables", &["2"]).await;
            }
            check(&mut session, "INSERT INTO app.notes VALUES (5, 'e', 5); FLUSH ALL", &["INSERT 1", "FLUSH ALL"])
                .await;
            let want = ["1|a|1", "2|B|2", "4|d|4", "5|e|5"];
            check(&mut session, all, &want).await;
            check(&mut fixture.delta_session(), "SELECT id, body, stars FROM app.notes", &want).await;
            no_unnamed_files(&fixture, "app.notes").await;
        }
    }
}

/// Where a flush stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The intent has the commit, and the catalog has not.
    BeforeCommit,
    /// The catalog has the commit, and the flush does not know.
    AnswerIsLost,
    /// The catalog has the commit, and the process ends.
    AfterCommit,
    /// The swap is not stored.
    InSwap,
    /// The swap is stored, and nothing says that hot versions are to be collected.
    BeforeCollection,
    /// No hot version is collected.
    InCollection,
}

const STOPS: [Stop; 6] = [
    Stop::BeforeCommit,
    Stop::AnswerIsLost,
    Stop::AfterCommit,
    Stop::InSwap,
    Stop::BeforeCollection,
    Stop::InCollection,
];

impl Stop {
    /// Runs a flush until there.
    async fn reach(self, fixture: &Fixture) {
        match self {
            Self::BeforeCommit => *fixture.commits.lock() = Some(CatalogFailure::DiskIsFull),
            Self::AnswerIsLost => *fixture.commits.lock() = Some(CatalogFailure::AnswersAreLost),
            Self::AfterCommit => *fixture.commits.lock() = Some(CatalogFailure::CommitsHang),
            Self::InSwap => *fixture.fails_in.lock() = Some(WRITES - 1),
            Self::BeforeCollection => *fixture.unsynced_fails_in.lock() = Some(0),
            Self::InCollection => *fixture.unsynced_fails_in.lock() = Some(1),
        }
        tokio::select! {
            flushed = fixture.engine().flush_all() => assert!(flushed.is_err(), "{self:?}"),
            () = fixture.committed.notified() => assert_eq!(self, Self::AfterCommit),
        }
    }

    /// Whether rows can be changed until the table is opened again.
    fn is_writable(self) -> bool {
        matches!(self, Self::BeforeCommit | Self::AnswerIsLost | Self::AfterCommit)
    }
}

#[tokio::test]
async fn a_flush_that_ended_between_two_steps_is_finished_once() {
    for (stop, loses_power) in STOPS.into_iter().flat_map(|stop| [(stop, false), (stop, true)]) {
        // A flush that hangs has the store open.
        if stop == Stop::AfterCommit && !loses_power {
            continue;
        }
        eprintln!("{stop:?}, loses power: {loses_power}");
        let mut fixture = Fixture::new().await;
        let mut want = ROWS.to_vec();
        {
            let mut session = fixture.session();
            for sql in STATEMENTS {
                ask(&mut session, sql).await.unwrap();
            }
            Box::pin(stop.reach(&fixture)).await;
            check(&mut session, EVERY_NOTE, &want).await;
            check_resolution(&fixture, &mut session, "app.notes").await;
            if stop.is_writable() {
                // Rows of the files that the flush wrote, of older ones, and of none.
                for (sql, done) in [
                    ("UPDATE app.notes SET stars = 9 WHERE id = 4", "UPDATE 1"),
                    ("DELETE FROM app.notes WHERE id < 3", "DELETE 2"),
                    ("INSERT INTO app.notes VALUES (2, 'again', 0), (3, 'again', 0)", "INSERT 2"),
                ] {
                    check(&mut session, sql, &[done]).await;
                }
                want = vec!["2|again|0", "3|again|0", "4|d|9"];
                check(&mut session, EVERY_NOTE, &want).await;
            } else {
                fails(&mut session, "INSERT INTO app.notes VALUES (5, 'e', 5)", &["open"]).await;
            }
        }
        if loses_power {
            fixture.disk.lose_power();
        }
        fixture.reopen().await.unwrap();
        let mut session = fixture.session();
        check(&mut session, EVERY_NOTE, &want).await;
        check_resolution(&fixture, &mut session, "app.notes").await;
        no_unnamed_files(&fixture, "app.notes").await;
        // The flush committed once.
        check(&mut session, "SELECT version FROM system.tables", &["2"]).await;
        check(&mut fixture.delta_session(), "SELECT id, body, stars FROM app.notes", &ROWS).await;

        check(&mut session, "INSERT INTO app.notes VALUES (5, 'e', 5)", &["INSERT 1"]).await;
        want.push("5|e|5");
        // What a session reads is not collected.
        drop(session);
        fixture.engine().flush_all().await.unwrap();
        assert_eq!(hot_versions(&fixture, "app.notes"), 0, "{stop:?}");
        let mut session = fixture.session();
        check(&mut session, EVERY_NOTE, &want).await;
        check(&mut session, "SELECT version FROM system.tables", &["3"]).await;
        check(&mut fixture.delta_session(), "SELECT id, body, stars FROM app.notes", &want).await;
        check_resolution(&fixture, &mut session, "app.notes").await;
        no_unnamed_files(&fixture, "app.notes").await;
    }
}

/// How many hot versions a table has, of those that the index of changes has.
fn hot_versions(fixture: &Fixture, table: &str) -> usize {
    let table = fixture.engine().find(&table.parse().unwrap()).unwrap();
    let mut versions = 0;
    let snapshot = fixture.engine().store().snapshot().unwrap();
    snapshot
        .changes(table.id, &SCOPE, SeqId::ZERO, |_| {
            versions += 1;
            true
        })
        .unwrap();
    versions
}

/// Every file in the table's folder is named by a version.
pub(super) async fn no_unnamed_files(fixture: &Fixture, table: &str) {
    use deltalakedb_log::snapshot::At;
    use deltalakedb_log::{Catalog, TableRef};
    let table = fixture.catalog.find(&TableRef::Name(table.parse().unwrap())).await.unwrap().unwrap();
    let reader = fixture.catalog.reader(table.id);
    let newest = reader.snapshot(At::Latest).await.unwrap().version();
    let mut named = std::collections::HashSet::new();
    for version in 0..=newest {
        let files: Vec<_> = reader.files(version, None).await.unwrap().try_collect().await.unwrap();
        for add in files {
            named.extend(add.paths().unwrap().map(|path| path.to_string()));
        }
    }
    let folder = table.location.local_path().unwrap();
    // There is no folder before the first flush.
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('_') || named.contains(&name), "{name} is not among {named:?}");
    }
}
