//! Calls that wait for a disk.

use deltalakedb_log::{ErrorKind, Result, TxnLogError};

/// Starts a call that waits for a disk, in a thread for blocking calls, and returns the future of its result.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send + 'static {
    let started = tokio::task::spawn_blocking(work);
    async {
        match started.await {
            Ok(done) => done,
            Err(e) => Err(TxnLogError::new(ErrorKind::Internal, "a call to the row store panicked").with_source(e)),
        }
    }
}
