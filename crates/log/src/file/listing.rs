//! The files of a `_delta_log` by their names, and which of them reconstruct a version.

use std::collections::BTreeMap;

use object_store::ObjectMeta;
use object_store::path::Path;
use uuid::Uuid;

use super::{LOG, TableDir, commit_path};
use crate::action::Version;
use crate::error::{Result, Subject, TxnLogError};

/// The files of a log at one moment.
#[derive(Debug)]
pub(super) struct Listing {
    /// The commits, by version.
    pub(super) commits: BTreeMap<Version, ObjectMeta>,
    /// The complete checkpoints, by version.
    checkpoints: BTreeMap<Version, Vec<Checkpoint>>,
    compactions: Vec<Compaction>,
    /// The newest version.
    pub(super) head: Version,
    /// The oldest version from which the history is complete: it can be reconstructed, and every later commit exists.
    pub(super) base: Version,
}

/// A checkpoint: one file, or all parts of it in order.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) version: Version,
    pub(super) files: Vec<ObjectMeta>,
}

/// The commits `first..=last` reconciled into one file.
#[derive(Debug)]
struct Compaction {
    first: Version,
    last: Version,
    file: ObjectMeta,
}

/// The kind of a file, by its name.
#[derive(Debug, PartialEq)]
enum Name {
    Commit(Version),
    Compaction(Version, Version),
    Checkpoint(Version),
    Part { version: Version, part: usize, of: usize },
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
        let version = |s: &str| {
            let v = digits(s, 20).then(|| s.parse::<Version>().ok()).flatten();
            v.filter(|v| i64::try_from(*v).is_ok())
        };
        let count = |s: &str| digits(s, 10).then(|| s.parse().ok()).flatten();
        Some(match name.split('.').collect::<Vec<_>>().as_slice() {
            [v, "json"] => Self::Commit(version(v)?),
            [first, last, "compacted", "json"] => Self::Compaction(version(first)?, version(last)?),
            [v, "checkpoint", "parquet"] => Self::Checkpoint(version(v)?),
            [v, "checkpoint", id, "json" | "parquet"] => {
                Uuid::parse_str(id).ok()?;
                Self::Checkpoint(version(v)?)
            }
            [v, "checkpoint", part, of, "parquet"] => {
                Self::Part { version: version(v)?, part: count(part)?, of: count(of)? }
            }
            _ => return None,
        })
    }
}

impl Listing {
    /// Lists the log; `None` when it has neither commit nor checkpoint, an error when no version can be reconstructed.
    pub(super) async fn read(dir: &TableDir) -> Result<Option<Self>> {
        let Some(mut listing) = Self::files(dir).await? else { return Ok(None) };
        let base = listing.bases().next();
        listing.base = base.ok_or_else(|| listing.gap(dir))?;
        Ok(Some(listing))
    }

    /// Lists the log, even when no version can be reconstructed; the base is not determined yet.
    pub(super) async fn files(dir: &TableDir) -> Result<Option<Self>> {
        let listed = dir.store.list_with_delimiter(Some(&Path::from(LOG))).await;
        let listed = listed.map_err(|e| dir.failed(e, &format!("{}/{LOG} cannot be listed", dir.location)))?;
        let mut listing =
            Self { commits: BTreeMap::new(), checkpoints: BTreeMap::new(), compactions: Vec::new(), head: 0, base: 0 };
        let mut in_parts: BTreeMap<(Version, usize), BTreeMap<usize, ObjectMeta>> = BTreeMap::new();
        for file in listed.objects {
            match file.location.filename().and_then(Name::parse) {
                Some(Name::Commit(v)) => {
                    listing.commits.insert(v, file);
                }
                Some(Name::Compaction(first, last)) => listing.compactions.push(Compaction { first, last, file }),
                Some(Name::Checkpoint(v)) => listing.add_checkpoint(v, vec![file]),
                Some(Name::Part { version, part, of }) => {
                    in_parts.entry((version, of)).or_default().insert(part, file);
                }
                None => {}
            }
        }
        for ((version, of), parts) in in_parts {
            if parts.keys().copied().eq(1..=of) {
                listing.add_checkpoint(version, parts.into_values().collect());
            }
        }
        let newest = listing.commits.keys().next_back().max(listing.checkpoints.keys().next_back());
        let Some(&head) = newest else { return Ok(None) };
        listing.head = head;
        Ok(Some(listing))
    }

    fn add_checkpoint(&mut self, version: Version, files: Vec<ObjectMeta>) {
        self.checkpoints.entry(version).or_default().push(Checkpoint { version, files });
    }

    /// The checkpoints from which `version` can be reached, newest first.
    pub(super) fn checkpoints_to(&self, version: Version) -> impl Iterator<Item = &Checkpoint> {
        self.checkpoints.range(..=version).rev().flat_map(|(_, same_version)| same_version)
    }

    /// The complete checkpoints, oldest first.
    pub(super) fn into_checkpoints(self) -> impl Iterator<Item = Checkpoint> {
        self.checkpoints.into_values().flatten()
    }

