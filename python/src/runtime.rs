//! Runs futures from Python: without the interpreter lock, and interruptible by Ctrl-C.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::errors::{CatalogError, DeltaError, raise};
use crate::logging;
use crate::warnings::{Collected, collecting, show};

/// The maximum delay of Ctrl-C.
const SIGNAL_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The runtime, and the process that has started it.
static RUNTIME: OnceLock<(u32, Arc<Runtime>)> = OnceLock::new();

/// Whether this process has used the runtime.
pub(crate) fn is_used() -> bool {
    RUNTIME.get().is_some_and(|(of, _)| *of == std::process::id())
}

/// The runtime of this process. Threads do not survive a fork, and waiting for them would block indefinitely: a child
/// of a process that has used the runtime gets an error.
pub(crate) fn runtime() -> PyResult<Arc<Runtime>> {
    let process = std::process::id();
    let (of, runtime) = match RUNTIME.get() {
        Some(held) => held,
        None => {
            let new = Builder::new_multi_thread().thread_name("deltalakedb").enable_all().build();
            let new = new.map_err(|e| CatalogError::new_err(format!("no thread can be started: {e}")))?;
            RUNTIME.get_or_init(|| (process, Arc::new(new)))
        }
    };
    if *of == process {
        Ok(runtime.clone())
    } else {
        Err(DeltaError::new_err(
            "The tokio runtime does not support forked processes: this one was forked from a process that had used \
             deltalakedb already; start it with the methods spawn or forkserver of multiprocessing",
        ))
    }
}

/// Runs a future to completion, or until Ctrl-C.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    future: impl Future<Output = deltalakedb_log::Result<T>> + Send,
) -> PyResult<T> {
    wait_for(py, async { future.await.map_err(raise) })
}

/// Runs a future with Python errors.
pub(crate) fn wait_for<T: Send>(py: Python<'_>, future: impl Future<Output = PyResult<T>> + Send) -> PyResult<T> {
    let runtime = runtime()?;
    logging::before_call(py)?;
    let (result, warnings) = py.detach(|| runtime.block_on(collecting(with_signal_checks(future))));
    report(py, result, warnings)
}

/// Runs a future that must stay on this thread.
pub(crate) fn wait_here<T: Send>(
    py: Python<'_>,
    run: impl AsyncFnOnce() -> deltalakedb_log::Result<T> + Send,
) -> PyResult<T> {
    let runtime = runtime()?;
    logging::before_call(py)?;
    let (result, warnings) =
        py.detach(|| runtime.block_on(collecting(with_signal_checks(async { run().await.map_err(raise) }))));
    report(py, result, warnings)
}

/// The result, after its events are logged and its warnings are shown.
fn report<T>(py: Python<'_>, result: PyResult<T>, warnings: Collected) -> PyResult<T> {
    let logged = logging::after_call(py);
    let shown = show(py, warnings);
    // An error takes precedence over a warning that is raised as an error, and over Ctrl-C while events are logged.
    result.and_then(|result| shown.and(logged).map(|()| result))
}

/// Runs the future until it completes or Ctrl-C is pressed.
pub(crate) async fn with_signal_checks<T>(future: impl Future<Output = PyResult<T>>) -> PyResult<T> {
    let mut future = std::pin::pin!(future);
    // Not at once: even a timer that is due waits for the next millisecond.
    let mut poll = tokio::time::interval_at(Instant::now() + SIGNAL_POLL_INTERVAL, SIGNAL_POLL_INTERVAL);
    loop {
        tokio::select! {
            result = &mut future => return result,
            _ = poll.tick() => Python::attach(|py| py.check_signals())?,
        }
    }
}
