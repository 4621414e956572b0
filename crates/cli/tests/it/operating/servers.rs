//! Catalogs in PostgreSQL that are restored, recovered to a point in time, lost, or continued by a standby.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::backups::{BACKUP, RESTORE, code_of};
use super::{WRITE, import_newer, newest_version_by};
use crate::bad_input::check;
use crate::test_folder::{Ran, TestFolder};

/// A server for one test, with the names of the page; stopped when it is dropped.
struct Server {
    dir: tempfile::TempDir,
    port: String,
}

impl Server {
    fn start(command: &str, args: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args = args(dir.path());
        let port = script(command, dir.path(), &args).good().trim().to_string();
        Self { dir, port }
    }

    fn primary(args: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let server = Self::start("start", args);
        server.sql("postgres", "CREATE DATABASE lake");
        server
    }

    /// A copy of it as it is now, which does not follow it.
    fn standby(&self) -> Self {
        Self::start("standby", |_| vec![self.port.clone()])
    }

    fn script(&self, command: &str, args: &[String]) {
        script(command, self.dir.path(), args).good();
    }

    fn uri(&self) -> String {
        format!("deltasql://postgres/lake/catalog?host=127.0.0.1&port={}&user=postgres", self.port)
    }

    /// A command of the page, in this folder, for this server.
    fn run(&self, folder: &Path, command: &str) -> String {
        let mut run = Command::new("sh");
        run.args(["-c", command]).current_dir(folder).env("PGHOST", "127.0.0.1");
        Ran::of(run.env("PGPORT", &self.port).env("PGUSER", "postgres").output().unwrap()).good()
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        let command = format!("psql --quiet --no-align --tuples-only --dbname {database} --command \"{sql}\"");
        self.run(self.dir.path(), &command).trim().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script("kill", self.dir.path(), &[]);
    }
}

fn script(command: &str, dir: &Path, args: &[String]) -> Ran {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    let mut run = Command::new(root.join("scripts/postgres"));
    Ran::of(run.arg(command).arg(dir).args(args).stdin(Stdio::null()).output().unwrap())
}

/// A table with one row, in version 1, in the catalog of this server.
fn begin(server: &Server) -> TestFolder {
    let place = TestFolder::new();
    place.write("rows.csv", "id\n1\n");
    let uri = server.uri();
    let dl = |args: &[&str]| dl(&place, &uri, args).good();
    dl(&["init"]);
    dl(&["create", "t", "--location", "t", "--schema", "id long"]);
    dl(WRITE);
    place
}

fn dl(place: &TestFolder, uri: &str, args: &[&str]) -> Ran {
    place.dl(&[&["--catalog", uri], args].concat())
}

#[test]
fn a_postgres_catalog_is_restored_from_a_dump_and_rebuilt_without_one() {
    let server = Server::primary(|_| Vec::new());
    let (place, uri) = (begin(&server), server.uri());
    let (folder, dl) = (place.path(""), |args: &[&str]| dl(&place, &uri, args));
    let backup = code_of("PostgreSQL", BACKUP);
    assert!(backup[0].starts_with("pg_dump "), "{backup:?}");
    server.run(&folder, &backup[0]);
    dl(WRITE).good();
    let restore = code_of("PostgreSQL", RESTORE);
    assert!(restore[0].starts_with("DROP SCHEMA ") && restore[1].starts_with("pg_restore "), "{restore:?}");
    server.sql("lake", &restore[0]);
    server.run(&folder, &restore[1]);
    import_newer(dl);
    dl(WRITE).good();
    assert_eq!(newest_version_by(dl, "t"), 3);

    server.sql("lake", "ALTER SCHEMA catalog RENAME TO lost");
    dl(&["init"]).good();
    dl(&["rebuild", "t", "--from-mirror"]).good();
    dl(&["init", "--set", "retention.time=90d"]).good();
    dl(&["verify", "--every-version", "--data"]).good();
    dl(WRITE).good();
    assert_eq!(newest_version_by(dl, "t"), 4);
}

#[test]
fn a_postgres_catalog_is_recovered_to_a_point_in_time() {
    let primary = Server::primary(|dir| {
        let archive = format!("archive_command=mkdir -p {0}/wal && cp %p {0}/wal/%f", dir.display());
        vec!["-c".to_string(), "archive_mode=on".to_string(), "-c".to_string(), archive]
    });
    let (place, lost) = (begin(&primary), primary.uri());
    let base_backup = primary.standby();
    dl(&place, &lost, WRITE).good();
    let time = primary.sql("lake", "SELECT clock_timestamp()");
    dl(&place, &lost, WRITE).good();
    primary.sql("lake", "SELECT pg_switch_wal()");
    primary.script("stop", &[]);

    let wal = primary.dir.path().join("wal");
    let settings = [
        format!("restore_command=cp {}/%f %p", wal.display()),
        format!("recovery_target_time={time}"),
        "recovery_target_action=promote".to_string(),
    ];
    let settings: Vec<_> = settings.into_iter().flat_map(|setting| ["-c".to_string(), setting]).collect();
    base_backup.script("restart", &settings);
    let began = Instant::now();
    while base_backup.sql("lake", "SELECT pg_is_in_recovery()") != "f" {
        assert!(began.elapsed() < Duration::from_secs(60), "the recovery does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    let uri = base_backup.uri();
    let dl = |args: &[&str]| dl(&place, &uri, args);
    assert_eq!(newest_version_by(dl, "t"), 2);
    import_newer(dl);
    dl(WRITE).good();
    assert_eq!(newest_version_by(dl, "t"), 4);
}

#[test]
fn after_a_failover_the_old_primary_is_rejected() {
    let primary = Server::primary(|_| Vec::new());
    let (place, old) = (begin(&primary), primary.uri());
    let standby = primary.standby();
    dl(&place, &old, WRITE).good();
    primary.script("kill", &[]);
    standby.script("promote", &[]);
    let uri = standby.uri();
    let new = |args: &[&str]| dl(&place, &uri, args);
    import_newer(new);
    new(WRITE).good();
    assert_eq!(newest_version_by(new, "t"), 3);

    primary.script("start", &[]);
    let late = dl(&place, &old, WRITE);
    check(late, 1, &["version 3 in", "was committed by the successor of"]);
    new(&["verify", "--every-version", "--data"]).good();
}
