//! Converts write options from Python.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

use deltalakedb_log::action::Txn;
use deltalakedb_log::commit::Isolation;
use deltalakedb_table::WriteOptions;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};
use serde_json::{Value, json};

use crate::errors::DeltaError;

/// `CommitProperties`.
#[derive(FromPyObject)]
pub(crate) struct CommitProperties {
    custom_metadata: Option<Py<PyAny>>,
    max_commit_retries: Option<i64>,
    app_transactions: Option<Vec<Application>>,
}

#[derive(FromPyObject)]
struct Application {
    app_id: String,
    version: i64,
    last_updated: Option<i64>,
}

/// `PostCommitHookProperties`.
#[derive(FromPyObject)]
pub(crate) struct Hooks {
    pub(crate) create_checkpoint: bool,
    pub(crate) cleanup_expired_logs: Option<bool>,
}

/// `WriterProperties`.
#[derive(FromPyObject)]
pub(crate) struct Parquet {
    data_page_size_limit: Option<usize>,
    dictionary_page_size_limit: Option<usize>,
    data_page_row_count_limit: Option<usize>,
    write_batch_size: Option<usize>,
    max_row_group_size: Option<usize>,
    compression: Option<String>,
    statistics_truncate_length: Option<usize>,
    default_column_properties: Option<Column>,
    column_properties: Option<HashMap<String, Option<Column>>>,
}

/// `ColumnProperties`.
#[derive(FromPyObject)]
struct Column {
    dictionary_enabled: Option<bool>,
    statistics_enabled: Option<String>,
    bloom_filter_properties: Option<BloomFilter>,
    encoding: Option<String>,
}

#[derive(FromPyObject)]
struct BloomFilter {
    set_bloom_filter_enabled: Option<bool>,
    fpp: Option<f64>,
    ndv: Option<u64>,
}

/// The options with the commit and file properties from Python.
pub(crate) fn with(
    py: Python<'_>,
    mut options: WriteOptions,
    writer: Option<Parquet>,
    commit: Option<CommitProperties>,
) -> PyResult<WriteOptions> {
    if let Some(commit) = commit {
        if let Some(retries) = commit.max_commit_retries {
            options.retries = u32::try_from(retries)
                .map_err(|_| PyOverflowError::new_err("max_commit_retries cannot be negative or that large"))?;
        }
        if let Some(metadata) = commit.custom_metadata {
            options.metadata = metadata_of(metadata.bind(py))?;
        }
        let txn = |app: Application| {
            let text =
                json!({"appId": app.app_id, "version": app.version, "lastUpdated": app.last_updated}).to_string();
            Txn::from_json(&text).map_err(|e| PyValueError::new_err(e.to_string()))
        };
        options.applications =
            commit.app_transactions.unwrap_or_default().into_iter().map(txn).collect::<PyResult<Vec<Txn>>>()?;
    }
    options.parquet = writer.map(Parquet::build).transpose()?;
    Ok(options)
}

pub(crate) fn file_size(bytes: Option<u64>) -> PyResult<Option<NonZeroU64>> {
    let fits = |n: u64| NonZeroU64::new(n).filter(|_| i64::try_from(n).is_ok());
    let wrong = || PyValueError::new_err(format!("target_file_size must be between 1 and {} bytes", i64::MAX));
    bytes.map(|n| fits(n).ok_or_else(wrong)).transpose()
}

/// The target file size of a write, for which `deltalake` has another message.
pub(crate) fn written_file_size(bytes: Option<u64>) -> PyResult<Option<NonZeroU64>> {
    match bytes {
        Some(0) => Err(PyValueError::new_err("target_file_size must be greater than 0")),
        bytes => file_size(bytes),
    }
}

fn metadata_of(metadata: &Bound<'_, PyAny>) -> PyResult<BTreeMap<String, Value>> {
    let Ok(metadata) = metadata.cast::<PyMapping>() else {
        let given = metadata.get_type().name()?;
        return Err(PyValueError::new_err(format!("custom_metadata must be a mapping, not {given}")));
    };
    let json = metadata.py().import("json")?;
    let strict = PyDict::new(metadata.py());
    strict.set_item("allow_nan", false)?;
    let mut all = BTreeMap::new();
    for item in metadata.items()? {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let key: String = key.extract().map_err(|_| PyValueError::new_err("custom_metadata keys must be strings"))?;
        let text = json.call_method("dumps", (&value,), Some(&strict));
        let text =
            text.map_err(|e| PyValueError::new_err(format!("custom_metadata {key:?} must be JSON-serializable: {e}")))?;
        let text: String = text.extract()?;
        let value: Value = serde_json::from_str(&text).map_err(|e| PyValueError::new_err(e.to_string()))?;
        check_key(&key, &value)?;
        all.insert(key, value);
    }
    Ok(all)
}

