//! Expiry of history, in the catalog and in `_delta_log` together.
//!
//! The order guarantees that other engines can open every retained version at every moment: first a checkpoint of the
//! version that becomes the oldest is written, then the catalog expires older versions, step by step, and last the
//! files of `_delta_log` that are older than that checkpoint are deleted. A process that stops in between leaves more
//! than is needed, and the next one continues.

use std::collections::VecDeque;

use deltalakedb_log::lifecycle::RemovedRows;
use deltalakedb_log::listing::TablePage;
use deltalakedb_log::retention::{Expiry, Retention, before};
use deltalakedb_log::{
    Catalog, Committer, ErrorKind, InactiveTable, Result, TableEntry, TableId, TableName, TableRef, Version,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::maintenance::protected_before;
use crate::mirror::Mirror;

/// The number of removable tables that are read at once.
const PAGE: usize = 100;

/// The options of an expiry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpireOptions {
    /// Overrides the retention of every table.
    pub keep: Retention,
    /// The retention of tables without one of their own, instead of the catalog's.
    pub default: Retention,
    /// The maximum number of versions of a table to expire.
    pub at_most: Option<u64>,
    /// Only reports what would expire.
    pub dry_run: bool,
    /// The committer; for tables with an owner, in the owner's name.
    pub committer: Committer,
}

/// The expired history of a table, or what would expire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiredHistory {
    /// The table.
    pub table: TableName,
    /// The oldest retained version, afterwards.
    pub base_version: Version,
    /// The number of expired versions.
    pub versions: u64,
    /// The number of files that are in no version any more: the next vacuum removes them. `None` in a dry run.
    pub files: Option<u64>,
    /// The number of files removed from `_delta_log`. `None` in a dry run.
    pub log_files: Option<u64>,
}

impl Mirror {
    /// Expires the history of a table as far as its retention allows: see [`Retention::keep`]. Unpublished versions
    /// stay, and so do protected ones (`checkpointProtection`); with `delta.enableExpiredLogCleanup=false` the table's
    /// `_delta_log` stays unchanged.
    #[tracing::instrument(target = "deltalakedb::operation", level = "debug", skip_all, fields(%table))]
    pub async fn expire(&self, table: TableId, options: &ExpireOptions) -> Result<ExpiredHistory> {
        let entry = self.entry(table).await?;
        if !options.dry_run {
            options.committer.check(&entry.name, entry.owner.as_ref())?;
        }
        self.check_following(&entry).await?;
        let head = self.catalog.reader(table).head().await?;
        let of_table = Retention::of_table(&head.metadata)?;
        let retention = options.keep.or(of_table).or(options.default).or(self.catalog.default_retention().await?);
        let keep = retention.keep(&head.metadata, self.catalog.now_ms().await?)?;
        let (end, protected) = (self.catalog.end_of_history(table, &keep).await?, protected_before(&head));
        let most = options.at_most.map_or(end, |versions| entry.base_version.saturating_add(versions).max(protected));
        let up_to = if end < protected { entry.base_version } else { end.min(most) };
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
            self.ensure_readable_from(&entry, up_to).await?;
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
        let is_whole = expired.base_version == 0;
        expired.log_files =
            Some(if keeps_log || is_whole { 0 } else { self.remove_ended(&self.entry(table).await?).await? });
        tracing::debug!(table = %entry.name, base = expired.base_version, versions, files, "history expired");
        Ok(expired)
    }

    /// Expires the history of every table, removes tables that are [removable](InactiveTable::is_removable), and expires the
    /// audit: a stream that runs the next step when it is polled. A failure of one table does not stop the others. The
    /// history of tables with another owner is left to the owner.
    pub fn expire_all(&self, options: &ExpireOptions) -> BoxStream<'static, Result<ExpiryStep>> {
        let steps = ExpirySteps::new(self.clone(), options.clone());
        let steps = stream::try_unfold(steps, |mut steps| async move {
            let step = steps.next().await?;
            Ok(step.map(|step| (step, steps)))
        });
        steps.boxed()
    }

    async fn expire_audit(&self, options: &ExpireOptions) -> Result<u64> {
        let retention = options.keep.or(options.default).or(self.catalog.default_retention().await?);
        self.catalog.expire_audit(before(self.catalog.now_ms().await?, retention.time())).await
    }
}

