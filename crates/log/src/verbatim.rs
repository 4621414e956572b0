//! Commits that another engine wrote and that become versions byte for byte.
//!
//! Such a commit was made for one version and records it in its bytes, so it becomes that version or none. Nothing is
//! filled in: the facts that our own commits get under the lock (time, `txnId`, the facts of removed files) must be in
//! it already, and are checked.

use bytes::Bytes;

use crate::action::{Action, DeletionVector, Metadata, Protocol, Version};
use crate::commit::{CommitRequest, Content, Current, later_than};
use crate::commit_info::{ICT, catalog_of};
use crate::error::{Result, Subject, TxnLogError};
use crate::features;
use crate::future_times::is_ahead;
use crate::history::{CommitTime, TimeSource};
use crate::ids::TableName;
use crate::path::{absolute_path, canonical_path, leaves_its_table};
use crate::stamp::CommitStamp;
use crate::time::format_ms;

mod commit;

pub use commit::VerbatimCommit;

impl VerbatimCommit {
    /// Checks the additional requirements of a verbatim commit. `after` is protocol and metadata of the version that it
    /// becomes. Returns the time of that version.
    pub(crate) fn check(
        &self,
        version: Version,
        current: &Current,
        (protocol, metadata): (&Protocol, &Metadata),
        stamp: &CommitStamp,
    ) -> Result<CommitTime> {
        let name = &current.name;
        if self.commit.info().and_then(catalog_of).is_some_and(|by| by == stamp.catalog_id.to_string()) {
            return Err(bad(name, "says that this catalog made it: import such commits with `dl import`"));
        }
        let is_on = metadata.is_on(ICT);
        if features::has_writer_feature(protocol, features::CATALOG_MANAGED) {
            if !is_on {
                return Err(bad(name, "leaves a catalog-managed table without in-commit timestamps"));
            }
            if self.txn_id().is_none() {
                return Err(bad(name, "has no txnId in its commitInfo, and the table is catalog-managed"));
            }
        }
        let was_on = current.state.as_ref().is_some_and(|(_, before)| before.is_on(ICT));
        if is_on && !was_on && version > 0 {
            check_enablement(name, version, self.time_ms, metadata)?;
        }
        self.commit.actions().iter().try_for_each(|action| check_location(name, action))?;
        self.time(version, current, is_on, stamp.now_ms)
    }

    /// The time of the version.
    ///
    /// With in-commit timestamps it is the commit's own, which must equal the claimed one and be later than that of the
    /// previous version. Otherwise it is the claimed time, increased if necessary to be later than that of the previous
    /// version, like the time of an imported file. It may not be ahead of the catalog's clock.
    fn time(&self, version: Version, current: &Current, in_commit: bool, now_ms: i64) -> Result<CommitTime> {
        let name = &current.name;
        let before = current.version.map(|_| current.timestamp);
        let time = if in_commit {
            CommitTime { ms: self.in_commit_timestamp(name, before)?, source: TimeSource::InCommit }
        } else {
            CommitTime { ms: later_than(name, version, before, self.time_ms)?, source: TimeSource::File }
        };
        let leaps = before.is_none_or(|before| time.ms > before.saturating_add(1));
        if leaps && is_ahead(time.ms, now_ms) {
            let (own, now) = (format_ms(time.ms), format_ms(now_ms));
            let what = format!(
                "has the time {own}, and the catalog's clock says {now}: every later version would be in the future, \
                 too; set the clock of the machine that wrote it"
            );
            return Err(bad(name, &what));
        }
        Ok(time)
    }