/// Known keys of `commitInfo` accept only values of their type.
fn check_key(key: &str, value: &Value) -> PyResult<()> {
    let refuse = |what: String| Err(PyValueError::new_err(what));
    let expected = match key {
        "timestamp" | "operation" | "engineInfo" => {
            return refuse(format!("custom_metadata key '{key}' is generated by the commit and cannot be set"));
        }
        "operationParameters" if !value.is_object() => "a JSON object",
        "readVersion" if !value.is_u64() => "a non-negative integer",
        "userId" | "userName" | "userMetadata" if !value.is_string() => "a string",
        "isolationLevel" if value.as_str().and_then(Isolation::parse).is_none() => {
            "a valid IsolationLevel: Serializable, WriteSerializable or SnapshotIsolation"
        }
        "isBlindAppend" if !value.is_boolean() => "a boolean",
        _ => return Ok(()),
    };
    refuse(format!("custom_metadata key '{key}' must be {expected}"))
}

impl Parquet {
    fn build(self) -> PyResult<WriterProperties> {
        let mut to = WriterProperties::builder();
        // As in delta-rs, unless another compression is set.
        to = to.set_compression(Compression::SNAPPY);
        if let Some(n) = self.data_page_size_limit {
            to = to.set_data_page_size_limit(n);
        }
        if let Some(n) = self.dictionary_page_size_limit {
            to = to.set_dictionary_page_size_limit(n);
        }
        if let Some(n) = self.data_page_row_count_limit {
            to = to.set_data_page_row_count_limit(n);
        }
        if let Some(n) = self.write_batch_size {
            to = to.set_write_batch_size(n);
        }
        if let Some(n) = self.max_row_group_size {
            to = to.set_max_row_group_row_count(Some(n));
        }
        if let Some(n) = self.statistics_truncate_length {
            to = to.set_statistics_truncate_length(Some(n));
        }
        if let Some(name) = &self.compression {
            let parsed = name.parse().map_err(|_| DeltaError::new_err(format!("unknown compression: {name}")))?;
            to = to.set_compression(parsed);
        }
        if let Some(column) = self.default_column_properties {
            to = column.set(to, None)?;
        }
        for (name, column) in self.column_properties.unwrap_or_default() {
            if let Some(column) = column {
                to = column.set(to, Some(ColumnPath::from(name.split('.').map(String::from).collect::<Vec<_>>())))?;
            }
        }
        Ok(to.build())
    }
}

impl Column {
    fn set(self, mut to: WriterPropertiesBuilder, path: Option<ColumnPath>) -> PyResult<WriterPropertiesBuilder> {
        // With a dictionary, an encoding only applies to values that do not fit into it.
        if let Some(on) = self.dictionary_enabled.or(self.encoding.as_ref().map(|_| false)) {
            to = match &path {
                Some(path) => to.set_column_dictionary_enabled(path.clone(), on),
                None => to.set_dictionary_enabled(on),
            };
        }
        if let Some(name) = &self.statistics_enabled {
            let statistics = match name.as_str() {
                "NONE" => EnabledStatistics::None,
                "CHUNK" => EnabledStatistics::Chunk,
                "PAGE" => EnabledStatistics::Page,
                _ => {
                    return Err(DeltaError::new_err(format!("Invalid statistics arg: {name}: NONE, CHUNK or PAGE")));
                }
            };
            to = match &path {
                Some(path) => to.set_column_statistics_enabled(path.clone(), statistics),
                None => to.set_statistics_enabled(statistics),
            };
        }
        if let Some(name) = &self.encoding {
            let encoding: Encoding =
                name.parse().map_err(|_| DeltaError::new_err(format!("unknown encoding: {name}")))?;
            to = match &path {
                Some(path) => to.set_column_encoding(path.clone(), encoding),
                None => to.set_encoding(encoding),
            };
        }
        if let Some(bloom) = self.bloom_filter_properties {
            if let Some(on) = bloom.set_bloom_filter_enabled {
                to = match &path {
                    Some(path) => to.set_column_bloom_filter_enabled(path.clone(), on),
                    None => to.set_bloom_filter_enabled(on),
                };
            }
            if let Some(fpp) = bloom.fpp {
                to = match &path {
                    Some(path) => to.set_column_bloom_filter_fpp(path.clone(), fpp),
                    None => to.set_bloom_filter_fpp(fpp),
                };
            }
            if let Some(ndv) = bloom.ndv {
                to = match &path {
                    Some(path) => to.set_column_bloom_filter_max_ndv(path.clone(), ndv),
                    None => to.set_bloom_filter_max_ndv(ndv),
                };
            }
        }
        Ok(to)
    }
}
