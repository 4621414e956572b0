//! Commits that a caller describes by itself.

use deltalakedb_log::action::{Action, CommitInfo};
use deltalakedb_log::commit::{Base, CommitRequest, Isolation, Reads};
use deltalakedb_log::{Object, Result, TxnLogError};
use uuid::Uuid;

use crate::delta_rs::NewFiles;
use crate::table::{DeltaTable, Source};
use crate::write::{PendingWrite, check_not_behind};
use crate::write_options::WriteOptions;

/// A commit to a table that the caller describes, such as that of an engine that has written data files and deletion
/// vectors. [`DeltaTable::prepare_commit`] makes a [`PendingWrite`] of it.
#[derive(Clone, Debug)]
pub struct PreparedCommit {
    /// The id of the operation. A commit with the same id and the same actions is the same commit: it is made once,
    /// however often it is sent, and the later calls return its version.
    pub id: Uuid,
    /// The version that the actions are based on.
    pub base: Base,
    /// What was read.
    pub reads: Reads,
    /// The isolation; `None` for the table's own.
    pub isolation: Option<Isolation>,
    /// The operation in the history, such as `WRITE`.
    pub operation: String,
    /// Its parameters in the history.
    pub parameters: Object,
    /// The actions, without a `commitInfo`.
    pub actions: Vec<Action>,
    /// The new files that the actions name. They are removed if the commit conflicts or is discarded.
    pub files: NewFiles,
    /// A time before the first of these files was written, in milliseconds since 1970. A commit that is made more than
    /// [`MAX_TIMEOUT`](crate::MAX_TIMEOUT) later is rejected, because a vacuum may have removed the files. A caller
    /// whose vacuum [spares](crate::Vacuum::spare) them may give a later time.
    pub began_at_ms: i64,
}

impl DeltaTable {
    /// Prepares a commit that the caller describes, for [`commit`](crate::commit) together with those of other tables,
    /// or for [`Transaction::add`](crate::Transaction::add). Its committer and owner are those of the options, and
    /// their [`metadata`](WriteOptions::metadata) and [`applications`](WriteOptions::applications) are added.
    ///
    /// The table must be in a catalog. An error leaves the files as they are.
    pub async fn prepare_commit(&self, commit: PreparedCommit, options: &WriteOptions) -> Result<PendingWrite> {
        let Source::Catalog { catalog, id, .. } = &self.source else {
            return Err(TxnLogError::invalid(format!(
                "{self} is not in a catalog, which decides prepared commits: import it with `dl import`"
            )));
        };
        self.check_owner(options)?;
        check_not_behind(catalog.as_ref(), self.stores.as_ref(), *id).await?;
        let PreparedCommit { base, reads, isolation, actions, files, began_at_ms, .. } = commit;
        if actions.iter().any(|action| matches!(action, Action::CommitInfo(_))) {
            return Err(TxnLogError::invalid(format!(
                "a commit to {self} has a commitInfo: pass its content as operation and parameters"
            )));
        }
        let info = CommitInfo(options.info(&commit.operation, commit.parameters));
        let applications = options.applications.iter().cloned().map(Action::Txn);
        let actions = [Action::CommitInfo(info)].into_iter().chain(applications).chain(actions).collect();
        let mut request = CommitRequest::new(*id, commit.id, base, actions);
        (request.reads, request.isolation) = (reads, isolation);
        options.set_committer(&mut request);
        Ok(PendingWrite { request, files, began_at: began_at_ms, hold: None })
    }
}
