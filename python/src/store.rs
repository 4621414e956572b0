//! The files at a location.

use std::ops::Range;
use std::sync::Arc;

use deltalakedb_log::{Durability, Location, Result, Stores, TxnLogError};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::raise;
use crate::handle::{not_opened, stores_with};
use crate::runtime::wait;

/// The files at a location, by paths below it.
#[pyclass(frozen, module = "deltalakedb._internal")]
pub(crate) struct RawStore {
    location: Location,
    store: Arc<dyn ObjectStore>,
}

impl RawStore {
    pub(crate) fn of(location: Location, stores: &dyn Stores) -> Result<Self> {
        Ok(Self { store: stores.open(&location, Durability::Full)?, location })
    }
}

type Listed = (Vec<(String, u64, i64)>, Vec<String>);

#[pymethods]
impl RawStore {
    #[new]
    #[pyo3(signature = (uri, storage_options=None))]
    fn new(uri: &str, storage_options: Option<std::collections::HashMap<String, String>>) -> PyResult<Self> {
        let location = Location::parse(uri).map_err(|e| not_opened(uri, e))?;
        let stores = stores_with(&location, storage_options.as_ref());
        Self::of(location, stores.as_ref()).map_err(raise)
    }

    fn uri(&self) -> String {
        self.location.url().to_string()
    }

    fn head(&self, py: Python<'_>, path: &str) -> PyResult<Option<(u64, i64)>> {
        let path = path_of(path)?;
        wait(py, async {
            match self.store.head(&path).await {
                Ok(meta) => Ok(Some((meta.size, nanoseconds(&meta)))),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(e) => Err(e.into()),
            }
        })
    }

    fn list(&self, py: Python<'_>, prefix: &str, recursive: bool) -> PyResult<Listed> {
        let prefix = path_of(prefix)?;
        let prefix = (!prefix.as_ref().is_empty()).then_some(prefix);
        wait(py, async {
            let (files, folders) = if recursive {
                (self.store.list(prefix.as_ref()).try_collect().await?, Vec::new())
            } else {
                let listed = self.store.list_with_delimiter(prefix.as_ref()).await?;
                (listed.objects, listed.common_prefixes)
            };
            let files = files.iter().map(|meta| (meta.location.to_string(), meta.size, nanoseconds(meta)));
            Ok((files.collect(), folders.iter().map(ToString::to_string).collect()))
        })
    }

    fn read<'py>(&self, py: Python<'py>, path: &str, start: u64, length: u64) -> PyResult<Bound<'py, PyBytes>> {
        let path = path_of(path)?;
        let range = Range { start, end: start.saturating_add(length) };
        let bytes = wait(py, async {
            match length {
                0 => Ok(bytes::Bytes::new()),
                _ => Ok(self.store.get_range(&path, range).await?),
            }
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn write(&self, py: Python<'_>, path: &str, data: &[u8]) -> PyResult<()> {
        let (path, data) = (path_of(path)?, bytes::Bytes::copy_from_slice(data));
        wait(py, async { Ok(self.store.put(&path, data.into()).await.map(|_| ())?) })
    }

    fn delete(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        let path = path_of(path)?;
        wait(py, async { Ok(self.store.delete(&path).await?) })
    }

    fn copy(&self, py: Python<'_>, source: &str, target: &str) -> PyResult<()> {
        let (source, target) = (path_of(source)?, path_of(target)?);
        wait(py, async { Ok(self.store.copy(&source, &target).await?) })
    }

    fn rename(&self, py: Python<'_>, source: &str, target: &str) -> PyResult<()> {
        let (source, target) = (path_of(source)?, path_of(target)?);
        wait(py, async { Ok(self.store.rename(&source, &target).await?) })
    }
}

fn path_of(path: &str) -> PyResult<Path> {
    let wrong = |e| raise(TxnLogError::invalid(format!("{path:?} is not a path below the table")).with_source(e));
    Path::parse(path.trim_matches('/')).map_err(wrong)
}

/// The time of its last modification, in nanoseconds since 1970.
fn nanoseconds(meta: &ObjectMeta) -> i64 {
    let time = meta.last_modified;
    time.timestamp_nanos_opt().unwrap_or_else(|| time.timestamp_micros().saturating_mul(1_000))
}
