//! Calls that wait for a disk.

use deltalakedb_log::{ErrorKind, Result, TxnLogError};

/// Runs a call that waits for a disk, beside the tasks of the runtime.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(TxnLogError::new(ErrorKind::Internal, "a call to the row store panicked").with_source(e)),
    }
}
