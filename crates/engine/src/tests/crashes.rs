//! Failures of the disk at each step of a flush.

use std::path::Path;

use deltalakedb_rows::storage::memory::MemoryStorage;
use deltalakedb_rows::storage::{Batch, Snapshot, Storage, WalSync};
use parking_lot::Mutex;

use super::*;

/// The writes to the row store during a flush: an intent before the files, one with the commit, and the swap.
const WRITES: usize = 3;

/// A storage of a disk whose nth sync from now fails, counted from 0.
pub(super) struct FailingStorage {
    pub(super) inner: MemoryStorage,
    pub(super) disk: MemoryDisk,
    pub(super) left: Arc<Mutex<Option<usize>>>,
}

impl Storage for FailingStorage {
    fn write(&self, batch: Batch, sync: WalSync) -> Result<()> {
        if sync == WalSync::Now {
            let mut left = self.left.lock();
            if *left == Some(0) {
                self.disk.fail_next_sync(&Fixture::hot());
            }
            *left = left.and_then(|left| left.checked_sub(1));
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

#[tokio::test]
async fn a_flush_that_failed_anywhere_is_finished_or_undone() {
    for nth in 0..WRITES {
        for loses_power in [false, true] {
            let mut fixture = Fixture::new().await;
            let all = "SELECT * FROM app.notes";
            let want = ["1|a|1", "2|B|2", "4|d|4"];
            {
                let mut session = fixture.session();
                for sql in [
                    "CREATE SHARED TABLE app.notes (id BIGINT PRIMARY KEY, body TEXT, stars INT)",
                    "INSERT INTO app.notes VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
                    "FLUSH ALL",
                    "UPDATE app.notes SET body = 'B' WHERE id = 2",
                    "DELETE FROM app.notes WHERE id = 3",
                    "INSERT INTO app.notes VALUES (4, 'd', 4)",
                ] {
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
