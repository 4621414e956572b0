//! The end of history, in the catalog and in `_delta_log` together.
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

use crate::mirror::Mirror;
use crate::upkeep::protected_before;

/// Tables that are over and are looked at together.
const PAGE: usize = 100;

/// Which history ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpireOptions {
    /// What is kept whatever a table says.
    pub keep: Retention,
    /// What is kept where a table does not say it, instead of what the catalog says.
    pub default: Retention,
    /// How many versions of a table end at most.
    pub at_most: Option<u64>,
    /// Only says what would end.
    pub dry_run: bool,
    /// The committer; for tables that have an owner, in the name of the owner.
    pub committer: Committer,
}

/// The history of a table that has ended, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredHistory {
    /// The table.
    pub table: TableName,
    /// The oldest version that is retained, or would be.
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
        let is_whole = expired.base_version == 0;
        expired.log_files = Some(match keeps_log || is_whole {
            true => 0,
            false => self.remove_ended(&self.entry(table).await?).await?,
        });
        tracing::debug!(table = %entry.name, base = expired.base_version, versions, files, "history expired");
        Ok(expired)
    }

    /// Ends the history of every table, removes tables that are [over](InactiveTable::is_over), and ends the audit: one
    /// step after the other, as they are taken. What fails with one table keeps no other from it. The
    /// history of tables of other owners is left to them.
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
pub enum ExpiryStep {
    /// The history of a table has ended, or would.
    History(TableEntry, Result<ExpiredHistory>),
    /// Some of what the catalog has of a table that is over was removed, or all of it would be.
    Table(InactiveTable, Result<RemovedRows>),
    /// Lines of the audit were removed.
    Audit {
        /// How many.
        lines: u64,
    },
}

/// The steps of [`Mirror::expire_all`] that are left. Histories and tables that are over take turns, and the audit is last.
#[derive(Debug)]
pub(crate) struct ExpirySteps {
    mirror: Mirror,
    options: ExpireOptions,
    histories: Histories,
    over: TablesOver,
    is_removal_next: bool,
}

impl ExpirySteps {
    pub(crate) fn new(mirror: Mirror, options: ExpireOptions) -> Self {
        Self { mirror, options, histories: Histories::default(), over: TablesOver::default(), is_removal_next: false }
    }

    /// Does the next step; `None` once all is done. An error, such as that of a catalog that does not answer, ends nothing:
    /// the next call takes the next step.
    pub(crate) async fn next(&mut self) -> Result<Option<ExpiryStep>> {
        for _ in 0..2 {
            // Set before the step runs: a failure of the one kind of step does not keep the other from running.
            let is_removal = self.is_removal_next;
            self.is_removal_next = !is_removal;
            let step = match is_removal {
                true => self.over.step(self.mirror.catalog.as_ref(), self.options.dry_run).await?,
                false => self.histories.step(&self.mirror, &self.options).await?,
            };
            if step.is_some() {
                return Ok(step);
            }
        }
        let lines = if self.options.dry_run { 0 } else { self.mirror.expire_audit(&self.options).await? };
        Ok((lines > 0).then_some(ExpiryStep::Audit { lines }))
    }
}

/// The tables whose history is still to end.
#[derive(Debug)]
struct Histories {
    next: VecDeque<TableEntry>,
    /// Those that come after them.
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
                    // A table that was dropped since it was listed has no history to end.
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

/// The tables that are over, and how far their removal has come.
#[derive(Debug, Default)]
struct TablesOver {
    /// The next ones, the first of which may be removed in part.
    next: VecDeque<InactiveTable>,
    /// The last one that was found.
    last: Option<InactiveTable>,
    /// Whether there are no more behind it.
    is_at_end: bool,
}

impl TablesOver {
    async fn step(&mut self, catalog: &dyn Catalog, dry_run: bool) -> Result<Option<ExpiryStep>> {
        if self.next.is_empty() && !self.is_at_end {
            self.next = catalog.tables_over(self.last.as_ref(), PAGE).await?.into();
            self.is_at_end = self.next.len() < PAGE;
            self.last = self.next.back().cloned().or(self.last.take());
        }
        let Some(table) = self.next.pop_front() else { return Ok(None) };
        let result = match dry_run {
            true => Ok(RemovedRows { rows: 0, is_done: false }),
            false => match catalog.remove_table(table.id).await {
                // Another process has removed the rest of it.
                Err(e) if e.kind() == ErrorKind::NotFound => match catalog.inactive_table(table.id).await {
                    Ok(None) => Ok(RemovedRows { rows: 0, is_done: true }),
                    Ok(Some(_)) => Err(e),
                    Err(e) => Err(e),
                },
                result => result,
            },
        };
        if !dry_run && result.as_ref().is_ok_and(|removed| !removed.is_done) {
            self.next.push_front(table.clone());
        }
        Ok(Some(ExpiryStep::Table(table, result)))
    }
}
