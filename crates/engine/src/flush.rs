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

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::action::{Action, Add, Txn};
use deltalakedb_log::commit::{Base, Committed, Reads};
use deltalakedb_log::{Catalog, ErrorKind, Object, Result, TxnLogError};
use deltalakedb_rows::row_store::{ColdPosition, ColdSwap, PendingDelete};
use deltalakedb_rows::seq::SeqId;
use deltalakedb_rows::{RowSnapshot, RowStore};
use deltalakedb_table::{MaskedFile, PreparedCommit, RoaringTreemap, Rows, Vacuum, WriteOptions, commit};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use tokio::runtime::Handle;

use crate::blocking::blocking;
use crate::cold_snapshot::{APPLICATION, ColdFile, ColdSnapshot, FileTags};
use crate::cold_table::file_encoding;
use crate::definition::seq_field;
use crate::intent::{EngineIntent, FlushCommit, FlushIntent};
use crate::key_lookup::KeyedFile;
use crate::row_table::{RowTable, SCOPE};
use crate::table_view::TableView;

/// How often changes that are made during a flush are looked for before writers wait, and how few of them are left for
/// that time.
const ROUNDS: usize = 8;
const FEW: usize = 10;

/// The operation in the history of the cold table.
const OPERATION: &str = "FLUSH";

