//! The identity of places: engines spell the URL of a place in several ways.

use std::collections::BTreeSet;

use object_store::ObjectStoreScheme;
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use url::{Position, Url};

/// The identity of a folder, or of a file, in a store: all URLs of one place have the same key.
///
/// The schemes that engines use for one kind of store have the same key (`s3`, `s3a`, `s3n`; `az`, `abfss`, `wasbs`),
/// and so have the store's own `https` addresses. The key of a place in Azure has the container and not the account,
/// which `az` URLs do not contain: places in containers of the same name in two accounts have the same key.
///
/// A key is spelled like a URL. That of a folder ends in a slash and is a prefix of the keys of everything inside the
/// folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocationKey(String);

impl LocationKey {
    /// The key of a URL; `None` when no known store serves it. Links are not followed.
    pub fn of_url(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        // The schemes of other engines for the same stores.
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "s3n" => "s3".into(),
            "wasb" => "abfs".into(),
            "wasbs" => "abfss".into(),
            known => known.to_string(),
        };
        let is_folder = url.ends_with('/');
        // A path in the log has neither query nor fragment, and writers do not encode every character of a name.
        let rest = rest.replace('#', "%23").replace('?', "%3F");
        let url = Url::parse(&format!("{scheme}://{rest}")).ok()?;
        if scheme == "file" {
            return Self::of_local(&url, is_folder);
        }
        let (kind, _) = ObjectStoreScheme::parse(&url).ok()?;
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let mut path = Path::from_url_path(url.path());
        let (store, bucket) = match kind {
            ObjectStoreScheme::AmazonS3 | ObjectStoreScheme::MicrosoftAzure if scheme == "https" => {
                let name = if kind == ObjectStoreScheme::AmazonS3 { "s3" } else { "az" };
                let bucket = match bucket_of_host(authority) {
                    Some(bucket) => bucket.to_string(),
                    None => {
                        let whole = path.ok()?;
                        let mut parts = whole.parts();
                        let first = parts.next()?;
                        path = Ok(parts.collect());
                        first.as_ref().to_string()
                    }
                };
                (name, bucket)
            }
            ObjectStoreScheme::MicrosoftAzure if !url.username().is_empty() => ("az", url.username().to_string()),
            ObjectStoreScheme::MicrosoftAzure => ("az", authority.to_string()),
            ObjectStoreScheme::AmazonS3 => ("s3", authority.to_string()),
            ObjectStoreScheme::GoogleCloudStorage => ("gs", authority.to_string()),
            _ => (url.scheme(), authority.to_string()),
        };
        let mut key = Url::parse(&format!("{store}://{bucket}/")).ok()?;
        let path = path.ok()?;
        let parts = path.parts().map(|part| part.as_ref().to_string());
        key.path_segments_mut().ok()?.pop_if_empty().extend(parts).extend(is_folder.then_some(""));
        Some(Self(key.into()))
    }

    fn of_local(url: &Url, is_folder: bool) -> Option<Self> {
        let path = url.to_file_path().ok()?;
        let url = if is_folder { Url::from_directory_path(path) } else { Url::from_file_path(path) };
        Some(Self(url.ok()?.into()))
    }

    /// The keys of a URL as spelled, and with all links followed in the current state of the file system.
    pub fn all_of_url(url: &str) -> BTreeSet<Self> {
        Self::of_url(url).into_iter().flat_map(|key| [key.resolved(), key]).collect()
    }

    /// A key as stored by a catalog.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is on a local disk, where links may point to it.
    pub fn is_local(&self) -> bool {
        self.0.starts_with("file:")
    }

    /// Whether it is the folder `outer`, or inside it.
    pub fn is_within(&self, outer: &Self) -> bool {
        self.0.starts_with(&outer.0)
    }

    /// The decoded path of a file relative to this folder; `None` for a file outside it.
    pub fn below(&self, file: &Self) -> Option<Vec<u8>> {
        file.0.strip_prefix(&self.0).map(|path| percent_decode_str(path).collect())
    }

    /// The keys of the folder and of all its parents, the outermost first.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        let root = self.0.find("://").map_or(0, |at| at + "://".len());
        self.0.match_indices('/').map(|(at, _)| at).filter(move |at| *at >= root).map(|at| &self.0[..=at])
    }

    /// The first text after the keys of everything inside this folder, in byte order.
    pub fn end(&self) -> String {
        // In byte order `0` is the successor of `/`.
        format!("{}0", self.0.trim_end_matches('/'))
    }
}

/// The Azure account in a URL.
pub(crate) fn account_of(url: &Url) -> Option<&str> {
    let host = url.host_str()?;
    let is_named = !url.username().is_empty() || url.scheme() == "https";
    is_named.then(|| host.split_once('.').map_or(host, |(account, _)| account))
}

