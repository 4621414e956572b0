//! The end of history, in the catalog and in `_delta_log` together.
//!
//! The order makes every version that stays one that other engines can open at every moment: first there is a checkpoint
//! of the version that becomes the oldest, then the catalog ends what is older, step by step, and last go the files of
//! `_delta_log` that are older than that checkpoint. A process that stops in between leaves more than is needed, and the
//! next one goes on.

use deltalakedb_log::retention::{Expiry, Retention, before};
use deltalakedb_log::{Result, TableEntry, TableId, TableName, Version};

use crate::publish::Mirror;
use crate::upkeep::protected_before;

/// Which history ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpireOptions {
    /// What is kept whatever a table says.
    pub keep: Retention,
    /// What is kept where a table does not say it.
    pub default: Retention,
    /// Only says what would end.
    pub dry_run: bool,
    /// Whoever ends it.
    pub committer: Option<String>,
}

/// The history of a table that has ended, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredHistory {
    /// The table.
    pub table: TableName,
    /// The oldest version that is held, or would be.
    pub base_version: Version,
    /// How many versions ended.
    pub versions: u64,
    /// How many files no version has any more: the next vacuum removes them. `None` where nothing was done.
    pub files: Option<u64>,
    /// How many files of `_delta_log` are gone. `None` where nothing was done.
    pub log_files: Option<u64>,
}

impl Mirror {
    /// Ends the history of a table as far as its retention allows: see [`Retention::keep`]. What is not published stays,
    /// and so does what the table protects (`checkpointProtection`); where it says `delta.enableExpiredLogCleanup=false`,
    /// its `_delta_log` stays as it is.
    pub async fn expire(&self, table: TableId, options: &ExpireOptions) -> Result<ExpiredHistory> {
        let entry = self.entry(table).await?;
        self.check_following(&entry).await?;
        let head = self.catalog.reader(table).head().await?;
        let retention = options.keep.or(Retention::of_table(&head.metadata)?).or(options.default);
        let keep = retention.keep(&head.metadata, self.catalog.now_ms().await?)?;
        let end = self.catalog.end_of_history(table, &keep).await?;
        let up_to = if end < protected_before(&head) { entry.base_version } else { end };
        let mut expired = ExpiredHistory {
            table: entry.name.clone(),
            base_version: up_to,
            versions: up_to - entry.base_version,
            files: None,
            log_files: None,
        };
        if options.dry_run {
            return Ok(expired);
        }
        if up_to > entry.base_version {
            self.begin_at(&entry, up_to).await?;
        }
        let expiry = Expiry { table, keep, up_to, committer: options.committer.clone() };
        let (mut files, mut versions) = (0, 0);
        loop {
            let step = self.catalog.expire(&expiry).await?;
            (files, versions) = (files + step.files, versions + step.versions);
            if step.is_done {
                expired.base_version = step.base_version;
                break;
            }
        }
        (expired.versions, expired.files) = (versions, Some(files));
        let keeps_log = head.metadata.property("delta.enableExpiredLogCleanup") == Some("false");
        expired.log_files = Some(match keeps_log {
            true => 0,
            false => self.remove_ended(&self.entry(table).await?).await?,
        });
        tracing::debug!(table = %entry.name, base = expired.base_version, versions, files, "history ended");
        Ok(expired)
    }

    /// Ends the history of every table, and the audit's. A table whose history cannot end keeps no other from it.
    pub async fn expire_all(&self, options: &ExpireOptions) -> Result<Vec<(TableEntry, Result<ExpiredHistory>)>> {
        let mut results = Vec::new();
        for entry in self.catalog.tables().await? {
            let result = self.expire(entry.id, options).await;
            results.push((entry, result));
        }
        if !options.dry_run {
            let time = options.keep.or(options.default).time();
            let since = before(self.catalog.now_ms().await?, time);
            while self.catalog.expire_audit(since).await? > 0 {}
        }
        Ok(results)
    }
}