/// A step of [`Mirror::expire_all`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ExpiryStep {
    /// The history of a table.
    History(TableEntry, Result<ExpiredHistory>),
    /// A batch of the rows of a removable table, or in a dry run all of them.
    Table(InactiveTable, Result<RemovedRows>),
    /// A batch of audit entries.
    Audit {
        /// The number of entries.
        lines: u64,
    },
}

/// The remaining steps of [`Mirror::expire_all`]. Histories and removals alternate, and the audit is last.
#[derive(Debug)]
pub(crate) struct ExpirySteps {
    mirror: Mirror,
    options: ExpireOptions,
    histories: Histories,
    removable: RemovableTables,
    is_removal_next: bool,
}

impl ExpirySteps {
    pub(crate) fn new(mirror: Mirror, options: ExpireOptions) -> Self {
        Self {
            mirror,
            options,
            histories: Histories::default(),
            removable: RemovableTables::default(),
            is_removal_next: false,
        }
    }

    /// Runs the next step; `None` once all are done. After an error, such as that of an unavailable catalog, the next
    /// call continues with the next step.
    pub(crate) async fn next(&mut self) -> Result<Option<ExpiryStep>> {
        for _ in 0..2 {
            // Set before the step runs: a failure of one kind of step does not prevent the other.
            let is_removal = self.is_removal_next;
            self.is_removal_next = !is_removal;
            let step = if is_removal {
                self.removable.step(self.mirror.catalog.as_ref(), self.options.dry_run).await?
            } else {
                self.histories.step(&self.mirror, &self.options).await?
            };
            if step.is_some() {
                return Ok(step);
            }
        }
        let lines = if self.options.dry_run { 0 } else { self.mirror.expire_audit(&self.options).await? };
        Ok((lines > 0).then_some(ExpiryStep::Audit { lines }))
    }
}

/// The tables whose history is not expired yet.
#[derive(Debug)]
struct Histories {
    next: VecDeque<TableEntry>,
    /// The page after them.
    page: Option<TablePage>,
}

impl Default for Histories {
    fn default() -> Self {
        Self { next: VecDeque::new(), page: Some(TablePage::default()) }
    }
}

impl Histories {
    async fn step(&mut self, mirror: &Mirror, options: &ExpireOptions) -> Result<Option<ExpiryStep>> {
        loop {
            if let Some(entry) = self.next.pop_front() {
                if entry.owner != options.committer.owner {
                    continue;
                }
                let result = match mirror.expire(entry.id, options).await {
                    // A table that was dropped since it was listed has no history to expire.
                    Err(e) if e.kind() == ErrorKind::NotFound => {
                        match mirror.catalog.find(&TableRef::Id(entry.id)).await {
                            Ok(None) => continue,
                            Ok(Some(_)) => Err(e),
                            Err(e) => Err(e),
                        }
                    }
                    result => result,
                };
                return Ok(Some(ExpiryStep::History(entry, result)));
            }
            let Some(page) = &self.page else { return Ok(None) };
            let tables = mirror.catalog.tables_page(page).await?;
            self.page = page.after(&tables);
            self.next = tables.into();
        }
    }
}

/// The removable tables, and the progress of their removal.
#[derive(Debug, Default)]
struct RemovableTables {
    /// The next ones, the first of which may be partly removed.
    next: VecDeque<InactiveTable>,
    /// The last one that was found.
    last: Option<InactiveTable>,
    /// Whether there are no more after it.
    is_at_end: bool,
}

impl RemovableTables {
    async fn step(&mut self, catalog: &dyn Catalog, dry_run: bool) -> Result<Option<ExpiryStep>> {
        if self.next.is_empty() && !self.is_at_end {
            self.next = catalog.removable_tables(self.last.as_ref(), PAGE).await?.into();
            self.is_at_end = self.next.len() < PAGE;
            self.last = self.next.back().cloned().or(self.last.take());
        }
        let Some(table) = self.next.pop_front() else { return Ok(None) };
        let result = if dry_run {
            Ok(RemovedRows { rows: 0, is_done: false })
        } else {
            match catalog.remove_table(table.id).await {
                // Another process has removed the rest of it.
                Err(e) if e.kind() == ErrorKind::NotFound => match catalog.inactive_table(table.id).await {
                    Ok(None) => Ok(RemovedRows { rows: 0, is_done: true }),
                    Ok(Some(_)) => Err(e),
                    Err(e) => Err(e),
                },
                result => result,
            }
        };
        if !dry_run && result.as_ref().is_ok_and(|removed| !removed.is_done) {
            self.next.push_front(table.clone());
        }
        Ok(Some(ExpiryStep::Table(table, result)))
    }
}
