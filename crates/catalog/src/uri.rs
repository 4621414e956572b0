//! Catalog URIs: the database, and optionally a table: `…/meta.db?table=sales.orders`.

use std::fmt;
use std::path::PathBuf;

use deltalakedb_log::{Result, TableName, TxnLogError, redacted};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// A parsed catalog URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogUri {
    /// The database.
    pub backend: Backend,
    /// The table it names, if any.
    pub table: Option<TableName>,
}

/// The database a catalog is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A SQLite file; a relative one is relative to the working directory.
    Sqlite(PathBuf),
    /// A DuckDB file, likewise.
    DuckDb(PathBuf),
    /// A schema of a PostgreSQL database.
    Postgres(PostgresBackend),
}

/// A schema of a PostgreSQL database. Absent parts are taken from the `PG*` variables; passwords only from `PGPASSWORD`
/// and `PGPASSFILE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresBackend {
    /// The database.
    pub database: String,
    /// The schema.
    pub schema: String,
    /// A name, an address, or the folder of a socket.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The user.
    pub user: Option<String>,
    /// `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`.
    pub sslmode: Option<String>,
}

const SCHEME: &str = "deltasql://";
const FILE_EXAMPLE: &str = "deltasql://sqlite//var/data/meta.db?table=sales.orders";
const SERVER_EXAMPLE: &str = "deltasql://postgres/mydb/public?host=db.example.com&user=etl";
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
const PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#').add(b' ');
const PART: &AsciiSet = &PATH.add(b'/').add(b'&').add(b'=').add(b'+').add(b':').add(b'@');
/// The keys of a query that an error may show: anything else may be a password under another name.
const KEYS: [&str; 5] = ["table", "host", "port", "user", "sslmode"];

impl CatalogUri {
    /// Whether `text` is meant as a catalog URI.
    pub fn is_catalog_uri(text: &str) -> bool {
        text.starts_with("deltasql:")
    }

    /// Whether the catalog is a file of its own, created when it does not exist.
    pub fn is_embedded(&self) -> bool {
        !matches!(self.backend, Backend::Postgres(_))
    }

    /// Parses a URI. The error says which part is wrong, what was expected, and shows a valid example; it contains
    /// nothing that may be a password.
    pub fn parse(text: &str) -> Result<Self> {
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| bad(text, "scheme", "expected `deltasql://`"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (database, path) = rest.split_once('/').unwrap_or((rest, ""));
        let server = !matches!(database, "sqlite" | "duckdb");
        if server && rest.contains('@') {
            let why = "a user, a password and a host are not allowed in it: expected \
                       `postgres/DATABASE/SCHEMA?host=…&user=…`, and the password in PGPASSWORD or PGPASSFILE";
            return Err(bad(text, "path", why));
        }
        let decode = |part: &str, s: &str| {
            let decoded = percent_decode_str(s).decode_utf8().map(String::from);
            decoded.map_err(|_| bad(text, part, "it is not UTF-8 when decoded"))
        };
        let table_name =
            |name: &str| name.parse().map_err(|_| bad(text, "table", "expected `name` or `namespace.name`"));
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((key, decode("query", value)?));
        }
        let mut uri = match database {
            "sqlite" | "duckdb" => {
                let path = decode("path", path)?;
                if path.is_empty() || path.ends_with('/') {
                    let why = format!("expected a file after `{database}/` (absolute after a second slash)");
                    return Err(bad(text, "path", &why));
                }
                let backend =
                    if database == "sqlite" { Backend::Sqlite(path.into()) } else { Backend::DuckDb(path.into()) };
                Self { backend, table: None }
            }
            "postgres" | "pg" => {
                let parts = path.split('/').map(|p| decode("path", p)).collect::<Result<Vec<_>>>()?;
                let expected = "expected `postgres/DATABASE`, `postgres/DATABASE/SCHEMA` or \
                                `postgres/DATABASE/SCHEMA/TABLE`";
                let (database, schema, table) = match parts.as_slice() {
                    [database] => (database, "public", None),
                    [database, schema] => (database, schema.as_str(), None),
                    [database, schema, table] => (database, schema.as_str(), Some(table_name(table)?)),
                    _ => return Err(bad(text, "path", expected)),
                };
                if database.is_empty() || schema.is_empty() {
                    return Err(bad(text, "path", expected));
                }
                let backend =
                    PostgresBackend { database: database.clone(), schema: schema.into(), ..PostgresBackend::default() };
                Self { backend: Backend::Postgres(backend), table }
            }
            other => {
                let why = format!("expected `sqlite`, `duckdb` or `postgres`, got {other:?}");
                return Err(bad(text, "database", &why));
            }
        };
        for (key, value) in pairs {
            match (key, &mut uri.backend) {
                ("table", _) if uri.table.is_none() => uri.table = Some(table_name(&value)?),
                ("table", _) => return Err(bad(text, "table", "there are two")),
                ("host", Backend::Postgres(pg)) => pg.host = Some(value),
                ("port", Backend::Postgres(pg)) => {
                    let port = value.parse().map_err(|_| bad(text, "port", &format!("{value:?} is not a port")))?;
                    pg.port = Some(port);
                }
                ("user", Backend::Postgres(pg)) => pg.user = Some(value),
                ("sslmode", Backend::Postgres(pg)) if SSL_MODES.contains(&value.as_str()) => pg.sslmode = Some(value),
                ("sslmode", Backend::Postgres(_)) => {
                    return Err(bad(text, "sslmode", &format!("expected one of {}", SSL_MODES.join(", "))));
                }
                ("password", Backend::Postgres(_)) => {
                    return Err(bad(text, "query", "a password is not allowed in it: use PGPASSWORD or PGPASSFILE"));
                }
                (key, Backend::Postgres(_)) => {
                    let why = format!("expected {}, got {}", KEYS.join(", "), name(key));
                    return Err(bad(text, "query", &why));
                }
                (key, _) => return Err(bad(text, "query", &format!("expected `table=NAME`, got {}", name(key)))),
            }
        }
        Ok(uri)
    }
}

