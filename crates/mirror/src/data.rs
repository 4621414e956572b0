//! Checks that the files named by a table's log exist.

use std::sync::Arc;

use deltalakedb_log::action::{Action, Add, Commit, DeletionVector};
use deltalakedb_log::time::parse_interval;
use deltalakedb_log::{
    Durability, HistoryRange, Location, Result, TableEntry, TxnLogError, Version, canonical_path, first_commit,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use crate::commits;
use crate::mirror::Mirror;
use crate::verify::Finding;

/// How many files are looked for at a time.
const AT_ONCE: usize = 16;
/// How long change data is kept unless the table says otherwise: vacuum takes it after that.
const WEEK_MS: i64 = 7 * 24 * 3_600_000;

/// A file that is to be there.
struct Wanted {
    version: Version,
    what: &'static str,
    /// As the log spells it.
    named: String,
    /// Where it is: a URL, or a decoded path on this machine or below the table.
    path: String,
}

/// The result of the lookup of a file.
enum Found {
    There,
    Missing,
    /// It is at a location that cannot be read, with the reason.
    Elsewhere(String),
}

impl Mirror {
    /// The missing files: data files of the newest version, their deletion vectors, and change data within retention.
    pub(crate) async fn missing_files(&self, table: &TableEntry) -> Result<Vec<Finding>> {
        let version = table.current_version;
        let live = self.catalog.reader(table.id).files_by_key(version).await?;
        let wanted = live.map_ok(move |add| futures::stream::iter(of_file(version, &add).map(Ok))).try_flatten();
        let mut findings = self.look_for(table, wanted.boxed()).await?;
        let changes = self.change_data(table).await?.into_iter().map(Ok);
        findings.extend(self.look_for(table, futures::stream::iter(changes).boxed()).await?);
        Ok(findings)
    }

    async fn look_for(&self, table: &TableEntry, wanted: BoxStream<'_, Result<Wanted>>) -> Result<Vec<Finding>> {
        let own = self.store(table)?;
        let look = |wanted: Result<Wanted>| {
            let own = own.clone();
            async move {
                let wanted = wanted?;
                let found = self.look(&own, &wanted.path).await?;
                Ok::<_, TxnLogError>(wanted.finding(found))
            }
        };
        let looked: Vec<Option<Finding>> = wanted.map(look).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(looked.into_iter().flatten().collect())
    }

    async fn look(&self, own: &Arc<dyn ObjectStore>, file: &str) -> Result<Found> {
        let is_url = file.contains("://");
        let (store, name) = match file.rsplit_once('/').filter(|_| is_url || file.starts_with('/')) {
            None => (own.clone(), file),
            Some((folder, name)) => {
                // A folder below the root of a bucket, or the root.
                let folder = if folder.is_empty() { "/" } else { folder };
                let opened = Location::parse(folder).and_then(|at| self.stores.open(&at, Durability::Full));
                match opened {
                    Ok(store) => (store, name),
                    Err(e) => return Ok(Found::Elsewhere(e.to_string())),
                }
            }
        };
        let path = match if is_url { Path::from_url_path(name) } else { Path::parse(name) } {
            Ok(path) => path,
            Err(e) => return Ok(Found::Elsewhere(e.to_string())),
        };
        match store.head(&path).await {
            Ok(_) => Ok(Found::There),
            Err(object_store::Error::NotFound { .. }) => Ok(Found::Missing),
            Err(e) => Err(e.into()),
        }
    }

    /// The change data of versions so recent that vacuum keeps it.
    async fn change_data(&self, table: &TableEntry) -> Result<Vec<Wanted>> {
        let reader = self.catalog.reader(table.id);
        let metadata = reader.head().await?.metadata;
        let kept = metadata.property("delta.deletedFileRetentionDuration").and_then(parse_interval);
        let kept = kept.map_or(WEEK_MS, |kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
        let since = Some(self.clock.now_ms().saturating_sub(kept));
        let young = reader.history(HistoryRange { limit: None, since, until: None }).await?;
        let Some(first) = young.iter().map(|commit| commit.version).min() else { return Ok(Vec::new()) };
        let mut wanted = Vec::new();
        let mut next = first.max(first_commit(reader.as_ref(), table.base_version).await?);
        while next <= table.current_version {
            let some = commits::some(reader.as_ref(), next, table.current_version).await?;
            let Some((newest, _)) = some.last() else { break };
            next = newest + 1;
            for (version, bytes) in some {
                for action in Commit::parse(bytes, &format!("version {version} of {}", table.name))?.into_actions() {
                    if let Action::Cdc(cdc) = action {
                        wanted.push(Wanted {
                            version,
                            what: "change data file",
                            path: decoded(&cdc.path),
                            named: cdc.path,
                        });
                    }
                }
            }
        }
        Ok(wanted)
    }
}

impl Wanted {
    fn finding(self, found: Found) -> Option<Finding> {
        let Self { version, what, named, .. } = self;
        let (what, mend) = match found {
            Found::There => return None,
            Found::Missing => (format!("the {what} {named} is missing"), "restore the file from a backup"),
            Found::Elsewhere(why) => {
                (format!("the {what} {named} cannot be looked for: {why}"), "look for it where it is")
            }
        };
        Some(Finding { version, what, mend: mend.into() })
    }
}

/// A live file, and the file of its deletion vector.
fn of_file(version: Version, add: &Add) -> impl Iterator<Item = Wanted> + use<> {
    let vector = add.deletion_vector.as_ref().and_then(|vector| {
        let path = vector_file(vector)?;
        Some(Wanted { version, what: "deletion vector file", named: path.clone(), path })
    });
    let file = Wanted { version, what: "data file", path: decoded(&add.path), named: add.path.clone() };
    std::iter::once(file).chain(vector)
}

fn decoded(path: &str) -> String {
    if path.contains("://") && !path.starts_with("file:") {
        return path.into();
    }
    String::from_utf8_lossy(&canonical_path(path)).into_owned()
}

/// The file of a deletion vector; `None` for an inline one (PROTOCOL.md, "Deletion Vectors").
fn vector_file(vector: &DeletionVector) -> Option<String> {
    let path = &vector.path_or_inline_dv;
    match vector.storage_type.as_str() {
        "p" => Some(decoded(path)),
        "u" => {
            let (prefix, id) = path.split_at_checked(path.len().checked_sub(20)?)?;
            let id = Uuid::from_bytes(base85(id.as_bytes())?);
            let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
            Some(format!("{folder}deletion_vector_{id}.bin"))
        }
        _ => None,
    }
}

/// Sixteen bytes in Z85.
fn base85(text: &[u8]) -> Option<[u8; 16]> {
    const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut bytes = [0; 16];
    for (four, five) in bytes.chunks_exact_mut(4).zip(text.chunks_exact(5)) {
        let mut number: u32 = 0;
        for digit in five {
            let digit = DIGITS.iter().position(|d| d == digit)?;
            number = number.checked_mul(85)?.checked_add(u32::try_from(digit).ok()?)?;
        }
        four.copy_from_slice(&number.to_be_bytes());
    }
    (text.len() == 20).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_vector_is_in_the_file_that_the_protocol_says() {
        // The examples of PROTOCOL.md.
        let vector = |kind: &str, path: &str| DeletionVector {
            storage_type: kind.into(),
            path_or_inline_dv: path.into(),
            offset: Some(4),
            size_in_bytes: 40,
            cardinality: 6,
            extra: Default::default(),
        };
        let file = |kind, path| vector_file(&vector(kind, path));
        assert_eq!(
            file("u", "ab^-aqEH.-t@S}K{vb[*k^").as_deref(),
            Some("ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin")
        );
        assert_eq!(
            file("p", "s3://mytable/deletion%20vector.bin").as_deref(),
            Some("s3://mytable/deletion%20vector.bin")
        );
        assert_eq!(file("i", "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L"), None);
        assert_eq!(file("u", "short"), None);
    }
}
