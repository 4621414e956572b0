//! Prefetch: another thread builds the next items while the current ones are consumed.

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use tokio::sync::mpsc;

/// The maximum number of items that are built but not consumed, besides the one being built.
const WAITING: usize = 1;

/// Items in order.
pub(crate) enum Prefetch<T> {
    /// Built when they are requested.
    Here(Box<dyn Iterator<Item = T> + Send>),
    /// Made by a separate thread, which sends `None` after the last one.
    Elsewhere(mpsc::Receiver<Option<T>>),
}

impl<T: Send + 'static> Prefetch<T> {
    /// If there are `many` items, a new thread builds them ahead of their use. It is not one of the runtime's threads,
    /// because all of those may be waiting for items.
    pub(crate) fn new(items: impl Iterator<Item = T> + Send + 'static, many: bool) -> Result<Self> {
        if !many {
            return Ok(Self::Here(Box::new(items)));
        }
        let (send, made) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new().name("rows of a commit".into()).spawn(move || {
            for item in items.map(Some).chain(std::iter::once(None)) {
                // The receiver is dropped: the commit has failed.
                if send.blocking_send(item).is_err() {
                    break;
                }
            }
        });
        thread.map_err(|e| {
            let message = "the process cannot start another thread: raise its limit, or commit fewer files at once";
            TxnLogError::new(ErrorKind::Unavailable, message).with_source(e)
        })?;
        Ok(Self::Elsewhere(made))
    }

    /// The next item.
    pub(crate) async fn next(&mut self) -> Result<Option<T>> {
        match self {
            Self::Here(items) => Ok(items.next()),
            Self::Elsewhere(made) => made.recv().await.ok_or_else(stopped),
        }
    }

    /// The next item, for a thread that may block.
    #[cfg(feature = "duckdb")]
    pub(crate) fn next_blocking(&mut self) -> Result<Option<T>> {
        match self {
            Self::Here(items) => Ok(items.next()),
            Self::Elsewhere(made) => made.blocking_recv().ok_or_else(stopped),
        }
    }
}

fn stopped() -> TxnLogError {
    TxnLogError::new(ErrorKind::Internal, "the thread that makes the rows of a commit has stopped")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn items_arrive_in_order_and_a_stopped_thread_is_an_error() {
        for many in [false, true] {
            let mut items = Prefetch::new(0..5, many).unwrap();
            let mut taken = Vec::new();
            while let Some(item) = items.next().await.unwrap() {
                taken.push(item);
            }
            assert_eq!(taken, [0, 1, 2, 3, 4]);
        }
        let mut broken = Prefetch::new((0..5).inspect(|n| assert!(*n < 2, "a fault, for the test")), true).unwrap();
        assert_eq!((broken.next().await.unwrap(), broken.next().await.unwrap()), (Some(0), Some(1)));
        let error = broken.next().await.unwrap_err();
        assert!(error.to_string().contains("has stopped"), "{error}");
    }
}
