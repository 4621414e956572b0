//! Which tests run on which database, and catalogs in each for them.
//!
//! Plain enough to be part of the tests of every crate.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// A database that can hold a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file for many processes.
    Sqlite,
    /// A file for one process.
    DuckDb,
    /// A server.
    Postgres,
}

use Database::{DuckDb, Postgres, Sqlite};

/// Which test runs where. What is not in a row has its reason beside it.
#[rustfmt::skip]
const WHERE: &[(&str, &[Database])] = &[
    ("conformance", &[Sqlite, DuckDb, Postgres]),
    ("property",    &[Sqlite, DuckDb, Postgres]),
    ("golden",      &[Sqlite, DuckDb, Postgres]),
    ("crash",       &[Sqlite, DuckDb, Postgres]),
    ("planning",    &[Sqlite, DuckDb, Postgres]),
    ("limits",      &[Sqlite, DuckDb, Postgres]),
    ("speed",       &[Sqlite, DuckDb, Postgres]),
    ("migration",   &[Sqlite, DuckDb, Postgres]),
    ("copy",        &[Sqlite, DuckDb, Postgres]),
    ("owners",      &[Sqlite, DuckDb, Postgres]),
    ("checkpoint",  &[Sqlite, DuckDb, Postgres]),
    ("foreign",     &[Sqlite, DuckDb, Postgres]),
    ("operations",  &[Sqlite, DuckDb, Postgres]),
    ("transactions", &[Sqlite, DuckDb, Postgres]),
    ("uris",        &[Sqlite, DuckDb, Postgres]),
    ("sql",         &[Sqlite, DuckDb, Postgres]),
    // A schema of a server has rights of its own.
    ("permissions", &[Sqlite, DuckDb]),
    ("clocks",      &[Sqlite, DuckDb, Postgres]),
    // A DuckDB file belongs to one process: that a second one is told so is a test of its own.
    ("processes",   &[Sqlite, Postgres]),
    ("lock",        &[DuckDb]),
    // Only here is there a connection that can be cut, a pooler, and rows that are locked one by one.
    ("server",      &[Postgres]),
];

/// The databases a test runs on.
pub fn databases(test: &str) -> &'static [Database] {
    let row = WHERE.iter().find(|(name, _)| *name == test);
    row.unwrap_or_else(|| panic!("no row of the table says where {test:?} runs")).1
}

impl Database {
    /// The URI of a catalog of that name that belongs to the folder: in a file there, or in a schema of its own.
    pub fn uri(self, dir: &Path, name: &str) -> String {
        match self {
            Sqlite => format!("deltasql://sqlite/{}/{name}.db", dir.display()),
            DuckDb => format!("deltasql://duckdb/{}/{name}.duckdb", dir.display()),
            Postgres => {
                let mut hasher = DefaultHasher::new();
                (dir, name).hash(&mut hasher);
                in_server(&format!("t_{:016x}", hasher.finish()))
            }
        }
    }
}

/// The URI of a schema in the server for tests.
pub fn in_server(schema: &str) -> String {
    let url = std::env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty()).unwrap_or_else(|| {
        panic!(
            "TEST_DATABASE_URL is not set, and this test needs a PostgreSQL server: run `make test`, which starts one, \
             or `scripts/postgres with cargo test`, or set it to postgres://user@host:port/database"
        )
    });
    let parts = url.strip_prefix("postgres://").and_then(|rest| {
        let (server, database) = rest.split_once('/')?;
        let (user, place) = server.split_once('@')?;
        let (host, port) = place.rsplit_once(':')?;
        (!user.contains(':')).then_some((user, host, port, database))
    });
    let Some((user, host, port, database)) = parts else {
        panic!(
            "TEST_DATABASE_URL={url:?} is not postgres://user@host:port/database (a password belongs in PGPASSWORD)"
        );
    };
    format!("deltasql://postgres/{database}/{schema}?host={host}&port={port}&user={user}")
}
