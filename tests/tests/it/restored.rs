//! A catalog that lacks the last commits: it was restored from a backup, or its server was replaced by a standby that
//! lacked them.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::conformance::refused;
use deltalakedb_log::stores::environment;
use deltalakedb_log::{
    Catalog, CatalogAdministration, CommitId, ErrorKind, SystemClock, TableEntry, TableRef, TxnLogError, Version,
};
use deltalakedb_mirror::{Mirror, check_not_behind};
use deltalakedb_table::{DeltaTable, SaveMode, Transaction, TransactionOptions, Vacuum, WriteOptions, create_table};
use deltalakedb_tests::{contents, location, repository};
use tempfile::TempDir;

/// A process with an open catalog, and its tables.
struct Process {
    catalog: Arc<SqlCatalog>,
    shared: Arc<dyn Catalog>,
}

impl Process {
    async fn new(uri: &str) -> Self {
        let catalog = SqlCatalog::connect(&CatalogUri::parse(uri).unwrap(), ConnectOptions::default()).await.unwrap();
        let catalog = Arc::new(catalog);
        Self { shared: catalog.clone(), catalog }
    }

    async fn create(&self, dir: &Path, name: &str) {
        let schema = deltalakedb_table::parse_schema("id long").unwrap();
        let new = NewTable::new(name.parse().unwrap(), location(&dir.join(name)));
        let (by, properties, options) = (&[], &Default::default(), WriteOptions::default());
        create_table(self.shared.as_ref(), new, &schema, by, properties, &options).await.unwrap();
        self.publish(name).await;
    }

    async fn entry(&self, name: &str) -> TableEntry {
        self.catalog.find(&TableRef::Name(name.parse().unwrap())).await.unwrap().unwrap()
    }

    async fn table(&self, name: &str) -> DeltaTable {
        DeltaTable::of_entry(self.shared.clone(), self.entry(name).await)
    }

    async fn try_write(&self, name: &str, id: i64) -> Result<(), TxnLogError> {
        self.table(name).await.write(rows(id), SaveMode::Append, &WriteOptions::default()).await.map(drop)
    }

    async fn publish(&self, name: &str) {
        let mirror = Mirror::new(self.shared.clone(), Arc::new(SystemClock));
        mirror.publish(self.entry(name).await.id).await.unwrap();
    }

    async fn write(&self, name: &str, id: i64) {
        self.try_write(name, id).await.unwrap();
        self.publish(name).await;
    }

    async fn import(&self, name: &str) -> Result<Version, TxnLogError> {
        let place = self.entry(name).await.location;
        let mirror = Mirror::new(self.shared.clone(), Arc::new(SystemClock));
        let done = mirror.import(&place, None, &|_, _| {}).await?;
        Ok(done.table.current_version)
    }

    /// The id of a version's commit, from its bytes.
    async fn commit_id(&self, name: &str, version: Version) -> CommitId {
        let reader = self.catalog.reader(self.entry(name).await.id);
        let body = reader.commit_bytes(version).await.unwrap().unwrap();
        let commit = deltalakedb_log::Commit::parse(body, "a commit").unwrap();
        deltalakedb_log::commit::id_of(commit.info().unwrap()).unwrap()
    }

    async fn ids(&self, name: &str) -> Vec<i64> {
        let batches = self.table(name).await.read(&Default::default()).await.unwrap();
        let column = |b: &RecordBatch| b.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
        let mut ids: Vec<i64> = batches.iter().flat_map(column).collect();
        ids.sort_unstable();
        ids
    }
}

fn rows(id: i64) -> Vec<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
    vec![RecordBatch::try_from_iter([("id", ids)]).unwrap()]
}

