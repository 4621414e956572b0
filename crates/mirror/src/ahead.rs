//! Streams that run ahead of their consumer.

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::sync::mpsc;
use tracing::Instrument as _;

/// The same items in the same order, made by a task of their own: one item waits for the consumer while the task makes
/// the next one.
pub(crate) fn ahead<T: Send + 'static>(
    mut items: impl Stream<Item = Result<T>> + Send + Unpin + 'static,
) -> BoxStream<'static, Result<T>> {
    let (sender, receiver) = mpsc::channel(1);
    let making = async move {
        while let Some(item) = items.next().await {
            // The consumer does not want the rest.
            if sender.send(item).await.is_err() {
                break;
            }
        }
    };
    let task = tokio::spawn(making.in_current_span());
    let next = |(mut receiver, task): (mpsc::Receiver<_>, Option<tokio::task::JoinHandle<()>>)| async {
        if let Some(item) = receiver.recv().await {
            return Some((item, (receiver, task)));
        }
        let stopped = task?.await.err()?;
        let error = TxnLogError::new(ErrorKind::Internal, "the task that reads ahead has stopped").with_source(stopped);
        Some((Err(error), (receiver, None)))
    };
    stream::unfold((receiver, Some(task)), next).boxed()
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn items_arrive_in_order_and_a_stopped_task_is_an_error() {
        let all: Vec<i32> = ahead(stream::iter((0..5).map(Ok))).try_collect().await.unwrap();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        let mut broken =
            ahead(stream::iter((0..5).map(Ok).inspect(|n| assert!(matches!(n, Ok(0 | 1)), "a fault, for the test"))));
        assert_eq!((broken.try_next().await.unwrap(), broken.try_next().await.unwrap()), (Some(0), Some(1)));
        let error = broken.try_next().await.unwrap_err();
        assert!(error.to_string().contains("has stopped"), "{error}");
        assert_eq!(broken.try_next().await.unwrap(), None);
    }
}
