//! Verifies that `_delta_log` and the catalog agree.
//!
//! Commits are compared byte by byte, checkpoints and checksums with their versions, and the resulting state with that
//! of an *independent* reader ([`Replayer`]) of `_delta_log`, so that an error in our own replay is detected.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::action::{Add, DomainMetadata, Metadata, Protocol, Txn};
use deltalakedb_log::{
    At, FileKey, FileTxnLogReader, Location, MirrorState, Result, Snapshot, Stores, TableEntry, TxnLogError, Version,
    first_commit,
};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

use crate::checksum::{self, configurations, txn_versions};
use crate::commits;
use crate::derived::WrongFile;
use crate::later_commit::LaterCommit;
use crate::maintenance::RemovableCommits;
use crate::mirror::Mirror;
use crate::put::{commit_path, describe, is_torn, read};
use crate::wrong_row::{import_again, wrong_row};

/// An independent reader of a plain `_delta_log`.
#[async_trait]
pub trait Replayer: Send + Sync {
    /// The table at a version, read from `_delta_log` alone.
    async fn replay(&self, location: &Location, stores: &Arc<dyn Stores>, version: Version)
    -> Result<ReplayedSnapshot>;
}

/// A table at one version, as an independent reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedSnapshot {
    /// The version.
    pub version: Version,
    /// The protocol.
    pub protocol: Protocol,
    /// The metadata.
    pub metadata: Metadata,
    /// The newest txn of each application, as far as they have not expired.
    pub txns: BTreeMap<String, Txn>,
    /// The domains that are not removed.
    pub domains: BTreeMap<String, DomainMetadata>,
    /// The live files. Readers need not keep their `dataChange`, nor statistics that the table does not keep as JSON
    /// (`delta.checkpoint.writeStatsAsJson`).
    pub files: Vec<Add>,
}

/// The options of a verification.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Replay every version, not only the newest.
    pub every_version: bool,
    /// Also check that every data file exists.
    pub data: bool,
}

/// One difference, and how to repair it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Its version.
    pub version: Version,
    /// What differs.
    pub what: String,
    /// How to repair it: a command, or what to do by hand.
    pub suggested_fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {}: {}; {}", self.version, self.what, self.suggested_fix)
    }
}

impl Mirror {
    /// Compares a table's `_delta_log` with the catalog. No finding means that they agree. `progress` is called with
    /// every finished version, and the last version.
    ///
    /// Versions committed and published during the comparison are not findings, nor are versions that may be missing
    /// from the log because a checkpoint covers them and their retention has ended.
    #[tracing::instrument(target = "deltalakedb::operation", level = "debug", skip_all, fields(table = %table.name))]
    pub async fn verify(
        &self,
        table: &TableEntry,
        replayer: &dyn Replayer,
        options: VerifyOptions,
        progress: &(dyn Fn(Version, Version) + Send + Sync),
    ) -> Result<Vec<Finding>> {
        let mut findings: Vec<_> = self.foreign_commit(table).await?.into_iter().collect();
        let diverged = match &table.mirror {
            MirrorState::Diverged { version, .. } => Some((*version).min(table.current_version)),
            MirrorState::Following => None,
        };
        if let Some(last) = table.published_version.max(diverged) {
            findings.extend(self.changed_commits(table, last, progress).await?);
        }
        let unpublished = table.published_version.map_or(table.base_version, |v| v + 1);
        let is_behind = unpublished <= table.current_version;
        if let Some(published) = table.published_version {
            let first = if options.every_version { table.base_version } else { published };
            // The independent reader fails on the same missing or foreign commits, and on the same checkpoints: each
            // cause is reported once.
            let agree = |findings: &[Finding]| findings.iter().all(|f| f.version > published);
            let before = findings.len();
            if agree(&findings) {
                findings.extend(self.wrong_derived_files(table, first..=published).await?);
            }
            if agree(&findings) {
                for version in self.oldest_in_log(table, first).await?..=published {
                    findings.extend(self.compare(table, replayer, version).await?);
                    progress(version, published);
                }
            }
            if findings.len() > before
                && let Some(what) =
                    wrong_row(self.catalog.reader(table.id).as_ref(), table.base_version, published).await?
            {
                // Files that are right were compared with wrong rows.
                findings.truncate(before);
                findings.push(Finding { version: published, what, suggested_fix: import_again(table) });
            }
            if options.data {
                findings.extend(self.missing_files(table).await?);
            }
        }
        if is_behind {
            findings.extend(self.unpublished(table, unpublished).await?);
        }
        tracing::debug!(table = %table.name, version = table.current_version, findings = findings.len(), "verified");
        Ok(findings)
    }

    /// The oldest version from `first` on that `_delta_log` still has.
    async fn oldest_in_log(&self, table: &TableEntry, first: Version) -> Result<Version> {
        if Some(first) == table.published_version {
            return Ok(first);
        }
        let log = FileTxnLogReader::open_in(&table.location, self.stores.as_ref()).await?;
        Ok(first.max(log.versions().0))
    }

