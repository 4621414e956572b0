//! Keeping `_delta_log` short: commits that are over are removed, and several can be read as one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use deltalakedb_log::action::Metadata;
use deltalakedb_log::catalog::require;
use deltalakedb_log::time::parse_interval;
use deltalakedb_log::{Action, Commit, Result, TableId, TableRef, TxnLogError, Version};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::checkpoint::{self, hint, hinted};
use crate::publish::Mirror;

/// Thirty days.
const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Mirror {
    /// Removes files from `_delta_log` that no reader needs: those before the newest checkpoint from which every
    /// version can be read that was written within `delta.logRetentionDuration`. The catalog keeps the versions. How
    /// many files were removed.
    pub async fn clean_up(&self, table: TableId) -> Result<u64> {
        let entry = require(self.catalog.as_ref(), &TableRef::Id(table)).await?;
        let store = self.store(&entry)?;
        let Some(newest) = checkpointed(store.as_ref()).await? else { return Ok(0) };
        let head = self.catalog.reader(table).head().await?;
        let since = self.clock.now_ms().saturating_sub(retention_ms(&head.metadata));
        let files: Vec<_> = store.list(Some(&Path::from("_delta_log"))).try_collect().await?;
        let in_log = files.iter().filter(|file| file.location.parts().count() == 2);
        let named = |file: &ObjectMeta| {
            let (version, kind) = file.location.filename()?.split_once('.')?;
            Some((version.parse::<Version>().ok()?, kind.to_string()))
        };
        let all: Vec<_> = in_log.filter_map(|file| Some((named(file)?, file))).collect();
        let is_young = |file: &ObjectMeta| file.last_modified.timestamp_millis() >= since;
        let young = all.iter().filter(|((_, kind), file)| kind == "json" && is_young(file));
        let needed = young.map(|((version, _), _)| *version).min().unwrap_or(newest).min(newest);
        let checkpoints = all.iter().filter(|((version, kind), _)| kind == "checkpoint.parquet" && *version <= needed);
        let Some(first) = checkpoints.map(|((version, _), _)| *version).max() else { return Ok(0) };
        let over = all.iter().filter(|((version, _), file)| *version < first && !is_young(file));
        let over: Vec<_> = over.map(|(_, file)| file.location.clone()).collect();
        let count = over.len() as u64;
        store
            .delete_stream(futures::stream::iter(over.into_iter().map(Ok)).boxed())
            .filter(|gone| std::future::ready(!matches!(gone, Err(object_store::Error::NotFound { .. }))))
            .try_for_each(|_| async { Ok(()) })
            .await?;
        Ok(count)
    }

    /// Writes a file by which readers take several published versions at once, `from` and `to` included.
    pub async fn compact(&self, table: TableId, from: Version, to: Version) -> Result<()> {
        let entry = require(self.catalog.as_ref(), &TableRef::Id(table)).await?;
        if from >= to || entry.published_version.is_none_or(|published| to > published) {
            return Err(TxnLogError::invalid(format!(
                "versions {from} to {to} of {} cannot be read as one: give two or more that are published, of which \
                 there are {} to {}",
                entry.name,
                entry.base_version,
                entry.published_version.unwrap_or_default()
            )));
        }
        let (mut protocol, mut metadata) = (None, None);
        let (mut txns, mut domains, mut files) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut commits = self.catalog.reader(table).changes(from, to).await?;
        while let Some((version, bytes)) = commits.try_next().await? {
            for action in Commit::parse(bytes, &format!("version {version} of {}", entry.name))?.into_actions() {
                match &action {
                    Action::Protocol(_) => protocol = Some(action),
                    Action::Metadata(_) => metadata = Some(action),
                    Action::Txn(txn) => _ = txns.insert(txn.app_id.clone(), action),
                    Action::DomainMetadata(domain) => _ = domains.insert(domain.domain.clone(), action),
                    Action::Add(add) => _ = files.insert(add.key(), action),
                    Action::Remove(remove) => _ = files.insert(remove.key(), action),
                    _ => {}
                }
            }
        }
        let all = protocol.into_iter().chain(metadata).chain(txns.into_values()).chain(domains.into_values());
        let lines: Vec<_> = all.chain(files.into_values()).map(|action| action.to_json()).collect();
        let path = Path::from(format!("_delta_log/{from:020}.{to:020}.compacted.json"));
        let store = self.store(&entry)?;
        store.put(&path, Bytes::from(lines.join("\n") + "\n").into()).await?;
        Ok(())
    }
}

/// How long commits stay in `_delta_log`, in milliseconds.
pub(crate) fn retention_ms(metadata: &Metadata) -> i64 {
    let own = metadata.property("delta.logRetentionDuration").and_then(parse_interval);
    i64::try_from(own.unwrap_or(DEFAULT_RETENTION).as_millis()).unwrap_or(i64::MAX)
}

/// The version of the newest checkpoint that readers are led to, if its file is there.
pub(crate) async fn checkpointed(store: &dyn ObjectStore) -> Result<Option<Version>> {
    let Some(version) = hint(store).await?.and_then(|hint| hinted(&hint)) else { return Ok(None) };
    match store.head(&checkpoint::path(version)).await {
        Ok(_) => Ok(Some(version)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