/// The bucket at the start of the host of an S3 address; `None` when the path starts with it.
fn bucket_of_host(host: &str) -> Option<&str> {
    [".s3.", ".s3-"].into_iter().filter_map(|s3| host.rfind(s3)).max().map(|at| &host[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;

    fn key(url: &str) -> String {
        LocationKey::of_url(url).map(|key| key.as_str().to_string()).unwrap_or_default()
    }

    #[test]
    fn spellings_of_one_location_have_one_key() {
        for (spelled, want) in [
            ("s3://lake/a b/t/", "s3://lake/a%20b/t/"),
            ("s3a://lake/a%20b/t/", "s3://lake/a%20b/t/"),
            ("S3N://lake/a%20b/t", "s3://lake/a%20b/t"),
            ("s3://lake/", "s3://lake/"),
            ("https://lake.s3.eu-central-1.amazonaws.com/t/x.parquet", "s3://lake/t/x.parquet"),
            ("https://my.lake.s3-eu-west-1.amazonaws.com/t/", "s3://my.lake/t/"),
            ("https://s3.eu-central-1.amazonaws.com/lake/t/", "s3://lake/t/"),
            ("https://0123.r2.cloudflarestorage.com/lake/t/", "s3://lake/t/"),
            ("az://lake/t/", "az://lake/t/"),
            ("azure://lake/t/", "az://lake/t/"),
            ("abfs://lake/t/", "az://lake/t/"),
            ("abfss://lake@account.dfs.core.windows.net/t/", "az://lake/t/"),
            ("wasb://lake@account.blob.core.windows.net/t/", "az://lake/t/"),
            ("wasbs://lake@account.blob.core.windows.net/t/", "az://lake/t/"),
            ("https://account.blob.core.windows.net/lake/t/", "az://lake/t/"),
            ("https://account.dfs.core.windows.net/lake/t/", "az://lake/t/"),
            ("gs://lake/t/", "gs://lake/t/"),
            ("http://host:8080/t/", "http://host:8080/t/"),
            ("file:///nowhere/a b//t/./", "file:///nowhere/a%20b/t/"),
            ("file:///nowhere/t/../x.parquet", "file:///nowhere/x.parquet"),
            ("s3://lake/day=#1/x?.parquet", "s3://lake/day=%231/x%3F.parquet"),
            ("file:///nowhere/day=#1/", "file:///nowhere/day=%231/"),
            ("nosuch://lake/t/", ""),
            ("file://host/t/", ""),
            ("t/x.parquet", ""),
        ] {
            assert_eq!(key(spelled), want, "{spelled}");
        }
    }

    #[test]
    fn a_key_has_the_keys_of_its_parent_folders() {
        let place = |url: &str| LocationKey::of_url(url).unwrap();
        let above = |url: &str| place(url).ancestors().map(String::from).collect::<Vec<_>>();
        assert_eq!(above("s3://bucket/a/b c/"), ["s3://bucket/", "s3://bucket/a/", "s3://bucket/a/b%20c/"]);
        assert_eq!(above("file:///nowhere/"), ["file:///", "file:///nowhere/"]);
        assert_eq!(above("s3://bucket/"), ["s3://bucket/"]);
        let outer = place("s3://bucket/a/");
        for (other, within) in [
            ("s3a://bucket/a/", true),
            ("s3://bucket/a/b/", true),
            ("s3://bucket/a0/", false),
            ("s3://bucket/a-b/", false),
            ("s3://bucket/", false),
        ] {
            let other = place(other);
            assert_eq!(other.is_within(&outer), within, "{other:?}");
            assert_eq!(other >= outer && other.as_str() < outer.end().as_str(), within, "{other:?}");
        }
        assert_eq!(outer.below(&place("s3n://bucket/a/day=a%20b/x.parquet")).unwrap(), b"day=a b/x.parquet");
        assert_eq!(outer.below(&place("s3://bucket/b/x.parquet")), None);
    }

    #[test]
    fn a_linked_folder_has_the_keys_of_link_and_target() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| Location::parse(dir.path().to_str().unwrap()).unwrap().url().join(name).unwrap();
        std::fs::create_dir(dir.path().join("new")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("new"), dir.path().join("old")).unwrap();
        let want = BTreeSet::from([at("new/t/"), at("old/t/")].map(|url| LocationKey(url.into())));
        assert_eq!(LocationKey::all_of_url(at("old/t/").as_str()), want);
        assert_eq!(LocationKey::of_url(at("old/t/").as_str()).unwrap().resolved().as_str(), at("new/t/").as_str());
        assert_eq!(Location::stored(at("old/t/").as_str()).unwrap().keys(), want);
    }
}
