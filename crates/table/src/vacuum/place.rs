//! Which file a path in the log means: one place has several spellings.

use std::collections::HashMap;

use deltalakedb_log::{Location, canonical_path};
use object_store::ObjectStoreScheme;
use object_store::path::Path;
use url::Url;

/// The folder of a table.
pub(crate) struct Place {
    location: Location,
    /// The decoded path of a local folder, with a slash at its end.
    local: Vec<u8>,
    /// The same without links.
    real: Vec<u8>,
    /// The same in a store of objects.
    stored: Option<Stored>,
    /// Where folders lead that files were named by, links resolved.
    folders: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

/// A place in a store of objects.
struct Stored {
    kind: ObjectStoreScheme,
    /// The bucket or container; `None` where a URL does not tell it apart from a path.
    bucket: Option<String>,
    path: Path,
}

impl Stored {
    /// The place a URL means; `None` for one that is not of a store that is known, and for local files.
    fn parse(url: &str) -> Option<Self> {
        // The names that other engines use for the same stores.
        let (scheme, rest) = url.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "s3n" => "s3".into(),
            "wasb" => "abfs".into(),
            "wasbs" => "abfss".into(),
            known => known.to_string(),
        };
        let url = Url::parse(&format!("{scheme}://{rest}")).ok()?;
        let (kind, path) = ObjectStoreScheme::parse(&url).ok()?;
        let host = url.host_str().map(String::from);
        let bucket = match (&kind, scheme.as_str()) {
            (ObjectStoreScheme::Local, _) => return None,
            (ObjectStoreScheme::Http, _) => host,
            (_, "https") => None,
            (ObjectStoreScheme::MicrosoftAzure, _) if !url.username().is_empty() => Some(url.username().to_string()),
            _ => host,
        };
        Some(Self { kind, bucket, path })
    }

    /// The path of another place below this one.
    fn strip(&self, other: &Self) -> Option<Vec<u8>> {
        let unlike = |(a, b): (&String, &String)| a != b;
        if self.kind != other.kind || self.bucket.as_ref().zip(other.bucket.as_ref()).is_some_and(unlike) {
            return None;
        }
        let parts: Vec<_> = other.path.prefix_match(&self.path)?.collect();
        Some(parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>().join("/").into_bytes())
    }
}

impl Place {
    pub(crate) fn new(location: &Location) -> Self {
        let decoded = |location: &Location| {
            let mut path = canonical_path(location.url().as_str());
            if !path.ends_with(b"/") {
                path.push(b'/');
            }
            path
        };
        let (local, real) = (decoded(location), decoded(&location.resolved()));
        let stored = Stored::parse(location.url().as_str());
        Self { location: location.clone(), local, real, stored, folders: HashMap::new() }
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// The decoded path of a file below the table; as it is, where it is elsewhere.
    pub(crate) fn below(&mut self, raw: &str) -> Vec<u8> {
        if let Some(inside) = self.stored.as_ref().and_then(|stored| stored.strip(&Stored::parse(raw)?)) {
            return inside;
        }
        let path = canonical_path(raw);
        if let Some(inside) = path.strip_prefix(self.local.as_slice()).filter(|inside| !inside.starts_with(b"/")) {
            return inside.to_vec();
        }
        self.through_links(&path).unwrap_or(path)
    }

    /// The path of a local file that is named through a link, or with a slash too many.
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
    fn spellings_of_one_store_are_one_place() {
        let check = |table: &str, file: &str, want: &str| {
            let mut place = Place::new(&Location::parse(table).unwrap());
            assert_eq!(String::from_utf8(place.below(file)).unwrap(), want, "{file} in {table}");
        };
        for scheme in ["s3", "s3a", "s3n", "S3A"] {
            check("s3://lake/a b/t", &format!("{scheme}://lake/a%20b/t/day=1/x.parquet"), "day=1/x.parquet");
        }
        check("s3://lake/t", "https://lake.s3.eu-central-1.amazonaws.com/t/x.parquet", "x.parquet");
        check("s3://lake/t", "https://s3.eu-central-1.amazonaws.com/lake/t/x.parquet", "x.parquet");
        check("s3://lake/t", "s3a://other/t/x.parquet", "s3a://other/t/x.parquet");
        check("s3://lake/t", "s3a://lake/t2/x.parquet", "s3a://lake/t2/x.parquet");
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
        check("gs://lake/t", "s3://lake/t/x.parquet", "s3://lake/t/x.parquet");
        check("/nowhere/t", "file:/nowhere/t/x.parquet", "x.parquet");
        check("/nowhere/t", "s3://nowhere/t/x.parquet", "s3://nowhere/t/x.parquet");
    }
}