/// A key of the query as an error shows it. A text that does not look like a key may be part of a password.
fn name(key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if plain { format!("{key:?}") } else { "something else".into() }
}

fn bad(text: &str, part: &str, why: &str) -> TxnLogError {
    let server = text.strip_prefix(SCHEME).is_some_and(|rest| rest.starts_with('p')) || text.starts_with("postgres");
    let example = if server { SERVER_EXAMPLE } else { FILE_EXAMPLE };
    let uri = redacted(text, &KEYS);
    TxnLogError::invalid(format!("invalid {part} in the catalog URI {uri:?}: {why}; for example {example}"))
}

impl fmt::Display for CatalogUri {
    /// The URI of the catalog, without the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.backend)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, path) = match self {
            Backend::Sqlite(path) => ("sqlite", path),
            Backend::DuckDb(path) => ("duckdb", path),
            Backend::Postgres(backend) => return backend.fmt(f),
        };
        write!(f, "{database}/{}", utf8_percent_encode(&path.to_string_lossy(), PATH))
    }
}

impl fmt::Display for PostgresBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |text: &str| utf8_percent_encode(text, PART).to_string();
        write!(f, "postgres/{}/{}", encode(&self.database), encode(&self.schema))?;
        let port = self.port.map(|port| port.to_string());
        let pairs = [("host", &self.host), ("port", &port), ("user", &self.user), ("sslmode", &self.sslmode)];
        let given = pairs.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        for (i, (key, value)) in given.enumerate() {
            write!(f, "{}{key}={}", if i == 0 { '?' } else { '&' }, encode(value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_parsed() {
        let check = |text: &str, backend: Backend, table: Option<&str>| {
            let uri = CatalogUri::parse(text).unwrap();
            assert_eq!(uri.backend, backend, "{text}");
            assert_eq!(uri.table.as_ref().map(|t| t.to_string()).as_deref(), table, "{text}");
            assert_eq!(CatalogUri::parse(&uri.to_string()).unwrap().backend, backend, "{text}");
        };
        let sqlite = |path: &str| Backend::Sqlite(path.into());
        let pg = |database: &str, schema: &str| PostgresBackend {
            database: database.into(),
            schema: schema.into(),
            ..PostgresBackend::default()
        };
        check("deltasql://sqlite//var/data/meta.db", sqlite("/var/data/meta.db"), None);
        check("deltasql://sqlite/meta.db", sqlite("meta.db"), None);
        check("deltasql://sqlite/a%20b%3Fc.db", sqlite("a b?c.db"), None);
        check("deltasql://sqlite//m.db?table=orders", sqlite("/m.db"), Some("default.orders"));
        check("deltasql://sqlite//m.db?table=sales.orders", sqlite("/m.db"), Some("sales.orders"));
        check("deltasql://sqlite//m.db?table=%C3%BCber", sqlite("/m.db"), Some("default.über"));
        check("deltasql://duckdb//c.duckdb?table=t", Backend::DuckDb("/c.duckdb".into()), Some("default.t"));
        check("deltasql://postgres/mydb/public", Backend::Postgres(pg("mydb", "public")), None);
        check("deltasql://pg/mydb", Backend::Postgres(pg("mydb", "public")), None);
        check(
            "deltasql://postgres/mydb/public/orders",
            Backend::Postgres(pg("mydb", "public")),
            Some("default.orders"),
        );
        check("deltasql://postgres/my%2Fdb/s?table=a.b", Backend::Postgres(pg("my/db", "s")), Some("a.b"));
        let full = PostgresBackend {
            host: Some("/run/pg".into()),
            port: Some(5433),
            user: Some("a&b".into()),
            sslmode: Some("require".into()),
            ..pg("d", "s")
        };
        let text = "deltasql://postgres/d/s?host=%2Frun%2Fpg&port=5433&user=a%26b&sslmode=require";
        check(text, Backend::Postgres(full), None);
    }

    #[test]
    fn an_invalid_uri_is_refused_with_the_part_and_an_example() {
        let check = |text: &str, part: &str, example: &str| {
            let e = CatalogUri::parse(text).unwrap_err().to_string();
            assert!(e.contains(&format!("invalid {part} in")) && e.contains(example), "{text}: {e}");
        };
        check("sqlite:///x.db", "scheme", FILE_EXAMPLE);
        check("deltasql://oracle/x", "database", FILE_EXAMPLE);
        check("deltasql://sqlite", "path", FILE_EXAMPLE);
        check("deltasql://duckdb//dir/", "path", FILE_EXAMPLE);
        check("deltasql://sqlite//x.db?tbl=y", "query", FILE_EXAMPLE);
        check("deltasql://sqlite//x.db?table=a.b.c", "table", FILE_EXAMPLE);
        check("deltasql://postgres", "path", SERVER_EXAMPLE);
        check("deltasql://postgres/a/b/c/d", "path", SERVER_EXAMPLE);
        check("deltasql://postgres/a/b/c?table=d", "table", SERVER_EXAMPLE);
        check("deltasql://postgres/a?port=x", "port", SERVER_EXAMPLE);
        check("deltasql://postgres/a?sslmode=maybe", "sslmode", SERVER_EXAMPLE);
        check("deltasql://postgres/a?hots=x", "query", SERVER_EXAMPLE);
    }

    #[test]
    fn a_password_in_a_uri_is_refused_and_not_repeated() {
        let check = |text: &str, says: &str| {
            let e = CatalogUri::parse(text).unwrap_err().to_string();
            assert!(e.contains(says) && !e.to_lowercase().contains("secret"), "{text}: {e}");
        };
        check("postgres://etl:secret@db/lake", "invalid scheme in");
        check("postgres://etl:se?cret@db/lake", "invalid scheme in");
        check("postgresql://etl@db/lake?password=secret", "invalid scheme in");
        check("etl:secret@db/lake", "invalid scheme in");
        check("deltasql://postgres/a?password=secret", "PGPASSWORD");
        check("deltasql://postgres/a?passwd=secret", "got \"passwd\"");
        check("deltasql://postgres/a?sslpassword=secret&user=etl", "user=etl");
        check("deltasql://postgres/etl:my?secret@db/lake", "got something else");
        check("deltasql://postgres/etl:secret@db/lake", "PGPASSWORD");
        check("deltasql://postgres/etl:secret@db/lake/x/y", "PGPASSWORD");
        check("deltasql://etl:secret@db/lake", "PGPASSWORD");
        check("deltasql://sqlite//data/meta.db?key=secret", "got \"key\"");
        // A database may have such a name anyway; then it is encoded, here and where it is shown.
        let uri = CatalogUri::parse("deltasql://postgres/a%3Ab%40c").unwrap();
        assert_eq!(uri.to_string(), "deltasql://postgres/a%3Ab%40c/public");
    }
}
