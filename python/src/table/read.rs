//! What a table holds: its files, its rows, its history.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, ListBuilder, RecordBatch, StringArray};
use deltalakedb_log::action::Add;
use deltalakedb_log::{At, Version, canonical_path};
use deltalakedb_table::{CdfScan, Scan};
use pyo3::prelude::*;
use pyo3_arrow::PyRecordBatchReader;

use super::RawTable;
use crate::arguments::time_of;
use crate::errors::DeltaError;
use crate::history::history;
use crate::pruning::Pruning;
use crate::rows::{outgoing, table as rows_of};
use crate::runtime::wait;

type FileTuple = (String, i64, BTreeMap<String, Option<String>>, Option<String>);

#[pymethods]
#[allow(clippy::too_many_arguments)]
impl RawTable {
    #[pyo3(signature = (pruning=None))]
    fn file_uris(&self, py: Python<'_>, pruning: Option<Pruning>) -> PyResult<Vec<String>> {
        let held = self.get();
        wait(py, async move { Ok(held.files(pruning).await?.iter().map(|add| held.uri_of(&add.path)).collect()) })
    }

    #[pyo3(signature = (pruning=None))]
    fn partitions(&self, py: Python<'_>, pruning: Option<Pruning>) -> PyResult<Vec<BTreeMap<String, Option<String>>>> {
        let held = self.get();
        wait(py, async move {
            let columns = held.partition_columns()?;
            let files = held.files(pruning).await?;
            let values: BTreeSet<_> = files.iter().map(|add| held.partition_values(add, &columns)).collect();
            Ok(values.into_iter().collect())
        })
    }

    #[pyo3(signature = (pruning=None))]
    fn files(&self, py: Python<'_>, pruning: Option<Pruning>) -> PyResult<Vec<FileTuple>> {
        let held = self.get();
        wait(py, async move {
            let columns = held.partition_columns()?;
            let files = held.files(pruning).await?;
            let file = |add: Add| {
                let values = held.partition_values(&add, &columns);
                (add.path, add.size, values, add.stats)
            };
            Ok(files.into_iter().map(file).collect())
        })
    }

    /// By paths as in the store.
    fn get_add_file_sizes(&self, py: Python<'_>) -> PyResult<HashMap<String, i64>> {
        let held = self.get();
        wait(py, async move {
            let path = |add: &Add| String::from_utf8_lossy(&canonical_path(&add.path)).into_owned();
            Ok(held.files(None).await?.iter().map(|add| (path(add), add.size)).collect())
        })
    }

    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        let held = self.get();
        wait(py, async move {
            if let Some(rows) = held.table.counts(held.at()).await?.rows {
                return Ok(rows.unsigned_abs());
            }
            let what = Scan { at: held.at(), columns: Some(Vec::new()), ..Scan::default() };
            Ok(held.table.read(&what).await?.iter().map(|batch| batch.num_rows() as u64).sum())
        })
    }

    fn add_actions<'py>(&self, py: Python<'py>, flatten: bool) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let batch = wait(py, async move { held.table.add_actions(held.at(), flatten).await })?;
        rows_of(py, batch.schema(), vec![batch])
    }

    #[pyo3(signature = (limit=None))]
    fn history(&self, py: Python<'_>, limit: Option<u64>) -> PyResult<Vec<String>> {
        let held = self.get();
        wait(py, async move { history(&held.table, held.head.version, limit).await })
    }

    fn transaction_version(&self, py: Python<'_>, app_id: &str) -> PyResult<Option<i64>> {
        let held = self.get();
        wait(py, async move {
            let snapshot = held.table.reader().await?.snapshot(held.at()).await?;
            Ok(snapshot.txns.get(app_id).map(|txn| txn.version))
        })
    }

    #[pyo3(signature = (columns=None, predicate=None))]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        columns: Option<Vec<String>>,
        predicate: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let rows = wait(py, async move {
            let what = Scan { at: held.at(), columns, filter_sql: predicate, limit: None };
            held.table.scan(&what).await
        })?;
        outgoing(py, rows)
    }

    fn changes<'py>(
        &self,
        py: Python<'py>,
        columns: Option<Vec<String>>,
        predicate: Option<String>,
        starting_version: Version,
        ending_version: Option<Version>,
        starting_timestamp: Option<&str>,
        ending_timestamp: Option<&str>,
        allow_out_of_range: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let what = CdfScan {
            from: starting_version,
            to: ending_version,
            since: starting_timestamp.map(time_of).transpose()?,
            until: ending_timestamp.map(time_of).transpose()?,
            columns,
            filter_sql: predicate,
            allow_out_of_range,
        };
        let rows = wait(py, async move { held.table.changes_of(&what, At::Latest).await })?;
        outgoing(py, rows)
    }

    fn deletion_vectors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let found = wait(py, async move { held.table.deletion_vectors(held.at()).await })?;
        let mut kept = ListBuilder::new(BooleanBuilder::new());
        for (_, mask) in &found {
            kept.append_value(mask.iter().copied().map(Some));
        }
        let paths: ArrayRef = Arc::new(StringArray::from_iter_values(found.iter().map(|(path, _)| path)));
        let kept: ArrayRef = Arc::new(kept.finish());
        let batch = RecordBatch::try_from_iter([("filepath", paths), ("selection_vector", kept)]);
        let batch = batch.map_err(|e| DeltaError::new_err(e.to_string()))?;
        let reader = arrow::array::RecordBatchIterator::new([Ok(batch.clone())], batch.schema());
        PyRecordBatchReader::new(Box::new(reader)).into_arro3(py)
    }
}
