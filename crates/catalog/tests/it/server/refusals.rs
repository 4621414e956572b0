//! Every rejection of a database gives one sentence, which names the catalog and says what to do.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use deltalakedb_log::{ErrorKind, TableListing, TableName};

use super::*;
use crate::databases::{Database, databases};

const PASSWORD: &str = "correct-horse";
const WRONG: &str = "battery-staple";

/// Opens a catalog, commits to its table `t` if it exists, and prints the result; then waits to be ended.
pub(super) async fn open(uri: &str, create: bool) {
    let options = ConnectOptions { create, ..Default::default() };
    let tried: deltalakedb_log::Result<_> = async {
        let catalog = SqlCatalog::connect(&CatalogUri::parse(uri)?, options).await?;
        if let Some(table) = catalog.find(&TableRef::Name("t".parse::<TableName>()?)).await? {
            let head = catalog.reader(table.id).head().await?.version;
            catalog.commit_all(vec![append(table.id, head, &Uuid::new_v4().to_string())]).await?.committed()?;
        }
        Ok(catalog)
    }
    .await;
    match tried {
        Ok(catalog) => {
            print_line("fine");
            let _ = std::io::stdin().read_line(&mut String::new());
            catalog.close().await;
        }
        Err(e) => print_line(&format!("{:?} {:?}", e.kind(), e.to_string())),
    }
}

/// A way to open a catalog.
struct Way<'a> {
    uri: &'a str,
    create: bool,
    env: &'a [(&'a str, &'a str)],
    /// The program through which it is started.
    through: Option<Command>,
}

fn way(uri: &str) -> Way<'_> {
    Way { uri, create: false, env: &[], through: None }
}

