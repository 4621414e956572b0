//! The times at which the versions of a plain log were committed.
//!
//! A version's own time is its in-commit timestamp from the version on where the table enables them, else the
//! `commitInfo.timestamp` of a commit this library wrote, else the modification time of its file. Own times may be
//! equal or decrease (a copied log), so each version's time is made later than the previous one, as in Spark: `max(own,
//! previous + 1)`, starting at the oldest listed version.

use std::collections::HashMap;

use futures::{StreamExt, stream};
use parking_lot::Mutex;

use super::TableDir;
use super::listing::Listing;
use crate::action::{Action, Metadata, Version};
use crate::commit::COMMIT_INFO_KEY;
use crate::error::Result;
use crate::history::{CommitTime, TimeSource};

/// The own times of the versions that were requested so far.
#[derive(Debug)]
pub(super) struct Times {
    /// The version from which in-commit timestamps count.
    in_commit_since: Option<Version>,
    own: Mutex<HashMap<Version, CommitTime>>,
}

impl Times {
    /// Starts empty. The newest metadata says whether, and since when, times are in the commits, as in Spark.
    pub(super) fn new(newest: &Metadata) -> Self {
        let since = newest.property("delta.inCommitTimestampEnablementVersion").and_then(|v| v.parse().ok());
        let in_commit_since = newest.is_on("delta.enableInCommitTimestamps").then(|| since.unwrap_or(0));
        Self { in_commit_since, own: Mutex::default() }
    }

    /// The own time of `version`, whose commit is `body`; it is cached.
    pub(super) fn own_of(&self, version: Version, body: &[u8], file_time: i64) -> CommitTime {
        let time = self.stated(version, body).unwrap_or(CommitTime { ms: file_time, source: TimeSource::File });
        self.own.lock().insert(version, time);
        time
    }

    /// The time stated in a commit. Where it counts, it is in the first action, so the other actions are not parsed.
    fn stated(&self, version: Version, body: &[u8]) -> Option<CommitTime> {
        let line = std::str::from_utf8(body.split(|b| *b == b'\n').next()?).ok()?;
        let actions = line.contains("commitInfo").then(|| Action::parse_line(line))?;
        let Some(Action::CommitInfo(info)) = actions.as_ref().ok()?.first() else {
            return None;
        };
        let in_commit = self.in_commit_since.is_some_and(|since| version >= since);
        if let Some(ms) = info.in_commit_timestamp().filter(|_| in_commit) {
            return Some(CommitTime { ms, source: TimeSource::InCommit });
        }
        info.0.raw(COMMIT_INFO_KEY)?;
        Some(CommitTime { ms: info.timestamp()?, source: TimeSource::CommitInfo })
    }

    /// The own times of the commits, in their order; times that are not cached are read.
    async fn own(&self, versions: &[Version], listing: &Listing, dir: &TableDir) -> Result<Vec<CommitTime>> {
        let mut unread: Vec<_> = versions.to_vec();
        unread.retain(|version| !self.own.lock().contains_key(version));
        let bodies = dir.get_all(unread.iter().map(|version| listing.commit(*version)).collect());
        let mut bodies = bodies.zip(stream::iter(unread));
        while let Some((body, version)) = bodies.next().await {
            self.own_of(version, &body?.1, listing.file_time(version).unwrap_or_default());
        }
        let cache = self.own.lock();
        Ok(versions.iter().filter_map(|version| cache.get(version).copied()).collect())
    }

    /// The time of `version`.
    ///
    /// It is the maximum of all own times up to it, each increased by 1 ms per version. A commit is created no later
    /// than its file is written, so an earlier commit is read only if its file is late enough to matter: usually none.
    pub(super) async fn of(&self, version: Version, listing: &Listing, dir: &TableDir) -> Result<CommitTime> {
        let held = |version: &Version| listing.commits.contains_key(version);
        let file_time = listing.file_time(version).ok_or_else(|| listing.unreachable(version, dir))?;
        let mut own = CommitTime { ms: file_time, source: TimeSource::File };
        if held(&version) {
            own = self.own(&[version], listing, dir).await?[0];
        } else if held(&(version + 1)) {
            // A checkpoint may be written later than the commit after it, but its version is not later.
            own.ms = own.ms.min(self.own(&[version + 1], listing, dir).await?[0].ms.saturating_sub(1));
        }
        let moved = |v: Version, ms: i64| ms.saturating_add((version - v) as i64);
        let earlier = listing.commits.range(..version);
        let late = earlier.filter(|(v, file)| moved(**v, file.last_modified.timestamp_millis()) > own.ms);
        let late: Vec<Version> = late.map(|(v, _)| *v).collect();
        let times = self.own(&late, listing, dir).await?;
        let latest = late.iter().zip(times).map(|(v, time)| moved(*v, time.ms)).max();
        Ok(CommitTime { ms: latest.map_or(own.ms, |ms| ms.max(own.ms)), ..own })
    }
}
