//! The identity of files: writers spell a path in several ways, all of which mean one file.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

use crate::action::{Add, DeletionVector, Remove};

/// The identity of a logical file: a digest of its canonical path and the id of its deletion vector.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey(pub [u8; 16]);

impl FileKey {
    /// The key of the file at the raw `path` of an action, with its deletion vector.
    pub fn new(path: &str, deletion_vector: Option<&DeletionVector>) -> Self {
        let mut name = canonical_path(path);
        name.push(0);
        if let Some(dv) = deletion_vector {
            name.extend_from_slice(dv.unique_id().as_bytes());
        }
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(&name).as_bytes()[..16]);
        Self(key)
    }
}

impl Add {
    /// The identity of the logical file.
    pub fn key(&self) -> FileKey {
        FileKey::new(&self.path, self.deletion_vector.as_ref())
    }
}

impl Remove {
    /// The identity of the logical file.
    pub fn key(&self) -> FileKey {
        FileKey::new(&self.path, self.deletion_vector.as_ref())
    }
}

/// The identity of a physical file: a digest of its canonical path. Its logical files differ by deletion vector.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathKey(pub [u8; 16]);

impl PathKey {
    /// The key of the file at the raw `path` of an action.
    pub fn new(path: &str) -> Self {
        Self(FileKey::new(path, None).0)
    }
}

impl fmt::Debug for PathKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        FileKey(self.0).fmt(f)
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The URL of an absolute path of a log, which has a scheme or begins at the root of a file system; `None` for a path
/// below the table. A path has neither a query nor a fragment, and writers do not encode all that is in a name: `?` and
/// `#` are encoded in the URL.
pub fn absolute_path(raw: &str) -> Option<String> {
    let url = if raw.starts_with('/') {
        format!("file://{raw}")
    } else {
        let (scheme, rest) = raw.split_once(':')?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        match rest.strip_prefix("//") {
            _ if !is_scheme => return None,
            Some(_) => raw.to_string(),
            None => format!("{scheme}://{rest}"),
        }
    };
    Some(url.replace('#', "%23").replace('?', "%3F"))
}

/// Whether a path has a `..` part, in any encoding.
pub(crate) fn leaves_its_table(raw: &str) -> bool {
    canonical_path(raw).split(|b| *b == b'/').any(|part| part == b"..")
}

/// The canonical form of a path, independent of its encoding: percent-decoded, and a local file the same with and
/// without its scheme (`/x`, `file:/x`, `file:///x`). A relative path stays relative: as in Spark, it is not the same
/// file as an absolute one, wherever the table is.
pub fn canonical_path(raw: &str) -> Vec<u8> {
    let path = match raw.strip_prefix("file:") {
        Some(rest) => Cow::from(format!("/{}", rest.trim_start_matches('/'))),
        None => Cow::from(raw),
    };
    Cow::from(percent_decode_str(&path)).into_owned()
}

/// A digest of a *set* of files that can be updated file by file: the sum of two 128-bit halves of every key's hash.
/// Equal sets have equal hashes, independent of the order of updates.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SetHash([u128; 2]);

impl SetHash {
    fn halves(bytes: &[u8]) -> [u128; 2] {
        let hash = blake3::hash(bytes);
        let half = |at: usize| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&hash.as_bytes()[at..at + 16]);
            u128::from_be_bytes(bytes)
        };
        [half(0), half(16)]
    }

    /// Adds a file.
    pub fn insert(&mut self, key: &FileKey) {
        self.insert_bytes(&key.0);
    }

    /// Adds an element that these bytes identify.
    pub(crate) fn insert_bytes(&mut self, bytes: &[u8]) {
        let [a, b] = Self::halves(bytes);
        self.0 = [self.0[0].wrapping_add(a), self.0[1].wrapping_add(b)];
    }

    /// Removes a file.
    pub fn remove(&mut self, key: &FileKey) {
        let [a, b] = Self::halves(&key.0);
        self.0 = [self.0[0].wrapping_sub(a), self.0[1].wrapping_sub(b)];
    }

    /// The hash as 32 bytes.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        out[..16].copy_from_slice(&self.0[0].to_be_bytes());
        out[16..].copy_from_slice(&self.0[1].to_be_bytes());
        out
    }

    /// The hash from the bytes of [`Self::to_bytes`]; `None` when they are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (a, b) = bytes.split_at_checked(16)?;
        Some(Self([u128::from_be_bytes(a.try_into().ok()?), u128::from_be_bytes(b.try_into().ok()?)]))
    }
}

impl fmt::Debug for SetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}{:032x}", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_key_is_made_of_the_canonical_path() {
        let same = |a: &str, b: &str| assert_eq!(FileKey::new(a, None), FileKey::new(b, None), "{a} {b}");
        let differ = |a: &str, b: &str| assert_ne!(FileKey::new(a, None), FileKey::new(b, None), "{a} {b}");
        same("/x/y", "file:///x/y");
        same("/x/y", "file:/x/y");
        same("a b", "a%20b");
        same("p@#h", "p%40%23h");
        differ("a%2520b", "a%20b");
        differ("x/y", "/x/y");
        differ("s3://a/x", "s3://b/x");
    }

    #[test]
    fn a_path_is_absolute_with_a_scheme_or_from_the_root() {
        for (raw, url) in [
            ("/x/a%20b", Some("file:///x/a%20b")),
            ("file:/x/y", Some("file:///x/y")),
            ("s3a://lake/x#1?", Some("s3a://lake/x%231%3F")),
            ("x/y", None),
            ("12:00/x", None),
            ("at=12:00/x", None),
        ] {
            assert_eq!(absolute_path(raw).as_deref(), url, "{raw}");
        }
    }

    #[test]
    fn a_set_hash_depends_on_content_and_not_on_order() {
        let keys: Vec<_> = ["a", "b", "c"].iter().map(|p| FileKey::new(p, None)).collect();
        let mut forward = SetHash::default();
        keys.iter().for_each(|k| forward.insert(k));
        let mut backward = SetHash::default();
        keys.iter().rev().for_each(|k| backward.insert(k));
        assert_eq!(forward, backward);
        backward.remove(&keys[0]);
        assert_ne!(forward, backward);
        backward.insert(&keys[0]);
        assert_eq!(SetHash::from_bytes(&backward.to_bytes()), Some(forward));
        assert_eq!(SetHash::from_bytes(&[1, 2]), None);
    }
}
