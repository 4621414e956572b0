//! Counts the spans that have not ended.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::Subscriber;
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// A layer that knows whether all its spans have ended. A span ends when nothing holds it or one of its children; the
/// thread of a database connection holds the span of a statement for a moment after it has sent the result.
#[derive(Clone, Default)]
pub(crate) struct OpenSpans(Arc<(Mutex<usize>, Condvar)>);

impl OpenSpans {
    /// Waits until all spans have ended, for at most so long.
    pub(crate) fn wait(&self, at_most: Duration) {
        let (open, ended) = &*self.0;
        ended.wait_while_for(&mut open.lock(), |open| *open > 0, at_most);
    }
}

impl<S: Subscriber> Layer<S> for OpenSpans {
    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        *self.0.0.lock() += 1;
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        let (open, ended) = &*self.0;
        *open.lock() -= 1;
        ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use tracing::{Dispatch, dispatcher};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_span_that_another_thread_holds_is_waited_for() {
        let spans = OpenSpans::default();
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(spans.clone()));
        let _default = dispatcher::set_default(&dispatch);
        spans.wait(Duration::MAX);
        let parent = tracing::error_span!("parent");
        let child = parent.in_scope(|| tracing::error_span!("child"));
        drop(parent);
        spans.wait(Duration::from_millis(1));
        assert_eq!(*spans.0.0.lock(), 2);
        let (release, released) = channel::<()>();
        let thread = std::thread::spawn(move || {
            released.recv().unwrap_err();
            // The end of a parent is dispatched by the default of the thread.
            dispatcher::with_default(&dispatch, || drop(child));
        });
        drop(release);
        let began = Instant::now();
        spans.wait(Duration::from_secs(60));
        assert!(began.elapsed() < Duration::from_secs(60));
        assert_eq!(*spans.0.0.lock(), 0);
        thread.join().unwrap();
    }
}