    /// The files to apply, in order, to get from the state at `after` (from nothing if `None`) to `version`; `Err` is
    /// the first missing version.
    ///
    /// A compaction that starts before the gap it bridges contains nothing about earlier versions that the state does
    /// not have. When one start fails, every older one fails as well: it meets the same gap.
    pub(super) fn steps(&self, after: Option<Version>, version: Version) -> Result<Vec<&ObjectMeta>, Version> {
        let mut next = after.map_or(0, |v| v + 1);
        let mut steps = Vec::new();
        while next <= version {
            let bridges = |c: &&Compaction| c.first <= next && next <= c.last && c.last <= version;
            if let Some(commit) = self.commits.get(&next) {
                steps.push(commit);
                next += 1;
            } else if let Some(c) = self.compactions.iter().filter(bridges).max_by_key(|c| c.last) {
                steps.push(&c.file);
                next = c.last + 1;
            } else {
                return Err(next);
            }
        }
        Ok(steps)
    }

    /// The file of a commit, and its size if it is listed.
    pub(super) fn commit(&self, version: Version) -> (Path, u64) {
        (commit_path(version), self.commits.get(&version).map_or(0, |file| file.size))
    }

    /// The versions at which history can begin, oldest first: they can be reconstructed, and every later commit exists.
    pub(super) fn bases(&self) -> impl Iterator<Item = Version> {
        let mut whole_from = self.head + 1;
        for v in self.commits.keys().rev().take_while(|v| **v <= self.head) {
            if v + 1 != whole_from {
                break;
            }
            whole_from = *v;
        }
        let from = whole_from.saturating_sub(1);
        let mut candidates: Vec<_> = self.checkpoints.range(from..).map(|(v, _)| *v).collect();
        candidates.extend(self.compactions.iter().map(|c| c.last).filter(|v| (from..=self.head).contains(v)));
        candidates.push(from);
        candidates.sort_unstable();
        candidates.dedup();
        candidates.into_iter().filter(|v| self.way_to(*v).is_ok())
    }

    /// Whether files reconstruct `version`; `Err` is the first version missing after the newest checkpoint before it.
    fn way_to(&self, version: Version) -> Result<(), Version> {
        self.steps(self.checkpoints_to(version).next().map(|c| c.version), version).map(drop)
    }

    /// When the version was written to the log, in milliseconds since 1970: the modification time of its commit file,
    /// or of another file that reconstructs the version when the commit file is gone.
    pub(super) fn file_time(&self, version: Version) -> Option<i64> {
        let checkpoints = self.checkpoints.get(&version).into_iter().flatten().flat_map(|c| &c.files);
        let compactions = self.compactions.iter().filter(|c| c.last == version).map(|c| &c.file);
        let others = checkpoints.chain(compactions).max_by_key(|file| file.last_modified);
        let file = self.commits.get(&version).or(others);
        file.map(|file| file.last_modified.timestamp_millis())
    }

    /// The error for a `version` that no files reconstruct.
    pub(super) fn unreachable(&self, version: Version, dir: &TableDir) -> TxnLogError {
        let (base, head, table) = (self.base, self.head, &dir.location);
        let there = if base == head {
            format!("its only version is {head}")
        } else {
            format!("its versions are {base} to {head}")
        };
        if version > head {
            let message = format!("version {version} of {table} does not exist: {there}");
            TxnLogError::not_found(message).about(Subject::Version)
        } else if version < base {
            let message = format!("version {version} of {table} is no longer in its log: {there}");
            TxnLogError::not_found(message).about(Subject::Version)
        } else {
            self.gap(dir)
        }
    }

    fn gap(&self, dir: &TableDir) -> TxnLogError {
        let missing = self.way_to(self.head).err().unwrap_or(self.base);
        TxnLogError::corrupt(format!(
            "{missing:020}.json is missing from {}/{LOG}, and no checkpoint replaces it: restore it from a copy",
            dir.location
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_log_are_classified_by_name() {
        let check = |name: &str, want: Option<Name>| assert_eq!(Name::parse(name), want, "{name}");
        let id = "3a0d65cd-4056-49b8-937b-95f9e3ee90e5";
        check("00000000000000000010.json", Some(Name::Commit(10)));
        check("00000000000000000010.checkpoint.parquet", Some(Name::Checkpoint(10)));
        check(&format!("00000000000000000010.checkpoint.{id}.json"), Some(Name::Checkpoint(10)));
        check(&format!("00000000000000000010.checkpoint.{id}.parquet"), Some(Name::Checkpoint(10)));
        check(
            "00000000000000000010.checkpoint.0000000002.0000000003.parquet",
            Some(Name::Part { version: 10, part: 2, of: 3 }),
        );
        check("00000000000000000004.00000000000000000006.compacted.json", Some(Name::Compaction(4, 6)));
        for other in [
            "_last_checkpoint",
            "00000000000000000010.crc",
            "10.json",
            ".00000000000000000010.json.crc",
            "._00000000000000000010.json",
            "00000000000000000010.checkpoint.parquet.tmp",
            "00000000000000000010.json.3a0d65cd.tmp",
            "99999999999999999999.json",
        ] {
            check(other, None);
        }
    }
}
