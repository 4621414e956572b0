//! Which versions of a table can be read, while history ends behind the readers.

use deltalakedb_log::{At, Result, TableName, TxnLogError, Version, commit};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::database::DatabaseTransaction;
use crate::sql_catalog::SqlTxnLogReader;
use crate::table_lookup::no_table_in;

/// The newest version at or before a time.
pub(crate) const AT_OR_BEFORE: &str = "SELECT version FROM dl_table_versions WHERE table_id = ? AND committed_at <= ? \
                                       ORDER BY committed_at DESC, version DESC LIMIT 1";

/// A version that is retained, and the oldest and newest ones that were when it was looked up.
#[derive(Clone, Copy)]
pub(crate) struct RetainedVersion {
    pub(crate) version: Version,
    oldest: Version,
    newest: Version,
}

impl RetainedVersion {
    /// Whether there are no more versions after it than before: then its files are mostly those that are live now.
    pub(crate) fn is_recent(self) -> bool {
        self.newest - self.version <= self.version - self.oldest
    }
}

impl SqlTxnLogReader {
    /// The version meant.
    pub(crate) async fn resolve(&self, session: &mut dyn DatabaseTransaction, at: At) -> Result<RetainedVersion> {
        // A join PostgreSQL might make by going through all versions: they are in order, and so is the one row of the table.
        let sql = "SELECT t.namespace, t.name, t.base_version, (SELECT v.committed_at FROM dl_table_versions v \
                   WHERE v.table_id = t.table_id AND v.version = t.base_version), t.current_version, t.current_ts \
                   FROM dl_tables t WHERE t.state = ? AND t.table_id = ?";
        let params = vec![self.state.as_str().into(), self.id()];
        let Some(mut row) = session.query(sql, params).await?.pop() else {
            return Err(no_table_in(session, self.db(), self.table).await);
        };
        let name = TableName { namespace: row.text()?, name: row.text()? }.to_string();
        let base = (row.version()?, row.int()?);
        let newest = (row.version()?, row.int()?);
        let at_or_before = match at {
            At::Timestamp(ms) if base.1 <= ms => {
                let mut rows = session.query(AT_OR_BEFORE, vec![self.id(), ms.into()]).await?;
                rows.pop().map(|mut r| r.version()).transpose()?
            }
            _ => None,
        };
        let version = commit::resolve(&name, at, Some(base), Some(newest), |_| at_or_before)?;
        Ok(RetainedVersion { version, oldest: base.0, newest: newest.0 })
    }

    /// An error where the version has ended: what was read of it meanwhile may be a part. So may one that was the newest
    /// when the read began.
    pub(crate) async fn check_retained(&self, at: RetainedVersion) -> Result<()> {
        let sql = "SELECT base_version FROM dl_tables WHERE table_id = ? AND state <> 'removing'";
        let row = self.db().query(sql, vec![self.id()]).await?.pop();
        match row.map(|mut row| row.opt_version()).transpose()?.flatten() {
            Some(base) if base <= at.version => Ok(()),
            _ => self.resolve(self.db().read().await?.as_mut(), At::Version(at.version)).await.map(drop),
        }
    }

    /// What is read of a version, and that error behind it.
    pub(crate) fn while_retained<T: Send + 'static>(
        &self,
        at: RetainedVersion,
        read: impl Stream<Item = Result<T>> + Send + 'static,
    ) -> BoxStream<'static, Result<T>> {
        let reader = self.clone();
        let check = futures::stream::once(async move { reader.check_retained(at).await });
        read.chain(check.filter_map(async |checked| checked.err().map(Err))).boxed()
    }

    /// The error where a version is missing that was there: no version is left out, so its history has ended meanwhile.
    pub(crate) async fn lacks(&self, version: Version) -> TxnLogError {
        let looked = match self.db().read().await {
            Ok(mut session) => self.resolve(session.as_mut(), At::Version(version)).await,
            Err(e) => Err(e),
        };
        let missing = || TxnLogError::corrupt(format!("{} lacks version {version}", self.db().describe()));
        looked.map_or_else(|e| e, |_| missing())
    }
}