/// The catalog lacks versions 2 and 3 of `t`, which are published. The first thing that happens is a write.
async fn lacks_two_versions(dir: &Path, p: &Process, lost: CommitId) {
    let before = contents(&dir.join("t"));
    let says =
        ["the catalog is at version 1 of default.t", "version 2", "dl import default.t", "before it was restored"];
    refused(p.try_write("t", 10).await, ErrorKind::Invalid, &says);
    let tx = Transaction::begin(p.shared.clone(), TransactionOptions::default()).await.unwrap();
    tx.write("other", rows(11), SaveMode::Append).await.unwrap();
    let into_t = tx.write("t", rows(11), SaveMode::Append).await;
    refused(into_t.map_err(TxnLogError::from), ErrorKind::Invalid, &says);
    tx.rollback().await;
    let delete = p.table("t").await.delete(None, &WriteOptions::default()).await;
    refused(delete, ErrorKind::Invalid, &says);
    let everything = Vacuum { retain: Some(Default::default()), enforce_retention: false, ..Vacuum::default() };
    let vacuum = p.table("t").await.vacuum(&everything, &WriteOptions::default()).await;
    refused(vacuum, ErrorKind::Invalid, &says);
    assert_eq!((p.entry("t").await.current_version, p.entry("other").await.current_version), (1, 0));
    assert_eq!(contents(&dir.join("t")), before, "nothing was written, and nothing removed");
    p.write("other", 12).await;

    let (catalog, epoch) = p.catalog.identity().await.unwrap();
    let renewed = p.catalog.renew_epoch().await.unwrap();
    assert_ne!(renewed, epoch);
    assert_eq!(p.import("t").await.unwrap(), 3);
    assert_eq!(p.ids("t").await, [1, 2, 3]);
    let found = p.catalog.find_commit(p.entry("t").await.id, lost).await.unwrap();
    assert_eq!(found.map(|found| found.version), Some(3), "whoever asks what became of a commit is told");
    p.write("t", 4).await;
    assert_eq!(p.ids("t").await, [1, 2, 3, 4]);
    let after = contents(&dir.join("t"));
    assert!(before.iter().all(|(path, bytes)| path.ends_with("_last_checkpoint") || after.get(path) == Some(bytes)));
    let body = p.catalog.reader(p.entry("t").await.id).commit_bytes(4).await.unwrap().unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains(&renewed.to_string()) && body.contains(&catalog.to_string()), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_catalog_refuses_commits_before_it_has_imported_missing_ones() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("meta.db");
    let uri = format!("deltasql://sqlite/{}", file.display());
    let p = Process::new(&uri).await;
    p.create(dir.path(), "t").await;
    p.create(dir.path(), "other").await;
    p.write("t", 1).await;
    p.catalog.close().await;
    std::fs::copy(&file, dir.path().join("backup.db")).unwrap();
    let p = Process::new(&uri).await;
    p.write("t", 2).await;
    p.write("t", 3).await;
    let lost = p.commit_id("t", 3).await;
    p.catalog.close().await;
    std::fs::copy(dir.path().join("backup.db"), &file).unwrap();
    lacks_two_versions(dir.path(), &Process::new(&uri).await, lost).await;
}

/// A transaction over two tables is never restored in one of them only.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_loads_every_table_of_a_transaction_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("meta.db");
    let uri = format!("deltasql://sqlite/{}", file.display());
    let p = Process::new(&uri).await;
    for name in ["s", "t", "u"] {
        p.create(dir.path(), name).await;
    }
    p.catalog.close().await;
    std::fs::copy(&file, dir.path().join("backup.db")).unwrap();
    let p = Process::new(&uri).await;
    for (one, other) in [("s", "t"), ("t", "u")] {
        let tx = Transaction::begin(p.shared.clone(), TransactionOptions::default()).await.unwrap();
        tx.write(one, rows(1), SaveMode::Append).await.unwrap();
        tx.write(other, rows(1), SaveMode::Append).await.unwrap();
        tx.commit().await.unwrap();
    }
    for name in ["s", "t", "u"] {
        p.publish(name).await;
    }
    p.catalog.close().await;
    let lost = dir.path().join("t/_delta_log/00000000000000000001.json");
    let aside = dir.path().join("aside.json");
    std::fs::copy(dir.path().join("backup.db"), &file).unwrap();
    std::fs::rename(&lost, &aside).unwrap();
    let later = dir.path().join("t/_delta_log/00000000000000000002.json");
    std::fs::rename(&later, dir.path().join("later.json")).unwrap();
    let p = Process::new(&uri).await;
    refused(p.import("s").await, ErrorKind::Invalid, &["version 1 of default.s", "default.t as well"]);
    assert_eq!(p.entry("s").await.current_version, 0);
    std::fs::rename(&aside, &lost).unwrap();
    std::fs::rename(dir.path().join("later.json"), &later).unwrap();
    assert_eq!(p.import("s").await.unwrap(), 1);
    let versions = (p.entry("t").await.current_version, p.entry("u").await.current_version);
    assert_eq!(versions, (2, 1), "the table beside it, and that beside the other");
    assert_eq!((p.ids("s").await, p.ids("t").await, p.ids("u").await), (vec![1], vec![1, 1], vec![1]));
}

