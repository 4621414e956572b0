//! Where a table is: a URL, spelled one way only.

use std::fmt;

use object_store::ObjectStoreScheme;
use object_store::path::Path;
use url::Url;

use crate::error::{Result, TxnLogError};

/// The root of a table: a directory URL that ends in a slash, normalized so that one place has one spelling.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(Url);

impl Location {
    /// Reads a URL (`s3://…`, `file:///…`) or a plain path, absolute or relative to the working directory.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: String| {
            TxnLogError::invalid(format!(
                "{text:?} is not a location: {why}; expected a path or a URL such as s3://bucket/table or file:///data/table"
            ))
        };
        let is_url = text.split_once("://").is_some_and(|(scheme, _)| {
            !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        let mut url = if is_url {
            Url::parse(text).map_err(|e| bad(e.to_string()))?
        } else if text.is_empty() {
            return Err(bad("it is empty".into()));
        } else {
            let path = std::path::absolute(text).map_err(|e| bad(e.to_string()))?;
            Url::from_directory_path(normal(&path)).map_err(|()| bad("it is no absolute path".into()))?
        };
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| bad("it names another host".into()))?;
            url = Url::from_directory_path(normal(&path)).map_err(|()| bad("it is no absolute path".into()))?;
        } else {
            url.set_query(None);
            url.set_fragment(None);
            if let Some(bucket) = text.strip_prefix("s3a://") {
                return Self::parse(&format!("s3://{bucket}"));
            }
            ObjectStoreScheme::parse(&url).map_err(|e| bad(e.to_string()))?;
            let path = Path::from_url_path(url.path()).map_err(|e| bad(e.to_string()))?;
            url.set_path("/");
            if let Ok(mut parts) = url.path_segments_mut() {
                parts.pop_if_empty().extend(path.parts().map(|part| part.as_ref().to_string())).push("");
            }
        }
        Ok(Self(url))
    }

    /// The URL, ending in a slash.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The directory on this machine, for a `file` URL.
    pub fn local_path(&self) -> Option<std::path::PathBuf> {
        (self.0.scheme() == "file").then(|| self.0.to_file_path().ok()).flatten()
    }

    /// The last part of the path: the folder's name.
    pub fn folder(&self) -> String {
        let last = self.0.path_segments().and_then(|mut s| s.rfind(|p| !p.is_empty())).unwrap_or("table");
        percent_encoding::percent_decode_str(last).decode_utf8_lossy().into_owned()
    }
}

/// Links resolved as far as the path exists, as the system does it; `.` and `..` resolved beyond.
fn normal(path: &std::path::Path) -> std::path::PathBuf {
    use std::path::{Component, PathBuf};
    let existing = path.ancestors().find_map(|a| a.canonicalize().ok().zip(path.strip_prefix(a).ok()));
    let (mut normal, rest) = existing.unwrap_or((PathBuf::new(), path));
    for part in rest.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

impl fmt::Display for Location {
    /// The URL; a local place as a plain path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.local_path() {
            Some(path) => f.write_str(path.to_string_lossy().trim_end_matches('/')),
            None => f.write_str(self.0.as_str().trim_end_matches('/')),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_spelling() {
        let same = |a: &str, b: &str| assert_eq!(Location::parse(a).unwrap(), Location::parse(b).unwrap());
        same("/nowhere/x", "file:///nowhere/x/");
        same("/nowhere/y/../x/./", "/nowhere/x");
        same("s3://bucket/a/b", "s3://bucket/a/b/");
        same("s3://bucket/a/b", "s3a://bucket/a/b?versionId=1#x");
        same("s3://bucket/a%20b/c", "s3://bucket/a b/c");
        same("s3://bucket", "s3://bucket/");
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("real/inner")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real/inner"), dir.path().join("link")).unwrap();
        same(&format!("{}/link/../x", dir.path().display()), &format!("{}/real/x", dir.path().display()));
        same("/nowhere/a b", "file:///nowhere/a%20b");
    }

    #[test]
    fn a_bad_location_is_refused_in_words() {
        for text in ["", "nosuch://x/y", "file://host/x"] {
            let message = Location::parse(text).unwrap_err().to_string();
            assert!(message.contains("is not a location") && message.contains("s3://bucket/table"), "{message}");
        }
    }
}
