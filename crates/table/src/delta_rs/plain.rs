//! Independent check: tables as plain delta-rs reads them from their `_delta_log`.
//!
//! Nothing of this library's log is involved, only its object stores, so its results can be compared with a catalog's.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::physical_plan::collect;
use delta_kernel::engine::to_json_bytes;
use deltalake_core::DeltaTable;
use deltalake_core::kernel::EagerSnapshot;
use deltalake_core::logstore::{LogStore, StorageConfig, default_logstore};
use deltalake_core::table::state::DeltaTableState;
use deltalakedb_log::action::{Add, Commit};
use deltalakedb_log::snapshot::Replay;
use deltalakedb_log::stores::environment;
use deltalakedb_log::{Durability, ErrorKind, Location, Result, Stores, TxnLogError, Version};
pub use deltalakedb_mirror::ReplayedSnapshot;
use url::Url;

use super::stores::root_store;
use crate::error::Explain;

/// Replays the `_delta_log` of a table up to a version, the newest by default.
pub async fn replay(location: &Location, version: Option<Version>) -> Result<ReplayedSnapshot> {
    replay_in(location, &environment(), version).await
}

/// Replays it in the given object stores.
pub async fn replay_in(
    location: &Location,
    stores: &Arc<dyn Stores>,
    version: Option<Version>,
) -> Result<ReplayedSnapshot> {
    let failed = || format!("plain delta-rs cannot replay the log of {location}");
    // The kernel decodes the paths that it lists once more, so it does not find the files of a folder with a percent
    // sign. Such a table is its root.
    let is_listed = location.local_path().is_none() || !location.url().path().contains("%25");
    let (engine, url) = if is_listed {
        (log_store(location, stores)?.engine(None), location.url().clone())
    } else {
        let (store, root) = (stores.open(location, Durability::Full)?, Url::parse("file:///").explain(failed)?);
        (default_logstore(store.clone(), store, &root, &StorageConfig::default()).engine(None), root)
    };
    let mut builder = delta_kernel::Snapshot::builder_for(url);
    if let Some(version) = version {
        builder = builder.at_version(version);
    }
    let replayed = tokio::task::spawn_blocking(move || {
        let snapshot = builder.build(engine.as_ref())?;
        let version = snapshot.version();
        // A checkpoint's content is the whole state, reconciled.
        let state = snapshot.create_checkpoint_writer(engine.as_ref())?.checkpoint_data(engine.as_ref())?;
        let lines = to_json_bytes(state)?;
        Ok::<_, delta_kernel::Error>((version, lines))
    });
    let (version, lines) = replayed.await.explain(failed)?.explain(failed)?;
    let mut replay = Replay::default();
    replay.apply(Commit::parse(Bytes::from(lines), "the replayed log")?.into_actions());
    let missing = |what: &str| TxnLogError::new(ErrorKind::Corrupt, format!("the log of {location} has no {what}"));
    let mut files: Vec<Add> = replay.files.into_values().map(without_parsed).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| dv_id(a).cmp(&dv_id(b))));
    Ok(ReplayedSnapshot {
        version,
        protocol: replay.protocol.ok_or_else(|| missing("protocol"))?,
        metadata: replay.metadata.ok_or_else(|| missing("metadata"))?,
        txns: replay.txns,
        domains: replay.domains,
        files,
    })
}

/// The rows of a table at a version, the newest by default, in no particular order.
pub async fn read(location: &Location, version: Option<Version>) -> Result<Vec<RecordBatch>> {
    let failed = || format!("plain delta-rs cannot read {location}");
    let snapshot = EagerSnapshot::try_new(&log_store(location, &environment())?, version).await.explain(failed)?;
    let rows = super::virtual_table::provider(snapshot)?;
    let session = super::session_context(&environment())?;
    session.read_table(Arc::new(rows)).explain(failed)?.collect().await.explain(failed)
}

/// The changes of a table since a version, from its change data feed.
pub async fn changes(location: &Location, from: Version) -> Result<Vec<RecordBatch>> {
    let failed = || format!("plain delta-rs cannot read the changes of {location}");
    let log_store = log_store(location, &environment())?;
    let snapshot = EagerSnapshot::try_new(&log_store, None).await.explain(failed)?;
    let mut table = DeltaTable::new(log_store);
    table.state = Some(DeltaTableState::new(snapshot));
    let session = super::session_context(&environment())?;
    let scan = table.scan_cdf().with_starting_version(from).build(&session.state(), None).await.explain(failed)?;
    collect(scan, session.task_ctx()).await.explain(failed)
}

fn log_store(location: &Location, stores: &Arc<dyn Stores>) -> Result<Arc<dyn LogStore>> {
    let root = root_store(stores, location.url(), Durability::Full)?;
    let store = stores.open(location, Durability::Full)?;
    Ok(default_logstore(store, root, location.url(), &StorageConfig::default()))
}

fn dv_id(add: &Add) -> Option<String> {
    add.deletion_vector.as_ref().map(|dv| dv.unique_id())
}

/// Drops the columns of a checkpoint that are not the action's own.
fn without_parsed(mut add: Add) -> Add {
    add.extra = Default::default();
    add
}
