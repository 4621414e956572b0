//! Loads history that is already valid, in batches of one transaction each.
//!
//! A batch is read in full before its transaction begins, so no transaction waits for an object store. Within a batch
//! live files are tracked in memory; one query for the stored live files is enough for all of its commits.

use std::sync::Arc;

use async_trait::async_trait;
use deltalakedb_log::commit::{self, NewTable};
use deltalakedb_log::history::only_commit;
use deltalakedb_log::{
    Catalog, ErrorKind, HistoryLoad, HistoryLoading, Location, Result, TableEntry, TableId, TableName, TableRef,
    TxnLogError, UnfinishedLoad,
};
use futures::StreamExt;
use tokio::sync::Semaphore;

use crate::audit::audit;
use crate::database::CommitFailure;
use crate::references::NamedFolders;
use crate::sql_catalog::{SqlCatalog, WriteTransaction};
use crate::statistics::MANY_ACTIONS;
use crate::table_lookup::no_table;
use crate::{find, removal, table_rows};

mod base_state;
mod store;
mod stored_files;
mod stored_table;
mod version;

use store::{BYTES, Batch, Finish, check_whole, kilobytes, store, store_batch};
use stored_table::StoredTable;
use version::{Layout, LoadedVersion, Parsed, in_thread};

/// Versions parsed ahead.
const AHEAD: usize = 64;

#[async_trait]
impl HistoryLoading for SqlCatalog {
    async fn load_history(&self, load: HistoryLoad<'_>) -> Result<TableEntry> {
        let (name, location) = (load.new.name.clone(), load.new.location.clone());
        let loaded = load_history(self, load).await;
        match &loaded {
            Ok(entry) => tracing::debug!(table = %name, %location, version = entry.current_version, "history loaded"),
            Err(e) => tracing::debug!(table = %name, %location, error = %e, "history not loaded"),
        }
        loaded
    }

    async fn load_together(&self, loads: Vec<HistoryLoad<'_>>) -> Result<Vec<TableEntry>> {
        let now_ms = self.now_ms().await?;
        let mut ready = Vec::with_capacity(loads.len());
        for mut load in loads {
            let stored = stored(self, load.table, &load.new).await?;
            let (table, mut before, mut batch) = (stored.id, stored.newest_ms, Batch::default());
            let mut layout = Layout::of(stored)?;
            while let Some(item) = load.items.next().await {
                let parsed = in_thread(only_commit(item?)?, Parsed::of).await?;
                parsed.check(self, &load.new, load.future_times, before, now_ms)?;
                before = Some(parsed.time.ms);
                layout = layout.after(&parsed.changes)?;
                batch.push(in_thread((parsed, layout.clone()), LoadedVersion::of).await?);
            }
            ready.push((table, load.new, batch, Finish { published: load.published_version }));
        }
        let tables: Vec<_> = ready.iter().map(|(table, ..)| *table).collect();
        let mut named: Vec<_> = ready.iter().map(|(table, new, batch, _)| batch.named_folders(*table, new)).collect();
        let locked = [tables, NamedFolders::sources(&mut named, self.db.as_ref()).await?].concat();
        let mut writing = self.begin_write(&locked).await?;
        let (mut stored, mut parts) = (Vec::with_capacity(ready.len()), Vec::new());
        for (table, new, batch, finish) in ready {
            parts.extend(batch.parts(table, &new.name));
            stored.push(store(self, (&mut writing, &locked), table, &new, batch, Some(finish)).await?);
        }
        check_whole(writing.tx.as_mut(), writing.identity.0, parts).await?;
        writing.tx.commit().await.map_err(CommitFailure::into_error)?;
        let mut entries = Vec::with_capacity(stored.len());
        for table in stored {
            let entry = find::find(self.db.as_ref(), &TableRef::Id(table)).await?;
            match entry {
                Some(entry) => entries.push(entry),
                None => return Err(no_table(self.db.as_ref(), table).await),
            }
        }
        Ok(entries)
    }

    async fn unfinished_load(&self, location: &Location) -> Result<Option<UnfinishedLoad>> {
        let sql = "SELECT table_id, namespace, name, base_version, current_version, location FROM dl_tables \
                   WHERE location_key = ? AND state = 'loading'";
        let Some(mut row) = self.db.query(sql, vec![location.key().as_str().into()]).await?.pop() else {
            return Ok(None);
        };
        let found = UnfinishedLoad {
            table: TableId(row.uuid()?),
            name: TableName { namespace: row.text()?, name: row.text()? },
            base_version: row.opt_version()?,
            current_version: row.opt_version()?,
        };
        // One key may be that of places in two accounts.
        Ok(Location::stored(&row.text()?)?.is_same_location(location).then_some(found))
    }

