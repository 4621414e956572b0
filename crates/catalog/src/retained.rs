//! The versions of a table that can be read, while history expires concurrently.

use deltalakedb_log::{At, Result, TableName, TxnLogError, Version, commit};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::database::DatabaseTransaction;
use crate::sql_catalog::SqlTxnLogReader;
use crate::table_lookup::no_table_in;

/// The newest version at or before a time.
pub(crate) const AT_OR_BEFORE: &str = "SELECT version FROM dl_table_versions WHERE table_id = ? AND committed_at <= ? \
                                       ORDER BY committed_at DESC, version DESC LIMIT 1";

/// A retained version, and the oldest and newest retained versions when it was looked up.
#[derive(Clone, Copy)]
pub(crate) struct RetainedVersion {
    pub(crate) version: Version,
    oldest: Version,
    newest: Version,
}

impl RetainedVersion {
    /// Whether at most as many versions are after it as before: then most of its files are live now.
    pub(crate) fn is_recent(self) -> bool {
        self.newest - self.version <= self.version - self.oldest
    }
}

impl SqlTxnLogReader {
    /// The version that `at` selects.
    pub(crate) async fn resolve(&self, tx: &mut dyn DatabaseTransaction, at: At) -> Result<RetainedVersion> {
        // PostgreSQL might execute a join by scanning all versions: they are ordered, as is the row of the table.
        let sql = "SELECT t.namespace, t.name, t.base_version, (SELECT v.committed_at FROM dl_table_versions v \
                   WHERE v.table_id = t.table_id AND v.version = t.base_version), t.current_version, t.current_ts \
                   FROM dl_tables t WHERE t.state = ? AND t.table_id = ?";
        let params = vec![self.state.as_str().into(), self.id()];
        let Some(mut row) = tx.query(sql, params).await?.pop() else {
            return Err(no_table_in(tx, self.db(), self.table).await);
        };
        let name = TableName { namespace: row.text()?, name: row.text()? }.to_string();
        let base = (row.version()?, row.int()?);
        let newest = (row.version()?, row.int()?);
        let at_or_before = match at {
            At::Timestamp(ms) if base.1 <= ms => {
                let mut rows = tx.query(AT_OR_BEFORE, vec![self.id(), ms.into()]).await?;
                rows.pop().map(|mut r| r.version()).transpose()?
            }
            _ => None,
        };
        let version = commit::resolve(&name, at, Some(base), Some(newest), |_| at_or_before)?;
        Ok(RetainedVersion { version, oldest: base.0, newest: newest.0 })
    }

    /// An error if the version has expired: what was read of it may be incomplete. A version that was the newest when
    /// the read began may expire as well.
    pub(crate) async fn check_retained(&self, at: RetainedVersion) -> Result<()> {
        let sql = "SELECT base_version FROM dl_tables WHERE table_id = ? AND state <> 'removing'";
        let row = self.db().query(sql, vec![self.id()]).await?.pop();
        match row.map(|mut row| row.opt_version()).transpose()?.flatten() {
            Some(base) if base <= at.version => Ok(()),
            _ => self.resolve(self.db().read().await?.as_mut(), At::Version(at.version)).await.map(drop),
        }
    }

    /// The stream of a version, followed by that error.
    pub(crate) fn while_retained<T: Send + 'static>(
        &self,
        at: RetainedVersion,
        read: impl Stream<Item = Result<T>> + Send + 'static,
    ) -> BoxStream<'static, Result<T>> {
        let reader = self.clone();
        let check = futures::stream::once(async move { reader.check_retained(at).await });
        read.chain(check.filter_map(async |checked| checked.err().map(Err))).boxed()
    }

    /// The error for a missing version that existed: versions have no gap, so it has expired since.
    pub(crate) async fn missing_version(&self, version: Version) -> TxnLogError {
        let looked = match self.db().read().await {
            Ok(mut tx) => self.resolve(tx.as_mut(), At::Version(version)).await,
            Err(e) => Err(e),
        };
        let missing = || TxnLogError::corrupt(format!("{} lacks version {version}", self.db().describe()));
        looked.map_or_else(|e| e, |_| missing())
    }
}
