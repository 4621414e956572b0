//! A table in a container of Azure, behind Azurite.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use deltalakedb_log::{ConfiguredStores, Durability, Location, Stores, SystemClock, TableRef};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{DeltaTable, SaveMode, Scan, WriteOptions};
use deltalakedb_tests::programs::{HttpServer, free_port};
use deltalakedb_tests::{repository, skip, sqlite};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};

use crate::object_stores::{check, upload};

/// The installed version; `scripts/setup` names it too.
const VERSION: &str = "3.35.0";

const ACCOUNT: &str = "account";
const CONTAINER: &str = "lake";

/// The account's key, in Base64 as every key of Azure.
const KEY: &str = "c2VjcmV0";
/// A key that the account does not have.
const WRONG_KEY: &str = "d3Jvbmc=";

/// Creates a container, with a request signed by the key of its account, which `object_store` cannot send.
const CREATE_CONTAINER: &str = r"
const [port, account, key, container] = process.argv.slice(1);
const path = `/${account}/${container}`;
const headers = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-08-06' };
const named = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`).join('');
const signed = `PUT\n${'\n'.repeat(11)}${named}/${account}${path}\nrestype:container`;
const signature = require('crypto').createHmac('sha256', Buffer.from(key, 'base64')).update(signed).digest('base64');
headers.Authorization = `SharedKey ${account}:${signature}`;
fetch(`http://127.0.0.1:${port}${path}?restype=container`, { method: 'PUT', headers }).then(async (answer) => {
    if (answer.status !== 201) throw new Error(await answer.text());
});
";

/// A server with an empty container; `None`, after a report, if it is not installed.
fn azurite() -> Option<HttpServer> {
    let home = std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
    let folder = home.join(format!(".cache/deltalakedb/azurite-{VERSION}"));
    let program = folder.join("node_modules/azurite/dist/src/blob/main.js");
    if !program.exists() || Command::new("node").arg("--version").output().is_err() {
        skip(&format!("there is no Azurite in {}, or no Node.js: run `scripts/setup test`", folder.display()));
        return None;
    }
    let (mut node, port) = (Command::new("node"), free_port().to_string());
    node.arg(program).args(["--blobHost", "127.0.0.1", "--blobPort", &port, "--inMemoryPersistence"]);
    node.args(["--silent", "--disableTelemetry"]).env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"));
    let server = HttpServer::start(node, port.parse().unwrap());
    let create = ["-e", CREATE_CONTAINER, &port, ACCOUNT, KEY, CONTAINER];
    let created = Command::new("node").args(create).output().unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    Some(server)
}

/// The variables that configure the store, with this key.
fn variables(server: &HttpServer, key: &str) -> [(&'static str, String); 4] {
    [
        ("AZURE_STORAGE_ENDPOINT", format!("http://127.0.0.1:{}/{ACCOUNT}", server.port)),
        ("AZURE_ALLOW_HTTP", "true".to_string()),
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_string()),
        ("AZURE_STORAGE_ACCOUNT_KEY", key.to_string()),
    ]
}

fn location() -> Location {
    Location::parse(&format!("az://{CONTAINER}/shop/events")).unwrap()
}

#[test]
fn a_table_is_written_published_and_read_in_a_container() {
    let Some(server) = azurite() else { return };
    check(location().url().as_str(), variables(&server, KEY));
}

/// Both have the same location and the same catalog, in one process.
#[tokio::test(flavor = "multi_thread")]
async fn two_handles_do_not_share_their_credentials() {
    let Some(server) = azurite() else { return };
    let stores = |key: &str| -> Arc<dyn Stores> {
        let stores = ConfiguredStores::default();
        stores.configure(&location(), variables(&server, key).map(|(name, value)| (name.to_lowercase(), value)));
        Arc::new(stores)
    };
    let (ours, theirs) = (stores(KEY), stores(WRONG_KEY));
    upload(&repository().join("examples/data/events"), &location(), ours.as_ref()).await;
    let denied = theirs.open(&location(), Durability::Full).unwrap().get(&Path::from("_delta_log/x")).await;
    assert!(matches!(denied, Err(Error::PermissionDenied { .. })), "{denied:?}");

    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let mirror =
        |stores: &Arc<dyn Stores>| Mirror::new(catalog.clone(), Arc::new(SystemClock)).with_stores(stores.clone());
    let imported = mirror(&ours).import(&location(), Some(&"events".parse().unwrap()), &|_, _| {}).await.unwrap();
    let id = imported.table.id;
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(id)).await.unwrap();
    for (stores, is_allowed) in [(&ours, true), (&theirs, false), (&ours, true)] {
        let rows = table.clone().with_stores(stores.clone()).read(&Scan::default()).await;
        assert_eq!(rows.is_ok(), is_allowed);
    }

    let table = table.with_stores(ours.clone());
    let rows = table.read(&Scan { limit: Some(1), ..Scan::default() }).await.unwrap();
    table.write(rows, SaveMode::Append, &WriteOptions::default()).await.unwrap().unwrap();
    assert!(mirror(&theirs).publish(id).await.is_err(), "published with a wrong key");
    assert_eq!(mirror(&ours).publish(id).await.unwrap().count, 1);
}
