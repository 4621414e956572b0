//! The databases of each kind of test, and catalogs in them.
//!
//! It has no dependencies, so that it can be included in the tests of every crate.

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

/// The databases of each kind of test. A comment gives the reason if one is missing.
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
    // A schema in a server has its own permissions.
    ("permissions", &[Sqlite, DuckDb]),
    ("clocks",      &[Sqlite, DuckDb, Postgres]),
    // A DuckDB file can be opened by one process only, which another test checks.
    ("processes",   &[Sqlite, Postgres]),
    ("lock",        &[DuckDb]),
    // Only a server has connections that can be cut, poolers, and row locks.
    ("server",      &[Postgres]),
];

/// The databases a test runs on.
pub fn databases(test: &str) -> &'static [Database] {
    let row = WHERE.iter().find(|(name, _)| *name == test);
    row.unwrap_or_else(|| panic!("no row of the table says where {test:?} runs")).1
}

impl Database {
    /// The URI of a catalog of that name for this folder: a file in it, or a schema of its own.
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
