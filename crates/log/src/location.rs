//! The location of a table: a normalized URL.

use std::collections::BTreeSet;
use std::fmt;

use object_store::ObjectStoreScheme;
use object_store::path::Path;
use url::Url;

use crate::error::{Result, TxnLogError};
use crate::ids::TableName;
use crate::location_key::{LocationKey, account_of};
use crate::redact::redacted;

/// The root of a table: a directory URL that ends in a slash, normalized so that one place has one spelling.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(Url);

impl Location {
    /// Parses a URL (`s3://…`, `file:///…`) or a plain path, absolute or relative to the working directory.
    ///
    /// # Errors
    /// A URL that contains a user or password is rejected, and the message does not repeat it: locations are stored and
    /// shown.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: String| {
            TxnLogError::invalid(format!(
                "{:?} is not a location: {why}; expected a path or a URL such as s3://bucket/table or file:///data/table",
                redacted(text, &[])
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
            Url::from_directory_path(normal(&path)).map_err(|()| bad("it is not an absolute path".into()))?
        };
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| bad("it names another host".into()))?;
            url = Url::from_directory_path(normal(&path)).map_err(|()| bad("it is not an absolute path".into()))?;
        } else {
            url.set_query(None);
            url.set_fragment(None);
            if has_credentials(&url) {
                return Err(bad(
                    "a user or password is not allowed in it: the object store takes its credentials from the \
                     environment (AWS_…, AZURE_…, GOOGLE_…) or from storage options"
                        .into(),
                ));
            }
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

    /// The location as stored by a catalog. Links are not followed again: a table stays where it was registered, even
    /// if links have changed since. A text that is not a URL becomes one that no store serves, so that one bad row of a
    /// catalog does not make the other tables unreadable.
    pub fn stored(text: &str) -> Result<Self> {
        let url = Url::parse(text).or_else(|_| {
            let encoded = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
            Url::parse(&format!("unreadable:{encoded}"))
        });
        url.map(Self).map_err(|e| TxnLogError::corrupt("a stored location cannot be read").with_source(e))
    }

    /// The same place with all links followed, in the current state of the file system.
    pub fn resolved(&self) -> Self {
        self.local_path().and_then(|path| Self::of_folder(&path)).unwrap_or_else(|| self.clone())
    }

    /// An absolute local path, with all links followed; `None` for any other path.
    pub fn of_folder(path: &std::path::Path) -> Option<Self> {
        Url::from_directory_path(normal(path)).ok().map(Self)
    }

    /// The URL, ending in a slash.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The local directory, for a `file` URL.
    pub fn local_path(&self) -> Option<std::path::PathBuf> {
        (self.0.scheme() == "file").then(|| self.0.to_file_path().ok()).flatten()
    }

    /// The identity of the place: all spellings of it have the same key.
    pub fn key(&self) -> LocationKey {
        LocationKey::of_url(self.0.as_str()).unwrap_or_else(|| LocationKey::stored(self.0.to_string()))
    }

    /// Whether both are the same place: they have the same key, and do not name two Azure accounts.
    pub fn is_same_location(&self, other: &Self) -> bool {
        let (key, unlike) = (self.key(), |(a, b): (&str, &str)| a != b);
        let in_azure = key.as_str().starts_with("az://");
        key == other.key() && !(in_azure && account_of(&self.0).zip(account_of(&other.0)).is_some_and(unlike))
    }

    /// The keys of the place as registered, and with all links followed in the current state of the file system.
    pub fn keys(&self) -> BTreeSet<LocationKey> {
        [self.key(), self.resolved().key()].into()
    }

    /// An error if this place of a new table is inside that of another one, or contains it.
    pub fn check_no_overlap(&self, name: &TableName, place: &Location) -> Result<()> {
        let why = if self.key().is_within(&place.key()) {
            format!("{self} is inside the table {name}, which is at {place}")
        } else if place.key().is_within(&self.key()) {
            format!("the table {name} is inside {self}, at {place}")
        } else {
            return Ok(());
        };
        Err(TxnLogError::invalid(format!("{why}: choose another location")))
    }

    /// A folder below this place, by its name as an object store lists it.
    pub fn child(&self, folder: &str) -> Result<Self> {
        let mut url = self.0.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().push(folder).push("");
        }
        Self::parse(url.as_str())
    }

    /// The last part of the path: the folder's name.
    pub fn folder(&self) -> String {
        let last = self.0.path_segments().and_then(|mut s| s.rfind(|p| !p.is_empty())).unwrap_or("table");
        percent_encoding::percent_decode_str(last).decode_utf8_lossy().into_owned()
    }
}

