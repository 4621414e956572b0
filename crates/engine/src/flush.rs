//! Flushes: hot rows become files of the cold table.
//!
//! A flush takes a snapshot, whose `_seq` is its *cut*, and writes what changed up to it: new rows into data files in
//! order of their keys, and the positions of the cold rows that they replace into deletion vectors. The commit is
//! stored as an intent before it is made. Then the new cold snapshot is published in the row store, and the hot versions
//! that it has are collected.
//!
//! | a crash | afterwards |
//! |---|---|
//! | while files are written | the files are removed, and the rows are hot as before |
//! | after the intent has the commit | the same commit is made, once |
//! | after the commit | the cold snapshot is published |
//! | after that | the hot versions are collected by the next flush with changes |

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::action::{Action, Add, Txn};
use deltalakedb_log::commit::{Base, Committed, Reads};
use deltalakedb_log::{Catalog, ErrorKind, Object, Result, TxnLogError};
use deltalakedb_rows::RowStore;
use deltalakedb_rows::row_store::{ColdPosition, ColdSwap, PendingDelete};
use deltalakedb_rows::seq::SeqId;
use deltalakedb_table::datafusion::prelude::SessionContext;
use deltalakedb_table::{
    FILE_COLUMN, MaskedFile, NumberedFile, POSITION_COLUMN, PreparedCommit, RoaringTreemap, Rows, Vacuum, WriteOptions,
    commit, query_error,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use tokio::runtime::Handle;

use crate::blocking::blocking;
use crate::cold_snapshot::{APPLICATION, ColdSnapshot, FileTags};
use crate::definition::seq_field;
use crate::hot_scan::HotScan;
use crate::intent::{FlushCommit, FlushIntent};
use crate::names::column_named;
use crate::row_table::{RowTable, SCOPE};
use crate::table_view::{TableView, encoded_keys};

/// The operation in the history of the cold table.
const OPERATION: &str = "FLUSH";

/// Flushes tables of a row store.
#[derive(Clone)]
pub(crate) struct Flusher {
    pub(crate) store: Arc<RowStore>,
    pub(crate) catalog: Arc<dyn Catalog>,
    /// In the name of the engine, and the same for every flush: a commit that is repeated must have the same bytes.
    pub(crate) options: WriteOptions,
    pub(crate) session: SessionContext,
    /// The commits that no caller has received yet.
    pub(crate) committed: Arc<Mutex<Vec<Committed>>>,
}

/// The keys of data files by number, in the order of the rows.
type KeysByFile = HashMap<u32, Vec<Vec<u8>>>;

impl Flusher {
    /// Flushes a table, unless nothing changed since the last flush. Once begun, it is completed even if the
    /// caller stops waiting.
    pub(crate) async fn flush(&self, table: &Arc<RowTable>) -> Result<()> {
        let (flusher, table) = (self.clone(), table.clone());
        match tokio::spawn(async move { flusher.flush_here(&table).await }).await {
            Ok(done) => done,
            Err(e) => Err(TxnLogError::new(ErrorKind::Internal, "a flush panicked").with_source(e)),
        }
    }

    /// Boxed, so that the compiler sees that it can be spawned.
    fn flush_here<'a>(&'a self, table: &'a Arc<RowTable>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let _turn = table.flushing.lock().await;
            self.finish_unfinished(table).await?;
            let snapshot = Arc::new(self.store.snapshot()?);
            let cut = snapshot.seq();
            let view = TableView::new(table.clone(), snapshot).ok_or_else(too_old)?;
            let looked_at = view.clone();
            if !blocking(move || looked_at.has_hot_changes()).await? {
                return Ok(());
            }
            let mut intent = FlushIntent { id: self.options.clock.new_uuid(), table: table.id, commit: None };
            self.store_intent(&intent).await?;
            let (actions, keys) = match self.write(&view).await {
                Ok(written) => written,
                Err(e) => {
                    // The next flush tries again.
                    if let Err(left) = self.remove_unnamed(table, &intent).await {
                        tracing::warn!("files of a failed flush of {} could not be removed: {left}", table.name());
                    }
                    return Err(e);
                }
            };
            let flush = FlushCommit { base: view.cold.head.version, cut, actions };
            intent.commit = Some(flush.clone());
            self.store_intent(&intent).await?;
            // Nothing is collected at the snapshot's `_seq` until the cold snapshot is published.
            self.commit(table, &intent, &flush).await?;
            self.publish(table, &intent, keys).await?;
            drop(view);
            self.collect(table, cut).await
        })
    }

    /// Finishes the flush of a table that ended early.
    pub(crate) async fn finish_unfinished(&self, table: &Arc<RowTable>) -> Result<()> {
        let store = self.store.clone();
        let intents = blocking(move || store.intents()).await?;
        let intents = intents.iter().map(FlushIntent::from_stored).collect::<Result<Vec<_>>>()?;
        for intent in intents.into_iter().filter(|intent| intent.table == table.id) {
            match &intent.commit {
                None => self.remove_unnamed(table, &intent).await?,
                Some(flush) => {
                    self.commit(table, &intent, flush).await?;
                    let keys = self.keys_of(table, &added(&flush.actions)?).await?;
                    self.publish(table, &intent, keys).await?;
                    self.collect(table, flush.cut).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes the files of a flush. Returns the actions of its commit, and the keys of its data files.
    async fn write(&self, view: &TableView) -> Result<(Vec<Action>, KeysByFile)> {
        let table = &view.table;
        let rows = self.hot_rows(view)?;
        let written = table.delta.write_data_files(rows, &self.options).await?;
        let mut adds: Vec<_> = (view.cold.next_number()..).zip(written.adds).collect();
        let keys = self.keys_of(table, &adds).await?;
        for (number, add) in &mut adds {
            let keys = keys.get(number).map(Vec::as_slice).unwrap_or_default();
            let (Some(first), Some(last), true) = (keys.first(), keys.last(), keys.is_sorted()) else {
                let message = format!("a data file of {} is not in order of its keys", table.name());
                return Err(TxnLogError::new(ErrorKind::Internal, message));
            };
            FileTags { number: *number, first_key: first.clone(), last_key: last.clone() }.put(add);
        }
        let mut masked = Vec::new();
        for file in &view.cold.files {
            if let Some(pending) = view.snapshot.pending(table.id, file.tags.number) {
                let hidden = file.hidden.as_ref() | RoaringTreemap::from_iter(pending.iter().map(u64::from));
                masked.push(MaskedFile { add: file.add.clone(), hidden });
            }
        }
        let mut actions: Vec<_> = adds.into_iter().map(|(_, add)| Action::add(add)).collect();
        if !masked.is_empty() {
            actions.extend(table.delta.write_masks(masked, &self.options).await?.actions);
        }
        Ok((actions, keys))
    }

    /// The hot rows that changed since the last cut, as the cold table has them.
    fn hot_rows(&self, view: &TableView) -> Result<Rows> {
        let fields = view.table.definition.schema();
        let fields = fields.fields().iter().cloned().chain([seq_field()]);
        let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let scan = HotScan::new(view.table.clone(), view.snapshot.clone(), view.cold.cut, schema)?;
        Ok(Rows::from(scan.stream()))
    }

    /// Reads the keys of new data files back.
    async fn keys_of(&self, table: &RowTable, adds: &[(u32, Add)]) -> Result<KeysByFile> {
        let failed = |e| query_error(e, &format!("the new files of {} cannot be read back", table.name()));
        let (head, mut keys) = (table.delta.head().await?, KeysByFile::new());
        for (number, add) in adds {
            let file = MaskedFile { add: add.clone(), hidden: RoaringTreemap::new() };
            let rows = table.delta.numbered_rows(head.clone(), vec![NumberedFile { number: *number, file }])?;
            let columns = table.definition.key_columns().map(|column| column.name());
            let columns = columns.chain([FILE_COLUMN, POSITION_COLUMN]).map(column_named);
            let rows = self.session.read_table(rows).map_err(failed)?;
            let rows = rows.select(columns.collect::<Vec<_>>()).map_err(failed)?;
            let rows = rows.sort_by(vec![column_named(POSITION_COLUMN)]).map_err(failed)?;
            let of_file = keys.entry(*number).or_default();
            for batch in rows.collect().await.map_err(failed)? {
                of_file.extend(encoded_keys(table, &batch)?);
            }
        }
        Ok(keys)
    }

    /// Makes the commit of a flush, or finds that it was made.
    async fn commit(&self, table: &RowTable, intent: &FlushIntent, flush: &FlushCommit) -> Result<()> {
        let cut = Txn {
            app_id: APPLICATION.into(),
            version: flush.cut.as_i64(),
            last_updated: None,
            extra: Object::default(),
        };
        let prepared = PreparedCommit {
            id: intent.id,
            base: Base::Exactly(flush.base),
            reads: Reads::default(),
            isolation: None,
            operation: OPERATION.into(),
            parameters: Object::default(),
            actions: flush.actions.iter().cloned().chain([Action::Txn(cut)]).collect(),
            // The intent keeps them, whatever becomes of the commit.
            files: table.delta.new_files(Vec::new(), &self.options)?,
            // No vacuum but that of the engine removes files of the table.
            began_at_ms: self.options.clock.now_ms(),
        };
        let prepared = table.delta.prepare_commit(prepared, &self.options).await?;
        let committed = commit(self.catalog.as_ref(), vec![prepared], &self.options).await?;
        self.committed.lock().extend(committed);
        Ok(())
    }

    /// Publishes the newest version of the cold table in the row store, and forgets the intent.
    async fn publish(&self, table: &Arc<RowTable>, intent: &FlushIntent, keys: KeysByFile) -> Result<()> {
        let store = self.store.clone();
        let before = store.snapshot()?;
        let generation = before.cold(table.id).generation;
        let cold = Arc::new(ColdSnapshot::newest(&table.delta, generation + 1).await?);
        table.announce(cold.clone());
        let (table, id) = (table.clone(), intent.id);
        let swap = move || -> Result<()> {
            // What is found before writers wait need not be looked for again.
            let mut superseded = Superseded { keys, seen: HashSet::new(), deletes: Vec::new() };
            before.changes(table.id, &SCOPE, cold.cut, |change| superseded.add(change.primary_key, change.seq))?;
            let seen = before.seq();
            let kept: HashSet<_> = cold.files.iter().map(|file| file.tags.number).collect();
            let mut published = Vec::new();
            for file in cold.files.iter().filter(|file| !file.hidden.is_empty()) {
                published.push((file.tags.number, narrow(&file.hidden)?));
            }
            store.exclusive(|exclusive| {
                let now = exclusive.snapshot()?;
                now.changes(table.id, &SCOPE, seen.max(cold.cut), |change| {
                    superseded.add(change.primary_key, change.seq)
                })?;
                let removed_files =
                    now.pending_files(table.id).into_iter().filter(|file| !kept.contains(file)).collect();
                let superseded = std::mem::take(&mut superseded.deletes);
                exclusive.swap(&ColdSwap { table: table.id, cut: cold.cut, published, removed_files, superseded })?;
                exclusive.delete_intent(id);
                Ok(())
            })
        };
        blocking(swap).await
    }

    async fn collect(&self, table: &RowTable, cut: SeqId) -> Result<()> {
        let (store, id) = (self.store.clone(), table.id);
        blocking(move || store.collect(id, cut).map(drop)).await
    }

    async fn store_intent(&self, intent: &FlushIntent) -> Result<()> {
        let (store, stored) = (self.store.clone(), intent.to_stored()?);
        blocking(move || {
            store.exclusive(|exclusive| {
                exclusive.put_intent(&stored);
                Ok(())
            })
        })
        .await
    }

    /// Removes the files that a flush wrote and no commit names, and forgets the flush.
    async fn remove_unnamed(&self, table: &RowTable, intent: &FlushIntent) -> Result<()> {
        let vacuum = Vacuum { retain: Some(Duration::MAX), sole_writer: true, ..Vacuum::default() };
        let (delta, options, runtime) = (table.delta.clone(), self.options.clone(), Handle::current());
        // The future of a vacuum stays in its thread.
        blocking(move || runtime.block_on(delta.vacuum(&vacuum, &options)).map(drop)).await?;
        // A vacuum is recorded in versions of the table.
        let generation = self.store.snapshot()?.cold(table.id).generation;
        table.announce(Arc::new(ColdSnapshot::newest(&table.delta, generation).await?));
        let (store, id) = (self.store.clone(), intent.id);
        blocking(move || {
            store.exclusive(|exclusive| {
                exclusive.delete_intent(id);
                Ok(())
            })
        })
        .await
    }
}

/// The rows of new data files that later versions supersede.
struct Superseded {
    keys: KeysByFile,
    /// Keys whose first later version was met.
    seen: HashSet<Vec<u8>>,
    deletes: Vec<PendingDelete>,
}

impl Superseded {
    /// Notes a change, in the order of the commits. True: all of them are asked for.
    fn add(&mut self, key: &[u8], seq: SeqId) -> bool {
        let found = self.keys.iter().find_map(|(file, keys)| {
            let row = keys.binary_search_by(|other| other.as_slice().cmp(key)).ok()?;
            Some(ColdPosition { file: *file, row: u32::try_from(row).ok()? })
        });
        if let Some(position) = found
            && self.seen.insert(key.to_vec())
        {
            self.deletes.push(PendingDelete { position, seq });
        }
        true
    }
}

/// The data files that actions add, by number, without those that only get another deletion vector.
fn added(actions: &[Action]) -> Result<Vec<(u32, Add)>> {
    let adds = actions.iter().filter_map(Action::as_add).filter(|add| add.deletion_vector.is_none());
    let number = |add: &Add| {
        let tags = FileTags::of(add);
        tags.map(|tags| (tags.number, add.clone()))
            .ok_or_else(|| TxnLogError::corrupt("a stored flush adds a file without tags"))
    };
    adds.map(number).collect()
}

fn narrow(rows: &RoaringTreemap) -> Result<RoaringBitmap> {
    rows.iter()
        .map(u32::try_from)
        .collect::<Result<_, _>>()
        .map_err(|e| TxnLogError::corrupt("a data file of a row table has more than 4 billion rows").with_source(e))
}

fn too_old() -> TxnLogError {
    TxnLogError::new(ErrorKind::Conflict, "the table was flushed twice in the meantime: run the statement again")
}
