//! A row table as one statement sees it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalakedb_log::Result;
use deltalakedb_rows::row_store::{ColdPosition, NewestVersion};
use deltalakedb_rows::{KeyEncoder, RowSnapshot};
use deltalakedb_table::datafusion::catalog::TableProvider;
use deltalakedb_table::datafusion::prelude::SessionContext;
use deltalakedb_table::{MaskedFile, NumberedFile, query_error};
use futures::StreamExt;

use crate::blocking::blocking;
use crate::cold_snapshot::{ColdFile, ColdSnapshot};
use crate::hot_scan::HotScan;
use crate::key_lookup::KeyedFile;
use crate::names::column_named;
use crate::row_table::{RowTable, SCOPE};

/// Up to this many keys are looked up one by one; of more, the files that may have them are read.
const LOOKED_UP: usize = 16;

/// A row table at a snapshot of the row store: its newest hot versions after the cut, and the cold rows whose positions
/// are neither in deletion vectors nor pending.
#[derive(Clone)]
pub(crate) struct TableView {
    pub(crate) table: Arc<RowTable>,
    pub(crate) snapshot: Arc<RowSnapshot>,
    pub(crate) cold: Arc<ColdSnapshot>,
}

impl TableView {
    /// The table at a snapshot; None if the snapshot is too old.
    pub(crate) fn new(table: Arc<RowTable>, snapshot: Arc<RowSnapshot>) -> Option<Self> {
        let cold = table.cold_at(&snapshot)?;
        Some(Self { table, snapshot, cold })
    }

    /// Whether hot rows changed after the cut.
    pub(crate) fn has_hot_changes(&self) -> Result<bool> {
        let mut found = false;
        self.snapshot.changes(self.table.id, &SCOPE, self.cold.cut, |_| {
            found = true;
            false
        })?;
        Ok(found)
    }

    /// The visible rows of the cold files that `select` chooses, for DataFusion, with the columns of the cold table and
    /// where each row is.
    pub(crate) fn cold_rows(&self, select: impl Fn(&ColdFile) -> bool) -> Result<Arc<dyn TableProvider>> {
        let selected = self.cold.files.iter().filter(|file| select(file));
        let files = selected.map(|file| NumberedFile { number: file.tags.number, file: self.visible_rows(file) });
        self.table.delta.numbered_rows(self.cold.head.clone(), files.collect())
    }

    /// A cold file and all its rows that are not visible.
    fn visible_rows(&self, file: &ColdFile) -> MaskedFile {
        let mut hidden = file.hidden.as_ref().clone();
        if let Some(pending) = self.snapshot.pending(self.table.id, file.tags.number) {
            hidden.extend(pending.iter().map(u64::from));
        }
        MaskedFile { add: file.add.clone(), hidden }
    }

