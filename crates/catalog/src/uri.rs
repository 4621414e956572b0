//! Catalog URIs: `deltasql://sqlite//var/data/meta.db`, and with a table `…/meta.db?table=sales.orders`.

use std::fmt;
use std::path::PathBuf;

use deltalakedb_log::{Result, TableName, TxnLogError};
use percent_encoding::percent_decode_str;

/// A parsed catalog URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogUri {
    /// The SQLite file; a relative one is relative to the working directory.
    pub path: PathBuf,
    /// The table it names, if any.
    pub table: Option<TableName>,
}

const SCHEME: &str = "deltasql://";
const EXAMPLE: &str = "deltasql://sqlite//var/data/meta.db?table=sales.orders";

impl CatalogUri {
    /// Whether `text` claims to be a catalog URI.
    pub fn is_one(text: &str) -> bool {
        text.starts_with("deltasql:")
    }

    /// Parses a URI. The error says which part is wrong, what was expected, and shows one that is right.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |part: &str, why: &str| {
            TxnLogError::invalid(format!(
                "the {part} of the catalog URI {text:?} is wrong: {why}; for example {EXAMPLE}"
            ))
        };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| bad("scheme", "expected `deltasql://`"))?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (database, path) = rest.split_once('/').unwrap_or((rest, ""));
        if database != "sqlite" {
            return Err(bad("database", &format!("expected `sqlite`, got {database:?}")));
        }
        let decode = |part: &str, s: &str| {
            percent_decode_str(s).decode_utf8().map(String::from).map_err(|_| bad(part, "it is not UTF-8 when decoded"))
        };
        let path = decode("path", path)?;
        if path.is_empty() || path.ends_with('/') {
            return Err(bad("path", "expected a file after `sqlite/` (absolute after a second slash)"));
        }
        let mut table = None;
        for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            match pair.split_once('=') {
                Some(("table", name)) => {
                    let name = decode("table", name)?;
                    table = Some(name.parse().map_err(|_| bad("table", "expected `name` or `namespace.name`"))?);
                }
                _ => return Err(bad("query", &format!("expected `table=NAME`, got {pair:?}"))),
            }
        }
        Ok(Self { path: path.into(), table })
    }
}

impl fmt::Display for CatalogUri {
    /// The URI of the catalog, without the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const RESERVED: &percent_encoding::AsciiSet =
            &percent_encoding::CONTROLS.add(b'%').add(b'?').add(b'#').add(b' ');
        let path = self.path.to_string_lossy();
        write!(f, "{SCHEME}sqlite/{}", percent_encoding::utf8_percent_encode(&path, RESERVED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_say_where_and_what() {
        let check = |text: &str, path: &str, table: Option<&str>| {
            let uri = CatalogUri::parse(text).unwrap();
            assert_eq!(uri.path, PathBuf::from(path), "{text}");
            assert_eq!(uri.table.as_ref().map(|t| t.to_string()).as_deref(), table, "{text}");
            assert_eq!(CatalogUri::parse(&uri.to_string()).unwrap().path, uri.path, "{text}");
        };
        check("deltasql://sqlite//var/data/meta.db", "/var/data/meta.db", None);
        check("deltasql://sqlite/meta.db", "meta.db", None);
        check("deltasql://sqlite//a%20b/m%3F.db?table=sales.or%20ders", "/a b/m?.db", Some("sales.or ders"));
        check("deltasql://sqlite//m.db?table=t", "/m.db", Some("default.t"));
    }

    #[test]
    fn a_wrong_part_is_named() {
        let check = |text: &str, part: &str| {
            let message = CatalogUri::parse(text).unwrap_err().to_string();
            assert!(message.contains(&format!("the {part} of the catalog URI")), "{message}");
            assert!(message.contains(EXAMPLE), "{message}");
        };
        check("sqlite:///x.db", "scheme");
        check("deltasql://oracle/x", "database");
        check("deltasql://sqlite/", "path");
        check("deltasql://sqlite//x/", "path");
        check("deltasql://sqlite//x.db?table=a/b", "table");
        check("deltasql://sqlite//x.db?tbl=a", "query");
    }
}
