//! The names of files for delta-rs' reader of change data.
//!
//! It decodes a path of the log and then takes it for a name, which it encodes again (delta-rs 1.1, `load_cdf.rs`): a
//! file whose name has an encoded character, as a folder `part=a%20b` has, is looked for under another name, and one
//! with a URL of its own nowhere. So it is shown names that have nothing to encode, in a folder of the made-up
//! `_delta_log`, and each is resolved when the file is read.

use bytes::Bytes;
use deltalakedb_log::{Action, Commit, Location, Result};
use url::Url;

use super::shown;
use crate::error::Explain;

/// The folder in `_delta_log`.
const FOLDER: &str = "changed/";

/// A commit of the table that names its files so.
pub(super) fn commit(bytes: Bytes, table: &Location) -> Result<Bytes> {
    let mut actions = Commit::parse(bytes, "a commit of the table")?.into_actions();
    for action in &mut actions {
        let path = match action {
            Action::Add(add) => &mut add.path,
            Action::Remove(remove) => &mut remove.path,
            Action::Cdc(cdc) => &mut cdc.path,
            _ => continue,
        };
        // One file has one name, however its path is spelled.
        let url = url_of(path, table)?;
        let inside = url.as_str().strip_prefix(table.url().as_str()).unwrap_or(url.as_str());
        *path = format!("_delta_log/{FOLDER}{}", encode(inside));
    }
    Ok(shown::commit(&actions))
}

/// The URL of the file that a name in `_delta_log` stands for; `None` for any other name.
pub(super) fn file(name: &str, table: &Location) -> Option<Result<Url>> {
    let path = decode(name.strip_prefix(FOLDER)?)?;
    Some(url_of(&path, table))
}

/// The URL of a file of the log.
pub(super) fn url_of(path: &str, table: &Location) -> Result<Url> {
    table.url().join(path).explain(|| format!("the path of the file {path:?} cannot be read"))
}

/// One name of letters, digits and a few signs that nobody encodes.
fn encode(path: &str) -> String {
    let byte = |b: u8| match b {
        b'-' | b'_' | b'.' | b'=' => char::from(b).to_string(),
        _ if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        _ => format!("!{b:02X}"),
    };
    path.bytes().map(byte).collect()
}

fn decode(name: &str) -> Option<String> {
    let mut parts = name.split('!');
    let mut path = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (byte, rest) = part.split_at_checked(2)?;
        path.push(u8::from_str_radix(byte, 16).ok()?);
        path.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(path).ok()
}

#[cfg(test)]
mod tests {
    use deltalakedb_log::action::Add;
    use object_store::path::Path;

    use super::*;

    #[test]
    fn a_name_stays_what_it_is_and_stands_for_its_file() {
        let table = Location::parse("s3://bucket/a%20b/t").unwrap();
        let check = |path: &str, url: &str| {
            let add = r#"{"partitionValues":{},"size":1,"modificationTime":1,"dataChange":true,"path":"#;
            let line = format!("{{\"add\":{add}{}}}}}\n", serde_json::to_string(path).unwrap());
            let shown = Commit::parse(commit(line.into(), &table).unwrap(), "shown").unwrap().into_actions().remove(0);
            let Action::Add(Add { path: name, .. }) = shown else { panic!("{shown:?}") };
            assert_eq!(Path::from(name.as_str()), Path::parse(&name).unwrap(), "{path}");
            let stands_for = file(name.strip_prefix("_delta_log/").unwrap(), &table).unwrap().unwrap();
            assert_eq!(stands_for.as_str(), url, "{name}");
        };
        check("part-0.parquet", "s3://bucket/a%20b/t/part-0.parquet");
        check("p=a%252Fb/x!y.parquet", "s3://bucket/a%20b/t/p=a%252Fb/x!y.parquet");
        check("p=a b/ü.parquet", "s3://bucket/a%20b/t/p=a%20b/%C3%BC.parquet");
        check("p=12:00/x.parquet", "s3://bucket/a%20b/t/p=12:00/x.parquet");
        check("s3://other/x%20y.parquet", "s3://other/x%20y.parquet");
        check("file:///x/y.parquet", "file:///x/y.parquet");
        for other in ["00000000000000000001.json", "changed/a!zz", "changed/a!C3", "changed/a!2"] {
            assert!(file(other, &table).is_none(), "{other}");
        }
    }
}