    /// Where the row with an encoded key is; None if there is no such row.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Option<RowPlace>> {
        Ok(match self.find_hot(key)? {
            Some(newest) => (!newest.is_deleted).then_some(RowPlace::Hot(newest)),
            None => self.find_cold(key)?,
        })
    }

    /// The row with an encoded key, as a scan of these columns returns it; None if there is no such row.
    pub(crate) fn row_of_key(&self, key: &[u8], schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        self.find(key)?.map(|place| self.row_at(&place, key, schema)).transpose()
    }

    /// The row with an encoded key that is there.
    pub(crate) fn row_at(&self, place: &RowPlace, key: &[u8], schema: &SchemaRef) -> Result<RecordBatch> {
        match place {
            RowPlace::Cold(file, position) => file.row(*position, schema),
            RowPlace::Hot(newest) => self.hot_scan(schema.clone())?.row(key, newest),
        }
    }

    /// The hot rows, with the columns of a schema.
    pub(crate) fn hot_scan(&self, schema: SchemaRef) -> Result<HotScan> {
        HotScan::new(self.table.clone(), self.snapshot.clone(), self.cold.cut, schema)
    }

    /// The newest hot version of a row; None if cold rows decide.
    fn find_hot(&self, key: &[u8]) -> Result<Option<NewestVersion>> {
        let newest = self.snapshot.get(self.table.id, &SCOPE, key)?;
        Ok(newest.filter(|newest| newest.seq > self.cold.cut))
    }

    fn find_cold(&self, key: &[u8]) -> Result<Option<RowPlace>> {
        let table = &self.table;
        // The newest file with the key has the row, if any has.
        for cold in self.cold.files.iter().rev().filter(|file| file.may_have(key)) {
            let file = table.keyed_file(&cold.add)?;
            if let Some(row) = file.position(&table.key, key)? {
                let number = cold.tags.number;
                let pending = self.snapshot.pending(table.id, number);
                let is_hidden = cold.hidden.contains(u64::from(row)) || pending.is_some_and(|rows| rows.contains(row));
                return Ok((!is_hidden).then_some(RowPlace::Cold(file, ColdPosition { file: number, row })));
            }
        }
        Ok(None)
    }

    /// The first of these keys that a row of the table has.
    pub(crate) async fn existing(&self, session: &SessionContext, keys: Vec<Vec<u8>>) -> Result<Option<usize>> {
        let keys = Arc::new(keys);
        let (view, looked_up) = (self.clone(), keys.clone());
        let (first, left) = blocking(move || view.existing_looked_up(&looked_up)).await?;
        let in_files = if left.is_empty() { None } else { self.existing_in_files(session, &keys, &left).await? };
        Ok(first.into_iter().chain(in_files).min())
    }

    /// The first of these keys that a hot row has, or a cold row that is looked up, and the keys of which files are to
    /// be read because they are many.
    fn existing_looked_up(&self, keys: &[Vec<u8>]) -> Result<(Option<usize>, Vec<usize>)> {
        let (mut first, not_hot) = self.existing_hot(keys)?;
        if not_hot.len() > LOOKED_UP {
            return Ok((first, not_hot));
        }
        for row in not_hot {
            if self.find_cold(&keys[row])?.is_some() {
                first = first.into_iter().chain([row]).min();
                break;
            }
        }
        Ok((first, Vec::new()))
    }

    /// The first of these keys that a hot row has, and those of which cold rows decide.
    fn existing_hot(&self, keys: &[Vec<u8>]) -> Result<(Option<usize>, Vec<usize>)> {
        let (mut first, mut not_hot) = (None, Vec::new());
        let newest = self.snapshot.newest(self.table.id, &SCOPE, keys)?;
        for (row, (key, newest)) in keys.iter().zip(newest).enumerate() {
            match newest.filter(|(seq, _)| *seq > self.cold.cut) {
                Some((_, is_deleted)) => first = first.or((!is_deleted).then_some(row)),
                None if self.cold.files.iter().any(|file| file.may_have(key)) => not_hot.push(row),
                None => {}
            }
        }
        Ok((first, not_hot))
    }

    /// The first of those keys that a cold row has. All files that may have one are read.
    async fn existing_in_files(
        &self,
        session: &SessionContext,
        keys: &[Vec<u8>],
        looked_up: &[usize],
    ) -> Result<Option<usize>> {
        let table = &self.table;
        let failed = |e| query_error(e, &format!("the keys of {} cannot be looked up", table.name()));
        let candidates = self.cold_rows(|file| looked_up.iter().any(|row| file.may_have(&keys[*row])))?;
        let scan = session.read_table(candidates).map_err(failed)?;
        let columns = table.definition.key_columns().map(|column| column_named(column.name()));
        let mut found =
            scan.select(columns.collect::<Vec<_>>()).map_err(failed)?.execute_stream().await.map_err(failed)?;
        let places: HashMap<_, _> = looked_up.iter().map(|row| (keys[*row].as_slice(), *row)).collect();
        let mut first = None;
        while let Some(batch) = found.next().await {
            let keys = encoded_keys(table, &batch.map_err(failed)?)?;
            let existing = keys.iter().filter_map(|key| places.get(key.as_slice()).copied());
            first = first.into_iter().chain(existing).min();
        }
        Ok(first)
    }
}

/// Where a row is.
pub(crate) enum RowPlace {
    /// In this hot version.
    Hot(NewestVersion),
    /// At a position of a data file.
    Cold(Arc<KeyedFile>, ColdPosition),
}

impl RowPlace {
    /// The position of a cold row.
    pub(crate) fn position(&self) -> Option<ColdPosition> {
        match self {
            Self::Hot(_) => None,
            Self::Cold(_, position) => Some(*position),
        }
    }
}

/// The encoded keys of rows.
pub(crate) fn encoded_keys(table: &RowTable, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let encoder = KeyEncoder::new(&table.key, rows)?;
    let key = |row| {
        let mut key = Vec::new();
        encoder.encode(row, &mut key)?;
        Ok(key)
    };
    (0..rows.num_rows()).map(key).collect()
}