    /// Versions that were committed and not published, and still are not: from the first that `_delta_log` lacks on.
    async fn unpublished(&self, table: &TableEntry, version: Version) -> Result<Option<Finding>> {
        let now = self.entry(table.id).await?;
        let mut version = now.published_version.map_or(version, |published| version.max(published + 1));
        let (reader, store) = (self.catalog.reader(table.id), self.store(table)?);
        loop {
            if version > table.current_version {
                return Ok(None);
            }
            // A version that was just published is recorded once its file is synced.
            let (there, expected) = futures::try_join!(
                async { read(store.as_ref(), &commit_path(version)).await },
                reader.commit_bytes(version)
            )?;
            if there.is_none() || there != expected {
                break;
            }
            version += 1;
        }
        let n = table.current_version + 1 - version;
        let what = format!("{n} commit{} not published yet", if n == 1 { " is" } else { "s are" });
        let suggested_fix = match &table.mirror {
            MirrorState::Following => "`dl mirror run` publishes what is missing".into(),
            MirrorState::Diverged { .. } => keep_one(table),
        };
        Ok(Some(Finding { version, what, suggested_fix }))
    }

    /// A commit in `_delta_log` after the newest of the catalog.
    async fn foreign_commit(&self, table: &TableEntry) -> Result<Option<Finding>> {
        let mut beyond = LaterCommit::find(self.catalog.as_ref(), table, self.store(table)?.as_ref()).await?;
        if beyond.is_some() {
            // A version that was committed here since the entry was read is not another writer's.
            let current = self.entry(table.id).await?.current_version;
            beyond.take_if(|commit| commit.version <= current);
        }
        let Some(commit) = beyond else { return Ok(None) };
        let name = &table.name;
        let import = match table.oldest_unpublished() {
            _ if !commit.can_be_imported(table) => String::new(),
            None => format!("`dl import {name}` imports it, and "),
            Some(_) => format!("`dl mirror run` and then `dl import {name}` import it, and "),
        };
        Ok(Some(Finding {
            version: commit.version,
            what: format!("{} is not in the catalog", commit.what),
            suggested_fix: format!("{import}`dl mirror repair {name} --ours` moves it out of the log"),
        }))
    }

    /// Commits that are missing in `_delta_log` or differ from the catalog's bytes.
    async fn changed_commits(
        &self,
        table: &TableEntry,
        last: Version,
        progress: &(dyn Fn(Version, Version) + Send + Sync),
    ) -> Result<Vec<Finding>> {
        let (reader, store) = (self.catalog.reader(table.id), self.store(table)?);
        let removable = RemovableCommits::of(reader.as_ref(), store.as_ref(), self.clock.now_ms()).await?;
        let mut findings = Vec::new();
        let mut next = first_commit(reader.as_ref(), table.base_version).await?;
        while next <= last {
            let some = commits::next_page(reader.as_ref(), next, last).await?;
            let Some((newest, _)) = some.last() else { break };
            next = newest + 1;
            let compared = futures::stream::iter(some).map(|(version, expected)| {
                let (store, path) = (&store, commit_path(version));
                async move {
                    let there = read(store.as_ref(), &path).await?;
                    Ok::<_, TxnLogError>((version, expected, there, path))
                }
            });
            let mut compared = compared.buffered(16);
            while let Some((version, expected, there, path)) = compared.try_next().await? {
                progress(version, last);
                let was_published = table.published_version.is_some_and(|published| version <= published);
                let Some(what) = changed(&path, &expected, there.as_ref()) else { continue };
                let may_be_gone =
                    there.is_none() && (!was_published || removable.has(reader.as_ref(), version).await?);
                if may_be_gone {
                    continue;
                }
                let name = &table.name;
                let suggested_fix = match there {
                    Some(there) if !is_torn(&there, &expected) => keep_one(table),
                    _ if !was_published => "`dl mirror run` publishes it".into(),
                    Some(_) | None => format!("`dl mirror repair {name}` publishes the catalog's version again"),
                };
                findings.push(Finding { version, what, suggested_fix });
            }
        }
        Ok(findings)
    }

    /// What is wrong with the files that make reading faster: checkpoints, the hint to the last one, checksums.
    async fn wrong_derived_files(&self, table: &TableEntry, versions: RangeInclusive<Version>) -> Result<Vec<Finding>> {
        let wrong = self.wrong_files(table, versions).await?;
        let finding = |wrong: WrongFile| Finding {
            version: wrong.version,
            what: wrong.what,
            suggested_fix: format!("`dl mirror repair {}` writes it again", table.name),
        };
        Ok(wrong.into_iter().map(finding).collect())
    }

