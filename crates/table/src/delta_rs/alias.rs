//! Aliases of data files that delta-rs would not find by their own paths.
//!
//! Two kinds of files need one. A log may name files outside the table's folder by absolute paths, as shallow clones
//! do, and delta-rs changes only files below the table. And its reader of change data decodes a path of the log, treats
//! it as a name, and encodes it again (delta-rs 1.1, `load_cdf.rs`): it looks for a file in a folder `part=a%20b` under
//! another name. So delta-rs gets such a file under an alias below the table, which spells the real path in
//! hexadecimal; the table's store serves it from its real path, and the commit that delta-rs makes is translated back.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use deltalakedb_log::{Action, Clock, Location, SystemClock, absolute_path};
use object_store::path::Path;
use url::Url;

use crate::error::Explain;

/// The folder of aliases below the table. Its name is random, so that no log can name a file in it: that would allow
/// reading any file, also outside the allowed places.
static FOLDER: LazyLock<String> = LazyLock::new(|| format!("_alias_{}/", SystemClock.new_uuid().simple()));

/// The alias of the file at a path in the log.
fn of(path: &str) -> String {
    let digits: String = path.bytes().map(|b| format!("{b:02x}")).collect();
    format!("{}{digits}", *FOLDER)
}

/// The path of a file for delta-rs, except for the reader of change data.
pub(super) fn of_path(path: &str) -> Cow<'_, str> {
    if absolute_path(path).is_some() { of(path).into() } else { path.into() }
}

/// The real path of the file with an alias; `None` for other paths.
pub(super) fn path_of_alias(alias: &str) -> Option<String> {
    let digits = alias.strip_prefix(FOLDER.as_str())?;
    let pairs = digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(pairs.collect::<Option<_>>()?).ok()
}

/// The URL of a file in the log.
pub(super) fn url_of(path: &str, table: &Location) -> deltalakedb_log::Result<Url> {
    table.url().join(path).explain(|| format!("the path of the file {path:?} cannot be read"))
}

/// The path in the table's store of the file at a URL.
pub(super) fn path_in_store(url: &Url, table: &Location) -> Path {
    Path::from(of(below(url, table)))
}

/// The path of a URL below the table, or else the URL.
fn below<'a>(url: &'a Url, table: &Location) -> &'a str {
    url.as_str().strip_prefix(table.url().as_str()).unwrap_or(url.as_str())
}

/// Replaces the path of an action's file by the one for delta-rs.
pub(super) fn show(action: &mut Action) {
    if let Some(path) = path_of(action)
        && let Cow::Owned(alias) = of_path(path)
    {
        *path = alias;
    }
}

/// Replaces the path of an action's file by an alias in any case.
pub(super) fn show_by_alias(action: &mut Action, table: &Location) -> deltalakedb_log::Result<()> {
    if let Some(path) = path_of(action) {
        *path = of(below(&url_of(path, table)?, table));
    }
    Ok(())
}

/// Replaces an alias by the file's own path.
pub(super) fn name(action: &mut Action) {
    if let Some(path) = path_of(action)
        && let Some(real) = path_of_alias(path)
    {
        *path = real;
    }
}

fn path_of(action: &mut Action) -> Option<&mut String> {
    match action {
        Action::Add(add) => Some(&mut Arc::make_mut(add).path),
        Action::Remove(remove) => Some(&mut remove.path),
        Action::Cdc(cdc) => Some(&mut cdc.path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_round_trip() {
        for path in ["part=a%20b/f.parquet", "f:g"] {
            assert_eq!(path_of_alias(&of_path(path)).as_deref().unwrap_or(path), path);
        }
        for path in ["file:///a/part=x%20y/ü.parquet", "/a/b.parquet", "s3://bucket/a%252Fb"] {
            let at = of_path(path);
            assert_eq!((at.starts_with(FOLDER.as_str()), path_of_alias(&at).as_deref()), (true, Some(path)), "{path}");
        }
        for path in ["xx", "ff", "0x"].map(|name| format!("{}{name}", *FOLDER)) {
            assert_eq!(path_of_alias(&path), None, "{path}");
        }
        assert_eq!(path_of_alias("a/b"), None);
    }
}
