//! Backups of catalogs in files, and what is done after a restore. The commands are those of the page.

use std::path::Path;

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};

use super::{WRITE, begin, import_newer, newest_version, section, write_and_die};
use crate::bad_input::check;
use crate::databases::Database;
use crate::test_folder::{Ran, TestFolder};

/// The columns of the table of backups.
pub(super) const BACKUP: usize = 2;
pub(super) const RESTORE: usize = 3;

/// The code in a cell of the table of backups.
pub(super) fn code_of(database: &str, column: usize) -> Vec<String> {
    let begin = format!("| {database} |");
    let section = section("## Backups");
    let row = section.lines().find(|line| line.starts_with(&begin)).unwrap_or_else(|| panic!("no row {begin}"));
    let cell = row.split('|').nth(column).unwrap();
    cell.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// Runs a command of the page in the folder.
fn run(place: &TestFolder, command: &str) {
    let output = place.with_program(Path::new("sh"), &["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {:?}; scripts/setup test installs the programs", Ran::of(output));
}

#[test]
fn a_sqlite_catalog_is_backed_up_while_it_is_in_use_and_restored() {
    let code = code_of("SQLite", BACKUP);
    let commands: Vec<_> = code.iter().filter(|code| code.starts_with("sqlite3 ")).collect();
    assert_eq!(commands.len(), 2, "{code:?}");
    for command in commands {
        let place = begin(Database::Sqlite);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let uri = CatalogUri::parse(place.catalog()).unwrap();
        let program = runtime.block_on(SqlCatalog::connect(&uri, ConnectOptions::default())).unwrap();
        place.dl(WRITE).good();
        assert!(place.path("meta.db-wal").metadata().unwrap().len() > 0, "the newest commit is in this file");
        run(&place, command);
        runtime.block_on(program.close());
        place.dl(WRITE).good();
        write_and_die(&place);

        let code = code_of("SQLite", RESTORE);
        let (target, files) = code.split_last().unwrap();
        assert_eq!(files, ["meta.db", "meta.db-wal", "meta.db-shm"]);
        for file in files {
            std::fs::remove_file(place.path(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        }
        std::fs::rename(place.path("backup.db"), place.path(target)).unwrap();
        assert_eq!(newest_version(&place, "t"), 2, "{command}");
        import_newer(|args| place.dl(args));
        place.dl(WRITE).good();
        assert_eq!(newest_version(&place, "t"), 4, "the version that was not published is lost");
    }
}

/// The write-ahead log of a DuckDB catalog has the commits of a program that was killed.
#[test]
fn a_duckdb_catalog_is_backed_up_with_the_file_beside_it_and_restored() {
    assert_eq!(code_of("DuckDB", BACKUP), [".wal"]);
    for is_killed in [true, false] {
        let place = begin(Database::DuckDb);
        let (files, wal) = (["meta.duckdb", "meta.duckdb.wal"], place.path("meta.duckdb.wal"));
        if is_killed {
            write_and_die(&place);
        } else {
            place.dl(WRITE).good();
        }
        assert_eq!(wal.exists(), is_killed);
        let backup = |file: &str| place.path(&format!("backup.{file}"));
        for file in files.iter().filter(|file| place.path(file).exists()) {
            std::fs::copy(place.path(file), backup(file)).unwrap();
        }
        place.dl(WRITE).good();
        write_and_die(&place);
        assert!(wal.exists());

        for file in files {
            std::fs::remove_file(place.path(file)).unwrap();
        }
        for file in files.iter().filter(|file| backup(file).exists()) {
            std::fs::rename(backup(file), place.path(file)).unwrap();
        }
        assert_eq!(newest_version(&place, "t"), 2, "{is_killed}");
        if is_killed {
            // The backup has a version that it did not publish.
            check(place.dl(WRITE), 1, &["run `dl import default.t`"]);
            place.dl(&["init", "--restored"]).good();
            check(place.dl(&["import", "t"]), 1, &["that are not published", "run `dl mirror run` first"]);
            place.dl(&["mirror", "run"]).good();
            place.dl(&["import", "t"]).good();
            place.dl(&["verify", "--every-version", "--data"]).good();
        } else {
            import_newer(|args| place.dl(args));
        }
        place.dl(WRITE).good();
        assert_eq!(newest_version(&place, "t"), 4);
    }
}

#[test]
fn after_a_restore_newer_commits_are_set_aside_and_new_tables_imported() {
    let place = begin(Database::Sqlite);
    std::fs::copy(place.path("meta.db"), place.path("backup.db")).unwrap();
    place.dl(WRITE).good();
    place.dl(&["create", "later", "--location", "later", "--schema", "id long"]).good();
    place.dl(&["write", "later", "--input", "rows.csv"]).good();
    std::fs::rename(place.path("backup.db"), place.path("meta.db")).unwrap();
    place.dl(&["init", "--restored"]).good();

    let kept = place.dl(&["mirror", "repair", "t", "--ours"]).good();
    assert!(kept.contains("_set_aside") && kept.contains("00000000000000000002.json"), "{kept}");
    assert_eq!(newest_version(&place, "t"), 1);
    place.dl(WRITE).good();
    assert_eq!(newest_version(&place, "t"), 2);
    place.dl(&["import", "later", "--as", "later"]).good();
    assert_eq!(newest_version(&place, "later"), 1);
    place.dl(&["verify", "--every-version", "--data"]).good();
}

#[test]
fn a_sqlite_file_gets_smaller_by_a_copy_after_an_expiry() {
    let place = TestFolder::on(Database::Sqlite);
    let keeps = "delta.deletedFileRetentionDuration=interval 0 seconds";
    place.dl(&["create", "t", "--location", "t", "--schema", "id long", "--property", keeps]).good();
    // Commits of another writer, which no compression makes short.
    let mut rng = fastrand::Rng::with_seed(17);
    for version in 1..=8 {
        let note: String = (0..100_000).map(|_| rng.alphanumeric()).collect();
        let commit = format!("{{\"commitInfo\":{{\"operation\":\"WRITE\",\"note\":\"{note}\"}}}}\n");
        place.write(&format!("t/_delta_log/{version:020}.json"), &commit);
    }
    place.dl(&["import", "t"]).good();
    let size = |file: &str| place.path(file).metadata().unwrap().len();
    let before = size("meta.db");
    place.dl(&["expire", "--all", "--keep", "0s"]).good();
    assert!(size("meta.db") >= before, "the file keeps its size");
    run(&place, "sqlite3 meta.db \"VACUUM INTO 'copy.db'\"");
    assert!(size("copy.db") < before / 2, "{} of {before} bytes", size("copy.db"));
    std::fs::rename(place.path("copy.db"), place.path("meta.db")).unwrap();
    assert_eq!(newest_version(&place, "t"), 8);
    place.dl(&["verify", "--data"]).good();
}