impl Way<'_> {
    fn go(self) -> String {
        let through = self.through.unwrap_or_else(|| Command::new(std::env::current_exe().unwrap()));
        let job = ["open", self.uri, if self.create { "true" } else { "false" }];
        let mut process = Process::spawn(through, &job, self.env);
        drop(process.0.stdin.take());
        process.wait_for_lines().pop().unwrap()
    }

    fn works(self) {
        let (uri, said) = (self.uri, self.go());
        assert_eq!(said, "fine", "{uri}");
    }

    /// Asserts that opening fails with a message that contains each of these.
    fn refused(self, kind: ErrorKind, says: &[&str]) {
        let uri = CatalogUri::parse(self.uri).unwrap().to_string();
        let said = self.go();
        let message = said.strip_prefix(&format!("{kind:?} ")).unwrap_or_else(|| panic!("not {kind:?}: {said}"));
        let message: String = serde_json::from_str(message).unwrap_or_else(|e| panic!("{e}: {message}"));
        assert!(!message.contains('\n'), "more than a line: {message}");
        for part in says.iter().chain([&&*uri]) {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        assert!(!message.contains(PASSWORD) && !message.contains(WRONG), "a secret is in: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_give_the_reason() {
    let hba = "local all all trust\n\
               host all secret 127.0.0.1/32 scram-sha-256\n\
               hostssl all safe 127.0.0.1/32 trust\n\
               host all safe 127.0.0.1/32 reject\n\
               host all postgres,guest,reader,frozen 127.0.0.1/32 trust\n";
    let server = Server::start(&[], &[("PGHBA", hba), ("PGTLS", "1")]);
    let uri = server.uri("catalog");
    let catalog = connect(&uri).await;
    create(&catalog, "t").await;
    let roles = format!(
        "CREATE ROLE secret LOGIN SUPERUSER PASSWORD '{PASSWORD}'; CREATE ROLE safe LOGIN SUPERUSER; \
         CREATE ROLE guest LOGIN; CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA catalog TO reader; \
         GRANT SELECT ON ALL TABLES IN SCHEMA catalog TO reader"
    );
    ask(&uri, &roles).await;
    let by = |user: &str| changed(&uri, |place| place.user = Some(user.into()));
    way(&uri).works();

    let secret = by("secret");
    Way { env: &[("PGPASSWORD", PASSWORD)], ..way(&secret) }.works();
    Way { env: &[("PGPASSWORD", WRONG)], ..way(&secret) }.refused(ErrorKind::Invalid, &["PGPASSWORD", "password"]);
    way(&secret).refused(ErrorKind::Invalid, &["PGPASSWORD"]);

    let tls = |mode: &str| changed(&by("safe"), |place| place.sslmode = Some(mode.into()));
    way(&tls("require")).works();
    way(&tls("disable")).refused(ErrorKind::Invalid, &["TLS", "sslmode=require"]);
    way(&tls("verify-full")).refused(ErrorKind::Unavailable, &["TLS with", "certificate"]);
    way(&by("stranger")).refused(ErrorKind::Invalid, &["pg_hba.conf", "user="]);

    way(&by("guest")).refused(ErrorKind::Invalid, &["GRANT", "USAGE"]);
    let elsewhere = changed(&by("guest"), |place| place.schema = "elsewhere".into());
    Way { create: true, ..way(&elsewhere) }.refused(ErrorKind::Invalid, &["GRANT", "CREATE"]);
    way(&by("reader")).refused(ErrorKind::Invalid, &["GRANT"]);

    let nowhere = changed(&uri, |place| place.database = "nowhere".into());
    way(&nowhere).refused(ErrorKind::NotFound, &["database", "create it"]);
    way(&server.uri("elsewhere")).refused(ErrorKind::NotFound, &["dl init"]);
    way(&server.uri("public")).refused(ErrorKind::NotFound, &["dl init"]);

    // Set by an administrator to stop writes. A role's own setting applies to its next connection at once.
    ask(&uri, "CREATE ROLE frozen LOGIN SUPERUSER; ALTER ROLE frozen SET default_transaction_read_only = on").await;
    way(&by("frozen")).refused(ErrorKind::Unavailable, &["primary"]);
    catalog.close().await;

    server.stop();
    way(&uri).refused(ErrorKind::Unavailable, &["PostgreSQL runs"]);
    // A standby without a primary: it reads, and does not write.
    std::fs::write(server.dir.path().join("data/standby.signal"), "").unwrap();
    server.start_again();
    way(&uri).refused(ErrorKind::Unavailable, &["primary"]);
    let elsewhere = server.uri("elsewhere");
    Way { create: true, ..way(&elsewhere) }.refused(ErrorKind::Unavailable, &["primary"]);
    let options = ConnectOptions { create: false, ..Default::default() };
    let standby = SqlCatalog::connect(&CatalogUri::parse(&uri).unwrap(), options).await.unwrap();
    assert_eq!(standby.tables().await.unwrap().len(), 1);
    standby.close().await;
}

#[test]
fn a_duckdb_file_belongs_to_one_process() {
    let [database] = databases("lock") else { panic!("one database locks its file") };
    let dir = tempfile::tempdir().unwrap();
    let uri = database.uri(dir.path(), "locked");
    let mut holder = Process::start(&["open", &uri, "true"]);
    assert_eq!(holder.lines().next().unwrap(), "fine");
    way(&uri).refused(ErrorKind::Unavailable, &["in use by another process", "stop that process"]);
    drop(holder);
    way(&uri).works();
}

/// Root may write everywhere, unless that privilege is removed.
fn without_privilege() -> Option<Command> {
    let root = std::fs::metadata("/proc/self").unwrap();
    (std::os::unix::fs::MetadataExt::uid(&root) == 0).then(|| {
        let mut command = Command::new("setpriv");
        command.arg("--bounding-set=-dac_override").arg("--").arg(std::env::current_exe().unwrap());
        command
    })
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_read_only_file_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    for database in [Database::Sqlite, Database::DuckDb] {
        let uri = database.uri(&folder, "c");
        let file = folder.join(if database == Database::Sqlite { "c.db" } else { "c.duckdb" });
        let catalog = connect(&uri).await;
        create(&catalog, "t").await;
        catalog.close().await;
        let attempt = |uri, create| Way { create, through: without_privilege(), ..way(uri) };
        attempt(&uri, false).works();
        for (of_file, of_folder) in [(0o444, 0o755), (0o444, 0o555)] {
            set_mode(&file, of_file);
            set_mode(&folder, of_folder);
            attempt(&uri, false).refused(ErrorKind::Unavailable, &["permission"]);
        }
        let new = database.uri(&folder, "new");
        attempt(&new, true).refused(ErrorKind::Unavailable, &["permission"]);
        set_mode(&folder, 0o755);
        // SQLite gives its other files the permissions of the main file.
        for there in std::fs::read_dir(&folder).unwrap() {
            set_mode(&there.unwrap().path(), 0o644);
        }
        attempt(&uri, false).works();
        let below = database.uri(&file, "below");
        attempt(&below, true).refused(ErrorKind::NotFound, &["folder"]);
        let missing = database.uri(&folder, "missing");
        attempt(&missing, false).refused(ErrorKind::NotFound, &["dl init"]);
    }
}
