//! The threads for log reads.
//!
//! Kernel handlers are synchronous, and some are called on a thread that drives a runtime, where blocking on a future
//! panics. So one runtime of the process is reserved for log reads, and callers wait for it on a channel.

use std::future::Future;
use std::sync::{OnceLock, mpsc};

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static START: Mutex<()> = Mutex::new(());
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    // One at a time: a second runtime could not be dropped on a thread that drives another.
    let _one = START.lock();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let started = Builder::new_multi_thread().worker_threads(2).thread_name("deltalakedb-log").enable_all().build();
    let started = started.map_err(|e| {
        let what = "no thread can be started to read the log: the system's limit is reached";
        TxnLogError::new(ErrorKind::Unavailable, what).with_source(e)
    })?;
    Ok(RUNTIME.get_or_init(|| started))
}

/// The runtime for work that must not depend on the caller's.
pub(super) fn handle() -> Result<Handle> {
    Ok(runtime()?.handle().clone())
}

/// Runs a log read to completion, from any thread.
pub(crate) fn wait<T: Send + 'static>(read: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let (done, result) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // The send fails when the caller was cancelled and the receiver dropped; that is ignored.
        let _ = done.send(read.await);
    });
    result.recv().map_err(|_| TxnLogError::new(ErrorKind::Internal, "reading the log panicked"))?
}

/// Runs it from a thread that may drive a runtime, whose connections the read may need. `None` if that is the only
/// thread of its runtime: while it waited, the read could not progress.
pub(crate) fn wait_beside<T: Send + 'static>(
    read: impl Future<Output = Result<T>> + Send + 'static,
) -> Option<Result<T>> {
    match Handle::try_current().map(|caller| caller.runtime_flavor()) {
        Err(_) => Some(wait(read)),
        Ok(RuntimeFlavor::MultiThread) => Some(tokio::task::block_in_place(|| wait(read))),
        Ok(_) => None,
    }
}

/// Runs work to completion. Only a thread that drives no runtime waits for it.
pub(crate) fn finish(work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    match Handle::try_current() {
        Err(_) => wait(async {
            work.await;
            Ok(())
        }),
        Ok(_) => {
            handle()?.spawn(work);
            Ok(())
        }
    }
}
