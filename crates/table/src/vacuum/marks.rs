//! The versions that mark a vacuum in the log, so that other processes see that one is running.
//!
//! A commit that adds removed files again must not happen between a vacuum's last read of the log and the end of its
//! work. So a vacuum begins with a version `VACUUM START` and ends with `VACUUM END`, and a commit that adds removed
//! files again checks for a start without an end, and commits as the very next version or not at all. A vacuum that was
//! killed never ends: its start is valid for a limited time only, and a vacuum that takes longer renews it.

use std::collections::HashSet;

use deltalakedb_log::action::{Action, CommitInfo};
use deltalakedb_log::commit::{Base, CommitRequest};
use deltalakedb_log::{
    Catalog, ErrorKind, HistoryRange, Object, Result, TableId, TxnLogError, TxnLogReader, Version, time,
};

use super::options::{Vacuum, Vacuumed, millis};
use crate::write::commit_requests;
use crate::write_options::WriteOptions;

/// How long a start without an end is valid, in milliseconds.
const COUNTS_FOR: i64 = 15 * 60 * 1_000;

/// The age of the last start at which a vacuum makes another one. The difference allows for differing clocks, and for
/// removals in progress.
const RENEWED_AFTER: i64 = 5 * 60 * 1_000;

const START: &str = "VACUUM START";
const END: &str = "VACUUM END";

/// The parameter of both that identifies the vacuum.
const ID: &str = "vacuumId";

/// An error if a vacuum of the table has started and not ended.
pub(crate) async fn check_none_is_going_on(reader: &dyn TxnLogReader, now_ms: i64, table: &str) -> Result<()> {
    let range = HistoryRange { since: Some(now_ms.saturating_sub(COUNTS_FOR)), ..HistoryRange::default() };
    let mut ended = HashSet::new();
    // Newest first: an end is read before its starts.
    for commit in reader.history(range).await? {
        let id = || serde_json::from_str::<Object>(commit.operation_parameters.as_deref()?).ok()?.get::<String>(ID);
        match (commit.operation.as_deref(), id()) {
            (Some(END), Some(id)) => _ = ended.insert(id),
            (Some(START), Some(id)) if !ended.contains(&id) => {
                return Err(TxnLogError::new(
                    ErrorKind::Conflict,
                    format!(
                        "a vacuum of {table} has been running since version {} and may delete files of older versions: \
                         wait until it has ended or, if it was killed, until {}",
                        commit.version,
                        time::format_ms(commit.timestamp.saturating_add(COUNTS_FOR))
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The versions of one vacuum.
pub(super) struct Marks<'a> {
    catalog: &'a dyn Catalog,
    table: TableId,
    options: &'a WriteOptions,
    id: String,
    /// The last start, and its time.
    start: Option<(CommitInfo, i64)>,
}

impl<'a> Marks<'a> {
    pub(super) fn new(catalog: &'a dyn Catalog, table: TableId, options: &'a WriteOptions) -> Self {
        Self { catalog, table, options, id: options.clock.new_uuid().to_string(), start: None }
    }

    /// Commits the start of the vacuum, as other engines do; returns its version.
    pub(super) async fn start(
        &mut self,
        base: Version,
        found: &Vacuumed,
        what: &Vacuum,
        default_ms: i64,
    ) -> Result<Version> {
        let mut parameters = Object::default();
        parameters.set("retentionCheckEnabled", what.enforce_retention.to_string());
        parameters.set("defaultRetentionMillis", default_ms.to_string());
        if let Some(ms) = what.retain.map(millis) {
            parameters.set("specifiedRetentionMillis", ms.to_string());
        }
        let mut metrics = Object::default();
        metrics.set("numFilesToDelete", found.files.len());
        metrics.set("sizeOfDataToDelete", found.bytes);
        let info = self.info(START, parameters, metrics);
        self.commit_start(base, info).await
    }

    /// Commits another start if the last one is too old; returns the newest version.
    pub(super) async fn renew_start(&mut self, reader: &dyn TxnLogReader) -> Result<Version> {
        let newest = reader.head().await?.version;
        match self.start.take_if(|(_, at)| self.options.clock.now_ms().saturating_sub(*at) > RENEWED_AFTER) {
            Some((info, _)) => self.commit_start(newest, info).await,
            None => Ok(newest),
        }
    }

    /// Commits `VACUUM END`. History may have expired since it began, so the commit is based on the newest version.
    pub(super) async fn end(&self, reader: &dyn TxnLogReader, gone: &Vacuumed, completed: bool) -> Result<()> {
        let base = reader.head().await?.version;
        let mut parameters = Object::default();
        parameters.set("status", if completed { "COMPLETED" } else { "FAILED" });
        let mut metrics = Object::default();
        metrics.set("numDeletedFiles", gone.files.len());
        metrics.set("numVacuumedDirectories", 0);
        self.commit(base, self.info(END, parameters, metrics)).await.map(drop)
    }

    fn info(&self, operation: &str, mut parameters: Object, metrics: Object) -> CommitInfo {
        parameters.set(ID, &self.id);
        let mut info = self.options.info(operation, parameters);
        info.set("operationMetrics", metrics);
        info.set("isBlindAppend", true);
        CommitInfo(info)
    }

    async fn commit_start(&mut self, base: Version, info: CommitInfo) -> Result<Version> {
        let at = self.options.clock.now_ms();
        let version = self.commit(base, info.clone()).await?;
        self.start = Some((info, at));
        Ok(version)
    }

    /// Commits a version without file changes that marks the vacuum.
    async fn commit(&self, base: Version, info: CommitInfo) -> Result<Version> {
        let (operation, actions) = (self.options.clock.new_uuid(), vec![Action::CommitInfo(info)]);
        let mut request = CommitRequest::new(self.table, operation, Base::RebaseFrom(base), actions);
        self.options.set_committer(&mut request);
        let committed = commit_requests(self.catalog, vec![request], Vec::new(), self.options).await?;
        let first = committed.into_iter().next().map(|committed| committed.version);
        first.ok_or_else(|| {
            TxnLogError::new(ErrorKind::Internal, "the catalog committed a vacuum and returned no version")
        })
    }
}
