//! A row table as one statement sees it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_rows::{KeyEncoder, RowSnapshot};
use deltalakedb_table::datafusion::catalog::TableProvider;
use deltalakedb_table::datafusion::common::ScalarValue;
use deltalakedb_table::datafusion::logical_expr::{Expr, lit};
use deltalakedb_table::datafusion::prelude::SessionContext;
use deltalakedb_table::{MaskedFile, NumberedFile, query_error};
use futures::StreamExt;

use crate::blocking::blocking;
use crate::cold_snapshot::{ColdFile, ColdSnapshot};
use crate::definition::ColumnDefinition;
use crate::names::column_named;
use crate::row_table::{RowTable, SCOPE};

/// Up to this many keys are looked up by their values; of more, the files that may have them are read.
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

    /// The first of these new rows whose key a row of the table has. `keys` are their encoded keys.
    pub(crate) async fn existing(
        &self,
        session: &SessionContext,
        rows: &RecordBatch,
        keys: &[Vec<u8>],
    ) -> Result<Option<usize>> {
        let (view, looked_up) = (self.clone(), keys.to_vec());
        let hot = blocking(move || view.look_up_hot(&looked_up)).await?;
        let (mut taken, mut not_hot) = (None, Vec::new());
        for (row, found) in hot.into_iter().enumerate() {
            match found {
                Some(true) => taken = taken.or(Some(row)),
                Some(false) => {}
                None if self.cold.files.iter().any(|file| file.may_have(&keys[row])) => not_hot.push(row),
                None => {}
            }
        }
        let cold = if not_hot.is_empty() { None } else { self.existing_cold(session, rows, keys, &not_hot).await? };
        Ok(taken.into_iter().chain(cold).min())
    }

    /// Whether the newest hot version of each key is a row; None if the cold rows decide.
    fn look_up_hot(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<bool>>> {
        let newest = |key: &Vec<u8>| {
            let newest = self.snapshot.get(self.table.id, &SCOPE, key)?;
            Ok(newest.filter(|newest| newest.seq > self.cold.cut).map(|newest| !newest.is_deleted))
        };
        keys.iter().map(newest).collect()
    }

    /// The first of these rows whose key a cold row has.
    async fn existing_cold(
        &self,
        session: &SessionContext,
        rows: &RecordBatch,
        keys: &[Vec<u8>],
        looked_up: &[usize],
    ) -> Result<Option<usize>> {
        let table = &self.table;
        let failed = |e| query_error(e, &format!("the keys of {} cannot be looked up", table.name()));
        let candidates = self.cold_rows(|file| looked_up.iter().any(|row| file.may_have(&keys[*row])))?;
        let mut scan = session.read_table(candidates).map_err(failed)?;
        if looked_up.len() <= LOOKED_UP {
            let any = looked_up.iter().map(|row| self.has_key_of(rows, *row)).collect::<Result<Vec<_>>>()?;
            if let Some(any) = any.into_iter().reduce(Expr::or) {
                scan = scan.filter(any).map_err(failed)?;
            }
        }
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

    /// Whether a row has the key of one of `rows`.
    fn has_key_of(&self, rows: &RecordBatch, row: usize) -> Result<Expr> {
        let equal = |column: &ColumnDefinition| {
            let values = rows.column_by_name(column.name());
            let value = values.and_then(|values| ScalarValue::try_from_array(values, row).ok());
            let value =
                value.ok_or_else(|| TxnLogError::invalid(format!("a row lacks the column {:?}", column.name())));
            Ok(column_named(column.name()).eq(lit(value?)))
        };
        let equal = self.table.definition.key_columns().map(equal).collect::<Result<Vec<_>>>()?;
        Ok(equal.into_iter().reduce(Expr::and).unwrap_or_else(|| lit(false)))
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