    async fn abandon_load(&self, table: TableId) -> Result<()> {
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[table]).await?;
        let sql = "SELECT namespace FROM dl_tables WHERE table_id = ? AND state = 'loading'";
        if tx.query(sql, vec![table.0.into()]).await?.is_empty() {
            return Err(commit::no_unfinished_load(table));
        }
        let mut writes = removal::newest_of_all(self);
        writes.extend(table_rows::tables_of_a_table().map(|from| removal::all_of(from, table)));
        writes.push(audit(self, now_ms, None, "IMPORT ABANDONED", table, None));
        tx.write(writes).await?;
        tx.commit().await.map_err(CommitFailure::into_error)
    }
}

async fn load_history(catalog: &SqlCatalog, load: HistoryLoad<'_>) -> Result<TableEntry> {
    let stored = stored(catalog, load.table, &load.new).await?;
    let (mut table, mut before) = (stored.id, stored.newest_ms);
    let mut layout = Layout::of(stored)?;
    let now_ms = catalog.now_ms().await?;
    let mut items = load.items.peekable();
    let mut loaded = 0;
    if let Some((base, of_base)) =
        base_state::read_base_state(&mut items, &catalog.allowed_paths, &load.new, &layout).await?
    {
        let version = base.summary.version;
        load.future_times.check(&load.new.name, version, before, base.time.ms, now_ms)?;
        (layout, before) = (of_base, Some(base.time.ms));
        let mut batch = Batch::default();
        batch.push(base);
        loaded += batch.file_actions;
        table = store_batch(catalog, table, &load.new, batch, None).await?;
        (load.progress)(version);
    }
    // Parsing and encoding take most of the time, so other threads do them ahead while a batch is stored.
    let room = Arc::new(Semaphore::new(2 * (BYTES >> 10)));
    let admitted = items.then(|item| {
        let room = room.clone();
        async move {
            let item = only_commit(item?)?;
            let size = kilobytes(&item);
            // Permits are acquired in order, and a batch that is not full leaves enough for any item: no deadlock.
            let room = room.acquire_many_owned(size).await;
            room.map(|room| (item, room))
                .map_err(|e| TxnLogError::new(ErrorKind::Internal, "a load ended").with_source(e))
        }
    });
    let admitted = admitted.boxed();
    let parsed = admitted
        .map(|admitted| async {
            let (item, room) = admitted?;
            let mut parsed = in_thread(item, Parsed::of).await?;
            parsed.room = Some(room);
            Ok::<_, TxnLogError>(parsed)
        })
        .buffered(AHEAD);
    let mut versions = parsed
        .map(|parsed| {
            // In order: how files are encoded depends on the metadata before them.
            let parsed = parsed.and_then(|parsed| {
                parsed.check(catalog, &load.new, load.future_times, before, now_ms)?;
                before = Some(parsed.time.ms);
                layout = layout.after(&parsed.changes)?;
                Ok((parsed, layout.clone()))
            });
            async { in_thread(parsed?, LoadedVersion::of).await }
        })
        .buffered(AHEAD);
    let mut next = Some(Batch::of(&mut versions).await);
    let mut is_analyzed = catalog.db.is_analyzed().await?;
    while let Some((batch, end)) = next.take() {
        // The versions before an error are valid. They are stored, and the next load continues after them.
        let newest = batch.versions.last().map(|v| v.summary.version);
        let finish = matches!(end, Some(Ok(()))).then_some(Finish { published: load.published_version });
        loaded += batch.file_actions;
        let stored = store_batch(catalog, table, &load.new, batch, finish);
        if end.is_none() {
            // The next batch is built while this one is stored.
            let (stored, following) = tokio::join!(stored, Batch::of(&mut versions));
            (table, next) = (stored?, Some(following));
            if !is_analyzed {
                catalog.db.analyze().await?;
                is_analyzed = true;
            }
        } else {
            table = stored.await?;
        }
        if let Some(version) = newest {
            (load.progress)(version);
        }
        end.transpose()?;
    }
    if loaded >= MANY_ACTIONS {
        catalog.db.analyze().await?;
    }
    let missing = || TxnLogError::invalid(format!("there is no history to load for {}", load.new.name));
    find::find(catalog.db.as_ref(), &TableRef::Id(table)).await?.ok_or_else(missing)
}

/// The table that a load continues or begins.
async fn stored(catalog: &SqlCatalog, table: TableId, new: &NewTable) -> Result<StoredTable> {
    let found = StoredTable::find(catalog.db.read().await?.as_mut(), table, new).await?;
    Ok(found.unwrap_or_else(|| StoredTable::nothing_yet(table, new)))
}
