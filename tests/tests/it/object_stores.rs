//! A table in an object store. `s3` and `azure` start servers that speak the protocols of the stores.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use deltalakedb_log::stores::environment;
use deltalakedb_log::{Durability, Location, Stores, SystemClock, TableRef};
use deltalakedb_mirror::{Mirror, VerifyOptions};
use deltalakedb_table::{DeltaRs, DeltaTable, SaveMode, Scan, WriteOptions};
use deltalakedb_tests::{agrees_with_delta_rs, contents, lines, our_rows, repository, sqlite, their_rows};
use object_store::ObjectStoreExt;

/// The location of the table, for the process that [`check`] starts.
const LOCATION: &str = "DELTALAKEDB_TEST_LOCATION";

/// The variables that configure object stores begin with these.
const PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Imports, reads, writes, publishes and verifies a table at this location, in a store that these variables configure.
///
/// The environment cannot be changed in a running process, so another process is started.
pub(crate) fn check(location: &str, variables: impl IntoIterator<Item = (&'static str, String)>) {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args(["--exact", "object_stores::inside", "--ignored", "--nocapture"]).env(LOCATION, location);
    for (name, _) in std::env::vars_os() {
        if PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(*prefix)) {
            process.env_remove(name);
        }
    }
    let output = process.envs(variables).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{errors}{said}");
}

/// The job of that process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "no test by itself: those of the stores start it"]
async fn inside() {
    let location = std::env::var(LOCATION).expect("it needs the store that another test starts");
    let location = Location::parse(&location).unwrap();
    upload(&repository().join("examples/data/events"), &location, environment().as_ref()).await;

    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
    let imported = mirror.import(&location, Some(&"events".parse().unwrap()), &|_, _| {}).await.unwrap();
    assert_eq!((imported.versions, imported.table.current_version), (14, 13));
    let read = agrees_with_delta_rs(&catalog, &imported.table).await;
    assert_eq!(read, (0..=13).collect(), "delta-rs reads every version");

    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(imported.table.id)).await.unwrap();
    let rows = table.read(&Scan::default()).await.unwrap();
    let committed = table.write(rows.clone(), SaveMode::Append, &WriteOptions::default()).await.unwrap().unwrap();
    assert_eq!(committed.version, 14);
    assert_eq!(mirror.publish(imported.table.id).await.unwrap().count, 1);

    let checkpoint = mirror.checkpoint(imported.table.id).await.unwrap();
    assert_eq!((checkpoint.version, checkpoint.is_last), (14, true));

    let twice = [rows.clone(), rows].concat();
    let entry = catalog.find(&TableRef::Id(imported.table.id)).await.unwrap().unwrap();
    assert_eq!(entry.published_version, Some(14));
    assert_eq!(our_rows(&catalog, &entry, 14).await.unwrap(), lines(&twice), "every row twice, as we read");
    assert_eq!(their_rows(&location, 14).await.unwrap(), lines(&twice), "every row twice, as delta-rs reads");
    let every = VerifyOptions { every_version: true, data: true };
    assert_eq!(mirror.verify(&entry, &DeltaRs, every, &|_, _| {}).await.unwrap(), []);

    // A commit of another writer stops publishing here as on a disk, and is not overwritten.
    let store = environment().open(&location, Durability::Full).unwrap();
    let next = object_store::path::Path::from("_delta_log/00000000000000000015.json");
    let foreign = r#"{"commitInfo":{"operation":"WRITE","engineInfo":"another/1.0"}}"#;
    store.put(&next, foreign.into()).await.unwrap();
    let rows = table.read(&Scan { limit: Some(1), ..Scan::default() }).await.unwrap();
    table.write(rows, SaveMode::Append, &WriteOptions::default()).await.unwrap().unwrap();
    let stopped = mirror.publish(entry.id).await.unwrap_err().to_string();
    assert!(stopped.contains("00000000000000000015.json") && stopped.contains("dl verify"), "{stopped}");
    assert_eq!(store.get(&next).await.unwrap().bytes().await.unwrap(), foreign.as_bytes());
}

/// Copies a folder into a store.
pub(crate) async fn upload(from: &Path, to: &Location, stores: &dyn Stores) {
    let store = stores.open(to, Durability::Full).unwrap();
    for (path, bytes) in contents(from) {
        // File names are used literally: an encoded character in one is part of the name.
        let key = object_store::path::Path::parse(path.to_str().unwrap()).unwrap();
        store.put(&key, bytes.into()).await.unwrap();
    }
}
