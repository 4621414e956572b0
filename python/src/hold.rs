//! Held versions.

use std::time::Duration;

use deltalakedb_log::{At, Version};
use deltalakedb_table::HeldVersion;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::runtime::wait;
use crate::table::RawTable;

/// A held version of a table.
#[pyclass(frozen, module = "deltalakedb._internal")]
pub(crate) struct RawHold(Mutex<HeldVersion>);

impl RawHold {
    fn get(&self) -> HeldVersion {
        self.0.lock().clone()
    }
}

fn duration(seconds: f64) -> PyResult<Duration> {
    let wrong = |_| PyValueError::new_err(format!("seconds must be a number above 0, not {seconds}"));
    Duration::try_from_secs_f64(seconds).map_err(wrong)
}

#[pymethods]
impl RawHold {
    #[new]
    fn new(py: Python<'_>, table: &RawTable, version: Version, seconds: f64, holder: &str) -> PyResult<Self> {
        let ((table, _), duration) = (table.table_and_version(), duration(seconds)?);
        let hold = wait(py, async move { table.hold(At::Version(version), duration, holder).await })?;
        Ok(Self(Mutex::new(hold)))
    }

    fn version(&self) -> Version {
        self.get().version()
    }

    fn until_ms(&self) -> i64 {
        self.get().until_ms()
    }

    fn renew(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let (mut hold, duration) = (self.get(), duration(seconds)?);
        let renewed = wait(py, async move {
            hold.renew(duration).await?;
            Ok(hold)
        })?;
        *self.0.lock() = renewed;
        Ok(())
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let hold = self.get();
        wait(py, async move { hold.release().await })
    }
}
