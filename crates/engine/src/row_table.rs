//! A row table that is open: its definition, the Delta table below it, and its newest cold snapshots.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalakedb_log::action::Add;
use deltalakedb_log::{Result, TableId, TableName, TxnLogError};
use deltalakedb_rows::{PrimaryKey, RowSnapshot, Scope, TupleSchema};
use deltalakedb_table::DeltaTable;
use parking_lot::RwLock;

use crate::cold_snapshot::ColdSnapshot;
use crate::definition::TableDefinition;
use crate::key_lookup::{KeyedFile, KeyedFiles};

/// How many cold snapshots are kept: the newest, and the one before it for statements that began when it was published.
const KEPT: usize = 2;

/// The scope of the rows of shared tables.
pub(crate) const SCOPE: Scope<'static> = Scope::Table;

/// A row table of an engine.
pub(crate) struct RowTable {
    pub(crate) id: TableId,
    pub(crate) definition: TableDefinition,
    pub(crate) key: PrimaryKey,
    pub(crate) tuples: TupleSchema,
    /// The cold table.
    pub(crate) delta: DeltaTable,
    /// The data files of cold tables that lookups opened.
    keyed_files: Arc<KeyedFiles>,
    /// The columns of its cold rows, and where they are, as scans return them.
    pub(crate) cold_columns: SchemaRef,
    /// One flush at a time.
    pub(crate) flushing: tokio::sync::Mutex<()>,
    /// Held by statements whose commits failed often, which then take `flushing`, too.
    pub(crate) contended: tokio::sync::Mutex<()>,
    /// The newest cold snapshots, oldest first.
    cold: RwLock<VecDeque<Arc<ColdSnapshot>>>,
}

impl RowTable {
    /// The table of this definition, with the cold snapshot that the row store has as its cold version.
    pub(crate) fn new(
        id: TableId,
        definition: TableDefinition,
        delta: DeltaTable,
        cold: ColdSnapshot,
        keyed_files: Arc<KeyedFiles>,
    ) -> Result<Self> {
        Ok(Self {
            id,
            key: definition.primary_key()?,
            tuples: definition.tuple_schema()?,
            definition,
            keyed_files,
            cold_columns: delta.numbered_rows(cold.head.clone(), Vec::new())?.schema(),
            delta,
            flushing: tokio::sync::Mutex::default(),
            contended: tokio::sync::Mutex::default(),
            cold: RwLock::new(VecDeque::from([Arc::new(cold)])),
        })
    }

    pub(crate) fn name(&self) -> &TableName {
        self.definition.name()
    }

    /// A data file of the cold table, for lookups.
    pub(crate) fn keyed_file(&self, file: &Add) -> Result<Arc<KeyedFile>> {
        let path = self.delta.local_file(file)?;
        let path = path.ok_or_else(|| TxnLogError::invalid(format!("{} is not on a local disk", self.name())))?;
        self.keyed_files.open(&path, &self.key)
    }

    /// The cold snapshot that a snapshot of the row store sees. None if the snapshot is so old that two others were
    /// published since: take a new one.
    pub(crate) fn cold_at(&self, snapshot: &RowSnapshot) -> Option<Arc<ColdSnapshot>> {
        let generation = snapshot.cold(self.id).generation;
        self.cold.read().iter().find(|cold| cold.generation == generation).cloned()
    }

    /// Makes a cold snapshot known, before the row store publishes its generation.
    pub(crate) fn announce(&self, cold: Arc<ColdSnapshot>) {
        let mut known = self.cold.write();
        known.retain(|other| other.generation != cold.generation);
        known.push_back(cold);
        while known.len() > KEPT {
            known.pop_front();
        }
    }
}

impl fmt::Debug for RowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowTable").field("name", self.name()).finish_non_exhaustive()
    }
}