    fn in_commit_timestamp(&self, name: &TableName, before: Option<i64>) -> Result<i64> {
        // Readers read it from the first action only.
        let own = match self.commit.actions().first() {
            Some(Action::CommitInfo(info)) => info.in_commit_timestamp(),
            _ => None,
        };
        let Some(own) = own else {
            let what = "has no inCommitTimestamp in a commitInfo that is its first action, and the table has \
                        in-commit timestamps";
            return Err(bad(name, what));
        };
        if own != self.time_ms {
            return Err(bad(name, &format!("has the inCommitTimestamp {own}, and {} was claimed", self.time_ms)));
        }
        match before {
            Some(before) if own <= before => Err(bad(
                name,
                &format!(
                    "has the inCommitTimestamp {own}, which is not later than {before}, that of the version before"
                ),
            )),
            _ => Ok(own),
        }
    }
}

/// A table that enables in-commit timestamps records the version and time in its properties, which readers trust.
fn check_enablement(name: &TableName, version: Version, time_ms: i64, metadata: &Metadata) -> Result<()> {
    for (what, want) in [("Version", version.to_string()), ("Timestamp", time_ms.to_string())] {
        let property = format!("delta.inCommitTimestampEnablement{what}");
        if metadata.property(&property) != Some(&want) {
            return Err(bad(name, &format!("turns in-commit timestamps on and does not set {property} to {want}")));
        }
    }
    Ok(())
}

/// Files are below the table or have an absolute path; they are never in its log.
fn check_location(name: &TableName, action: &Action) -> Result<()> {
    let (path, vector) = match action {
        Action::Add(add) => (&add.path, add.deletion_vector.as_ref()),
        Action::Remove(remove) => (&remove.path, remove.deletion_vector.as_ref()),
        Action::Cdc(cdc) => (&cdc.path, None),
        _ => return Ok(()),
    };
    let decoded = canonical_path(path);
    let mut parts = decoded.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    if parts.next().is_none_or(|first| first == b"_delta_log") {
        return Err(bad(name, &format!("names {path:?}, which is not a data file")));
    }
    let leads_out = |folder: &str| leaves_its_table(folder) || absolute_path(folder).is_some();
    if leaves_its_table(path) || vector.and_then(DeletionVector::folder).is_some_and(leads_out) {
        return Err(bad(name, &format!("names {path:?} by a path that leads out of its folder")));
    }
    Ok(())
}

fn bad(name: &TableName, what: &str) -> TxnLogError {
    TxnLogError::invalid(format!("the commit to {name} {what}")).about(Subject::Commit)
}

/// Stored facts that tell whether a verbatim commit is committed already.
#[derive(Clone, Debug, Default)]
pub struct StoredAlready {
    /// The version of the commit with this id.
    pub by_id: Option<Version>,
    /// The version of the commit with this `txnId`.
    pub by_txn: Option<Version>,
    /// The bytes of the commit at the requested version.
    pub body: Option<Bytes>,
}

/// Whether the commit is stored already as the requested version: its id is known, or the same bytes are stored. A
/// client that lost the answer sends it again, possibly under another id.
///
/// # Errors
/// `Invalid` when the id, or the `txnId` in the commit, is that of another commit: committing it would duplicate rows.
pub fn is_stored(request: &CommitRequest, name: &TableName, stored: &StoredAlready) -> Result<bool> {
    let Content::Verbatim(verbatim) = &request.content else { return Ok(stored.by_id.is_some()) };
    let version = request.base.next()?;
    let same_bytes = stored.body.as_ref().map(|body| body == verbatim.commit.bytes());
    let taken = |what: String, at: Version| {
        bad(name, &format!("has {what}, which is that of version {at}, another commit: it was not committed again"))
    };
    match stored.by_id {
        Some(at) if at == version && same_bytes != Some(false) => return Ok(true),
        Some(at) => return Err(taken(format!("the id {:?}", request.commit_id), at)),
        None if same_bytes == Some(true) => return Ok(true),
        None => {}
    }
    match stored.by_txn {
        Some(at) => Err(taken(format!("the txnId {:?}", verbatim.txn_id().unwrap_or_default()), at)),
        None => Ok(false),
    }
}