/// The commits of a catalog that resumes after a long time may have been removed from the log except for a checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_behind_a_checkpoint_is_noticed_without_the_commits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("meta.db");
    let uri = format!("deltasql://sqlite/{}", file.display());
    let p = Process::new(&uri).await;
    p.create(dir.path(), "t").await;
    p.catalog.close().await;
    std::fs::copy(&file, dir.path().join("backup.db")).unwrap();
    let p = Process::new(&uri).await;
    for id in 1..=10 {
        p.write("t", id).await;
    }
    p.catalog.close().await;
    std::fs::copy(dir.path().join("backup.db"), &file).unwrap();
    for version in 0..10 {
        std::fs::remove_file(dir.path().join(format!("t/_delta_log/{version:020}.json"))).unwrap();
    }
    let p = Process::new(&uri).await;
    refused(p.try_write("t", 11).await, ErrorKind::Invalid, &["version 0 of default.t", "version 10", "a checkpoint"]);
}

/// Another catalog's commit exists where ours was published: there are two histories already.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_whose_published_commits_are_missing_in_the_log_refuses_commits() {
    let dir = tempfile::tempdir().unwrap();
    let uri = format!("deltasql://sqlite/{}/meta.db", dir.path().display());
    let p = Process::new(&uri).await;
    p.create(dir.path(), "t").await;
    p.write("t", 1).await;
    let log = dir.path().join("t/_delta_log/00000000000000000001.json");
    let ours = std::fs::read(&log).unwrap();
    std::fs::write(&log, "{\"commitInfo\":{\"engineInfo\":\"another/1.0\",\"operation\":\"WRITE\"}}\n").unwrap();
    p.try_write("t", 2).await.unwrap_or_else(|e| panic!("a process looks before its first write, not each time: {e}"));
    let q = Process::new(&uri).await;
    refused(q.try_write("t", 3).await, ErrorKind::Invalid, &["version 1", "another/1.0", "dl verify default.t"]);
    std::fs::write(&log, ours).unwrap();
    q.write("t", 3).await;
    assert_eq!(q.ids("t").await, [1, 2, 3]);
}

/// A check during concurrent commits and publishing sees versions in the log before it sees them in the catalog, and
/// does not wait for a pause.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commits_of_others_are_not_another_history() {
    let dir = tempfile::tempdir().unwrap();
    let uri = format!("deltasql://sqlite/{}/meta.db", dir.path().display());
    let p = Process::new(&uri).await;
    p.create(dir.path(), "t").await;
    let id = p.entry("t").await.id;
    let q = Process::new(&uri).await;
    let looking = tokio::spawn(async move {
        let mut looks = 0;
        while q.entry("t").await.current_version < 40 {
            check_not_behind(q.shared.as_ref(), environment().as_ref(), id).await.unwrap();
            looks += 1;
        }
        looks
    });
    for id in 0..40 {
        p.write("t", id).await;
    }
    assert!(looking.await.unwrap() > 0);
}

/// A process that had the catalog open while it was restored gets one error, and then sees the restored state.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_catalog_notices_a_restore() {
    let dir = tempfile::tempdir().unwrap();
    let uri = format!("deltasql://sqlite/{}/meta.db", dir.path().display());
    let p = Process::new(&uri).await;
    p.create(dir.path(), "t").await;
    p.write("t", 1).await;
    let q = Process::new(&uri).await;
    q.catalog.renew_epoch().await.unwrap();
    refused(p.try_write("t", 2).await, ErrorKind::Conflict, &["was restored", "read the table again"]);
    p.write("t", 2).await;
    assert_eq!(p.ids("t").await, [1, 2]);
}

/// A server for one test; stopped when it is dropped.
struct Server(TempDir, String);

impl Server {
    fn start(command: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = stdout_of(command, script(command, &dir, args));
        Self(dir, port.trim().to_string())
    }

    fn uri(&self) -> String {
        format!("deltasql://postgres/postgres/lake?host=127.0.0.1&port={}&user=postgres", self.1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script("kill", &self.0, &[]);
    }
}

fn script(command: &str, dir: &TempDir, args: &[&str]) -> Output {
    let mut run = Command::new(repository().join("scripts/postgres"));
    run.arg(command).arg(dir.path()).args(args).stdin(Stdio::null()).output().unwrap()
}

fn stdout_of(command: &str, output: Output) -> String {
    assert!(output.status.success(), "scripts/postgres {command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_without_the_last_commits_refuses_commits_before_it_has_imported_them() {
    let dir = tempfile::tempdir().unwrap();
    let primary = Server::start("start", &[]);
    let p = Process::new(&primary.uri()).await;
    p.create(dir.path(), "t").await;
    p.create(dir.path(), "other").await;
    p.write("t", 1).await;
    let standby = Server::start("standby", &[&primary.1]);
    p.write("t", 2).await;
    p.write("t", 3).await;
    let lost = p.commit_id("t", 3).await;
    stdout_of("kill", script("kill", &primary.0, &[]));
    stdout_of("promote", script("promote", &standby.0, &[]));
    lacks_two_versions(dir.path(), &Process::new(&standby.uri()).await, lost).await;
}