/// Flushes tables of a row store.
#[derive(Clone)]
pub(crate) struct Flusher {
    pub(crate) store: Arc<RowStore>,
    pub(crate) catalog: Arc<dyn Catalog>,
    /// In the name of the engine, and the same for every flush: a commit that is repeated must have the same bytes.
    pub(crate) options: WriteOptions,
    /// The commits that no caller has received yet.
    pub(crate) committed: Arc<Mutex<Vec<Committed>>>,
}

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
            let actions = match self.write(&view).await {
                Ok(actions) => actions,
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
            self.publish(table, &intent, &flush).await?;
            drop(view);
            self.collect(table, cut).await
        })
    }

    /// Finishes the flush of a table that ended early.
    pub(crate) async fn finish_unfinished(&self, table: &Arc<RowTable>) -> Result<()> {
        let store = self.store.clone();
        let intents = blocking(move || store.intents()).await?;
        for intent in intents.iter().map(EngineIntent::from_stored).collect::<Result<Vec<_>>>()? {
            let EngineIntent::Flush(intent) = intent else { continue };
            if intent.table != table.id {
                continue;
            }
            match &intent.commit {
                None => self.remove_unnamed(table, &intent).await?,
                Some(flush) => {
                    self.commit(table, &intent, flush).await?;
                    self.publish(table, &intent, flush).await?;
                    self.collect(table, flush.cut).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes the files of a flush. Returns the actions of its commit.
    async fn write(&self, view: &TableView) -> Result<Vec<Action>> {
        let table = &view.table;
        let rows = self.hot_rows(view)?;
        let mut options = self.options.clone();
        options.parquet.get_or_insert_with(|| file_encoding(&table.definition));
        let written = table.delta.write_data_files(rows, &options).await?;
        let (of_files, first_number) = (table.clone(), view.cold.next_number());
        let tagged = move || with_tags(&of_files, (first_number..).zip(written.adds));
        let mut actions: Vec<_> = blocking(tagged).await?.into_iter().map(Action::add).collect();
        let mut masked = Vec::new();
        for file in &view.cold.files {
            if let Some(pending) = view.snapshot.pending(table.id, file.tags.number) {
                let hidden = file.hidden.as_ref() | RoaringTreemap::from_iter(pending.iter().map(u64::from));
                masked.push(MaskedFile { add: file.add.clone(), hidden });
            }
        }
        if !masked.is_empty() {
            actions.extend(table.delta.write_masks(masked, &self.options).await?.actions);
        }
        Ok(actions)
    }

    /// The hot rows that changed since the last cut, as the cold table has them.
    fn hot_rows(&self, view: &TableView) -> Result<Rows> {
        let fields = view.table.definition.schema();
        let fields = fields.fields().iter().cloned().chain([seq_field()]);
        let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        Ok(Rows::from(view.hot_scan(schema)?.stream()))
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

    /// Publishes the version of the cold table that a flush made in the row store, and forgets the intent.
    async fn publish(&self, table: &Arc<RowTable>, intent: &FlushIntent, flush: &FlushCommit) -> Result<()> {
        let store = self.store.clone();
        let before = store.snapshot()?;
        let cold = match table.cold_at(&before) {
            Some(cold) => cold.after(&table.delta, flush).await?,
            None => ColdSnapshot::newest(&table.delta, before.cold(table.id).generation + 1).await?,
        };
        drop(before);
        let cold = Arc::new(cold);
        table.announce(cold.clone());
        let (table, id) = (table.clone(), intent.id);
        let added = added(&flush.actions)?;
        let swap = move || -> Result<()> {
            // What is found before writers wait need not be looked for again.
            let files = cold.files.iter().filter(|file| added.contains(&file.tags.number));
            let files = files.map(|file| Ok((file.clone(), table.keyed_file(&file.add)?)));
            let files = files.collect::<Result<Vec<_>>>()?;
            let mut superseded = Superseded { table: &table, files, seen: HashSet::new(), deletes: Vec::new() };
            let mut seen = cold.cut;
            for _ in 0..ROUNDS {
                let now = store.snapshot()?;
                let found = superseded.find(&now, seen)?;
                seen = seen.max(now.seq());
                if found < FEW {
                    break;
                }
            }
            let kept: HashSet<_> = cold.files.iter().map(|file| file.tags.number).collect();
            let mut published = Vec::new();
            for file in cold.files.iter().filter(|file| !file.hidden.is_empty()) {
                published.push((file.tags.number, narrow(&file.hidden)?));
            }
            store.exclusive(|exclusive| {
                let now = exclusive.snapshot()?;
                superseded.find(&now, seen)?;
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

/// New data files with their tags.
fn with_tags(table: &RowTable, adds: impl Iterator<Item = (u32, Add)>) -> Result<Vec<Add>> {
    let mut last_key: Option<Vec<u8>> = None;
    let mut tagged = Vec::new();
    for (number, mut add) in adds {
        let file = table.keyed_file(&add)?;
        let Some([first, last]) = file.first_and_last(&table.key)? else {
            return Err(TxnLogError::new(ErrorKind::Internal, format!("a data file of {} is empty", table.name())));
        };
        if first > last || last_key.is_some_and(|before| before >= first) {
            let message = format!("a data file of {} is not in order of its keys", table.name());
            return Err(TxnLogError::new(ErrorKind::Internal, message));
        }
        last_key = Some(last.clone());
        FileTags { number, first_key: first, last_key: last }.put(&mut add);
        tagged.push(add);
    }
    Ok(tagged)
}

/// The rows of new data files that later versions supersede.
struct Superseded<'a> {
    table: &'a RowTable,
    /// The new files.
    files: Vec<(ColdFile, Arc<KeyedFile>)>,
    /// Keys whose first later version was met.
    seen: HashSet<Vec<u8>>,
    deletes: Vec<PendingDelete>,
}

impl Superseded<'_> {
    /// Looks for the rows that were changed after `after`. Returns how many changes there were.
    fn find(&mut self, now: &RowSnapshot, after: SeqId) -> Result<usize> {
        // In the order of the commits.
        let mut changes = Vec::new();
        now.changes(self.table.id, &SCOPE, after, |change| {
            changes.push((change.primary_key.to_vec(), change.seq));
            true
        })?;
        let found = changes.len();
        for (key, seq) in changes {
            if self.seen.contains(&key) {
                continue;
            }
            for (cold, file) in self.files.iter().filter(|(cold, _)| cold.may_have(&key)) {
                if let Some(row) = file.position(&self.table.key, &key)? {
                    let position = ColdPosition { file: cold.tags.number, row };
                    self.deletes.push(PendingDelete { position, seq });
                }
            }
            self.seen.insert(key);
        }
        Ok(found)
    }
}

/// The numbers of the data files that actions add, without those that only get another deletion vector.
fn added(actions: &[Action]) -> Result<HashSet<u32>> {
    let adds = actions.iter().filter_map(Action::as_add).filter(|add| add.deletion_vector.is_none());
    let number = |add: &Add| {
        let tags = FileTags::of(add);
        tags.map(|tags| tags.number).ok_or_else(|| TxnLogError::corrupt("a stored flush adds a file without tags"))
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
