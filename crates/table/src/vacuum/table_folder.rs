//! Resolves the paths in a log to files: a file may have several spellings.

use std::collections::HashMap;

use deltalakedb_log::{Location, LocationKey, canonical_path};
use object_store::path::Path;

/// The folder of a table.
pub(crate) struct TableFolder {
    location: Location,
    /// The decoded path of a local folder, with a trailing slash.
    local: Vec<u8>,
    /// The same with links resolved.
    real: Vec<u8>,
    key: LocationKey,
    /// The folders that files were named by, with links resolved.
    folders: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl TableFolder {
    pub(crate) fn new(location: &Location) -> Self {
        let decoded = |location: &Location| {
            let mut path = canonical_path(location.url().as_str());
            if !path.ends_with(b"/") {
                path.push(b'/');
            }
            path
        };
        let (local, real) = (decoded(location), decoded(&location.resolved()));
        Self { location: location.clone(), local, real, key: location.key(), folders: HashMap::new() }
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// The path of a file in the table's store; `None` where it is elsewhere.
    pub(crate) fn object(&mut self, raw: &str) -> Option<Path> {
        let below = self.below(raw);
        // A path elsewhere keeps its whole path or URL.
        let inside = std::str::from_utf8(&below).ok().filter(|path| !path.starts_with('/') && !path.contains("://"))?;
        Path::parse(inside).ok()
    }

    /// The decoded path of a file below the table; unchanged for a file elsewhere.
    fn below(&mut self, raw: &str) -> Vec<u8> {
        if let Some(inside) = LocationKey::of_url(raw).and_then(|file| self.key.below(&file)) {
            return inside;
        }
        let path = canonical_path(raw);
        if let Some(inside) = path.strip_prefix(self.local.as_slice()).filter(|inside| !inside.starts_with(b"/")) {
            return inside.to_vec();
        }
        self.through_links(&path).unwrap_or(path)
    }

    /// The path of a local file that is named through a link, or with an extra slash.
    fn through_links(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        if !path.starts_with(b"/") {
            return None;
        }
        let slash = path.iter().rposition(|byte| *byte == b'/')?;
        let (folder, name) = path.split_at(slash + 1);
        let real = |folder: &[u8]| {
            let mut real = std::fs::canonicalize(std::str::from_utf8(folder).ok()?).ok()?.to_str()?.as_bytes().to_vec();
            real.push(b'/');
            Some(real)
        };
        let folder = self.folders.entry(folder.to_vec()).or_insert_with_key(|folder| real(folder)).as_ref()?;
        Some([folder.strip_prefix(self.real.as_slice())?, name].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_store_are_one_location() {
        let check = |table: &str, file: &str, want: &str| {
            let object = TableFolder::new(&Location::parse(table).unwrap()).object(file);
            assert_eq!(object, Some(Path::parse(want).unwrap()), "{file} in {table}");
        };
        let elsewhere = |table: &str, file: &str| {
            assert_eq!(TableFolder::new(&Location::parse(table).unwrap()).object(file), None, "{file} in {table}");
        };
        for scheme in ["s3", "s3a", "s3n", "S3A"] {
            check("s3://lake/a b/t", &format!("{scheme}://lake/a%20b/t/day=1/x.parquet"), "day=1/x.parquet");
        }
        check("s3://lake/t", "https://lake.s3.eu-central-1.amazonaws.com/t/x.parquet", "x.parquet");
        check("s3://lake/t", "https://s3.eu-central-1.amazonaws.com/lake/t/x.parquet", "x.parquet");
        elsewhere("s3://lake/t", "s3a://other/t/x.parquet");
        elsewhere("s3://lake/t", "s3a://lake/t2/x.parquet");
        check("s3://lake/t", "x%20y.parquet", "x y.parquet");
        for azure in [
            "az://lake/t",
            "azure://lake/t",
            "abfs://lake/t",
            "abfss://lake@account.dfs.core.windows.net/t",
            "wasbs://lake@account.blob.core.windows.net/t",
            "https://account.blob.core.windows.net/lake/t",
        ] {
            check("az://lake/t", &format!("{azure}/x.parquet"), "x.parquet");
            check("abfss://lake@account.dfs.core.windows.net/t", &format!("{azure}/x.parquet"), "x.parquet");
        }
        elsewhere("gs://lake/t", "s3://lake/t/x.parquet");
        check("/nowhere/t", "file:/nowhere/t/x.parquet", "x.parquet");
        elsewhere("/nowhere/t", "s3://nowhere/t/x.parquet");
        elsewhere("/nowhere/t", "/nowhere/x.parquet");
    }
}
