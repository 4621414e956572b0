//! A table in a bucket, behind a server that speaks S3.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalakedb_log::stores::environment;
use deltalakedb_log::{Durability, Location, SystemClock, TableRef};
use deltalakedb_mirror::{Mirror, VerifyOptions};
use deltalakedb_table::{DeltaRs, DeltaTable, SaveMode, Scan, WriteOptions};
use deltalakedb_tests::{agrees_with_delta_rs, contents, lines, our_rows, python, repository, sqlite, their_rows};
use object_store::ObjectStoreExt;

const BUCKET: &str = "lake";
const INSIDE: &str = "DELTALAKEDB_TEST_S3";

/// The server; stopped when it is dropped.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// `None`, after a report, if it is not installed.
    fn start() -> Option<Self> {
        let python = python("moto.server")?;
        let quiet = |mut command: Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut serve = Command::new(&python);
        serve.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = Self { process: quiet(serve).spawn().unwrap(), port };
        let started = Instant::now();
        while !server.request("GET", "/").starts_with("HTTP/1.1 200") {
            assert!(started.elapsed() < Duration::from_secs(60), "the S3 server does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(server)
    }

    /// The answer; empty when there is none.
    fn request(&self, method: &str, path: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            let host = format!("127.0.0.1:{}", self.port);
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_default()
    }
}

#[test]
fn a_table_is_written_published_and_read_in_a_bucket() {
    let Some(server) = Server::start() else { return };
    let made = server.request("PUT", &format!("/{BUCKET}"));
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    // The stores are configured by the environment, which cannot be changed in a running process, so another process is
    // started.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "s3::inside", "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", server.port))
        .env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", server.port))
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
}

/// The job of this process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "no test by itself: the test above starts it"]
async fn inside() {
    assert!(std::env::var_os(INSIDE).is_some(), "it needs the store that the test above starts");
    let location = Location::parse(&format!("s3://{BUCKET}/shop/events")).unwrap();
    upload(&repository().join("examples/data/events"), &location).await;

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

async fn upload(from: &Path, to: &Location) {
    let store = environment().open(to, Durability::Full).unwrap();
    for (path, bytes) in contents(from) {
        // File names are used literally: an encoded character in one is part of the name.
        let key = object_store::path::Path::parse(path.to_str().unwrap()).unwrap();
        store.put(&key, bytes.into()).await.unwrap();
    }
}