impl LocationKey {
    /// The same place with all links followed, in the current state of the file system.
    pub fn resolved(&self) -> Self {
        Location::stored(self.as_str()).map_or_else(|_| self.clone(), |place| place.resolved().key())
    }
}

/// Whether a URL contains a user or a password. In Azure's `abfss://container@account` the user is a container.
fn has_credentials(url: &Url) -> bool {
    let azure = matches!(url.scheme(), "az" | "azure" | "adl" | "abfs" | "abfss");
    url.password().is_some() || (!url.username().is_empty() && !azure)
}

/// Resolves links as the system does for the part of the path that exists, and `.` and `..` in the rest.
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
    /// The URL, without credentials; a local place as a plain path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.local_path() {
            Some(path) => f.write_str(path.to_string_lossy().trim_end_matches('/')),
            None => f.write_str(redacted(self.0.as_str(), &[]).trim_end_matches('/')),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(self.0.as_str(), &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_location_are_equal() {
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
    fn overlapping_locations_are_refused_in_every_spelling() {
        let check = |new: &str, registered: &str, says: Option<&str>| {
            let (new, registered) = (Location::parse(new).unwrap(), Location::parse(registered).unwrap());
            let checked = new.check_no_overlap(&"sales.orders".parse().unwrap(), &registered);
            match says {
                Some(says) => assert!(checked.unwrap_err().to_string().contains(says), "{new} {registered}"),
                None => assert!(checked.is_ok(), "{new} {registered}"),
            }
        };
        let azure = "abfss://lake@account.dfs.core.windows.net/t";
        check("az://lake/t/day=1", azure, Some("is inside the table sales.orders"));
        check(azure, "az://lake/t/day=1", Some("the table sales.orders is inside"));
        check("az://lake/t2", azure, None);
        check("s3://lake/t", azure, None);
    }

    #[test]
    fn containers_of_different_accounts_are_different_locations() {
        let place = |text: &str| Location::parse(text).unwrap();
        let ours = place("abfss://lake@ours.dfs.core.windows.net/t");
        for (other, is_same) in [
            ("az://lake/t", true),
            ("https://ours.blob.core.windows.net/lake/t", true),
            ("abfss://lake@theirs.dfs.core.windows.net/t", false),
            ("az://lake/t2", false),
        ] {
            assert_eq!(ours.is_same_location(&place(other)), is_same, "{other}");
            assert_eq!(place(other).is_same_location(&ours), is_same, "{other}");
        }
    }

    #[test]
    fn credentials_in_a_location_are_refused_and_not_repeated() {
        for text in [
            "s3://AKIA:SECRET@bucket/t",
            "s3://SECRET@bucket/t",
            "s3a://AKIA:SECRET@bucket/t",
            "https://me:SECRET@host/t",
            "abfss://container:SECRET@account.dfs.core.windows.net/t",
            "nosuch://bucket/t?sig=SECRET",
            "nosuch://me:SECRET@bucket/t",
        ] {
            let message = Location::parse(text).unwrap_err().to_string();
            assert!(message.contains("is not a location") && !message.contains("SECRET"), "{message}");
        }
        let container = Location::parse("abfss://container@account.dfs.core.windows.net/t").unwrap();
        assert_eq!(container.to_string(), "abfss://container@account.dfs.core.windows.net/t");
        // A location that an earlier version stored is still found by its key, and shown without the password.
        let stored = Location::stored("s3://AKIA:SECRET@bucket/t/").unwrap();
        assert_eq!(stored.url().as_str(), "s3://AKIA:SECRET@bucket/t/");
        assert_eq!(
            (stored.to_string(), format!("{stored:?}")),
            ("s3://***@bucket/t".into(), "s3://***@bucket/t/".into())
        );
    }

    #[test]
    fn a_stored_location_is_not_normalized() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("old")).unwrap();
        let registered = Location::parse(dir.path().join("old").to_str().unwrap()).unwrap();
        std::fs::rename(dir.path().join("old"), dir.path().join("new")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("new"), dir.path().join("old")).unwrap();
        let stored = Location::stored(registered.url().as_str()).unwrap();
        assert_eq!(stored, registered);
        assert_eq!(stored.resolved(), Location::parse(dir.path().join("new").to_str().unwrap()).unwrap());
        for text in ["", "what a later version may store", "later-scheme://x/y/"] {
            let stored = Location::stored(text).unwrap();
            assert!(crate::stores::environment().open(&stored, crate::Durability::Full).is_err(), "{stored}");
        }
    }

    #[test]
    fn an_invalid_location_is_refused_with_the_reason() {
        for text in ["", "nosuch://x/y", "file://host/x"] {
            let message = Location::parse(text).unwrap_err().to_string();
            assert!(message.contains("is not a location") && message.contains("s3://bucket/table"), "{message}");
        }
    }
}