    /// The smallest difference between the catalog's state and that of the independent reader.
    async fn compare(&self, table: &TableEntry, replayer: &dyn Replayer, version: Version) -> Result<Option<Finding>> {
        let reader = self.catalog.reader(table.id);
        let snapshot = reader.snapshot(At::Version(version)).await?;
        let files: Vec<Add> = reader.files(version, None).await?.try_collect().await?;
        let difference = match replayer.replay(&table.location, &self.stores, version).await {
            Ok(actual) => difference(&snapshot, &files, &actual),
            Err(e) => Some(format!("another reader cannot replay _delta_log: {e}")),
        };
        Ok(difference.map(|what| Finding {
            version,
            what,
            suggested_fix:
                "look in _delta_log for a stale log compaction file and delete it, or for a path with two spellings, \
                   which this reader treats as two files"
                    .into(),
        }))
    }
}

/// The difference between a commit in `_delta_log` and the catalog's.
fn changed(path: &Path, expected: &Bytes, there: Option<&Bytes>) -> Option<String> {
    let file = path.filename().unwrap_or_default();
    match there {
        Some(there) if there == expected => None,
        Some(there) if is_torn(there, expected) => {
            Some(format!("{file} is torn: it has {} of {} bytes", there.len(), expected.len()))
        }
        Some(there) => {
            let (line, expected_line, actual) = first_difference(expected, there);
            let whose = describe(path, there);
            Some(format!("{whose} differs from the catalog at line {line}: {actual} instead of {expected_line}"))
        }
        None => Some(format!("{file} is missing")),
    }
}

/// The first line that differs, counted from 1, shortened on both sides.
fn first_difference(expected: &[u8], actual: &[u8]) -> (usize, String, String) {
    let short = |line: Option<&[u8]>| match line {
        Some(line) => {
            let text = String::from_utf8_lossy(line);
            let cut: String = text.chars().take(60).collect();
            if cut.len() < text.len() { format!("`{cut}…`") } else { format!("`{cut}`") }
        }
        None => "the end of the file".into(),
    };
    let (mut a, mut b) = (expected.split(|c| *c == b'\n'), actual.split(|c| *c == b'\n'));
    for line in 1.. {
        let (expected_line, other) = (a.next(), b.next());
        if expected_line != other || (expected_line.is_none() && other.is_none()) {
            return (line, short(expected_line), short(other));
        }
    }
    (0, String::new(), String::new())
}

/// What ends a divergence in favour of the catalog.
fn keep_one(table: &TableEntry) -> String {
    format!(
        "`dl mirror repair {} --ours` moves it out of _delta_log and publishes the catalog's version, `--theirs` keeps it",
        table.name
    )
}

fn difference(expected: &Snapshot, files: &[Add], actual: &ReplayedSnapshot) -> Option<String> {
    if expected.head.protocol != actual.protocol {
        return Some(format!(
            "the protocol is {} instead of {}",
            actual.protocol.to_json(),
            expected.head.protocol.to_json()
        ));
    }
    if expected.head.metadata != actual.metadata {
        return Some(format!(
            "the metadata is {} instead of {}",
            actual.metadata.to_json(),
            expected.head.metadata.to_json()
        ));
    }
    let mut txns = txn_versions(&expected.txns);
    if checksum::expires(&expected.head.metadata) {
        // The independent reader does not return expired txns.
        txns.retain(|app, _| actual.txns.contains_key(*app));
    }
    if let Some(what) = first_entry("txn of application", &txns, &txn_versions(&actual.txns)) {
        return Some(what);
    }
    if let Some(what) = first_entry("domain", &configurations(&expected.domains), &configurations(&actual.domains)) {
        return Some(what);
    }
    let by_key = |files: &[Add]| files.iter().map(|f| (f.key(), f.clone())).collect::<BTreeMap<FileKey, Add>>();
    let (expected, actual) = (by_key(files), by_key(&actual.files));
    let keys: BTreeSet<_> = expected.keys().chain(actual.keys()).collect();
    keys.into_iter().find_map(|key| match (expected.get(key), actual.get(key)) {
        (Some(file), None) => Some(format!("the file {} is not live in _delta_log", file.path)),
        (None, Some(file)) => Some(format!("the file {} is live only in _delta_log", file.path)),
        (Some(a), Some(b)) if a.size != b.size || a.partition_values != b.partition_values => {
            Some(format!("the file {} has another size or other partition values in _delta_log", a.path))
        }
        _ => None,
    })
}

fn first_entry<T: PartialEq + fmt::Debug>(
    what: &str,
    expected: &BTreeMap<&str, T>,
    actual: &BTreeMap<&str, T>,
) -> Option<String> {
    let keys: BTreeSet<_> = expected.keys().chain(actual.keys()).collect();
    keys.into_iter().find(|k| expected.get(*k) != actual.get(*k)).map(|k| {
        let show = |v: Option<&T>| v.map_or("nothing".to_string(), |v| format!("{v:?}"));
        format!("the {what} {k:?} is {} instead of {}", show(actual.get(k)), show(expected.get(k)))
    })
}
